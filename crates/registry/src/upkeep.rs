//! Upkeep: what goes on beside the requests for as long as the process runs, each at its own times.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::{EVICTION_INTERVAL, SWEEP_INTERVAL, USE_INTERVAL};
use crate::{Error, EvictionOrder, Registry, Swept};

impl Registry {
    /// Starts it: the sweep, the writing of uses, and the eviction, which begins with what an earlier process has left.
    ///
    /// All of it ends when the tasks are told to stop; the uses that were noted until then are written first.
    pub fn keep_up(self: &Arc<Self>) {
        self.tasks.spawn(Arc::clone(self).keep_sweeping());
        self.tasks.spawn(Arc::clone(self).keep_writing_uses());
        self.tasks.spawn(Arc::clone(self).keep_evicting());
        self.keep_in_touch();
    }

    async fn keep_sweeping(self: Arc<Self>) {
        while self.goes_on_after(SWEEP_INTERVAL).await {
            match self.sweep_in_turn().await {
                Ok(Some(swept)) => tracing::debug!(?swept, "swept"),
                Ok(None) => tracing::debug!("another replica has swept"),
                Err(error) => log(&error, "a sweep failed and is repeated later"),
            }
        }
    }

    /// Sweeps, unless another replica does in this interval.
    async fn sweep_in_turn(self: &Arc<Self>) -> Result<Option<Swept>, Error> {
        // Somewhat less than an interval: replicas do not start at the same moment, and one of them may be gone the next time.
        if self.is_due_among("sweep", SWEEP_INTERVAL / 2).await? {
            return self.sweep(false).await.map(Some);
        }
        Ok(None)
    }

    async fn keep_writing_uses(self: Arc<Self>) {
        loop {
            let goes_on = self.goes_on_after(USE_INTERVAL).await;
            if let Err(error) = self.write_uses().await {
                log(&error, "uses of cached content could not be written and wait for the next time");
            }
            if !goes_on {
                return;
            }
        }
    }

    async fn keep_evicting(self: Arc<Self>) {
        loop {
            log_failure(self.evict_cache(EvictionOrder::default())).await;
            let pause = tokio::time::sleep(EVICTION_INTERVAL);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = self.tasks.stopping() => return,
                    () = &mut pause => break,
                    () = self.fills.stored.notified() => log_failure(self.evict_when_full()).await,
                }
            }
        }
    }

    /// Waits; `false` when the process is to stop.
    async fn goes_on_after(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.tasks.stopping() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

async fn log_failure<T>(eviction: impl Future<Output = Result<T, Error>>) {
    if let Err(error) = eviction.await {
        log(&error, "an eviction failed and is repeated later");
    }
}

fn log(error: &Error, message: &str) {
    tracing::error!(error = error as &dyn std::error::Error, "{message}");
}
