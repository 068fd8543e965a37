//! What comes through: manifests and blobs, cold, warm, and while the upstream is away.

use entrepot_testkit::{Blob, Image, Seen, artifact, index};
use reqwest::StatusCode;
use serde_json::Value;

use super::{NAME, Port, REPOSITORY, header};

#[tokio::test]
async fn an_image_comes_through_exactly_and_stays() {
    let (port, image) = Port::confirming(&[300_000, 10]).await;
    let response = port.manifest("1").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "docker-content-digest"), image.manifest.digest.as_str());
    assert_eq!(header(&response, "content-type"), image.manifest.media_type.as_str());
    assert_eq!(response.bytes().await.unwrap(), image.manifest.bytes);
    for blob in image.blobs() {
        assert_eq!(port.blob(&blob.digest).await, blob.bytes);
    }
    port.upstream.forget_requests();
    // Warm: by digest nothing is asked, by tag one HEAD.
    for blob in image.blobs() {
        assert_eq!(port.blob(&blob.digest).await, blob.bytes);
        assert_eq!(port.head(port.blob_url(&blob.digest)).await.status(), StatusCode::OK);
    }
    assert_eq!(port.manifest(image.manifest.digest.as_str()).await.status(), StatusCode::OK);
    let requests = port.upstream.requests();
    assert!(requests.is_empty(), "{requests:?}");
    assert_eq!(port.manifest("1").await.bytes().await.unwrap(), image.manifest.bytes);
    let requests = port.upstream.requests();
    assert!(matches!(requests.as_slice(), [head] if head.is_head() && head.is_manifest()), "{requests:?}");
}

#[tokio::test]
async fn everything_cached_is_served_while_the_upstream_is_away_and_after_a_restart() {
    let (mut port, image) = Port::confirming(&[100_000]).await;
    port.manifest("1").await;
    port.blob(&image.layers[0].digest).await;
    // A client has the last byte as soon as it is verified, a moment before the blob is durable.
    port.leftovers().await;
    port.upstream.stop().await;
    for _ in 0..2 {
        let response = port.manifest("1").await;
        assert_eq!(response.status(), StatusCode::OK);
        let warning = header(&response, "warning").to_owned();
        assert!(warning.starts_with("299 - \"stale") && warning.contains(NAME), "{warning}");
        assert_eq!(response.bytes().await.unwrap(), image.manifest.bytes);
        assert_eq!(port.blob(&image.layers[0].digest).await, image.layers[0].bytes);
        let tags = port.get(port.tags_url()).await;
        assert!(header(&tags, "warning").starts_with("299 - \"stale"), "{tags:?}");
        let tags: Value = serde_json::from_slice(&tags.bytes().await.unwrap()).unwrap();
        assert_eq!(tags["tags"], serde_json::json!(["1"]));
        // What was never fetched is an outage, not an absence: 503 once so many questions have failed that no more are asked.
        for missing in [port.blob_url(&image.config.digest), port.manifest_url("2")] {
            let status = port.get(missing).await.status();
            assert!(matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE), "{status}");
        }
        port.registry.restart().await;
    }
}

#[tokio::test]
async fn a_moved_tag_is_followed_and_a_deleted_one_is_kept_with_a_warning() {
    let (port, first) = Port::confirming(&[10]).await;
    port.manifest("1").await;
    let second = Image::new(8, &[20]);
    second.load_into(&port.upstream, REPOSITORY, "1");
    assert_eq!(port.manifest("1").await.bytes().await.unwrap(), second.manifest.bytes);
    port.upstream.remove_tag(REPOSITORY, "1");
    let response = port.manifest("1").await;
    assert!(header(&response, "warning").contains("no longer has this tag"));
    assert_eq!(response.bytes().await.unwrap(), second.manifest.bytes);
    assert_eq!(port.manifest(first.manifest.digest.as_str()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_hundred_clients_that_ask_for_a_tag_cause_one_head_and_one_get() {
    let (port, image) = Port::with_image(&[10]).await;
    let gate = entrepot_testkit::Gate::new();
    let held = gate.clone();
    port.upstream.when(|seen| seen.is_head() && seen.is_manifest()).reply(move |honest| honest.silent(&held));
    let clients = futures_util::future::join_all((0..100).map(|_| port.manifest("1")));
    let opening = async {
        gate.reached_by(1).await;
        gate.open();
    };
    let (responses, ()) = tokio::join!(clients, opening);
    for response in responses {
        assert_eq!(response.bytes().await.unwrap(), image.manifest.bytes);
    }
    // Also those that came after the flight had landed.
    assert_eq!(port.upstream.count(|seen| seen.is_head() && seen.is_manifest()), 1);
    assert_eq!(port.upstream.count(|seen| seen.is_get() && seen.is_manifest()), 1);
}

#[tokio::test]
async fn indexes_are_exact_and_their_children_are_fetched_when_they_are_asked_for() {
    let port = Port::open().await;
    let (amd64, arm64) = (Image::new(1, &[10]), Image::new(2, &[10]));
    let index = index(&[("amd64", &amd64.manifest), ("arm64", &arm64.manifest)]);
    index.load_into(&port.upstream, REPOSITORY);
    port.upstream.put_tag(REPOSITORY, "multi", &index.digest);
    amd64.load_into(&port.upstream, REPOSITORY, "amd64");
    arm64.load_into(&port.upstream, REPOSITORY, "arm64");
    assert_eq!(port.manifest("multi").await.bytes().await.unwrap(), index.bytes);
    let asked_for_child = |seen: &Seen| seen.path.contains(amd64.manifest.digest.hex());
    assert_eq!(port.upstream.count(asked_for_child), 0);
    let child = port.manifest(amd64.manifest.digest.as_str()).await;
    assert_eq!(child.bytes().await.unwrap(), amd64.manifest.bytes);
}

#[tokio::test]
async fn the_size_of_a_cold_blob_comes_from_its_manifest() {
    let (port, image) = Port::with_image(&[12_345]).await;
    port.manifest("1").await;
    let response = port.head(port.blob_url(&image.layers[0].digest)).await;
    assert_eq!((response.status(), header(&response, "content-length")), (StatusCode::OK, "12345"));
    assert_eq!(port.upstream.count(Seen::is_blob), 0);
    // One that no manifest names is asked for.
    let other = Blob::random(99, 77);
    port.upstream.put_blob(REPOSITORY, other.bytes.clone());
    let response = port.head(port.blob_url(&other.digest)).await;
    assert_eq!((response.status(), header(&response, "content-length")), (StatusCode::OK, "77"));
}

#[tokio::test]
async fn tags_and_referrers_are_those_of_the_upstream() {
    let (port, image) = Port::with_image(&[10]).await;
    let (signature, blobs) = artifact(3, "application/vnd.test.signature", &image.manifest);
    for blob in blobs {
        port.upstream.put_blob(REPOSITORY, blob.bytes);
    }
    signature.load_into(&port.upstream, REPOSITORY);
    port.upstream.put_tag(REPOSITORY, "0.9", &image.manifest.digest);
    let tags = port.get(format!("{}?n=1", port.tags_url())).await;
    assert!(header(&tags, "link").contains("last=0.9"), "{tags:?}");
    let tags: Value = serde_json::from_slice(&tags.bytes().await.unwrap()).unwrap();
    assert_eq!(tags, serde_json::json!({ "name": format!("proxy/{NAME}/{REPOSITORY}"), "tags": ["0.9"] }));
    let referrers_url =
        port.registry.url(&format!("/v2/proxy/{NAME}/{REPOSITORY}/referrers/{}", image.manifest.digest));
    let referrers = port.get(referrers_url.clone()).await;
    let referrers: Value = serde_json::from_slice(&referrers.bytes().await.unwrap()).unwrap();
    assert_eq!(referrers["manifests"][0]["digest"], signature.digest.as_str());
    let none = port.get(format!("{referrers_url}?artifactType=other/type")).await;
    assert_eq!(header(&none, "oci-filters-applied"), "artifactType");
    let none: Value = serde_json::from_slice(&none.bytes().await.unwrap()).unwrap();
    assert_eq!(none["manifests"], serde_json::json!([]));
    // "No signatures" must not be a lie: what was listed a moment ago still is, and nothing is said of what was not.
    port.upstream.stop().await;
    assert_eq!(port.get(referrers_url).await.status(), StatusCode::OK);
    let other = format!("/v2/proxy/{NAME}/{REPOSITORY}/referrers/{}", signature.digest);
    assert_eq!(port.get(port.registry.url(&other)).await.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_cached_layer_is_mounted_into_an_own_image_and_survives_the_cache() {
    let (port, image) = Port::with_image(&[50_000]).await;
    port.manifest("1").await;
    let layer = &image.layers[0];
    let mount = |from: String| port.registry.url(&format!("/v2/own/app/blobs/uploads/?mount={}{from}", layer.digest));
    let ask = |url: String| port.registry.client.post(url).send();
    // Not here yet: the client has to upload.
    let from = format!("&from=proxy/{NAME}/{REPOSITORY}");
    assert_eq!(ask(mount(from.clone())).await.unwrap().status(), StatusCode::ACCEPTED);
    port.blob(&layer.digest).await;
    // A client may have the last byte a moment before the cache has its row.
    port.leftovers().await;
    assert_eq!(ask(mount(from)).await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(ask(mount(String::new())).await.unwrap().status(), StatusCode::CREATED);
    std::fs::remove_dir_all(port.registry.folder().join("proxy/docker")).unwrap();
    let own = port.get(port.registry.url(&format!("/v2/own/app/blobs/{}", layer.digest))).await;
    assert_eq!(own.bytes().await.unwrap(), layer.bytes);
}

#[tokio::test]
async fn a_layer_that_was_pushed_here_is_not_fetched_again() {
    let (port, image) = Port::with_image(&[50_000]).await;
    let layer = &image.layers[0];
    let push = port.registry.url(&format!("/v2/own/app/blobs/uploads/?digest={}", layer.digest));
    let pushed = port.registry.client.post(push).body(layer.bytes.clone()).send().await.unwrap();
    assert_eq!(pushed.status(), StatusCode::CREATED);
    port.manifest("1").await;
    assert_eq!(port.blob(&layer.digest).await, layer.bytes);
    assert_eq!(port.blob_gets(), 0);
}

#[tokio::test]
async fn a_damaged_cached_blob_is_fetched_again() {
    let (port, image) = Port::with_image(&[50_000]).await;
    port.manifest("1").await;
    let digest = &image.layers[0].digest;
    port.blob(digest).await;
    // A client may have the last byte a moment before the fill has ended, and the fill must not be what is damaged.
    port.leftovers().await;
    let data = format!("proxy/docker/registry/v2/blobs/sha256/{}/{}/data", &digest.hex()[..2], digest.hex());
    let data = port.registry.folder().join(data);
    std::fs::write(&data, b"").unwrap();
    assert_eq!(port.blob(digest).await, image.layers[0].bytes);
    port.leftovers().await;
    std::fs::remove_file(&data).unwrap();
    assert_eq!(port.blob(digest).await, image.layers[0].bytes);
    assert_eq!(port.blob_gets(), 3);
}
