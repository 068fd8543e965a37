//! Cases about forgetting what somebody names.

use entrepot_oci::{Digest, TagOrDigest};

use super::sample::{
    NOW, all_entries, all_tags, blob, digest, digest_of, digests, entry, image, in_order, index, link, link_of, pin,
    repository, store_image, store_whole, tag, target, unheld,
};
use crate::{Evicted, Forgotten, MetadataStore, MissingOr, Totals};

async fn forget_tag(store: &dyn MetadataStore, text: &str) -> Forgotten {
    store.forget(&repository("team/app"), Some(&TagOrDigest::Tag(tag(text)))).await.unwrap()
}

async fn forget_digest(store: &dyn MetadataStore, digest: &Digest) -> Forgotten {
    store.forget(&repository("team/app"), Some(&TagOrDigest::Digest(digest.clone()))).await.unwrap()
}

/// What goes from `team/app` in one piece.
fn gone(digest: &Digest, tags: &[&str], freed: u64) -> Forgotten {
    let tags = tags.iter().map(|text| tag(text)).collect();
    Forgotten::Entries(vec![Evicted {
        repository: repository("team/app"),
        digest: digest.clone(),
        tags,
        freed,
        used_at: NOW,
    }])
}

pub(super) async fn a_tag_takes_what_only_it_reaches(store: &dyn MetadataStore) {
    let shared = blob("shared");
    let kept = store_whole(store, "team/app", "kept", std::slice::from_ref(&shared), &["kept"], NOW).await;
    let child = image("child");
    link(store, "team/app", &[blob("child")]).await;
    store_image(store, "team/app", &child, &[]).await;
    let parent = store_image(store, "team/app", &index(&[link_of(&child), shared.clone()]), &["1.0"]).await;

    assert_eq!(forget_tag(store, "1.0").await, gone(&parent, &["1.0"], 5));
    assert_eq!(forget_tag(store, "1.0").await, Forgotten::Nothing);
    assert_eq!(all_entries(store).await.len(), 1);
    assert_eq!(target(store, "team/app", "kept").await, Some(kept));
    assert_eq!(store.blob(&repository("team/app"), &shared.digest).await.unwrap(), Some(shared));
    assert_eq!(store.manifest(&repository("team/app"), &digest_of(&child)).await.unwrap(), None);
    assert_eq!(unheld(store).await, [blob("child")]);
}

pub(super) async fn a_tag_among_others_takes_the_tag_alone(store: &dyn MetadataStore) {
    let image = store_whole(store, "team/app", "a", &[], &["1", "1.0", "latest"], NOW).await;
    // A pin on another tag of it is kept by what stays.
    pin(store, "team/app", "1.0").await;
    assert_eq!(forget_tag(store, "latest").await, gone(&image, &["latest"], 0));
    assert_eq!(forget_tag(store, "1").await, gone(&image, &["1"], 0));
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(vec![tag("1.0")]));
    assert_eq!(unheld(store).await, []);
    store.unpin(&repository("team/app"), &TagOrDigest::Tag(tag("1.0"))).await.unwrap();
    assert_eq!(forget_tag(store, "1.0").await, gone(&image, &["1.0"], 1));
}

pub(super) async fn a_tag_on_a_child_takes_the_tag_alone(store: &dyn MetadataStore) {
    let child = image("child");
    store_image(store, "team/app", &child, &["amd64"]).await;
    store_image(store, "team/app", &index(&[link_of(&child)]), &["latest"]).await;
    assert_eq!(forget_tag(store, "amd64").await, gone(&digest_of(&child), &["amd64"], 0));
    assert_eq!(target(store, "team/app", "amd64").await, None);
    assert!(store.manifest(&repository("team/app"), &digest_of(&child)).await.unwrap().is_some());
}

pub(super) async fn a_digest_takes_every_tag_on_it(store: &dyn MetadataStore) {
    let image = store_whole(store, "team/app", "a", &[blob("layer")], &["latest", "1.0"], NOW).await;
    let other = store_whole(store, "team/app", "b", &[], &["2.0"], NOW).await;
    link(store, "other", &[blob("layer")]).await;
    assert_eq!(forget_digest(store, &image).await, gone(&image, &["1.0", "latest"], 1));
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(vec![tag("2.0")]));
    assert_eq!(target(store, "team/app", "2.0").await, Some(other));
    assert_eq!(forget_digest(store, &image).await, Forgotten::Nothing);
    link(store, "team/app", &[blob("lone")]).await;
    assert_eq!(forget_digest(store, &blob("lone").digest).await, gone(&blob("lone").digest, &[], 4));
    assert_eq!(unheld(store).await, in_order(&[blob("a"), blob("lone")]));
}

pub(super) async fn a_digest_takes_even_what_is_named(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let child = image("child");
    link(store, "team/app", &[blob("child"), link_of(&child)]).await;
    store_image(store, "team/app", &child, &["amd64"]).await;
    let parent = store_image(store, "team/app", &index(&[link_of(&child)]), &["latest"]).await;
    let freed = 5 + link_of(&child).size;
    assert_eq!(forget_digest(store, &digest_of(&child)).await, gone(&digest_of(&child), &["amd64"], freed));
    assert_eq!(store.manifest(&name, &digest_of(&child)).await.unwrap(), None);
    assert_eq!(store.blob(&name, &digest_of(&child)).await.unwrap(), None);
    assert_eq!(entry(store, "team/app", &parent).await.tags, [tag("latest")]);
    assert_eq!(store.referenced_size(&name, &digest_of(&child)).await.unwrap(), Some(link_of(&child).size));

    store_image(store, "team/app", &child, &[]).await;
    link(store, "team/app", &[blob("child")]).await;
    assert_eq!(forget_digest(store, &blob("child").digest).await, gone(&blob("child").digest, &[], 5));
    assert_eq!(store.blob(&name, &blob("child").digest).await.unwrap(), None);
    assert!(store.manifest(&name, &digest_of(&child)).await.unwrap().is_some());
}

pub(super) async fn a_repository_takes_everything_of_it(store: &dyn MetadataStore) {
    let child = image("child");
    let image = store_whole(store, "team/app", "a", &[blob("layer")], &["latest"], NOW).await;
    store_image(store, "team/app", &child, &["amd64"]).await;
    let parent = store_image(store, "team/app", &index(&[link_of(&child)]), &["all"]).await;
    link(store, "team/app", &[blob("lone")]).await;
    let other = store_whole(store, "other", "a", &[], &["latest"], NOW).await;
    pin(store, "other", "latest").await;
    // Nothing of this is here.
    pin(store, "team/app", "not-here").await;
    pin(store, "team/app", digest("x").as_str()).await;

    let Forgotten::Entries(evicted) = store.forget(&repository("team/app"), None).await.unwrap() else {
        panic!("something was here");
    };
    assert_eq!(evicted.iter().map(|evicted| evicted.freed).sum::<u64>(), 5 + 4);
    let mut went = digests(evicted);
    went.sort_unstable();
    // The child has a tag and goes on its own.
    let mut expected = [image, digest_of(&child), parent, blob("lone").digest];
    expected.sort_unstable();
    assert_eq!(went, expected);
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(vec![]));
    assert_eq!(all_entries(store).await.len(), 1);
    assert_eq!(target(store, "other", "latest").await, Some(other));
    assert_eq!(store.totals().await.unwrap(), Totals { bytes: 1, blobs: 1, manifests: 1 });
    assert_eq!(unheld(store).await, in_order(&[blob("layer"), blob("lone")]));
    assert_eq!(store.forget(&repository("team/app"), None).await.unwrap(), Forgotten::Nothing);
}

pub(super) async fn what_is_not_here_is_nothing(store: &dyn MetadataStore) {
    let image = store_image(store, "other", &image("a"), &["latest"]).await;
    assert_eq!(forget_tag(store, "latest").await, Forgotten::Nothing);
    assert_eq!(store.forget(&repository("team/app"), None).await.unwrap(), Forgotten::Nothing);
    assert!(!store.repository_exists(&repository("team/app")).await.unwrap());
    link(store, "team/app", &[blob("x")]).await;
    assert_eq!(forget_tag(store, "latest").await, Forgotten::Nothing);
    assert_eq!(forget_digest(store, &image).await, Forgotten::Nothing);
    // Named is not here.
    let named = link_of(&super::sample::image("named"));
    store_image(store, "team/app", &index(std::slice::from_ref(&named)), &[]).await;
    assert_eq!(forget_digest(store, &named.digest).await, Forgotten::Nothing);
    assert_eq!(all_entries(store).await.len(), 3);
}

pub(super) async fn what_is_pinned_does_nothing(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let image = store_whole(store, "team/app", "a", &[], &["1.0"], NOW).await;
    link(store, "team/app", &[blob("lone")]).await;
    let before = (all_entries(store).await, store.totals().await.unwrap());

    for pinned in ["1.0", image.as_str()] {
        let pinned = pin(store, "team/app", pinned).await;
        let refused = Forgotten::Pinned(pinned.clone());
        assert_eq!(forget_tag(store, "1.0").await, refused);
        assert_eq!(forget_digest(store, &image).await, refused);
        assert_eq!(store.forget(&name, None).await.unwrap(), refused);
        assert!(store.unpin(&name, &pinned).await.unwrap());
        assert_eq!((all_entries(store).await, store.totals().await.unwrap()), before);
    }
    let pinned = pin(store, "team/app", blob("lone").digest.as_str()).await;
    assert_eq!(forget_digest(store, &blob("lone").digest).await, Forgotten::Pinned(pinned.clone()));
    assert_eq!(store.forget(&name, None).await.unwrap(), Forgotten::Pinned(pinned));
    assert_eq!(forget_tag(store, "1.0").await, gone(&image, &["1.0"], 1));

    // A pinned child outlives its index.
    let child = super::sample::image("child");
    store_image(store, "team/app", &child, &[]).await;
    let parent = store_image(store, "team/app", &index(&[link_of(&child)]), &["all"]).await;
    pin(store, "team/app", digest_of(&child).as_str()).await;
    assert_eq!(forget_tag(store, "all").await, gone(&parent, &["all"], 0));
    assert!(entry(store, "team/app", &digest_of(&child)).await.is_pinned);
}
