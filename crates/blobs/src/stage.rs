//! Stages: where bytes wait until a digest has been verified.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use entrepot_oci::{Algorithm, Digest, Hasher};

use crate::limits::STAGE_ID_LENGTH_MAX;
use crate::{Content, Error, digest_of};

/// The name of a stage.
///
/// - 1 to [`STAGE_ID_LENGTH_MAX`] characters of `a-z`, `0-9` and `-`;
/// - so it can be a part of a path as it stands.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageId(Arc<str>);

impl StageId {
    /// An id that no other stage has, of any process: `purpose` and 128 random bits.
    ///
    /// `purpose` is a short word of the characters of an id.
    pub fn unique(purpose: &'static str) -> Self {
        // Each state is seeded by the operating system: no generator of ours to be seeded or shared.
        let random = || RandomState::new().build_hasher().finish();
        Self(format!("{purpose}-{:016x}{:016x}", random(), random()).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for StageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for StageId {
    type Err = StageIdError;

    fn from_str(text: &str) -> Result<Self, StageIdError> {
        let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.is_empty() || text.len() > STAGE_ID_LENGTH_MAX || !text.bytes().all(is_allowed) {
            return Err(StageIdError);
        }
        Ok(Self(text.into()))
    }
}

/// A text is not a [`StageId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a stage id: expected 1 to {STAGE_ID_LENGTH_MAX} characters of a-z, 0-9 and -")]
pub struct StageIdError;

/// The part of an [`Ingest`](crate::Ingest) that differs from store to store: where the bytes are put.
///
/// The ingest calls one method at a time, and none after [`publish`](Self::publish) or [`discard`](Self::discard)
/// succeeded. The blocking methods are called on the blocking pool, except for `discard`.
#[async_trait]
pub trait Stage: fmt::Debug + Send + Sync + 'static {
    /// The staged bytes. They can be read for as long as the handle lives, also when the stage is published or
    /// discarded meanwhile.
    fn content(&self) -> Arc<dyn Content>;

    /// Puts `frames` in this order behind the first `offset` bytes. May block.
    ///
    /// After an error the bytes behind `offset` are not content: the next call takes their place.
    fn append(&self, offset: u64, frames: &[Bytes]) -> Result<(), Error>;

    /// Cuts whatever lies behind the first `offset` bytes and returns when the stage was last changed. May block.
    fn settle(&self, offset: u64) -> Result<SystemTime, Error>;

    /// Makes the first `offset` bytes ones that another process can take up, after [`settle`](Self::settle), and returns what that
    /// process has to know besides; `None` where no other process can. What was kept before stays until a stage that was
    /// kept later is taken up, so that a caller who fails to write down what this returns has lost nothing that he wrote down before.
    ///
    /// After an error the stage is [discarded](Self::discard), but for what was kept before.
    async fn keep(&self, offset: u64) -> Result<Option<Bytes>, Error> {
        let _ = offset;
        Ok(None)
    }

    /// The digest of the first `size` bytes in the algorithm of `expected`, which is not that of the running hash, computed from
    /// the staged bytes. `stage` is the name of this stage.
    async fn digest(&self, stage: &StageId, expected: &Digest, size: u64) -> Result<Digest, Error> {
        digest_of(self.content(), stage.clone(), size, expected.algorithm()).await
    }

    /// Makes the first `size` bytes, which were verified, the blob `digest`: durable when it returns.
    async fn publish(&self, digest: &Digest, size: u64) -> Result<(), Error>;

    /// Removes the staged bytes; succeeds when they are gone already. Called from destructors, so it must be quick.
    fn discard(&self) -> Result<(), Error>;
}

/// What is known of a stage that was parked, so that its hash need not be recomputed: see
/// [`BlobStore::resume`](crate::BlobStore::resume).
#[derive(Clone, Debug)]
pub struct Parked {
    stage: StageId,
    offset: u64,
    modified: SystemTime,
    hasher: Hasher,
    shared: Option<Bytes>,
}

/// The first byte of an encoded [`Parked`]. Another one is of a version that this one cannot read.
const ENCODED_VERSION: u8 = 1;

impl Parked {
    pub(crate) const fn new(
        stage: StageId,
        offset: u64,
        modified: SystemTime,
        hasher: Hasher,
        shared: Option<Bytes>,
    ) -> Self {
        Self { stage, offset, modified, hasher, shared }
    }

    /// What another process needs to take up the stage, for it to [`decode`](Self::decode); `None` when none can, since the bytes are at
    /// this one alone. As confidential as the content.
    ///
    /// ```text
    /// version 1 | algorithm 1 | offset 8 | length of id 1 | id | length of hash 2 | hash | what the store needs
    /// ```
    pub fn encode(&self) -> Option<Bytes> {
        let shared = self.shared.as_ref()?;
        let (id, hash) = (self.stage.as_str().as_bytes(), self.hasher.state());
        let algorithm = Algorithm::ALL.iter().position(|algorithm| *algorithm == self.hasher.algorithm())?;
        let mut encoded = BytesMut::with_capacity(16 + id.len() + hash.len() + shared.len());
        encoded.put_u8(ENCODED_VERSION);
        encoded.put_u8(u8::try_from(algorithm).ok()?);
        encoded.put_u64(self.offset);
        encoded.put_u8(u8::try_from(id.len()).ok()?);
        encoded.put_slice(id);
        encoded.put_u16(u16::try_from(hash.len()).ok()?);
        encoded.put_slice(&hash);
        encoded.put_slice(shared);
        Some(encoded.freeze())
    }

    /// What [`encode`](Self::encode) made, of whichever process; `None` when it is something else, or of a version that is not known
    /// here.
    pub fn decode(mut encoded: &[u8]) -> Option<Self> {
        if encoded.try_get_u8().ok()? != ENCODED_VERSION {
            return None;
        }
        let algorithm = *Algorithm::ALL.get(usize::from(encoded.try_get_u8().ok()?))?;
        let offset = encoded.try_get_u64().ok()?;
        let id_length = usize::from(encoded.try_get_u8().ok()?);
        let (id, mut encoded) = encoded.split_at_checked(id_length)?;
        let stage = std::str::from_utf8(id).ok()?.parse().ok()?;
        let hash_length = usize::from(encoded.try_get_u16().ok()?);
        let (hash, shared) = encoded.split_at_checked(hash_length)?;
        let hasher = Hasher::from_state(algorithm, hash)?;
        // No file was changed then: a store that goes by the time does not take this hash for that of a file.
        Some(Self {
            stage,
            offset,
            modified: SystemTime::UNIX_EPOCH,
            hasher,
            shared: Some(Bytes::copy_from_slice(shared)),
        })
    }

    /// What the store asked to be kept, when it is one whose stages other processes can take up.
    pub const fn shared(&self) -> Option<&Bytes> {
        self.shared.as_ref()
    }

    /// The running hash of the bytes that [`shared`](Self::shared) describes.
    pub const fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The stage that was parked.
    pub const fn stage(&self) -> &StageId {
        &self.stage
    }

    /// How many bytes are staged.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The running hash, when it is of `algorithm` and the stage is as it was left: `offset` bytes, changed last at
    /// `modified`. The hash of other bytes would let a commit publish what it did not verify.
    pub fn into_hasher(
        self,
        stage: &StageId,
        algorithm: Algorithm,
        offset: u64,
        modified: SystemTime,
    ) -> Option<Hasher> {
        let is_as_left = self.stage == *stage && self.offset == offset && self.modified == modified;
        (is_as_left && self.hasher.algorithm() == algorithm).then_some(self.hasher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage_ids_are_safe_in_paths() {
        let longest = "a".repeat(STAGE_ID_LENGTH_MAX);
        for text in ["a", "-", "0e9f-1", longest.as_str()] {
            assert_eq!(text.parse::<StageId>().unwrap().to_string(), text);
        }
        let too_long = "a".repeat(STAGE_ID_LENGTH_MAX + 1);
        for text in ["", ".", "..", "a/b", "A", "a_b", "a\0", "é", too_long.as_str()] {
            assert_eq!(text.parse::<StageId>(), Err(StageIdError), "{text:?}");
        }
    }

    #[test]
    fn unique_ids_are_ids_and_differ() {
        let (one, other) = (StageId::unique("adopt"), StageId::unique("adopt"));
        assert_ne!(one, other);
        assert_eq!(one.as_str().parse(), Ok(one));
    }

    #[test]
    fn a_parked_hash_is_taken_for_the_very_same_bytes_only() {
        let (stage, other): (StageId, StageId) = ("one".parse().unwrap(), "two".parse().unwrap());
        let then = SystemTime::UNIX_EPOCH;
        let later = then + std::time::Duration::from_nanos(1);
        let rows = [
            (&stage, Algorithm::Sha256, 5, then, true),
            (&other, Algorithm::Sha256, 5, then, false),
            (&stage, Algorithm::Sha512, 5, then, false),
            (&stage, Algorithm::Sha256, 6, then, false),
            (&stage, Algorithm::Sha256, 5, later, false),
        ];
        for (id, algorithm, offset, modified, is_taken) in rows {
            let parked = Parked::new(stage.clone(), 5, then, Algorithm::Sha256.hasher(), None);
            let hasher = parked.into_hasher(id, algorithm, offset, modified);
            assert_eq!(hasher.is_some(), is_taken, "{id} {algorithm} {offset} {modified:?}");
        }
    }

    #[test]
    fn what_is_shared_is_decoded_elsewhere_and_nothing_else_is() {
        for algorithm in Algorithm::ALL {
            let mut hasher = algorithm.hasher();
            hasher.update(b"first ");
            let parked =
                |shared| Parked::new("one".parse().unwrap(), 6, SystemTime::UNIX_EPOCH, hasher.clone(), shared);
            assert!(parked(None).encode().is_none(), "what is at this process alone is of no use elsewhere");
            let encoded = parked(Some(Bytes::from("parts"))).encode().unwrap();
            let decoded = Parked::decode(&encoded).unwrap();
            assert_eq!((decoded.stage().as_str(), decoded.offset()), ("one", 6));
            assert_eq!(decoded.shared().unwrap(), "parts");
            let mut hasher = decoded.hasher().clone();
            hasher.update(b"second");
            assert_eq!(hasher.finish(), algorithm.digest(b"first second"));
            for length in 0..encoded.len() - b"parts".len() {
                assert!(Parked::decode(&encoded[..length]).is_none(), "cut after {length} bytes");
            }
            for index in [0, 1, 10] {
                let mut other = encoded.to_vec();
                other[index] = 0xff;
                assert!(Parked::decode(&other).is_none(), "another byte {index}");
            }
        }
    }
}
