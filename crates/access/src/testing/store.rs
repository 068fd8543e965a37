//! A real store that can be told not to answer, and that nothing but tokens and keys is asked of.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use entrepot_metadata::{
    Announcement, BlobLink, CredentialRow, Deletion, Entry, EntryKey, Error, Evicted, Eviction, Forgotten, Lease,
    LeaseClaim, LeaseOutcome, ManifestPush, ManifestRow, MetadataStore, MissingOr, Page, Pin, ProtectedTags,
    PushOutcome, SigningKeyRow, TagRow, Timestamp, Totals, UploadClaim, UploadId, UploadProgress, UploadRow,
    UploadState, Use,
};
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_oci::{Digest, Referrer, RepositoryName, Tag, TagOrDigest};
use futures_core::stream::BoxStream;

#[derive(Debug)]
pub(crate) struct TestStore {
    inner: SqliteStore,
    is_down: AtomicBool,
    key_reads: AtomicUsize,
}

impl TestStore {
    pub(crate) fn open(folder: &Path) -> Self {
        let inner = SqliteStore::open(&folder.join("test.sqlite")).unwrap();
        Self { inner, is_down: AtomicBool::new(false), key_reads: AtomicUsize::new(0) }
    }

    /// From now on it answers nothing, or everything again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    /// How often the signing keys were read.
    pub(crate) fn key_reads(&self) -> usize {
        self.key_reads.load(Ordering::SeqCst)
    }

    fn answer(&self) -> Result<(), Error> {
        let is_down = self.is_down.load(Ordering::SeqCst);
        if is_down { Err(Error::Unavailable("it was told not to answer".into())) } else { Ok(()) }
    }
}

fn not_asked<T>() -> T {
    unreachable!("who may do what depends on nothing of this")
}

#[async_trait]
impl MetadataStore for TestStore {
    async fn repository_exists(&self, _: &RepositoryName) -> Result<bool, Error> {
        not_asked()
    }

    async fn repositories(&self, _: &Page<RepositoryName>) -> Result<Vec<RepositoryName>, Error> {
        not_asked()
    }

    async fn blob(&self, _: &RepositoryName, _: &Digest) -> Result<Option<BlobLink>, Error> {
        not_asked()
    }

    async fn link_blob(&self, _: &RepositoryName, _: &BlobLink, _: Timestamp) -> Result<(), Error> {
        not_asked()
    }

    async fn unlink_blob(&self, _: &RepositoryName, _: &Digest, _: &ProtectedTags) -> Result<Deletion, Error> {
        not_asked()
    }

    async fn blob_holders(&self, _: &Digest, _: usize) -> Result<Vec<(RepositoryName, BlobLink)>, Error> {
        not_asked()
    }

    async fn referenced_size(&self, _: &RepositoryName, _: &Digest) -> Result<Option<u64>, Error> {
        not_asked()
    }

    async fn naming_manifests(&self, _: &RepositoryName, _: &Digest, _: usize) -> Result<Vec<ManifestRow>, Error> {
        not_asked()
    }

    async fn manifest(&self, _: &RepositoryName, _: &Digest) -> Result<Option<ManifestRow>, Error> {
        not_asked()
    }

    async fn tag(&self, _: &RepositoryName, _: &Tag) -> Result<Option<TagRow>, Error> {
        not_asked()
    }

    async fn tagged_manifest(&self, _: &RepositoryName, _: &Tag) -> Result<Option<ManifestRow>, Error> {
        not_asked()
    }

    async fn push_manifest(&self, _: ManifestPush) -> Result<PushOutcome, Error> {
        not_asked()
    }

    async fn confirm_tag(&self, _: &RepositoryName, _: &Tag, _: &Digest, _: Timestamp) -> Result<bool, Error> {
        not_asked()
    }

    async fn delete_tag(&self, _: &RepositoryName, _: &Tag, _: &ProtectedTags) -> Result<Deletion, Error> {
        not_asked()
    }

    async fn delete_manifest(&self, _: &RepositoryName, _: &Digest, _: &ProtectedTags) -> Result<Deletion, Error> {
        not_asked()
    }

    async fn tags(&self, _: &RepositoryName, _: &Page<Tag>) -> Result<MissingOr<Vec<Tag>>, Error> {
        not_asked()
    }

    async fn referrers(
        &self,
        _: &RepositoryName,
        _: &Digest,
        _: Option<&str>,
        _: &Page<Digest>,
    ) -> Result<Vec<Referrer>, Error> {
        not_asked()
    }

    async fn create_upload(&self, _: &UploadRow, _: usize) -> Result<(), Error> {
        not_asked()
    }

    async fn upload(&self, _: &UploadId) -> Result<Option<UploadRow>, Error> {
        not_asked()
    }

    async fn touch_upload(&self, _: &UploadId, _: Timestamp) -> Result<bool, Error> {
        not_asked()
    }

    async fn delete_upload(&self, _: &UploadId, _: Option<&str>) -> Result<bool, Error> {
        not_asked()
    }

    async fn finish_upload(
        &self,
        _: &UploadId,
        _: Option<&str>,
        _: &RepositoryName,
        _: &BlobLink,
        _: Timestamp,
    ) -> Result<bool, Error> {
        not_asked()
    }

    async fn upload_progress(&self, _: &UploadId) -> Result<Option<UploadProgress>, Error> {
        not_asked()
    }

    async fn claim_upload(&self, _: &UploadId, _: &str, _: Duration) -> Result<Option<UploadClaim>, Error> {
        not_asked()
    }

    async fn renew_upload(&self, _: &UploadId, _: &str, _: Duration) -> Result<bool, Error> {
        not_asked()
    }

    async fn release_upload(&self, _: &UploadId, _: &str, _: Option<UploadState>, _: Timestamp) -> Result<bool, Error> {
        not_asked()
    }

    async fn idle_uploads(&self, _: Timestamp, _: usize) -> Result<Vec<UploadRow>, Error> {
        not_asked()
    }

    async fn manifest_tags(&self, _: &RepositoryName, _: &Digest) -> Result<Vec<Tag>, Error> {
        not_asked()
    }

    async fn touch(&self, _: Vec<Use>) -> Result<(), Error> {
        not_asked()
    }

    async fn entries(&self, _: Option<&RepositoryName>, _: &Page<EntryKey>) -> Result<Vec<Entry>, Error> {
        not_asked()
    }

    async fn evict(&self, _: &Eviction) -> Result<Vec<Evicted>, Error> {
        not_asked()
    }

    async fn forget(&self, _: &RepositoryName, _: Option<&TagOrDigest>) -> Result<Forgotten, Error> {
        not_asked()
    }

    async fn unheld_blobs(&self, _: usize) -> Result<Vec<BlobLink>, Error> {
        not_asked()
    }

    async fn forget_blob(&self, _: &Digest) -> Result<bool, Error> {
        not_asked()
    }

    async fn pin(&self, _: &Pin) -> Result<(), Error> {
        not_asked()
    }

    async fn unpin(&self, _: &RepositoryName, _: &TagOrDigest) -> Result<bool, Error> {
        not_asked()
    }

    async fn pins(&self, _: usize) -> Result<Vec<Pin>, Error> {
        not_asked()
    }

    async fn add_credential(&self, credential: &CredentialRow) -> Result<bool, Error> {
        self.answer()?;
        self.inner.add_credential(credential).await
    }

    async fn credential(&self, id: &str) -> Result<Option<CredentialRow>, Error> {
        self.answer()?;
        self.inner.credential(id).await
    }

    async fn credentials(&self, principal: Option<&str>, page: &Page<String>) -> Result<Vec<CredentialRow>, Error> {
        self.answer()?;
        self.inner.credentials(principal, page).await
    }

    async fn delete_credential(&self, id: &str) -> Result<bool, Error> {
        self.answer()?;
        self.inner.delete_credential(id).await
    }

    async fn touch_credentials(&self, uses: Vec<(String, Timestamp)>) -> Result<(), Error> {
        self.answer()?;
        self.inner.touch_credentials(uses).await
    }

    async fn sweep_credentials(&self, unused_since: Timestamp, now: Timestamp) -> Result<u64, Error> {
        self.answer()?;
        self.inner.sweep_credentials(unused_since, now).await
    }

    async fn signing_keys(&self) -> Result<Vec<SigningKeyRow>, Error> {
        self.key_reads.fetch_add(1, Ordering::SeqCst);
        self.answer()?;
        self.inner.signing_keys().await
    }

    async fn add_signing_key(&self, key: &SigningKeyRow, newest: Option<&str>) -> Result<bool, Error> {
        self.answer()?;
        self.inner.add_signing_key(key, newest).await
    }

    async fn delete_signing_key(&self, id: &str) -> Result<bool, Error> {
        self.answer()?;
        self.inner.delete_signing_key(id).await
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn claim_lease(&self, claim: &LeaseClaim, lasts: Duration) -> Result<LeaseOutcome, Error> {
        self.answer()?;
        self.inner.claim_lease(claim, lasts).await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<bool, Error> {
        self.answer()?;
        self.inner.release_lease(name, holder).await
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, Error> {
        self.answer()?;
        self.inner.lease(name).await
    }

    async fn announce(&self, topic: &str, text: &str) -> Result<(), Error> {
        self.answer()?;
        self.inner.announce(topic, text).await
    }

    fn announcements(&self) -> BoxStream<'static, Announcement> {
        self.inner.announcements()
    }

    async fn set_note(&self, key: &str, value: &str, lasts: Duration) -> Result<(), Error> {
        self.answer()?;
        self.inner.set_note(key, value, lasts).await
    }

    async fn note(&self, key: &str) -> Result<Option<String>, Error> {
        self.answer()?;
        self.inner.note(key).await
    }

    async fn notes(&self, prefix: &str, limit: usize) -> Result<Vec<(String, String)>, Error> {
        self.answer()?;
        self.inner.notes(prefix, limit).await
    }

    async fn totals(&self) -> Result<Totals, Error> {
        not_asked()
    }

    async fn probe(&self) -> Result<(), Error> {
        not_asked()
    }
}
