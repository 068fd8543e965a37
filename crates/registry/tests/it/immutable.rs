//! Tags that must not move, may not be made, or never go.

use entrepot_metadata::TagCondition;
use entrepot_oci::{Digest, Tag, TagOrDigest};
use entrepot_registry::{
    Error, ImmutableRule, ImmutableTags, Limits, ManifestUpload, Patterns, PushedManifest, Repository, Source,
};
use entrepot_testkit::{Image, StoredManifest, index};
use entrepot_upstream::RemotesConfig;
use futures_util::StreamExt;

use super::House;

fn patterns(texts: &[&str]) -> Patterns {
    Patterns::new(texts.iter().copied()).unwrap()
}

/// A house where the versions below `team/` never move, and nothing in `frozen`.
fn house() -> House {
    let rules = vec![
        ImmutableRule { repositories: patterns(&["team/**"]), tags: patterns(&["v*"]) },
        ImmutableRule { repositories: patterns(&["frozen"]), tags: Patterns::default() },
    ];
    House::with(Limits::default(), ImmutableTags { rules }, RemotesConfig::default())
}

/// A push by somebody who may everything.
fn upload(manifest: &StoredManifest, reference: &str, tags: &[&str]) -> ManifestUpload {
    ManifestUpload {
        reference: TagOrDigest::parse(reference).unwrap(),
        media_type: Some(manifest.media_type.clone()),
        bytes: manifest.bytes.clone(),
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        may_create_tags: true,
        may_move_tags: true,
        condition: TagCondition::None,
    }
}

async fn push(repository: &Repository, manifest: &StoredManifest, reference: &str) -> Result<PushedManifest, Error> {
    repository.push_manifest(upload(manifest, reference, &[])).await
}

async fn push_blobs(repository: &Repository, image: &Image) {
    for blob in image.blobs() {
        let bytes: Source = futures_util::stream::iter([Ok(blob.bytes.clone())]).boxed();
        repository.push_blob(&blob.digest, None, bytes).await.unwrap();
    }
}

/// An image with its blobs, under a tag.
async fn push_image(repository: &Repository, seed: u64, tag: &str) -> Image {
    let image = Image::new(seed, &[100, 200]);
    push_blobs(repository, &image).await;
    push(repository, &image.manifest, tag).await.unwrap();
    image
}

/// Where the tags are, by their names.
async fn tags(repository: &Repository) -> Vec<(String, Digest)> {
    let mut found = Vec::new();
    for tag in repository.tags(None, 100).await.unwrap().entries {
        let digest = repository.manifest(&TagOrDigest::Tag(tag.clone())).await.unwrap().manifest.digest;
        found.push((tag.to_string(), digest));
    }
    found
}

fn at(tags: &[(&str, &Image)]) -> Vec<(String, Digest)> {
    tags.iter().map(|(tag, image)| ((*tag).to_owned(), image.manifest.digest.clone())).collect()
}

fn assert_unmovable<T: std::fmt::Debug>(outcome: &Result<T, Error>, expected: &str) {
    assert!(matches!(outcome, Err(Error::TagUnmovable { tag, .. }) if tag.as_str() == expected), "{outcome:?}");
}

fn assert_protected<T: std::fmt::Debug>(outcome: &Result<T, Error>, expected: &str) {
    assert!(matches!(outcome, Err(Error::TagProtected { tag, .. }) if tag.as_str() == expected), "{outcome:?}");
}

fn reference(text: &str) -> TagOrDigest {
    TagOrDigest::parse(text).unwrap()
}

#[tokio::test]
async fn b6_an_immutable_tag_is_not_overwritten_by_tag_or_beside_others() {
    let house = house();
    let repository = house.repository();
    let old = push_image(&repository, 1, "v1").await;
    let new = push_image(&repository, 2, "latest").await;
    let before = at(&[("latest", &new), ("v1", &old)]);

    assert_unmovable(&push(&repository, &new.manifest, "v1").await, "v1");
    let digest = new.manifest.digest.as_str();
    for beside in [&["v1"][..], &["a", "v1", "b"], &["v1", "a"]] {
        assert_unmovable(&repository.push_manifest(upload(&new.manifest, digest, beside)).await, "v1");
        assert_eq!(tags(&repository).await, before, "{beside:?}: nothing moves, and nothing is made");
    }
    // Nor under a condition that holds.
    let condition = TagCondition::PointsAt(vec![old.manifest.digest.clone()]);
    let conditional = ManifestUpload { condition, ..upload(&new.manifest, "v1", &[]) };
    assert_unmovable(&repository.push_manifest(conditional).await, "v1");

    // The same again is no change; others are made once, and go on moving where no rule is.
    push(&repository, &old.manifest, "v1").await.unwrap();
    repository.push_manifest(upload(&new.manifest, digest, &["v2", "a"])).await.unwrap();
    push(&repository, &old.manifest, "latest").await.unwrap();
    assert_eq!(tags(&repository).await, at(&[("a", &new), ("latest", &old), ("v1", &old), ("v2", &new)]));
}

#[tokio::test]
async fn b6_an_immutable_tag_and_what_it_reaches_cannot_be_deleted() {
    let house = house();
    let repository = house.repository();
    let image = push_image(&repository, 1, "plain").await;
    let whole = index(&[("amd64", &image.manifest)]);
    push(&repository, &whole, "v1").await.unwrap();
    let free = push_image(&repository, 2, "latest").await;

    assert_protected(&repository.delete_manifest(&reference("v1")).await, "v1");
    for digest in [&whole.digest, &image.manifest.digest] {
        assert_protected(&repository.delete_manifest(&TagOrDigest::Digest(digest.clone())).await, "v1");
    }
    for blob in image.blobs() {
        assert_protected(&repository.delete_blob(&blob.digest).await, "v1");
        assert_eq!(repository.blob_size(&blob.digest).await.unwrap().0, blob.size());
    }
    repository.manifest(&reference("v1")).await.unwrap();
    repository.manifest(&TagOrDigest::Digest(image.manifest.digest.clone())).await.unwrap();

    // Another tag on what it reaches is free, and so is everything that it does not reach.
    repository.delete_manifest(&reference("plain")).await.unwrap();
    repository.delete_blob(&free.layers[0].digest).await.unwrap();
    repository.delete_manifest(&TagOrDigest::Digest(free.manifest.digest.clone())).await.unwrap();
    assert_eq!(tags(&repository).await, [("v1".to_owned(), whole.digest)]);
    // What is not here is not here, also where everything is protected.
    let unknown = repository.delete_manifest(&reference("v9")).await;
    assert!(matches!(unknown, Err(Error::ManifestUnknown { .. })), "{unknown:?}");
    let unknown = repository.delete_blob(&free.layers[0].digest).await;
    assert!(matches!(unknown, Err(Error::BlobUnknown { .. })), "{unknown:?}");
}

#[tokio::test]
async fn b6_rules_are_about_their_repositories_and_any_of_them_counts() {
    let house = house();
    for (name, tag, is_immutable) in [
        ("team/app", "v1", true),
        ("team/app/deep", "v1", true),
        ("team/app", "V1", false),
        ("team/app", "latest", false),
        ("team", "v1", false),
        ("other/app", "v1", false),
        ("frozen", "latest", true),
        ("frozen", "v1", true),
        ("frozen/deep", "v1", false),
    ] {
        let repository = house.named(name);
        push_image(&repository, 1, tag).await;
        let new = Image::new(2, &[100]);
        push_blobs(&repository, &new).await;
        let moved = push(&repository, &new.manifest, tag).await;
        assert_eq!(matches!(moved, Err(Error::TagUnmovable { .. })), is_immutable, "{name}:{tag} {moved:?}");
        let deleted = repository.delete_manifest(&reference(tag)).await;
        assert_eq!(matches!(deleted, Err(Error::TagProtected { .. })), is_immutable, "{name}:{tag} {deleted:?}");
    }
}

#[tokio::test]
async fn b7_who_may_create_only_makes_tags_and_moves_none() {
    let house = House::new(Limits::default());
    let repository = house.repository();
    let old = push_image(&repository, 1, "existing").await;
    let new = Image::new(2, &[100]);
    push_blobs(&repository, &new).await;
    let create = |reference: &str, tags: &[&str]| ManifestUpload {
        may_move_tags: false,
        ..upload(&new.manifest, reference, tags)
    };
    let digest = new.manifest.digest.as_str();

    assert_unmovable(&repository.push_manifest(create("existing", &[])).await, "existing");
    for both in [&["a", "existing"][..], &["existing", "a"]] {
        assert_unmovable(&repository.push_manifest(create(digest, both)).await, "existing");
        assert_eq!(tags(&repository).await, at(&[("existing", &old)]), "{both:?}: no tag is moved, none is made");
    }
    let unknown = repository.manifest(&reference(digest)).await;
    assert!(matches!(unknown, Err(Error::ManifestUnknown { .. })), "nothing of it was stored: {unknown:?}");

    repository.push_manifest(create("new", &[])).await.unwrap();
    // The client that did not hear the answer pushes again.
    repository.push_manifest(create("new", &[])).await.unwrap();
    repository.push_manifest(create(digest, &["new", "newer"])).await.unwrap();
    assert_eq!(tags(&repository).await, at(&[("existing", &old), ("new", &new), ("newer", &new)]));
}

#[tokio::test]
async fn b7_who_may_overwrite_only_moves_tags_and_makes_none() {
    let house = House::new(Limits::default());
    let repository = house.repository();
    let old = push_image(&repository, 1, "existing").await;
    let new = Image::new(2, &[100]);
    push_blobs(&repository, &new).await;
    let overwrite = |reference: &str, tags: &[&str]| ManifestUpload {
        may_create_tags: false,
        ..upload(&new.manifest, reference, tags)
    };
    let digest = new.manifest.digest.as_str();
    for refused in [overwrite("new", &[]), overwrite(digest, &["existing", "new"]), overwrite(digest, &["new"])] {
        let outcome = repository.push_manifest(refused).await;
        let is_told = |tag: &Tag| tag.as_str() == "new";
        assert!(matches!(&outcome, Err(Error::TagUncreatable { tag, .. }) if is_told(tag)), "{outcome:?}");
        assert_eq!(tags(&repository).await, at(&[("existing", &old)]));
    }
    repository.push_manifest(overwrite("existing", &[])).await.unwrap();
    assert_eq!(tags(&repository).await, at(&[("existing", &new)]));
    // The children of an index are pushed by digest, without a tag.
    let untagged = Image::new(3, &[100]);
    push_blobs(&repository, &untagged).await;
    let by_digest = upload(&untagged.manifest, untagged.manifest.digest.as_str(), &[]);
    let neither = ManifestUpload { may_create_tags: false, may_move_tags: false, ..by_digest };
    repository.push_manifest(neither).await.unwrap();
}

#[tokio::test]
async fn b7_refusals_say_which_tag_and_what_to_do() {
    let house = house();
    let repository = house.repository();
    push_image(&repository, 1, "v1").await;
    let new = push_image(&repository, 2, "latest").await;
    let uncreatable = ManifestUpload { may_create_tags: false, ..upload(&new.manifest, "new", &[]) };
    let rows = [
        (push(&repository, &new.manifest, "v1").await.unwrap_err(), "v1", "push under another tag"),
        (repository.push_manifest(uncreatable).await.unwrap_err(), "new", "ask the operator"),
        (repository.delete_manifest(&reference("v1")).await.unwrap_err(), "v1", "unless the operator changes the rule"),
    ];
    for (error, tag, next) in rows {
        let text = error.to_string();
        assert!(text.contains(&format!("the tag {tag} of team/app")) && text.contains(next), "{text}");
    }
}
