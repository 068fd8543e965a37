//! The contract of a store of metadata.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use entrepot_oci::{Digest, Referrer, RepositoryName, Tag, TagOrDigest};
use futures_core::stream::BoxStream;

use crate::{
    Announcement, BlobLink, CredentialRow, Deletion, Entry, EntryKey, Error, Evicted, Eviction, Forgotten, Lease,
    LeaseClaim, LeaseOutcome, ManifestPush, ManifestRow, MissingOr, Page, Pin, ProtectedTags, PushOutcome,
    SigningKeyRow, TagRow, Timestamp, Totals, UploadClaim, UploadId, UploadProgress, UploadRow, UploadState, Use,
};

/// Who has what: repositories, their manifests, tags, blobs, and unfinished uploads.
///
/// The contract, which `suite` checks for every store:
///
/// - **One call is one transaction.** It happens whole or not at all; once it returned `Ok` for a write it is durable, also after
///   a loss of power, and every later call sees it. What only says that an upload session is there, went on or was given up
///   outlives the process; a loss of power may take it, as it takes staged bytes, but never without everything that came after it.
/// - **Content belongs to its repository.** Every look-up names the repository; what is known in another one only is absent.
/// - **Absence is not an error and an outage is not an absence.** `None`, `false` and empty lists mean that the store is
///   sure; whatever it could not find out is an [`Error`].
/// - **Writes are idempotent** where they can be: linking what is linked and creating what exists succeed.
/// - **A repository exists** from the first blob, manifest or upload linked to it, and stays when it is emptied.
/// - **What runs out is judged by one clock**, that of the store: where [several processes](Self::is_shared) use it, the clocks of their
///   machines do not count. What has run out is gone for every call, and the store gets rid of it in its own time.
/// - **Order is by bytes**; pages go on after a key that need not exist; a page costs what it holds, not what the repository holds.
#[async_trait]
pub trait MetadataStore: Send + Sync + fmt::Debug + 'static {
    /// Whether the repository exists.
    async fn repository_exists(&self, repository: &RepositoryName) -> Result<bool, Error>;

    /// The names of the repositories, in order.
    async fn repositories(&self, page: &Page<RepositoryName>) -> Result<Vec<RepositoryName>, Error>;

    /// The blob that `repository` holds under `digest`.
    async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<BlobLink>, Error>;

    /// Makes `repository` hold a blob, creating the repository when it is new. A second link changes nothing but a wrong size.
    async fn link_blob(&self, repository: &RepositoryName, blob: &BlobLink, now: Timestamp) -> Result<(), Error>;

    /// Ends that `repository` holds the blob, unless a protected tag reaches it: looked for as for [`Self::delete_manifest`].
    async fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        protected: &ProtectedTags,
    ) -> Result<Deletion, Error>;

    /// Up to `limit` repositories that hold the blob, in the order of their names.
    async fn blob_holders(&self, digest: &Digest, limit: usize) -> Result<Vec<(RepositoryName, BlobLink)>, Error>;

    /// What a manifest that `repository` holds says about the content `digest`, which itself may not be here: its size.
    /// When several manifests name it, any of them answers.
    async fn referenced_size(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Error>;

    /// Up to `limit` manifests that `repository` holds and that name the content `digest`, other than as their subject, those that
    /// it has held longest first. The content itself may not be here.
    async fn naming_manifests(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<ManifestRow>, Error>;

    /// The manifest that `repository` holds under `digest`.
    async fn manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<ManifestRow>, Error>;

    /// Where the tag points.
    async fn tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<TagRow>, Error>;

    /// The manifest that the tag points to, in one transaction.
    async fn tagged_manifest(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<ManifestRow>, Error>;

    /// Stores a manifest, its references, its place among the referrers of its subject, and its tags: all or nothing.
    ///
    /// What may be done with the tags, and the condition of the push, are checked in the same transaction, so nothing can come
    /// between. The first answer of these counts: a tag that must not move or be made, the condition, the references.
    /// So whoever lacks a right learns that, and not how the condition would have been judged:
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-13.2.1>.
    async fn push_manifest(&self, push: ManifestPush) -> Result<PushOutcome, Error>;

    /// Points a tag at a manifest that `repository` holds, or only moves the time at which that was last confirmed;
    /// `false` when the repository does not hold the manifest.
    async fn confirm_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// Deletes a tag and leaves its manifest; unless the tag is protected.
    async fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        protected: &ProtectedTags,
    ) -> Result<Deletion, Error>;

    /// Deletes a manifest and every tag on it, unless a protected tag points at it or reaches it through indexes.
    ///
    /// Looked for in the same transaction. A store may stop after a thousand manifests above one, and then it stays:
    /// [`Deletion::NamedByTooMany`].
    async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        protected: &ProtectedTags,
    ) -> Result<Deletion, Error>;

    /// The tags in order, or [`MissingOr::Missing`] when there is no such repository.
    async fn tags(&self, repository: &RepositoryName, page: &Page<Tag>) -> Result<MissingOr<Vec<Tag>>, Error>;

    /// The manifests of `repository` whose subject is `subject`, ordered by digest; only those of `artifact_type` where it is given.
    /// Empty for an unknown repository as well.
    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page<Digest>,
    ) -> Result<Vec<Referrer>, Error>;

    /// Records a new upload session, creating its repository when it is new.
    ///
    /// # Errors
    /// [`Error::TooManyUploads`] when the repository has `open_max` of them already.
    async fn create_upload(&self, upload: &UploadRow, open_max: usize) -> Result<(), Error>;

    /// The upload session, or `None` when it ended or never was.
    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRow>, Error>;

    /// Moves the time at which the session was last used; `false` when there is none.
    async fn touch_upload(&self, id: &UploadId, now: Timestamp) -> Result<bool, Error>;

    /// Ends an upload session; `false` when there was none, or it is not for the caller to end: `writer` is who has
    /// [claimed](Self::claim_upload) it, and without one nobody may have a claim that lasts.
    async fn delete_upload(&self, id: &UploadId, writer: Option<&str>) -> Result<bool, Error>;

    /// Ends an upload session and links the blob that it became, in one transaction: the commit of a push.
    /// The blob is linked even when the session is gone. `false`, and nothing happens, when the session is another writer's, judged
    /// as in [`Self::delete_upload`].
    async fn finish_upload(
        &self,
        id: &UploadId,
        writer: Option<&str>,
        repository: &RepositoryName,
        blob: &BlobLink,
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// How far the session is, or `None` when it ended or never was.
    async fn upload_progress(&self, id: &UploadId) -> Result<Option<UploadProgress>, Error>;

    /// Takes the session for `writer` alone, which is the id of one request; `None` when there is no such session.
    ///
    /// The claim lasts until it is released, or, once it has run out, until another writer takes it: who comes too late to renew it
    /// and finds nobody else still has it. Who has it may take it again, so an order whose answer was lost can be repeated.
    async fn claim_upload(&self, id: &UploadId, writer: &str, lasts: Duration) -> Result<Option<UploadClaim>, Error>;

    /// Has the claim last from now on; `false` when it was lost to another writer or the session ended: its writer must stop.
    async fn renew_upload(&self, id: &UploadId, writer: &str, lasts: Duration) -> Result<bool, Error>;

    /// Ends a claim, moves the time at which the session was last used, and leaves `state` for the next writer; without one, what the
    /// last one has left stays. `false`, and nothing happens, when the claim was lost meanwhile.
    ///
    /// # Errors
    /// [`Error::TooLong`] for a state beyond [its limit](crate::limits::UPLOAD_STATE_BYTES_MAX).
    async fn release_upload(
        &self,
        id: &UploadId,
        writer: &str,
        state: Option<UploadState>,
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// Up to `limit` sessions that were last used before `before` and that no claim lasts on, oldest first.
    async fn idle_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<UploadRow>, Error>;

    /// The tags of the repository that point at the manifest, in order.
    async fn manifest_tags(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error>;

    /// Moves the times of last use forward, never back. A use of a manifest is one of every manifest above it, up to the
    /// indexes that name it as a child, and so of their tags; a push is a use as well. What is not here is passed over.
    ///
    /// Nothing goes round in circles, and a store may stop after a thousand manifests above one.
    async fn touch(&self, uses: Vec<Use>) -> Result<(), Error>;

    /// The entries in the order of their repository and digest, only those of `repository` where it is given.
    async fn entries(&self, repository: Option<&RepositoryName>, page: &Page<EntryKey>) -> Result<Vec<Entry>, Error>;

    /// Evicts entries, least recently used first: their tags, their manifests, and the children and blob links of the
    /// repository that nothing else in it names. An entry that does not free bytes, because other entries or repositories
    /// share them, goes as well.
    ///
    /// What is pinned stays, and so does what a pinned, a tagged or any other remaining manifest of the repository names. A child
    /// that stays is an entry from then on. A store may leave what is beyond a thousand children of one entry in the same
    /// way, for the next turn.
    ///
    /// The blobs that lost their last holder are [unheld](Self::unheld_blobs) from then on. What it costs depends on what
    /// goes, not on what there is.
    async fn evict(&self, eviction: &Eviction) -> Result<Vec<Evicted>, Error>;

    /// Forgets what a reference names, with everything that only this reaches, as [`Self::evict`] does:
    ///
    /// - a tag: its manifest goes with it, unless another tag points at that, or another manifest names it as a child;
    /// - a digest: the manifest with every tag on it, or the blob, even when manifests name it;
    /// - `None`: everything that the repository holds.
    ///
    /// Nothing happens when what is named is pinned: a tag, the manifest that would go with it, a digest or a tag on it, or for
    /// `None` anything that is here. A pinned child of what goes stays.
    async fn forget(&self, repository: &RepositoryName, reference: Option<&TagOrDigest>) -> Result<Forgotten, Error>;

    /// Up to `limit` blobs that were held once and that no repository holds any more, in the order of their digests: their bytes may
    /// go. They stay on this list until [`Self::forget_blob`], so that a crash in between loses none, or until they are linked again.
    async fn unheld_blobs(&self, limit: usize) -> Result<Vec<BlobLink>, Error>;

    /// Takes a blob off the list of [unheld](Self::unheld_blobs) blobs, now that its bytes are gone; `false` when a repository
    /// holds it again, or it is not on the list.
    async fn forget_blob(&self, digest: &Digest) -> Result<bool, Error>;

    /// Pins a reference; neither it nor its repository need be here yet. A second pin changes nothing.
    async fn pin(&self, pin: &Pin) -> Result<(), Error>;

    /// Ends a pin; `false` when there was none.
    async fn unpin(&self, repository: &RepositoryName, reference: &TagOrDigest) -> Result<bool, Error>;

    /// Up to `limit` pins, in the order of their repositories and references.
    async fn pins(&self, limit: usize) -> Result<Vec<Pin>, Error>;

    /// Adds a credential; `false`, and nothing happens, when its principal has one of its kind and name already, or there is one
    /// of its id. The name of a refresh token does not count.
    async fn add_credential(&self, credential: &CredentialRow) -> Result<bool, Error>;

    /// The credential of this id.
    async fn credential(&self, id: &str) -> Result<Option<CredentialRow>, Error>;

    /// Credentials in the order of their ids; only those of `principal` where it is given.
    async fn credentials(&self, principal: Option<&str>, page: &Page<String>) -> Result<Vec<CredentialRow>, Error>;

    /// Ends a credential; `false` when there was none.
    async fn delete_credential(&self, id: &str) -> Result<bool, Error>;

    /// Moves the times of last use forward, never back. What is not here is passed over.
    async fn touch_credentials(&self, uses: Vec<(String, Timestamp)>) -> Result<(), Error>;

    /// Ends refresh tokens that were neither made nor used since `unused_since`, and everything that expired before `now`;
    /// says how many.
    async fn sweep_credentials(&self, unused_since: Timestamp, now: Timestamp) -> Result<u64, Error>;

    /// The keys that tokens are signed with, the newest first: in the order in which they were added, whatever the clocks said.
    async fn signing_keys(&self) -> Result<Vec<SigningKeyRow>, Error>;

    /// Adds a key if the newest one is `newest` (`None`: if there is none): of several replicas that make one at the same time,
    /// one succeeds. `false`, and nothing happens, when another was first, or there is one of its id.
    async fn add_signing_key(&self, key: &SigningKeyRow, newest: Option<&str>) -> Result<bool, Error>;

    /// Ends a key; `false` when there was none.
    async fn delete_signing_key(&self, id: &str) -> Result<bool, Error>;

    /// Whether several processes may use this store at the same time, and do everything below for one another. Otherwise what is below
    /// is this process's own and ends with it.
    fn is_shared(&self) -> bool;

    /// Takes a lease, or has one that the holder has last from now on. Leases are for who does something now, and for work that may be
    /// done twice: between the last look at the clock and the work, a lease can run out unseen.
    ///
    /// # Errors
    /// [`Error::TooLong`] for a note beyond [its limit](crate::limits::NOTE_BYTES_MAX).
    async fn claim_lease(&self, claim: &LeaseClaim, lasts: Duration) -> Result<LeaseOutcome, Error>;

    /// Ends a lease; `false` when the holder did not have it any more.
    async fn release_lease(&self, name: &str, holder: &str) -> Result<bool, Error>;

    /// The lease, when somebody holds it.
    async fn lease(&self, name: &str) -> Result<Option<Lease>, Error>;

    /// Says something to everyone who [listens](Self::announcements), once it is certain that they will hear it: what was written
    /// before is there for whoever hears it.
    ///
    /// # Errors
    /// [`Error::TooLong`] beyond [its limit](crate::limits::ANNOUNCEMENT_BYTES_MAX).
    async fn announce(&self, topic: &str, text: &str) -> Result<(), Error>;

    /// What is said from now on, in order; it ends with the store. [`Announcement::Missed`] comes when the connection is lost, and again
    /// when everything is heard from then on: between the two nothing is known.
    fn announcements(&self) -> BoxStream<'static, Announcement>;

    /// Writes a small value down for every process, over the one before, until it runs out.
    ///
    /// # Errors
    /// [`Error::TooLong`] beyond [its limit](crate::limits::NOTE_BYTES_MAX).
    async fn set_note(&self, key: &str, value: &str, lasts: Duration) -> Result<(), Error>;

    /// The note of this key.
    async fn note(&self, key: &str) -> Result<Option<String>, Error>;

    /// Up to `limit` notes whose keys begin with `prefix`, in the order of their keys.
    async fn notes(&self, prefix: &str, limit: usize) -> Result<Vec<(String, String)>, Error>;

    /// How much there is. Costs the same, whatever there is.
    async fn totals(&self) -> Result<Totals, Error>;

    /// Tries what every request needs, for the readiness probe.
    async fn probe(&self) -> Result<(), Error>;
}
