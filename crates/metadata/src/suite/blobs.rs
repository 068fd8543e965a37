//! Cases about which repository holds which blob.

use entrepot_oci::Algorithm;

use super::sample::{NOW, blob, later, repository, unlink};
use crate::{BlobLink, MetadataStore};

pub(super) async fn are_held_by_the_repository_that_linked_them(store: &dyn MetadataStore) {
    let (mine, theirs) = (repository("mine"), repository("theirs"));
    let long = BlobLink { digest: Algorithm::Sha512.digest(b"a"), size: 1 };
    let large = BlobLink { digest: blob("large").digest, size: 5 * 1024 * 1024 * 1024 * 1024 };
    store.link_blob(&theirs, &blob("b"), NOW).await.unwrap();
    for blob in [&blob("a"), &blob(""), &long, &large] {
        assert_eq!(store.blob(&mine, &blob.digest).await.unwrap(), None);
        store.link_blob(&mine, blob, NOW).await.unwrap();
        assert_eq!(store.blob(&mine, &blob.digest).await.unwrap().as_ref(), Some(blob));
        assert_eq!(store.blob(&theirs, &blob.digest).await.unwrap(), None);
    }
    assert_eq!(store.blob(&mine, &blob("b").digest).await.unwrap(), None);
    assert_eq!(store.blob(&repository("nobody"), &blob("a").digest).await.unwrap(), None);
}

pub(super) async fn can_be_linked_twice_and_keep_the_last_size(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let wrong = BlobLink { size: 7, ..blob("a") };
    store.link_blob(&name, &wrong, NOW).await.unwrap();
    store.link_blob(&name, &blob("a"), later(1)).await.unwrap();
    store.link_blob(&name, &blob("a"), later(2)).await.unwrap();
    assert_eq!(store.blob(&name, &blob("a").digest).await.unwrap(), Some(blob("a")));
    assert_eq!(store.blob_holders(&blob("a").digest, 9).await.unwrap(), [(name, blob("a"))]);
}

pub(super) async fn end_with_their_link(store: &dyn MetadataStore) {
    let (mine, theirs) = (repository("mine"), repository("theirs"));
    store.link_blob(&mine, &blob("a"), NOW).await.unwrap();
    store.link_blob(&mine, &blob("b"), NOW).await.unwrap();
    store.link_blob(&theirs, &blob("a"), NOW).await.unwrap();

    assert!(unlink(store, &mine, &blob("a").digest).await);
    assert_eq!(store.blob(&mine, &blob("a").digest).await.unwrap(), None);
    assert_eq!(store.blob(&mine, &blob("b").digest).await.unwrap(), Some(blob("b")));
    assert_eq!(store.blob(&theirs, &blob("a").digest).await.unwrap(), Some(blob("a")));
    assert_eq!(store.blob_holders(&blob("a").digest, 9).await.unwrap(), [(theirs, blob("a"))]);

    assert!(!unlink(store, &mine, &blob("a").digest).await);
    assert!(!unlink(store, &repository("nobody"), &blob("a").digest).await);
    assert!(!store.repository_exists(&repository("nobody")).await.unwrap());
}

pub(super) async fn have_holders_in_the_order_of_their_names(store: &dyn MetadataStore) {
    let in_order = ["a", "a-b", "a/b", "aa", "b"];
    for name in ["b", "a/b", "aa", "a-b", "a"] {
        store.link_blob(&repository(name), &blob("a"), NOW).await.unwrap();
        store.link_blob(&repository(name), &blob("b"), NOW).await.unwrap();
    }
    let expected: Vec<_> = in_order.iter().map(|name| (repository(name), blob("a"))).collect();
    assert_eq!(store.blob_holders(&blob("a").digest, 9).await.unwrap(), expected);
    assert_eq!(store.blob_holders(&blob("a").digest, 2).await.unwrap(), expected[..2]);
    assert_eq!(store.blob_holders(&blob("a").digest, 0).await.unwrap(), []);
    assert_eq!(store.blob_holders(&blob("c").digest, 9).await.unwrap(), []);
}
