//! Cases about what a pushed manifest names.

use entrepot_oci::{Algorithm, Manifest};
use serde_json::json;

use super::sample::{
    NOW, assert_nothing_stored, blob, checked_push, delete_manifest, descriptor, digest, digest_of, image,
    image_document, index, link_of, manifest, push, referrer, repository, store_image, store_push, target,
};
use crate::{BlobLink, MetadataStore, PushOutcome};

/// Pushes with a check to `team/app`, which must refuse, and returns why.
async fn refusal(store: &dyn MetadataStore, manifest: &Manifest) -> PushOutcome {
    let push = checked_push("team/app", manifest, &["refused"]);
    let outcome = store.push_manifest(push.clone()).await.unwrap();
    assert_ne!(outcome, PushOutcome::Stored);
    assert_nothing_stored(store, &push).await;
    outcome
}

/// What was missing, in an order that does not depend on the store.
async fn missing(store: &dyn MetadataStore, manifest: &Manifest) -> Vec<String> {
    match refusal(store, manifest).await {
        PushOutcome::Missing(mut missing) => {
            missing.sort_unstable();
            missing
        }
        outcome => panic!("references were missing, but the push was answered by {outcome:?}"),
    }
}

/// The texts of digests, sorted.
fn texts<'a>(blobs: impl IntoIterator<Item = &'a BlobLink>) -> Vec<String> {
    let mut texts: Vec<String> = blobs.into_iter().map(|blob| blob.digest.to_string()).collect();
    texts.sort_unstable();
    texts
}

pub(super) async fn that_are_missing_are_named_and_nothing_is_stored(store: &dyn MetadataStore) {
    let layers = [blob("one"), blob("two"), blob("three")];
    let image = manifest(&image_document("config", &layers));
    let mut all = layers.to_vec();
    all.push(blob("config"));
    assert_eq!(missing(store, &image).await, texts(&all));
    assert!(!store.repository_exists(&repository("team/app")).await.unwrap());

    while let Some(present) = all.pop() {
        store.link_blob(&repository("team/app"), &present, NOW).await.unwrap();
        if !all.is_empty() {
            assert_eq!(missing(store, &image).await, texts(&all));
        }
    }
    store_push(store, checked_push("team/app", &image, &["taken"])).await;
    assert_eq!(target(store, "team/app", "taken").await, Some(digest_of(&image)));
}

pub(super) async fn of_another_repository_are_missing(store: &dyn MetadataStore) {
    store.link_blob(&repository("other"), &blob("config"), NOW).await.unwrap();
    store_push(store, checked_push("other", &image("config"), &[])).await;
    assert_eq!(missing(store, &image("config")).await, texts([&blob("config")]));
    assert_eq!(missing(store, &index(&[link_of(&image("config"))])).await, texts([&link_of(&image("config"))]));
}

pub(super) async fn with_another_size_are_named_and_nothing_is_stored(store: &dyn MetadataStore) {
    let name = repository("team/app");
    store.link_blob(&name, &blob("config"), NOW).await.unwrap();
    store.link_blob(&name, &blob("layer"), NOW).await.unwrap();
    let child = store_image(store, "team/app", &image("child"), &[]).await;

    for size in [0, 4, 6, i64::MAX.cast_unsigned(), 1 << 63, u64::MAX] {
        let wrong = BlobLink { size, ..blob("layer") };
        let image = manifest(&image_document("config", std::slice::from_ref(&wrong)));
        assert_eq!(refusal(store, &image).await, PushOutcome::WrongSize(vec![wrong.digest]));
    }
    let wrong_child = index(&[BlobLink { digest: child.clone(), size: 1 }]);
    assert_eq!(refusal(store, &wrong_child).await, PushOutcome::WrongSize(vec![child]));

    let wrong_and_missing = [BlobLink { size: 1, ..blob("layer") }, blob("absent")];
    let image = manifest(&image_document("config", &wrong_and_missing));
    assert_eq!(missing(store, &image).await, texts([&blob("absent")]));
}

pub(super) async fn of_an_index_may_be_manifests_or_blobs(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let children = [link_of(&image("child")), blob("cache layer")];
    assert_eq!(missing(store, &index(&children)).await, texts(&children));
    store_image(store, "team/app", &image("child"), &[]).await;
    assert_eq!(missing(store, &index(&children)).await, texts(&children[1..]));
    store.link_blob(&name, &children[1], NOW).await.unwrap();
    store_push(store, checked_push("team/app", &index(&children), &["index"])).await;

    let nested = index(&[link_of(&index(&children))]);
    store_push(store, checked_push("team/app", &nested, &["nested"])).await;
    // A manifest is no blob: an image cannot have one for a layer unless it was pushed as a blob, too.
    store_image(store, "team/app", &image("stray"), &[]).await;
    let layers = [link_of(&image("stray"))];
    store.link_blob(&name, &blob("config"), NOW).await.unwrap();
    assert_eq!(missing(store, &manifest(&image_document("config", &layers))).await, texts(&layers));
}

pub(super) async fn that_are_optional_may_be_missing(store: &dyn MetadataStore) {
    store.link_blob(&repository("team/app"), &blob("config"), NOW).await.unwrap();
    let mut document = image_document("config", &[]);
    document["layers"] = json!([
        {
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "digest": digest("one"), "size": 3
        },
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest("two"), "size": 3, "urls": ["https://example.org/two"]
        },
        {
            "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "digest": format!("blake3:{}", "a".repeat(64)), "size": 3
        },
    ]);
    store_push(store, checked_push("team/app", &manifest(&document), &["taken"])).await;
    assert_eq!(store.referenced_size(&repository("team/app"), &digest("two")).await.unwrap(), Some(3));
}

pub(super) async fn to_foreign_algorithms_are_missing(store: &dyn MetadataStore) {
    store.link_blob(&repository("team/app"), &blob("config"), NOW).await.unwrap();
    let foreign = format!("blake3:{}", "a".repeat(64));
    let mut document = image_document("config", &[blob("absent")]);
    let layer = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": foreign, "size": 3 });
    document["layers"].as_array_mut().expect("layers are a list").push(layer);
    let mut expected = texts([&blob("absent")]);
    expected.insert(0, foreign);
    assert_eq!(missing(store, &manifest(&document)).await, expected);
}

pub(super) async fn may_stand_more_than_once(store: &dyn MetadataStore) {
    let name = repository("team/app");
    // Artifacts have the empty document for their config and for their only layer.
    let empty = blob("{}");
    let twice = manifest(&image_document("{}", &[empty.clone(), empty.clone()]));
    assert_eq!(missing(store, &twice).await, texts([&empty]));
    store.link_blob(&name, &empty, NOW).await.unwrap();
    store_push(store, checked_push("team/app", &twice, &["taken"])).await;
    assert_eq!(store.referenced_size(&name, &empty.digest).await.unwrap(), Some(2));
    assert!(delete_manifest(store, &name, &digest_of(&twice)).await.is_some());
    assert_eq!(store.referenced_size(&name, &empty.digest).await.unwrap(), None);
}

pub(super) async fn to_a_subject_may_be_missing(store: &dyn MetadataStore) {
    store.link_blob(&repository("team/app"), &blob("config"), NOW).await.unwrap();
    let about_nothing = referrer("config", &digest("never pushed"), "a/b");
    store_push(store, checked_push("team/app", &about_nothing, &["taken"])).await;

    let mut document = image_document("config", &[]);
    let foreign = format!("blake3:{}", "a".repeat(64));
    document["subject"] = json!({ "mediaType": "a/b", "digest": foreign, "size": 3 });
    store_push(store, checked_push("team/app", &manifest(&document), &["foreign"])).await;
}

pub(super) async fn are_not_checked_when_lazy(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let long = BlobLink { digest: Algorithm::Sha512.digest(b"layer"), size: 5 };
    store.link_blob(&name, &BlobLink { size: 9, ..long.clone() }, NOW).await.unwrap();
    let mut document = image_document("config", std::slice::from_ref(&long));
    let foreign = json!({ "mediaType": "a/b", "digest": format!("blake3:{}", "a".repeat(64)), "size": 3 });
    document["layers"].as_array_mut().expect("layers are a list").push(foreign);
    assert_eq!(document["layers"][0], descriptor(&long));
    store_push(store, push("team/app", &manifest(&document), &["taken"])).await;
    assert_eq!(store.referenced_size(&name, &long.digest).await.unwrap(), Some(5));
    assert_eq!(store.referenced_size(&name, &blob("config").digest).await.unwrap(), Some(6));
}
