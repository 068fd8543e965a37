//! Leases: who, of all replicas, does something now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use entrepot_metadata::{LeaseClaim, LeaseOutcome, MetadataStore};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Error, Tasks};

/// The leases of this process in one metadata store.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    metadata: Arc<dyn MetadataStore>,
    process: Arc<str>,
    lasts: Duration,
    count: Arc<AtomicU64>,
    tasks: Tasks,
}

/// Who has a lease.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// It was free, and is ours.
    Ours(Lease),
    /// Somebody else has it, and has left this note with it.
    Theirs {
        /// What others are told.
        note: String,
    },
}

/// A lease that is held, and renewed for as long as this lives. Dropped, it is given back soon after.
#[derive(Debug)]
pub(crate) struct Lease {
    claim: LeaseClaim,
    lasts: Duration,
    metadata: Arc<dyn MetadataStore>,
    /// Ends the renewal, which then gives the lease back.
    _renewed: DropGuard,
}

impl Leases {
    /// Those of the process that is called `process`, in `metadata`.
    pub(crate) fn new(metadata: Arc<dyn MetadataStore>, process: &str, lasts: Duration, tasks: Tasks) -> Self {
        Self { metadata, process: process.into(), lasts, count: Arc::default(), tasks }
    }

    /// Takes the lease `name` if nobody has it, and says to the others what `note` says.
    ///
    /// Each claim is a holder of its own: also two tasks of one process exclude each other.
    pub(crate) async fn claim(&self, name: &str, note: &str) -> Result<Claimed, Error> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let claim =
            LeaseClaim { name: name.to_owned(), holder: format!("{}/{number}", self.process), note: note.to_owned() };
        match self.metadata.claim_lease(&claim, self.lasts).await? {
            LeaseOutcome::Held { .. } => Ok(Claimed::Ours(self.keep(claim))),
            LeaseOutcome::Taken { note, .. } => Ok(Claimed::Theirs { note }),
        }
    }

    fn keep(&self, claim: LeaseClaim) -> Lease {
        let ended = CancellationToken::new();
        let renewal = renew(Arc::clone(&self.metadata), claim.clone(), self.lasts, ended.clone());
        self.tasks.spawn(renewal);
        Lease { claim, lasts: self.lasts, metadata: Arc::clone(&self.metadata), _renewed: ended.drop_guard() }
    }
}

impl Lease {
    /// Makes sure, right now, that nobody else has it. What is done at once, within the time that it lasts, is done alone.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when it was lost: renewals did not get through for too long, and somebody else took it.
    pub(crate) async fn confirm(&self) -> Result<(), Error> {
        match self.metadata.claim_lease(&self.claim, self.lasts).await? {
            LeaseOutcome::Held { .. } => Ok(()),
            LeaseOutcome::Taken { .. } => Err(Error::Interrupted),
        }
    }
}

/// Renews a lease until `ended`, and gives it back then. A process that dies leaves it to run out.
async fn renew(metadata: Arc<dyn MetadataStore>, claim: LeaseClaim, lasts: Duration, ended: CancellationToken) {
    while !is_over(&ended, lasts / 3).await {
        match metadata.claim_lease(&claim, lasts).await {
            Ok(LeaseOutcome::Held { .. }) => {}
            Ok(LeaseOutcome::Taken { .. }) => {
                tracing::warn!(lease = claim.name, "a lease was lost: the metadata store was not reached in time");
                return;
            }
            Err(error) => tracing::warn!(
                lease = claim.name,
                error = &error as &dyn std::error::Error,
                "a lease could not be renewed; it is tried again"
            ),
        }
    }
    if let Err(error) = metadata.release_lease(&claim.name, &claim.holder).await {
        tracing::debug!(
            lease = claim.name,
            error = &error as &dyn std::error::Error,
            "a lease could not be given back and runs out by itself"
        );
    }
}

/// Waits for `pause`; `true`, at once, when it is over.
async fn is_over(ended: &CancellationToken, pause: Duration) -> bool {
    tokio::time::timeout(pause, ended.cancelled()).await.is_ok()
}
