//! The domain without HTTP: what only a clock or a disk of the test's own can show.

mod cached;
mod callers;
mod eviction;
mod faulty;
mod immutable;
mod mounts;
mod names;
mod passing;
mod races;
mod replicas;
mod sharing;
mod uploads;
mod upstreams;
mod usage;
mod warm;
mod withheld;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::MemoryStore;
use entrepot_metadata::{BlobLink, Timestamp};
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_oci::Algorithm;
use entrepot_registry::{
    Actor, Chunk, Clock, Error, ImmutableTags, Limits, Metrics, Parts, Registry, Repository, Source, Store, Swept,
    Tasks,
};
use entrepot_upstream::{Remotes, RemotesConfig, Via};
use futures_util::StreamExt;

const HOUR: Duration = Duration::from_hours(1);

/// A clock that stands still until it is told to go on.
#[derive(Debug)]
struct ManualClock(AtomicI64);

impl ManualClock {
    fn new() -> Self {
        Self(AtomicI64::new(1_700_000_000_000))
    }

    fn step_back(&self, by: Duration) {
        self.0.fetch_sub(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_milliseconds(self.0.load(Ordering::SeqCst))
    }
}

struct House {
    registry: Arc<Registry>,
    clock: Arc<ManualClock>,
    own: Store,
    cache: Store,
    _folder: tempfile::TempDir,
}

impl House {
    fn new(limits: Limits) -> Self {
        Self::with(limits, ImmutableTags::default(), RemotesConfig::default())
    }

    fn with(limits: Limits, immutable: ImmutableTags, remotes: RemotesConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = |name: &str| Store {
            blobs: Arc::new(MemoryStore::new()),
            metadata: Arc::new(SqliteStore::open(&folder.path().join(name)).unwrap()),
        };
        let clock = Arc::new(ManualClock::new());
        let (own, cache) = (store("own.sqlite"), store("cache.sqlite"));
        let registry = Registry::new(Parts {
            own: own.clone(),
            cache: cache.clone(),
            remotes: Remotes::new(remotes).unwrap(),
            clock: clock.clone(),
            limits,
            settings: entrepot_registry::ProxySettings::default(),
            is_open: true,
            immutable,
            metrics: Arc::new(Metrics::default()),
            tasks: Tasks::default(),
            replica: None,
        });
        Self { registry, clock, own, cache, _folder: folder }
    }

    fn repository(&self) -> Repository {
        self.named("team/app")
    }

    fn named(&self, name: &str) -> Repository {
        self.registry.repository(&name.parse().unwrap()).unwrap()
    }

    /// Makes many own repositories hold a blob, whose bytes need not be here.
    async fn link(&self, names: impl IntoIterator<Item = String>, blob: &BlobLink) {
        // All at once, so that they share commits.
        let links = names.into_iter().map(|name| async move {
            self.own.metadata.link_blob(&name.parse().unwrap(), blob, self.clock.now()).await.unwrap();
        });
        futures_util::future::join_all(links).await;
    }

    /// A repository as somebody sees it.
    fn seen_by(&self, actor: &str, name: &str) -> Repository {
        let actor = Actor { name: actor.to_owned(), ..Actor::default() };
        self.registry.repository_for(&name.parse().unwrap(), &Via::default(), &Arc::new(actor)).unwrap()
    }
}

fn source(bytes: &'static str) -> Source {
    futures_util::stream::iter([Ok(Bytes::from_static(bytes.as_bytes()))]).boxed()
}

#[tokio::test]
async fn an_upload_lives_as_long_as_it_is_used_and_is_swept_when_it_is_not() {
    let house = House::new(Limits { upload_expiry: 24 * HOUR, ..Limits::default() });
    let repository = house.repository();
    let used = repository.start_upload(Algorithm::Sha256).await.unwrap();
    let left = repository.start_upload(Algorithm::Sha256).await.unwrap();
    repository.append_to_upload(left.id.as_str(), Chunk::default(), source("left")).await.unwrap();
    // A chunk an hour, for twice as long as an unused upload lives.
    for hour in 1..=48 {
        house.clock.advance(HOUR);
        let status = repository.append_to_upload(used.id.as_str(), Chunk::default(), source("x")).await.unwrap();
        assert_eq!(status.received, hour);
        house.registry.sweep(false).await.unwrap();
    }
    assert_eq!(repository.upload_status(used.id.as_str()).await.unwrap().received, 48);
    assert!(matches!(repository.upload_status(left.id.as_str()).await, Err(Error::UploadUnknown { .. })));
    house.clock.advance(25 * HOUR);
    assert_eq!(house.registry.sweep(false).await.unwrap().uploads, 1);
    assert_eq!(house.registry.sweep(true).await.unwrap(), Swept::default());
}

#[tokio::test]
async fn a_thousand_abandoned_uploads_are_swept_at_once() {
    let house = House::new(Limits { uploads_per_repository_max: 2000, ..Limits::default() });
    let repository = house.repository();
    for _ in 0..1000 {
        repository.start_upload(Algorithm::Sha256).await.unwrap();
    }
    house.clock.advance(8 * 24 * HOUR);
    assert_eq!(house.registry.sweep(false).await.unwrap().uploads, 1000);
}

#[tokio::test]
async fn a_repository_has_only_so_many_unfinished_uploads() {
    let house = House::new(Limits { uploads_per_repository_max: 3, ..Limits::default() });
    let repository = house.repository();
    let first = repository.start_upload(Algorithm::Sha256).await.unwrap();
    for _ in 0..2 {
        repository.start_upload(Algorithm::Sha256).await.unwrap();
    }
    let refused = repository.start_upload(Algorithm::Sha256).await;
    assert!(matches!(refused, Err(Error::TooManyUploads { open: 3, .. })), "{refused:?}");
    // Another repository has its own, and a cancelled one makes room.
    let other = house.registry.repository(&"other".parse().unwrap()).unwrap();
    other.start_upload(Algorithm::Sha256).await.unwrap();
    repository.cancel_upload(first.id.as_str()).await.unwrap();
    repository.start_upload(Algorithm::Sha256).await.unwrap();
}

#[tokio::test]
async fn a_blob_larger_than_allowed_ends_its_upload_whole_or_in_parts() {
    let house = House::new(Limits { blob_bytes_max: 10, ..Limits::default() });
    let repository = house.repository();
    let digest = Algorithm::Sha256.digest(b"12345678901");
    let whole = repository.push_blob(&digest, None, source("12345678901")).await;
    assert!(matches!(whole, Err(Error::BlobTooLarge { limit: 10 })), "{whole:?}");
    // The limit is on the session, not on the request (D3).
    let upload = repository.start_upload(Algorithm::Sha256).await.unwrap();
    repository.append_to_upload(upload.id.as_str(), Chunk::default(), source("12345678")).await.unwrap();
    let second = repository.append_to_upload(upload.id.as_str(), Chunk::default(), source("901")).await;
    assert!(matches!(second, Err(Error::BlobTooLarge { limit: 10 })), "{second:?}");
    assert!(matches!(repository.upload_status(upload.id.as_str()).await, Err(Error::UploadUnknown { .. })));
    assert!(matches!(repository.blob_size(&digest).await, Err(Error::BlobUnknown { .. })));
    assert_eq!(house.registry.sweep(true).await.unwrap(), Swept::default(), "nothing was left behind");
}
