//! A store of blobs whose disk fails as it is told to, and a registry over it in front of an upstream.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use entrepot_blobs::{
    BlobReader, BlobStore, Content, Error, Ingest, MemoryStore, Parked, Stage, StageId, Staged, Whole,
};
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_oci::{Algorithm, ByteRange, Digest};
use entrepot_registry::{
    Limits, Metrics, Parts, ProxySettings, PulledBlob, Registry, Repository, Store, SystemClock, Tasks,
};
use entrepot_testkit::{FakeUpstream, Image, Seen};
use entrepot_upstream::{Remotes, RemotesConfig, UpstreamConfig};
use futures_util::StreamExt;

/// What is wrong with the disk.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// How many bytes there are room for, if there is an end to it.
    room: AtomicU64,
    is_limited: AtomicBool,
    /// No stage can be begun.
    pub(crate) begins_nothing: AtomicBool,
    /// Nothing that was staged can be published.
    pub(crate) publishes_nothing: AtomicBool,
    /// Every blob is gone when it is opened.
    pub(crate) has_lost_all: AtomicBool,
    /// The first byte of every blob is another one when it is read.
    pub(crate) is_corrupt: AtomicBool,
    /// How many stages there are.
    stages: AtomicUsize,
}

impl Faults {
    /// Leaves room for `bytes` of them.
    pub(crate) fn leave_room_for(&self, bytes: u64) {
        self.room.store(bytes, Ordering::SeqCst);
        self.is_limited.store(true, Ordering::SeqCst);
    }

    /// Everything is as it should be again.
    pub(crate) fn heal(&self) {
        for fault in
            [&self.is_limited, &self.begins_nothing, &self.publishes_nothing, &self.has_lost_all, &self.is_corrupt]
        {
            fault.store(false, Ordering::SeqCst);
        }
    }

    /// How many stages take up room.
    pub(crate) fn stages(&self) -> usize {
        self.stages.load(Ordering::SeqCst)
    }

    fn take_room(&self, bytes: u64) -> Result<(), Error> {
        let take = |room: u64| room.checked_sub(bytes);
        if self.is_limited.load(Ordering::SeqCst)
            && self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err()
        {
            return Err(full());
        }
        Ok(())
    }
}

fn full() -> Error {
    Error::Full { path: PathBuf::from("/cache"), source: io::ErrorKind::StorageFull.into() }
}

/// A store in memory on a disk with faults.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyStore {
    inner: MemoryStore,
    pub(crate) faults: Arc<Faults>,
}

#[async_trait]
impl BlobStore for FaultyStore {
    async fn begin(&self, stage: &StageId, algorithm: Algorithm) -> Result<Ingest, Error> {
        if self.faults.begins_nothing.load(Ordering::SeqCst) {
            return Err(full());
        }
        self.faults.stages.fetch_add(1, Ordering::SeqCst);
        let staged = FaultyStage { store: self.clone(), content: Arc::default(), is_over: AtomicBool::new(false) };
        Ok(Ingest::new(stage.clone(), Arc::new(staged), 0, algorithm.hasher()))
    }

    async fn resume(&self, _: &StageId, _: Algorithm, _: Option<Parked>) -> Result<Option<Ingest>, Error> {
        Ok(None)
    }

    async fn put(&self, content: Whole) -> Result<(), Error> {
        if self.faults.begins_nothing.load(Ordering::SeqCst) {
            return Err(full());
        }
        self.faults.take_room(content.size())?;
        self.inner.put(content).await
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        self.inner.size(digest).await
    }

    async fn open(&self, digest: &Digest) -> Result<Option<BlobReader>, Error> {
        if self.faults.has_lost_all.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let reader = self.inner.open(digest).await?;
        if !self.faults.is_corrupt.load(Ordering::SeqCst) {
            return Ok(reader);
        }
        let Some(reader) = reader else { return Ok(None) };
        let mut bytes = BytesMut::new();
        let mut stream = reader.stream(None);
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        bytes[0] ^= 1;
        let content = Arc::new(Grown(RwLock::new(bytes.to_vec())));
        Ok(Some(BlobReader::new(reader.size(), content)))
    }

    async fn adopt(&self, digest: &Digest, source: &BlobReader) -> Result<u64, Error> {
        self.inner.adopt(digest, source).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        self.inner.delete(digest).await
    }

    async fn staged(&self) -> Result<Vec<Staged>, Error> {
        Ok(Vec::new())
    }

    async fn discard(&self, _: &StageId) -> Result<bool, Error> {
        Ok(false)
    }

    async fn probe(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Grown(RwLock<Vec<u8>>);

impl Content for Grown {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let grown = self.0.read().unwrap();
        let rest = grown.get(usize::try_from(position).unwrap()..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

#[derive(Debug)]
struct FaultyStage {
    store: FaultyStore,
    content: Arc<Grown>,
    is_over: AtomicBool,
}

impl FaultyStage {
    fn end(&self) {
        if !self.is_over.swap(true, Ordering::SeqCst) {
            self.store.faults.stages.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Stage for FaultyStage {
    fn content(&self) -> Arc<dyn Content> {
        Arc::clone(&self.content) as Arc<dyn Content>
    }

    fn append(&self, _: u64, frames: &[Bytes]) -> Result<(), Error> {
        for frame in frames {
            self.store.faults.take_room(frame.len() as u64)?;
            self.content.0.write().unwrap().extend_from_slice(frame);
        }
        Ok(())
    }

    fn settle(&self, _: u64) -> Result<SystemTime, Error> {
        Ok(SystemTime::UNIX_EPOCH)
    }

    async fn publish(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        if self.store.faults.publishes_nothing.load(Ordering::SeqCst) {
            return Err(full());
        }
        self.store.inner.adopt(digest, &BlobReader::new(size, self.content())).await?;
        self.end();
        Ok(())
    }

    fn discard(&self) -> Result<(), Error> {
        self.end();
        Ok(())
    }
}

/// The name of the upstream in paths.
const NAME: &str = "upstream.test";
/// The repository there.
pub(crate) const THERE: &str = "team/app";

/// A registry whose cache lies on a disk with faults, in front of an upstream.
pub(crate) struct Port {
    pub(crate) upstream: FakeUpstream,
    pub(crate) own: FaultyStore,
    pub(crate) cache: FaultyStore,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registry: Arc<Registry>,
    _folder: tempfile::TempDir,
}

impl Port {
    pub(crate) async fn open(settings: ProxySettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let upstream = FakeUpstream::start().await;
        let (own, cache) = (FaultyStore::default(), FaultyStore::default());
        let store = |name: &str, blobs: &FaultyStore| Store {
            blobs: Arc::new(blobs.clone()),
            metadata: Arc::new(SqliteStore::open(&folder.path().join(name)).unwrap()),
        };
        let config = UpstreamConfig::new(NAME, upstream.url().parse().unwrap());
        let remotes = RemotesConfig { upstreams: vec![config], ..RemotesConfig::default() };
        let metrics = Arc::new(Metrics::default());
        let registry = Registry::new(Parts {
            own: store("own.sqlite", &own),
            cache: store("cache.sqlite", &cache),
            remotes: Remotes::new(remotes).unwrap(),
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
            settings,
            is_open: true,
            immutable: entrepot_registry::ImmutableTags::default(),
            metrics: Arc::clone(&metrics),
            tasks: Tasks::default(),
            replica: None,
        });
        Self { upstream, own, cache, metrics, registry, _folder: folder }
    }

    /// With an image whose manifest is cached.
    pub(crate) async fn with_image(layer_sizes: &[usize]) -> (Self, Image) {
        let port = Self::open(ProxySettings::default()).await;
        let image = port.put_image(layer_sizes).await;
        (port, image)
    }

    pub(crate) async fn put_image(&self, layer_sizes: &[usize]) -> Image {
        let image = Image::new(7, layer_sizes);
        image.load_into(&self.upstream, THERE, "1");
        self.cached().manifest(&entrepot_oci::TagOrDigest::Tag("1".parse().unwrap())).await.unwrap();
        self.upstream.forget_requests();
        image
    }

    /// The repository of the upstream.
    pub(crate) fn cached(&self) -> Repository {
        self.registry.repository(&format!("proxy/{NAME}/{THERE}").parse().unwrap()).unwrap()
    }

    /// A repository that is hosted here.
    pub(crate) fn hosted(&self) -> Repository {
        self.registry.repository(&"own/app".parse().unwrap()).unwrap()
    }

    pub(crate) async fn pull(&self, digest: &Digest) -> (BytesMut, bool) {
        let blob = self.cached().blob(digest).await.unwrap();
        receive(&blob, None).await
    }

    pub(crate) fn blob_gets(&self) -> usize {
        self.upstream.count(|seen| seen.is_get() && seen.is_blob())
    }
}

/// The bytes of a blob that came, and whether they came to a clean end.
pub(crate) async fn receive(blob: &PulledBlob, range: Option<ByteRange>) -> (BytesMut, bool) {
    let mut stream = blob.stream(range).await.unwrap();
    let mut received = BytesMut::new();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => received.extend_from_slice(&piece),
            Err(_) => return (received, false),
        }
    }
    (received, true)
}

pub(crate) fn is_whole_blob_get(seen: &Seen) -> bool {
    seen.is_get() && seen.is_blob() && seen.header("range").is_none()
}
