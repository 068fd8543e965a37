//! Blobs in memory: for tests, and for what is small and may be lost.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest};

use crate::content::rehash;
use crate::{
    BlobReader, BlobStore, Content, Error, Ingest, Parked, Stage, StageId, Staged, Whole, adopt_copy, blocking,
};

/// Blobs in memory, lost with the process. It has no bound. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    blobs: HashMap<Digest, Arc<MemoryContent>>,
    stages: HashMap<StageId, Arc<MemoryContent>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self, stage: &StageId, content: Arc<MemoryContent>) -> Arc<dyn Stage> {
        Arc::new(MemoryStage { store: self.clone(), stage: stage.clone(), content })
    }
}

#[async_trait]
impl BlobStore for MemoryStore {
    async fn begin(&self, stage: &StageId, algorithm: Algorithm) -> Result<Ingest, Error> {
        let content = Arc::new(MemoryContent::default());
        self.held().stages.insert(stage.clone(), Arc::clone(&content));
        Ok(Ingest::new(stage.clone(), self.stage(stage, content), 0, algorithm.hasher()))
    }

    async fn resume(
        &self,
        stage: &StageId,
        algorithm: Algorithm,
        parked: Option<Parked>,
    ) -> Result<Option<Ingest>, Error> {
        let Some(content) = self.held().stages.get(stage).cloned() else { return Ok(None) };
        let (size, modified) = content.measure();
        let mut hasher = parked.and_then(|parked| parked.into_hasher(stage, algorithm, size, modified));
        if hasher.is_none() {
            let (content, stage) = (Arc::clone(&content), stage.clone());
            let rehashed = blocking::run("take up a stage", move || {
                rehash(content.as_ref(), size, algorithm).map_err(|source| Error::Unreadable { stage, source })
            });
            hasher = Some(rehashed.await?);
        }
        let ingest = |hasher| Ingest::new(stage.clone(), self.stage(stage, content), size, hasher);
        Ok(hasher.map(ingest))
    }

    async fn put(&self, content: Whole) -> Result<(), Error> {
        let stored = Arc::new(MemoryContent::default());
        stored.change(0, content.frames());
        self.held().blobs.entry(content.digest().clone()).or_insert(stored);
        Ok(())
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        Ok(self.held().blobs.get(digest).map(|content| content.measure().0))
    }

    async fn open(&self, digest: &Digest) -> Result<Option<BlobReader>, Error> {
        let content = self.held().blobs.get(digest).cloned();
        Ok(content.map(|content| BlobReader::new(content.measure().0, content)))
    }

    async fn adopt(&self, digest: &Digest, source: &BlobReader) -> Result<u64, Error> {
        adopt_copy(self, digest, source).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.held().blobs.remove(digest).is_some())
    }

    async fn staged(&self) -> Result<Vec<Staged>, Error> {
        let staged = |(stage, content): (&StageId, &Arc<MemoryContent>)| {
            let (size, modified) = content.measure();
            Staged { stage: stage.clone(), size, modified }
        };
        Ok(self.held().stages.iter().map(staged).collect())
    }

    async fn discard(&self, stage: &StageId) -> Result<bool, Error> {
        Ok(self.held().stages.remove(stage).is_some())
    }

    async fn probe(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Bytes in memory that grow at the end.
#[derive(Debug)]
struct MemoryContent(RwLock<Grown>);

#[derive(Debug)]
struct Grown {
    bytes: Vec<u8>,
    modified: SystemTime,
}

impl Default for MemoryContent {
    fn default() -> Self {
        Self(RwLock::new(Grown { bytes: Vec::new(), modified: now() }))
    }
}

impl MemoryContent {
    /// The size in bytes and when bytes were last added.
    fn measure(&self) -> (u64, SystemTime) {
        let grown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (grown.bytes.len() as u64, grown.modified)
    }

    fn change(&self, offset: u64, frames: &[Bytes]) -> SystemTime {
        let mut grown = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if grown.bytes.len() as u64 != offset || !frames.is_empty() {
            // What is held in memory can be counted in `usize`.
            grown.bytes.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
            for frame in frames {
                grown.bytes.extend_from_slice(frame);
            }
            grown.modified = now();
        }
        grown.modified
    }
}

impl Content for MemoryContent {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let grown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let rest = usize::try_from(position).ok().and_then(|position| grown.bytes.get(position..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn read_cached(&self, buffer: &mut [u8], position: u64) -> Option<usize> {
        self.read_at(buffer, position).ok().filter(|count| *count > 0)
    }
}

/// The time of a change, as a file system keeps it.
#[expect(clippy::disallowed_methods, reason = "the stages of files have the time of the system too")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// A stage in memory.
#[derive(Debug)]
struct MemoryStage {
    store: MemoryStore,
    stage: StageId,
    content: Arc<MemoryContent>,
}

impl MemoryStage {
    /// Whether the id still means this stage.
    fn has_its_id(&self, held: &Held) -> bool {
        held.stages.get(&self.stage).is_some_and(|content| Arc::ptr_eq(content, &self.content))
    }
}

#[async_trait]
impl Stage for MemoryStage {
    fn content(&self) -> Arc<dyn Content> {
        Arc::clone(&self.content) as Arc<dyn Content>
    }

    fn append(&self, offset: u64, frames: &[Bytes]) -> Result<(), Error> {
        self.content.change(offset, frames);
        Ok(())
    }

    fn settle(&self, offset: u64) -> Result<SystemTime, Error> {
        Ok(self.content.change(offset, &[]))
    }

    async fn publish(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        self.settle(size)?;
        let mut held = self.store.held();
        if !self.has_its_id(&held) {
            return Err(Error::Discarded { stage: self.stage.clone() });
        }
        held.stages.remove(&self.stage);
        held.blobs.entry(digest.clone()).or_insert_with(|| Arc::clone(&self.content));
        Ok(())
    }

    fn discard(&self) -> Result<(), Error> {
        let mut held = self.store.held();
        if self.has_its_id(&held) {
            held.stages.remove(&self.stage);
        }
        Ok(())
    }
}
