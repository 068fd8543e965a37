//! Cases about making room.

use entrepot_oci::Digest;

use super::sample::{
    EVERYTHING, NOW, all_entries, all_tags, blob, digest, digest_of, digests, entry, evict, first_page, image,
    image_document, in_order, index, later, link, link_of, manifest, pin, push, referrer, repository, store_image,
    store_push, store_whole, tag, target, touch, unheld,
};
use crate::{BlobLink, Evicted, Eviction, ManifestPush, MetadataStore, MissingOr, Totals};

pub(super) async fn begins_with_the_least_recently_used(store: &dyn MetadataStore) {
    let old = store_whole(store, "b", "old", &[], &["old"], later(1)).await;
    let pulled = store_whole(store, "a", "pulled", &[], &["pulled"], later(2)).await;
    let new = store_whole(store, "b", "new", &[], &["new"], later(4)).await;
    let lone = blob("lone");
    store.link_blob(&repository("a"), &lone, later(3)).await.unwrap();
    touch(store, "a", &pulled, later(5)).await;

    let gone = evict(store, &Eviction { used_before: later(4), ..EVERYTHING }).await;
    assert_eq!(gone, [old.clone(), lone.digest.clone()]);
    assert_eq!(store.manifest(&repository("b"), &old).await.unwrap(), None);
    assert_eq!(store.blob(&repository("a"), &lone.digest).await.unwrap(), None);
    assert_eq!(evict(store, &Eviction { used_before: later(4), ..EVERYTHING }).await, []);
    assert_eq!(target(store, "a", "pulled").await, Some(pulled.clone()));
    assert_eq!(evict(store, &EVERYTHING).await, [new, pulled]);
    assert_eq!(all_entries(store).await, []);
    assert!(store.repository_exists(&repository("a")).await.unwrap());
}

pub(super) async fn takes_everything_that_only_the_entry_names(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let child = manifest(&image_document("child", &[blob("layer"), blob("layer")]));
    let inner = index(&[link_of(&child)]);
    let outer = index(&[link_of(&inner), link_of(&image("not fetched")), blob("a child")]);
    let about = referrer("about", &digest("a subject"), "a/b");
    for (manifest, tags) in [(&child, &[][..]), (&inner, &[]), (&outer, &["z", "a"]), (&about, &["about"])] {
        store_image(store, "team/app", manifest, tags).await;
    }
    // Manifests may be held as blobs, too.
    let blobs = [blob("child"), blob("layer"), blob("a child"), blob("about"), link_of(&outer), link_of(&child)];
    link(store, "team/app", &blobs).await;

    let mut evicted = store.evict(&EVERYTHING).await.unwrap();
    evicted.sort_unstable_by_key(|evicted| evicted.tags.len());
    let of_outer = Evicted {
        repository: name.clone(),
        digest: digest_of(&outer),
        tags: vec![tag("a"), tag("z")],
        freed: 5 + 5 + 7 + link_of(&outer).size + link_of(&child).size,
        used_at: NOW,
    };
    assert_eq!((evicted.len(), &evicted[1]), (2, &of_outer));
    assert_eq!((&evicted[0].digest, evicted[0].freed), (&digest_of(&about), 5));
    for manifest in [&child, &inner, &outer, &about] {
        assert_eq!(store.manifest(&name, &digest_of(manifest)).await.unwrap(), None);
    }
    for blob in &blobs {
        assert_eq!(store.blob(&name, &blob.digest).await.unwrap(), None);
        assert_eq!(store.referenced_size(&name, &blob.digest).await.unwrap(), None);
    }
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(vec![]));
    assert_eq!(store.referrers(&name, &digest("a subject"), None, &first_page()).await.unwrap(), []);
    assert_eq!(unheld(store).await, in_order(&blobs));
    assert_eq!(store.totals().await.unwrap(), Totals::default());

    // Everything of it can come again.
    store_image(store, "team/app", &outer, &["a"]).await;
    assert_eq!(target(store, "team/app", "a").await, Some(digest_of(&outer)));
}

pub(super) async fn leaves_what_others_name(store: &dyn MetadataStore) {
    let (base, shared) = (blob("base"), image("shared"));
    link(store, "team/app", &[blob("shared")]).await;
    store_image(store, "team/app", &shared, &[]).await;
    let old = store_whole(store, "team/app", "old", &[base.clone(), blob("top")], &["old"], NOW).await;
    let old_index = store_image(store, "team/app", &index(&[link_of(&shared)]), &["old-index"]).await;
    let kept = store_whole(store, "team/app", "kept", std::slice::from_ref(&base), &["kept"], later(9)).await;
    let kept_index = index(&[link_of(&shared), blob("x")]);
    store_push(store, ManifestPush { now: later(9), ..push("team/app", &kept_index, &["kept-index"]) }).await;
    // Another repository holds some of it, too, and loses nothing.
    link(store, "other", &[blob("top")]).await;
    touch(store, "other", &blob("top").digest, later(9)).await;

    let evicted = store.evict(&Eviction { used_before: later(9), ..EVERYTHING }).await.unwrap();
    let freed = evicted.iter().map(|evicted| evicted.freed).sum::<u64>();
    let mut gone = digests(evicted);
    gone.sort_unstable();
    let mut expected = [old, old_index];
    expected.sort_unstable();
    assert_eq!((gone.as_slice(), freed), (expected.as_slice(), 3));
    assert_eq!(unheld(store).await, [blob("old")]);
    let name = repository("team/app");
    for held in [&base, &blob("kept"), &blob("shared")] {
        assert_eq!(store.blob(&name, &held.digest).await.unwrap().as_ref(), Some(held));
    }
    assert_eq!(store.blob(&name, &blob("top").digest).await.unwrap(), None);
    assert_eq!(store.blob(&repository("other"), &blob("top").digest).await.unwrap(), Some(blob("top")));
    for digest in [&kept, &digest_of(&kept_index), &digest_of(&shared)] {
        assert!(store.manifest(&name, digest).await.unwrap().is_some());
    }
    assert_eq!(store.referenced_size(&name, &digest_of(&shared)).await.unwrap(), Some(link_of(&shared).size));
}

pub(super) async fn leaves_manifests_that_were_named_as_layers(store: &dyn MetadataStore) {
    let (image, name) = (image("an image"), repository("team/app"));
    store_push(store, ManifestPush { now: later(5), ..push("team/app", &image, &[]) }).await;
    link(store, "team/app", &[blob("an image"), link_of(&image)]).await;
    let odd = store_image(store, "team/app", &manifest(&image_document("odd", &[link_of(&image)])), &[]).await;
    // It was an entry of its own all the time, and its blob is a part of that.
    let evicted = store.evict(&Eviction { used_before: later(5), ..EVERYTHING }).await.unwrap();
    assert_eq!(digests(evicted), [odd]);
    assert_eq!(entry(store, "team/app", &digest_of(&image)).await.bytes, 8 + link_of(&image).size);
    assert!(store.manifest(&name, &digest_of(&image)).await.unwrap().is_some());
    assert_eq!(evict(store, &EVERYTHING).await, [digest_of(&image)]);
    assert_eq!(store.totals().await.unwrap(), Totals::default());
}

pub(super) async fn leaves_children_that_are_kept_as_entries(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let (tagged, pinned, plain) = (image("tagged"), image("pinned"), image("plain"));
    let parent = index(&[link_of(&tagged), link_of(&pinned), link_of(&plain)]);
    link(store, "team/app", &[blob("tagged"), blob("pinned"), blob("plain")]).await;
    for (manifest, tags) in [(&tagged, &["amd64"][..]), (&pinned, &[]), (&plain, &[]), (&parent, &["latest"])] {
        store_image(store, "team/app", manifest, tags).await;
    }
    pin(store, "team/app", digest_of(&pinned).as_str()).await;

    let one = Eviction { entries_max: 1, ..EVERYTHING };
    let evicted = store.evict(&one).await.unwrap();
    assert_eq!(evicted.len(), 1);
    assert_eq!((&evicted[0].digest, evicted[0].freed), (&digest_of(&parent), 5));
    assert_eq!(unheld(store).await, [blob("plain")]);
    assert_eq!(store.manifest(&name, &digest_of(&plain)).await.unwrap(), None);
    assert_eq!(target(store, "team/app", "amd64").await, Some(digest_of(&tagged)));
    assert!(!entry(store, "team/app", &digest_of(&tagged)).await.is_pinned);
    assert!(entry(store, "team/app", &digest_of(&pinned)).await.is_pinned);
    assert_eq!(evict(store, &EVERYTHING).await, [digest_of(&tagged)]);
    assert_eq!(store.blob(&name, &blob("pinned").digest).await.unwrap(), Some(blob("pinned")));
}

pub(super) async fn takes_entries_that_free_nothing(store: &dyn MetadataStore) {
    let lazy = store_image(store, "team/app", &image("lazy"), &["latest"]).await;
    link(store, "mine", &[blob("shared")]).await;
    store.link_blob(&repository("theirs"), &blob("shared"), later(1)).await.unwrap();
    let evicted = store.evict(&EVERYTHING).await.unwrap();
    let freed: Vec<u64> = evicted.iter().map(|evicted| evicted.freed).collect();
    assert_eq!((freed.iter().sum::<u64>(), freed.last()), (6, Some(&6)), "the last holder frees it");
    assert!(digests(evicted).contains(&lazy));
}

pub(super) async fn stops_at_its_limits(store: &dyn MetadataStore) {
    let mut images = Vec::new();
    for number in 0..6 {
        let config = format!("config {number}");
        images.push(store_whole(store, "team/app", &config, &[], &[], later(number)).await);
    }
    let nothing = [
        Eviction { bytes: 0, ..EVERYTHING },
        Eviction { entries_max: 0, ..EVERYTHING },
        Eviction { used_before: later(0), ..EVERYTHING },
    ];
    for eviction in &nothing {
        assert_eq!(evict(store, eviction).await, []);
    }
    // Eight bytes each: nine need two of them.
    assert_eq!(evict(store, &Eviction { bytes: 8, ..EVERYTHING }).await, images[..1]);
    assert_eq!(evict(store, &Eviction { bytes: 9, ..EVERYTHING }).await, images[1..3]);
    assert_eq!(evict(store, &Eviction { entries_max: 1, ..EVERYTHING }).await, images[3..4]);
    assert_eq!(evict(store, &Eviction { used_before: later(5), ..EVERYTHING }).await, images[4..5]);
    assert_eq!(evict(store, &EVERYTHING).await, images[5..]);
}

pub(super) async fn says_what_would_go_and_leaves_it(store: &dyn MetadataStore) {
    let shared = blob("shared");
    store_whole(store, "team/app", "one", std::slice::from_ref(&shared), &["one"], later(1)).await;
    store_whole(store, "team/app", "two", std::slice::from_ref(&shared), &["two"], later(2)).await;
    pin(store, "team/app", "kept").await;
    store_whole(store, "team/app", "three", &[], &["kept"], later(3)).await;
    let (entries, totals) = (all_entries(store).await, store.totals().await.unwrap());

    for eviction in [EVERYTHING, Eviction { bytes: 1, ..EVERYTHING }] {
        let announced = store.evict(&Eviction { is_dry_run: true, ..eviction }).await.unwrap();
        assert_eq!(all_entries(store).await, entries);
        assert_eq!(store.totals().await.unwrap(), totals);
        assert_eq!(unheld(store).await, []);
        assert_eq!(store.blob(&repository("team/app"), &shared.digest).await.unwrap().as_ref(), Some(&shared));
        let freed: Vec<u64> = announced.iter().map(|evicted| evicted.freed).collect();
        assert_eq!(freed, [3, 3 + 6][..announced.len()]);
        assert_eq!(announced.len(), if eviction == EVERYTHING { 2 } else { 1 });
    }
    let announced = store.evict(&Eviction { is_dry_run: true, ..EVERYTHING }).await.unwrap();
    assert_eq!(store.evict(&EVERYTHING).await.unwrap(), announced);
}

pub(super) async fn leaves_referrers_and_nothing_of_them(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let subject = store_image(store, "team/app", &image("subject"), &["latest"]).await;
    let signature = referrer("signature", &subject, "a/signature");
    store_push(store, ManifestPush { now: later(5), ..push("team/app", &signature, &[]) }).await;
    assert_eq!(evict(store, &Eviction { used_before: later(5), ..EVERYTHING }).await, std::slice::from_ref(&subject));
    assert_eq!(store.referrers(&name, &subject, None, &first_page()).await.unwrap().len(), 1);
    assert_eq!(evict(store, &EVERYTHING).await, [digest_of(&signature)]);
    assert_eq!(store.referrers(&name, &subject, None, &first_page()).await.unwrap(), []);
}

/// A manifest under a digest that is not its own, which names others as children.
async fn store_false(store: &dyn MetadataStore, own: &Digest, children: &[Digest], tags: &[&str]) {
    let links: Vec<_> = children.iter().map(|digest| BlobLink { digest: digest.clone(), size: 1 }).collect();
    store_push(store, ManifestPush { digest: own.clone(), ..push("team/app", &index(&links), tags) }).await;
}

pub(super) async fn ends_where_manifests_go_round_in_circles(store: &dyn MetadataStore) {
    // Nobody can make these, but a store does not know that.
    let [root, one, two] = ["root", "one", "two"].map(digest);
    store_false(store, &one, std::slice::from_ref(&two), &[]).await;
    store_false(store, &two, &[one.clone(), digest("blob")], &[]).await;
    link(store, "team/app", &[blob("blob")]).await;
    store_false(store, &root, &[one.clone(), root.clone()], &["latest"]).await;
    // It names itself, so it is no entry, and neither are those that name each other.
    assert_eq!(all_entries(store).await, []);
    assert_eq!(evict(store, &EVERYTHING).await, []);
    store_false(store, &digest("above"), std::slice::from_ref(&one), &["above"]).await;
    assert_eq!(entry(store, "team/app", &digest("above")).await.bytes, 4);
    assert_eq!(evict(store, &EVERYTHING).await, [digest("above")]);
    store.forget(&repository("team/app"), None).await.unwrap();
    assert_eq!(store.totals().await.unwrap(), Totals::default());
}
