//! Cases about the keys that tokens are signed with.

use super::sample::{NOW, later};
use crate::{MetadataStore, SigningKeyRow, Timestamp};

pub(super) fn key(id: &str, created_at: Timestamp) -> SigningKeyRow {
    SigningKeyRow { id: id.to_owned(), secret: format!("secret of {id}\0\u{ff}").into_bytes(), created_at }
}

pub(super) async fn are_listed_newest_first(store: &dyn MetadataStore) {
    assert_eq!(store.signing_keys().await.unwrap(), []);
    // The clock of the replica that made the second was behind.
    let keys = [key("z", NOW), key("a", later(-5)), key("m", later(-5))];
    let mut newest = None;
    for key in &keys {
        assert!(store.add_signing_key(key, newest).await.unwrap());
        newest = Some(key.id.as_str());
    }
    let expected: Vec<_> = keys.iter().rev().cloned().collect();
    assert_eq!(store.signing_keys().await.unwrap(), expected);
}

pub(super) async fn are_added_by_who_knows_the_newest(store: &dyn MetadataStore) {
    let [first, second, third] = ["first", "second", "third"].map(|id| key(id, NOW));
    assert!(!store.add_signing_key(&first, Some("unknown")).await.unwrap());
    assert!(store.add_signing_key(&first, None).await.unwrap());
    assert!(!store.add_signing_key(&second, None).await.unwrap());
    assert!(store.add_signing_key(&second, Some("first")).await.unwrap());
    for stale in [None, Some("first"), Some("third"), Some("")] {
        assert!(!store.add_signing_key(&third, stale).await.unwrap(), "{stale:?}");
    }
    // Neither is one replaced by another of its id.
    let taken = SigningKeyRow { secret: b"another".to_vec(), ..first.clone() };
    assert!(!store.add_signing_key(&taken, Some("second")).await.unwrap());
    assert_eq!(store.signing_keys().await.unwrap(), [second, first]);
}

pub(super) async fn end_one_by_one(store: &dyn MetadataStore) {
    let [first, second, third] = ["first", "second", "third"].map(|id| key(id, NOW));
    assert!(!store.delete_signing_key("first").await.unwrap());
    assert!(store.add_signing_key(&first, None).await.unwrap());
    assert!(store.add_signing_key(&second, Some("first")).await.unwrap());
    assert!(store.delete_signing_key("second").await.unwrap());
    assert!(!store.delete_signing_key("second").await.unwrap());
    assert_eq!(store.signing_keys().await.unwrap(), std::slice::from_ref(&first));
    assert!(store.add_signing_key(&third, Some("first")).await.unwrap());
    assert_eq!(store.signing_keys().await.unwrap(), [third, first]);
}
