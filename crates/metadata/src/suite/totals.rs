//! Cases about how much there is, and which blobs nobody holds any more.

use entrepot_oci::Algorithm;

use super::sample::{
    EVERYTHING, NOW, blob, delete_manifest, evict, image, in_order, later, link, repository, store_image, store_whole,
    unheld, unlink,
};
use crate::{BlobLink, MetadataStore, Totals, UploadId};

async fn assert_totals(store: &dyn MetadataStore, bytes: u64, blobs: u64, manifests: u64) {
    assert_eq!(store.totals().await.unwrap(), Totals { bytes, blobs, manifests });
}

pub(super) async fn count_each_blob_once(store: &dyn MetadataStore) {
    assert_totals(store, 0, 0, 0).await;
    for name in ["a", "b"] {
        link(store, name, &[blob("shared"), blob("shared"), blob(name), blob("")]).await;
    }
    assert_totals(store, 6 + 1 + 1, 4, 0).await;
    // Manifests count in each repository.
    for name in ["a", "b", "b"] {
        store_image(store, name, &image("same"), &["latest"]).await;
    }
    assert_totals(store, 8, 4, 2).await;
    let large = BlobLink { digest: Algorithm::Sha512.digest(b"large"), size: 5 * 1024 * 1024 * 1024 * 1024 };
    store.finish_upload(&UploadId::from_random(1), None, &repository("c"), &large, NOW).await.unwrap();
    assert_totals(store, 8 + large.size, 5, 2).await;
}

pub(super) async fn follow_a_corrected_size(store: &dyn MetadataStore) {
    let wrong = BlobLink { size: 700, ..blob("a") };
    link(store, "mine", &[wrong.clone(), blob("b")]).await;
    assert_totals(store, 701, 2, 0).await;
    link(store, "mine", &[blob("a")]).await;
    assert_totals(store, 2, 2, 0).await;
    // The last size that was said counts, whoever said it.
    link(store, "theirs", &[wrong]).await;
    assert_totals(store, 701, 2, 0).await;
    link(store, "theirs", &[blob("a")]).await;
    assert_totals(store, 2, 2, 0).await;
    for name in ["mine", "theirs"] {
        unlink(store, &repository(name), &blob("a").digest).await;
    }
    assert_totals(store, 1, 1, 0).await;
    assert_eq!(unheld(store).await, [blob("a")]);
    link(store, "mine", &[BlobLink { size: 3, ..blob("a") }]).await;
    assert_totals(store, 4, 2, 0).await;
}

pub(super) async fn follow_every_deletion(store: &dyn MetadataStore) {
    let mine = repository("mine");
    let image = store_whole(store, "mine", "config", &[blob("layer")], &["latest"], NOW).await;
    store_whole(store, "theirs", "config", &[], &["latest"], later(1)).await;
    assert_totals(store, 6 + 5, 2, 2).await;
    delete_manifest(store, &mine, &image).await;
    assert_totals(store, 6 + 5, 2, 1).await;
    assert!(unlink(store, &mine, &blob("config").digest).await);
    assert_totals(store, 6 + 5, 2, 1).await;
    assert!(unlink(store, &mine, &blob("layer").digest).await);
    assert!(!unlink(store, &mine, &blob("layer").digest).await);
    assert_totals(store, 6, 1, 1).await;
    evict(store, &EVERYTHING).await;
    assert_totals(store, 0, 0, 0).await;
}

pub(super) async fn leave_out_what_nobody_holds(store: &dyn MetadataStore) {
    link(store, "mine", &[blob("a"), blob("bb")]).await;
    unlink(store, &repository("mine"), &blob("a").digest).await;
    assert_totals(store, 2, 1, 0).await;
    assert!(store.forget_blob(&blob("a").digest).await.unwrap());
    assert_totals(store, 2, 1, 0).await;
    assert!(!store.forget_blob(&blob("bb").digest).await.unwrap());
    assert_totals(store, 2, 1, 0).await;
}

pub(super) async fn of_unheld_blobs_are_listed_until_they_are_forgotten(store: &dyn MetadataStore) {
    let blobs = in_order(&["a", "b", "c", "d"].map(blob));
    assert_eq!(unheld(store).await, []);
    for name in ["mine", "theirs"] {
        link(store, name, &blobs).await;
    }
    for held in &blobs {
        assert!(unlink(store, &repository("mine"), &held.digest).await);
    }
    assert_eq!(unheld(store).await, [], "others hold them");
    assert!(!store.forget_blob(&blobs[0].digest).await.unwrap());
    for held in &blobs[..3] {
        assert!(unlink(store, &repository("theirs"), &held.digest).await);
    }
    assert_eq!(unheld(store).await, blobs[..3]);
    assert_eq!(store.unheld_blobs(2).await.unwrap(), blobs[..2]);
    assert_eq!(store.unheld_blobs(0).await.unwrap(), []);

    // Linked again it is off the list, and its bytes must not go.
    store.link_blob(&repository("new"), &blobs[1], later(1)).await.unwrap();
    assert_eq!(unheld(store).await, [blobs[0].clone(), blobs[2].clone()]);
    assert!(!store.forget_blob(&blobs[1].digest).await.unwrap());
    assert_eq!(store.blob(&repository("new"), &blobs[1].digest).await.unwrap().as_ref(), Some(&blobs[1]));

    assert!(store.forget_blob(&blobs[0].digest).await.unwrap());
    assert!(!store.forget_blob(&blobs[0].digest).await.unwrap());
    assert!(!store.forget_blob(&blob("never was").digest).await.unwrap());
    assert_eq!(unheld(store).await, blobs[2..3]);
    // Forgotten it may come and go again.
    store.link_blob(&repository("new"), &blobs[0], later(1)).await.unwrap();
    assert!(unlink(store, &repository("new"), &blobs[0].digest).await);
    assert_eq!(unheld(store).await, [blobs[0].clone(), blobs[2].clone()]);
}
