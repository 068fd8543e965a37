//! What the cases store: names, blobs, manifests and pushes, all made from short texts.

use std::str::FromStr;

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, Manifest, MediaType, RepositoryName, Tag, TagOrDigest};
use serde_json::{Value, json};

use crate::{
    BlobLink, Deletion, Entry, Evicted, Eviction, ManifestPush, MetadataStore, MissingOr, Page, Pin, ProtectedTags,
    PushOutcome, ReferenceCheck, TagCondition, Timestamp, Use,
};

/// The time of every write that is not about time.
pub(super) const NOW: Timestamp = Timestamp::from_milliseconds(1_700_000_000_000);

/// `NOW` and so much.
pub(super) const fn later(milliseconds: i64) -> Timestamp {
    Timestamp::from_milliseconds(NOW.milliseconds() + milliseconds)
}

/// A repository name, a tag, a media type.
pub(super) fn parsed<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is well-formed"))
}

pub(super) fn repository(text: &str) -> RepositoryName {
    parsed(text)
}

pub(super) fn tag(text: &str) -> Tag {
    parsed(text)
}

/// The digest of a text.
pub(super) fn digest(text: &str) -> Digest {
    Algorithm::Sha256.digest(text.as_bytes())
}

/// The blob whose content is a text.
pub(super) fn blob(text: &str) -> BlobLink {
    BlobLink { digest: digest(text), size: text.len() as u64 }
}

/// The descriptor of a blob.
pub(super) fn descriptor(blob: &BlobLink) -> Value {
    json!({ "mediaType": MediaType::OCTET_STREAM, "digest": blob.digest, "size": blob.size })
}

/// A manifest from its document, which says its type.
pub(super) fn manifest(document: &Value) -> Manifest {
    Manifest::parse(Bytes::from(document.to_string()), None).expect("the sample is a manifest")
}

/// The document of an image whose config is the blob of `name`.
pub(super) fn image_document(name: &str, layers: &[BlobLink]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": descriptor(&blob(name)),
        "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
    })
}

/// An image without layers, whose config is the blob of `name`.
pub(super) fn image(name: &str) -> Manifest {
    manifest(&image_document(name, &[]))
}

/// An index of other manifests or blobs, given as links.
pub(super) fn index(children: &[BlobLink]) -> Manifest {
    manifest(&json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": children.iter().map(descriptor).collect::<Vec<_>>(),
    }))
}

/// An image that refers to `subject`.
pub(super) fn referrer(name: &str, subject: &Digest, artifact_type: &str) -> Manifest {
    let mut document = image_document(name, &[]);
    document["subject"] = json!({ "mediaType": MediaType::OCI_MANIFEST, "digest": subject, "size": 2 });
    document["artifactType"] = artifact_type.into();
    document["annotations"] = json!({ "org.example.name": name });
    manifest(&document)
}

/// The digest of a manifest.
pub(super) fn digest_of(manifest: &Manifest) -> Digest {
    manifest.digest(Algorithm::Sha256)
}

/// A manifest as an index names it.
pub(super) fn link_of(manifest: &Manifest) -> BlobLink {
    BlobLink { digest: digest_of(manifest), size: manifest.bytes().len() as u64 }
}

/// A push without checks and conditions.
pub(super) fn push(repository: &str, manifest: &Manifest, tags: &[&str]) -> ManifestPush {
    ManifestPush {
        repository: parsed(repository),
        digest: digest_of(manifest),
        manifest: manifest.clone(),
        tags: tags.iter().map(|tag| parsed(tag)).collect(),
        references: ReferenceCheck::Lazy,
        unmovable: Vec::new(),
        may_create_tags: true,
        condition: TagCondition::None,
        now: NOW,
    }
}

/// A push whose references must be here.
pub(super) fn checked_push(repository: &str, manifest: &Manifest, tags: &[&str]) -> ManifestPush {
    ManifestPush { references: ReferenceCheck::Required, ..push(repository, manifest, tags) }
}

/// Pushes what the store must take.
pub(super) async fn store_push(store: &dyn MetadataStore, push: ManifestPush) {
    assert_eq!(store.push_manifest(push).await.unwrap(), PushOutcome::Stored);
}

/// Pushes without checks, and returns the digest.
pub(super) async fn store_image(store: &dyn MetadataStore, name: &str, manifest: &Manifest, tags: &[&str]) -> Digest {
    store_push(store, push(name, manifest, tags)).await;
    digest_of(manifest)
}

/// Where a tag points.
pub(super) async fn target(store: &dyn MetadataStore, name: &str, tag: &str) -> Option<Digest> {
    store.tag(&parsed(name), &parsed(tag)).await.unwrap().map(|row| row.digest)
}

/// All tags of a repository.
pub(super) async fn all_tags(store: &dyn MetadataStore, name: &str) -> MissingOr<Vec<Tag>> {
    store.tags(&parsed(name), &first_page()).await.unwrap()
}

/// A page that holds everything that a case stores.
pub(super) const fn first_page<Key>() -> Page<Key> {
    Page { after: None, limit: 100_000 }
}

/// Links blobs to a repository at `NOW`.
pub(super) async fn link(store: &dyn MetadataStore, name: &str, blobs: &[BlobLink]) {
    for blob in blobs {
        store.link_blob(&parsed(name), blob, NOW).await.unwrap();
    }
}

/// Pushes an image whose config and layers are there, used at `at`, and returns the digest.
pub(super) async fn store_whole(
    store: &dyn MetadataStore,
    name: &str,
    config: &str,
    layers: &[BlobLink],
    tags: &[&str],
    at: Timestamp,
) -> Digest {
    link(store, name, &[blob(config)]).await;
    link(store, name, layers).await;
    let image = manifest(&image_document(config, layers));
    store_push(store, ManifestPush { now: at, ..push(name, &image, tags) }).await;
    digest_of(&image)
}

/// Reports that something was pulled.
pub(super) async fn touch(store: &dyn MetadataStore, name: &str, digest: &Digest, at: Timestamp) {
    store.touch(vec![Use { repository: parsed(name), digest: digest.clone(), at }]).await.unwrap();
}

/// Every entry of the store.
pub(super) async fn all_entries(store: &dyn MetadataStore) -> Vec<Entry> {
    store.entries(None, &first_page()).await.unwrap()
}

/// The entry of a digest, which must be one.
pub(super) async fn entry(store: &dyn MetadataStore, name: &str, digest: &Digest) -> Entry {
    let entries = store.entries(Some(&parsed(name)), &first_page()).await.unwrap();
    entries.into_iter().find(|entry| entry.digest == *digest).expect("this is an entry")
}

/// Evict everything that is not pinned.
pub(super) const EVERYTHING: Eviction = Eviction {
    used_before: Timestamp::from_milliseconds(i64::MAX),
    bytes: u64::MAX,
    entries_max: usize::MAX,
    is_dry_run: false,
};

/// Evicts, and returns the digests of what went, in the order in which it went.
pub(super) async fn evict(store: &dyn MetadataStore, eviction: &Eviction) -> Vec<Digest> {
    digests(store.evict(eviction).await.unwrap())
}

/// What was evicted, by digest.
pub(super) fn digests(evicted: Vec<Evicted>) -> Vec<Digest> {
    evicted.into_iter().map(|evicted| evicted.digest).collect()
}

/// Ends that a repository holds a blob, with nothing protected; `false` when it did not.
pub(super) async fn unlink(store: &dyn MetadataStore, name: &RepositoryName, digest: &Digest) -> bool {
    gone(store.unlink_blob(name, digest, &ProtectedTags::default()).await.unwrap()).is_some()
}

/// Deletes a tag, with nothing protected; `false` when there was none.
pub(super) async fn delete_tag(store: &dyn MetadataStore, name: &RepositoryName, tag: &Tag) -> bool {
    gone(store.delete_tag(name, tag, &ProtectedTags::default()).await.unwrap()).is_some()
}

/// Deletes a manifest, with nothing protected; the tags that went with it, unless there was none.
pub(super) async fn delete_manifest(
    store: &dyn MetadataStore,
    name: &RepositoryName,
    digest: &Digest,
) -> Option<Vec<Tag>> {
    gone(store.delete_manifest(name, digest, &ProtectedTags::default()).await.unwrap())
}

/// What went, where nothing is protected.
fn gone(deletion: Deletion) -> Option<Vec<Tag>> {
    match deletion {
        Deletion::Done { tags } => Some(tags),
        Deletion::Missing => None,
        Deletion::Protected(_) | Deletion::NamedByTooMany => panic!("nothing is protected: {deletion:?}"),
    }
}

/// Pins a reference at `NOW`, given as text.
pub(super) async fn pin(store: &dyn MetadataStore, name: &str, reference: &str) -> TagOrDigest {
    let reference = TagOrDigest::parse(reference).expect("the sample is a reference");
    let pin = Pin { repository: parsed(name), reference: reference.clone(), pinned_at: NOW };
    store.pin(&pin).await.unwrap();
    reference
}

/// The blobs that nobody holds any more.
pub(super) async fn unheld(store: &dyn MetadataStore) -> Vec<BlobLink> {
    store.unheld_blobs(usize::MAX).await.unwrap()
}

/// Blobs in the order of their digests.
pub(super) fn in_order(blobs: &[BlobLink]) -> Vec<BlobLink> {
    let mut blobs = blobs.to_vec();
    blobs.sort_unstable_by(|one, other| one.digest.as_str().cmp(other.digest.as_str()));
    blobs
}

/// Asserts that the repository neither exists nor answers to anything of this push.
pub(super) async fn assert_nothing_stored(store: &dyn MetadataStore, push: &ManifestPush) {
    assert_eq!(store.manifest(&push.repository, &push.digest).await.unwrap(), None);
    for tag in &push.tags {
        assert_eq!(store.tag(&push.repository, tag).await.unwrap(), None);
    }
    for reference in push.manifest.references() {
        if let Some(digest) = reference.descriptor.digest.known() {
            assert_eq!(store.referenced_size(&push.repository, digest).await.unwrap(), None);
        }
    }
    if let Some(subject) = push.manifest.subject().and_then(|subject| subject.digest.known()) {
        assert_eq!(store.referrers(&push.repository, subject, None, &first_page()).await.unwrap(), []);
    }
}
