//! Pushing manifests: what is answered, what is refused, and what a push may be conditional on.

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, MediaType};
use entrepot_testkit::{Image, StoredManifest, artifact};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::trial::{LAYER, Trial, descriptor, image_manifest, sha512};

rules! {
    "W1" "a manifest is stored as it was received, whoever pushes it how" => stored_as_received;
    "W2" "a push is answered with a location that can be pulled" => pushed_with_a_location;
    "W3" "a push is answered with the digest in the client's algorithm" => pushed_with_the_digest;
    "W4" "other content than the digest says is refused and not stored" => other_content;
    "W5" "parameters of the type are ignored" => parameters_are_ignored;
    "W6" "a type that contradicts the mediaType inside is refused" => contradictory_types;
    "W7" "4 MiB are taken, more are 413, and nothing of them is stored" => sizes;
    "W8" "a subject may be absent" => absent_subjects;
    "W9" "absent content is refused with one error for each" => absent_content;
    "W9" "content of another size than the descriptor says is refused" => content_of_another_size;
    "W11" "a manifest with a subject is answered with OCI-Subject, an index too" => subjects_are_confirmed;
    "W12" "a push by digest sets the tags of its parameters and names them" => tags_by_parameter;
    "W12" "an invalid tag or more than 64 set none" => tags_by_parameter_are_all_or_nothing;
    "W12" "on a push by tag the parameter has no meaning" => tag_parameters_beside_a_tag;
    "W12" "a tag of a push by sha512 is answered with it" => sha512_tags;
    "W13" "a tag moves at once, and its old manifest stays" => tags_move_at_once;
    "W14" "what is no manifest is refused" => no_manifests;
    "W15" "without a type that says something the mediaType inside counts" => types_inside;
    "W16" "If-Match and If-None-Match protect a tag" => conditional_pushes;
}

async fn stored_as_received(trial: Trial) {
    let image = trial.pushed("1").await;
    let same = image.manifest.bytes.clone();
    for reference in ["2", image.manifest.digest.as_str(), sha512(&same).as_str()] {
        trial.push_manifest(reference, &image.manifest).await;
        trial.get(&format!("manifests/{reference}")).await.expect(200).is(&same);
    }
    let put = trial.put("manifests/3").header("content-type", MediaType::OCI_MANIFEST);
    put.body(super::trial::streamed([same.slice(..9), same.slice(9..)])).await.expect(201);
    trial.get("manifests/3").await.expect(200).is(&same);
}

async fn pushed_with_a_location(trial: Trial) {
    let image = trial.pushed("1").await;
    for reference in ["1", image.manifest.digest.as_str()] {
        let pushed = trial.put_manifest(reference, &image.manifest).await;
        pushed.expect(201).has("location", format!("/v2/{}/manifests/{}", trial.name, image.manifest.digest));
        pushed.has("content-length", "0").lacks("oci-tag").lacks("oci-subject");
        trial.get(&pushed.location()).await.expect(200).is(&image.manifest.bytes);
    }
}

async fn pushed_with_the_digest(trial: Trial) {
    let image = trial.pushed("1").await;
    let (short, long) = (image.manifest.digest.clone(), sha512(&image.manifest.bytes));
    for (reference, digest) in [("2", &short), (short.as_str(), &short), (long.as_str(), &long)] {
        trial.put_manifest(reference, &image.manifest).await.expect(201).has("docker-content-digest", digest.as_str());
    }
}

async fn other_content(trial: Trial) {
    let image = trial.pushed("1").await;
    let changed = StoredManifest { bytes: [&image.manifest.bytes[..], b" "].concat().into(), ..image.manifest.clone() };
    let digests = [trial.image(1).manifest.digest, image.manifest.digest.clone(), sha512(&image.manifest.bytes)];
    for digest in &digests {
        trial.put_manifest(format!("{digest}?tag=2"), &changed).await.refused(400, "DIGEST_INVALID");
    }
    trial.holds_no_manifest(&digests[0]).await;
    trial.holds_no_manifest(Algorithm::Sha256.digest(&changed.bytes)).await;
    trial.get("manifests/1").await.expect(200).is(&image.manifest.bytes);
    assert_eq!(trial.tags().await, ["1"]);
}

async fn parameters_are_ignored(trial: Trial) {
    let image = trial.pushed("1").await;
    for parameters in ["; charset=utf-8", ";charset=\"UTF-8\"; q=1", " ; x"] {
        let put = trial.put("manifests/2").header("content-type", format!("{}{parameters}", MediaType::OCI_MANIFEST));
        put.body(image.manifest.bytes.clone()).await.expect(201);
        trial.get("manifests/2").await.expect(200).has("content-type", MediaType::OCI_MANIFEST);
    }
}

/// A push of these bytes as this type is refused, and nothing of it is stored.
pub(super) async fn refused(trial: &Trial, content_type: Option<&str>, body: &str) {
    let digest = Algorithm::Sha256.digest(body.as_bytes());
    for reference in ["refused".to_owned(), format!("{digest}?tag=refused")] {
        let put = trial.put(&format!("manifests/{reference}")).body(body.to_owned());
        let put = content_type.into_iter().fold(put, |put, content_type| put.header("content-type", content_type));
        put.await.refused(400, "MANIFEST_INVALID");
    }
    trial.holds_no_manifest("refused").await;
    trial.holds_no_manifest(digest).await;
}

async fn contradictory_types(trial: Trial) {
    trial.start().await;
    let config = trial.push_empty().await;
    let image =
        |media_type: &str| json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [] });
    let rows = [
        (MediaType::DOCKER_MANIFEST, MediaType::OCI_MANIFEST),
        (MediaType::OCI_MANIFEST, MediaType::OCI_INDEX),
        (MediaType::OCI_INDEX, MediaType::OCI_MANIFEST),
        (MediaType::OCI_MANIFEST, "text/html"),
    ];
    for (announced, inside) in rows {
        refused(&trial, Some(announced), &image(inside).to_string()).await;
    }
}

/// A manifest of exactly so many bytes.
fn manifest_of(size: usize, config: &Value) -> StoredManifest {
    let document = |filler: usize| {
        let annotations = json!({ "filler": "x".repeat(filler) });
        image_manifest(&json!({ "schemaVersion": 2, "config": config, "layers": [], "annotations": annotations }))
    };
    let manifest = document(size - document(0).bytes.len());
    assert_eq!(manifest.bytes.len(), size);
    manifest
}

async fn sizes(trial: Trial) {
    let config = trial.push_empty().await;
    for size in [3_900_000, 4 << 20] {
        let manifest = manifest_of(size, &config);
        trial.push_manifest("large", &manifest).await;
        trial.get("manifests/large").await.expect(200).is(&manifest.bytes);
    }
    let before = trial.tags().await;
    for size in [(4 << 20) + 1, 6 << 20] {
        let manifest = manifest_of(size, &config);
        trial.put_manifest("larger", &manifest).await.refused(413, "MANIFEST_INVALID");
        let put = trial
            .put(&format!("manifests/{}?tag=larger", manifest.digest))
            .header("content-type", MediaType::OCI_MANIFEST);
        let pieces = manifest.bytes.chunks(1 << 16).map(Bytes::copy_from_slice);
        // Of unknown length, so that it must be counted. What is refused half-way leaves no connection to be used again.
        put.body(super::trial::streamed(pieces)).await.refused(413, "MANIFEST_INVALID");
        trial.holds_no_manifest(&manifest.digest).await;
    }
    assert_eq!(trial.tags().await, before);
}

async fn absent_subjects(trial: Trial) {
    let absent = trial.image(1).manifest;
    let (signature, blobs) = artifact(1, "application/vnd.example.signature", &absent);
    for blob in &blobs {
        trial.push_blob(blob).await;
    }
    trial.put_manifest("1", &signature).await.expect(201).has("oci-subject", absent.digest.as_str());
    trial.get("manifests/1").await.expect(200).is(&signature.bytes);
    trial.holds_no_manifest(&absent.digest).await;
}

async fn absent_content(trial: Trial) {
    let image = trial.image(0);
    let absent: Vec<&Digest> = image.blobs().map(|blob| &blob.digest).collect();
    for reference in ["1", image.manifest.digest.as_str()] {
        let answer = trial.put_manifest(reference, &image.manifest).await;
        answer.refused(400, "MANIFEST_BLOB_UNKNOWN");
        let body = answer.json();
        let mut named: Vec<String> = body["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["detail"]["digest"].as_str().unwrap().to_owned())
            .collect();
        named.sort_unstable();
        let mut wanted: Vec<String> = absent.iter().map(ToString::to_string).collect();
        wanted.sort_unstable();
        assert_eq!(named, wanted, "{}", answer.evidence());
    }
    trial.push_blob(&image.config).await;
    trial.push_blob(&image.layers[0]).await;
    let answer = trial.put_manifest("1", &image.manifest).await;
    answer.refused(400, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(answer.json()["errors"][0]["detail"]["digest"], image.layers[1].digest.as_str());
    let index = entrepot_testkit::index(&[("amd64", &image.manifest)]);
    trial.put_manifest("2", &index).await.refused(400, "MANIFEST_BLOB_UNKNOWN");
    for reference in ["1", "2", image.manifest.digest.as_str(), index.digest.as_str()] {
        trial.holds_no_manifest(reference).await;
    }
}

async fn content_of_another_size(trial: Trial) {
    let config = trial.push_empty().await;
    let layer = trial.blob(1, 100);
    trial.push_blob(&layer).await;
    for size in [0, 99, 101] {
        let mut described = descriptor(LAYER, &layer);
        described["size"] = json!(size);
        let document = json!({ "schemaVersion": 2, "config": config, "layers": [described] });
        refused(&trial, Some(MediaType::OCI_MANIFEST), &document.to_string()).await;
    }
}

async fn subjects_are_confirmed(trial: Trial) {
    let image = trial.pushed("1").await;
    let config = trial.push_empty().await;
    for digest in [image.manifest.digest.clone(), sha512(&image.manifest.bytes)] {
        let mut subject = image.manifest.descriptor();
        subject["digest"] = json!(digest);
        let about = image_manifest(&json!({ "schemaVersion": 2, "config": config, "layers": [], "subject": subject }));
        let index = json!({ "schemaVersion": 2, "manifests": [], "subject": subject });
        for manifest in [about, StoredManifest::new(MediaType::OCI_INDEX, &index)] {
            for reference in ["about", manifest.digest.as_str()] {
                trial.put_manifest(reference, &manifest).await.expect(201).has("oci-subject", digest.as_str());
            }
        }
    }
}

async fn tags_by_parameter(trial: Trial) {
    let image = trial.pushed("1").await;
    for wanted in [1, 10, 64] {
        let tags: Vec<String> = (0..wanted).map(|number| format!("t{number}")).collect();
        // A tag that is named twice is set once.
        let query: Vec<String> = tags.iter().chain(&tags[..1]).map(|tag| format!("tag={tag}")).collect();
        let pushed =
            trial.put_manifest(format!("{}?{}", image.manifest.digest, query.join("&")), &image.manifest).await;
        let named: Vec<&str> =
            pushed.expect(201).headers.get_all("oci-tag").iter().map(|tag| tag.to_str().unwrap()).collect();
        assert_eq!(named, tags);
        for tag in tags {
            let answer = trial.get(&format!("manifests/{tag}")).await;
            answer.expect(200).has("docker-content-digest", image.manifest.digest.as_str());
        }
    }
    assert_eq!(trial.tags().await.len(), 65);
}

async fn tags_by_parameter_are_all_or_nothing(trial: Trial) {
    let image = trial.image(0);
    for blob in image.blobs() {
        trial.push_blob(blob).await;
    }
    let many: Vec<String> = (0..65).map(|number| format!("tag=t{number}")).collect();
    let answer = trial.put_manifest(format!("{}?{}", image.manifest.digest, many.join("&")), &image.manifest).await;
    answer.expect(414).lacks("oci-tag");
    for invalid in ["", "-x", "a%2Fb", "..", "a%20b", &"t".repeat(129)] {
        let path = format!("{}?tag=good&tag={invalid}", image.manifest.digest);
        let answer = trial.put_manifest(path, &image.manifest).await;
        answer.refused(400, "MANIFEST_INVALID").lacks("oci-tag");
    }
    trial.holds_no_manifest(&image.manifest.digest).await;
    assert_eq!(trial.tags().await, Vec::<String>::new());
}

async fn tag_parameters_beside_a_tag(trial: Trial) {
    let image = trial.pushed("first").await;
    trial.put_manifest("1?tag=2&tag=-", &image.manifest).await.expect(201).lacks("oci-tag");
    assert_eq!(trial.tags().await, ["1", "first"]);
}

async fn sha512_tags(trial: Trial) {
    let image = trial.pushed("first").await;
    let long = sha512(&image.manifest.bytes);
    let pushed = trial.put_manifest(format!("{long}?tag=a&tag=b"), &image.manifest).await;
    pushed.expect(201).has("docker-content-digest", long.as_str());
    pushed.has("location", format!("/v2/{}/manifests/{long}", trial.name));
    for reference in ["a", "b", long.as_str()] {
        let path = format!("manifests/{reference}");
        trial.head(&path).await.expect(200).has("docker-content-digest", long.as_str());
        trial.get(&path).await.expect(200).has("docker-content-digest", long.as_str()).is(&image.manifest.bytes);
    }
    // A push by that tag names it in sha256 again.
    trial.push_manifest("a", &image.manifest).await;
    trial.head("manifests/a").await.expect(200).has("docker-content-digest", image.manifest.digest.as_str());
    trial.head("manifests/b").await.expect(200).has("docker-content-digest", long.as_str());
}

async fn tags_move_at_once(trial: Trial) {
    let images: Vec<Image> = (0..8).map(|index| trial.image(index)).collect();
    for image in &images {
        trial.push_image("latest", image).await;
        trial.get("manifests/latest").await.expect(200).is(&image.manifest.bytes);
    }
    for image in &images {
        trial.get(&format!("manifests/{}", image.manifest.digest)).await.expect(200).is(&image.manifest.bytes);
    }
    // Whoever looks while the tag moves sees one of the two, whole.
    let moving = async {
        for image in images.iter().cycle().take(40) {
            trial.push_manifest("latest", &image.manifest).await;
        }
    };
    let looking = join_all((0..4).map(|_| async {
        for _ in 0..20 {
            let seen = trial.get("manifests/latest").await;
            seen.expect(200).has("docker-content-digest", Algorithm::Sha256.digest(&seen.body).as_str());
        }
    }));
    tokio::join!(moving, looking);
    assert_eq!(trial.tags().await, ["latest"]);
}

async fn no_manifests(trial: Trial) {
    let config = trial.push_empty().await;
    let image = Some(MediaType::OCI_MANIFEST);
    for body in [
        "",
        "<html>",
        "[1]",
        "null",
        "{}",
        "{\"schemaVersion\":2}",
        "{\"schemaVersion\":2,\"layers\":[]}",
        "\u{feff}{}",
    ] {
        refused(&trial, image, body).await;
    }
    let valid = json!({ "schemaVersion": 2, "config": config, "layers": [] }).to_string();
    for content_type in ["text/html", "application/vnd.oci.image.config.v1+json", "nonsense", "a/b/c", LAYER] {
        refused(&trial, Some(content_type), &valid).await;
    }
    let truncated = &valid[..valid.len() - 1];
    refused(&trial, image, truncated).await;
    let schema1 =
        json!({ "schemaVersion": 1, "name": "a", "tag": "1", "fsLayers": [], "history": [], "signatures": [] });
    for content_type in [MediaType::DOCKER_SCHEMA1, MediaType::DOCKER_SCHEMA1_SIGNED, "application/json"] {
        refused(&trial, Some(content_type), &schema1.to_string()).await;
    }
}

async fn types_inside(trial: Trial) {
    let config = trial.push_empty().await;
    let inside = json!({ "schemaVersion": 2, "mediaType": MediaType::DOCKER_MANIFEST, "config": config, "layers": [] });
    let silent = json!({ "schemaVersion": 2, "config": config, "layers": [] }).to_string();
    for content_type in [None, Some("application/octet-stream"), Some("application/json")] {
        let put = trial.put("manifests/1").body(inside.to_string());
        let put = content_type.into_iter().fold(put, |put, content_type| put.header("content-type", content_type));
        put.await.expect(201);
        trial.get("manifests/1").await.expect(200).has("content-type", MediaType::DOCKER_MANIFEST);
        refused(&trial, content_type, &silent).await;
    }
}

async fn conditional_pushes(trial: Trial) {
    let (first, second) = (trial.pushed("first").await.manifest, trial.image(1));
    trial.push_image("second", &second).await;
    let second = second.manifest;
    let (etag, other) = (format!("\"{}\"", first.digest), format!("\"{}\"", second.digest));
    let both = format!("{other}, {etag}");
    // Step by step: condition, what is pushed, the status, and what the tag points at then.
    let rows: [(&str, &str, &StoredManifest, u16, Option<&StoredManifest>); 11] = [
        ("if-match", "*", &first, 412, None),
        ("if-match", &etag, &first, 412, None),
        ("if-none-match", "*", &first, 201, Some(&first)),
        ("if-none-match", "*", &second, 412, Some(&first)),
        ("if-none-match", &etag, &second, 412, Some(&first)),
        ("if-match", &other, &second, 412, Some(&first)),
        ("if-match", &both, &second, 201, Some(&second)),
        ("if-match", &etag, &first, 412, Some(&second)),
        ("if-match", "*", &first, 201, Some(&first)),
        ("if-none-match", &other, &second, 201, Some(&second)),
        ("if-none-match", &both, &first, 412, Some(&second)),
    ];
    for (name, value, manifest, status, then) in rows {
        trial.put_manifest("moving", manifest).header(name, value).await.expect(status);
        match then {
            None => trial.holds_no_manifest("moving").await,
            Some(then) => {
                trial.head("manifests/moving").await.expect(200).has("docker-content-digest", then.digest.as_str());
            }
        }
    }
    // Of many who saw the same, one wins.
    let rivals: Vec<Image> = (2..10).map(|index| trial.image(index)).collect();
    for rival in &rivals {
        trial.push_image("rival", rival).await;
    }
    let race = rivals.iter().map(|rival| trial.put_manifest("moving", &rival.manifest).header("if-match", &other));
    let mut statuses: Vec<u16> = join_all(race.map(|ask| async { ask.await.status })).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 412, 412, 412, 412, 412, 412, 412]);
}
