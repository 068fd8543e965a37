//! Cases about tags.

use entrepot_oci::Tag;

use super::sample::{
    all_tags, delete_tag, digest_of, first_page, image, later, push, repository, store_image, store_push, tag, target,
};
use crate::{ManifestPush, MetadataStore, MissingOr, Page, TagRow};

pub(super) async fn point_where_they_were_last_pushed(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let first = store_image(store, "team/app", &image("a"), &["latest", "1"]).await;
    assert_eq!(target(store, "team/app", "latest").await, Some(first.clone()));

    // The clock may have been set back: what was pushed last counts, not what was pushed later.
    let second = ManifestPush { now: later(-3_600_000), ..push("team/app", &image("b"), &["latest", "2"]) };
    store_push(store, second).await;
    let row = store.tag(&name, &tag("latest")).await.unwrap();
    assert_eq!(row, Some(TagRow { digest: digest_of(&image("b")), confirmed_at: later(-3_600_000) }));
    assert_eq!(target(store, "team/app", "1").await, Some(first.clone()));
    assert!(store.manifest(&name, &first).await.unwrap().is_some(), "a manifest outlives its tag");
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(vec![tag("1"), tag("2"), tag("latest")]));
}

pub(super) async fn move_all_at_once_or_not_at_all(store: &dyn MetadataStore) {
    let first = store_image(store, "team/app", &image("a"), &["x", "y"]).await;
    let refused =
        ManifestPush { references: crate::ReferenceCheck::Required, ..push("team/app", &image("b"), &["x", "y", "z"]) };
    store.push_manifest(refused).await.unwrap();
    for unmoved in ["x", "y"] {
        assert_eq!(target(store, "team/app", unmoved).await, Some(first.clone()));
    }
    assert_eq!(target(store, "team/app", "z").await, None);
    let second = store_image(store, "team/app", &image("b"), &["x", "y", "z", "x"]).await;
    for moved in ["x", "y", "z"] {
        assert_eq!(target(store, "team/app", moved).await, Some(second.clone()));
    }
}

pub(super) async fn are_confirmed_and_moved(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let first = store_image(store, "team/app", &image("a"), &["latest"]).await;
    let second = store_image(store, "team/app", &image("b"), &[]).await;
    let latest = tag("latest");

    assert!(store.confirm_tag(&name, &latest, &first, later(5)).await.unwrap());
    let confirmed = store.tag(&name, &latest).await.unwrap();
    assert_eq!(confirmed, Some(TagRow { digest: first.clone(), confirmed_at: later(5) }));
    assert!(store.confirm_tag(&name, &latest, &second, later(6)).await.unwrap());
    let moved = Some(TagRow { digest: second.clone(), confirmed_at: later(6) });
    assert_eq!(store.tag(&name, &latest).await.unwrap(), moved);
    assert!(store.confirm_tag(&name, &tag("new"), &first, later(7)).await.unwrap());
    assert_eq!(target(store, "team/app", "new").await, Some(first.clone()));

    let unknown = digest_of(&image("c"));
    assert!(!store.confirm_tag(&name, &latest, &unknown, later(8)).await.unwrap());
    assert_eq!(store.tag(&name, &latest).await.unwrap(), moved);
    assert!(!store.confirm_tag(&repository("other"), &latest, &first, later(8)).await.unwrap());
    assert!(!store.repository_exists(&repository("other")).await.unwrap());
}

pub(super) async fn are_deleted_without_their_manifest(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let digest = store_image(store, "team/app", &image("a"), &["a", "b"]).await;
    store_image(store, "other", &image("a"), &["a"]).await;
    assert!(delete_tag(store, &name, &tag("a")).await);
    assert!(!delete_tag(store, &name, &tag("a")).await);
    assert!(!delete_tag(store, &repository("nobody"), &tag("a")).await);
    assert_eq!(target(store, "team/app", "a").await, None);
    assert_eq!(target(store, "team/app", "b").await, Some(digest.clone()));
    assert_eq!(target(store, "other", "a").await, Some(digest.clone()));
    assert!(delete_tag(store, &name, &tag("b")).await);
    assert!(store.manifest(&name, &digest).await.unwrap().is_some());
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(Vec::new()));
}

pub(super) async fn are_listed_by_bytes_and_by_page(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let in_order = ["1", "1-a", "1.0", "10", "2", "A", "Z", "_", "a", "aA", "a_", "aa", "b"];
    let mut pushed = in_order;
    pushed.reverse();
    store_image(store, "team/app", &image("a"), &pushed).await;
    store_image(store, "team", &image("a"), &["not-of-it"]).await;
    let expected: Vec<Tag> = in_order.iter().map(|text| tag(text)).collect();
    assert_eq!(store.tags(&name, &first_page()).await.unwrap(), MissingOr::Found(expected.clone()));

    let rows = [
        (None, 2, &expected[..2]),
        (None, 0, &[]),
        (Some("10"), 3, &expected[4..7]),
        (Some("11"), 3, &expected[4..7]),
        (Some("B"), 1, &expected[6..7]),
        (Some("0"), usize::MAX, &expected[..]),
        (Some("b"), 9, &[]),
        (Some("zzz"), 9, &[]),
    ];
    for (after, limit, part) in rows {
        let page = Page { after: after.map(tag), limit };
        assert_eq!(store.tags(&name, &page).await.unwrap(), MissingOr::Found(part.to_vec()), "{page:?}");
    }
    let nothing = Page { after: None, limit: 0 };
    assert_eq!(store.tags(&repository("nobody"), &nothing).await.unwrap(), MissingOr::Missing);
}

pub(super) async fn of_ten_thousand_are_paged_to_the_last(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let mut expected: Vec<Tag> = (0..10_000).map(|number| tag(&format!("v{number}"))).collect();
    store_push(store, ManifestPush { tags: expected.clone(), ..push("team/app", &image("a"), &[]) }).await;
    expected.sort_unstable();

    let mut page = Page { after: None, limit: 1000 };
    let mut paged: Vec<Tag> = Vec::new();
    while let MissingOr::Found(part) = store.tags(&name, &page).await.unwrap() {
        let Some(last) = part.last() else { break };
        page.after = Some(last.clone());
        paged.extend(part);
    }
    assert_eq!(paged, expected);
}
