//! Cases about what can be evicted.

use entrepot_oci::{Digest, MediaType};

use super::sample::{
    NOW, all_entries, blob, delete_manifest, digest, digest_of, entry, first_page, image, image_document, index, later,
    link, link_of, manifest, parsed, pin, push, referrer, repository, store_image, store_push, store_whole, tag,
    unlink,
};
use crate::{BlobLink, Entry, EntryKey, ManifestPush, MetadataStore, Page};

/// The digests of all entries, in order.
async fn listed(store: &dyn MetadataStore) -> Vec<Digest> {
    all_entries(store).await.into_iter().map(|entry| entry.digest).collect()
}

/// Digests in the order of a list of one repository.
fn sorted<const COUNT: usize>(mut digests: [Digest; COUNT]) -> [Digest; COUNT] {
    digests.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    digests
}

pub(super) async fn are_images_and_lone_blobs(store: &dyn MetadataStore) {
    assert_eq!(all_entries(store).await, []);
    let image = store_whole(store, "b", "config", &[blob("layer")], &["latest", "1.0"], later(1)).await;
    link(store, "a", &[blob("lone")]).await;
    pin(store, "b", "1.0").await;
    let of_a = Entry {
        repository: repository("a"),
        digest: blob("lone").digest,
        media_type: None,
        tags: vec![],
        bytes: 4,
        used_at: NOW,
        is_pinned: false,
    };
    let of_b = Entry {
        repository: repository("b"),
        digest: image,
        media_type: Some(parsed(MediaType::OCI_MANIFEST)),
        tags: vec![tag("1.0"), tag("latest")],
        bytes: 6 + 5,
        used_at: later(1),
        is_pinned: true,
    };
    assert_eq!(all_entries(store).await, [of_a.clone(), of_b.clone()]);
    assert_eq!(store.entries(Some(&repository("a")), &first_page()).await.unwrap(), [of_a]);
    assert_eq!(store.entries(Some(&repository("b")), &first_page()).await.unwrap(), std::slice::from_ref(&of_b));
    assert_eq!(store.entries(Some(&repository("nobody")), &first_page()).await.unwrap(), []);
    assert_eq!(store.manifest_tags(&repository("b"), &of_b.digest).await.unwrap(), of_b.tags);
    assert_eq!(store.manifest_tags(&repository("a"), &of_b.digest).await.unwrap(), []);
    assert_eq!(store.manifest_tags(&repository("nobody"), &of_b.digest).await.unwrap(), []);
}

pub(super) async fn are_what_no_index_names(store: &dyn MetadataStore) {
    let child = image("child");
    let inner = index(&[link_of(&child)]);
    let outer = index(&[link_of(&inner)]);
    for manifest in [&outer, &child, &inner] {
        store_image(store, "team/app", manifest, &["moves", &format!("t{}", link_of(manifest).size)]).await;
    }
    assert_eq!(listed(store).await, [digest_of(&outer)]);
    // What another repository names makes no difference here.
    store_image(store, "other", &child, &[]).await;
    assert_eq!(listed(store).await, [digest_of(&child), digest_of(&outer)]);
    // What a layer names is a blob. That a manifest of the same digest is here is a coincidence.
    let odd = manifest(&image_document("config", &[link_of(&child)]));
    store_image(store, "other", &odd, &[]).await;
    let of_other = store.entries(Some(&repository("other")), &first_page()).await.unwrap();
    assert_eq!(
        of_other.into_iter().map(|entry| entry.digest).collect::<Vec<_>>(),
        sorted([digest_of(&child), digest_of(&odd)])
    );
}

pub(super) async fn are_made_and_unmade_by_what_names_them(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let image = manifest(&image_document("config", &[blob("layer"), blob("layer")]));
    link(store, "team/app", &[blob("config"), blob("layer")]).await;
    let blobs = sorted([blob("config").digest, blob("layer").digest]);
    assert_eq!(listed(store).await, blobs);
    store_image(store, "team/app", &image, &[]).await;
    assert_eq!(listed(store).await, [digest_of(&image)]);
    let parent = store_image(store, "team/app", &index(&[link_of(&image)]), &[]).await;
    assert_eq!(listed(store).await, std::slice::from_ref(&parent));
    // Named before they come: a child, and a blob.
    delete_manifest(store, &name, &digest_of(&image)).await;
    assert_eq!(listed(store).await, sorted([parent.clone(), blobs[0].clone(), blobs[1].clone()]));
    store_image(store, "team/app", &image, &[]).await;
    assert!(unlink(store, &name, &blob("layer").digest).await);
    link(store, "team/app", &[blob("layer")]).await;
    assert_eq!(listed(store).await, std::slice::from_ref(&parent));

    delete_manifest(store, &name, &parent).await;
    assert_eq!(listed(store).await, [digest_of(&image)]);
    delete_manifest(store, &name, &digest_of(&image)).await;
    assert_eq!(listed(store).await, blobs);
    assert!(unlink(store, &name, &blobs[0]).await);
    assert_eq!(listed(store).await, blobs[1..]);
}

pub(super) async fn count_what_they_reach_and_hold_once(store: &dyn MetadataStore) {
    let (base, absent) = (blob("the base"), blob("absent"));
    let layers = [base.clone(), base.clone(), blob("top"), absent];
    let one = manifest(&image_document("one", &layers));
    let two = manifest(&image_document("two", std::slice::from_ref(&base)));
    let inner = index(&[link_of(&two), link_of(&image("not fetched"))]);
    // A child may be a blob as well.
    let outer = index(&[link_of(&one), link_of(&inner), link_of(&one), blob("a child")]);
    for manifest in [&one, &two, &inner, &outer] {
        store_image(store, "team/app", manifest, &[]).await;
    }
    assert_eq!(entry(store, "team/app", &digest_of(&outer)).await.bytes, 0);
    link(store, "team/app", &[base.clone(), blob("top"), blob("one"), blob("two"), blob("a child")]).await;
    assert_eq!(entry(store, "team/app", &digest_of(&outer)).await.bytes, 8 + 3 + 3 + 3 + 7);
    // Others that share a blob count it, too; what only another repository holds does not count.
    let other = store_image(store, "team/app", &manifest(&image_document("three", &layers)), &[]).await;
    link(store, "other", &[blob("three"), blob("absent")]).await;
    assert_eq!(entry(store, "team/app", &other).await.bytes, 8 + 3);
}

pub(super) async fn of_one_digest_are_one(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let both = link_of(&image("both"));
    link(store, "team/app", std::slice::from_ref(&both)).await;
    store_image(store, "team/app", &image("both"), &["latest"]).await;
    let one = entry(store, "team/app", &both.digest).await;
    assert_eq!((one.media_type.is_some(), one.bytes), (true, both.size));
    assert_eq!(listed(store).await, std::slice::from_ref(&both.digest));
    delete_manifest(store, &name, &both.digest).await;
    let left = entry(store, "team/app", &both.digest).await;
    assert_eq!((left.media_type, left.bytes), (None, both.size));
    store_image(store, "team/app", &image("both"), &[]).await;
    assert!(unlink(store, &name, &both.digest).await);
    let left = entry(store, "team/app", &both.digest).await;
    assert_eq!((left.media_type.is_some(), left.bytes), (true, 0));
}

pub(super) async fn include_referrers(store: &dyn MetadataStore) {
    let subject = store_image(store, "team/app", &image("subject"), &["latest"]).await;
    let signature = referrer("signature", &subject, "a/signature");
    store_image(store, "team/app", &signature, &[]).await;
    link(store, "team/app", &[blob("subject"), blob("signature")]).await;
    assert_eq!(listed(store).await, sorted([subject.clone(), digest_of(&signature)]));
    assert_eq!(entry(store, "team/app", &subject).await.bytes, 7);
    assert_eq!(entry(store, "team/app", &digest_of(&signature)).await.bytes, 9);
}

pub(super) async fn are_listed_by_bytes_and_by_page(store: &dyn MetadataStore) {
    let names = ["a", "a-b", "a/b", "aa", "b"];
    for name in names.iter().rev() {
        for number in 0..4 {
            store_image(store, name, &image(&number.to_string()), &[]).await;
        }
        link(store, name, &[blob("lone"), blob("other")]).await;
    }
    let all = all_entries(store).await;
    let keys: Vec<EntryKey> = all.iter().map(|entry| (entry.repository.clone(), entry.digest.clone())).collect();
    let mut expected = keys.clone();
    expected.sort_unstable_by(|one, other| (one.0.as_str(), one.1.as_str()).cmp(&(other.0.as_str(), other.1.as_str())));
    assert_eq!((keys.len(), &keys), (names.len() * 6, &expected));

    for name in [None, Some(repository("a/b"))] {
        let is_wanted = |entry: &&Entry| name.as_ref().is_none_or(|name| *name == entry.repository);
        let expected: Vec<Entry> = all.iter().filter(is_wanted).cloned().collect();
        let mut page = Page { after: None, limit: 4 };
        let mut paged = Vec::new();
        loop {
            let part = store.entries(name.as_ref(), &page).await.unwrap();
            assert!(part.len() <= 4);
            let Some(last) = part.last() else { break };
            page.after = Some((last.repository.clone(), last.digest.clone()));
            paged.extend(part);
        }
        assert_eq!(paged, expected);
        // The key need not exist, and may be one of another repository.
        for key in
            [(repository("a.b"), digest("x")), (repository("a/b"), digest("never was")), (repository("z"), digest("x"))]
        {
            let behind: Vec<Entry> = expected
                .iter()
                .filter(|entry| (entry.repository.as_str(), entry.digest.as_str()) > (key.0.as_str(), key.1.as_str()))
                .cloned()
                .collect();
            let page = Page { after: Some(key), limit: usize::MAX };
            assert_eq!(store.entries(name.as_ref(), &page).await.unwrap(), behind);
        }
        assert_eq!(store.entries(name.as_ref(), &Page { after: None, limit: 0 }).await.unwrap(), []);
    }
    // Pushed under another digest it is another entry.
    let long = image("0").digest(entrepot_oci::Algorithm::Sha512);
    store_push(store, ManifestPush { digest: long.clone(), ..push("b", &image("0"), &[]) }).await;
    let last = all_entries(store).await.pop().expect("there are entries");
    assert_eq!(last.digest, long);
    let own = BlobLink { digest: long.clone(), size: 3 };
    link(store, "b", &[own]).await;
    assert_eq!(entry(store, "b", &long).await.bytes, 3);
}
