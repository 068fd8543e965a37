//! Cases about the condition of a push.

use super::sample::{assert_nothing_stored, digest, digest_of, image, push, repository, store_image, target};
use crate::{ManifestPush, MetadataStore, PushOutcome, TagCondition};

pub(super) async fn are_met_or_nothing_happens(store: &dyn MetadataStore) {
    let first = store_image(store, "team/app", &image("a"), &["held"]).await;
    let other = digest("other");
    let (held, absent) = (Some(&first), None);
    let rows = [
        (held, TagCondition::PointsAt(vec![other.clone(), first.clone()]), true),
        (held, TagCondition::PointsAt(vec![other.clone()]), false),
        (held, TagCondition::PointsAt(Vec::new()), false),
        (held, TagCondition::Exists, true),
        (held, TagCondition::Absent, false),
        (held, TagCondition::PointsAtNoneOf(vec![other.clone()]), true),
        (held, TagCondition::PointsAtNoneOf(vec![other.clone(), first.clone()]), false),
        (absent, TagCondition::PointsAt(vec![first.clone()]), false),
        (absent, TagCondition::Exists, false),
        (absent, TagCondition::Absent, true),
        (absent, TagCondition::PointsAtNoneOf(vec![first.clone()]), true),
    ];
    for (number, (before, condition, is_met)) in rows.into_iter().enumerate() {
        let name = format!("{}-{number}", if before.is_some() { "held" } else { "absent" });
        if before.is_some() {
            store_image(store, "team/app", &image("a"), &[&name]).await;
        }
        let pushed = image(&name);
        let push = ManifestPush { condition: condition.clone(), ..push("team/app", &pushed, &[&name, "second"]) };
        let outcome = store.push_manifest(push).await.unwrap();
        let after = target(store, "team/app", &name).await;
        if is_met {
            assert_eq!((outcome, after), (PushOutcome::Stored, Some(digest_of(&pushed))), "{condition:?}");
        } else {
            assert_eq!((outcome, after.as_ref()), (PushOutcome::ConditionFailed, before), "{condition:?}");
            let unstored = store.manifest(&repository("team/app"), &digest_of(&pushed)).await.unwrap();
            assert_eq!(unstored, None, "{condition:?}");
            assert_ne!(target(store, "team/app", "second").await, Some(digest_of(&pushed)), "{condition:?}");
        }
    }
}

pub(super) async fn judge_the_first_tag_only(store: &dyn MetadataStore) {
    let first = store_image(store, "team/app", &image("a"), &["held"]).await;
    let absent_first =
        ManifestPush { condition: TagCondition::Absent, ..push("team/app", &image("b"), &["new", "held"]) };
    assert_eq!(store.push_manifest(absent_first).await.unwrap(), PushOutcome::Stored);
    assert_eq!(target(store, "team/app", "held").await, Some(digest_of(&image("b"))));
    let held_first = ManifestPush {
        condition: TagCondition::PointsAt(vec![first]),
        ..push("team/app", &image("c"), &["held", "newer"])
    };
    assert_eq!(store.push_manifest(held_first).await.unwrap(), PushOutcome::ConditionFailed);
    assert_eq!(target(store, "team/app", "newer").await, None);
}

pub(super) async fn judge_a_push_without_tags_like_an_absent_tag(store: &dyn MetadataStore) {
    let refused = ManifestPush { condition: TagCondition::Exists, ..push("team/app", &image("a"), &[]) };
    assert_eq!(store.push_manifest(refused.clone()).await.unwrap(), PushOutcome::ConditionFailed);
    assert_nothing_stored(store, &refused).await;
    assert!(!store.repository_exists(&repository("team/app")).await.unwrap());
    let taken = ManifestPush { condition: TagCondition::Absent, ..refused };
    assert_eq!(store.push_manifest(taken).await.unwrap(), PushOutcome::Stored);
}
