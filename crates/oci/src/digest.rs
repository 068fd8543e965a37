//! Digests: what content is called, and how it is recomputed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use sha2::Digest as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

/// A registered digest algorithm that this registry can verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, the algorithm that every client uses unless told otherwise.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, in the order in which they should be preferred.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The name before the colon of a digest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many lower-case hexadecimal digits follow the colon.
    pub const fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// A running hash of this algorithm.
    pub fn hasher(self) -> Hasher {
        match self {
            Self::Sha256 => Hasher(State::Sha256(sha2::Sha256::new())),
            Self::Sha512 => Hasher(State::Sha512(sha2::Sha512::new())),
        }
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| DigestError::Unsupported { algorithm: text.to_owned() })
    }
}

/// A running hash: fed with bytes as they pass, finished into a [`Digest`].
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// The algorithm that this hash runs.
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Takes the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// Where the hash is, for [`from_state`](Self::from_state) to go on from there in another process: about 110 bytes, or 210 for
    /// SHA-512. They tell what was hashed last, so they are as confidential as the content.
    pub fn state(&self) -> Vec<u8> {
        match &self.0 {
            State::Sha256(hash) => hash.serialize().to_vec(),
            State::Sha512(hash) => hash.serialize().to_vec(),
        }
    }

    /// A hash of `algorithm` that goes on from where `state` was taken; `None` when that is not the state of one.
    pub fn from_state(algorithm: Algorithm, state: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Sha256 => restore(state).map(|hash| Self(State::Sha256(hash))),
            Algorithm::Sha512 => restore(state).map(|hash| Self(State::Sha512(hash))),
        }
    }

    /// The digest of everything that was taken.
    pub fn finish(self) -> Digest {
        let algorithm = self.algorithm();
        match self.0 {
            State::Sha256(hash) => Digest::from_hash(algorithm, &hash.finalize()),
            State::Sha512(hash) => Digest::from_hash(algorithm, &hash.finalize()),
        }
    }
}

fn restore<H: SerializableState>(state: &[u8]) -> Option<H> {
    let state = SerializedState::<H>::try_from(state).ok()?;
    H::deserialize(&state).ok()
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Hasher").field(&self.algorithm()).finish()
    }
}

/// The name of content: `algorithm:hex`.
///
/// - the algorithm is one of [`Algorithm::ALL`];
/// - the rest is exactly [`Algorithm::hex_length`] lower-case hexadecimal digits;
/// - so it can be a part of a path as it stands.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest {
    algorithm: Algorithm,
    text: Arc<str>,
}

impl Digest {
    fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(algorithm.as_str().len() + 1 + hash.len() * 2);
        text.push_str(algorithm.as_str());
        text.push(':');
        for byte in hash {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        Self { algorithm, text: text.into() }
    }

    /// The algorithm that verifies the content.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal digits after the colon.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.as_str().len() + 1..]
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `bytes` are the content that this digest names.
    pub fn names(&self, bytes: &[u8]) -> bool {
        self.algorithm.digest(bytes) == *self
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        // Nearly every digest is good. Why one is not takes longer to say.
        if let Some(algorithm) = Algorithm::ALL.into_iter().find(|algorithm| is_of(*algorithm, text)) {
            return Ok(Self { algorithm, text: text.into() });
        }
        Err(fault(text))
    }
}

/// Whether this is the text of a digest of this algorithm.
fn is_of(algorithm: Algorithm, text: &str) -> bool {
    let encoded = text.strip_prefix(algorithm.as_str()).and_then(|rest| rest.strip_prefix(':'));
    // Without a way out of the loop, so that many digits are looked at together.
    let is_hex =
        |encoded: &str| encoded.bytes().fold(true, |is_hex, byte| is_hex & matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    encoded.is_some_and(|encoded| encoded.len() == algorithm.hex_length() && is_hex(encoded))
}

/// Why a text is no digest of any algorithm.
fn fault(text: &str) -> DigestError {
    match text.split_once(':') {
        Some((algorithm, encoded)) if is_algorithm(algorithm) && is_encoded(encoded) => {
            algorithm.parse::<Algorithm>().err().unwrap_or(DigestError::Malformed)
        }
        _ => DigestError::Malformed,
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.text.as_ref().to_owned()
    }
}

/// Why a text is not a digest that this registry can verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The grammar of the specification, or the length and case of the digits, is not met.
    #[error("not a digest: expected sha256: with 64 or sha512: with 128 lower-case hexadecimal digits")]
    Malformed,
    /// The grammar is met, but the algorithm is not one of [`Algorithm::ALL`].
    #[error("unsupported digest algorithm {algorithm:?}: supported are sha256 and sha512")]
    Unsupported {
        /// The algorithm that was named.
        algorithm: String,
    },
}

/// `[a-z0-9]+([+._-][a-z0-9]+)*`
fn is_algorithm(text: &str) -> bool {
    text.split(['+', '.', '_', '-']).all(|component| {
        !component.is_empty() && component.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// `[a-zA-Z0-9=_-]+`
fn is_encoded(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_nothing_are_the_well_known_ones() {
        assert_eq!(
            Algorithm::Sha256.digest(b"").as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(Algorithm::Sha512.digest(b"").hex().starts_with("cf83e1357eefb8bd"));
        assert_eq!(Algorithm::Sha512.digest(b"").hex().len(), 128);
    }

    #[test]
    fn a_hash_goes_on_from_its_state() {
        let content: Vec<u8> = (0..1000_u16).map(|number| number.to_le_bytes()[0]).collect();
        for algorithm in Algorithm::ALL {
            // Before, at and behind the edges of the blocks of both.
            for length in [0, 1, 63, 64, 65, 127, 128, 129, 640, 1000] {
                let mut hasher = algorithm.hasher();
                hasher.update(&content[..length]);
                let mut restored = Hasher::from_state(algorithm, &hasher.state()).unwrap();
                assert_eq!(restored.algorithm(), algorithm);
                restored.update(&content[length..]);
                assert_eq!(restored.finish(), algorithm.digest(&content), "{algorithm} {length}");
            }
        }
    }

    #[test]
    fn what_is_no_state_is_refused() {
        let state = Algorithm::Sha256.hasher().state();
        for (algorithm, state) in [
            (Algorithm::Sha512, state.as_slice()),
            (Algorithm::Sha256, &state[1..]),
            (Algorithm::Sha256, &[]),
            (Algorithm::Sha256, &[0xff; 105]),
        ] {
            assert!(Hasher::from_state(algorithm, state).is_none(), "{algorithm} {}", state.len());
        }
        assert!(Hasher::from_state(Algorithm::Sha256, &state).is_some());
    }

    #[test]
    fn only_exact_spellings_are_digests() {
        let hex = "a".repeat(64);
        let unsupported = |algorithm: &str| Err(DigestError::Unsupported { algorithm: algorithm.to_owned() });
        let rows: Vec<(String, Result<(), DigestError>)> = vec![
            (format!("sha256:{hex}"), Ok(())),
            (format!("sha512:{hex}{hex}"), Ok(())),
            (format!("sha256:{}", "A".repeat(64)), Err(DigestError::Malformed)),
            (format!("sha512:{hex}"), Err(DigestError::Malformed)),
            (format!("sha256:{hex}a"), Err(DigestError::Malformed)),
            ("sha256:baddigeststring".into(), Err(DigestError::Malformed)),
            ("sha256:".into(), Err(DigestError::Malformed)),
            (hex.clone(), Err(DigestError::Malformed)),
            (format!("sha384:{hex}"), unsupported("sha384")),
            ("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8".into(), unsupported("multihash+base58")),
            ("sha256:../../../../etc/passwd".into(), Err(DigestError::Malformed)),
            ("+a:b".into(), Err(DigestError::Malformed)),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<Digest>().map(|_| ()), expected, "{text}");
        }
    }
}
