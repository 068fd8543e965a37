//! Pushing a blob: in one request, or through an upload session that survives broken connections and restarts.

use bytes::Bytes;
use entrepot_blobs::{AbsorbError, CommitError, Ingest, StageId};
use entrepot_metadata::{BlobLink, UploadId, UploadRow, UploadState};
use entrepot_oci::{Algorithm, ChunkRange, Digest};
use futures_core::stream::BoxStream;

use crate::metrics::Running;
use crate::registry::Store;
use crate::replicas::session::{SessionLease, Taken};
use crate::sessions::{Claim, Progress};
use crate::{Error, Repository};

/// Why a client's body ended early.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request.
pub type Source = BoxStream<'static, Result<Bytes, SourceError>>;

/// What the headers say about a part of an upload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunk {
    /// Where it belongs (`Content-Range`); nothing means "at the end".
    pub range: Option<ChunkRange>,
    /// How long it is (`Content-Length`), where that is known.
    pub length: Option<u64>,
}

/// How far an upload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadStatus {
    /// The session.
    pub id: UploadId,
    /// How many bytes have been received.
    pub received: u64,
}

/// A session that this request is writing to.
struct Session {
    row: UploadRow,
    claim: Claim,
    ingest: Ingest,
    _running: Running,
}

impl Repository {
    /// Starts an upload session. Its running hash follows `algorithm`; it may still be closed with a digest of another one.
    pub async fn start_upload(&self, algorithm: Algorithm) -> Result<UploadStatus, Error> {
        let store = self.writable()?;
        let id = UploadId::from_random(uuid::Uuid::new_v4().as_u128());
        let touched_at = self.registry.clock.now();
        let row = UploadRow {
            id: id.clone(),
            repository: self.name.clone(),
            owner: self.actor.name.clone(),
            algorithm,
            touched_at,
        };
        match store.metadata.create_upload(&row, self.registry.limits.uploads_per_repository_max).await {
            Ok(()) => {
                self.registry.sessions.begun(&id);
                Ok(UploadStatus { id, received: 0 })
            }
            Err(entrepot_metadata::Error::TooManyUploads { open }) => {
                Err(Error::TooManyUploads { name: self.name.clone(), open })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// How far the session is.
    pub async fn upload_status(&self, id: &str) -> Result<UploadStatus, Error> {
        let row = self.upload_row(id).await?;
        if let Some(received) = self.registry.received_among(&row.id).await? {
            return Ok(UploadStatus { id: row.id, received });
        }
        match self.registry.sessions.progress(&row.id).await {
            Progress::Known(received) => Ok(UploadStatus { id: row.id, received }),
            Progress::Unknown(claim) => {
                let repository = self.clone();
                self.detached(async move { repository.find_progress(row.id, claim).await }).await
            }
        }
    }

    /// Looks at what is staged. Never cut off in the middle: an ingest that is dropped takes the staged bytes with it.
    async fn find_progress(&self, id: UploadId, mut claim: Claim) -> Result<UploadStatus, Error> {
        // Looked up again: the request that had the session until now may have ended it.
        let row = self.upload_row(id.as_str()).await?;
        let parked = claim.take_parked();
        let resumed = self.writable()?.blobs.resume(&stage_of(&id), row.algorithm, parked).await?;
        let Some(ingest) = resumed else { return Ok(UploadStatus { id, received: 0 }) };
        let received = ingest.offset();
        claim.park(ingest.park().await?);
        Ok(UploadStatus { id, received })
    }

    /// Adds a part to the session. What was received before the body broke off is kept.
    pub async fn append_to_upload(&self, id: &str, chunk: Chunk, source: Source) -> Result<UploadStatus, Error> {
        let (repository, id) = (self.clone(), id.to_owned());
        self.detached(async move {
            let mut session = repository.open_session(&id).await?;
            let outcome = session.absorb(chunk, source, repository.registry.limits.blob_bytes_max).await;
            if let Err(error @ Error::BlobTooLarge { .. }) = outcome {
                repository.end_session(session).await?;
                return Err(error);
            }
            let status = repository.park_session(session).await?;
            outcome.map(|()| status)
        })
        .await
    }

    /// Closes the session with the last part, which may be empty, and makes its content the blob `digest`.
    pub async fn finish_upload(&self, id: &str, digest: &Digest, chunk: Chunk, source: Source) -> Result<(), Error> {
        let (repository, id, digest) = (self.clone(), id.to_owned(), digest.clone());
        self.detached(async move { repository.finish_session(&id, digest, chunk, source).await }).await
    }

    async fn finish_session(&self, id: &str, digest: Digest, chunk: Chunk, source: Source) -> Result<(), Error> {
        let (row, claim) = self.claim_session(id).await?;
        if let Some(length) = self.whole_length(chunk).filter(|_| claim.is_empty()) {
            return self.finish_whole(&row, claim, digest, length, source).await;
        }
        let mut session = self.take_up(row, claim).await?;
        let before = session.ingest.offset();
        match session.absorb(chunk, source, self.registry.limits.blob_bytes_max).await {
            Ok(()) => self.commit_session(session, digest).await,
            Err(error @ Error::BlobTooLarge { .. }) => {
                self.end_session(session).await?;
                Err(error)
            }
            // A whole blob in one PUT is repeated from its first byte; the parts of a chunked one go on behind the last.
            Err(error @ Error::SourceBroken { .. }) if before == 0 && chunk.range.is_none() => {
                drop(session.ingest);
                Err(error)
            }
            Err(error) => {
                self.park_session(session).await?;
                Err(error)
            }
        }
    }

    /// Ends the session and discards its bytes.
    pub async fn cancel_upload(&self, id: &str) -> Result<UploadId, Error> {
        let row = self.upload_row(id).await?;
        let mut claim = self.claim(&row.id).await?;
        self.share(&row.id, &mut claim).await?;
        claim.take_parked();
        // The row first: a crash in between leaves staged bytes without a session, which the sweep removes.
        self.registry.end_upload(&row.id, claim.take_lease()).await?;
        self.writable()?.blobs.discard(&stage_of(&row.id)).await?;
        Ok(row.id)
    }

    /// Pushes a whole blob in one request.
    pub async fn push_blob(&self, digest: &Digest, length: Option<u64>, source: Source) -> Result<(), Error> {
        let (repository, digest) = (self.clone(), digest.clone());
        self.detached(async move { repository.push_blob_now(digest, length, source).await }).await
    }

    async fn push_blob_now(&self, digest: Digest, length: Option<u64>, source: Source) -> Result<(), Error> {
        let store = self.writable()?;
        let blob = match self.whole_length(Chunk { range: None, length }) {
            Some(length) => self.receive_whole(store, digest, length, source).await?,
            None => self.receive_staged(store, digest, length, source).await?,
        };
        // The bytes are durable: a crash before the row leaves a blob that nobody holds, garbage for a collection.
        store.metadata.link_blob(&self.name, &blob, self.registry.clock.now()).await?;
        self.registry.metrics.blobs_pushed.inc();
        Ok(())
    }

    async fn receive_staged(
        &self,
        store: &Store,
        digest: Digest,
        length: Option<u64>,
        source: Source,
    ) -> Result<BlobLink, Error> {
        let mut ingest = store.blobs.begin_known(&unowned_stage("blob"), &digest).await?;
        let limit = self.registry.limits.blob_bytes_max;
        ingest.absorb(source, limit).await.map_err(|error| absorb_error(error, ingest.offset()))?;
        check_length(length, ingest.offset())?;
        let size = ingest.commit(&digest).await.map_err(commit_error)?;
        Ok(BlobLink { digest, size })
    }

    /// Runs a write to its end whether or not the client stays: cut off in the middle, it would have to be cleaned up.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.registry.tasks.spawn(work).await.map_err(|_| Error::Interrupted)?
    }

    async fn upload_row(&self, text: &str) -> Result<UploadRow, Error> {
        // A session of somebody else, of another repository, and one that never was are one and the same.
        let unknown = || Error::UploadUnknown { name: self.name.clone(), id: text.to_owned() };
        let id: UploadId = text.parse().map_err(|_| unknown())?;
        let row = self.writable()?.metadata.upload(&id).await?;
        row.filter(|row| row.repository == self.name && row.owner == self.actor.name).ok_or_else(unknown)
    }

    async fn claim(&self, id: &UploadId) -> Result<Claim, Error> {
        self.registry.sessions.claim(id).await.ok_or_else(|| Error::UploadBusy { id: id.clone() })
    }

    async fn open_session(&self, text: &str) -> Result<Session, Error> {
        let (row, claim) = self.claim_session(text).await?;
        self.take_up(row, claim).await
    }

    async fn claim_session(&self, text: &str) -> Result<(UploadRow, Claim), Error> {
        let row = self.upload_row(text).await?;
        let mut claim = self.claim(&row.id).await?;
        if self.share(&row.id, &mut claim).await? || claim.is_known() {
            return Ok((row, claim));
        }
        // Looked up again: the request that had the session until now may have ended it.
        Ok((self.upload_row(text).await?, claim))
    }

    /// Takes the session from the other replicas as well; `false` where there are none.
    async fn share(&self, id: &UploadId, claim: &mut Claim) -> Result<bool, Error> {
        match self.registry.take_among(id).await? {
            Taken::Alone => Ok(false),
            Taken::Among(lease) => {
                claim.share(lease);
                Ok(true)
            }
            Taken::Ended => Err(Error::UploadUnknown { name: self.name.clone(), id: id.to_string() }),
        }
    }

    /// Goes on with what is staged of a session, or begins.
    async fn take_up(&self, row: UploadRow, mut claim: Claim) -> Result<Session, Error> {
        let blobs = &self.writable()?.blobs;
        let stage = stage_of(&row.id);
        let ingest = match blobs.resume(&stage, row.algorithm, claim.take_parked()).await? {
            Some(ingest) => ingest,
            None => blobs.begin(&stage, row.algorithm).await?,
        };
        claim.show_progress(ingest.growing());
        Ok(Session { row, claim, ingest, _running: Running::start(&self.registry.metrics.uploads_running) })
    }

    async fn park_session(&self, session: Session) -> Result<UploadStatus, Error> {
        let Session { row, mut claim, ingest, _running } = session;
        let received = ingest.offset();
        let parked = ingest.park().await?;
        let now = self.registry.clock.now();
        match claim.take_lease() {
            None => {
                self.writable()?.metadata.touch_upload(&row.id, now).await?;
            }
            Some(lease) => {
                // What the next replica needs. Lost before it is written, the bytes are those that the row speaks of, without these.
                let state = parked.encode().ok_or(Error::Interrupted)?;
                lease.give_back(UploadState { received, state }, now).await?;
            }
        }
        claim.park(parked);
        Ok(UploadStatus { id: row.id, received })
    }

    async fn commit_session(&self, session: Session, digest: Digest) -> Result<(), Error> {
        let Session { row, mut claim, ingest, _running } = session;
        let committed = ingest.commit(&digest).await.map_err(commit_error);
        self.close_session(&row, &mut claim, committed.map(|size| BlobLink { digest, size })).await
    }

    /// Receives all of a session into which nothing was written.
    async fn finish_whole(
        &self,
        row: &UploadRow,
        mut claim: Claim,
        digest: Digest,
        length: u64,
        source: Source,
    ) -> Result<(), Error> {
        let store = self.writable()?;
        claim.show_receiving();
        let _running = Running::start(&self.registry.metrics.uploads_running);
        let received = self.receive_whole(store, digest, length, source).await;
        if matches!(received, Ok(_) | Err(Error::DigestMismatch { .. })) {
            claim.take_parked();
        }
        self.close_session(row, &mut claim, received).await
    }

    /// Writes down what became of a session.
    async fn close_session(
        &self,
        row: &UploadRow,
        claim: &mut Claim,
        outcome: Result<BlobLink, Error>,
    ) -> Result<(), Error> {
        let metadata = &self.writable()?.metadata;
        match outcome {
            Ok(blob) => {
                // The bytes are durable: a crash before the row leaves a blob that nobody holds, garbage for a
                // collection, and an empty session, which the sweep ends.
                let lease = claim.take_lease();
                let (writer, now) = (lease.as_ref().map(SessionLease::writer), self.registry.clock.now());
                if !metadata.finish_upload(&row.id, writer, &self.name, &blob, now).await? {
                    return Err(Error::UploadBusy { id: row.id.clone() });
                }
                if let Some(lease) = lease {
                    lease.ended();
                }
                self.registry.metrics.blobs_pushed.inc();
                Ok(())
            }
            Err(error) => {
                if matches!(error, Error::DigestMismatch { .. }) {
                    self.registry.end_upload(&row.id, claim.take_lease()).await?;
                }
                Err(error)
            }
        }
    }
}

impl Repository {
    /// Ends a session that cannot go on. The row first, as in [`Self::cancel_upload`].
    async fn end_session(&self, mut session: Session) -> Result<(), Error> {
        self.registry.end_upload(&session.row.id, session.claim.take_lease()).await?;
        drop(session.ingest);
        Ok(())
    }
}

impl Session {
    async fn absorb(&mut self, chunk: Chunk, source: Source, blob_bytes_max: u64) -> Result<(), Error> {
        let received = self.ingest.offset();
        if let Some(range) = chunk.range {
            if range.first() != received {
                return Err(Error::ChunkOutOfOrder { id: self.row.id.clone(), first: range.first(), received });
            }
            check_length(chunk.length, range.length())?;
        }
        let absorbed = self.ingest.absorb(source, blob_bytes_max).await;
        let absorbed = absorbed.map_err(|error| absorb_error(error, self.ingest.offset()))?;
        // A body of unknown length may still turn out other than its range said; what came is kept, the status tells how much.
        check_length(chunk.range.map(ChunkRange::length), absorbed)
    }
}

/// The stage of an upload session.
pub(crate) fn stage_of(id: &UploadId) -> StageId {
    stage(&format!("upload-{id}"))
}

/// The session that a stage belongs to, when it is one of a session.
pub(crate) fn session_of(stage: &StageId) -> Option<UploadId> {
    stage.as_str().strip_prefix("upload-")?.parse().ok()
}

/// A new stage that no session owns: nobody can take it up after a crash, so the sweep removes it.
pub(crate) fn unowned_stage(purpose: &str) -> StageId {
    stage(&format!("{purpose}-{}", uuid::Uuid::new_v4().as_simple()))
}

#[expect(clippy::expect_used, reason = "the callers pass a short word and hexadecimal digits, which always parse")]
fn stage(text: &str) -> StageId {
    text.parse().expect("a word, a hyphen and hexadecimal digits are a stage id")
}

pub(crate) fn check_length(announced: Option<u64>, received: u64) -> Result<(), Error> {
    match announced {
        Some(announced) if announced != received => Err(Error::SizeMismatch { announced, received }),
        _ => Ok(()),
    }
}

fn absorb_error(error: AbsorbError<SourceError>, received: u64) -> Error {
    match error {
        AbsorbError::Source(source) => Error::SourceBroken { received, source },
        AbsorbError::TooLarge { limit } => Error::BlobTooLarge { limit },
        AbsorbError::Store(error) => error.into(),
    }
}

pub(crate) fn commit_error(error: CommitError) -> Error {
    match error {
        CommitError::Mismatch { expected, actual } => Error::DigestMismatch { expected, actual },
        CommitError::Store(error) => error.into(),
    }
}
