//! Pulling manifests and blobs.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use bytes::Bytes;
use entrepot_oci::{Digest, MediaType};
use entrepot_testkit::StoredManifest;
use serde_json::json;

use super::trial::{Trial, closing, image_manifest, sha512};
use crate::support::Running;

rules! {
    "P1" "a manifest is answered by tag and by digest with the exact bytes that were pushed" => manifests_are_exact;
    "P2" "a manifest comes with its digest" => manifests_come_with_their_digest;
    "P3" "the digest is of the algorithm that was asked for, or that the tag was pushed with" => digests_echo_the_algorithm;
    "P4" "a manifest has the type that it was pushed with, without parameters" => types_are_kept_bare;
    "P5" "an unknown manifest and an unknown repository are told apart" => unknown_manifests;
    "P6" "a blob is answered whole, an unknown one with BLOB_UNKNOWN" => blobs_are_whole;
    "P7" "a blob comes with its digest, in the algorithm that was asked for" => blobs_come_with_their_digest;
    "P8" "parts of blobs can be asked for" => blobs_have_parts;
    "P9" "HEAD finds what is there and does not find what is not" => head_finds;
    "P10" "HEAD tells digest and length" => head_tells_digest_and_length;
    "P12" "content belongs to its repository" => content_belongs_to_its_repository;
    "P13" "whatever is accepted, the stored manifest is answered" => nothing_is_converted;
    "fault R8" "a damaged blob is an error, never content, and is healed by another push" => damage_is_never_served;
}

async fn manifests_are_exact(trial: Trial) {
    let config = trial.push_empty().await;
    // Spaces, order and escapes that no serializer would produce.
    let bytes =
        format!("{{ \"layers\" : [ ],\n\t\"config\":{config}, \"schemaVersion\":2, \"x\":\"\\u00e4/\\/\" }}\n\n");
    let manifest = StoredManifest {
        digest: entrepot_oci::Algorithm::Sha256.digest(bytes.as_bytes()),
        media_type: MediaType::OCI_MANIFEST.parse().unwrap(),
        bytes: bytes.into(),
    };
    trial.push_manifest("1", &manifest).await;
    for reference in ["1", manifest.digest.as_str()] {
        trial.get(&format!("manifests/{reference}")).await.expect(200).is(&manifest.bytes);
    }
}

async fn manifests_come_with_their_digest(trial: Trial) {
    let image = trial.pushed("1").await;
    let digest = &image.manifest.digest;
    let by_tag = trial.get("manifests/1").await;
    by_tag.expect(200).has("docker-content-digest", digest.as_str()).has("etag", format!("\"{digest}\""));
    by_tag.has("cache-control", "no-cache");
    let by_digest = trial.get(&format!("manifests/{digest}")).await;
    by_digest.expect(200).has("docker-content-digest", digest.as_str()).has("etag", format!("\"{digest}\""));
    by_digest.has("cache-control", "max-age=31536000, immutable");
}

async fn digests_echo_the_algorithm(trial: Trial) {
    let image = trial.pushed("short").await;
    let long = sha512(&image.manifest.bytes);
    trial
        .put_manifest(format!("{long}?tag=long"), &image.manifest)
        .await
        .expect(201)
        .has("docker-content-digest", long.as_str());
    let rows = [
        (long.as_str(), long.as_str()),
        ("long", long.as_str()),
        ("short", image.manifest.digest.as_str()),
        (image.manifest.digest.as_str(), image.manifest.digest.as_str()),
    ];
    for (reference, digest) in rows {
        let path = format!("manifests/{reference}");
        trial.get(&path).await.expect(200).has("docker-content-digest", digest).is(&image.manifest.bytes);
        trial.head(&path).await.expect(200).has("docker-content-digest", digest);
    }
}

async fn types_are_kept_bare(trial: Trial) {
    let image = trial.pushed("first").await;
    let put = trial.put("manifests/1").header("content-type", format!("{}; charset=utf-8", MediaType::OCI_MANIFEST));
    put.body(image.manifest.bytes.clone()).await.expect(201);
    trial.get("manifests/1").await.expect(200).has("content-type", MediaType::OCI_MANIFEST);
    trial.head("manifests/1").await.expect(200).has("content-type", MediaType::OCI_MANIFEST);
}

async fn unknown_manifests(trial: Trial) {
    let digest = trial.image(1).manifest.digest;
    trial.get("manifests/1").await.refused(404, "NAME_UNKNOWN");
    trial.get(&format!("manifests/{digest}")).await.refused(404, "NAME_UNKNOWN");
    trial.start().await;
    trial.get("manifests/1").await.refused(404, "MANIFEST_UNKNOWN");
    trial.get(&format!("manifests/{digest}")).await.refused(404, "MANIFEST_UNKNOWN");
}

async fn blobs_are_whole(trial: Trial) {
    let (blob, unknown) = (trial.blob(1, 300_000), trial.blob(2, 10));
    trial.push_blob(&blob).await;
    let answer = trial.get(&format!("blobs/{}", blob.digest)).await;
    answer.expect(200).is(&blob.bytes).has("content-length", "300000").has("accept-ranges", "bytes");
    answer.has("content-type", "application/octet-stream").has("etag", format!("\"{}\"", blob.digest));
    answer.has("cache-control", "max-age=31536000, immutable");
    trial.get(&format!("blobs/{}", unknown.digest)).await.refused(404, "BLOB_UNKNOWN");
}

async fn blobs_come_with_their_digest(trial: Trial) {
    let blob = trial.blob(1, 100);
    let long = sha512(&blob.bytes);
    trial.push_blob(&blob).await;
    trial.put(&closing(&trial.start().await, &long)).body(blob.bytes.clone()).await.expect(201);
    trial.holds_blob(&blob.digest, &blob.bytes).await;
    trial.holds_blob(&long, &blob.bytes).await;
}

async fn blobs_have_parts(trial: Trial) {
    let blob = trial.blob(1, 2048);
    trial.push_blob(&blob).await;
    let answer = trial.get(&format!("blobs/{}", blob.digest)).header("range", "bytes=500-1499").await;
    answer.expect(206).has("content-range", "bytes 500-1499/2048").has("content-length", "1000");
    answer.has("docker-content-digest", blob.digest.as_str()).is(blob.bytes.slice(500..1500));
}

async fn head_finds(trial: Trial) {
    let image = trial.pushed("1").await;
    let unknown = trial.image(1);
    trial.head("manifests/1").await.expect(200);
    trial.head(&format!("manifests/{}", image.manifest.digest)).await.expect(200);
    trial.head(&format!("blobs/{}", image.config.digest)).await.expect(200);
    trial.head("manifests/2").await.expect(404);
    trial.head(&format!("manifests/{}", unknown.manifest.digest)).await.expect(404);
    trial.head(&format!("blobs/{}", unknown.config.digest)).await.expect(404);
    // A manifest is no blob, and a blob no manifest.
    trial.head(&format!("blobs/{}", image.manifest.digest)).await.expect(404);
    trial.head(&format!("manifests/{}", image.config.digest)).await.expect(404);
}

async fn head_tells_digest_and_length(trial: Trial) {
    let image = trial.pushed("1").await;
    for reference in ["1", image.manifest.digest.as_str()] {
        let head = trial.head(&format!("manifests/{reference}")).await;
        head.expect(200).has("docker-content-digest", image.manifest.digest.as_str());
        head.has("content-length", image.manifest.bytes.len().to_string());
        head.has("content-type", image.manifest.media_type.as_str());
    }
    let layer = &image.layers[0];
    let head = trial.head(&format!("blobs/{}", layer.digest)).await;
    head.expect(200).has("docker-content-digest", layer.digest.as_str()).has("content-length", "1000");
}

async fn content_belongs_to_its_repository(trial: Trial) {
    let image = trial.pushed("1").await;
    let other = trial.beside("other");
    other.start().await;
    for blob in image.blobs() {
        other.holds_no_blob(&blob.digest).await;
    }
    other.holds_no_manifest("1").await;
    other.holds_no_manifest(&image.manifest.digest).await;
    other.put_manifest("1", &image.manifest).await.refused(400, "MANIFEST_BLOB_UNKNOWN");
    other.delete(&format!("blobs/{}", image.config.digest)).await.refused(404, "BLOB_UNKNOWN");
    other.delete(&format!("manifests/{}", image.manifest.digest)).await.refused(404, "MANIFEST_UNKNOWN");
    trial.get("manifests/1").await.expect(200);
}

async fn nothing_is_converted(trial: Trial) {
    let image = trial.pushed("image").await;
    let list =
        json!({ "schemaVersion": 2, "mediaType": MediaType::DOCKER_LIST, "manifests": [image.manifest.descriptor()] });
    let list = StoredManifest::new(MediaType::DOCKER_LIST, &list);
    trial.push_manifest("list", &list).await;
    let accepted: [&[&str]; 5] = [
        &[],
        &["*/*"],
        &[MediaType::DOCKER_MANIFEST],
        &["text/html;q=0.5, application/json"],
        &[MediaType::OCI_INDEX, MediaType::DOCKER_MANIFEST],
    ];
    for (reference, manifest) in [("image", &image.manifest), ("list", &list), (list.digest.as_str(), &list)] {
        for accepted in accepted {
            let ask = trial.get(&format!("manifests/{reference}"));
            let answer = accepted.iter().fold(ask, |ask, accepted| ask.header("accept", accepted)).await;
            answer.expect(200).has("content-type", manifest.media_type.as_str()).is(&manifest.bytes);
        }
    }
}

/// Ways in which a disk may lose the bytes of a blob.
type Damage = fn(&PathBuf);

async fn damage_is_never_served(trial: Trial) {
    // Whatever else is in the same run: files are what is damaged here.
    let running = Running::over_folders().await;
    let trial = trial.on(&running);
    let damages: [Damage; 4] = [
        |path| cut_to(path, 0),
        |path| cut_to(path, 999),
        |path| cut_to(path, 1001),
        |path| fs::remove_file(path).unwrap(),
    ];
    let blob = trial.blob(1, 1000);
    for damage in damages {
        trial.push_blob(&blob).await;
        trial.holds_blob(&blob.digest, &blob.bytes).await;
        damage(&data_file(&trial, &blob.digest));
        let path = format!("blobs/{}", blob.digest);
        for answer in
            [trial.get(&path).await, trial.head(&path).await, trial.get(&path).header("range", "bytes=0-9").await]
        {
            answer.must(answer.status >= 500, "damage is an error");
        }
        // Nobody is told that it is there, and nobody is given it.
        trial
            .beside("other")
            .post(&format!("blobs/uploads/?mount={}&from={}", blob.digest, trial.name))
            .await
            .expect(202);
        trial.post(&format!("blobs/uploads/?digest={}", blob.digest)).body(blob.bytes.clone()).await.expect(201);
        trial.holds_blob(&blob.digest, &blob.bytes).await;
    }
    // A manifest that is not damaged is still answered.
    let config = trial.push_empty().await;
    let manifest = image_manifest(&json!({ "schemaVersion": 2, "config": config, "layers": [] }));
    trial.push_manifest("1", &manifest).await;
    trial.get("manifests/1").await.expect(200).is(Bytes::clone(&manifest.bytes));
}

fn cut_to(path: &PathBuf, size: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(size).unwrap();
}

fn data_file(trial: &Trial, digest: &Digest) -> PathBuf {
    let blobs = trial.folder.join("registry/docker/registry/v2/blobs");
    blobs.join(digest.algorithm().as_str()).join(&digest.hex()[..2]).join(digest.hex()).join("data")
}
