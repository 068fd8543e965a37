//! The read cache: blobs of a store that is far away, kept on the local disk while they are wanted often.
//!
//! What is asked for a second time is fetched once more, verified, and kept; from then on it is read from its file, as the blobs of a local
//! store are. What was not read for longest goes when there is no room. Nobody waits for any of it: until a blob is here
//! it is read from where it is.
//!
//! The cache is never what says that a blob is there: sizes are asked of the store, and a blob that was deleted is here only
//! until its place is needed. Content has one name, so what is here is never out of date.

mod index;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use entrepot_oci::{Algorithm, Digest};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use self::index::Index;
use crate::limits::{READ_CACHE_FETCHES_MAX, READ_CACHE_WAITING_MAX};
use crate::{BlobReader, BlobStore, Error, FilesystemStore, Ingest, Parked, SignedUrl, StageId, Staged, Whole};

/// A store that is far away, with a read cache in front of it. Everything but reading goes to the store.
#[derive(Debug)]
pub struct ReadCache {
    store: Arc<dyn BlobStore>,
    local: FilesystemStore,
    index: Mutex<Index>,
    wanted: mpsc::Sender<(Digest, u64)>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    fetched: AtomicU64,
    failed: AtomicU64,
}

/// How a read cache is doing, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCacheState {
    /// Blobs that were read from the local disk.
    pub hits: u64,
    /// Blobs that were read from the store.
    pub misses: u64,
    /// Blobs that were fetched to be kept.
    pub fetched: u64,
    /// Fetches that came to nothing.
    pub failed: u64,
    /// The bytes that are kept now.
    pub bytes: u64,
}

/// The work of a read cache: fetching what is wanted. It has to be run for anything to be kept.
#[derive(Debug)]
pub struct Fetching {
    cache: Arc<ReadCache>,
    wanted: mpsc::Receiver<(Digest, u64)>,
}

impl ReadCache {
    /// Opens the cache of `store` in `folder`, which holds at most `bytes_max` and nothing but the cache. What an earlier process has
    /// kept there is found again. Blocks while it looks at each file.
    pub fn open(store: Arc<dyn BlobStore>, folder: &Path, bytes_max: u64) -> Result<(Arc<Self>, Fetching), Error> {
        let staging = folder.join("staging");
        // What a process that died was fetching. Nobody else uses the folder.
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("empty", &staging, error)),
            _ => {}
        }
        let local = FilesystemStore::open(folder.to_owned(), staging)?;
        let mut index = Index::new(bytes_max);
        let mut leaving = HashSet::new();
        for (digest, size) in kept(folder)? {
            leaving.remove(&digest);
            leaving.extend(index.add(&digest, size));
        }
        let (sender, wanted) = mpsc::channel(READ_CACHE_WAITING_MAX);
        let cache =
            Arc::new(Self { store, local, index: Mutex::new(index), wanted: sender, counts: Counts::default() });
        for digest in leaving {
            let path = blob_path(folder, &digest);
            fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
        Ok((Arc::clone(&cache), Fetching { cache, wanted }))
    }

    /// How it is doing.
    pub fn state(&self) -> ReadCacheState {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReadCacheState {
            hits: count(&self.counts.hits),
            misses: count(&self.counts.misses),
            fetched: count(&self.counts.fetched),
            failed: count(&self.counts.failed),
            bytes: self.index().bytes(),
        }
    }

    /// The blob from the local disk. That it cannot be read there is no reason not to read it from the store.
    async fn open_local(&self, digest: &Digest) -> Option<BlobReader> {
        if !self.index().touch(digest) {
            return None;
        }
        match self.local.open(digest).await {
            Ok(Some(reader)) => return Some(reader),
            Ok(None) => {}
            Err(error) => warn(digest, &error, "a blob of the read cache cannot be read"),
        }
        self.index().remove(digest);
        None
    }

    /// Fetches a blob and keeps it.
    async fn fetch(&self, digest: Digest, size: u64) {
        match self.fetch_and_keep(&digest, size).await {
            Ok(()) => self.counts.fetched.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                warn(&digest, &error, "a blob could not be kept in the read cache");
                self.counts.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    async fn fetch_and_keep(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        let Some(reader) = self.store.open(digest).await? else { return Ok(()) };
        if self.local.size(digest).await? != Some(size) {
            crate::adopt_copy(&self.local, digest, &reader).await?;
        }
        let leaving = self.index().add(digest, size);
        for digest in leaving {
            // A crash before leaves files that the next start finds and counts.
            self.local.delete(&digest).await?;
        }
        Ok(())
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Every change is whole before the next: a panic elsewhere leaves nothing half-written.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetching {
    /// Fetches what is wanted, a few at a time, until it is dropped.
    pub async fn run(self) {
        let Self { cache, mut wanted } = self;
        let mut fetches = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some((digest, size)) = wanted.recv(), if fetches.len() < READ_CACHE_FETCHES_MAX => {
                    fetches.push(cache.fetch(digest, size));
                }
                Some(()) = fetches.next(), if !fetches.is_empty() => {}
                else => return,
            }
        }
    }
}

#[async_trait]
impl BlobStore for ReadCache {
    async fn begin(&self, stage: &StageId, algorithm: Algorithm) -> Result<Ingest, Error> {
        self.store.begin(stage, algorithm).await
    }

    async fn begin_known(&self, stage: &StageId, digest: &Digest) -> Result<Ingest, Error> {
        self.store.begin_known(stage, digest).await
    }

    async fn resume(
        &self,
        stage: &StageId,
        algorithm: Algorithm,
        parked: Option<Parked>,
    ) -> Result<Option<Ingest>, Error> {
        self.store.resume(stage, algorithm, parked).await
    }

    async fn put(&self, content: Whole) -> Result<(), Error> {
        self.store.put(content).await
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        self.store.size(digest).await
    }

    async fn open(&self, digest: &Digest) -> Result<Option<BlobReader>, Error> {
        if let Some(reader) = self.open_local(digest).await {
            self.counts.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(reader));
        }
        let reader = self.store.open(digest).await?;
        if let Some(reader) = &reader {
            self.counts.misses.fetch_add(1, Ordering::Relaxed);
            let is_worth_it = self.index().ask(digest, reader.size());
            if is_worth_it {
                // Too many wait: it is wanted again if it is wanted often.
                let _ = self.wanted.try_send((digest.clone(), reader.size()));
            }
        }
        Ok(reader)
    }

    async fn adopt(&self, digest: &Digest, source: &BlobReader) -> Result<u64, Error> {
        self.store.adopt(digest, source).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        let is_deleted = self.store.delete(digest).await?;
        // After the store: what is left here of a blob that is gone there is only room that is needed soon.
        let is_held = self.index().remove(digest);
        if is_held && let Err(error) = self.local.delete(digest).await {
            warn(digest, &error, "a deleted blob stays in the read cache until the next start");
        }
        Ok(is_deleted)
    }

    async fn signed_url(&self, digest: &Digest, lasts: Duration) -> Result<Option<SignedUrl>, Error> {
        self.store.signed_url(digest, lasts).await
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    async fn staged(&self) -> Result<Vec<Staged>, Error> {
        self.store.staged().await
    }

    async fn discard(&self, stage: &StageId) -> Result<bool, Error> {
        self.store.discard(stage).await
    }

    async fn probe(&self) -> Result<(), Error> {
        self.store.probe().await
    }
}

fn warn(digest: &Digest, error: &Error, message: &str) {
    tracing::warn!(%digest, error = error as &dyn std::error::Error, "{message}");
}

/// Where the file of a blob is, in the layout that [`FilesystemStore`] has.
fn blob_path(folder: &Path, digest: &Digest) -> std::path::PathBuf {
    let (algorithm, hex) = (digest.algorithm(), digest.hex());
    folder.join(format!("docker/registry/v2/blobs/{algorithm}/{}/{hex}/data", &hex[..2]))
}

/// The blobs in the folder with their sizes, those that were written last at the end. What is no blob is left alone.
fn kept(folder: &Path) -> Result<Vec<(Digest, u64)>, Error> {
    let mut found: Vec<(SystemTime, Digest, u64)> = Vec::new();
    for algorithm in Algorithm::ALL {
        let of_algorithm = folder.join(format!("docker/registry/v2/blobs/{algorithm}"));
        for first_digits in entries(&of_algorithm)? {
            for blob in entries(&first_digits)? {
                let hex = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let Ok(digest) = format!("{algorithm}:{hex}").parse() else { continue };
                let Ok(metadata) = fs::metadata(blob.join("data")) else { continue };
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((modified, digest, metadata.len()));
            }
        }
    }
    found.sort_by_key(|(modified, ..)| *modified);
    Ok(found.into_iter().map(|(_, digest, size)| (digest, size)).collect())
}

fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    let failed = |error| Error::io("list", folder, error);
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::TryStreamExt as _;

    use super::*;
    use crate::MemoryStore;

    struct Fixture {
        store: MemoryStore,
        cache: Arc<ReadCache>,
        fetching: Option<Fetching>,
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new(bytes_max: u64) -> Self {
            let (store, folder) = (MemoryStore::new(), tempfile::tempdir().unwrap());
            let (cache, fetching) = ReadCache::open(Arc::new(store.clone()), folder.path(), bytes_max).unwrap();
            Self { store, cache, fetching: Some(fetching), folder }
        }

        async fn put(&self, text: &str) -> Digest {
            let digest = Algorithm::Sha256.digest(text.as_bytes());
            let whole = Whole::verify(vec![Bytes::copy_from_slice(text.as_bytes())], &digest).unwrap();
            self.store.put(whole).await.unwrap();
            digest
        }

        /// Reads a blob; whether it came from the local disk.
        async fn read(&self, digest: &Digest) -> (String, bool) {
            let reader = self.cache.open(digest).await.unwrap().unwrap();
            let pieces: Vec<Bytes> = reader.stream(None).try_collect().await.unwrap();
            (String::from_utf8(pieces.concat()).unwrap(), reader.local_file().is_some())
        }

        /// Fetches everything that is wanted by now.
        async fn settle(&mut self) {
            let mut fetching = self.fetching.take().unwrap();
            while let Ok((digest, size)) = fetching.wanted.try_recv() {
                self.cache.fetch(digest, size).await;
            }
            self.fetching = Some(fetching);
        }
    }

    #[tokio::test]
    async fn what_is_asked_for_again_is_read_from_the_local_disk() {
        let mut fixture = Fixture::new(1000);
        let digest = fixture.put("wanted").await;
        for expected in [false, false, true, true] {
            assert_eq!(fixture.read(&digest).await, ("wanted".to_owned(), expected));
            fixture.settle().await;
        }
        let state = ReadCacheState { hits: 2, misses: 2, fetched: 1, failed: 0, bytes: 6 };
        assert_eq!(fixture.cache.state(), state);
        // The next process finds it.
        let (cache, _fetching) = ReadCache::open(Arc::new(fixture.store.clone()), fixture.folder.path(), 1000).unwrap();
        assert!(cache.open(&digest).await.unwrap().unwrap().local_file().is_some());
        // And one with less room makes room.
        drop(ReadCache::open(Arc::new(fixture.store.clone()), fixture.folder.path(), 5).unwrap());
        assert!(!blob_path(fixture.folder.path(), &digest).try_exists().unwrap());
    }

    #[tokio::test]
    async fn the_cache_has_its_bound_and_what_is_gone_from_the_disk_comes_from_the_store() {
        let mut fixture = Fixture::new(20);
        let digests = [fixture.put("number 1").await, fixture.put("number 2").await, fixture.put("number 3").await];
        for digest in &digests {
            for _ in 0..2 {
                fixture.read(digest).await;
            }
            fixture.settle().await;
        }
        assert_eq!(fixture.cache.state().bytes, 16);
        assert!(!fixture.read(&digests[0]).await.1 && fixture.read(&digests[2]).await.1);
        assert!(!blob_path(fixture.folder.path(), &digests[0]).try_exists().unwrap());
        fs::remove_file(blob_path(fixture.folder.path(), &digests[1])).unwrap();
        assert_eq!(fixture.read(&digests[1]).await, ("number 2".to_owned(), false));
        assert_eq!(fixture.cache.state().bytes, 8);
    }

    #[tokio::test]
    async fn the_store_says_what_is_there() {
        let mut fixture = Fixture::new(1000);
        let digest = fixture.put("there").await;
        for _ in 0..2 {
            fixture.read(&digest).await;
        }
        fixture.settle().await;
        assert!(fixture.read(&digest).await.1);
        fixture.store.delete(&digest).await.unwrap();
        assert_eq!(fixture.cache.size(&digest).await.unwrap(), None);
        assert!(!fixture.cache.delete(&digest).await.unwrap());
        assert!(fixture.cache.open(&digest).await.unwrap().is_none());
        assert!(!blob_path(fixture.folder.path(), &digest).try_exists().unwrap());
    }

    #[tokio::test]
    async fn what_is_not_what_it_should_be_is_not_kept() {
        let fixture = Fixture::new(1000);
        let (digest, other) = (fixture.put("right").await, fixture.put("wrong").await);
        let wrong = fixture.store.open(&other).await.unwrap().unwrap();
        let error = crate::adopt_copy(&fixture.cache.local, &digest, &wrong).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
        assert!(fixture.cache.local.open(&digest).await.unwrap().is_none());
    }
}
