//! The store: look-ups go to the readers, writes to the writer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use entrepot_metadata::moving::{MoveSource, Moved};
use entrepot_metadata::{
    Announcement, Audience, BlobLink, CredentialRow, Deletion, Entry, EntryKey, Error, Evicted, Eviction, Forgotten,
    Lease, LeaseClaim, LeaseOutcome, ManifestPush, ManifestRow, MetadataStore, MissingOr, Page, Pin, ProtectedTags,
    PushOutcome, SigningKeyRow, TagRow, Timestamp, Totals, UploadClaim, UploadId, UploadProgress, UploadRow,
    UploadState, Use,
};
use entrepot_oci::{Digest, Referrer, RepositoryName, Tag, TagOrDigest};
use futures_core::stream::BoxStream;
use rusqlite::Connection;

use crate::changes::Changes;
use crate::failure::Failure;
use crate::in_process::InProcess;
use crate::limits::WRITE_WAIT_MAX;
use crate::open::{self, OpenError};
use crate::readers::Readers;
use crate::remembered::{Memorable, MemoryCounts, Remembered};
use crate::writer::{WriteCounts, Writer};
use crate::{
    blobs, credentials, entries, eviction, export, manifests, pins, protection, push, repositories, signing_keys, tags,
    totals, uploads, uses,
};

/// Metadata in one `SQLite` file.
///
/// ```text
/// metadata.sqlite        the database; `PRAGMA user_version` is the version of its schema
/// metadata.sqlite-wal    commits that are not in it yet: a part of the database, to be copied along with it
/// metadata.sqlite-shm    the index of the log, made again when it is lost
/// ```
///
/// The files are their owner's alone, mode 0600, because they hold the keys that tokens are signed with; a database that others
/// may read is closed to them when it is opened.
///
/// Several processes may have the file open on one machine; each waits for the others' write locks. Inside of this process
/// nothing else may open and close it, because that drops the process's locks on it. A process that keeps all others from the file can
/// have what pulls look up [remembered](Self::remembering).
///
/// The futures run on a tokio runtime with timers. Dropped, the store finishes the writes that are queued, copies the log
/// into the database and closes the file, which blocks the thread for as long as that takes.
#[derive(Debug)]
pub struct SqliteStore {
    // In this order: once the readers are closed the writer is the last to leave the file, and removes the log.
    readers: Arc<Readers>,
    writer: Writer,
    process: Arc<InProcess>,
    /// `None` where another process may write as well.
    remembered: Option<Remembered>,
}

impl SqliteStore {
    /// Opens the file at `path`, creating it and its folder, and brings its schema to this version.
    ///
    /// # Errors
    /// An [`OpenError`] says what is in the way; a file that is refused is left as it was.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_waiting(path, WRITE_WAIT_MAX)
    }

    /// The same with another time that a write may wait for the lock of another process, 10 seconds by default, before
    /// it fails with [`Error::Unavailable`].
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_waiting(path: &Path, wait_max: Duration) -> Result<Self, OpenError> {
        let connection = open::writer(path, wait_max)?;
        let readers = Arc::new(Readers::new(path.to_owned()));
        let writer = Writer::start(connection, &readers, wait_max).map_err(OpenError::Thread)?;
        Ok(Self { readers, writer, process: Arc::default(), remembered: None })
    }

    /// The same store, which from now on answers from memory what pulls look up again and again: manifests, and links of
    /// blobs, 4 MiB of each, exactly as the file has them. Other look-ups find the file locked already, from one commit to the next.
    ///
    /// Only for a process that has locked all others out: their writes would go unnoticed.
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.readers.rely_on(self.writer.commits());
        self.remembered = Some(Remembered::new(self.writer.commits()));
        self
    }

    /// Looks a row up, unless it is remembered.
    fn recall<T: Memorable>(
        &self,
        repository: &RepositoryName,
        reference: &str,
        look_up: impl FnOnce(&Connection) -> Result<Option<T>, Failure>,
    ) -> Result<Option<T>, Error> {
        let read = || self.readers.read(look_up);
        match &self.remembered {
            Some(remembered) => remembered.row(repository, reference, read),
            None => read(),
        }
    }

    /// What the memory has done so far; nothing of a store that does not [remember](Self::remembering).
    pub fn memory_counts(&self) -> MemoryCounts {
        self.remembered.as_ref().map(Remembered::counts).unwrap_or_default()
    }

    /// How much was written since the store was opened.
    pub fn write_counts(&self) -> WriteCounts {
        self.writer.counts()
    }
}

#[async_trait]
impl MetadataStore for SqliteStore {
    async fn repository_exists(&self, repository: &RepositoryName) -> Result<bool, Error> {
        self.readers.read(|connection| Ok(repositories::id(connection, repository)?.is_some()))
    }

    async fn repositories(&self, page: &Page<RepositoryName>) -> Result<Vec<RepositoryName>, Error> {
        self.readers.read(|connection| repositories::list(connection, page))
    }

    async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<BlobLink>, Error> {
        self.recall(repository, digest.as_str(), |connection| blobs::get(connection, repository, digest))
    }

    async fn link_blob(&self, repository: &RepositoryName, blob: &BlobLink, now: Timestamp) -> Result<(), Error> {
        let (repository, blob) = (repository.clone(), blob.clone());
        let changes = Changes::Of(repository.clone());
        self.writer.write(changes, move |connection| blobs::link(connection, &repository, &blob, now)).await
    }

    async fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        protected: &ProtectedTags,
    ) -> Result<Deletion, Error> {
        let (repository, digest, protected) = (repository.clone(), digest.clone(), protected.clone());
        let changes = Changes::Of(repository.clone());
        self.writer
            .write(changes, move |connection| protection::unlink_blob(connection, &repository, &digest, &protected))
            .await
    }

    async fn blob_holders(&self, digest: &Digest, limit: usize) -> Result<Vec<(RepositoryName, BlobLink)>, Error> {
        self.readers.read(|connection| blobs::holders(connection, digest, limit))
    }

    async fn referenced_size(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Error> {
        self.readers.read(|connection| manifests::referenced_size(connection, repository, digest))
    }

    async fn naming_manifests(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<ManifestRow>, Error> {
        self.readers.read(|connection| manifests::naming(connection, repository, digest, limit))
    }

    async fn manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<ManifestRow>, Error> {
        self.recall(repository, digest.as_str(), |connection| manifests::get(connection, repository, digest))
    }

    async fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<TagRow>, Error> {
        self.readers.read(|connection| tags::get(connection, repository, tag))
    }

    async fn tagged_manifest(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<ManifestRow>, Error> {
        self.recall(repository, tag.as_str(), |connection| manifests::tagged(connection, repository, tag))
    }

    async fn push_manifest(&self, push: ManifestPush) -> Result<PushOutcome, Error> {
        let changes = Changes::Of(push.repository.clone());
        self.writer.write(changes, move |connection| push::push(connection, &push)).await
    }

    async fn confirm_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let (repository, tag, digest) = (repository.clone(), tag.clone(), digest.clone());
        let changes = Changes::Of(repository.clone());
        self.writer.write(changes, move |connection| tags::confirm(connection, &repository, &tag, &digest, now)).await
    }

    async fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        protected: &ProtectedTags,
    ) -> Result<Deletion, Error> {
        let (repository, tag, protected) = (repository.clone(), tag.clone(), protected.clone());
        let changes = Changes::Of(repository.clone());
        self.writer
            .write(changes, move |connection| protection::delete_tag(connection, &repository, &tag, &protected))
            .await
    }

    async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        protected: &ProtectedTags,
    ) -> Result<Deletion, Error> {
        let (repository, digest, protected) = (repository.clone(), digest.clone(), protected.clone());
        let changes = Changes::Of(repository.clone());
        self.writer
            .write(changes, move |connection| protection::delete_manifest(connection, &repository, &digest, &protected))
            .await
    }

    async fn tags(&self, repository: &RepositoryName, page: &Page<Tag>) -> Result<MissingOr<Vec<Tag>>, Error> {
        self.readers.read(|connection| tags::list(connection, repository, page))
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page<Digest>,
    ) -> Result<Vec<Referrer>, Error> {
        self.readers.read(|connection| manifests::referrers(connection, repository, subject, artifact_type, page))
    }

    async fn create_upload(&self, upload: &UploadRow, open_max: usize) -> Result<(), Error> {
        let upload = upload.clone();
        self.writer.write_unsynced(move |connection| uploads::create(connection, &upload, open_max)).await
    }

    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRow>, Error> {
        self.readers.read(|connection| uploads::get(connection, id))
    }

    async fn touch_upload(&self, id: &UploadId, now: Timestamp) -> Result<bool, Error> {
        let id = id.clone();
        self.writer.write_unsynced(move |connection| uploads::touch(connection, &id, now)).await
    }

    async fn delete_upload(&self, id: &UploadId, writer: Option<&str>) -> Result<bool, Error> {
        let (process, id, writer) = (Arc::clone(&self.process), id.clone(), writer.map(str::to_owned));
        self.writer
            .write_unsynced(move |connection| {
                let is_gone = uploads::delete(connection, &process, &id, writer.as_deref())?;
                Ok(is_gone.then_some((process, id, writer)))
            })
            .await
            .map(ended)
    }

    async fn finish_upload(
        &self,
        id: &UploadId,
        writer: Option<&str>,
        repository: &RepositoryName,
        blob: &BlobLink,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let (process, id, writer) = (Arc::clone(&self.process), id.clone(), writer.map(str::to_owned));
        let (repository, blob) = (repository.clone(), blob.clone());
        let changes = Changes::Of(repository.clone());
        self.writer
            .write(changes, move |connection| {
                let is_done = uploads::finish(connection, &process, &id, writer.as_deref(), &repository, &blob, now)?;
                Ok(is_done.then_some((process, id, writer)))
            })
            .await
            .map(ended)
    }

    async fn upload_progress(&self, id: &UploadId) -> Result<Option<UploadProgress>, Error> {
        self.readers.read_at_once(|connection| uploads::progress(connection, &self.process, id))
    }

    async fn claim_upload(&self, id: &UploadId, writer: &str, lasts: Duration) -> Result<Option<UploadClaim>, Error> {
        let (process, id, writer) = (Arc::clone(&self.process), id.clone(), writer.to_owned());
        self.writer.write_unsynced(move |connection| uploads::claim(connection, &process, &id, &writer, lasts)).await
    }

    async fn renew_upload(&self, id: &UploadId, writer: &str, lasts: Duration) -> Result<bool, Error> {
        let (process, id, writer) = (Arc::clone(&self.process), id.clone(), writer.to_owned());
        self.writer.write_unsynced(move |connection| uploads::renew(connection, &process, &id, &writer, lasts)).await
    }

    async fn release_upload(
        &self,
        id: &UploadId,
        writer: &str,
        state: Option<UploadState>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        uploads::check(state.as_ref())?;
        let (process, id, writer) = (Arc::clone(&self.process), id.clone(), writer.to_owned());
        self.writer
            .write_unsynced(move |connection| {
                let is_left = uploads::release(connection, &process, &id, &writer, state.as_ref(), now)?;
                Ok(is_left.then_some((process, id, Some(writer))))
            })
            .await
            .map(ended)
    }

    async fn idle_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<UploadRow>, Error> {
        self.readers.read(|connection| uploads::idle(connection, &self.process, before, limit))
    }

    async fn manifest_tags(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error> {
        self.readers.read_at_once(|connection| manifests::tags(connection, repository, digest))
    }

    async fn touch(&self, uses: Vec<Use>) -> Result<(), Error> {
        self.writer.write(Changes::Nothing, move |connection| uses::touch(connection, &uses)).await
    }

    async fn entries(&self, repository: Option<&RepositoryName>, page: &Page<EntryKey>) -> Result<Vec<Entry>, Error> {
        self.readers.read_at_once(|connection| entries::list(connection, repository, page))
    }

    async fn evict(&self, eviction: &Eviction) -> Result<Vec<Evicted>, Error> {
        let eviction = *eviction;
        self.writer.write(Changes::Anything, move |connection| eviction::evict(connection, &eviction)).await
    }

    async fn forget(&self, repository: &RepositoryName, reference: Option<&TagOrDigest>) -> Result<Forgotten, Error> {
        let (repository, reference) = (repository.clone(), reference.cloned());
        let changes = Changes::Of(repository.clone());
        self.writer
            .write(changes, move |connection| eviction::forget(connection, &repository, reference.as_ref()))
            .await
    }

    async fn unheld_blobs(&self, limit: usize) -> Result<Vec<BlobLink>, Error> {
        self.readers.read(|connection| blobs::unheld(connection, limit))
    }

    async fn forget_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let digest = digest.clone();
        self.writer.write(Changes::Nothing, move |connection| blobs::forget(connection, &digest)).await
    }

    async fn pin(&self, pin: &Pin) -> Result<(), Error> {
        let pin = pin.clone();
        self.writer.write(Changes::Nothing, move |connection| pins::put(connection, &pin)).await
    }

    async fn unpin(&self, repository: &RepositoryName, reference: &TagOrDigest) -> Result<bool, Error> {
        let (repository, reference) = (repository.clone(), reference.clone());
        self.writer.write(Changes::Nothing, move |connection| pins::delete(connection, &repository, &reference)).await
    }

    async fn pins(&self, limit: usize) -> Result<Vec<Pin>, Error> {
        self.readers.read(|connection| pins::list(connection, limit))
    }

    async fn add_credential(&self, credential: &CredentialRow) -> Result<bool, Error> {
        let credential = credential.clone();
        self.writer.write(Changes::Nothing, move |connection| credentials::add(connection, &credential)).await
    }

    async fn credential(&self, id: &str) -> Result<Option<CredentialRow>, Error> {
        self.readers.read(|connection| credentials::get(connection, id))
    }

    async fn credentials(&self, principal: Option<&str>, page: &Page<String>) -> Result<Vec<CredentialRow>, Error> {
        self.readers.read(|connection| credentials::list(connection, principal, page))
    }

    async fn delete_credential(&self, id: &str) -> Result<bool, Error> {
        let id = id.to_owned();
        self.writer.write(Changes::Nothing, move |connection| credentials::delete(connection, &id)).await
    }

    async fn touch_credentials(&self, uses: Vec<(String, Timestamp)>) -> Result<(), Error> {
        self.writer.write(Changes::Nothing, move |connection| credentials::touch(connection, &uses)).await
    }

    async fn sweep_credentials(&self, unused_since: Timestamp, now: Timestamp) -> Result<u64, Error> {
        self.writer.write(Changes::Nothing, move |connection| credentials::sweep(connection, unused_since, now)).await
    }

    async fn signing_keys(&self) -> Result<Vec<SigningKeyRow>, Error> {
        self.readers.read(signing_keys::list)
    }

    async fn add_signing_key(&self, key: &SigningKeyRow, newest: Option<&str>) -> Result<bool, Error> {
        let (key, newest) = (key.clone(), newest.map(str::to_owned));
        self.writer
            .write(Changes::Nothing, move |connection| signing_keys::add(connection, &key, newest.as_deref()))
            .await
    }

    async fn delete_signing_key(&self, id: &str) -> Result<bool, Error> {
        let id = id.to_owned();
        self.writer.write(Changes::Nothing, move |connection| signing_keys::delete(connection, &id)).await
    }

    /// The folder is one process's own.
    fn is_shared(&self) -> bool {
        false
    }

    async fn claim_lease(&self, claim: &LeaseClaim, lasts: Duration) -> Result<LeaseOutcome, Error> {
        self.process.claim_lease(claim, lasts)
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<bool, Error> {
        Ok(self.process.release_lease(name, holder))
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, Error> {
        Ok(self.process.lease(name))
    }

    async fn announce(&self, topic: &str, text: &str) -> Result<(), Error> {
        Audience::check(topic, text)?;
        self.process.audience.tell(Announcement::Said { topic: topic.to_owned(), text: text.to_owned() });
        Ok(())
    }

    fn announcements(&self) -> BoxStream<'static, Announcement> {
        self.process.audience.listen()
    }

    async fn set_note(&self, key: &str, value: &str, lasts: Duration) -> Result<(), Error> {
        self.process.set_note(key, value, lasts)
    }

    async fn note(&self, key: &str) -> Result<Option<String>, Error> {
        Ok(self.process.note(key))
    }

    async fn notes(&self, prefix: &str, limit: usize) -> Result<Vec<(String, String)>, Error> {
        Ok(self.process.notes(prefix, limit))
    }

    async fn totals(&self) -> Result<Totals, Error> {
        self.readers.read(totals::get)
    }

    /// Reads, and checks that the writer runs. A lock of another process does not fail it: pulls go on meanwhile.
    async fn probe(&self) -> Result<(), Error> {
        self.readers.read(|connection| repositories::list(connection, &Page { after: None, limit: 1 }))?;
        self.writer.check()
    }
}

impl MoveSource for SqliteStore {
    fn rows(&self) -> BoxStream<'static, Result<Vec<Moved>, Error>> {
        export::rows(self.readers.path().to_owned())
    }
}

/// Ends the claim that went with what was written, now that this is in the database; `false` when nothing was.
fn ended(written: Option<(Arc<InProcess>, UploadId, Option<String>)>) -> bool {
    let Some((process, id, writer)) = written else { return false };
    process.end_claim(&id, writer.as_deref());
    true
}
