//! Cases about many callers at once.

use std::sync::Arc;

use entrepot_oci::Algorithm;
use tokio::task::JoinSet;

use super::sample::{
    EVERYTHING, NOW, all_entries, all_tags, blob, checked_push, delete_manifest, digest_of, evict, first_page, image,
    index, later, link, link_of, push, referrer, repository, store_push, tag, target, touch, unheld,
};
use super::signing_keys::key;
use crate::{
    Error, Eviction, ManifestPush, MetadataStore, MissingOr, ProtectedTags, PushOutcome, TagCondition, Totals,
    UploadId, UploadRow,
};

/// How many callers there are at once.
const CALLERS: u32 = 32;

pub(super) async fn pushes_of_the_same_manifest_all_succeed(store: &Arc<dyn MetadataStore>) {
    let subject = digest_of(&image("subject"));
    let manifest = referrer("same", &subject, "a/b");
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (store, manifest) = (Arc::clone(store), manifest.clone());
        // Half of them meet in one repository, the other half only in the shared bytes.
        let name = if caller % 2 == 0 { "one".to_owned() } else { format!("many/{caller}") };
        callers.spawn(async move {
            store.link_blob(&repository(&name), &blob("same"), NOW).await.unwrap();
            store_push(&*store, checked_push(&name, &manifest, &["latest"])).await;
            assert_eq!(target(&*store, &name, "latest").await, Some(digest_of(&manifest)));
        });
    }
    callers.join_all().await;
    assert_eq!(store.repositories(&first_page()).await.unwrap().len(), CALLERS as usize / 2 + 1);
    assert_eq!(store.referrers(&repository("one"), &subject, None, &first_page()).await.unwrap().len(), 1);
    assert_eq!(all_tags(&**store, "one").await, MissingOr::Found(vec![tag("latest")]));
}

pub(super) async fn conditional_pushes_have_one_winner(store: &Arc<dyn MetadataStore>) {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let store = Arc::clone(store);
        callers.spawn(async move {
            let manifest = image(&format!("of {caller}"));
            let condition = TagCondition::Absent;
            let outcome = store.push_manifest(ManifestPush { condition, ..push("team/app", &manifest, &["won"]) });
            (outcome.await.unwrap(), digest_of(&manifest))
        });
    }
    let outcomes = callers.join_all().await;
    let winners: Vec<_> = outcomes.iter().filter(|(outcome, _)| *outcome == PushOutcome::Stored).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(target(&**store, "team/app", "won").await.as_ref(), Some(&winners[0].1));
    for (outcome, digest) in &outcomes {
        let is_held = store.manifest(&repository("team/app"), digest).await.unwrap().is_some();
        assert_eq!(is_held, *outcome == PushOutcome::Stored);
    }
}

pub(super) async fn new_tags_of_who_may_not_move_them_have_one_winner(store: &Arc<dyn MetadataStore>) {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let store = Arc::clone(store);
        callers.spawn(async move {
            let manifest = image(&format!("of {caller}"));
            // The contested one is second for half of them.
            let own = format!("own-{caller}");
            let tags = if caller % 2 == 0 { ["won", own.as_str()] } else { [own.as_str(), "won"] };
            let unmovable = tags.map(tag).to_vec();
            let outcome = store.push_manifest(ManifestPush { unmovable, ..push("team/app", &manifest, &tags) });
            (outcome.await.unwrap(), digest_of(&manifest), tag(&own))
        });
    }
    let outcomes = callers.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(outcome, ..)| *outcome == PushOutcome::Stored);
    assert_eq!(won.len(), 1);
    let (_, winner, own) = &won[0];
    assert_eq!(target(&**store, "team/app", "won").await.as_ref(), Some(winner));
    assert_eq!(all_tags(&**store, "team/app").await, MissingOr::Found(vec![own.clone(), tag("won")]));
    for (outcome, digest, _) in &lost {
        assert_eq!(*outcome, PushOutcome::TagUnmovable(tag("won")));
        assert_eq!(store.manifest(&repository("team/app"), digest).await.unwrap(), None);
    }
}

pub(super) async fn the_first_signing_key_has_one_winner(store: &Arc<dyn MetadataStore>) {
    let mut newest: Option<String> = None;
    for round in 0..3_usize {
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (store, newest) = (Arc::clone(store), newest.clone());
            callers.spawn(async move {
                let key = key(&format!("{round}-{caller}"), NOW);
                store.add_signing_key(&key, newest.as_deref()).await.unwrap().then_some(key)
            });
        }
        let winners: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        let keys = store.signing_keys().await.unwrap();
        assert_eq!((keys.len(), &keys[0]), (round + 1, &winners[0]));
        newest = Some(keys[0].id.clone());
    }
}

pub(super) async fn protected_tags_keep_what_they_reach(store: &Arc<dyn MetadataStore>) {
    const ROUNDS: u32 = 10;
    let image = image("contested");
    let parent = index(&[link_of(&image)]);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (store, image, parent) = (Arc::clone(store), image.clone(), parent.clone());
        callers.spawn(async move {
            let name = repository("team/app");
            let protected = ProtectedTags::by(|tag| tag.as_str() == "kept");
            for round in 0..ROUNDS {
                let pushed = match (caller + round) % 4 {
                    0 => checked_push("team/app", &parent, &["kept"]),
                    1 => push("team/app", &image, &[]),
                    2 => {
                        store.delete_manifest(&name, &digest_of(&image), &protected).await.unwrap();
                        continue;
                    }
                    _ => {
                        store.unlink_blob(&name, &blob("contested").digest, &protected).await.unwrap();
                        continue;
                    }
                };
                match store.push_manifest(pushed).await.unwrap() {
                    PushOutcome::Stored | PushOutcome::Missing(_) => {}
                    outcome => panic!("{outcome:?}"),
                }
                // Once an index is there under its tag, its child is there for good.
                if target(&*store, "team/app", "kept").await.is_some() {
                    assert!(store.manifest(&name, &digest_of(&image)).await.unwrap().is_some());
                }
            }
        });
    }
    callers.join_all().await;
}

pub(super) async fn tags_never_point_at_deleted_manifests(store: &Arc<dyn MetadataStore>) {
    const ROUNDS: u32 = 20;
    let manifest = image("contested");
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (store, manifest) = (Arc::clone(store), manifest.clone());
        callers.spawn(async move {
            let (name, digest) = (repository("team/app"), digest_of(&manifest));
            let own_tag = format!("t{caller}");
            for round in 0..ROUNDS {
                match (caller + round) % 4 {
                    0 => drop(delete_manifest(&*store, &name, &digest).await),
                    1 => store_push(&*store, push("team/app", &manifest, &[&own_tag])).await,
                    _ => drop(store.confirm_tag(&name, &tag(&own_tag), &digest, later(1)).await.unwrap()),
                }
                // Seen in one transaction, a tag has its manifest, whatever the others do.
                let row = store.tagged_manifest(&name, &tag(&own_tag)).await.unwrap();
                assert!(row.is_none_or(|row| row.bytes == *manifest.bytes()));
            }
        });
    }
    callers.join_all().await;
    let MissingOr::Found(tags) = all_tags(&**store, "team/app").await else { panic!("the repository exists") };
    let is_held = store.manifest(&repository("team/app"), &digest_of(&manifest)).await.unwrap().is_some();
    assert!(is_held || tags.is_empty(), "{tags:?} point at nothing");
    for tag in tags {
        assert!(store.tagged_manifest(&repository("team/app"), &tag).await.unwrap().is_some());
    }
}

pub(super) async fn uploads_stay_within_their_limit(store: &Arc<dyn MetadataStore>) {
    const OPEN_MAX: usize = 5;
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let store = Arc::clone(store);
        callers.spawn(async move {
            let upload = UploadRow {
                id: UploadId::from_random(caller.into()),
                repository: repository("team/app"),
                owner: String::new(),
                algorithm: Algorithm::Sha256,
                touched_at: NOW,
            };
            match store.create_upload(&upload, OPEN_MAX).await {
                Ok(()) => true,
                Err(Error::TooManyUploads { open }) => {
                    assert_eq!(open, OPEN_MAX);
                    false
                }
                Err(error) => panic!("{error:?}"),
            }
        });
    }
    let taken = callers.join_all().await.into_iter().filter(|taken| *taken).count();
    assert_eq!(taken, OPEN_MAX);
    assert_eq!(store.idle_uploads(later(1), usize::MAX).await.unwrap().len(), OPEN_MAX);
}

pub(super) async fn blobs_are_either_held_or_unheld(store: &Arc<dyn MetadataStore>) {
    const ROUNDS: usize = 20;
    for round in 0..ROUNDS {
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let store = Arc::clone(store);
            callers.spawn(async move {
                // Half of them meet in one repository, the other half only in the blob.
                let name = if caller % 2 == 0 { "one".to_owned() } else { format!("many/{caller}") };
                match (caller as usize + round) % 4 {
                    0 => drop(store.evict(&EVERYTHING).await.unwrap()),
                    1 => drop(store.forget_blob(&blob("contested").digest).await.unwrap()),
                    _ => store.link_blob(&repository(&name), &blob("contested"), NOW).await.unwrap(),
                }
            });
        }
        callers.join_all().await;
        let is_held = !store.blob_holders(&blob("contested").digest, 1).await.unwrap().is_empty();
        let listed = unheld(&**store).await;
        let is_forgotten = listed.is_empty();
        assert!(if is_held { is_forgotten } else { is_forgotten || listed == [blob("contested")] }, "{listed:?}");
        let (bytes, blobs) = if is_held { (blob("contested").size, 1) } else { (0, 0) };
        assert_eq!(store.totals().await.unwrap(), Totals { bytes, blobs, manifests: 0 });
    }
    // Whoever links it last has it.
    store.link_blob(&repository("one"), &blob("contested"), NOW).await.unwrap();
    assert_eq!(unheld(&**store).await, []);
}

pub(super) async fn uses_and_evictions_leave_whole_images(store: &Arc<dyn MetadataStore>) {
    const ROUNDS: u32 = 10;
    let child = image("child");
    let parent = index(&[link_of(&child)]);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (store, child, parent) = (Arc::clone(store), child.clone(), parent.clone());
        callers.spawn(async move {
            for round in 0..ROUNDS {
                match (caller + round) % 4 {
                    0 => drop(store.evict(&EVERYTHING).await.unwrap()),
                    1 => {
                        link(&*store, "team/app", &[blob("child")]).await;
                        store_push(&*store, push("team/app", &child, &[])).await;
                    }
                    2 => store_push(&*store, push("team/app", &parent, &["latest"])).await,
                    _ => touch(&*store, "team/app", &digest_of(&child), later(round.into())).await,
                }
                // Each list is one state: an image has its tag, and what an index names is not listed beside it.
                let entries = all_entries(&*store).await;
                if let Some(whole) = entries.iter().find(|entry| entry.digest == digest_of(&parent)) {
                    assert_eq!(whole.tags, [tag("latest")]);
                    assert!(entries.iter().all(|entry| entry.digest != digest_of(&child)), "{entries:?}");
                }
            }
        });
    }
    callers.join_all().await;
    evict(&**store, &EVERYTHING).await;
    assert_eq!(store.totals().await.unwrap(), Totals::default());
    assert_eq!(all_tags(&**store, "team/app").await, MissingOr::Found(vec![]));
}

pub(super) async fn children_beyond_any_limit_go_in_the_end(store: &Arc<dyn MetadataStore>) {
    const CHILDREN: usize = 1500;
    let children: Vec<_> = (0..CHILDREN).map(|number| image(&number.to_string())).collect();
    let links: Vec<_> = children.iter().map(link_of).collect();
    let mut callers = JoinSet::new();
    for child in children {
        let store = Arc::clone(store);
        callers.spawn(async move { store_push(&*store, push("team/app", &child, &[])).await });
    }
    callers.join_all().await;
    link(&**store, "team/app", &[blob("1499")]).await;
    store_push(&**store, push("team/app", &index(&links), &["latest"])).await;
    assert_eq!(store.totals().await.unwrap().manifests, CHILDREN as u64 + 1);
    assert_eq!(all_entries(&**store).await.len(), 1);
    // Some may be left for a later turn, as entries of their own.
    while store.totals().await.unwrap().manifests > 0 {
        assert!(!evict(&**store, &Eviction { entries_max: 1, ..EVERYTHING }).await.is_empty());
    }
    assert_eq!(unheld(&**store).await, [blob("1499")]);
}

pub(super) async fn probes_succeed(store: &Arc<dyn MetadataStore>) {
    store.probe().await.unwrap();
}
