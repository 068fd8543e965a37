//! Fetching in advance.

use entrepot_oci::MediaType;
use entrepot_registry::{Platform, WarmEvent};
use entrepot_testkit::{Gate, Image, Seen, StoredManifest, index};
use futures_util::StreamExt;
use serde_json::json;

use crate::cached::{Cached, reference_of, size_of};

const REPOSITORY: &str = "team/app";

async fn warm(cached: &Cached, reference: &str, platforms: Vec<Platform>) -> Vec<WarmEvent> {
    let events = cached.repository(REPOSITORY).warm(reference_of(reference), platforms).collect().await;
    cached.registry.fills_ended().await;
    events
}

fn linux(architecture: &str, variant: Option<&str>) -> Platform {
    Platform { os: "linux".into(), architecture: architecture.into(), variant: variant.map(str::to_owned) }
}

fn failures(events: &[WarmEvent]) -> Vec<&WarmEvent> {
    events.iter().filter(|event| matches!(event, WarmEvent::Failed { .. })).collect()
}

/// An upstream with an index of two images and an attestation.
async fn with_index() -> (Cached, [Image; 2], Image) {
    let cached = Cached::unlimited().await;
    let images = [Image::new(1, &[10_000, 20_000]), Image::new(2, &[30_000])];
    let attestation = Image::new(3, &[100]);
    for image in images.iter().chain([&attestation]) {
        image.load_into(&cached.upstream, REPOSITORY, "unused");
    }
    let plain = index(&[("amd64", &images[0].manifest), ("arm64", &images[1].manifest)]);
    let mut document: serde_json::Value = serde_json::from_slice(&plain.bytes).unwrap();
    let mut entry = attestation.manifest.descriptor();
    entry["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    document["manifests"].as_array_mut().unwrap().push(entry);
    let whole = StoredManifest::new(MediaType::OCI_INDEX, &document);
    whole.load_into(&cached.upstream, REPOSITORY);
    cached.upstream.put_tag(REPOSITORY, "1", &whole.digest);
    (cached, images, attestation)
}

#[tokio::test]
async fn an_index_is_fetched_with_everything_in_it_and_needs_no_upstream_then() {
    let (cached, images, attestation) = with_index().await;
    let events = warm(&cached, "1", Vec::new()).await;
    assert!(failures(&events).is_empty(), "{events:?}");
    let bytes = images.iter().chain([&attestation]).map(size_of).sum();
    assert_eq!(events.last(), Some(&WarmEvent::Done { manifests: 4, blobs: 7, bytes, failures: 0 }));
    assert_eq!(cached.bytes().await, bytes);
    cached.upstream.stop().await;
    for image in images.iter().chain([&attestation]) {
        cached.pull(REPOSITORY, image.manifest.digest.as_str()).await;
    }
    // A second time finds everything in its place.
    let again = cached.repository(REPOSITORY).warm(reference_of(images[0].manifest.digest.as_str()), Vec::new());
    let done = WarmEvent::Done { manifests: 1, blobs: 3, bytes: size_of(&images[0]), failures: 0 };
    assert_eq!(again.collect::<Vec<_>>().await.last(), Some(&done));
}

#[tokio::test]
async fn only_the_wanted_platforms_are_fetched() {
    let (cached, images, _) = with_index().await;
    let events = warm(&cached, "1", vec![linux("arm64", Some("v8"))]).await;
    let bytes = size_of(&images[1]);
    assert_eq!(events.last(), Some(&WarmEvent::Done { manifests: 2, blobs: 2, bytes, failures: 0 }));
    assert_eq!(cached.bytes().await, bytes);
    let events = warm(&cached, "1", vec![linux("riscv64", None)]).await;
    let reason = "nothing in the index is for linux/riscv64".to_owned();
    assert_eq!(failures(&events), [&WarmEvent::Failed { subject: "1".into(), reason }]);
}

#[tokio::test]
async fn an_index_within_an_index_is_followed_and_foreign_layers_are_left_out() {
    let cached = Cached::unlimited().await;
    let image = Image::new(1, &[10_000]);
    image.load_into(&cached.upstream, REPOSITORY, "unused");
    let mut document: serde_json::Value = serde_json::from_slice(&image.manifest.bytes).unwrap();
    let mut foreign = document["layers"][0].clone();
    foreign["digest"] = json!(format!("sha256:{:064x}", 7));
    foreign["urls"] = json!(["https://elsewhere.example/layer"]);
    document["layers"].as_array_mut().unwrap().push(foreign);
    let manifest = StoredManifest::new(MediaType::OCI_MANIFEST, &document);
    let inner = index(&[("amd64", &manifest)]);
    let outer = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [inner.descriptor()] });
    let outer = StoredManifest::new(MediaType::OCI_INDEX, &outer);
    for manifest in [&manifest, &inner, &outer] {
        manifest.load_into(&cached.upstream, REPOSITORY);
    }
    cached.upstream.put_tag(REPOSITORY, "1", &outer.digest);
    let events = warm(&cached, "1", vec![linux("amd64", None)]).await;
    let done = WarmEvent::Done { manifests: 3, blobs: 2, bytes: size_of(&image), failures: 0 };
    assert_eq!(events.last(), Some(&done), "{events:?}");
}

#[tokio::test]
async fn what_fails_is_told_and_the_rest_goes_on() {
    let (cached, images, attestation) = with_index().await;
    let lost = &images[0].layers[0];
    cached.upstream.remove(REPOSITORY, &lost.digest);
    cached.upstream.remove(REPOSITORY, &attestation.manifest.digest);
    let events = warm(&cached, "1", Vec::new()).await;
    let mut subjects: Vec<_> = failures(&events)
        .into_iter()
        .map(|event| match event {
            WarmEvent::Failed { subject, reason } => {
                assert!(reason.contains("holds no"), "{reason}");
                subject.clone()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    subjects.sort();
    let mut expected = [lost.digest.to_string(), attestation.manifest.digest.to_string()];
    expected.sort();
    assert_eq!(subjects, expected);
    let bytes = images.iter().map(size_of).sum::<u64>() - lost.size();
    assert_eq!(events.last(), Some(&WarmEvent::Done { manifests: 3, blobs: 4, bytes, failures: 2 }));
}

#[tokio::test]
async fn progress_is_told_while_a_blob_arrives() {
    let cached = Cached::unlimited().await;
    let image = Image::new(1, &[5_000_000]);
    image.load_into(&cached.upstream, REPOSITORY, "1");
    let layer = &image.layers[0];
    let gate = Gate::new();
    let (stalled, path) = (gate.clone(), format!("/v2/{REPOSITORY}/blobs/{}", layer.digest));
    let rule = cached.upstream.when(move |seen: &Seen| seen.path == path).once();
    rule.reply(move |honest| honest.stall_after(3_000_000, &stalled));
    let mut events = cached.repository(REPOSITORY).warm(reference_of("1"), Vec::new());
    let mut received = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            WarmEvent::Blob { digest, received: now, size } if digest == layer.digest => {
                assert_eq!(size, layer.size());
                received.push(now);
                if now >= 2_000_000 {
                    gate.open();
                }
            }
            WarmEvent::Done { failures, .. } => assert_eq!(failures, 0),
            WarmEvent::Failed { .. } => panic!("{event:?}"),
            _ => {}
        }
    }
    assert!(received.is_sorted() && received.len() >= 3, "{received:?}");
    assert_eq!(received.last(), Some(&layer.size()));
    assert!(received.iter().any(|bytes| (1..layer.size()).contains(bytes)));
}

#[tokio::test]
async fn a_fill_that_breaks_off_is_a_failure_with_its_cause() {
    let cached = Cached::unlimited().await;
    let image = Image::new(1, &[10_000]);
    image.load_into(&cached.upstream, REPOSITORY, "1");
    let (layer, path) = (&image.layers[0], format!("/v2/{REPOSITORY}/blobs/{}", image.layers[0].digest));
    cached.upstream.when(move |seen: &Seen| seen.path == path).reply(entrepot_testkit::Reply::wrong_bytes);
    let events = warm(&cached, "1", Vec::new()).await;
    let failed = failures(&events);
    let WarmEvent::Failed { subject, reason } = failed[0] else { unreachable!() };
    assert_eq!(subject, layer.digest.as_str());
    assert!(!reason.is_empty());
    assert!(!cached.has_bytes(&layer.digest).await);
    let done = WarmEvent::Done { manifests: 1, blobs: 1, bytes: image.config.size(), failures: 1 };
    assert_eq!(events.last(), Some(&done));
}

#[tokio::test]
async fn a_hosted_repository_is_told_to_be_no_cache() {
    let cached = Cached::unlimited().await;
    let own = cached.registry.repository(&"team/app".parse().unwrap()).unwrap();
    let events: Vec<WarmEvent> = own.warm(reference_of("1"), Vec::new()).collect().await;
    assert!(matches!(&events[0], WarmEvent::Failed { reason, .. } if reason.contains("not a cached repository")));
    assert_eq!(events[1], WarmEvent::Done { manifests: 0, blobs: 0, bytes: 0, failures: 1 });
}
