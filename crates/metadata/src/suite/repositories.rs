//! Cases about repositories.

use entrepot_oci::{Algorithm, RepositoryName};

use super::sample::{NOW, all_tags, blob, delete_manifest, first_page, image, repository, store_image, unlink};
use crate::{MetadataStore, MissingOr, Page, UploadId, UploadRow};

pub(super) async fn exist_from_the_first_thing_in_them(store: &dyn MetadataStore) {
    assert_eq!(store.repositories(&first_page()).await.unwrap(), []);
    assert_eq!(all_tags(store, "by/blob").await, MissingOr::Missing);

    store.link_blob(&repository("by/blob"), &blob("a"), NOW).await.unwrap();
    store_image(store, "by/manifest", &image("a"), &[]).await;
    let upload = UploadRow {
        id: UploadId::from_random(1),
        repository: repository("by/upload"),
        owner: String::new(),
        algorithm: Algorithm::Sha256,
        touched_at: NOW,
    };
    store.create_upload(&upload, 1).await.unwrap();
    let finished = repository("by/finished");
    store.finish_upload(&UploadId::from_random(2), None, &finished, &blob("a"), NOW).await.unwrap();

    for name in ["by/blob", "by/manifest", "by/upload", "by/finished"] {
        assert!(store.repository_exists(&repository(name)).await.unwrap(), "{name}");
        assert_eq!(all_tags(store, name).await, MissingOr::Found(Vec::new()), "{name}");
    }
    for name in ["by", "by/blo", "by/blob/x", "blob"] {
        assert!(!store.repository_exists(&repository(name)).await.unwrap(), "{name}");
    }
}

pub(super) async fn stay_when_they_are_emptied(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let digest = store_image(store, "team/app", &image("a"), &["latest"]).await;
    store.link_blob(&name, &blob("a"), NOW).await.unwrap();
    delete_manifest(store, &name, &digest).await;
    unlink(store, &name, &blob("a").digest).await;

    assert!(store.repository_exists(&name).await.unwrap());
    assert_eq!(store.repositories(&first_page()).await.unwrap(), [name]);
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(Vec::new()));
}

pub(super) async fn are_listed_by_bytes_and_by_page(store: &dyn MetadataStore) {
    let in_order = ["a", "a-b", "a.b", "a/b", "a0", "a_b", "aa", "b/a/a", "b0/a", "team/app-1"];
    for name in in_order.iter().rev() {
        store.link_blob(&repository(name), &blob("a"), NOW).await.unwrap();
    }
    let expected: Vec<RepositoryName> = in_order.iter().map(|name| repository(name)).collect();
    assert_eq!(store.repositories(&first_page()).await.unwrap(), expected);

    let mut page = Page { after: None, limit: 3 };
    let mut paged = Vec::new();
    loop {
        let part = store.repositories(&page).await.unwrap();
        assert!(part.len() <= page.limit);
        let Some(last) = part.last() else { break };
        page.after = Some(last.clone());
        paged.extend(part);
    }
    assert_eq!(paged, expected);

    let never_was = Page { after: Some(repository("a00")), limit: 2 };
    assert_eq!(store.repositories(&never_was).await.unwrap(), expected[5..7]);
    assert_eq!(store.repositories(&Page { after: None, limit: 0 }).await.unwrap(), []);
    assert_eq!(store.repositories(&Page { after: Some(repository("z")), limit: usize::MAX }).await.unwrap(), []);
}
