//! Cases about the credentials that were issued.

use super::sample::{NOW, first_page, later};
use crate::{CredentialKind, CredentialRow, MetadataStore, Page, Timestamp};

/// A credential whose id is its name.
fn credential(id: &str, kind: CredentialKind, principal: &str) -> CredentialRow {
    CredentialRow {
        id: id.to_owned(),
        secret_hash: std::array::from_fn(|place| u8::try_from(place).unwrap_or_default()),
        kind,
        principal: principal.to_owned(),
        name: id.to_owned(),
        repositories: Vec::new(),
        actions: Vec::new(),
        basis: None,
        created_at: NOW,
        expires_at: None,
        used_at: None,
    }
}

async fn add(store: &dyn MetadataStore, credential: &CredentialRow) {
    assert!(store.add_credential(credential).await.unwrap(), "{credential:?}");
}

/// The ids of a page.
async fn ids(store: &dyn MetadataStore, principal: Option<&str>, page: &Page<String>) -> Vec<String> {
    store.credentials(principal, page).await.unwrap().into_iter().map(|credential| credential.id).collect()
}

pub(super) async fn are_returned_as_they_were_added(store: &dyn MetadataStore) {
    let plain = credential("plain", CredentialKind::Robot, "robot:deploy");
    let full = CredentialRow {
        secret_hash: [255; 32],
        name: "für \"CI\"; '--".to_owned(),
        repositories: vec!["team/**".to_owned(), "a,b".to_owned(), String::new()],
        actions: vec!["pull".to_owned(), "push".to_owned()],
        basis: Some([7; 32]),
        expires_at: Some(later(5)),
        used_at: Some(later(3)),
        ..credential("full", CredentialKind::Personal, "alice")
    };
    let refresh = credential("refresh", CredentialKind::Refresh, "alice");
    assert_eq!(store.credential("plain").await.unwrap(), None);
    for credential in [&plain, &full, &refresh] {
        add(store, credential).await;
        assert_eq!(store.credential(&credential.id).await.unwrap().as_ref(), Some(credential));
    }
    for absent in ["", "PLAIN", "plai", "plain ", "plain%"] {
        assert_eq!(store.credential(absent).await.unwrap(), None, "{absent:?}");
    }
}

pub(super) async fn have_one_name_of_a_kind_and_principal(store: &dyn MetadataStore) {
    let named = |id: &str, kind, principal: &str| CredentialRow {
        name: "laptop".to_owned(),
        secret_hash: [1; 32],
        ..credential(id, kind, principal)
    };
    let first = named("1", CredentialKind::Personal, "alice");
    add(store, &first).await;
    add(store, &named("2", CredentialKind::Personal, "bob")).await;
    add(store, &named("3", CredentialKind::Robot, "alice")).await;
    assert!(!store.add_credential(&named("4", CredentialKind::Personal, "alice")).await.unwrap());
    assert_eq!(store.credential("4").await.unwrap(), None);

    // A client may have any number of refresh tokens, and none of them stands in the way of a name.
    for id in ["5", "6"] {
        add(store, &named(id, CredentialKind::Refresh, "alice")).await;
    }
    // An id is never used twice, whatever else is different.
    let taken = CredentialRow { secret_hash: [2; 32], ..credential("1", CredentialKind::Refresh, "mallory") };
    assert!(!store.add_credential(&taken).await.unwrap());
    assert_eq!(store.credential("1").await.unwrap(), Some(first));

    assert!(store.delete_credential("1").await.unwrap());
    add(store, &named("4", CredentialKind::Personal, "alice")).await;
}

pub(super) async fn are_listed_by_id_and_by_page(store: &dyn MetadataStore) {
    for (id, principal) in [("d", "alice"), ("B", "alice"), ("a", "bob"), ("c", "alice"), ("b", "alic")] {
        add(store, &credential(id, CredentialKind::Personal, principal)).await;
    }
    assert_eq!(ids(store, None, &first_page()).await, ["B", "a", "b", "c", "d"]);
    assert_eq!(ids(store, Some("alice"), &first_page()).await, ["B", "c", "d"]);
    assert_eq!(ids(store, Some("nobody"), &first_page()).await, [""; 0]);
    let page = |after: &str, limit| Page { after: Some(after.to_owned()), limit };
    assert_eq!(ids(store, None, &page("a", 2)).await, ["b", "c"]);
    assert_eq!(ids(store, None, &page("bb", 9)).await, ["c", "d"]);
    assert_eq!(ids(store, Some("alice"), &page("B", 1)).await, ["c"]);
    assert_eq!(ids(store, Some("alice"), &page("a", 9)).await, ["c", "d"]);
    assert_eq!(ids(store, None, &page("", 0)).await, [""; 0]);
}

pub(super) async fn end_when_they_are_revoked(store: &dyn MetadataStore) {
    for id in ["a", "b"] {
        add(store, &credential(id, CredentialKind::Personal, "alice")).await;
    }
    assert!(store.delete_credential("a").await.unwrap());
    assert!(!store.delete_credential("a").await.unwrap());
    assert_eq!(store.credential("a").await.unwrap(), None);
    assert_eq!(ids(store, Some("alice"), &first_page()).await, ["b"]);
}

pub(super) async fn are_used_forward_and_never_back(store: &dyn MetadataStore) {
    for id in ["a", "b"] {
        add(store, &credential(id, CredentialKind::Personal, "alice")).await;
    }
    let used_at = async |id| store.credential(id).await.unwrap().expect("it was added").used_at;
    let uses = [("a", 5), ("gone", 5), ("a", 9), ("a", 7)].map(|(id, at)| (id.to_owned(), later(at)));
    store.touch_credentials(uses.to_vec()).await.unwrap();
    assert_eq!((used_at("a").await, used_at("b").await), (Some(later(9)), None));
    store.touch_credentials(vec![("a".to_owned(), later(8))]).await.unwrap();
    assert_eq!(used_at("a").await, Some(later(9)));
    store.touch_credentials(vec![("a".to_owned(), later(10)), ("b".to_owned(), NOW)]).await.unwrap();
    assert_eq!((used_at("a").await, used_at("b").await), (Some(later(10)), Some(NOW)));
    store.touch_credentials(Vec::new()).await.unwrap();
    assert_eq!(store.credential("gone").await.unwrap(), None);
}

pub(super) async fn are_swept_when_they_expired_or_nobody_refreshes(store: &dyn MetadataStore) {
    let (refresh, personal) = (CredentialKind::Refresh, CredentialKind::Personal);
    let rows: [(_, _, i64, Option<i64>, Option<i64>); 9] = [
        // Id, kind, made, used, expires.
        ("1-refresh-unused", refresh, 0, None, None),
        ("2-refresh-made-late", refresh, 50, None, None),
        ("3-refresh-used-late", refresh, 0, Some(51), None),
        ("4-refresh-used-early", refresh, 0, Some(49), None),
        ("5-refresh-expired", refresh, 90, Some(95), Some(99)),
        ("6-personal-unused", personal, 0, None, None),
        ("7-personal-expired", personal, 0, Some(99), Some(99)),
        ("8-personal-expires", personal, 0, None, Some(100)),
        // A clock that went back does not make it older than it is.
        ("9-refresh-used-before", refresh, 60, Some(1), None),
    ];
    for (id, kind, created_at, used_at, expires_at) in rows {
        let row = CredentialRow {
            created_at: later(created_at),
            used_at: used_at.map(later),
            expires_at: expires_at.map(later),
            ..credential(id, kind, "alice")
        };
        add(store, &row).await;
    }
    assert_eq!(store.sweep_credentials(Timestamp::from_milliseconds(0), NOW).await.unwrap(), 0);
    assert_eq!(store.sweep_credentials(later(50), later(100)).await.unwrap(), 4);
    let left = ["2-refresh-made-late", "3-refresh-used-late", "6-personal-unused", "8-personal-expires"];
    assert_eq!(ids(store, None, &first_page()).await, [&left[..], &["9-refresh-used-before"]].concat());
    assert_eq!(store.sweep_credentials(later(50), later(100)).await.unwrap(), 0);
    assert_eq!(store.sweep_credentials(later(1000), later(1000)).await.unwrap(), 4);
    assert_eq!(ids(store, Some("alice"), &first_page()).await, ["6-personal-unused"]);
}
