//! An upload in parts, which goes on behind the bytes that arrive.
//!
//! The bytes are in a local file. A part is read from it, into memory that all uploads share, when its turn has come, and not before;
//! so a store that is slow makes parts wait on the disk. The upload is begun with its first part: what fits into one is never
//! uploaded this way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use entrepot_blobs::{Content as _, Error, LocalFile, StageId};
use object_store::PutPayload;
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::cleanup::{self, MultipartMarker};
use crate::kept::KeptUpload;
use crate::layout::Kind;
use crate::limits::READ_BYTES;
use crate::schedule::Schedule;
use crate::store::Shared;

/// An upload in parts, begun or about to be.
#[derive(Debug)]
pub(crate) struct Uploading {
    shared: Arc<Shared>,
    stage: StageId,
    incarnation: String,
    /// Relative to the prefix.
    key: String,
    schedule: Schedule,
    file: Arc<LocalFile>,
    /// What the store calls the upload.
    id: OnceCell<String>,
    given_up: CancellationToken,
    parts: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    uploaded: BTreeMap<u32, String>,
    running: BTreeSet<u32>,
    tasks: JoinSet<(u32, Result<String, Error>)>,
    /// The first part that was never started.
    next: u32,
}

/// Where the parts of an upload come from, and what they are for.
pub(crate) struct Source {
    pub(crate) stage: StageId,
    pub(crate) incarnation: String,
    /// Relative to the prefix.
    pub(crate) key: String,
    pub(crate) schedule: Schedule,
    pub(crate) file: Arc<LocalFile>,
}

impl Uploading {
    pub(crate) fn new(shared: Arc<Shared>, source: Source) -> Arc<Self> {
        Self::build(shared, source, OnceCell::new(), Parts::default())
    }

    /// The upload that was kept, to be gone on with.
    pub(crate) fn resume(shared: Arc<Shared>, source: Source, kept: KeptUpload) -> Arc<Self> {
        let uploaded: BTreeMap<u32, String> = (0..).zip(kept.parts).collect();
        let next = u32::try_from(uploaded.len()).unwrap_or(u32::MAX);
        let parts = Parts { uploaded, next, ..Parts::default() };
        Self::build(shared, Source { key: kept.key, ..source }, OnceCell::new_with(Some(kept.id)), parts)
    }

    fn build(shared: Arc<Shared>, source: Source, id: OnceCell<String>, parts: Parts) -> Arc<Self> {
        let Source { stage, incarnation, key, schedule, file } = source;
        let (given_up, parts) = (CancellationToken::new(), Mutex::new(parts));
        Arc::new(Self { shared, stage, incarnation, key, schedule, file, id, given_up, parts })
    }

    /// The key of the object that comes of it, relative to the prefix.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// What the store calls it, once it was begun.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.get().map(String::as_str)
    }

    /// Whether a part was started, so that there may be something at the store.
    pub(crate) fn is_begun(&self) -> bool {
        self.id.initialized() || self.parts().next > 0
    }

    /// Starts every part that is full before `received`, and is not the last one therefore.
    ///
    /// # Errors
    /// When one that was started before has failed. It is started again by [`finish`](Self::finish).
    pub(crate) fn advance(self: &Arc<Self>, received: u64, runtime: &Handle) -> Result<(), Error> {
        let mut parts = self.parts();
        while let Some(joined) = parts.tasks.try_join_next() {
            parts.note(joined)?;
        }
        let full = self.schedule.full(received.saturating_sub(1));
        while parts.next < full {
            let index = parts.next;
            self.start(&mut parts, index, self.schedule.end(index), runtime);
            parts.next += 1;
        }
        Ok(())
    }

    /// Uploads whatever is missing of the first `size` bytes: the parts that are full, and with `with_rest` also one of the rest. Returns
    /// what the store calls them.
    pub(crate) async fn finish(self: &Arc<Self>, size: u64, with_rest: bool) -> Result<Vec<String>, Error> {
        let full = self.schedule.full(size);
        let has_rest = with_rest && self.schedule.start(full) < size;
        let count = full + u32::from(has_rest);
        let mut tasks = {
            let mut parts = self.parts();
            for index in 0..count {
                if !parts.uploaded.contains_key(&index) && !parts.running.contains(&index) {
                    self.start(&mut parts, index, self.schedule.end(index).min(size), &Handle::current());
                }
            }
            parts.next = parts.next.max(full);
            std::mem::take(&mut parts.tasks)
        };
        let mut failed = None;
        while let Some(joined) = tasks.join_next().await {
            if let Err(error) = self.parts().note(joined) {
                failed.get_or_insert(error);
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let parts = self.parts();
        Ok(parts.uploaded.range(..count).map(|(_, part)| part.clone()).collect())
    }

    /// Stops: what was begun comes to no good.
    pub(crate) fn give_up(&self) {
        self.given_up.cancel();
    }

    /// Waits until nothing more is sent.
    pub(crate) async fn stopped(&self) {
        let mut tasks = std::mem::take(&mut self.parts().tasks);
        while tasks.join_next().await.is_some() {}
    }

    fn start(self: &Arc<Self>, parts: &mut Parts, index: u32, end: u64, runtime: &Handle) {
        let upload = Arc::clone(self);
        parts.running.insert(index);
        let task = async move {
            let uploaded = upload.upload(index, end).await;
            (index, uploaded)
        };
        parts.tasks.spawn_on(task, runtime);
    }

    async fn upload(&self, index: u32, end: u64) -> Result<String, Error> {
        if self.given_up.is_cancelled() {
            return Err(Error::Discarded { stage: self.stage.clone() });
        }
        // Not to be broken off: an upload that was begun and not noted would be found by nobody.
        let id = self.id.get_or_try_init(|| self.begin()).await?;
        let start = self.schedule.start(index);
        let upload = async {
            let _room = self.shared.memory.room_for(end - start).await?;
            let _counted = InFlight::count(&self.shared);
            let payload = read_part(Arc::clone(&self.file), start, end).await?;
            self.shared.bucket.put_part(&self.absolute_key(), id, index, payload).await
        };
        let uploaded = tokio::select! {
            uploaded = upload => uploaded?,
            () = self.given_up.cancelled() => None,
        };
        uploaded.ok_or_else(|| Error::Discarded { stage: self.stage.clone() })
    }

    async fn begin(&self) -> Result<String, Error> {
        let key = self.absolute_key();
        let id = self.shared.bucket.create_multipart(&key).await?;
        // Before the first part: a crash between the two leaves an upload that takes no room, and that the store may be configured to
        // forget. After it the sweep finds the marker.
        let marker = MultipartMarker { key: self.key.clone(), id: id.clone() };
        let marker_key = self.shared.layout.of_stage(&self.stage, &self.incarnation, &Kind::Multipart);
        match cleanup::write(&self.shared, &marker_key, &marker).await {
            Ok(()) => Ok(id),
            Err(error) => {
                // It may also have been written: then the sweep finds nothing at what it names.
                let _ = self.shared.bucket.abort_multipart(&key, &id).await;
                Err(error)
            }
        }
    }

    fn absolute_key(&self) -> Path {
        self.shared.layout.absolute(&self.key)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn note(&mut self, joined: Result<(u32, Result<String, Error>), tokio::task::JoinError>) -> Result<(), Error> {
        let (index, uploaded) = joined.map_err(|_| Error::Interrupted { operation: "upload a part" })?;
        self.running.remove(&index);
        self.uploaded.insert(index, uploaded?);
        Ok(())
    }
}

/// Counts a part as in memory for as long as it lives.
pub(crate) struct InFlight<'a>(&'a Shared);

impl<'a> InFlight<'a> {
    pub(crate) fn count(shared: &'a Shared) -> Self {
        shared.metrics.parts_in_flight.inc();
        Self(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.metrics.parts_in_flight.dec();
    }
}

/// The bytes of a file from `start` on and before `end`.
pub(crate) async fn read_part(file: Arc<LocalFile>, start: u64, end: u64) -> Result<PutPayload, Error> {
    let read = spawn_blocking(move || {
        let mut frames: Vec<Bytes> = Vec::new();
        let mut position = start;
        while position < end {
            let wanted = usize::try_from(end - position).map_or(READ_BYTES, |left| left.min(READ_BYTES));
            let mut frame = vec![0; wanted];
            let count = file.read_at(&mut frame, position);
            let count =
                count.and_then(
                    |count| if count == wanted { Ok(count) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) },
                );
            let count =
                count.map_err(|source| Error::Io { operation: "read", path: file.path().to_owned(), source })?;
            frames.push(frame.into());
            position += count as u64;
        }
        Ok(frames.into_iter().collect::<PutPayload>())
    });
    read.await.unwrap_or(Err(Error::Interrupted { operation: "read a part" }))
}
