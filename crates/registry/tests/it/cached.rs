//! A cache over real stores in front of a real upstream, with a clock of the test's own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::FilesystemStore;
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_oci::{Digest, Manifest, ReferenceKind, RepositoryName, TagOrDigest};
use entrepot_registry::{
    CacheLimits, CachedEntry, EvictionOrder, EvictionReport, Limits, Metrics, Parts, ProxySettings, Registry,
    Repository, Store, Tasks,
};
use entrepot_testkit::{FakeUpstream, Image, StoredManifest};
use entrepot_upstream::{Remotes, RemotesConfig, UpstreamConfig};
use futures_util::TryStreamExt;

use crate::ManualClock;

/// The name of the upstream in paths.
pub(crate) const NAME: &str = "upstream.test";

/// Far longer than anything here takes.
const WAIT_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Cached {
    pub(crate) registry: Arc<Registry>,
    pub(crate) upstream: FakeUpstream,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) own: Store,
    pub(crate) cache: Store,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: Tasks,
    limits: CacheLimits,
    folder: tempfile::TempDir,
}

impl Cached {
    pub(crate) async fn open(limits: CacheLimits) -> Self {
        let upstream = FakeUpstream::start().await;
        let clock = Arc::new(ManualClock(AtomicI64::new(1_700_000_000_000)));
        Self::over(tempfile::tempdir().unwrap(), upstream, clock, limits)
    }

    pub(crate) async fn unlimited() -> Self {
        Self::open(CacheLimits::default()).await
    }

    fn over(folder: tempfile::TempDir, upstream: FakeUpstream, clock: Arc<ManualClock>, limits: CacheLimits) -> Self {
        let store = |name: &str| {
            let folder = folder.path().join(name);
            let blobs = FilesystemStore::open(folder.clone(), folder.join("staging")).unwrap();
            Store {
                blobs: Arc::new(blobs),
                metadata: Arc::new(SqliteStore::open(&folder.join("metadata.sqlite")).unwrap()),
            }
        };
        let (own, cache) = (store("own"), store("cache"));
        let upstreams = vec![UpstreamConfig::new(NAME, upstream.url().parse().unwrap())];
        let (metrics, tasks) = (Arc::new(Metrics::default()), Tasks::default());
        let registry = Registry::new(Parts {
            own: own.clone(),
            cache: cache.clone(),
            remotes: Remotes::new(RemotesConfig { upstreams, ..RemotesConfig::default() }).unwrap(),
            clock: clock.clone(),
            limits: Limits::default(),
            settings: ProxySettings { cache: limits, ..ProxySettings::default() },
            is_open: true,
            immutable: entrepot_registry::ImmutableTags::default(),
            metrics: Arc::clone(&metrics),
            tasks: tasks.clone(),
            replica: None,
        });
        Self { registry, upstream, clock, own, cache, metrics, tasks, limits, folder }
    }

    /// The next process over the same folders. What the last one only had in memory is lost.
    pub(crate) async fn restart(self) -> Self {
        let Self { registry, upstream, clock, own, cache, tasks, limits, folder, .. } = self;
        registry.fills_ended().await;
        let stores = (own, cache);
        drop((registry, tasks, stores));
        Self::over(folder, upstream, clock, limits)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn repository(&self, name: &str) -> Repository {
        self.registry.repository(&format!("proxy/{NAME}/{name}").parse().unwrap()).unwrap()
    }

    /// What a repository is called inside of the cache.
    pub(crate) fn cached_name(&self, name: &str) -> RepositoryName {
        format!("127.0.0.1__{}/{name}", self.upstream.address().port()).parse().unwrap()
    }

    /// What a repository is called where the cache is listed.
    pub(crate) fn shown_name(&self, name: &str) -> RepositoryName {
        self.cached_name(name).below("proxy").unwrap()
    }

    /// Pulls a manifest and every blob that it names itself, an hour after whatever came before, and waits until all is stored.
    pub(crate) async fn pull(&self, name: &str, reference: &str) -> Digest {
        self.clock.advance(crate::HOUR);
        let repository = self.repository(name);
        let manifest = repository.manifest(&reference_of(reference)).await.unwrap().manifest;
        let parsed = Manifest::parse(manifest.bytes, Some(&manifest.media_type)).unwrap();
        for reference in parsed.references().iter().filter(|reference| reference.kind != ReferenceKind::Child) {
            self.pull_blob(name, reference.descriptor.digest.known().unwrap()).await;
        }
        self.registry.fills_ended().await;
        manifest.digest
    }

    /// Pulls a blob, which has to be right.
    pub(crate) async fn pull_blob(&self, name: &str, digest: &Digest) {
        read(&self.repository(name), digest).await;
    }

    pub(crate) async fn evict(&self, order: EvictionOrder) -> EvictionReport {
        self.registry.evict_cache(order).await.unwrap()
    }

    pub(crate) async fn evict_down_to(&self, bytes: u64) -> EvictionReport {
        self.evict(EvictionOrder { down_to: Some(bytes), ..EvictionOrder::default() }).await
    }

    pub(crate) async fn entries(&self) -> Vec<CachedEntry> {
        self.registry.cache_entries(None, None, 1000).await.unwrap().entries
    }

    /// The digests of the entries, in the order of their use.
    pub(crate) async fn by_use(&self) -> Vec<Digest> {
        let mut entries = self.entries().await;
        entries.sort_by_key(|entry| entry.used_at);
        entries.into_iter().map(|entry| entry.digest).collect()
    }

    pub(crate) async fn bytes(&self) -> u64 {
        self.registry.cache_stats().await.unwrap().bytes
    }

    /// Whether the bytes of a blob are here.
    pub(crate) async fn has_bytes(&self, digest: &Digest) -> bool {
        self.cache.blobs.size(digest).await.unwrap().is_some()
    }

    /// Whether a row says that a repository has a blob.
    pub(crate) async fn has_row(&self, name: &str, digest: &Digest) -> bool {
        self.cache.metadata.blob(&self.cached_name(name), digest).await.unwrap().is_some()
    }
}

/// Reads a blob, which has to be right.
pub(crate) async fn read(repository: &Repository, digest: &Digest) {
    let pulled = repository.blob(digest).await.unwrap();
    let pieces: Vec<Bytes> = pulled.stream(None).await.unwrap().try_collect().await.unwrap();
    assert!(digest.names(&pieces.concat()), "other bytes than those of {digest}");
}

pub(crate) fn reference_of(text: &str) -> TagOrDigest {
    TagOrDigest::parse(text).unwrap()
}

/// Waits until something becomes true that nothing announces.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, is_true: impl Fn() -> F) {
    let waiting = async {
        while !is_true().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(WAIT_MAX, waiting).await.is_ok(), "it never came to it that {what}");
}

/// The bytes of the blobs of an image.
pub(crate) fn size_of(image: &Image) -> u64 {
    image.blobs().map(entrepot_testkit::Blob::size).sum()
}

/// Another manifest over the same blobs.
pub(crate) fn variation(image: &Image) -> StoredManifest {
    let mut document: serde_json::Value = serde_json::from_slice(&image.manifest.bytes).unwrap();
    document["annotations"] = serde_json::json!({ "org.example.variation": "1" });
    StoredManifest::new(image.manifest.media_type.as_str(), &document)
}
