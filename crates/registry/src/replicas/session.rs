//! Upload sessions among replicas: the next request of a session may come to any of them.
//!
//! What a session has is in the stores: the bytes with the blob store, how many they are and their running hash with the session's row.
//! A request takes the session for itself before it looks at that, keeps it while it writes, and gives it back together with what
//! it has come to, in one statement that does nothing if the session was given to another meanwhile. So the two never interleave: the
//! bytes of a request that was too slow are not those that the row speaks of.
//!
//! Where one process has the store to itself, [`crate::sessions`] is all there is.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::{MetadataStore, Timestamp, UploadClaim, UploadId, UploadState};
use tokio::sync::oneshot;

use crate::{Clock, Error, Registry, Tasks};

/// A session that this request has taken for itself, in a store that several processes use. Dropped, it is given back as it was.
#[derive(Debug)]
pub(crate) struct SessionLease {
    metadata: Arc<dyn MetadataStore>,
    id: UploadId,
    writer: String,
    /// What the last request left.
    pub(crate) state: Option<UploadState>,
    /// Tells the renewal that the session is given back; dropped, it has the renewal do that.
    given_back: oneshot::Sender<()>,
}

impl SessionLease {
    /// Takes the session; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::UploadBusy`] while another request has it.
    pub(crate) async fn take(
        metadata: &Arc<dyn MetadataStore>,
        id: &UploadId,
        lasts: Duration,
        (clock, tasks): (&Arc<dyn Clock>, &Tasks),
    ) -> Result<Option<Self>, Error> {
        let writer = uuid::Uuid::new_v4().as_simple().to_string();
        let state = match metadata.claim_upload(id, &writer, lasts).await? {
            None => return Ok(None),
            Some(UploadClaim::Busy) => return Err(Error::UploadBusy { id: id.clone() }),
            Some(UploadClaim::Taken(_, state)) => state,
        };
        let (given_back, told) = oneshot::channel();
        let kept = Kept { metadata: Arc::clone(metadata), id: id.clone(), writer: writer.clone(), lasts };
        tasks.spawn(renew(kept, Arc::clone(clock), told));
        Ok(Some(Self { metadata: Arc::clone(metadata), id: id.clone(), writer, state, given_back }))
    }

    /// Who has it, for the store to see that it was not given to another.
    pub(crate) fn writer(&self) -> &str {
        &self.writer
    }

    /// Gives it back with what it has come to.
    ///
    /// # Errors
    /// [`Error::UploadBusy`] when it was given to another request meanwhile: nothing of what was done counts.
    pub(crate) async fn give_back(self, state: UploadState, now: Timestamp) -> Result<(), Error> {
        let is_ours = self.metadata.release_upload(&self.id, &self.writer, Some(state), now).await?;
        // Nobody listens any more when the renewal has found out itself that it was lost.
        let _ = self.given_back.send(());
        if is_ours { Ok(()) } else { Err(Error::UploadBusy { id: self.id }) }
    }

    /// Ends it together with the session: there is nothing to be given back.
    pub(crate) fn ended(self) {
        let _ = self.given_back.send(());
    }
}

/// What became of taking a session among replicas.
#[derive(Debug)]
pub(crate) enum Taken {
    /// There are no others.
    Alone,
    /// No other has it now.
    Among(SessionLease),
    /// It has ended.
    Ended,
}

impl Registry {
    /// Takes a session from the other replicas.
    ///
    /// # Errors
    /// [`Error::UploadBusy`] while one of them has it.
    pub(crate) async fn take_among(&self, id: &UploadId) -> Result<Taken, Error> {
        let Some(replica) = &self.replica else { return Ok(Taken::Alone) };
        let lease = SessionLease::take(&self.own.metadata, id, replica.lasts, (&self.clock, &self.tasks)).await?;
        Ok(lease.map_or(Taken::Ended, Taken::Among))
    }

    /// How many bytes a session has: as the request says that writes to it here, or as the last one left it, whichever replica that came
    /// to; `None` where there is one alone.
    pub(crate) async fn received_among(&self, id: &UploadId) -> Result<Option<u64>, Error> {
        if self.replica.is_none() {
            return Ok(None);
        }
        if let Some(received) = self.sessions.being_written(id) {
            return Ok(Some(received));
        }
        let progress = self.own.metadata.upload_progress(id).await?;
        Ok(progress.map(|progress| progress.received))
    }

    /// Ends a session that is this request's. Nothing happens when it was given to another meanwhile, who goes on with it.
    pub(crate) async fn end_upload(&self, id: &UploadId, lease: Option<SessionLease>) -> Result<(), Error> {
        let writer = lease.as_ref().map(SessionLease::writer);
        self.own.metadata.delete_upload(id, writer).await?;
        if let Some(lease) = lease {
            lease.ended();
        }
        Ok(())
    }
}

/// What a renewal needs to know.
struct Kept {
    metadata: Arc<dyn MetadataStore>,
    id: UploadId,
    writer: String,
    lasts: Duration,
}

/// Renews what a request has taken until that is given back. A process that dies leaves it to run out.
async fn renew(kept: Kept, clock: Arc<dyn Clock>, mut given_back: oneshot::Receiver<()>) {
    let Kept { metadata, id, writer, lasts } = kept;
    loop {
        match tokio::time::timeout(lasts / 3, &mut given_back).await {
            Ok(Ok(())) => return,
            Ok(Err(_dropped)) => break,
            Err(_elapsed) => {}
        }
        match metadata.renew_upload(&id, &writer, lasts).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(upload = %id, "an upload was given to another request: this one was too slow to keep it");
                return;
            }
            Err(error) => tracing::warn!(
                upload = %id, error = &error as &dyn std::error::Error,
                "an upload could not be kept for its request; it is tried again"
            ),
        }
    }
    if let Err(error) = metadata.release_upload(&id, &writer, None, clock.now()).await {
        tracing::debug!(
            upload = %id, error = &error as &dyn std::error::Error,
            "an upload could not be given back and becomes free by itself"
        );
    }
}
