//! Cases about tags that must not move, may not be made, or must not be deleted, and what these reach.

use entrepot_oci::{Algorithm, Digest, Manifest};

use super::sample::{
    NOW, all_tags, assert_nothing_stored, blob, checked_push, delete_manifest, digest, digest_of, image,
    image_document, index, link, link_of, manifest, push, repository, store_image, store_push, store_whole, tag,
    target, unlink,
};
use crate::{BlobLink, Deletion, ManifestPush, MetadataStore, MissingOr, ProtectedTags, PushOutcome, TagCondition};

/// Tags that begin with `v` are protected.
fn versions() -> ProtectedTags {
    ProtectedTags::by(|tag| tag.as_str().starts_with('v'))
}

fn is_protected_by(name: &str) -> Deletion {
    Deletion::Protected(tag(name))
}

const DONE: Deletion = Deletion::Done { tags: Vec::new() };

/// A push under rights: these tags must not move, and new ones may be made or not.
fn limited(manifest: &Manifest, tags: &[&str], unmovable: &[&str], may_create_tags: bool) -> ManifestPush {
    let unmovable = unmovable.iter().map(|name| tag(name)).collect();
    ManifestPush { unmovable, may_create_tags, ..push("team/app", manifest, tags) }
}

pub(super) async fn keeps_unmovable_tags_where_they_are(store: &dyn MetadataStore) {
    let (old, new) = (image("old"), image("new"));
    let before = store_image(store, "team/app", &old, &["v1", "latest"]).await;
    let unmovable = |name: &str| PushOutcome::TagUnmovable(tag(name));
    // Wherever it stands among the tags of the push, nothing moves and nothing is made.
    for tags in [&["v1"][..], &["new", "v1", "latest"], &["latest", "new", "v1"]] {
        let refused = limited(&new, tags, &["v1", "v2"], true);
        assert_eq!(store.push_manifest(refused).await.unwrap(), unmovable("v1"), "{tags:?}");
        assert_eq!(target(store, "team/app", "latest").await.as_ref(), Some(&before));
        assert_eq!(store.manifest(&repository("team/app"), &digest_of(&new)).await.unwrap(), None);
    }
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(vec![tag("latest"), tag("v1")]));

    // It may come again where it is, be made, and stand beside tags that move.
    store_push(store, limited(&old, &["v1"], &["v1"], true)).await;
    store_push(store, limited(&new, &["latest", "v2"], &["v1", "v2"], true)).await;
    let moved = Some(digest_of(&new));
    assert_eq!(
        (target(store, "team/app", "latest").await, target(store, "team/app", "v2").await),
        (moved.clone(), moved)
    );
    assert_eq!(target(store, "team/app", "v1").await, Some(before));
    // What another repository calls so is something else.
    store_push(store, ManifestPush { repository: repository("other"), ..limited(&new, &["v1"], &["v1"], true) }).await;
    // The same bytes under another digest are another manifest.
    let long = ManifestPush { digest: old.digest(Algorithm::Sha512), ..limited(&old, &["v1"], &["v1"], true) };
    assert_eq!(store.push_manifest(long).await.unwrap(), unmovable("v1"));
}

pub(super) async fn keeps_tags_from_being_made(store: &dyn MetadataStore) {
    let (old, new) = (image("old"), image("new"));
    let refused = limited(&old, &["latest"], &[], false);
    assert_eq!(store.push_manifest(refused.clone()).await.unwrap(), PushOutcome::TagUncreatable(tag("latest")));
    assert_nothing_stored(store, &refused).await;
    assert!(!store.repository_exists(&repository("team/app")).await.unwrap());

    let before = store_image(store, "team/app", &old, &["latest"]).await;
    for tags in [&["latest", "a"][..], &["a", "latest"]] {
        let outcome = store.push_manifest(limited(&new, tags, &[], false)).await.unwrap();
        assert_eq!(outcome, PushOutcome::TagUncreatable(tag("a")), "{tags:?}");
        assert_eq!(target(store, "team/app", "latest").await.as_ref(), Some(&before));
    }
    // By digest alone it makes no tag, and what exists may move or come again.
    store_push(store, limited(&image("untagged"), &[], &[], false)).await;
    store_push(store, limited(&new, &["latest"], &[], false)).await;
    store_push(store, limited(&new, &["latest"], &["latest"], false)).await;
    assert_eq!(target(store, "team/app", "latest").await, Some(digest_of(&new)));
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(vec![tag("latest")]));
}

pub(super) async fn of_tags_outweighs_the_condition_and_the_references(store: &dyn MetadataStore) {
    store_image(store, "team/app", &image("old"), &["v1"]).await;
    let rows = [
        (TagCondition::Absent, "v1", PushOutcome::TagUnmovable(tag("v1"))),
        (TagCondition::Exists, "v1", PushOutcome::TagUnmovable(tag("v1"))),
        (TagCondition::Exists, "new", PushOutcome::TagUncreatable(tag("new"))),
    ];
    for (condition, name, expected) in rows {
        let checked = checked_push("team/app", &image("new"), &[name]);
        let refused = ManifestPush { unmovable: vec![tag("v1")], may_create_tags: false, condition, ..checked };
        assert_eq!(store.push_manifest(refused).await.unwrap(), expected);
    }
    let again = ManifestPush { condition: TagCondition::Absent, ..limited(&image("old"), &["v1"], &["v1"], true) };
    assert_eq!(store.push_manifest(again).await.unwrap(), PushOutcome::ConditionFailed);
}

pub(super) async fn keeps_a_tag_and_its_manifest(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let kept = store_image(store, "team/app", &image("a"), &["latest", "v1"]).await;
    let free = store_image(store, "team/app", &image("b"), &["b", "a"]).await;
    assert_eq!(store.delete_tag(&name, &tag("v1"), &versions()).await.unwrap(), is_protected_by("v1"));
    assert_eq!(store.delete_manifest(&name, &kept, &versions()).await.unwrap(), is_protected_by("v1"));
    assert_eq!(target(store, "team/app", "v1").await.as_ref(), Some(&kept));
    assert_eq!(target(store, "team/app", "latest").await.as_ref(), Some(&kept));

    // What is not here is missing, and not protected.
    assert_eq!(store.delete_tag(&name, &tag("v2"), &versions()).await.unwrap(), Deletion::Missing);
    assert_eq!(store.delete_tag(&repository("other"), &tag("v1"), &versions()).await.unwrap(), Deletion::Missing);
    assert_eq!(store.delete_manifest(&name, &digest("x"), &versions()).await.unwrap(), Deletion::Missing);
    assert_eq!(store.delete_manifest(&repository("other"), &kept, &versions()).await.unwrap(), Deletion::Missing);

    // Another tag on it, and what no protected tag reaches, may go.
    assert_eq!(store.delete_tag(&name, &tag("latest"), &versions()).await.unwrap(), DONE);
    let gone = Deletion::Done { tags: vec![tag("a"), tag("b")] };
    assert_eq!(store.delete_manifest(&name, &free, &versions()).await.unwrap(), gone);
    assert_eq!(all_tags(store, "team/app").await, MissingOr::Found(vec![tag("v1")]));
    assert_eq!(delete_manifest(store, &name, &kept).await, Some(vec![tag("v1")]), "without the rule");
}

pub(super) async fn keeps_what_a_protected_tag_reaches(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let (layer, lone) = (blob("layer"), blob("lone"));
    let child = manifest(&image_document("config", std::slice::from_ref(&layer)));
    store_whole(store, "team/app", "config", std::slice::from_ref(&layer), &["child"], NOW).await;
    // An index may name a blob as well.
    link(store, "team/app", &[blob("named"), lone.clone()]).await;
    let inner = index(&[link_of(&child), blob("named")]);
    let outer = index(&[link_of(&inner)]);
    for (manifest, tags) in [(&inner, &[][..]), (&outer, &["latest", "v1", "v2"])] {
        store_image(store, "team/app", manifest, tags).await;
    }
    // The same content in another repository, without a protected tag.
    store_whole(store, "other", "config", std::slice::from_ref(&layer), &["child"], NOW).await;

    for kept in [&child, &inner, &outer].map(digest_of) {
        assert_eq!(store.delete_manifest(&name, &kept, &versions()).await.unwrap(), is_protected_by("v1"));
        assert!(store.manifest(&name, &kept).await.unwrap().is_some());
    }
    for kept in [&layer, &blob("config"), &blob("named")] {
        assert_eq!(store.unlink_blob(&name, &kept.digest, &versions()).await.unwrap(), is_protected_by("v1"));
        assert!(store.blob(&name, &kept.digest).await.unwrap().is_some());
    }
    assert_eq!(target(store, "team/app", "child").await, Some(digest_of(&child)));
    assert_eq!(store.unlink_blob(&name, &lone.digest, &versions()).await.unwrap(), DONE);
    assert_eq!(store.unlink_blob(&name, &lone.digest, &versions()).await.unwrap(), Deletion::Missing);
    assert_eq!(store.unlink_blob(&repository("other"), &layer.digest, &versions()).await.unwrap(), DONE);
    let gone = Deletion::Done { tags: vec![tag("child")] };
    assert_eq!(store.delete_manifest(&repository("other"), &digest_of(&child), &versions()).await.unwrap(), gone);

    // Once the tags are gone, nothing keeps it.
    for name in ["v1", "v2"] {
        store.delete_tag(&repository("team/app"), &tag(name), &ProtectedTags::default()).await.unwrap();
    }
    assert_eq!(store.unlink_blob(&name, &layer.digest, &versions()).await.unwrap(), DONE);
    assert!(unlink(store, &name, &blob("config").digest).await);
    for free in [&child, &inner, &outer].map(digest_of) {
        assert!(matches!(store.delete_manifest(&name, &free, &versions()).await.unwrap(), Deletion::Done { .. }));
    }
}

pub(super) async fn ends_where_manifests_go_round_in_circles(store: &dyn MetadataStore) {
    // Nobody can make these, but a store does not know that.
    let (one, two) = (digest("one"), digest("two"));
    let names = |digest: &Digest| index(&[BlobLink { digest: digest.clone(), size: 1 }]);
    store_push(store, ManifestPush { digest: one.clone(), ..push("team/app", &names(&two), &["latest"]) }).await;
    store_push(store, ManifestPush { digest: two.clone(), ..push("team/app", &names(&one), &[]) }).await;
    store_push(store, push("team/app", &image("lone"), &["v1"])).await;
    let name = repository("team/app");
    let gone = Deletion::Done { tags: Vec::new() };
    assert_eq!(store.delete_manifest(&name, &two, &versions()).await.unwrap(), gone);
    assert!(store.manifest(&name, &one).await.unwrap().is_some());
}

pub(super) async fn is_taken_for_granted_where_too_much_is_above(store: &dyn MetadataStore) {
    const ABOVE: usize = 1200;
    let name = repository("team/app");
    let layer = blob("layer");
    link(store, "team/app", std::slice::from_ref(&layer)).await;
    for number in 0..ABOVE {
        let image = manifest(&image_document(&number.to_string(), std::slice::from_ref(&layer)));
        store_push(store, push("team/app", &image, &[])).await;
    }
    // A store may look at all of them, and then knows that nothing keeps it.
    match store.unlink_blob(&name, &layer.digest, &versions()).await.unwrap() {
        Deletion::NamedByTooMany => assert!(store.blob(&name, &layer.digest).await.unwrap().is_some()),
        outcome => assert_eq!(outcome, DONE),
    }
}
