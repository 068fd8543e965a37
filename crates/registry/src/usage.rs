//! Use: what was pulled, noted in memory and written together.
//!
//! A pull never waits for a write: its use is noted here, once for each content however often that is pulled, and every few
//! seconds, at an eviction and at the end of the process all of them are written in one transaction. A crash loses the uses of
//! one such interval. An image that was pulled in it then looks unused since the pull before, which can matter only
//! to an eviction that was about to choose between images of nearly the same age.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_metadata::{Timestamp, Use};
use entrepot_oci::{Digest, RepositoryName};

use crate::limits::USES_WAITING_MAX;
use crate::{Clock, Error, Metrics, Registry};

/// The uses that are not written yet.
#[derive(Debug)]
pub(crate) struct Usage {
    waiting: Mutex<HashMap<(RepositoryName, Digest), Timestamp>>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Usage {
    pub(crate) fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { waiting: Mutex::default(), clock, metrics }
    }

    /// Notes that content of a cached repository is pulled now. Content that is not here is passed over when the use is written.
    pub(crate) fn note(&self, repository: &RepositoryName, digest: &Digest) {
        let at = self.clock.now();
        self.keep(&mut self.lock(), Use { repository: repository.clone(), digest: digest.clone(), at });
    }

    fn keep(&self, waiting: &mut HashMap<(RepositoryName, Digest), Timestamp>, used: Use) {
        let Use { repository, digest, at } = used;
        let key = (repository, digest);
        if waiting.len() >= USES_WAITING_MAX && !waiting.contains_key(&key) {
            self.metrics.uses_lost.inc();
            return;
        }
        let latest = waiting.entry(key).or_insert(at);
        *latest = at.max(*latest);
    }

    fn take(&self) -> Vec<Use> {
        let waiting = std::mem::take(&mut *self.lock());
        waiting.into_iter().map(|((repository, digest), at)| Use { repository, digest, at }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(RepositoryName, Digest), Timestamp>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Writes the uses that were noted so far, in a task of its own: a caller who leaves takes none along. What cannot be written
    /// waits for the next time.
    pub async fn write_uses(self: &Arc<Self>) -> Result<(), Error> {
        let registry = Arc::clone(self);
        let writing = self.tasks.spawn(async move {
            let uses = registry.usage.take();
            if uses.is_empty() {
                return Ok(());
            }
            let written = registry.cache.metadata.touch(uses.clone()).await;
            if written.is_err() {
                let mut waiting = registry.usage.lock();
                for used in uses {
                    registry.usage.keep(&mut waiting, used);
                }
            }
            written.map_err(Into::into)
        });
        writing.await.map_err(|_| Error::Interrupted)?
    }
}

#[cfg(test)]
mod tests {
    use entrepot_oci::Algorithm;

    use super::*;
    use crate::SystemClock;

    #[test]
    fn uses_are_kept_once_for_each_content_and_only_so_many() {
        let metrics = Arc::new(Metrics::default());
        let usage = Usage::new(Arc::new(SystemClock), Arc::clone(&metrics));
        let name: RepositoryName = "registry.example/app".parse().unwrap();
        let used = |number: usize, at: i64| Use {
            repository: name.clone(),
            digest: Algorithm::Sha256.digest(&number.to_le_bytes()),
            at: Timestamp::from_milliseconds(at),
        };
        for at in [2, 3, 1] {
            usage.keep(&mut usage.lock(), used(0, at));
        }
        assert_eq!(usage.take(), [used(0, 3)], "the latest of them, once");
        for number in 0..=USES_WAITING_MAX {
            usage.keep(&mut usage.lock(), used(number, 1));
        }
        usage.keep(&mut usage.lock(), used(0, 2));
        assert_eq!(usage.take().len(), USES_WAITING_MAX);
        assert_eq!(metrics.uses_lost.get(), 1);
    }
}
