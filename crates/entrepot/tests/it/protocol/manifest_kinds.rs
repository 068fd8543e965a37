//! Manifests of every kind that is in use, and documents that two readers could read in two ways.

use entrepot_oci::MediaType;
use entrepot_testkit::{Blob, StoredManifest, index};
use serde_json::{Value, json};

use super::manifest_push::refused;
use super::trial::{LAYER, Trial, descriptor, image_manifest};

rules! {
    "W10" "an image may have no layers, unknown types, further fields and data" => odd_images;
    "W10" "an index may be empty, nested, and list artifacts" => odd_indexes;
    "W10" "an artifact manifest is taken and served" => artifact_manifests;
    "W10" "Docker's image and list are taken beside those of OCI" => docker_manifests;
    "W9" "layers that may not be distributed need not be pushed" => layers_from_elsewhere;
    "W9" "an index may list blobs, as build caches do" => blobs_as_children;
    "W9" "content of an unknown algorithm cannot be here, and needs urls" => foreign_algorithms;
    "threat D7" "a document that has the fields of two kinds is refused" => confusing_documents;
    "threat D7" "a field that stands twice is refused" => duplicate_fields;
    "threat D4" "nesting without end is refused and costs nothing" => nested_documents;
}

/// Pushes a manifest by tag and by digest, and pulls it again.
async fn taken(trial: &Trial, manifest: &StoredManifest) {
    for reference in ["1", manifest.digest.as_str()] {
        trial.push_manifest(reference, manifest).await;
        let pulled = trial.get(&format!("manifests/{reference}")).await;
        pulled.expect(200).has("content-type", manifest.media_type.as_str()).is(&manifest.bytes);
    }
}

async fn odd_images(trial: Trial) {
    let empty = trial.push_empty().await;
    let blob = trial.blob(1, 10);
    trial.push_blob(&blob).await;
    let mut with_data = empty.clone();
    with_data["data"] = json!("e30=");
    let mut odd_config = empty.clone();
    odd_config["mediaType"] = json!("application/vnd.example.anything+json");
    let mut odd_layer = descriptor("application/vnd.example.anything", &blob);
    odd_layer["org.example.extra"] = json!({ "nested": [1, 2, { "x": null }] });
    odd_layer["annotations"] = json!({ "org.opencontainers.image.title": "Ünïcode \"\\\u{1}" });
    let documents = [
        json!({ "schemaVersion": 2, "config": empty, "layers": [] }),
        json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": with_data, "layers": [with_data] }),
        json!({ "schemaVersion": 2, "artifactType": "application/vnd.example", "config": odd_config, "layers": [odd_layer] }),
        json!({ "schemaVersion": 2, "config": empty, "layers": [empty, empty], "extra": [[]], "annotations": {} }),
        json!({ "schemaVersion": 2, "config": empty, "layers": null, "subject": null, "annotations": null }),
        json!({ "schemaVersion": 2, "config": empty }),
    ];
    for document in &documents {
        taken(&trial, &image_manifest(document)).await;
    }
}

async fn odd_indexes(trial: Trial) {
    let oci_index = |document: Value| StoredManifest::new(MediaType::OCI_INDEX, &document);
    let nothing = oci_index(json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [] }));
    taken(&trial, &nothing).await;
    let image = trial.pushed("image").await;
    let inner = index(&[("amd64", &image.manifest)]);
    taken(&trial, &inner).await;
    let outer = json!({
        "schemaVersion": 2,
        "artifactType": "application/vnd.example.index",
        "manifests": [inner.descriptor(), nothing.descriptor(), image.manifest.descriptor()],
        "annotations": { "a": "b" },
        "extra": true,
    });
    taken(&trial, &oci_index(outer)).await;
}

async fn artifact_manifests(trial: Trial) {
    let blob = trial.blob(1, 10);
    trial.push_blob(&blob).await;
    let subject = trial.image(1).manifest.descriptor();
    let document = json!({
        "mediaType": MediaType::OCI_ARTIFACT,
        "artifactType": "application/vnd.example",
        "blobs": [descriptor("text/plain", &blob)],
        "subject": subject,
    });
    let manifest = StoredManifest::new(MediaType::OCI_ARTIFACT, &document);
    taken(&trial, &manifest).await;
    let absent =
        json!({ "mediaType": MediaType::OCI_ARTIFACT, "blobs": [descriptor("text/plain", &trial.blob(2, 10))] });
    let absent = StoredManifest::new(MediaType::OCI_ARTIFACT, &absent);
    trial.put_manifest("2", &absent).await.refused(400, "MANIFEST_BLOB_UNKNOWN");
    trial.holds_no_manifest("2").await;
}

async fn docker_manifests(trial: Trial) {
    let config = trial.push_empty().await;
    let image = json!({ "schemaVersion": 2, "mediaType": MediaType::DOCKER_MANIFEST, "config": config, "layers": [] });
    let image = StoredManifest::new(MediaType::DOCKER_MANIFEST, &image);
    taken(&trial, &image).await;
    let list = json!({ "schemaVersion": 2, "mediaType": MediaType::DOCKER_LIST, "manifests": [image.descriptor()] });
    taken(&trial, &StoredManifest::new(MediaType::DOCKER_LIST, &list)).await;
}

async fn layers_from_elsewhere(trial: Trial) {
    let config = trial.push_empty().await;
    let absent = trial.blob(1, 10);
    for media_type in [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        let document = json!({ "schemaVersion": 2, "config": config, "layers": [descriptor(media_type, &absent)] });
        taken(&trial, &image_manifest(&document)).await;
    }
    let mut elsewhere = descriptor(LAYER, &absent);
    elsewhere["urls"] = json!(["http://127.0.0.1:1/never-fetched"]);
    taken(&trial, &image_manifest(&json!({ "schemaVersion": 2, "config": config, "layers": [elsewhere] }))).await;
    trial.holds_no_blob(&absent.digest).await;
}

async fn blobs_as_children(trial: Trial) {
    let (layer, absent) = (trial.blob(1, 10), trial.blob(2, 10));
    trial.push_blob(&layer).await;
    let listing = |blob: &Blob| {
        let document = json!({ "schemaVersion": 2, "manifests": [descriptor(LAYER, blob)] });
        StoredManifest::new(MediaType::OCI_INDEX, &document)
    };
    taken(&trial, &listing(&layer)).await;
    trial.put_manifest("2", &listing(&absent)).await.refused(400, "MANIFEST_BLOB_UNKNOWN");
    trial.holds_no_manifest("2").await;
}

async fn foreign_algorithms(trial: Trial) {
    let config = trial.push_empty().await;
    let foreign = format!("blake3:{}", "a".repeat(64));
    let mut layer = json!({ "mediaType": LAYER, "digest": foreign, "size": 10 });
    let document = |layer: &Value| image_manifest(&json!({ "schemaVersion": 2, "config": config, "layers": [layer] }));
    let answer = trial.put_manifest("1", &document(&layer)).await;
    answer.refused(400, "MANIFEST_BLOB_UNKNOWN");
    trial.holds_no_manifest("1").await;
    layer["urls"] = json!(["https://example.org/layer"]);
    taken(&trial, &document(&layer)).await;
    layer["digest"] = json!("sha256:short");
    let malformed = String::from_utf8(document(&layer).bytes.to_vec()).unwrap();
    refused(&trial, Some(MediaType::OCI_MANIFEST), &malformed).await;
}

async fn confusing_documents(trial: Trial) {
    let config = trial.push_empty().await;
    let entry = trial.pushed("image").await.manifest.descriptor();
    let both = json!({ "schemaVersion": 2, "config": config, "layers": [config], "manifests": [entry] });
    for media_type in
        [MediaType::OCI_MANIFEST, MediaType::OCI_INDEX, MediaType::DOCKER_MANIFEST, MediaType::DOCKER_LIST]
    {
        refused(&trial, Some(media_type), &both.to_string()).await;
    }
    let rows = [
        (MediaType::OCI_MANIFEST, json!({ "schemaVersion": 2, "config": config, "layers": [], "manifests": [] })),
        (MediaType::OCI_INDEX, json!({ "schemaVersion": 2, "manifests": [], "layers": [] })),
        (MediaType::OCI_INDEX, json!({ "schemaVersion": 2, "manifests": [], "config": config })),
        (MediaType::OCI_INDEX, json!({ "schemaVersion": 2, "manifests": [], "fsLayers": [] })),
        (MediaType::OCI_ARTIFACT, json!({ "blobs": [], "layers": [] })),
        (MediaType::OCI_MANIFEST, json!({ "schemaVersion": "2", "config": config, "layers": [] })),
        (MediaType::OCI_MANIFEST, json!({ "schemaVersion": 2, "config": [config], "layers": [] })),
        (MediaType::OCI_MANIFEST, json!({ "schemaVersion": 2, "config": config, "layers": {} })),
    ];
    for (media_type, document) in rows {
        refused(&trial, Some(media_type), &document.to_string()).await;
    }
}

async fn duplicate_fields(trial: Trial) {
    let config = trial.push_empty().await.to_string();
    let media_type = MediaType::OCI_MANIFEST;
    let bodies = [
        format!(r#"{{"schemaVersion":2,"schemaVersion":2,"config":{config},"layers":[]}}"#),
        format!(r#"{{"schemaVersion":2,"config":{config},"config":{config},"layers":[]}}"#),
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"layers":[{config}]}}"#),
        format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","mediaType":"{media_type}","config":{config}}}"#),
        format!(r#"{{"schemaVersion":2,"config":{config},"\u0063onfig":{config},"layers":[]}}"#),
        format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, config.replacen('{', r#"{"size":1,"#, 1)),
    ];
    for body in &bodies {
        refused(&trial, Some(media_type), body).await;
    }
}

async fn nested_documents(trial: Trial) {
    let empty = trial.push_empty().await;
    let deep = 1_000_000;
    let bodies = [
        format!("{}{}", "[".repeat(deep), "]".repeat(deep)),
        format!(r#"{{"schemaVersion":2,"annotations":{}"#, "{\"a\":".repeat(deep / 2)),
        format!(r#"{{"schemaVersion":2,"config":{}"#, "[".repeat(deep)),
    ];
    for body in &bodies {
        refused(&trial, Some(MediaType::OCI_MANIFEST), body).await;
    }
    // What is not looked at may nest: it is stored, and nobody parses it.
    let body =
        format!(r#"{{"schemaVersion":2,"config":{empty},"layers":[],"x":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    trial.put("manifests/1").header("content-type", MediaType::OCI_MANIFEST).body(body.clone()).await.expect(201);
    trial.get("manifests/1").await.expect(200).is(&body);
}
