//! Questions to upstreams among replicas: one asks, the others take what it was told.
//!
//! Within a process that is what flights are for ([`crate::flight`]). Here the flights of several processes for the same question become
//! one after the other, so that each but the first finds the answer in the store. Nobody waits long for that: an upstream that is asked
//! twice is no harm, a client that is kept waiting is.

use std::future::Future;

use tokio::time::Instant;

use super::lease::Claimed;
use crate::limits::{REPLICA_ASK_PATIENCE, REPLICA_POLL_FIRST, REPLICA_POLL_MAX};
use crate::{Error, Registry};

impl Registry {
    /// The outcome of `ask`, or what another replica was told meanwhile, which `landed` finds in the store.
    ///
    /// `subject` names what is asked for, the same in every replica.
    pub(crate) async fn ask_among<T, Landing, Asking>(
        &self,
        subject: &str,
        landed: impl Fn() -> Landing,
        ask: impl FnOnce() -> Asking,
    ) -> Result<T, Error>
    where
        Landing: Future<Output = Result<Option<T>, Error>>,
        Asking: Future<Output = Result<T, Error>>,
    {
        if let Some(answer) = landed().await? {
            return Ok(answer);
        }
        let Some(replica) = &self.replica else { return ask().await };
        let (name, begun) = (format!("ask {subject}"), Instant::now());
        let mut pause = REPLICA_POLL_FIRST;
        loop {
            let lease = match replica.leases.claim(&name, "").await {
                Ok(Claimed::Theirs { .. }) if begun.elapsed() < REPLICA_ASK_PATIENCE => None,
                Ok(Claimed::Ours(lease)) => Some(lease),
                // The lease only saves a question.
                Ok(Claimed::Theirs { .. }) | Err(_) => return ask().await,
            };
            // Whoever had the lease until now may have had the answer.
            if let Some(answer) = landed().await? {
                return Ok(answer);
            }
            if let Some(_lease) = lease {
                return ask().await;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(REPLICA_POLL_MAX);
        }
    }
}
