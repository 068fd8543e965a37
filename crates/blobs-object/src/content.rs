//! A blob that is far away, opened for reading.

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use entrepot_blobs::{Content, LocalFile, StageId};
use entrepot_oci::Digest;
use futures_util::stream::{BoxStream, try_unfold};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use tokio::runtime::Handle;

use crate::bucket::Bucket;
use crate::cleanup;
use crate::store::Shared;

/// How often a transfer that brings nothing new is begun again, above the retries of each request.
const ATTEMPTS_MAX: u32 = 3;

/// An object that somebody reads. All who read the same one in this process share it.
///
/// When the blob is deleted in this process, its bytes are kept under another key until the last reader is done; readers of other
/// processes go on as long as their transfers do.
pub(crate) struct ObjectContent {
    shared: Arc<Shared>,
    digest: Digest,
    size: u64,
    state: Mutex<Kept>,
}

/// Where the bytes are now.
#[derive(Debug)]
struct Kept {
    key: Path,
    /// The stage that keeps them for the readers, after the blob was deleted.
    remains: Option<StageId>,
}

impl ObjectContent {
    pub(crate) fn bucket(&self) -> &Bucket {
        &self.shared.bucket
    }

    /// The key at which the bytes are now.
    pub(crate) fn key(&self) -> Path {
        self.state().key.clone()
    }

    /// Notes that the blob was deleted, and that `remains` keeps its bytes at `key`, to be removed after the last reader.
    pub(crate) fn keep_at(&self, key: Path, remains: StageId) {
        *self.state() = Kept { key, remains: Some(remains) };
    }

    fn state(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ObjectContent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("ObjectContent").field(&self.digest).finish()
    }
}

impl Content for ObjectContent {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let end = self.size.min(position.saturating_add(buffer.len() as u64));
        if position >= end {
            return Ok(0);
        }
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let (bucket, key) = (self.shared.bucket.clone(), self.key());
        let frames: Vec<Bytes> = runtime.block_on(async move {
            let body = bucket.read(&key, position, end).await.map_err(io::Error::other)?;
            body.ok_or(io::ErrorKind::NotFound)?.try_collect().await.map_err(io::Error::other)
        })?;
        let mut filled = 0;
        for frame in frames {
            let room = buffer.get_mut(filled..filled + frame.len()).ok_or(io::ErrorKind::InvalidData)?;
            room.copy_from_slice(&frame);
            filled += frame.len();
        }
        Ok(filled)
    }

    fn stream(self: Arc<Self>, first: u64, end: u64) -> Option<BoxStream<'static, io::Result<Bytes>>> {
        let transfer = Transfer { content: self, position: first, end, body: None, attempts: 0 };
        Some(try_unfold(transfer, Transfer::next).boxed())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl Drop for ObjectContent {
    fn drop(&mut self) {
        self.shared.readers.forget(&self.digest);
        let remains = self.state().remains.take();
        if let Some(remains) = remains {
            cleanup::in_background(&self.shared, remains);
        }
    }
}

/// A transfer of a range, which goes on where it broke off.
struct Transfer {
    content: Arc<ObjectContent>,
    position: u64,
    end: u64,
    body: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    /// How often it was begun since bytes came last.
    attempts: u32,
}

impl Transfer {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        while self.position < self.end {
            let Some(body) = &mut self.body else {
                let key = self.content.key();
                self.attempts += 1;
                self.body =
                    self.content.bucket().read(&key, self.position, self.end).await.map_err(io::Error::other)?;
                // Deleted between two looks, it is where it is kept now.
                if self.body.is_none() && self.content.key() == key {
                    return Err(io::ErrorKind::NotFound.into());
                }
                continue;
            };
            match body.next().await {
                Some(Ok(bytes)) => {
                    self.position += bytes.len() as u64;
                    self.attempts = 0;
                    return Ok(Some((bytes, self)));
                }
                Some(Err(error)) if self.attempts >= ATTEMPTS_MAX => return Err(io::Error::other(error)),
                Some(Err(_)) => self.body = None,
                None => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// What is being read in this process.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<HashMap<Digest, Weak<ObjectContent>>>);

impl Readers {
    /// The content of the object at `key`, shared with whoever reads it already.
    pub(crate) fn open(&self, shared: &Arc<Shared>, digest: &Digest, key: Path, size: u64) -> Arc<ObjectContent> {
        let mut open = self.lock();
        let shared_with = open.get(digest).and_then(Weak::upgrade);
        if let Some(content) = shared_with
            && content.size == size
            && content.key() == key
        {
            return content;
        }
        let state = Mutex::new(Kept { key, remains: None });
        let content = Arc::new(ObjectContent { shared: Arc::clone(shared), digest: digest.clone(), size, state });
        open.insert(digest.clone(), Arc::downgrade(&content));
        content
    }

    /// What is read of a blob that is about to be deleted. Whoever opens it from now on shares nothing with that.
    pub(crate) fn take(&self, digest: &Digest) -> Option<Arc<ObjectContent>> {
        let content = self.lock().remove(digest);
        content.and_then(|content| content.upgrade())
    }

    fn forget(&self, digest: &Digest) {
        let mut open = self.lock();
        if open.get(digest).is_some_and(|content| content.strong_count() == 0) {
            open.remove(digest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Weak<ObjectContent>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A staged file whose first bytes are at the store alone.
#[derive(Debug)]
pub(crate) struct LaterPart {
    pub(crate) file: Arc<LocalFile>,
    /// The first position that is here.
    pub(crate) from: u64,
}

impl Content for LaterPart {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if position < self.from {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "these bytes were received by another process"));
        }
        self.file.read_at(buffer, position)
    }
}
