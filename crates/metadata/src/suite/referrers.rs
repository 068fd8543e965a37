//! Cases about referrers.

use entrepot_oci::{Algorithm, Digest, Manifest, MediaType, Referrer};
use serde_json::json;

use super::sample::{
    delete_manifest, delete_tag, digest, digest_of, first_page, image, image_document, link_of, manifest, push,
    referrer, repository, store_image, store_push,
};
use crate::{ManifestPush, MetadataStore, Page};

/// The entry that belongs to a manifest.
fn entry(manifest: &Manifest) -> Referrer {
    Referrer {
        media_type: manifest.media_type().clone(),
        size: manifest.bytes().len() as u64,
        digest: digest_of(manifest),
        artifact_type: manifest.artifact_type().map(str::to_owned),
        annotations: manifest.annotations().clone(),
    }
}

/// The entries of manifests in the order of a list.
fn entries<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Vec<Referrer> {
    let mut entries: Vec<Referrer> = manifests.into_iter().map(entry).collect();
    entries.sort_unstable_by(|one, other| one.digest.as_str().cmp(other.digest.as_str()));
    entries
}

/// The whole list in `team/app`.
async fn list(store: &dyn MetadataStore, subject: &Digest, artifact_type: Option<&str>) -> Vec<Referrer> {
    store.referrers(&repository("team/app"), subject, artifact_type, &first_page()).await.unwrap()
}

pub(super) async fn are_listed_with_what_they_say(store: &dyn MetadataStore) {
    let subject = store_image(store, "team/app", &image("subject"), &["latest"]).await;
    assert_eq!(list(store, &subject, None).await, []);

    let about =
        json!({ "mediaType": MediaType::OCI_MANIFEST, "digest": subject, "size": link_of(&image("subject")).size });
    let mut bare_image = image_document("bare", &[]);
    bare_image["subject"] = about.clone();
    let bare_index =
        json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [], "subject": about });
    let mut odd = image_document("odd", &[]);
    odd["subject"] = about;
    odd["artifactType"] = "a/b; c=\"'--".into();
    odd["annotations"] = json!({ "": "", "quote": "\"\\\u{0}ü\u{1f980}", "z": "'; DROP TABLE referrers; --" });
    let all = [manifest(&bare_image), manifest(&bare_index), manifest(&odd), referrer("r", &subject, "a/b")];
    for manifest in &all {
        store_image(store, "team/app", manifest, &[]).await;
        store_image(store, "team/app", manifest, &[]).await;
    }
    let listed = list(store, &subject, None).await;
    assert_eq!(listed, entries(&all));
    let types: Vec<_> = all.iter().map(Manifest::artifact_type).collect();
    assert_eq!(types, [Some(MediaType::OCTET_STREAM), None, Some("a/b; c=\"'--"), Some("a/b")]);
}

pub(super) async fn are_filtered_by_type(store: &dyn MetadataStore) {
    let subject = digest("subject");
    let of_a = [referrer("1", &subject, "a/a"), referrer("2", &subject, "a/a"), referrer("3", &subject, "a/a")];
    let of_b = [referrer("4", &subject, "a/b"), referrer("5", &subject, "a/b")];
    let bare = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [],
        "subject": { "mediaType": "a/a", "digest": subject, "size": 1 },
    });
    let untyped = [manifest(&bare)];
    for manifest in of_a.iter().chain(&of_b).chain(&untyped) {
        store_image(store, "team/app", manifest, &[]).await;
    }
    assert_eq!(list(store, &subject, Some("a/a")).await, entries(&of_a));
    assert_eq!(list(store, &subject, Some("a/b")).await, entries(&of_b));
    for unknown in ["a/c", "A/A", "", "a/%", "a/_", "' OR 1=1 --"] {
        assert_eq!(list(store, &subject, Some(unknown)).await, [], "{unknown:?}");
    }
    assert_eq!(list(store, &subject, None).await, entries(of_a.iter().chain(&of_b).chain(&untyped)));
}

pub(super) async fn are_listed_by_page(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let subject = digest("subject");
    let all: Vec<Manifest> = (0..10)
        .map(|number| referrer(&number.to_string(), &subject, if number % 2 == 0 { "a/even" } else { "a/odd" }))
        .collect();
    for manifest in &all {
        store_image(store, "team/app", manifest, &[]).await;
    }
    for (artifact_type, expected) in [(None, entries(&all)), (Some("a/odd"), entries(all.iter().skip(1).step_by(2)))] {
        let mut page = Page { after: None, limit: 3 };
        let mut paged = Vec::new();
        loop {
            let part = store.referrers(&name, &subject, artifact_type, &page).await.unwrap();
            assert!(part.len() <= 3);
            let Some(last) = part.last() else { break };
            page.after = Some(last.digest.clone());
            paged.extend(part);
        }
        assert_eq!(paged, expected);
        let never_was = digest("never was");
        let behind: Vec<Referrer> = expected.iter().filter(|entry| entry.digest > never_was).cloned().collect();
        let page = Page { after: Some(never_was), limit: usize::MAX };
        assert_eq!(store.referrers(&name, &subject, artifact_type, &page).await.unwrap(), behind);
        let nothing = Page { after: None, limit: 0 };
        assert_eq!(store.referrers(&name, &subject, artifact_type, &nothing).await.unwrap(), []);
    }
}

pub(super) async fn refer_to_referrers(store: &dyn MetadataStore) {
    let subject = store_image(store, "team/app", &image("subject"), &[]).await;
    let bill = referrer("bill of materials", &subject, "a/bill");
    let signature = referrer("signature", &digest_of(&bill), "a/signature");
    // The specification lets a referrer come before its subject.
    store_image(store, "team/app", &signature, &[]).await;
    store_image(store, "team/app", &bill, &[]).await;
    assert_eq!(list(store, &subject, None).await, entries([&bill]));
    assert_eq!(list(store, &digest_of(&bill), None).await, entries([&signature]));
    assert_eq!(list(store, &digest_of(&signature), None).await, []);

    let long = image("subject").digest(Algorithm::Sha512);
    let about_long = referrer("about the long name", &long, "a/b");
    store_image(store, "team/app", &about_long, &[]).await;
    assert_eq!(list(store, &long, None).await, entries([&about_long]));
    assert_eq!(list(store, &subject, None).await, entries([&bill]));
}

pub(super) async fn leave_with_their_deletion_and_outlive_their_subject(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let subject = store_image(store, "team/app", &image("subject"), &[]).await;
    let (kept, deleted) = (referrer("kept", &subject, "a/b"), referrer("deleted", &subject, "a/b"));
    store_image(store, "team/app", &kept, &[]).await;
    store_image(store, "team/app", &deleted, &["tagged"]).await;

    delete_tag(store, &name, &"tagged".parse().expect("a tag")).await;
    assert_eq!(list(store, &subject, None).await, entries([&kept, &deleted]));
    delete_manifest(store, &name, &digest_of(&deleted)).await;
    assert_eq!(list(store, &subject, None).await, entries([&kept]));
    assert_eq!(list(store, &subject, Some("a/b")).await, entries([&kept]));
    delete_manifest(store, &name, &subject).await;
    assert_eq!(list(store, &subject, None).await, entries([&kept]));

    let long = kept.digest(Algorithm::Sha512);
    store_push(store, ManifestPush { digest: long.clone(), ..push("team/app", &kept, &[]) }).await;
    delete_manifest(store, &name, &digest_of(&kept)).await;
    assert_eq!(list(store, &subject, None).await, [Referrer { digest: long, ..entry(&kept) }]);
}

pub(super) async fn stay_inside_of_their_repository(store: &dyn MetadataStore) {
    let subject = store_image(store, "team/app", &image("subject"), &[]).await;
    let elsewhere = referrer("elsewhere", &subject, "a/b");
    store_image(store, "other", &elsewhere, &[]).await;
    assert_eq!(list(store, &subject, None).await, []);
    let there = store.referrers(&repository("other"), &subject, None, &first_page()).await.unwrap();
    assert_eq!(there, entries([&elsewhere]));
    let nowhere = store.referrers(&repository("nobody"), &subject, None, &first_page()).await.unwrap();
    assert_eq!(nowhere, []);
}
