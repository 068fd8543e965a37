//! A stage: a local file that takes the bytes, and an upload that follows behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_blobs::{Content, Error, Stage, StageId, StagedFile, digest_of};
use entrepot_oci::Digest;
use futures_util::TryStreamExt as _;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::cleanup::{self, End, PublishingMarker};
use crate::content::LaterPart;
use crate::failure::{Answer, senseless};
use crate::kept::{Kept, KeptUpload};
use crate::layout::{Kind, Layout, unique};
use crate::limits::{POINTER_ATTEMPTS_MAX, POINTER_PAUSE};
use crate::locations::{Found, Location, Place, Pointer};
use crate::schedule::Schedule;
use crate::stages::ParkedHere;
use crate::store::Shared;
use crate::uploading::{InFlight, Source, Uploading, read_part};

/// One stage, held by an ingest.
#[derive(Debug)]
pub(crate) struct ObjectStage {
    shared: Arc<Shared>,
    stage: StageId,
    incarnation: String,
    file: Arc<StagedFile>,
    /// The first position that is in the file: what comes before it is at the store alone.
    local_from: u64,
    schedule: Schedule,
    uploading: Arc<Uploading>,
    /// As it was kept last, and how many bytes that were.
    kept: Mutex<Option<(u64, Kept)>>,
    /// Whether the last attempt to keep it failed: what was kept before is then not to be discarded.
    is_left: AtomicBool,
    /// Whether the upload was completed before the content was verified, to be read.
    is_completed: AtomicBool,
    is_over: AtomicBool,
    runtime: Handle,
}

/// How a stage begins, or goes on.
pub(crate) struct Begun {
    pub(crate) stage: StageId,
    pub(crate) incarnation: String,
    pub(crate) file: StagedFile,
    pub(crate) local_from: u64,
    /// The digest that the content will have, when that is known.
    pub(crate) known: Option<Digest>,
    /// As it was kept, and how many bytes that were.
    pub(crate) kept: Option<(u64, Kept)>,
}

impl ObjectStage {
    pub(crate) fn new(shared: &Arc<Shared>, begun: Begun) -> Arc<Self> {
        let Begun { stage, incarnation, file, local_from, known, kept } = begun;
        let schedule = kept.as_ref().map_or(shared.schedule, |(_, kept)| kept.schedule);
        let key = match &known {
            Some(digest) => shared.layout.relative(&shared.layout.data(digest)),
            None => Layout::upload(&incarnation),
        };
        let source = Source {
            stage: stage.clone(),
            incarnation: incarnation.clone(),
            key,
            schedule,
            file: Arc::clone(file.local()),
        };
        let uploading = match kept.as_ref().and_then(|(_, kept)| kept.upload.clone()) {
            Some(upload) => Uploading::resume(Arc::clone(shared), source, upload),
            None => Uploading::new(Arc::clone(shared), source),
        };
        Arc::new(Self {
            shared: Arc::clone(shared),
            stage,
            incarnation,
            file: Arc::new(file),
            local_from,
            schedule,
            uploading,
            kept: Mutex::new(kept),
            is_left: AtomicBool::new(false),
            is_completed: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            runtime: Handle::current(),
        })
    }

    async fn keep_at_the_store(&self, offset: u64) -> Result<Kept, Error> {
        self.ensure_held().await?;
        let earlier = self.kept().clone();
        if let Some((at, kept)) = &earlier
            && *at == offset
        {
            return Ok(kept.clone());
        }
        let parts = self.uploading.finish(offset, false).await?;
        let start = self.schedule.start(u32::try_from(parts.len()).unwrap_or(u32::MAX));
        let token = unique();
        if start < offset {
            let _room = self.shared.memory.room_for(offset - start).await?;
            let _counted = InFlight::count(&self.shared);
            let payload = read_part(Arc::clone(self.file.local()), start, offset).await?;
            // A key of its own each time: whoever takes up what was kept before finds what belongs to it.
            let kind = Kind::Tail { end: offset, unique: token.clone() };
            let key = self.shared.layout.of_stage(&self.stage, &self.incarnation, &kind);
            self.shared.bucket.put(&key, payload).await?;
        }
        let upload = self.uploading.id().filter(|_| !parts.is_empty()).map(|id| KeptUpload {
            key: self.uploading.key().to_owned(),
            id: id.to_owned(),
            parts,
        });
        let replaced = earlier.and_then(|(_, kept)| kept.tail_end.map(|end| (end, kept.token)));
        let tail_end = Some(offset).filter(|offset| start < *offset);
        let incarnation = self.incarnation.clone();
        Ok(Kept { incarnation, token, schedule: self.schedule, upload, tail_end, replaced })
    }

    /// Uploads what fits into one part to where it belongs.
    async fn publish_whole(&self, digest: &Digest, size: u64) -> Result<Location, Error> {
        let _room = self.shared.memory.room_for(size).await?;
        let _counted = InFlight::count(&self.shared);
        let payload = read_part(Arc::clone(self.file.local()), 0, size).await?;
        // In place of whatever is there: the same, or a damaged copy.
        self.shared.bucket.put(&self.shared.layout.data(digest), payload).await?;
        Ok(Location { size, place: Place::Data })
    }

    /// Completes what was uploaded in parts.
    async fn publish_parts(&self, digest: &Digest, size: u64) -> Result<Location, Error> {
        let data = self.shared.layout.relative(&self.shared.layout.data(digest));
        let mut uploading = Arc::clone(&self.uploading);
        if uploading.key() != data && uploading.key() != Layout::upload(&self.incarnation) {
            uploading = self.upload_elsewhere(digest).await?;
        }
        if uploading.key() == data {
            let parts = uploading.finish(size, true).await?;
            self.complete(&uploading, parts, size).await?;
            return Ok(Location { size, place: Place::Data });
        }
        let found = self.shared.locations.find(digest).await?;
        if let Some(location) = self.intact(digest, &found, size).await? {
            self.drop_upload(&uploading).await;
            return Ok(location);
        }
        if !self.is_completed.load(Ordering::Relaxed) {
            self.complete_for(&uploading, digest, size).await?;
        }
        self.point(&uploading, digest, &found, size).await
    }

    /// What is there already, when it is what this stage would make it.
    async fn intact(&self, digest: &Digest, found: &Found, size: u64) -> Result<Option<Location>, Error> {
        let Some(location) = found.location().filter(|location| location.size == size) else { return Ok(None) };
        if location.place != Place::Data {
            let key = self.shared.locations.key(digest, &location.place);
            let is_there = self.shared.size_for_certain(&key).await? == Some(size);
            return Ok(is_there.then_some(location));
        }
        Ok(Some(location))
    }

    /// The content turned out to be another blob than was said when it began: it is uploaded once more, to a key of its own.
    async fn upload_elsewhere(&self, digest: &Digest) -> Result<Arc<Uploading>, Error> {
        let key = self.shared.layout.absolute(self.uploading.key());
        if self.local_from > 0 {
            return Err(senseless("publish what was uploaded to", &key, format!("it turned out to be {digest}")));
        }
        self.uploading.give_up();
        self.uploading.stopped().await;
        cleanup::sweep(&self.shared, &self.stage, Some(&self.incarnation)).await?;
        let source = Source {
            stage: self.stage.clone(),
            incarnation: self.incarnation.clone(),
            key: Layout::upload(&self.incarnation),
            schedule: self.schedule,
            file: Arc::clone(self.file.local()),
        };
        Ok(Uploading::new(Arc::clone(&self.shared), source))
    }

    /// Completes an upload whose object is not a blob yet.
    async fn complete_for(&self, uploading: &Arc<Uploading>, digest: &Digest, size: u64) -> Result<(), Error> {
        let parts = uploading.finish(size, true).await?;
        // Before there is an object: the sweep, should it come to that, then looks whether the pointer names it.
        let marker = PublishingMarker { key: uploading.key().to_owned(), digest: digest.clone() };
        let key = self.shared.layout.of_stage(&self.stage, &self.incarnation, &Kind::Publishing);
        cleanup::write(&self.shared, &key, &marker).await?;
        self.complete(uploading, parts, size).await?;
        self.is_completed.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn complete(&self, uploading: &Uploading, parts: Vec<String>, size: u64) -> Result<(), Error> {
        let key = self.shared.layout.absolute(uploading.key());
        let discarded = || Error::Discarded { stage: self.stage.clone() };
        let id = uploading.id().ok_or_else(discarded)?;
        let failed = match self.shared.bucket.complete_multipart(&key, id, parts).await {
            Ok(true) => return Ok(()),
            Ok(false) => discarded(),
            Err(error) if error.is_unavailable() => error,
            Err(error) => return Err(error),
        };
        // Nobody knows whether it happened: an attempt may have been heard whose answer was lost. What is there tells.
        match self.shared.size_for_certain(&key).await {
            Ok(Some(there)) if there == size => Ok(()),
            _ => Err(failed),
        }
    }

    /// Names the object of the upload as the blob. Whoever comes first is believed, when his object is whole.
    async fn point(&self, uploading: &Uploading, digest: &Digest, found: &Found, size: u64) -> Result<Location, Error> {
        let key = self.shared.layout.pointer(digest);
        let ours = Pointer::new(uploading.key().to_owned(), size);
        let location = Location { size, place: Place::Upload(ours.key.clone()) };
        for _ in 0..POINTER_ATTEMPTS_MAX {
            if self.shared.bucket.put_new(&key, ours.encode().into()).await? {
                self.drop_damaged(digest, found, &ours).await?;
                return Ok(location);
            }
            let Some(theirs) = self.shared.locations.pointer(digest).await? else {
                // Removed since, or about to be written by another.
                sleep(POINTER_PAUSE).await;
                continue;
            };
            let theirs = Found { pointer: Some(theirs), ..found.clone() };
            if theirs.pointer.as_ref() != Some(&ours) {
                let other = Found { data: None, ..theirs.clone() };
                if let Some(location) = self.intact(digest, &other, size).await? {
                    self.drop_upload(uploading).await;
                    return Ok(location);
                }
                self.shared.bucket.put(&key, ours.encode().into()).await?;
            }
            // Ours by now, or by an earlier attempt whose answer was lost.
            self.drop_damaged(digest, &theirs, &ours).await?;
            return Ok(location);
        }
        let source = Box::new(Answer::new("others write and remove it all the time"));
        Err(Error::Unavailable { operation: "write", key: key.to_string(), source })
    }

    /// Removes what was there under the digest and was not whole, now that a pointer names what is.
    async fn drop_damaged(&self, digest: &Digest, found: &Found, ours: &Pointer) -> Result<(), Error> {
        if found.data.is_some() {
            // Readers look there first.
            self.shared.bucket.delete(&self.shared.layout.data(digest)).await?;
        }
        if let Some(pointer) = found.pointer.as_ref().filter(|pointer| pointer.key != ours.key) {
            self.shared.bucket.delete(&self.shared.layout.absolute(&pointer.key)).await?;
        }
        Ok(())
    }

    /// Removes what was uploaded and is not needed. A failure leaves it to the sweep: its markers are still there.
    async fn drop_upload(&self, uploading: &Uploading) {
        let key = self.shared.layout.absolute(uploading.key());
        let dropped = async {
            match uploading.id() {
                Some(_) if self.is_completed.load(Ordering::Relaxed) => self.shared.bucket.delete(&key).await,
                Some(id) => {
                    self.shared.bucket.abort_multipart(&key, id).await?;
                    self.shared.bucket.delete(&key).await
                }
                None => Ok(()),
            }
        };
        if let Err(error) = dropped.await {
            tracing::warn!(
                stage = %self.stage,
                error = &error as &dyn std::error::Error,
                "an upload that is not needed could not be removed: it stays until it is swept"
            );
        }
    }

    async fn ensure_held(&self) -> Result<(), Error> {
        let file = Arc::clone(&self.file);
        let held = spawn_blocking(move || file.ensure_held());
        held.await.unwrap_or(Err(Error::Interrupted { operation: "look at the stage" }))
    }

    /// The stage is a blob: nothing of it is needed any more.
    async fn end_published(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let file = Arc::clone(&self.file);
        let removed = spawn_blocking(move || file.remove());
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(
                stage = %self.stage,
                error = &error as &dyn std::error::Error,
                "a staged file that is no longer needed could not be removed: it stays until the next start"
            );
        }
        let mut left = Vec::new();
        if self.uploading.is_begun() {
            left.extend([Kind::Multipart, Kind::Publishing]);
        }
        let kept = self.kept().clone();
        if let Some((_, kept)) = &kept
            && let Some(end) = kept.tail_end
        {
            left.push(Kind::Tail { end, unique: kept.token.clone() });
        }
        self.shared.stages.forget(&self.stage, &self.incarnation);
        if !left.is_empty() {
            self.end(End::Published { left, was_kept: kept.is_some() });
        }
    }

    /// Removes what is left at the store, in the background.
    fn end(&self, how: End) {
        self.shared.stages.begin_ending(&self.incarnation);
        let (shared, uploading) = (Arc::clone(&self.shared), Arc::clone(&self.uploading));
        let (stage, incarnation) = (self.stage.clone(), self.incarnation.clone());
        let ending = async move {
            uploading.stopped().await;
            cleanup::end(&shared, &stage, &incarnation, how).await;
        };
        self.shared.background.spawn_on(ending, &self.runtime);
    }

    fn kept(&self) -> MutexGuard<'_, Option<(u64, Kept)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Stage for ObjectStage {
    fn content(&self) -> Arc<dyn Content> {
        let file = Arc::clone(self.file.local());
        if self.local_from == 0 { file } else { Arc::new(LaterPart { file, from: self.local_from }) }
    }

    fn append(&self, offset: u64, frames: &[Bytes]) -> Result<(), Error> {
        let end = offset + frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
        if end > self.schedule.size_max() {
            let key = self.shared.layout.absolute(self.uploading.key());
            let most = self.schedule.size_max();
            return Err(senseless("upload", &key, format!("with parts as configured a blob has at most {most} bytes")));
        }
        self.file.append(offset, frames)?;
        self.uploading.advance(end, &self.runtime)
    }

    fn settle(&self, offset: u64) -> Result<SystemTime, Error> {
        self.file.settle(offset)
    }

    async fn keep(&self, offset: u64) -> Result<Option<Bytes>, Error> {
        let kept = self.keep_at_the_store(offset).await;
        self.is_left.store(kept.is_err() && self.kept().is_some(), Ordering::Relaxed);
        let kept = kept?;
        let encoded = kept.encode();
        *self.kept() = Some((offset, kept.clone()));
        self.is_over.store(true, Ordering::Relaxed);
        self.shared.stages.park(&self.stage, ParkedHere { kept, local_from: self.local_from, since: Instant::now() });
        Ok(Some(encoded))
    }

    async fn digest(&self, stage: &StageId, expected: &Digest, size: u64) -> Result<Digest, Error> {
        if self.local_from == 0 {
            return digest_of(self.content(), stage.clone(), size, expected.algorithm()).await;
        }
        // The first bytes are in parts that nobody can read before they are one object.
        self.ensure_held().await?;
        let key = self.shared.layout.absolute(self.uploading.key());
        if self.uploading.key() != Layout::upload(&self.incarnation) {
            // It would be a blob before it was verified.
            return Err(senseless("read what was uploaded to", &key, format!("it is to be {expected}")));
        }
        self.complete_for(&self.uploading, expected, size).await?;
        let bytes = self.shared.bucket.read(&key, 0, size).await?;
        let mut bytes = bytes.ok_or_else(|| Error::Discarded { stage: stage.clone() })?;
        let (mut hasher, mut length) = (expected.algorithm().hasher(), 0);
        while let Some(frame) = bytes.try_next().await.map_err(|error| crate::failure::failed("read", &key, &error))? {
            length += frame.len() as u64;
            hasher = spawn_blocking(move || {
                hasher.update(&frame);
                hasher
            })
            .await
            .map_err(|_| Error::Interrupted { operation: "hash what was uploaded" })?;
        }
        if length == size {
            Ok(hasher.finish())
        } else {
            Err(senseless("read", &key, format!("it has {length} bytes instead of {size}")))
        }
    }

    async fn publish(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        self.ensure_held().await?;
        let location = if !self.uploading.is_begun() && size <= self.schedule.first {
            self.publish_whole(digest, size).await?
        } else {
            self.publish_parts(digest, size).await?
        };
        self.shared.locations.remember(digest, location);
        self.end_published().await;
        Ok(())
    }

    fn discard(&self) -> Result<(), Error> {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.uploading.give_up();
        // Somebody may have taken it up from the store meanwhile: what is there is his.
        let is_taken = self.file.ensure_held().is_err() && self.shared.stages.has(&self.stage, &self.incarnation);
        let removed = self.file.remove();
        if is_taken {
            return removed;
        }
        self.shared.stages.forget(&self.stage, &self.incarnation);
        let may_have_left = self.uploading.is_begun() || self.kept().is_some();
        if may_have_left && !self.is_left.load(Ordering::Relaxed) {
            self.end(End::Discarded);
        }
        removed
    }
}

impl Drop for ObjectStage {
    fn drop(&mut self) {
        // The last to close a large file that has no name any more waits until the file system has freed its bytes.
        let file = Arc::clone(&self.file);
        self.runtime.spawn_blocking(move || drop(file));
    }
}
