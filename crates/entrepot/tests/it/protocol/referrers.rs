//! Referrers: the manifests that say they are about another one.

use std::collections::BTreeSet;

use entrepot_oci::{Digest, MediaType};
use entrepot_testkit::StoredManifest;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::exchange::Answer;
use super::trial::{EMPTY, Trial, image_manifest, sha512};

rules! {
    "R1" "an unknown digest or repository has no referrers, which is no error" => nobody_has_no_referrers;
    "R2" "a malformed digest is 400" => malformed_subjects;
    "R3" "the list is an index, in body and type" => the_list_is_an_index;
    "R4" "every manifest of the same repository about the digest is listed" => all_of_the_repository;
    "R5" "the artifact type is the manifest's, else that of its config, else none" => artifact_types;
    "R6" "an entry has all annotations, the type, the size and the digest" => entries_are_whole;
    "R7" "no result is an empty list" => the_empty_list;
    "R8" "2,500 referrers come in pages that clients can read" => many_referrers_come_in_pages;
    "R9" "the list can be filtered by artifact type, and says so" => filtered_lists;
    "R10" "what a referrers tag lists is in the list, once" => listed_by_tag;
    "R11" "a push is listed as soon as it is answered, in every way of pushing" => listed_at_once;
    "R12" "a deleted referrer vanishes, those of a deleted subject stay" => deletions;
    "R14" "a referrers tag is a tag like any other" => fallback_tags;
}

/// A manifest about a subject; pushes what it needs.
async fn about(trial: &Trial, subject: &Value, artifact_type: &str, note: &str) -> StoredManifest {
    let config = trial.push_empty().await;
    image_manifest(&json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": artifact_type, "config": config,
        "layers": [], "subject": subject, "annotations": { "note": note },
    }))
}

async fn referrers(trial: &Trial, subject: &Digest) -> Answer {
    trial.get(&format!("referrers/{subject}")).await
}

fn listed(answer: &Answer) -> BTreeSet<String> {
    let body = answer.expect(200).json();
    let digests: Vec<String> = body["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap().to_owned())
        .collect();
    let unique: BTreeSet<String> = digests.iter().cloned().collect();
    assert_eq!(unique.len(), digests.len(), "listed twice\n{}", answer.evidence());
    unique
}

fn only<const N: usize>(manifests: [&StoredManifest; N]) -> BTreeSet<String> {
    manifests.iter().map(|manifest| manifest.digest.to_string()).collect()
}

const NOTHING: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

async fn nobody_has_no_referrers(trial: Trial) {
    let nobodys = trial.image(1).manifest.digest;
    referrers(&trial, &nobodys).await.expect(200).is(NOTHING);
    trial.get(&format!("referrers/{nobodys}?artifactType=a/b")).await.expect(200).is(NOTHING);
    trial.get("tags/list").await.refused(404, "NAME_UNKNOWN");
    trial.start().await;
    referrers(&trial, &nobodys).await.expect(200).is(NOTHING);
    trial.head(&format!("referrers/{nobodys}")).await.expect(200).has("content-length", NOTHING.len().to_string());
}

async fn malformed_subjects(trial: Trial) {
    for digest in ["latest", "sha256:short", "sha256:", ":", "sha384:00", "sha256%2Fabc"] {
        trial.get(&format!("referrers/{digest}")).await.refused(400, "DIGEST_INVALID");
    }
}

async fn the_list_is_an_index(trial: Trial) {
    let subject = trial.pushed("1").await.manifest;
    trial.push_manifest("2", &about(&trial, &subject.descriptor(), "a/b", "").await).await;
    let answer = referrers(&trial, &subject.digest).await;
    answer.expect(200).has("content-type", MediaType::OCI_INDEX).lacks("link").lacks("oci-filters-applied");
    let body = answer.json();
    assert_eq!((&body["schemaVersion"], &body["mediaType"]), (&json!(2), &json!(MediaType::OCI_INDEX)));
}

async fn all_of_the_repository(trial: Trial) {
    let subject = trial.pushed("1").await.manifest;
    let (first, second) = (
        about(&trial, &subject.descriptor(), "a/b", "1").await,
        about(&trial, &subject.descriptor(), "a/b", "2").await,
    );
    let index = json!({ "schemaVersion": 2, "manifests": [subject.descriptor()], "subject": subject.descriptor() });
    let index = StoredManifest::new(MediaType::OCI_INDEX, &index);
    let artifact = json!({ "mediaType": MediaType::OCI_ARTIFACT, "blobs": [], "subject": subject.descriptor() });
    let artifact = StoredManifest::new(MediaType::OCI_ARTIFACT, &artifact);
    for (tag, manifest) in [("first", &first), ("second", &second), ("index", &index), ("artifact", &artifact)] {
        trial.push_manifest(tag, manifest).await;
    }
    assert_eq!(listed(&referrers(&trial, &subject.digest).await), only([&first, &second, &index, &artifact]));
    // About another digest of the same bytes is about something else; so is another repository.
    let mut long = subject.descriptor();
    long["digest"] = json!(sha512(&subject.bytes));
    let third = about(&trial, &long, "a/b", "3").await;
    trial.push_manifest("third", &third).await;
    assert_eq!(listed(&referrers(&trial, &sha512(&subject.bytes)).await), only([&third]));
    let other = trial.beside("other");
    other.push_manifest("1", &about(&other, &subject.descriptor(), "a/b", "4").await).await;
    assert_eq!(listed(&referrers(&trial, &subject.digest).await).len(), 4);
    assert_eq!(listed(&referrers(&other, &subject.digest).await).len(), 1);
}

async fn artifact_types(trial: Trial) {
    let subject = trial.image(1).manifest;
    let mut config = trial.push_empty().await;
    config["mediaType"] = json!("application/vnd.example.config");
    let subject_of = subject.descriptor();
    let rows = [
        (
            MediaType::OCI_MANIFEST,
            json!({ "schemaVersion": 2, "artifactType": "own/type", "config": config, "subject": subject_of }),
            Some("own/type"),
        ),
        (
            MediaType::OCI_MANIFEST,
            json!({ "schemaVersion": 2, "config": config, "subject": subject_of }),
            Some("application/vnd.example.config"),
        ),
        (
            MediaType::OCI_MANIFEST,
            json!({ "schemaVersion": 2, "artifactType": "", "config": config, "layers": [], "subject": subject_of }),
            Some("application/vnd.example.config"),
        ),
        (
            MediaType::OCI_INDEX,
            json!({ "schemaVersion": 2, "artifactType": "own/type", "manifests": [], "subject": subject_of }),
            Some("own/type"),
        ),
        (MediaType::OCI_INDEX, json!({ "schemaVersion": 2, "manifests": [], "subject": subject_of }), None),
    ];
    for (media_type, document, expected) in rows {
        let manifest = StoredManifest::new(media_type, &document);
        trial.push_manifest("1", &manifest).await;
        let body = referrers(&trial, &subject.digest).await.json();
        let entry =
            body["manifests"].as_array().unwrap().iter().find(|entry| entry["digest"] == manifest.digest.as_str());
        let entry = entry.unwrap().as_object().unwrap();
        assert_eq!(entry.get("artifactType"), expected.map(|text| json!(text)).as_ref(), "{document}");
    }
}

async fn entries_are_whole(trial: Trial) {
    let subject = trial.image(1).manifest;
    let config = trial.push_empty().await;
    let annotations = json!({ "a": "b", "org.opencontainers.image.created": "2026-01-01T00:00:00Z", "ü": "\" \\ \u{1} \u{1f600}", "": "" });
    let document = json!({ "schemaVersion": 2, "config": config, "layers": [], "subject": subject.descriptor(), "annotations": annotations });
    let manifest = image_manifest(&document);
    trial.push_manifest(manifest.digest.as_str(), &manifest).await;
    let body = referrers(&trial, &subject.digest).await.json();
    let expected = json!({
        "mediaType": MediaType::OCI_MANIFEST, "digest": manifest.digest.as_str(), "size": manifest.bytes.len(),
        "artifactType": EMPTY, "annotations": annotations,
    });
    assert_eq!(body["manifests"], json!([expected]));
}

async fn the_empty_list(trial: Trial) {
    let image = trial.pushed("1").await;
    referrers(&trial, &image.manifest.digest).await.expect(200).is(NOTHING);
    let filtered = trial.get(&format!("referrers/{}?artifactType=a/b", image.manifest.digest)).await;
    filtered.expect(200).is(NOTHING).has("oci-filters-applied", "artifactType");
}

const MANY: usize = 2500;

async fn many_referrers_come_in_pages(trial: Trial) {
    let subject = trial.image(1).manifest;
    let config = trial.push_empty().await;
    let manifest = |number: usize| {
        let artifact_type = if number.is_multiple_of(2) { "even/type" } else { "odd/type" };
        image_manifest(&json!({
            "schemaVersion": 2, "artifactType": artifact_type, "config": config, "layers": [],
            "subject": subject.descriptor(), "annotations": { "number": number.to_string(), "filler": "x".repeat(2000) },
        }))
    };
    let trial = &trial;
    let pushes = stream::iter(0..MANY).map(|number| {
        let manifest = manifest(number);
        async move {
            trial.push_manifest(manifest.digest.as_str(), &manifest).await;
            manifest.digest.to_string()
        }
    });
    let all: Vec<String> = pushes.buffered(32).collect().await;
    let even: BTreeSet<String> = all.iter().step_by(2).cloned().collect();
    for (query, expected) in [("", &all.into_iter().collect::<BTreeSet<_>>()), ("?artifactType=even/type", &even)] {
        let (mut found, mut pages) = (BTreeSet::new(), 0);
        let mut path = Some(format!("referrers/{}{query}", subject.digest));
        while let Some(here) = path {
            let answer = trial.get(&here).await;
            let page = listed(&answer);
            answer.must(answer.body.len() < 4_000_000 && !page.is_empty(), "a page is neither too large nor empty");
            answer.must(answer.try_header("oci-filters-applied").is_some() != query.is_empty(), "the filter is named");
            assert!(found.is_disjoint(&page), "two pages have the same entry");
            found.extend(page);
            pages += 1;
            path = answer.next_page();
        }
        assert_eq!(&found, expected);
        assert!(pages > 1, "{pages} pages");
    }
}

async fn filtered_lists(trial: Trial) {
    let subject = trial.image(1).manifest;
    let described = subject.descriptor();
    let (plus, plain) = (about(&trial, &described, "a/b+json", "").await, about(&trial, &described, "c/d", "").await);
    trial.push_manifest("plus", &plus).await;
    trial.push_manifest("plain", &plain).await;
    let filtered = async |query: &str| trial.get(&format!("referrers/{}?{query}", subject.digest)).await;
    for (query, expected) in [
        ("artifactType=a%2Fb%2Bjson", only([&plus])),
        ("artifactType=a/b%2Bjson", only([&plus])),
        ("artifactType=c/d", only([&plain])),
        ("artifactType=c", BTreeSet::new()),
        ("artifactType=C/D", BTreeSet::new()),
        ("artifactType=no/such", BTreeSet::new()),
    ] {
        let answer = filtered(query).await;
        answer.has("oci-filters-applied", "artifactType").has("content-type", MediaType::OCI_INDEX);
        assert_eq!(listed(&answer), expected, "{query}");
    }
    // Several types, or an empty one, are answered with everything, and not marked as filtered.
    for query in ["artifactType=c/d&artifactType=a/b%2Bjson", "artifactType=", "x=y"] {
        let answer = filtered(query).await;
        answer.lacks("oci-filters-applied");
        assert_eq!(listed(&answer), only([&plus, &plain]), "{query}");
    }
}

/// The tag under which clients keep referrers where the API is missing.
fn fallback_tag(subject: &Digest) -> String {
    format!("{}-{}", subject.algorithm(), &subject.hex()[..64])
}

async fn listed_by_tag(trial: Trial) {
    let subject = trial.pushed("1").await.manifest;
    let signature = about(&trial, &subject.descriptor(), "a/b", "").await;
    trial.push_manifest(signature.digest.as_str(), &signature).await;
    let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [signature.descriptor()] });
    trial.push_manifest(fallback_tag(&subject.digest), &StoredManifest::new(MediaType::OCI_INDEX, &index)).await;
    assert_eq!(listed(&referrers(&trial, &subject.digest).await), only([&signature]));
}

async fn listed_at_once(trial: Trial) {
    let subject = trial.image(1).manifest;
    let described = subject.descriptor();
    let by_tag = about(&trial, &described, "a/b", "tag").await;
    trial.put_manifest("1", &by_tag).await.expect(201).has("oci-subject", subject.digest.as_str());
    assert_eq!(listed(&referrers(&trial, &subject.digest).await), only([&by_tag]));
    let by_digest = about(&trial, &described, "a/b", "digest").await;
    trial.push_manifest(by_digest.digest.as_str(), &by_digest).await;
    assert_eq!(listed(&referrers(&trial, &subject.digest).await), only([&by_tag, &by_digest]));
    // Pushed again, also under its other digest, it is listed by what it was pushed as.
    trial.push_manifest("2", &by_tag).await;
    let long = sha512(&by_tag.bytes);
    trial.push_manifest(long.as_str(), &by_tag).await;
    let mut expected = only([&by_tag, &by_digest]);
    expected.insert(long.to_string());
    assert_eq!(listed(&referrers(&trial, &subject.digest).await), expected);
}

async fn deletions(trial: Trial) {
    let subject = trial.pushed("1").await.manifest;
    let described = subject.descriptor();
    let (first, second) = (about(&trial, &described, "a/b", "1").await, about(&trial, &described, "a/b", "2").await);
    trial.push_manifest("first", &first).await;
    trial.push_manifest("second", &second).await;
    trial.delete("manifests/second").await.expect(202);
    assert_eq!(listed(&referrers(&trial, &subject.digest).await), only([&first, &second]));
    trial.delete(&format!("manifests/{}", second.digest)).await.expect(202);
    assert_eq!(listed(&referrers(&trial, &subject.digest).await), only([&first]));
    trial.delete(&format!("manifests/{}", subject.digest)).await.expect(202);
    assert_eq!(listed(&referrers(&trial, &subject.digest).await), only([&first]));
    trial.get("manifests/first").await.expect(200).is(&first.bytes);
}

async fn fallback_tags(trial: Trial) {
    let image = trial.pushed("1").await;
    for digest in [image.manifest.digest.clone(), sha512(&image.manifest.bytes)] {
        let tag = fallback_tag(&digest);
        let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [image.manifest.descriptor()] });
        let index = StoredManifest::new(MediaType::OCI_INDEX, &index);
        trial.push_manifest(&tag, &index).await;
        trial.get(&format!("manifests/{tag}")).await.expect(200).is(&index.bytes);
        assert!(trial.tags().await.contains(&tag));
        trial.delete(&format!("manifests/{tag}")).await.expect(202);
        trial.holds_no_manifest(&tag).await;
    }
}
