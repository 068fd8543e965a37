//! Cases about what is kept, whatever room is needed.

use entrepot_oci::{Digest, TagOrDigest};

use super::sample::{
    EVERYTHING, NOW, all_entries, blob, delete_manifest, delete_tag, digest_of, entry, evict, image, image_document,
    index, later, link, link_of, manifest, pin, repository, store_image, store_whole, tag, target,
};
use crate::{MetadataStore, Pin};

async fn is_pinned(store: &dyn MetadataStore, digest: &Digest) -> bool {
    entry(store, "team/app", digest).await.is_pinned
}

async fn unpin(store: &dyn MetadataStore, reference: &TagOrDigest) {
    assert!(store.unpin(&repository("team/app"), reference).await.unwrap());
}

pub(super) async fn are_listed_in_order_and_end(store: &dyn MetadataStore) {
    assert_eq!(store.pins(9).await.unwrap(), []);
    let digest = blob("a").digest;
    let references = [("a", "Z"), ("a", "a"), ("a", digest.as_str()), ("a/b", "latest"), ("aa", "0")];
    for (name, reference) in references.iter().rev() {
        pin(store, name, reference).await;
    }
    let row = |(name, reference): (&str, &str)| Pin {
        repository: repository(name),
        reference: TagOrDigest::parse(reference).expect("the sample is a reference"),
        pinned_at: NOW,
    };
    let expected = references.map(row);
    assert_eq!(store.pins(9).await.unwrap(), expected);
    assert_eq!(store.pins(2).await.unwrap(), expected[..2]);
    assert_eq!(store.pins(0).await.unwrap(), []);
    // A second pin changes nothing.
    store.pin(&Pin { pinned_at: later(1), ..expected[1].clone() }).await.unwrap();
    assert_eq!(store.pins(9).await.unwrap(), expected);
    for pinned in &expected {
        assert!(!store.repository_exists(&pinned.repository).await.unwrap());
    }

    assert!(!store.unpin(&repository("a"), &TagOrDigest::Tag(tag("0"))).await.unwrap());
    assert!(!store.unpin(&repository("b"), &TagOrDigest::Tag(tag("a"))).await.unwrap());
    assert!(store.unpin(&repository("a"), &TagOrDigest::Tag(tag("a"))).await.unwrap());
    assert!(!store.unpin(&repository("a"), &TagOrDigest::Tag(tag("a"))).await.unwrap());
    assert_eq!(store.pins(9).await.unwrap(), [&expected[..1], &expected[2..]].concat());
}

pub(super) async fn keep_tags_and_digests_that_come_later(store: &dyn MetadataStore) {
    let (by_digest, loose) = (digest_of(&image("by digest")), digest_of(&image("loose")));
    pin(store, "team/app", "latest").await;
    pin(store, "team/app", by_digest.as_str()).await;
    // The same references of another repository are another matter.
    pin(store, "other", "loose").await;
    pin(store, "other", loose.as_str()).await;
    let by_tag = store_image(store, "team/app", &image("by tag"), &["latest", "more"]).await;
    store_image(store, "team/app", &image("by digest"), &[]).await;
    store_image(store, "team/app", &image("loose"), &["loose"]).await;
    assert!(is_pinned(store, &by_tag).await && is_pinned(store, &by_digest).await);
    assert!(!is_pinned(store, &loose).await);
    assert_eq!(evict(store, &EVERYTHING).await, [loose]);
    assert_eq!(target(store, "team/app", "latest").await, Some(by_tag.clone()));

    unpin(store, &TagOrDigest::Digest(by_digest.clone())).await;
    assert_eq!(evict(store, &EVERYTHING).await, [by_digest]);
    // Both keep it: one that ends leaves the other.
    pin(store, "team/app", by_tag.as_str()).await;
    unpin(store, &TagOrDigest::Tag(tag("latest"))).await;
    assert_eq!(evict(store, &EVERYTHING).await, []);
    unpin(store, &TagOrDigest::Digest(by_tag.clone())).await;
    assert_eq!(evict(store, &EVERYTHING).await, [by_tag]);
}

pub(super) async fn follow_their_tag(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let old = store_image(store, "team/app", &image("old"), &["latest", "1"]).await;
    pin(store, "team/app", "latest").await;
    assert!(is_pinned(store, &old).await);
    let new = store_image(store, "team/app", &image("new"), &["latest"]).await;
    assert!(!is_pinned(store, &old).await && is_pinned(store, &new).await);
    assert!(store.confirm_tag(&name, &tag("latest"), &old, later(1)).await.unwrap());
    assert!(is_pinned(store, &old).await && !is_pinned(store, &new).await);
    assert!(delete_tag(store, &name, &tag("latest")).await);
    assert!(!is_pinned(store, &old).await && !is_pinned(store, &new).await);
    assert!(store.confirm_tag(&name, &tag("latest"), &new, later(1)).await.unwrap());
    assert_eq!(evict(store, &EVERYTHING).await, [old]);
    // The pin outlives what it keeps.
    delete_manifest(store, &name, &new).await;
    store_image(store, "team/app", &image("new"), &["latest"]).await;
    assert!(is_pinned(store, &new).await);
}

pub(super) async fn keep_what_they_reach_and_not_what_reaches_them(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let leaf = manifest(&image_document("leaf", &[blob("layer")]));
    let middle = index(&[link_of(&leaf)]);
    let top = index(&[link_of(&middle), link_of(&image("beside"))]);
    link(store, "team/app", &[blob("leaf"), blob("layer"), blob("beside")]).await;
    for manifest in [&leaf, &middle, &image("beside")] {
        store_image(store, "team/app", manifest, &[]).await;
    }
    pin(store, "team/app", digest_of(&middle).as_str()).await;
    store_image(store, "team/app", &top, &["latest"]).await;
    assert!(!is_pinned(store, &digest_of(&top)).await);
    assert_eq!(evict(store, &EVERYTHING).await, [digest_of(&top)]);
    assert!(store.manifest(&name, &digest_of(&leaf)).await.unwrap().is_some());
    assert_eq!(store.blob(&name, &blob("layer").digest).await.unwrap(), Some(blob("layer")));
    assert_eq!(store.manifest(&name, &digest_of(&image("beside"))).await.unwrap(), None);
    assert!(is_pinned(store, &digest_of(&middle)).await);
    assert_eq!(all_entries(store).await.len(), 1);
}

pub(super) async fn keep_blobs(store: &dyn MetadataStore) {
    let name = repository("team/app");
    link(store, "team/app", &[blob("lone")]).await;
    let kept = pin(store, "team/app", blob("lone").digest.as_str()).await;
    let also = pin(store, "team/app", blob("layer").digest.as_str()).await;
    let image = store_whole(store, "team/app", "a", &[blob("layer")], &["latest"], NOW).await;
    assert_eq!(evict(store, &EVERYTHING).await, [image]);
    for (blob, pinned) in [(blob("lone"), kept), (blob("layer"), also)] {
        assert_eq!(store.blob(&name, &blob.digest).await.unwrap(), Some(blob.clone()));
        assert!(is_pinned(store, &blob.digest).await);
        unpin(store, &pinned).await;
        assert_eq!(evict(store, &EVERYTHING).await, [blob.digest]);
    }
}
