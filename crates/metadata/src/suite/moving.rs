//! A store with something of everything, and whether two stores hold the same: what a move between stores is tried with.

use entrepot_oci::{Digest, RepositoryName, Tag};

use super::sample::{
    NOW, blob, digest_of, first_page, image, image_document, index, later, link, link_of, manifest, pin, push,
    referrer, repository, store_image, store_whole, touch, unlink,
};
use super::signing_keys::key;
use crate::{BlobLink, CredentialKind, CredentialRow, Eviction, ManifestPush, MetadataStore, MissingOr};

/// Writes something of everything.
///
/// # Panics
/// When the store refuses any of it.
pub async fn fill(store: &dyn MetadataStore) {
    let layer = blob("layer");
    for number in 0..20 {
        let (name, config) = (format!("team/{}", number % 4), format!("config {number}"));
        let tags = [format!("v{number}"), "latest".to_owned()];
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let at = later(number);
        let digest = store_whole(store, &name, &config, std::slice::from_ref(&layer), &tags, at).await;
        let signature = referrer(&config, &digest, "a/signature\0\u{fc}");
        store_image(store, &name, &signature, &[]).await;
        touch(store, &name, &digest, later(100 - number)).await;
    }
    // Bytes in two repositories and an index of what is here and what is not, one of it twice.
    let child = image("child");
    for name in ["team/0", "shared"] {
        store_image(store, name, &child, &[]).await;
        let children = [link_of(&child), link_of(&image("not fetched")), layer.clone(), layer.clone()];
        store_image(store, name, &index(&children), &["all"]).await;
    }
    let odd = manifest(&image_document("odd", &[BlobLink { size: u64::MAX, ..blob("large") }]));
    store.push_manifest(ManifestPush { now: later(-7), ..push("odd", &odd, &["odd"]) }).await.unwrap();
    // A size that was corrected, a blob that nobody holds, an empty repository.
    store.link_blob(&repository("odd"), &BlobLink { size: 99, ..blob("resized") }, NOW).await.unwrap();
    store.link_blob(&repository("shared"), &blob("resized"), later(5)).await.unwrap();
    link(store, "emptied", &[blob("nobody's")]).await;
    assert!(unlink(store, &repository("emptied"), &blob("nobody's").digest).await);
    pin(store, "team/0", "latest").await;
    pin(store, "shared", digest_of(&child).as_str()).await;
    pin(store, "not/here", "later").await;
    for (number, kind) in CredentialKind::ALL.into_iter().enumerate() {
        let credential = CredentialRow {
            id: format!("id {number}"),
            secret_hash: [7; 32],
            kind,
            principal: "alice\0".to_owned(),
            name: format!("{number} \u{fc}"),
            repositories: vec!["team/**".to_owned()],
            actions: Vec::new(),
            basis: (number == 1).then_some([9; 32]),
            created_at: NOW,
            expires_at: (number == 2).then_some(later(9)),
            used_at: (number == 0).then_some(later(1)),
        };
        assert!(store.add_credential(&credential).await.unwrap());
    }
    assert!(store.add_signing_key(&key("z", NOW), None).await.unwrap());
    assert!(store.add_signing_key(&key("a", later(-5)), Some("z")).await.unwrap());
}

/// Asserts that two stores answer every question about what they hold alike, also what would be evicted.
///
/// # Panics
/// When they do not.
pub async fn assert_same(one: &dyn MetadataStore, other: &dyn MetadataStore) {
    let names = one.repositories(&first_page()).await.unwrap();
    assert_eq!(other.repositories(&first_page()).await.unwrap(), names);
    let entries = one.entries(None, &first_page()).await.unwrap();
    assert_eq!(other.entries(None, &first_page()).await.unwrap(), entries);
    assert_eq!(other.totals().await.unwrap(), one.totals().await.unwrap());
    assert_eq!(other.unheld_blobs(99).await.unwrap(), one.unheld_blobs(99).await.unwrap());
    assert_eq!(other.pins(99).await.unwrap(), one.pins(99).await.unwrap());
    assert_eq!(other.signing_keys().await.unwrap(), one.signing_keys().await.unwrap());
    let credentials = one.credentials(None, &first_page()).await.unwrap();
    assert_eq!(other.credentials(None, &first_page()).await.unwrap(), credentials);
    let would = Eviction { is_dry_run: true, ..super::sample::EVERYTHING };
    assert_eq!(other.evict(&would).await.unwrap(), one.evict(&would).await.unwrap());
    for name in names {
        let MissingOr::Found(tags) = one.tags(&name, &first_page()).await.unwrap() else { panic!("it is listed") };
        assert_eq!(other.tags(&name, &first_page()).await.unwrap(), MissingOr::Found(tags.clone()));
        for tag in &tags {
            assert_same_tag(one, other, &name, tag).await;
        }
        let mut digests: Vec<Digest> = entries.iter().map(|entry| entry.digest.clone()).collect();
        digests.extend(["layer", "large", "resized", "child", "nobody's"].map(|text| blob(text).digest));
        digests.push(digest_of(&image("child")));
        for digest in &digests {
            assert_eq!(other.blob(&name, digest).await.unwrap(), one.blob(&name, digest).await.unwrap());
            assert_eq!(other.manifest(&name, digest).await.unwrap(), one.manifest(&name, digest).await.unwrap());
            assert_eq!(
                other.referenced_size(&name, digest).await.unwrap(),
                one.referenced_size(&name, digest).await.unwrap()
            );
            let naming = one.naming_manifests(&name, digest, 99).await.unwrap();
            assert_eq!(other.naming_manifests(&name, digest, 99).await.unwrap(), naming);
            let referrers = one.referrers(&name, digest, None, &first_page()).await.unwrap();
            assert_eq!(other.referrers(&name, digest, None, &first_page()).await.unwrap(), referrers);
        }
    }
    let layer = blob("layer").digest;
    assert_eq!(other.blob_holders(&layer, 99).await.unwrap(), one.blob_holders(&layer, 99).await.unwrap());
}

async fn assert_same_tag(one: &dyn MetadataStore, other: &dyn MetadataStore, name: &RepositoryName, tag: &Tag) {
    assert_eq!(other.tag(name, tag).await.unwrap(), one.tag(name, tag).await.unwrap());
    assert_eq!(other.tagged_manifest(name, tag).await.unwrap(), one.tagged_manifest(name, tag).await.unwrap());
}
