//! Pulling through another registry, with a clock that stands still until it is told to go on.

mod faults;
mod freshness;
mod lists;
mod memory;
mod refresh;

use std::sync::Arc;
use std::time::Duration;

use entrepot_blobs::MemoryStore;
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_oci::{Digest, Tag, TagOrDigest};
use entrepot_registry::{
    CacheStatus, Error, Freshness, Limits, Metrics, Parts, ProxySettings, PulledManifest, Registry, Repository, Store,
    Tasks,
};
use entrepot_testkit::{FakeUpstream, Image, Seen};
use entrepot_upstream::{Lookup, Remotes, RemotesConfig, UpstreamConfig};

use super::ManualClock;

/// The name of the upstream in paths.
const NAME: &str = "upstream.test";
/// The repository there.
const REPOSITORY: &str = "team/app";

const MINUTE: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

/// Within this a client that has something cached is answered, whatever the upstream does: the second that it waits, and room for
/// a busy machine.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// A registry in front of an upstream that is honest until told otherwise.
struct Port {
    upstream: FakeUpstream,
    registry: Arc<Registry>,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    own: Store,
    cache: Store,
    _folder: tempfile::TempDir,
}

impl Port {
    async fn open(settings: ProxySettings) -> Self {
        let upstream = FakeUpstream::start().await;
        let remotes = remotes(&upstream.url(), Lookup::default());
        Self::with(upstream, remotes, settings)
    }

    fn with(upstream: FakeUpstream, remotes: Remotes, settings: ProxySettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = |name: &str| Store {
            blobs: Arc::new(MemoryStore::new()),
            metadata: Arc::new(SqliteStore::open(&folder.path().join(name)).unwrap()),
        };
        let (own, cache) = (store("own.sqlite"), store("cache.sqlite"));
        let (clock, metrics) = (Arc::new(ManualClock::new()), Arc::new(Metrics::default()));
        let parts = Parts {
            own: own.clone(),
            cache: cache.clone(),
            remotes,
            clock: clock.clone(),
            limits: Limits::default(),
            settings,
            is_open: true,
            immutable: entrepot_registry::ImmutableTags::default(),
            metrics: metrics.clone(),
            tasks: Tasks::default(),
            replica: None,
        };
        Self { upstream, registry: Registry::new(parts), clock, metrics, own, cache, _folder: folder }
    }

    /// With tags that are believed for a minute, kept for ever, and an image under the tag `1`.
    async fn with_image() -> (Self, Image) {
        Self::with_image_and(Freshness::default()).await
    }

    async fn with_image_and(freshness: Freshness) -> (Self, Image) {
        let port = Self::open(ProxySettings { freshness, ..ProxySettings::default() }).await;
        let image = Image::new(7, &[10]);
        image.load_into(&port.upstream, REPOSITORY, "1");
        (port, image)
    }

    /// Starts again over the same stores, with nothing in memory and the upstream at another address.
    fn restart(&mut self, url: &str) {
        self.registry = Registry::new(Parts {
            own: self.own.clone(),
            cache: self.cache.clone(),
            remotes: remotes(url, Lookup::default()),
            clock: self.clock.clone(),
            limits: Limits::default(),
            settings: ProxySettings::default(),
            is_open: true,
            immutable: entrepot_registry::ImmutableTags::default(),
            metrics: self.metrics.clone(),
            tasks: Tasks::default(),
            replica: None,
        });
    }

    fn repository(&self) -> Repository {
        self.registry.repository(&format!("proxy/{NAME}/{REPOSITORY}").parse().unwrap()).unwrap()
    }

    async fn pull(&self, reference: &str) -> Result<PulledManifest, Error> {
        self.repository().manifest(&TagOrDigest::parse(reference).unwrap()).await
    }

    /// Pulls the tag `1` by a name that must be answered, and says what and how.
    async fn pulled(&self) -> (Digest, CacheStatus) {
        let pulled = self.pull("1").await.unwrap();
        (pulled.manifest.digest, pulled.cache)
    }

    async fn tags(&self) -> Result<(Vec<String>, Option<String>), Error> {
        let listing = self.repository().tags(None, 100).await?;
        Ok((listing.entries.iter().map(Tag::to_string).collect(), listing.warning))
    }

    fn heads(&self) -> usize {
        self.upstream.count(|seen| seen.is_head() && seen.is_manifest())
    }

    fn gets(&self) -> usize {
        self.upstream.count(|seen| seen.is_get() && seen.is_manifest())
    }

    fn lists(&self) -> usize {
        self.upstream.count(Seen::is_tags)
    }
}

fn remotes(url: &str, lookup: Lookup) -> Remotes {
    let upstreams = vec![UpstreamConfig::new(NAME, url.parse().unwrap())];
    Remotes::new(RemotesConfig { upstreams, resolve_overrides: lookup, ..RemotesConfig::default() }).unwrap()
}

fn by_digest(digest: &Digest) -> TagOrDigest {
    TagOrDigest::Digest(digest.clone())
}
