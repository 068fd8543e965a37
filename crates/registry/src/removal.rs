//! Removal: how the bytes of a blob go that no cached repository holds any more.
//!
//! An eviction ends rows first, in one transaction, which also puts the blobs that lost their last holder on the store's list of
//! unheld ones. Here their bytes go, and then their line on the list. The one thing that must never come out of it is a row
//! without bytes. Only fills make rows of cached blobs, so removal and fill of one blob exclude each other
//! ([`Fills::begin_removal`](crate::fill::Fills::begin_removal)), and what the list said is looked at again once nobody can fill:
//!
//! | meanwhile | then |
//! | --- | --- |
//! | a fill of the blob is under way | it may link the bytes that are here: they stay, and so does the line. Linked, it leaves the list |
//! | a fill came and went since the list was read | the blob is held, and stays |
//! | a fill begins during the removal | it waits until bytes and line are gone, and fetches the blob anew |
//! | a pull found the row before it went | its reader keeps the file that it has open; without one it goes on as a miss, and fills |
//! | a push mounts the blob into the own store | by a link to the file, or a copy through its reader: both have lives of their own |
//!
//! And of a crash, or a loss of power:
//!
//! | between | is left | and goes by |
//! | --- | --- | --- |
//! | the rows and the bytes | a line on the list | the next run, the first of which is at the start |
//! | the bytes and their line | a line without bytes | the same: there is nothing to remove, and the line goes |
//! | the removal and its reaching the disk | bytes that came back, without a row | being filled again, which finds them in their place |

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use entrepot_metadata::{BlobLink, ProtectedTags};
use entrepot_oci::Digest;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::limits::{REMOVAL_FAILURES_MAX, REMOVALS_AT_ONCE_MAX, UNHELD_BATCH};
use crate::registry::Store;
use crate::{Error, Registry};

/// The blobs whose bytes are being removed.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    under_way: Arc<Mutex<HashMap<Digest, CancellationToken>>>,
}

impl Removals {
    /// Begins one; `None` when another of the same blob is under way. Whoever calls makes sure that no fill is.
    pub(crate) fn begin(&self, digest: &Digest) -> Option<Removal> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.contains_key(digest) {
            return None;
        }
        under_way.insert(digest.clone(), CancellationToken::new());
        Some(Removal { digest: digest.clone(), under_way: Arc::clone(&self.under_way) })
    }

    /// Resolves when the blob is not being removed, at once if it is not now.
    pub(crate) async fn ended(&self, digest: &Digest) {
        let removal = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned();
        if let Some(removal) = removal {
            removal.cancelled().await;
        }
    }
}

/// A removal under way. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Removal {
    digest: Digest,
    under_way: Arc<Mutex<HashMap<Digest, CancellationToken>>>,
}

impl Drop for Removal {
    fn drop(&mut self) {
        let ended = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
        if let Some(ended) = ended {
            ended.cancel();
        }
    }
}

/// What a run removed.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// The bytes that are free now.
    pub(crate) bytes: u64,
    /// The first thing that went wrong. What it kept from being removed is still on the list.
    pub(crate) failure: Option<Error>,
}

impl Registry {
    /// Removes the bytes of the blobs that no cached repository holds any more.
    ///
    /// To be run in a task of the process: a store may go on removing when its caller is gone, and a removal has to last as
    /// long. One blob that cannot be removed is not in the way of the others.
    pub(crate) async fn remove_unheld(&self) -> Removed {
        let mut removed = Removed::default();
        if let Err(error) = self.remove_listed(&mut removed).await {
            removed.failure.get_or_insert(error);
        }
        self.metrics.evicted_bytes.inc_by(removed.bytes);
        removed
    }

    async fn remove_listed(&self, removed: &mut Removed) -> Result<(), Error> {
        let mut left = HashSet::new();
        let mut failures = 0;
        loop {
            // What was left stays on the list: it must not be in the way of what is behind it.
            let unheld = self.cache.metadata.unheld_blobs(UNHELD_BATCH + left.len()).await?;
            let fresh: Vec<BlobLink> = unheld.into_iter().filter(|link| !left.contains(&link.digest)).collect();
            if fresh.is_empty() || self.tasks.is_stopping() || failures >= REMOVAL_FAILURES_MAX {
                return Ok(());
            }
            let mut outcomes = futures_util::stream::iter(fresh)
                .map(|link| async move { (self.remove_blob(&link).await, link) })
                .buffer_unordered(REMOVALS_AT_ONCE_MAX);
            while let Some((outcome, link)) = outcomes.next().await {
                match outcome {
                    Ok(Some(bytes)) => {
                        removed.bytes += bytes;
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(
                            digest = %link.digest, error = &error as &dyn std::error::Error,
                            "an evicted blob could not be removed; it is tried again later"
                        );
                        failures += 1;
                        removed.failure.get_or_insert(error);
                    }
                }
                left.insert(link.digest);
            }
        }
    }

    /// Removes the bytes of a blob that was on the list, and says how many; `None` when it has to stay for now.
    async fn remove_blob(&self, link: &BlobLink) -> Result<Option<u64>, Error> {
        let Store { blobs, metadata } = &self.cache;
        let Some(_removal) = self.fills.begin_removal(&link.digest) else { return Ok(None) };
        // Other replicas neither fill it now nor link what is here, until these are given back.
        let Some(_leases) = self.fills.lease_for_removal(&link.digest).await? else { return Ok(None) };
        if !metadata.blob_holders(&link.digest, 1).await?.is_empty() {
            return Ok(None);
        }
        let bytes = blobs.size(&link.digest).await?.unwrap_or(0);
        let is_removed = blobs.delete(&link.digest).await?;
        while !metadata.forget_blob(&link.digest).await? {
            if !self.unlink_removed(&link.digest).await? {
                break;
            }
        }
        Ok(Some(if is_removed { bytes } else { 0 }))
    }

    /// Ends the rows of a blob whose bytes have just been removed; `false` when there are none, as it should be.
    ///
    /// One way leads here: a fill was cut off, by its deadline or a shutdown, while the store already had its row to write. A
    /// row that the store wrote later still would find its blob by a miss: a pull looks for the bytes as well.
    async fn unlink_removed(&self, digest: &Digest) -> Result<bool, Error> {
        let holders = self.cache.metadata.blob_holders(digest, UNHELD_BATCH).await?;
        for (repository, _) in &holders {
            tracing::warn!(repository.name = %repository, %digest, "a row appeared for a removed blob and was ended");
            self.cache.metadata.unlink_blob(repository, digest, &ProtectedTags::default()).await?;
        }
        Ok(!holders.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use entrepot_blobs::MemoryStore;
    use entrepot_metadata_sqlite::SqliteStore;
    use entrepot_oci::{Algorithm, RepositoryName};
    use entrepot_testkit::FakeUpstream;
    use entrepot_upstream::{Remotes, RemotesConfig, UpstreamConfig};
    use futures_util::TryStreamExt;

    use super::*;
    use crate::{Limits, Metrics, Parts, ProxySettings, SystemClock, Tasks};

    fn registry(folder: &std::path::Path, upstreams: Vec<UpstreamConfig>) -> Arc<Registry> {
        let store = |name: &str| Store {
            blobs: Arc::new(MemoryStore::new()),
            metadata: Arc::new(SqliteStore::open(&folder.join(name)).unwrap()),
        };
        Registry::new(Parts {
            own: store("own.sqlite"),
            cache: store("cache.sqlite"),
            remotes: Remotes::new(RemotesConfig { upstreams, ..RemotesConfig::default() }).unwrap(),
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
            settings: ProxySettings::default(),
            is_open: true,
            immutable: crate::ImmutableTags::default(),
            metrics: Arc::new(Metrics::default()),
            tasks: Tasks::default(),
            replica: None,
        })
    }

    #[tokio::test]
    async fn rows_that_appear_for_a_removed_blob_are_ended() {
        let folder = tempfile::tempdir().unwrap();
        let registry = registry(folder.path(), Vec::new());
        let metadata = &registry.cache.metadata;
        let link = BlobLink { digest: Algorithm::Sha256.digest(b"blob"), size: 4 };
        let names: [RepositoryName; 2] = ["registry.example/a".parse().unwrap(), "registry.example/b".parse().unwrap()];
        for name in &names {
            metadata.link_blob(name, &link, registry.clock.now()).await.unwrap();
        }
        assert_eq!(registry.remove_blob(&link).await.unwrap(), None, "a blob that is held stays");
        assert!(registry.unlink_removed(&link.digest).await.unwrap());
        assert!(!registry.unlink_removed(&link.digest).await.unwrap());
        assert_eq!(registry.remove_blob(&link).await.unwrap(), Some(0));
        assert!(metadata.unheld_blobs(1).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_removal_excludes_another_and_is_waited_for() {
        let removals = Removals::default();
        let digest = Algorithm::Sha256.digest(b"blob");
        let removal = removals.begin(&digest).unwrap();
        assert!(removals.begin(&digest).is_none());
        let waiting = removals.ended(&digest);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(removal);
        waiting.await;
        removals.ended(&digest).await;
        assert!(removals.begin(&digest).is_some());
    }

    #[tokio::test]
    async fn a_fill_that_begins_during_a_removal_waits_and_fetches_the_blob_anew() {
        let folder = tempfile::tempdir().unwrap();
        let upstream = FakeUpstream::start().await;
        let digest = upstream.put_blob("app", "blob");
        let listed = UpstreamConfig::new("upstream.test", upstream.url().parse().unwrap());
        let registry = registry(folder.path(), vec![listed]);
        let repository = registry.repository(&"proxy/upstream.test/app".parse().unwrap()).unwrap();
        let read = async || -> Vec<bytes::Bytes> {
            let pulled = repository.blob(&digest).await.unwrap();
            pulled.stream(None).await.unwrap().try_collect().await.unwrap()
        };
        read().await;
        registry.fills_ended().await;
        let Store { blobs, metadata } = &registry.cache;
        let name = repository.cached().unwrap().cached_name().clone();
        let unlinked = metadata.unlink_blob(&name, &digest, &ProtectedTags::default()).await.unwrap();
        assert_eq!(unlinked, entrepot_metadata::Deletion::Done { tags: Vec::new() });
        upstream.forget_requests();

        let removal = registry.fills.begin_removal(&digest).unwrap();
        let removing = async {
            // The stores here do not make anybody wait: whatever a fill looks at it has looked at after this.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(registry.metrics.fills_running.get(), 1);
            assert!(blobs.delete(&digest).await.unwrap());
            assert!(metadata.forget_blob(&digest).await.unwrap());
            drop(removal);
        };
        let (pieces, ()) = tokio::join!(read(), removing);
        assert_eq!(pieces.concat(), b"blob");
        registry.fills_ended().await;
        assert_eq!(upstream.count(|seen| seen.is_blob() && seen.is_get()), 1, "it had taken what was about to go");
        assert!(blobs.size(&digest).await.unwrap().is_some() && metadata.blob(&name, &digest).await.unwrap().is_some());
    }
}
