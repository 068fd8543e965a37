//! The store: each call is handed to what knows it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use entrepot_metadata::{
    Announcement, Audience, BlobLink, CredentialRow, Deletion, Entry, EntryKey, Error, Evicted, Eviction, Forgotten,
    Lease, LeaseClaim, LeaseOutcome, ManifestPush, ManifestRow, MetadataStore, MissingOr, Page, Pin, ProtectedTags,
    PushOutcome, SigningKeyRow, TagRow, Timestamp, Totals, UploadClaim, UploadId, UploadProgress, UploadRow,
    UploadState, Use,
};
use entrepot_oci::{Digest, Referrer, RepositoryName, Tag, TagOrDigest};
use futures_core::stream::BoxStream;
use tokio::task::JoinHandle;
use tokio_postgres::Config;

use crate::config::PostgresConfig;
use crate::connections::Connections;
use crate::limits::UPKEEP_EVERY;
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::open::{self, OpenError};
use crate::schema::{self, MIGRATIONS};
use crate::tls::Tls;
use crate::{access, content, push, removal, sharing, uploads};

/// Metadata in one schema of a PostgreSQL database, shared by any number of processes.
///
/// An outage of the database is [`Error::Unavailable`], at the latest when the time for a connection and that for a statement have
/// passed; when it is over, everything goes on. A write whose answer was lost is looked for, or made again where twice is the same as
/// once, so that what is answered is what happened.
///
/// The futures run on a tokio runtime with timers. Dropped, the store closes its connections.
#[derive(Debug)]
pub struct PostgresStore {
    connections: Arc<Connections>,
    schema: String,
    /// For a connection beside those for requests.
    connect: Config,
    tls: Tls,
    audience: Audience,
    tasks: Vec<JoinHandle<()>>,
}

impl PostgresStore {
    /// Connects, creates the schema or brings it to this version, and begins to listen to what others announce.
    ///
    /// # Errors
    /// An [`OpenError`] says what is in the way; a database that is refused is left as it was.
    pub async fn open(config: &PostgresConfig) -> Result<Self, OpenError> {
        Self::open_with(config, MIGRATIONS).await
    }

    /// Tries whether the database can be connected to as `config` says. Nothing is made in it.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub async fn probe_connection(config: &PostgresConfig) -> Result<(), OpenError> {
        let tls = Tls::new(&config.authorities)?;
        let (client, moving) = open::connect_once(&config.connect_config()?, &tls).await?;
        drop(client);
        // It ends when the client is gone; how does not matter.
        let _ = moving.await;
        Ok(())
    }

    async fn open_with(config: &PostgresConfig, migrations: &[schema::Migration]) -> Result<Self, OpenError> {
        let connect = config.connect_config()?;
        let tls = Tls::new(&config.authorities)?;
        let (mut client, moving) = open::connect_once(&connect, &tls).await?;
        let migrated = schema::migrate(&mut client, &config.schema, migrations).await;
        if migrated.is_ok() {
            open::warn_of_losses(&client, &connect).await;
        }
        drop(client);
        // It ends once its user is gone; waited for, so that a database that is refused has no connection of ours.
        drop(moving.await);
        migrated?;
        let connections = open::pool(config, connect.clone(), tls.clone())?;
        let audience = Audience::new();
        let metrics = connections.metrics().clone();
        let listener = Listener::new(connect.clone(), tls.clone(), &config.schema, audience.clone(), metrics);
        let listening = listener.connect().await?;
        let tasks = vec![open::spawn(listener.run(listening)), open::spawn(keep_up(Arc::clone(&connections)))];
        Ok(Self { connections, schema: config.schema.clone(), connect, tls, audience, tasks })
    }

    /// How to make a connection beside those for requests.
    pub(crate) const fn place(&self) -> (&Config, &Tls) {
        (&self.connect, &self.tls)
    }

    /// What the store counts, to be registered.
    pub fn metrics(&self) -> &Metrics {
        self.connections.metrics()
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.connections.close();
    }
}

/// Looks now and then for what has run out. Several processes do that, and none waits for another.
async fn keep_up(connections: Arc<Connections>) {
    loop {
        tokio::time::sleep(UPKEEP_EVERY.mul_f64(rand::random_range(0.5..1.5))).await;
        connections.observe();
        if let Err(error) = sharing::upkeep(&connections).await {
            tracing::debug!(%error, "what has run out could not be deleted");
        }
    }
}

#[async_trait]
impl MetadataStore for PostgresStore {
    async fn repository_exists(&self, repository: &RepositoryName) -> Result<bool, Error> {
        content::exists(&self.connections, repository).await
    }

    async fn repositories(&self, page: &Page<RepositoryName>) -> Result<Vec<RepositoryName>, Error> {
        content::repositories(&self.connections, page).await
    }

    async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<BlobLink>, Error> {
        content::blob(&self.connections, repository, digest).await
    }

    async fn link_blob(&self, repository: &RepositoryName, blob: &BlobLink, now: Timestamp) -> Result<(), Error> {
        content::link_blob(&self.connections, repository, blob, now).await
    }

    async fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        protected: &ProtectedTags,
    ) -> Result<Deletion, Error> {
        removal::unlink_blob(&self.connections, repository, digest, protected).await
    }

    async fn blob_holders(&self, digest: &Digest, limit: usize) -> Result<Vec<(RepositoryName, BlobLink)>, Error> {
        content::blob_holders(&self.connections, digest, limit).await
    }

    async fn referenced_size(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Error> {
        content::referenced_size(&self.connections, repository, digest).await
    }

    async fn naming_manifests(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<ManifestRow>, Error> {
        content::naming_manifests(&self.connections, repository, digest, limit).await
    }

    async fn manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<ManifestRow>, Error> {
        content::manifest(&self.connections, repository, digest).await
    }

    async fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<TagRow>, Error> {
        content::tag(&self.connections, repository, tag).await
    }

    async fn tagged_manifest(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<ManifestRow>, Error> {
        content::tagged_manifest(&self.connections, repository, tag).await
    }

    async fn push_manifest(&self, push: ManifestPush) -> Result<PushOutcome, Error> {
        push::push(&self.connections, &push).await
    }

    async fn confirm_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<bool, Error> {
        push::confirm_tag(&self.connections, repository, tag, digest, now).await
    }

    async fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        protected: &ProtectedTags,
    ) -> Result<Deletion, Error> {
        removal::delete_tag(&self.connections, repository, tag, protected).await
    }

    async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        protected: &ProtectedTags,
    ) -> Result<Deletion, Error> {
        removal::delete_manifest(&self.connections, repository, digest, protected).await
    }

    async fn tags(&self, repository: &RepositoryName, page: &Page<Tag>) -> Result<MissingOr<Vec<Tag>>, Error> {
        content::tags(&self.connections, repository, page).await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page<Digest>,
    ) -> Result<Vec<Referrer>, Error> {
        content::referrers(&self.connections, repository, subject, artifact_type, page).await
    }

    async fn create_upload(&self, upload: &UploadRow, open_max: usize) -> Result<(), Error> {
        uploads::create(&self.connections, upload, open_max).await
    }

    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRow>, Error> {
        uploads::get_one(&self.connections, id).await
    }

    async fn touch_upload(&self, id: &UploadId, now: Timestamp) -> Result<bool, Error> {
        uploads::touch(&self.connections, id, now).await
    }

    async fn delete_upload(&self, id: &UploadId, writer: Option<&str>) -> Result<bool, Error> {
        uploads::delete(&self.connections, id, writer).await
    }

    async fn finish_upload(
        &self,
        id: &UploadId,
        writer: Option<&str>,
        repository: &RepositoryName,
        blob: &BlobLink,
        now: Timestamp,
    ) -> Result<bool, Error> {
        uploads::finish(&self.connections, id, writer, repository, blob, now).await
    }

    async fn upload_progress(&self, id: &UploadId) -> Result<Option<UploadProgress>, Error> {
        uploads::progress(&self.connections, id).await
    }

    async fn claim_upload(&self, id: &UploadId, writer: &str, lasts: Duration) -> Result<Option<UploadClaim>, Error> {
        uploads::claim(&self.connections, id, writer, lasts).await
    }

    async fn renew_upload(&self, id: &UploadId, writer: &str, lasts: Duration) -> Result<bool, Error> {
        uploads::renew(&self.connections, id, writer, lasts).await
    }

    async fn release_upload(
        &self,
        id: &UploadId,
        writer: &str,
        state: Option<UploadState>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        uploads::release(&self.connections, id, writer, state.as_ref(), now).await
    }

    async fn idle_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<UploadRow>, Error> {
        uploads::idle(&self.connections, before, limit).await
    }

    async fn manifest_tags(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error> {
        content::manifest_tags(&self.connections, repository, digest).await
    }

    async fn touch(&self, uses: Vec<Use>) -> Result<(), Error> {
        content::touch(&self.connections, &uses).await
    }

    async fn entries(&self, repository: Option<&RepositoryName>, page: &Page<EntryKey>) -> Result<Vec<Entry>, Error> {
        content::entries(&self.connections, repository, page).await
    }

    async fn evict(&self, eviction: &Eviction) -> Result<Vec<Evicted>, Error> {
        removal::evict(&self.connections, eviction).await
    }

    async fn forget(&self, repository: &RepositoryName, reference: Option<&TagOrDigest>) -> Result<Forgotten, Error> {
        removal::forget(&self.connections, repository, reference).await
    }

    async fn unheld_blobs(&self, limit: usize) -> Result<Vec<BlobLink>, Error> {
        content::unheld_blobs(&self.connections, limit).await
    }

    async fn forget_blob(&self, digest: &Digest) -> Result<bool, Error> {
        removal::forget_blob(&self.connections, digest).await
    }

    async fn pin(&self, pin: &Pin) -> Result<(), Error> {
        content::pin(&self.connections, pin).await
    }

    async fn unpin(&self, repository: &RepositoryName, reference: &TagOrDigest) -> Result<bool, Error> {
        removal::unpin(&self.connections, repository, reference).await
    }

    async fn pins(&self, limit: usize) -> Result<Vec<Pin>, Error> {
        content::pins(&self.connections, limit).await
    }

    async fn add_credential(&self, credential: &CredentialRow) -> Result<bool, Error> {
        access::add_credential(&self.connections, credential).await
    }

    async fn credential(&self, id: &str) -> Result<Option<CredentialRow>, Error> {
        access::credential(&self.connections, id).await
    }

    async fn credentials(&self, principal: Option<&str>, page: &Page<String>) -> Result<Vec<CredentialRow>, Error> {
        access::credentials(&self.connections, principal, page).await
    }

    async fn delete_credential(&self, id: &str) -> Result<bool, Error> {
        access::delete_credential(&self.connections, id).await
    }

    async fn touch_credentials(&self, uses: Vec<(String, Timestamp)>) -> Result<(), Error> {
        access::touch_credentials(&self.connections, &uses).await
    }

    async fn sweep_credentials(&self, unused_since: Timestamp, now: Timestamp) -> Result<u64, Error> {
        access::sweep_credentials(&self.connections, unused_since, now).await
    }

    async fn signing_keys(&self) -> Result<Vec<SigningKeyRow>, Error> {
        access::signing_keys(&self.connections).await
    }

    async fn add_signing_key(&self, key: &SigningKeyRow, newest: Option<&str>) -> Result<bool, Error> {
        access::add_signing_key(&self.connections, key, newest).await
    }

    async fn delete_signing_key(&self, id: &str) -> Result<bool, Error> {
        access::delete_signing_key(&self.connections, id).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn claim_lease(&self, claim: &LeaseClaim, lasts: Duration) -> Result<LeaseOutcome, Error> {
        sharing::claim_lease(&self.connections, claim, lasts).await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<bool, Error> {
        sharing::release_lease(&self.connections, name, holder).await
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, Error> {
        sharing::lease(&self.connections, name).await
    }

    async fn announce(&self, topic: &str, text: &str) -> Result<(), Error> {
        sharing::announce(&self.connections, &self.schema, topic, text).await
    }

    fn announcements(&self) -> BoxStream<'static, Announcement> {
        self.audience.listen()
    }

    async fn set_note(&self, key: &str, value: &str, lasts: Duration) -> Result<(), Error> {
        sharing::set_note(&self.connections, key, value, lasts).await
    }

    async fn note(&self, key: &str) -> Result<Option<String>, Error> {
        sharing::note(&self.connections, key).await
    }

    async fn notes(&self, prefix: &str, limit: usize) -> Result<Vec<(String, String)>, Error> {
        sharing::notes(&self.connections, prefix, limit).await
    }

    async fn totals(&self) -> Result<Totals, Error> {
        content::totals(&self.connections).await
    }

    async fn probe(&self) -> Result<(), Error> {
        sharing::probe(&self.connections).await
    }
}
