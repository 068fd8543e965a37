//! What the store takes and returns.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use entrepot_oci::{Digest, Manifest, MediaType, RepositoryName, Tag, TagOrDigest};

/// A point in time as it is stored: milliseconds since 1970, UTC. Never used to order writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970.
    pub const fn from_milliseconds(milliseconds: i64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since 1970.
    pub const fn milliseconds(self) -> i64 {
        self.0
    }

    /// The time `duration` earlier.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let milliseconds = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(_) => 0,
        };
        Self(milliseconds)
    }
}

/// A part of a list: what comes after `after`, at most `limit` entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<Key> {
    /// The key to go on after; it need not exist.
    pub after: Option<Key>,
    /// The most entries to return.
    pub limit: usize,
}

/// A list that belongs to something that may not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingOr<T> {
    /// What it belongs to does not exist.
    Missing,
    /// It exists.
    Found(T),
}

/// A blob as a repository holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobLink {
    /// Its name.
    pub digest: Digest,
    /// Its size in bytes, as verified when it was committed.
    pub size: u64,
}

/// A manifest as a repository holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRow {
    /// The digest it is held under.
    pub digest: Digest,
    /// The type it was pushed with.
    pub media_type: MediaType,
    /// The bytes as received.
    pub bytes: Bytes,
}

/// Where a tag points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRow {
    /// The manifest, under the digest that it was tagged with.
    pub digest: Digest,
    /// When this was last known to be so: the time of the push, or of the last answer of the upstream.
    pub confirmed_at: Timestamp,
}

/// A manifest to be stored.
#[derive(Clone, Debug)]
pub struct ManifestPush {
    /// The repository, created when it is new.
    pub repository: RepositoryName,
    /// The digest to hold it under; the caller has verified that it names the bytes.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// The tags to point at it; none for a push by digest alone.
    pub tags: Vec<Tag>,
    /// Whether what it refers to must be here.
    pub references: ReferenceCheck,
    /// Those of `tags` that must not move: each may be new, or point at this manifest already.
    pub unmovable: Vec<Tag>,
    /// Whether tags that do not exist yet may be made.
    pub may_create_tags: bool,
    /// What must be true of the first tag for the push to happen.
    pub condition: TagCondition,
    /// The time of the push.
    pub now: Timestamp,
}

/// Whether the content that a pushed manifest names must be held by its repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceCheck {
    /// Every reference that is not optional must be here: a blob for a config or layer, with the size that the descriptor
    /// says; a manifest or a blob for an entry of an index.
    Required,
    /// References may be absent: a manifest that was fetched from its registry, whose content follows when it is asked for.
    Lazy,
}

/// What must be true of a push's first tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagCondition {
    /// Nothing.
    None,
    /// It points at one of these (`If-Match`).
    PointsAt(Vec<Digest>),
    /// It exists (`If-Match: *`).
    Exists,
    /// It does not exist (`If-None-Match: *`).
    Absent,
    /// It points at none of these, or does not exist (`If-None-Match`).
    PointsAtNoneOf(Vec<Digest>),
}

/// What became of a [`ManifestPush`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// Stored, or already there; the tags point at it.
    Stored,
    /// Nothing happened: these references are not held by the repository.
    Missing(Vec<String>),
    /// Nothing happened: these references are held with another size than their descriptor says.
    WrongSize(Vec<Digest>),
    /// Nothing happened: the condition is not met.
    ConditionFailed,
    /// Nothing happened: this tag points at another manifest and is among the unmovable ones.
    TagUnmovable(Tag),
    /// Nothing happened: this tag does not exist and may not be made.
    TagUncreatable(Tag),
}

/// Which tags of a repository are protected from deletion, and with them everything that they reach.
#[derive(Clone, Default)]
pub struct ProtectedTags(Option<Arc<IsProtected>>);

/// Whether a tag is protected.
type IsProtected = dyn Fn(&Tag) -> bool + Send + Sync;

impl ProtectedTags {
    /// Those for which `is_protected` holds; it is asked within a transaction, and answers at once.
    pub fn by(is_protected: impl Fn(&Tag) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_protected)))
    }

    /// Whether no tag can be protected, so that nothing has to be looked up.
    pub const fn are_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the tag is.
    pub fn contains(&self, tag: &Tag) -> bool {
        self.0.as_ref().is_some_and(|is_protected| is_protected(tag))
    }
}

impl fmt::Debug for ProtectedTags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ProtectedTags").field(&self.0.is_some()).finish()
    }
}

/// What became of an order to delete something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone, with these tags.
    Done {
        /// The tags that went with it, in order; none when it is a tag itself.
        tags: Vec<Tag>,
    },
    /// There was none.
    Missing,
    /// Nothing happened: this protected tag is it, points at it, or reaches it.
    Protected(Tag),
    /// Nothing happened: more manifests are above it than the store looks at in one transaction, and none of those that it saw
    /// has a protected tag. One of the others may.
    NamedByTooMany,
}

/// That content of a repository was pulled.
///
/// A layer is not reported: it is shared by images that nobody pulled, and whoever pulled it has asked for its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The repository that it was pulled from.
    pub repository: RepositoryName,
    /// The manifest, or a blob that no manifest of the repository names.
    pub digest: Digest,
    /// When.
    pub at: Timestamp,
}

/// An image as it can be evicted: a manifest that no manifest of its repository names as a child, with everything
/// that it reaches; or a blob that no manifest of its repository names. A digest that is both is one entry, the manifest.
///
/// A referrer is an entry of its own: its subject does not name it, and may go before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The repository.
    pub repository: RepositoryName,
    /// The manifest or blob.
    pub digest: Digest,
    /// The type of the manifest; `None` for a blob.
    pub media_type: Option<MediaType>,
    /// The tags that point at it, in order.
    pub tags: Vec<Tag>,
    /// The bytes of the blobs that it reaches and that the repository holds, each counted once, also where other
    /// entries reach them too.
    pub bytes: u64,
    /// When it, or a manifest that it reaches, was last pulled or stored.
    pub used_at: Timestamp,
    /// Whether it is kept, whatever room is needed: its digest, or a tag on it, is pinned.
    pub is_pinned: bool,
}

/// Where a list of entries goes on: behind this one.
pub type EntryKey = (RepositoryName, Digest);

/// What to evict: least recently used first, never what is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Only entries that were last used before this.
    pub used_before: Timestamp,
    /// No more entries once so many bytes have lost their last holder; none at all for 0.
    pub bytes: u64,
    /// At most so many entries: one call is one transaction, and others wait for it.
    pub entries_max: usize,
    /// Only say what would go.
    pub is_dry_run: bool,
}

/// What went, or would: an entry, or a tag alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// The repository.
    pub repository: RepositoryName,
    /// The manifest or blob.
    pub digest: Digest,
    /// The tags that went, in order.
    pub tags: Vec<Tag>,
    /// The bytes of the blobs that lost their last holder with it, among all repositories.
    pub freed: u64,
    /// When it was last used.
    pub used_at: Timestamp,
}

/// A reference that is kept in the cache, whatever room is needed, with everything that it reaches. What reaches *it* is not kept: an
/// index may go while a child of it stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The repository.
    pub repository: RepositoryName,
    /// The tag, whatever it points at, or the digest. Neither need be here.
    pub reference: TagOrDigest,
    /// When it was pinned.
    pub pinned_at: Timestamp,
}

/// What became of an order to forget a reference or a whole repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// There was nothing of it.
    Nothing,
    /// Nothing happened: this is pinned, the first of what is.
    Pinned(TagOrDigest),
    /// These went.
    Entries(Vec<Evicted>),
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The bytes of all blobs that a repository holds, each counted once, with the size that was linked last.
    pub bytes: u64,
    /// How many blobs that are.
    pub blobs: u64,
    /// Manifests, counted in each repository that holds them.
    pub manifests: u64,
}

/// The id of an upload session: 128 random bits as 32 lower-case hexadecimal digits, so that it cannot be guessed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(Box<str>);

impl UploadId {
    /// The id of these random bits.
    pub fn from_random(bits: u128) -> Self {
        Self(format!("{bits:032x}").into())
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 32 && is_hex { Ok(Self(text.into())) } else { Err(UploadIdError) }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The text is not an upload id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an upload id: expected 32 lower-case hexadecimal digits")]
pub struct UploadIdError;

/// An upload session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRow {
    /// Its id.
    pub id: UploadId,
    /// The repository that it belongs to; under another name it does not exist.
    pub repository: RepositoryName,
    /// Who began it: nobody else may see, continue or end it. Empty for callers who have no name.
    pub owner: String,
    /// The algorithm that the client announced, which the running hash follows.
    pub algorithm: entrepot_oci::Algorithm,
    /// When it was last used.
    pub touched_at: Timestamp,
}
