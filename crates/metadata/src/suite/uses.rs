//! Cases about when content was last used.

use entrepot_oci::Digest;

use super::sample::{
    NOW, all_entries, blob, delete_manifest, digest, digest_of, entry, image, index, later, link, link_of, push,
    repository, store_image, store_push, tag, touch,
};
use crate::{BlobLink, ManifestPush, MetadataStore, Timestamp, Use};

/// When the entry of `team/app` was last used.
async fn used_at(store: &dyn MetadataStore, digest: &Digest) -> Timestamp {
    entry(store, "team/app", digest).await.used_at
}

/// Pushes at a time, and returns the digest.
async fn push_at(store: &dyn MetadataStore, manifest: &entrepot_oci::Manifest, at: Timestamp) -> Digest {
    store_push(store, ManifestPush { now: at, ..push("team/app", manifest, &[]) }).await;
    digest_of(manifest)
}

pub(super) async fn begin_with_what_is_stored(store: &dyn MetadataStore) {
    let pushed = push_at(store, &image("a"), later(5)).await;
    assert_eq!(used_at(store, &pushed).await, later(5));
    push_at(store, &image("a"), later(7)).await;
    assert_eq!(used_at(store, &pushed).await, later(7));
    push_at(store, &image("a"), later(6)).await;
    assert_eq!(used_at(store, &pushed).await, later(7));

    let lone = blob("lone");
    store.link_blob(&repository("team/app"), &lone, later(3)).await.unwrap();
    assert_eq!(used_at(store, &lone.digest).await, later(3));

    // A child that is fetched after its index was asked for through it.
    let parent = push_at(store, &index(&[link_of(&image("child"))]), later(8)).await;
    push_at(store, &image("child"), later(9)).await;
    assert_eq!(used_at(store, &parent).await, later(9));
    // Confirming where a tag points is nobody's pull.
    assert!(store.confirm_tag(&repository("team/app"), &tag("1"), &parent, later(20)).await.unwrap());
    assert_eq!(used_at(store, &parent).await, later(9));
}

pub(super) async fn move_forward_and_never_back(store: &dyn MetadataStore) {
    let image = store_image(store, "team/app", &image("a"), &["latest"]).await;
    let lone = blob("lone");
    link(store, "team/app", std::slice::from_ref(&lone)).await;
    for digest in [&image, &lone.digest] {
        for (reported, expected) in [(later(10), later(10)), (later(4), later(10)), (later(11), later(11))] {
            touch(store, "team/app", digest, reported).await;
            assert_eq!(used_at(store, digest).await, expected);
        }
        // One batch, in whatever order.
        let uses =
            [20, 30, 25].map(|at| Use { repository: repository("team/app"), digest: digest.clone(), at: later(at) });
        store.touch(uses.to_vec()).await.unwrap();
        assert_eq!(used_at(store, digest).await, later(30));
    }
    store.touch(Vec::new()).await.unwrap();
}

pub(super) async fn go_up_to_every_index_above(store: &dyn MetadataStore) {
    let (child, sibling) = (image("child"), image("sibling"));
    let inner = index(&[link_of(&child), link_of(&sibling)]);
    let outer = index(&[link_of(&inner)]);
    let other = index(&[link_of(&child)]);
    for manifest in [&child, &sibling, &inner, &outer, &other] {
        store_image(store, "team/app", manifest, &[]).await;
    }
    touch(store, "team/app", &digest_of(&child), later(5)).await;
    assert_eq!(used_at(store, &digest_of(&outer)).await, later(5));
    assert_eq!(used_at(store, &digest_of(&other)).await, later(5));

    touch(store, "team/app", &digest_of(&sibling), later(9)).await;
    assert_eq!(used_at(store, &digest_of(&outer)).await, later(9));
    assert_eq!(used_at(store, &digest_of(&other)).await, later(5));
    // It does not go down.
    touch(store, "team/app", &digest_of(&outer), later(30)).await;
    delete_manifest(store, &repository("team/app"), &digest_of(&outer)).await;
    assert_eq!(used_at(store, &digest_of(&inner)).await, later(9));
    delete_manifest(store, &repository("team/app"), &digest_of(&inner)).await;
    assert_eq!(used_at(store, &digest_of(&sibling)).await, later(9));
}

pub(super) async fn are_those_of_one_repository(store: &dyn MetadataStore) {
    let child = image("child");
    let parent = index(&[link_of(&child)]);
    for name in ["team/app", "other"] {
        store_image(store, name, &child, &[]).await;
        store_image(store, name, &parent, &[]).await;
        link(store, name, &[blob("lone")]).await;
    }
    touch(store, "other", &digest_of(&child), later(5)).await;
    touch(store, "other", &blob("lone").digest, later(5)).await;
    for entry in all_entries(store).await {
        let expected = if entry.repository == repository("other") { later(5) } else { NOW };
        assert_eq!(entry.used_at, expected, "{entry:?}");
    }
}

pub(super) async fn of_what_is_not_here_are_passed_over(store: &dyn MetadataStore) {
    // Named, but not fetched: whoever reports it has not pulled it from here.
    let absent = link_of(&image("absent"));
    let parent = store_image(store, "team/app", &index(std::slice::from_ref(&absent)), &[]).await;
    let uses =
        [("team/app", &absent.digest), ("team/app", &digest("x")), ("nobody", &digest("x")), ("team/app", &parent)];
    let uses = uses.map(|(name, digest)| Use { repository: repository(name), digest: digest.clone(), at: later(1) });
    store.touch(uses[..3].to_vec()).await.unwrap();
    assert_eq!(used_at(store, &parent).await, NOW);
    store.touch(uses.to_vec()).await.unwrap();
    assert_eq!(used_at(store, &parent).await, later(1));
    assert!(!store.repository_exists(&repository("nobody")).await.unwrap());
}

pub(super) async fn end_where_manifests_go_round_in_circles(store: &dyn MetadataStore) {
    // Nobody can make these, but a store does not know that.
    let (one, two) = (digest("one"), digest("two"));
    let names = |digest: &Digest| index(&[BlobLink { digest: digest.clone(), size: 1 }]);
    store_push(store, ManifestPush { digest: one.clone(), ..push("team/app", &names(&two), &[]) }).await;
    store_push(store, ManifestPush { digest: two.clone(), ..push("team/app", &names(&one), &[]) }).await;
    touch(store, "team/app", &one, later(5)).await;
    assert_eq!(all_entries(store).await, []);
    delete_manifest(store, &repository("team/app"), &one).await;
    assert_eq!(used_at(store, &two).await, later(5));
}

pub(super) async fn come_by_the_thousand(store: &dyn MetadataStore) {
    let digests = ["a", "b", "c"].map(|name| digest_of(&image(name)));
    for name in ["a", "b", "c"] {
        store_image(store, "team/app", &image(name), &[]).await;
    }
    let uses = (0..3000).map(|number| Use {
        repository: repository("team/app"),
        digest: digests[number % 2].clone(),
        at: later(i64::try_from(number).expect("a small number")),
    });
    store.touch(uses.collect()).await.unwrap();
    assert_eq!(used_at(store, &digests[0]).await, later(2998));
    assert_eq!(used_at(store, &digests[1]).await, later(2999));
    assert_eq!(used_at(store, &digests[2]).await, NOW);
}
