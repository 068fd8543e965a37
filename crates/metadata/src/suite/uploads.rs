//! Cases about upload sessions.

use std::time::Duration;

use entrepot_oci::Algorithm;

use super::sample::{NOW, blob, later, repository};
use crate::{Error, MetadataStore, Timestamp, UploadId, UploadRow};

fn upload(number: u128, name: &str, touched_at: Timestamp) -> UploadRow {
    let algorithm = if number.is_multiple_of(2) { Algorithm::Sha256 } else { Algorithm::Sha512 };
    let owner = format!("owner of {name}");
    UploadRow { id: UploadId::from_random(number), repository: repository(name), owner, algorithm, touched_at }
}

pub(super) async fn are_recorded_touched_and_ended(store: &dyn MetadataStore) {
    let (first, second) = (upload(1, "team/app", NOW), upload(u128::MAX - 1, "other", NOW));
    assert_eq!(store.upload(&first.id).await.unwrap(), None);
    assert!(!store.touch_upload(&first.id, NOW).await.unwrap());
    assert!(!store.delete_upload(&first.id, None).await.unwrap());

    store.create_upload(&first, 9).await.unwrap();
    store.create_upload(&second, 9).await.unwrap();
    assert_eq!(store.upload(&first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.upload(&second.id).await.unwrap(), Some(second.clone()));

    assert!(store.touch_upload(&first.id, later(7)).await.unwrap());
    assert_eq!(store.upload(&first.id).await.unwrap(), Some(UploadRow { touched_at: later(7), ..first.clone() }));
    assert_eq!(store.upload(&second.id).await.unwrap(), Some(second.clone()));

    assert!(store.delete_upload(&first.id, None).await.unwrap());
    assert!(!store.delete_upload(&first.id, None).await.unwrap());
    assert_eq!(store.upload(&first.id).await.unwrap(), None);
    assert_eq!(store.upload(&second.id).await.unwrap(), Some(second));
}

pub(super) async fn have_the_owner_who_began_them(store: &dyn MetadataStore) {
    // Two owners in one repository, one without a name, and a name that no rule could have.
    let owners = ["alice", "oidc:github:team/app:ref:refs/heads/main", "", "'; \u{fc}\u{0}"];
    for (number, owner) in (0..).zip(owners) {
        let row = UploadRow { owner: owner.to_owned(), ..upload(number, "team/app", NOW) };
        store.create_upload(&row, 9).await.unwrap();
        assert_eq!(store.upload(&row.id).await.unwrap().as_ref(), Some(&row));
        assert!(store.touch_upload(&row.id, later(1)).await.unwrap());
    }
    let listed: Vec<_> = store.idle_uploads(later(2), 9).await.unwrap().into_iter().map(|row| row.owner).collect();
    assert_eq!(listed, owners);
}

pub(super) async fn are_limited_for_each_repository(store: &dyn MetadataStore) {
    for number in 0..3 {
        store.create_upload(&upload(number, "team/app", NOW), 3).await.unwrap();
    }
    let refused = upload(3, "team/app", NOW);
    let error = store.create_upload(&refused, 3).await.unwrap_err();
    assert!(matches!(error, Error::TooManyUploads { open: 3 }), "{error:?}");
    assert_eq!(store.upload(&refused.id).await.unwrap(), None);
    store.create_upload(&upload(4, "other", NOW), 3).await.unwrap();

    store.delete_upload(&UploadId::from_random(0), None).await.unwrap();
    store.create_upload(&refused, 3).await.unwrap();

    let never = upload(5, "closed", NOW);
    let error = store.create_upload(&never, 0).await.unwrap_err();
    assert!(matches!(error, Error::TooManyUploads { open: 0 }), "{error:?}");
    assert!(!store.repository_exists(&repository("closed")).await.unwrap());
}

pub(super) async fn become_blobs_in_one_step(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let open = upload(1, "team/app", NOW);
    store.create_upload(&open, 1).await.unwrap();
    assert!(store.finish_upload(&open.id, None, &name, &blob("a"), later(1)).await.unwrap());
    assert_eq!(store.upload(&open.id).await.unwrap(), None);
    assert_eq!(store.blob(&name, &blob("a").digest).await.unwrap(), Some(blob("a")));
    store.create_upload(&open, 1).await.unwrap();
}

pub(super) async fn that_are_gone_still_become_blobs(store: &dyn MetadataStore) {
    let name = repository("team/app");
    for _ in 0..2 {
        assert!(store.finish_upload(&UploadId::from_random(1), None, &name, &blob("a"), NOW).await.unwrap());
        assert_eq!(store.blob(&name, &blob("a").digest).await.unwrap(), Some(blob("a")));
    }
}

pub(super) async fn of_another_repository_do_not_end(store: &dyn MetadataStore) {
    let theirs = upload(1, "theirs", NOW);
    store.create_upload(&theirs, 1).await.unwrap();
    assert!(store.finish_upload(&theirs.id, None, &repository("mine"), &blob("a"), NOW).await.unwrap());
    assert_eq!(store.upload(&theirs.id).await.unwrap(), Some(theirs));
    assert_eq!(store.blob(&repository("theirs"), &blob("a").digest).await.unwrap(), None);
}

pub(super) async fn are_found_when_they_are_idle(store: &dyn MetadataStore) {
    for number in [3, 1, 4, 2, 0] {
        let touched_at = NOW.before(Duration::from_secs(60 - u64::try_from(number).unwrap_or_default()));
        store.create_upload(&upload(number, "team/app", touched_at), 9).await.unwrap();
    }
    store.touch_upload(&UploadId::from_random(0), NOW).await.unwrap();
    let rows = store.idle_uploads(NOW, 9).await.unwrap();
    let ids: Vec<UploadId> = rows.iter().map(|row| row.id.clone()).collect();
    assert_eq!(ids, [1, 2, 3, 4].map(UploadId::from_random));
    assert_eq!(store.idle_uploads(NOW, 2).await.unwrap(), rows[..2]);
    assert_eq!(store.idle_uploads(rows[1].touched_at, 9).await.unwrap(), rows[..1]);
    assert_eq!(store.idle_uploads(later(1), 0).await.unwrap(), []);
    assert_eq!(store.idle_uploads(rows[0].touched_at, 9).await.unwrap(), []);
}
