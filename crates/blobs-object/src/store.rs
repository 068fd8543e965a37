//! The store: its parts put together, and the contract.

use std::io;
use std::path::{self, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_blobs::{
    BlobReader, BlobStore, Error, Ingest, Parked, SignedUrl, StageId, Staged, StagedFile, Staging, Whole, adopt_copy,
};
use entrepot_oci::{Algorithm, Digest, Hasher};
use futures_util::TryStreamExt as _;
use object_store::PutPayload;
use object_store::path::Path;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::bucket::Bucket;
use crate::cleanup::{self, ObjectMarker};
use crate::config::{ConfigError, ObjectStoreConfig, PartGrowth};
use crate::connect;
use crate::content::{ObjectContent, Readers};
use crate::failure::senseless;
use crate::kept::Kept;
use crate::layout::{Kind, Layout, unique};
use crate::limits::{COPY_BYTES_MAX, PROBE_WRITES_EVERY};
use crate::locations::{Location, Locations, Place};
use crate::metrics::Metrics;
use crate::parts_in_flight::PartsInFlight;
use crate::schedule::Schedule;
use crate::stage::{Begun, ObjectStage};
use crate::stages::Stages;

/// Blobs on object storage, shared with every process that uses the same bucket and prefix. Clones are the same store.
///
/// What is staged is in a local folder, which belongs to this process alone, and goes to the store behind the bytes that arrive. What was
/// parked is at the store to its last byte, so that any process takes it up with its [`Parked`]; the local file is kept for some
/// minutes, so that this one need not read anything back.
///
/// A crash leaves markers of the uploads that were begun, and tails of what was parked: [`staged`](BlobStore::staged) lists them, and
/// [`discard`](BlobStore::discard) ends them. A bucket should also be told to give up uploads that were not completed after some days: one
/// that was begun in the moment of a crash may have no marker.
#[derive(Clone, Debug)]
pub struct ObjectStore(pub(crate) Arc<Shared>);

/// What the stages, readers and tasks of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) bucket: Bucket,
    pub(crate) layout: Layout,
    pub(crate) locations: Locations,
    pub(crate) readers: Readers,
    pub(crate) stages: Stages,
    pub(crate) schedule: Schedule,
    pub(crate) memory: PartsInFlight,
    pub(crate) metrics: Metrics,
    pub(crate) background: TaskTracker,
    staging: Arc<Staging>,
    /// When writing was last seen to be possible.
    written: Mutex<Option<Instant>>,
}

/// What a store needs to be put together.
pub(crate) struct Parts {
    pub(crate) bucket: Bucket,
    pub(crate) prefix: Path,
    pub(crate) schedule: Schedule,
    pub(crate) memory: PartsInFlight,
    pub(crate) metrics: Metrics,
    pub(crate) staging: PathBuf,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is configured in a way that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The folder for what is staged cannot be used.
    #[error("the folder for what is staged cannot be used")]
    Staging(#[source] Error),
}

impl ObjectStore {
    /// Opens the store that `config` describes, with a folder of its own in `staging` for what is taken in. The store is not asked
    /// anything: [`probe`](BlobStore::probe) tells whether it is there. Blocks for a few milliseconds.
    ///
    /// What an earlier process has left in the folder is removed: everything that was promised is at the store. So no two processes
    /// may have the same folder at the same time.
    pub fn open(config: &ObjectStoreConfig, staging: &path::Path, metrics: Metrics) -> Result<Self, OpenError> {
        let place = config.place()?;
        let bucket = connect::bucket(config, &place, &metrics)?;
        let schedule = match config.part_growth {
            PartGrowth::Doubling => Schedule::growing(config.part_size),
            PartGrowth::Equal { blob_size_max } => Schedule::equal(config.part_size, blob_size_max),
        };
        // Two stores of one process may be given the same folder.
        let name = Algorithm::Sha256.digest(format!("{} {}", place.identity, place.prefix).as_bytes());
        let staging = staging.join(format!("objects-{}", &name.hex()[..16]));
        let memory = config.parts_in_flight.clone();
        let parts = Parts { bucket, prefix: place.prefix, schedule, memory, metrics, staging };
        Self::assemble(parts).map_err(OpenError::Staging)
    }

    pub(crate) fn assemble(parts: Parts) -> Result<Self, Error> {
        let Parts { bucket, prefix, schedule, memory, metrics, staging } = parts;
        let staging = Staging::open(staging)?;
        for staged in staging.list()? {
            staging.remove(&staged.stage)?;
        }
        let layout = Layout::new(prefix);
        Ok(Self(Arc::new(Shared {
            locations: Locations::new(bucket.clone(), layout.clone()),
            bucket,
            layout,
            readers: Readers::default(),
            stages: Stages::default(),
            schedule,
            memory,
            metrics,
            background: TaskTracker::new(),
            staging: Arc::new(staging),
            written: Mutex::new(None),
        })))
    }

    /// Waits until what was ended has been removed from the store: for a shutdown, which may also not wait and leave it to the sweep.
    pub async fn drained(&self) {
        self.0.background.close();
        self.0.background.wait().await;
        self.0.background.reopen();
    }

    async fn begin_as(&self, stage: &StageId, algorithm: Algorithm, known: Option<Digest>) -> Result<Ingest, Error> {
        self.0.drop_stale().await;
        let (id, incarnation) = (stage.clone(), unique());
        let file = self.0.run("begin a stage", move |staging| staging.create(&id)).await?;
        if let Some(earlier) = self.0.stages.hold(stage, &incarnation) {
            self.0.end_earlier(stage, earlier);
        }
        let begun = Begun { stage: stage.clone(), incarnation, file, local_from: 0, known, kept: None };
        Ok(Ingest::new(stage.clone(), ObjectStage::new(&self.0, begun), 0, algorithm.hasher()))
    }

    /// Takes up a stage from the file in which it was parked here; `None` when it is not as it was left.
    async fn resume_here(
        &self,
        stage: &StageId,
        algorithm: Algorithm,
        parked: Option<&Parked>,
    ) -> Result<Option<Ingest>, Error> {
        let Some(here) = self.0.stages.parked(stage) else { return Ok(None) };
        let told = parked.and_then(Parked::shared).and_then(|shared| Kept::decode(shared));
        let is_same = told.as_ref().is_some_and(|told| told.token == here.kept.token);
        if told.is_some_and(|told| told.incarnation == here.kept.incarnation) && !is_same {
            // Another process has gone on with it.
            return Ok(None);
        }
        let id = stage.clone();
        let opened = self.0.run("take up a stage", move |staging| {
            let Some(file) = staging.open_stage(&id)? else { return Ok(None) };
            let size = file.measure()?.0;
            Ok(Some((file, size)))
        });
        let Some((file, size)) = opened.await? else { return Ok(None) };
        let hasher = parked.filter(|parked| is_same && parked.offset() == size).map(|parked| parked.hasher().clone());
        let hasher = match hasher {
            Some(hasher) if hasher.algorithm() == algorithm || here.local_from > 0 => hasher,
            _ if here.local_from == 0 => self.0.hash(&file, stage, size, algorithm).await?,
            _ => return Ok(None),
        };
        let incarnation = here.kept.incarnation.clone();
        self.0.stages.hold(stage, &incarnation);
        self.0.drop_replaced(stage, &here.kept);
        let (local_from, kept) = (here.local_from, Some((size, here.kept)));
        let begun = Begun { stage: stage.clone(), incarnation, file, local_from, known: None, kept };
        Ok(Some(Ingest::new(stage.clone(), ObjectStage::new(&self.0, begun), size, hasher)))
    }

    /// Takes up a stage from what the store has of it; `None` when that is gone.
    async fn resume_elsewhere(&self, stage: &StageId, parked: &Parked) -> Result<Option<Ingest>, Error> {
        let Some(kept) = parked.shared().and_then(|shared| Kept::decode(shared)) else { return Ok(None) };
        let offset = parked.offset();
        let count = kept.upload.as_ref().map_or(0, |upload| upload.parts.len());
        let local_from = kept.schedule.start(u32::try_from(count).unwrap_or(u32::MAX));
        let mut tail = Vec::new();
        if let Some(end) = kept.tail_end {
            let kind = Kind::Tail { end, unique: kept.token.clone() };
            let key = self.0.layout.of_stage(stage, &kept.incarnation, &kind);
            let _room = self.0.memory.room_for(offset.saturating_sub(local_from)).await?;
            let Some(bytes) = self.0.bucket.read(&key, 0, offset - local_from).await? else { return Ok(None) };
            tail = bytes.try_collect().await.map_err(|error| crate::failure::failed("read", &key, &error))?;
        }
        if local_from + tail.iter().map(|frame: &Bytes| frame.len() as u64).sum::<u64>() != offset {
            return Err(senseless("take up", &self.0.layout.stage(stage), "its tail has another length than was kept"));
        }
        let id = stage.clone();
        let file = self.0.run("take up a stage", move |staging| {
            let file = staging.create(&id)?;
            if !tail.is_empty() {
                file.append(local_from, &tail)?;
            }
            file.settle(offset)?;
            Ok(file)
        });
        let file = file.await?;
        self.0.metrics.stages_taken_over.inc();
        if let Some(earlier) = self.0.stages.hold(stage, &kept.incarnation) {
            self.0.end_earlier(stage, earlier);
        }
        self.0.drop_replaced(stage, &kept);
        let incarnation = kept.incarnation.clone();
        let begun =
            Begun { stage: stage.clone(), incarnation, file, local_from, known: None, kept: Some((offset, kept)) };
        let hasher = parked.hasher().clone();
        Ok(Some(Ingest::new(stage.clone(), ObjectStage::new(&self.0, begun), offset, hasher)))
    }

    /// Copies a blob of the same bucket, without its bytes coming here; `None` when the store cannot.
    async fn adopt_there(&self, digest: &Digest, source: &BlobReader) -> Option<u64> {
        let content = source.content().as_any()?.downcast_ref::<ObjectContent>()?;
        if !content.bucket().is_same(&self.0.bucket) || source.size() > COPY_BYTES_MAX {
            return None;
        }
        let data = self.0.layout.data(digest);
        let copied = async {
            let is_there = self.0.bucket.copy(&content.key(), &data).await?;
            Ok::<_, Error>(is_there && self.0.size_for_certain(&data).await? == Some(source.size()))
        };
        match copied.await {
            Ok(true) => {
                self.0.locations.remember(digest, Location { size: source.size(), place: Place::Data });
                Some(source.size())
            }
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(
                    %digest,
                    error = &error as &dyn std::error::Error,
                    "the store did not copy a blob: its bytes are read and written instead"
                );
                None
            }
        }
    }
}

#[async_trait]
impl BlobStore for ObjectStore {
    async fn begin(&self, stage: &StageId, algorithm: Algorithm) -> Result<Ingest, Error> {
        self.begin_as(stage, algorithm, None).await
    }

    async fn begin_known(&self, stage: &StageId, digest: &Digest) -> Result<Ingest, Error> {
        self.begin_as(stage, digest.algorithm(), Some(digest.clone())).await
    }

    async fn resume(
        &self,
        stage: &StageId,
        algorithm: Algorithm,
        parked: Option<Parked>,
    ) -> Result<Option<Ingest>, Error> {
        if let Some(ingest) = self.resume_here(stage, algorithm, parked.as_ref()).await? {
            return Ok(Some(ingest));
        }
        match parked.filter(|parked| parked.stage() == stage) {
            Some(parked) => self.resume_elsewhere(stage, &parked).await,
            None => Ok(None),
        }
    }

    async fn put(&self, content: Whole) -> Result<(), Error> {
        let (digest, size) = (content.digest().clone(), content.size());
        let payload: PutPayload = content.frames().iter().cloned().collect();
        self.0.bucket.put(&self.0.layout.data(&digest), payload).await?;
        self.0.locations.remember(&digest, Location { size, place: Place::Data });
        Ok(())
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        Ok(self.0.locations.locate(digest).await?.map(|location| location.size))
    }

    async fn open(&self, digest: &Digest) -> Result<Option<BlobReader>, Error> {
        let Some(location) = self.0.locations.locate(digest).await? else { return Ok(None) };
        let key = self.0.locations.key(digest, &location.place);
        Ok(Some(BlobReader::new(location.size, self.0.readers.open(&self.0, digest, key, location.size))))
    }

    async fn adopt(&self, digest: &Digest, source: &BlobReader) -> Result<u64, Error> {
        match self.adopt_there(digest, source).await {
            Some(size) => Ok(size),
            None => adopt_copy(self, digest, source).await,
        }
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        let found = self.0.locations.find(digest).await?;
        self.0.locations.forget(digest);
        let Some(location) = found.location() else { return Ok(false) };
        let readers = self.0.readers.take(digest);
        let remains = StageId::unique("deleted");
        let data = self.0.layout.data(digest);
        if let Some(readers) = readers.as_ref().filter(|readers| readers.key() == data)
            && location.size <= COPY_BYTES_MAX
        {
            let copy = self.0.layout.of_stage(&remains, &unique(), &Kind::Copy);
            if self.0.bucket.copy(&data, &copy).await? {
                readers.keep_at(copy, remains.clone());
            }
        }
        if let Some(pointer) = &found.pointer {
            // The marker, then the pointer, which is when the blob is gone, then the object. A crash in between leaves a blob, or an
            // object that the sweep finds by its marker.
            let marker = self.0.layout.of_stage(&remains, &unique(), &Kind::Object);
            cleanup::write(&self.0, &marker, &ObjectMarker { key: pointer.key.clone() }).await?;
            self.0.bucket.delete(&self.0.layout.pointer(digest)).await?;
        }
        if found.data.is_some() {
            self.0.bucket.delete(&data).await?;
        }
        if let Some(pointer) = found.pointer {
            let object = self.0.layout.absolute(&pointer.key);
            match readers.filter(|readers| readers.key() == object) {
                Some(readers) => readers.keep_at(object, remains),
                None => cleanup::in_background(&self.0, remains),
            }
        }
        Ok(true)
    }

    async fn signed_url(&self, digest: &Digest, lasts: Duration) -> Result<Option<SignedUrl>, Error> {
        let Some(location) = self.0.locations.believe(digest).await? else { return Ok(None) };
        self.0.bucket.sign(&self.0.locations.key(digest, &location.place), lasts).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn staged(&self) -> Result<Vec<Staged>, Error> {
        let mut staged = self.0.run("list the stages", Staging::list).await?;
        staged.retain(|entry| self.0.stages.is_local(&entry.stage));
        for object in self.0.bucket.list(&self.0.layout.stages()).await? {
            let Some((stage, incarnation, kind)) = self.0.layout.parse_of_stage(&object.key) else { continue };
            if self.0.stages.is_ending(&incarnation) {
                continue;
            }
            let size = match kind {
                Kind::Tail { end, .. } => end,
                Kind::Copy => object.size,
                Kind::Multipart | Kind::Publishing | Kind::Object => 0,
            };
            let seen = Staged { stage, size, modified: object.modified };
            match staged.iter_mut().find(|entry| entry.stage == seen.stage) {
                Some(entry) => {
                    entry.size = entry.size.max(seen.size);
                    entry.modified = entry.modified.max(seen.modified);
                }
                None => staged.push(seen),
            }
        }
        Ok(staged)
    }

    async fn discard(&self, stage: &StageId) -> Result<bool, Error> {
        let id = stage.clone();
        self.0.stages.remove(stage);
        let was_here = self.0.run("discard a stage", move |staging| staging.remove(&id)).await?;
        Ok(cleanup::sweep(&self.0, stage, None).await? || was_here)
    }

    async fn probe(&self) -> Result<(), Error> {
        self.0.run("probe the folder", probe_staging).await?;
        let key = self.0.layout.probe();
        let written = *self.0.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.is_none_or(|at| at.elapsed() > PROBE_WRITES_EVERY) {
            self.0.bucket.put(&key, PutPayload::from_static(b"probe")).await?;
            *self.0.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        // Whether it is there does not matter: the bucket has answered, with the rights that reading takes.
        self.0.bucket.get(&key).await.map(|_| ())
    }
}

impl Shared {
    /// Runs what waits for a disk on the blocking pool.
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Staging) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let staging = Arc::clone(&self.staging);
        spawn_blocking(move || work(&staging)).await.unwrap_or(Err(Error::Interrupted { operation }))
    }

    pub(crate) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Without a runtime the process is at its end, and the sweep of the next finds it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.background.spawn_on(work, &runtime);
        }
    }

    /// The size of an object, after a second look when the first finds nothing.
    pub(crate) async fn size_for_certain(&self, key: &Path) -> Result<Option<u64>, Error> {
        match self.bucket.head(key).await? {
            Some(size) => Ok(Some(size)),
            None => self.bucket.size_of_readable(key).await,
        }
    }

    /// The running hash of a staged file.
    async fn hash(&self, file: &StagedFile, stage: &StageId, size: u64, algorithm: Algorithm) -> Result<Hasher, Error> {
        let (file, stage) = (Arc::clone(file.local()), stage.clone());
        let hashed = spawn_blocking(move || {
            entrepot_blobs::rehash(file.as_ref(), size, algorithm).map_err(|source| Error::Unreadable { stage, source })
        });
        hashed.await.unwrap_or(Err(Error::Interrupted { operation: "read the staged bytes again" }))
    }

    /// Removes what the stage that had the id before has left at the store.
    fn end_earlier(self: &Arc<Self>, stage: &StageId, incarnation: String) {
        self.stages.begin_ending(&incarnation);
        let (shared, stage) = (Arc::clone(self), stage.clone());
        self.in_background(async move {
            cleanup::end(&shared, &stage, &incarnation, cleanup::End::Discarded).await;
        });
    }

    /// Removes the tail that a later one has replaced: whoever takes up the later one has written it down.
    fn drop_replaced(self: &Arc<Self>, stage: &StageId, kept: &Kept) {
        let Some((end, unique)) = kept.replaced.clone() else { return };
        let key = self.layout.of_stage(stage, &kept.incarnation, &Kind::Tail { end, unique });
        let shared = Arc::clone(self);
        self.in_background(async move {
            if let Err(error) = shared.bucket.delete(&key).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a tail that was replaced could not be removed: it goes with its stage"
                );
            }
        });
    }

    /// Removes the local files of stages that were parked long ago.
    async fn drop_stale(&self) {
        for stage in self.stages.take_stale() {
            let removed = self.run("remove a stale stage", move |staging| staging.remove(&stage)).await;
            if let Err(error) = removed {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the local file of a parked stage could not be removed: it stays until the next start"
                );
            }
        }
    }
}

/// Writes a small file to the staging folder, and removes it.
fn probe_staging(staging: &Staging) -> Result<(), Error> {
    let probe = staging.create(&StageId::unique("probe"))?;
    let written = probe.append(0, &[Bytes::from_static(b"probe")]);
    probe.remove().and(written)
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        Self::other(error)
    }
}
