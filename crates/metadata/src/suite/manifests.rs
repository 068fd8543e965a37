//! Cases about manifests: pushing without conditions, looking up, deleting.

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, MANIFEST_BYTES_MAX, Manifest, MediaType};
use serde_json::json;

use super::sample::{
    all_tags, blob, delete_manifest, digest_of, image, image_document, index, later, link_of, manifest, parsed, push,
    repository, store_image, store_push, tag, target,
};
use crate::{BlobLink, ManifestPush, ManifestRow, MetadataStore, MissingOr};

fn row(manifest: &Manifest) -> ManifestRow {
    ManifestRow {
        digest: digest_of(manifest),
        media_type: manifest.media_type().clone(),
        bytes: manifest.bytes().clone(),
    }
}

pub(super) async fn are_returned_as_they_were_pushed(store: &dyn MetadataStore) {
    let name = repository("team/app");
    // Spaces, order and unknown fields are part of the bytes.
    let text = "{ \"manifests\":[ ],\n\t\"x\":\"\\u00fc\", \"schemaVersion\": 2 }\n";
    let index_type = parsed(MediaType::OCI_INDEX);
    let odd = Manifest::parse(Bytes::from(text), Some(&index_type)).expect("the sample is a manifest");
    store_image(store, "team/app", &odd, &["odd"]).await;
    store_image(store, "team/app", &image("a"), &["latest"]).await;

    assert_eq!(store.manifest(&name, &digest_of(&odd)).await.unwrap(), Some(row(&odd)));
    assert_eq!(store.manifest(&name, &digest_of(&image("a"))).await.unwrap(), Some(row(&image("a"))));
    assert_eq!(store.tagged_manifest(&name, &tag("odd")).await.unwrap(), Some(row(&odd)));
    assert_eq!(store.tagged_manifest(&name, &tag("latest")).await.unwrap(), Some(row(&image("a"))));
    assert_eq!(store.tagged_manifest(&name, &tag("Latest")).await.unwrap(), None);
    assert_eq!(store.manifest(&name, &digest_of(&image("b"))).await.unwrap(), None);
}

pub(super) async fn are_held_by_the_repository_that_they_were_pushed_to(store: &dyn MetadataStore) {
    let digest = store_image(store, "mine", &image("a"), &["latest"]).await;
    store_image(store, "theirs", &image("b"), &["latest"]).await;

    let theirs = repository("theirs");
    assert_eq!(store.manifest(&theirs, &digest).await.unwrap(), None);
    assert_eq!(target(store, "theirs", "latest").await, Some(digest_of(&image("b"))));
    assert_eq!(store.referenced_size(&theirs, &blob("a").digest).await.unwrap(), None);
    assert!(!store.confirm_tag(&theirs, &tag("stolen"), &digest, later(1)).await.unwrap());
    assert_eq!(target(store, "theirs", "stolen").await, None);
    assert_eq!(delete_manifest(store, &theirs, &digest).await, None);
    assert_eq!(store.manifest(&repository("nobody"), &digest).await.unwrap(), None);
    assert_eq!(store.tagged_manifest(&repository("nobody"), &tag("latest")).await.unwrap(), None);
    assert_eq!(store.manifest(&repository("mine"), &digest).await.unwrap(), Some(row(&image("a"))));
}

pub(super) async fn can_be_pushed_twice_and_keep_the_last_type(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let bytes = Bytes::from_static(b"{\"schemaVersion\":2,\"manifests\":[]}");
    let of_type =
        |media_type: &str| Manifest::parse(bytes.clone(), Some(&parsed(media_type))).expect("the sample is a manifest");
    for media_type in [MediaType::OCI_INDEX, MediaType::OCI_INDEX, MediaType::DOCKER_LIST] {
        let manifest = of_type(media_type);
        store_image(store, "team/app", &manifest, &["latest"]).await;
        assert_eq!(store.tagged_manifest(&name, &tag("latest")).await.unwrap(), Some(row(&manifest)));
    }
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(vec![tag("latest")]));
    let deleted = delete_manifest(store, &name, &digest_of(&of_type(MediaType::OCI_INDEX))).await;
    assert_eq!(deleted, Some(vec![tag("latest")]));
}

pub(super) async fn go_with_every_tag_on_them(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let layer = blob("layer");
    let deleted = manifest(&image_document("a", std::slice::from_ref(&layer)));
    store_image(store, "team/app", &deleted, &["latest", "1.0", "Z"]).await;
    store_image(store, "team/app", &image("b"), &["2.0"]).await;

    let gone = delete_manifest(store, &name, &digest_of(&deleted)).await;
    assert_eq!(gone, Some(vec![tag("1.0"), tag("Z"), tag("latest")]), "in order");
    assert_eq!(store.manifest(&name, &digest_of(&deleted)).await.unwrap(), None);
    assert_eq!(store.tagged_manifest(&name, &tag("latest")).await.unwrap(), None);
    assert_eq!(target(store, "team/app", "1.0").await, None);
    assert_eq!(store.referenced_size(&name, &layer.digest).await.unwrap(), None);
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(vec![tag("2.0")]));
    assert_eq!(delete_manifest(store, &name, &digest_of(&deleted)).await, None);

    store_image(store, "team/app", &deleted, &["latest"]).await;
    assert_eq!(store.tagged_manifest(&name, &tag("latest")).await.unwrap(), Some(row(&deleted)));
}

pub(super) async fn outlive_their_deletion_elsewhere(store: &dyn MetadataStore) {
    let digest = store_image(store, "mine", &image("a"), &["latest"]).await;
    store_image(store, "theirs", &image("a"), &["latest"]).await;
    delete_manifest(store, &repository("mine"), &digest).await;
    assert_eq!(store.manifest(&repository("mine"), &digest).await.unwrap(), None);
    let kept = store.tagged_manifest(&repository("theirs"), &tag("latest")).await.unwrap();
    assert_eq!(kept, Some(row(&image("a"))));
    assert_eq!(store.referenced_size(&repository("theirs"), &blob("a").digest).await.unwrap(), Some(1));
}

pub(super) async fn have_one_life_under_each_digest(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let short = digest_of(&image("a"));
    let long = image("a").digest(Algorithm::Sha512);
    store_image(store, "team/app", &image("a"), &["short"]).await;
    store_push(store, ManifestPush { digest: long.clone(), ..push("team/app", &image("a"), &["long"]) }).await;

    assert_eq!(target(store, "team/app", "short").await, Some(short.clone()));
    assert_eq!(target(store, "team/app", "long").await, Some(long.clone()));
    let deleted = delete_manifest(store, &name, &short).await;
    assert_eq!(deleted, Some(vec![tag("short")]));
    assert_eq!(store.manifest(&name, &short).await.unwrap(), None);
    let kept = ManifestRow { digest: long, ..row(&image("a")) };
    assert_eq!(store.tagged_manifest(&name, &tag("long")).await.unwrap(), Some(kept));
    assert_eq!(store.referenced_size(&name, &blob("a").digest).await.unwrap(), Some(1));
}

pub(super) async fn tell_the_size_of_what_they_name(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let layers = [blob("layer"), BlobLink { digest: blob("huge").digest, size: u64::MAX }];
    let image = manifest(&image_document("config", &layers));
    store_image(store, "team/app", &image, &[]).await;
    store_image(store, "team/app", &index(&[link_of(&image)]), &[]).await;
    let also = store_image(store, "team/app", &manifest(&image_document("other", &layers[..1])), &[]).await;

    for named in [&blob("config"), &layers[0], &layers[1], &link_of(&image)] {
        assert_eq!(store.referenced_size(&name, &named.digest).await.unwrap(), Some(named.size));
        assert_eq!(store.blob(&name, &named.digest).await.unwrap(), None);
    }
    assert_eq!(store.referenced_size(&name, &blob("unnamed").digest).await.unwrap(), None);
    assert_eq!(store.referenced_size(&repository("other"), &blob("config").digest).await.unwrap(), None);

    delete_manifest(store, &name, &also).await;
    assert_eq!(store.referenced_size(&name, &layers[0].digest).await.unwrap(), Some(layers[0].size));
    delete_manifest(store, &name, &digest_of(&image)).await;
    assert_eq!(store.referenced_size(&name, &layers[0].digest).await.unwrap(), None);
}

pub(super) async fn are_found_by_what_they_name(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let shared = blob("layer");
    let images = ["one", "two"].map(|config| manifest(&image_document(config, std::slice::from_ref(&shared))));
    for image in &images {
        store_image(store, "team/app", image, &[]).await;
    }
    store_image(store, "team/app", &index(&[link_of(&images[0])]), &[]).await;
    store_image(store, "elsewhere", &image("one"), &[]).await;
    let naming =
        async |repository, digest: &Digest, limit| store.naming_manifests(repository, digest, limit).await.unwrap();

    let rows = images.each_ref().map(row);
    assert_eq!(naming(&name, &shared.digest, 10).await, rows);
    assert_eq!(naming(&name, &shared.digest, 1).await, rows[..1]);
    assert_eq!(naming(&name, &blob("two").digest, 10).await, [row(&images[1])]);
    assert_eq!(naming(&name, &digest_of(&images[0]), 10).await, [row(&index(&[link_of(&images[0])]))]);
    assert_eq!(naming(&name, &digest_of(&images[1]), 10).await, []);
    assert_eq!(naming(&repository("elsewhere"), &shared.digest, 10).await, []);
}

pub(super) async fn of_four_mebibytes_are_whole(store: &dyn MetadataStore) {
    let mut document = image_document("a", &[]);
    let subject = json!({ "mediaType": MediaType::OCI_MANIFEST, "digest": blob("s").digest, "size": 1 });
    document["subject"] = subject;
    document["annotations"] = json!({ "fill": "" });
    let filled = MANIFEST_BYTES_MAX - document.to_string().len();
    document["annotations"] = json!({ "fill": "ü".repeat(filled / 2) });
    let largest = manifest(&document);
    assert!(largest.bytes().len() > MANIFEST_BYTES_MAX - 2);
    store_image(store, "team/app", &largest, &["latest"]).await;
    assert_eq!(store.tagged_manifest(&repository("team/app"), &tag("latest")).await.unwrap(), Some(row(&largest)));
}
