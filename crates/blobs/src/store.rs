//! The contract of a store of blobs.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use entrepot_oci::{Algorithm, Digest};

use crate::{BlobReader, Error, Ingest, SignedUrl, StageId, Whole};

/// Content-addressed bytes: written once, through an [`Ingest`] or as a [`Whole`], then immutable until deleted.
///
/// The contract, which `suite` checks for every store:
///
/// - **Only a commit makes a blob.** What is visible under a digest is whole and verified; once [`Ingest::commit`], or
///   [`put`](Self::put), has returned `Ok` every call sees it, also after a crash or a loss of power. Shortly before that it may be
///   seen already without being durable: whoever tells others that it is here relies on the commit, not on a look.
/// - **Idempotent.** Committing content that is already here succeeds and changes nothing that a reader can see;
///   where the stored copy has another size than the verified one (a damaged file), the new copy takes its place.
/// - **Absence is not an error and an outage is not an absence.** `None` and `false` mean that the store is sure;
///   whatever the store could not find out is an [`Error`].
/// - **Readers keep what they opened.** A [`BlobReader`] goes on to its end when the blob is deleted meanwhile.
/// - **Stages are private.** What is staged is found by its [`StageId`] alone, is never served as a blob, and survives a
///   restart of the process until it is committed or discarded.
///
/// Stores may differ in what an interrupted write leaves in the stage (a prefix of what was absorbed, never
/// anything else), and in how fast they are.
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug + 'static {
    /// Starts a new, empty stage whose running hash is `algorithm`.
    ///
    /// An earlier stage of the same id is discarded.
    async fn begin(&self, stage: &StageId, algorithm: Algorithm) -> Result<Ingest, Error>;

    /// The same for content that will be `digest`, so that it can be put where it belongs from the start. The commit verifies as
    /// ever, and may name another digest.
    async fn begin_known(&self, stage: &StageId, digest: &Digest) -> Result<Ingest, Error> {
        self.begin(stage, digest.algorithm()).await
    }

    /// Takes up a stage that was parked, or left by a process that ended; `None` when there is none.
    ///
    /// The hash of what is staged is taken from `parked` when that matches what is staged, and recomputed otherwise. A
    /// [shared](Self::is_shared) store takes up what any process has parked, from `parked`; without it only what was parked a moment ago by
    /// this one. There the running hash may stay one of another algorithm: it is a hint.
    async fn resume(
        &self,
        stage: &StageId,
        algorithm: Algorithm,
        parked: Option<crate::Parked>,
    ) -> Result<Option<Ingest>, Error>;

    /// Makes verified content a blob, as the commit of an ingest does: durable when this returns. Nothing is left of it after an
    /// error, or when the process ends before, but what [`staged`](Self::staged) lists.
    async fn put(&self, content: Whole) -> Result<(), Error>;

    /// The size of a blob in bytes, or `None` when it is not here.
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error>;

    /// Opens a blob for reading, or `None` when it is not here.
    async fn open(&self, digest: &Digest) -> Result<Option<BlobReader>, Error>;

    /// Makes the blob that `source` reads, verified in another store, a blob of this store too; returns its size.
    ///
    /// Shares the bytes where the file system can (a hard link), copies and verifies them otherwise. From then on
    /// the two live and are deleted independently.
    async fn adopt(&self, digest: &Digest, source: &BlobReader) -> Result<u64, Error>;

    /// Deletes a blob; `false` when it was not here.
    async fn delete(&self, digest: &Digest) -> Result<bool, Error>;

    /// A URL at which whoever holds it can read the blob from the store itself for as long as `lasts`; `None` when the store has no
    /// such URLs, or when the blob is not here. It is made without asking the store, except for where the blob is.
    async fn signed_url(&self, digest: &Digest, lasts: Duration) -> Result<Option<SignedUrl>, Error> {
        let _ = (digest, lasts);
        Ok(None)
    }

    /// Whether several processes use the same bytes: what one has parked another can take up with the [`Parked`](crate::Parked) that
    /// it was told, and [`staged`](Self::staged) lists the stages of all.
    fn is_shared(&self) -> bool {
        false
    }

    /// Everything that is staged, for the sweep of what nobody will take up again.
    async fn staged(&self) -> Result<Vec<Staged>, Error>;

    /// Discards a stage that no [`Ingest`] holds; `false` when there is none.
    async fn discard(&self, stage: &StageId) -> Result<bool, Error>;

    /// Tries what every write needs, for the readiness probe: that the folders are there and can be written to.
    async fn probe(&self) -> Result<(), Error>;
}

/// One entry of [`BlobStore::staged`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The id that it was begun with.
    pub stage: StageId,
    /// How many bytes are staged.
    pub size: u64,
    /// When bytes were last added.
    pub modified: SystemTime,
}
