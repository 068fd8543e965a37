//! Work that one replica does for all: eviction and sweeps, one at a time, and those that come round, once in their interval.

use std::time::Duration;

use super::lease::{Claimed, Lease};
use crate::limits::{REPLICA_POLL_FIRST, REPLICA_POLL_MAX};
use crate::{Error, Registry};

impl Registry {
    /// Waits until no other replica does `work`, and keeps them from it while what is returned lives; at once where there are none.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the process is to stop before.
    pub(crate) async fn turn_among(&self, work: &str) -> Result<Option<Lease>, Error> {
        let Some(replica) = &self.replica else { return Ok(None) };
        let mut pause = REPLICA_POLL_FIRST;
        loop {
            if let Claimed::Ours(lease) = replica.leases.claim(&format!("work {work}"), "").await? {
                return Ok(Some(lease));
            }
            tokio::select! {
                () = self.tasks.stopping() => return Err(Error::Interrupted),
                () = tokio::time::sleep(pause) => {}
            }
            pause = pause.saturating_mul(2).min(REPLICA_POLL_MAX);
        }
    }

    /// Whether `work` is for this replica to do now: `false` when another one did it, or began to, less than `interval` ago.
    pub(crate) async fn is_due_among(&self, work: &str, interval: Duration) -> Result<bool, Error> {
        let Some(_turn) = self.turn_among(work).await? else { return Ok(true) };
        let (metadata, key) = (&self.cache.metadata, format!("done {work}"));
        if metadata.note(&key).await?.is_some() {
            return Ok(false);
        }
        // Before the work: a replica that dies at it leaves it to the next interval.
        metadata.set_note(&key, "", interval).await?;
        Ok(true)
    }
}
