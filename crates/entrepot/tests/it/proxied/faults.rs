//! Upstreams that lie, break and refuse: nothing wrong is ever kept, or delivered whole.

use entrepot_oci::MediaType;
use entrepot_testkit::{Blob, Gate, Reply, Seen};
use reqwest::StatusCode;
use serde_json::Value;

use super::{Port, REPOSITORY, header, receive};

const SIZE: usize = 300_000;

/// A lie about the bytes of a blob (C7, C8), by name.
type Lie = (&'static str, fn(Reply) -> Reply);

const LIES: &[Lie] = &[
    ("first byte flipped", |honest| honest.flip_byte(0)),
    ("middle byte flipped", |honest| honest.flip_byte(SIZE / 2)),
    ("last byte flipped", |honest| honest.flip_byte(SIZE - 1)),
    ("other bytes of the right size", Reply::wrong_bytes),
    ("one byte short", |honest| honest.short_by(1)),
    ("nothing at all", |honest| honest.with_body("")),
    ("longer than announced in the manifest", |honest| honest.followed_by(b"more")),
    ("longer, without a length", |honest| honest.followed_by(b"more").without_length()),
    ("short, without a length", |honest| honest.short_by(1).without_length()),
    ("cut at the first byte, always", |honest| honest.cut_after(0)),
    ("a web page", |_| Reply::page()),
    ("an encoding nobody asked for", |honest| honest.header("content-encoding", "gzip")),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lie_about_a_blob_is_kept_or_delivered_whole() {
    for (name, lie) in LIES {
        let (port, image) = Port::with_image(&[SIZE]).await;
        port.manifest("1").await;
        port.upstream.when(|seen| seen.is_get() && seen.is_blob()).reply(*lie);
        let layer = &image.layers[0];
        let response = port.get(port.blob_url(&layer.digest)).await;
        if response.status() == StatusCode::OK {
            assert_eq!(header(&response, "content-length"), SIZE.to_string(), "{name}");
            let (received, is_clean) = receive(response).await;
            assert!(!is_clean && received.len() < SIZE, "{name}: {} bytes, clean end: {is_clean}", received.len());
        } else {
            assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{name}");
        }
        assert_eq!(port.leftovers().await, 0, "{name}");
        // Nothing is there: a healed upstream is asked again, and right.
        port.upstream.heal();
        let before = port.blob_gets();
        assert_eq!(port.blob(&layer.digest).await, layer.bytes, "{name}");
        assert_eq!(port.blob_gets(), before + 1, "{name}");
    }
}

#[tokio::test]
async fn a_blob_of_unknown_size_without_a_length_is_delivered_after_it_was_verified() {
    let port = Port::open().await;
    let blob = Blob::random(5, SIZE);
    port.upstream.put_blob(REPOSITORY, blob.bytes.clone());
    port.upstream.when(Seen::is_blob).reply(Reply::without_length);
    let response = port.get(port.blob_url(&blob.digest)).await;
    assert_eq!(header(&response, "content-length"), SIZE.to_string());
    assert_eq!(response.bytes().await.unwrap(), blob.bytes);
}

#[tokio::test]
async fn no_lie_about_a_manifest_is_kept() {
    let lies: &[Lie] = &[
        ("other bytes", Reply::wrong_bytes),
        ("cut", |honest| honest.cut_after(10)),
        ("a web page", |_| Reply::page()),
        ("not a manifest", |honest| honest.with_body("{}")),
        ("200 MB", |honest| honest.with_body(vec![b' '; 8 * 1024 * 1024])),
    ];
    for (name, lie) in lies {
        let (port, image) = Port::with_image(&[10]).await;
        port.upstream.when(|seen| seen.is_get() && seen.is_manifest()).reply(*lie);
        // A HEAD that names no digest makes the GET by tag the only witness.
        port.upstream.when(|seen| seen.is_head() && seen.is_manifest()).reply(Reply::without_digest);
        for reference in ["1", image.manifest.digest.as_str()] {
            let response = port.manifest(reference).await;
            assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{name}, {reference}");
        }
        port.upstream.heal();
        port.upstream.stop().await;
        assert_eq!(port.manifest("1").await.status(), StatusCode::BAD_GATEWAY, "{name}: something was kept");
    }
}

#[tokio::test]
async fn a_digest_that_is_not_that_of_the_manifest_is_not_believed() {
    let (port, image) = Port::with_image(&[10]).await;
    port.upstream.when(Seen::is_manifest).reply(|honest| honest.announcing(&Blob::random(1, 1).digest));
    assert_eq!(port.manifest("1").await.status(), StatusCode::BAD_GATEWAY);
    // By digest the bytes themselves are the witness, and they are right.
    let response = port.manifest(image.manifest.digest.as_str()).await;
    assert_eq!(header(&response, "docker-content-digest"), image.manifest.digest.as_str());
    assert_eq!(response.bytes().await.unwrap(), image.manifest.bytes);
}

/// An image of Docker's schema 1, as old registries still have them.
fn schema1(honest: Reply) -> Reply {
    honest.with_body(r#"{"schemaVersion":1,"fsLayers":[]}"#).header("content-type", MediaType::DOCKER_SCHEMA1_SIGNED)
}

#[tokio::test]
async fn an_image_of_schema_1_is_refused_with_what_to_do() {
    let (port, _) = Port::with_image(&[10]).await;
    port.upstream.when(Seen::is_manifest).reply(schema1);
    let response = port.manifest("1").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let message = body["errors"][0]["message"].as_str().unwrap();
    for needle in [super::NAME, "schema 1", "too old", "have the image rebuilt"] {
        assert!(message.contains(needle), "{message}");
    }
}

#[tokio::test]
async fn what_an_upstream_refuses_with_is_told_as_what_it_means_to_our_client() {
    // C11: status of the upstream, ours, the code, and whether a time to come back is told.
    type Row = (fn(Reply) -> Reply, StatusCode, &'static str, &'static str);
    let rows: &[Row] = &[
        (|_| Reply::error(404, "MANIFEST_UNKNOWN", "no"), StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", ""),
        (
            |_| Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            "",
        ),
        (|_| Reply::error(403, "DENIED", "no"), StatusCode::NOT_FOUND, "NAME_UNKNOWN", ""),
        (|_| Reply::too_many_requests("7"), StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "7"),
        (|_| Reply::new(400), StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", ""),
        (schema1, StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", ""),
        (|_| Reply::new(451), StatusCode::FORBIDDEN, "DENIED", ""),
        (|_| Reply::new(500), StatusCode::BAD_GATEWAY, "UNAVAILABLE", ""),
        (|_| Reply::new(502), StatusCode::BAD_GATEWAY, "UNAVAILABLE", ""),
        (|_| Reply::new(503).header("retry-after", "9"), StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "9"),
        (|_| Reply::new(504), StatusCode::BAD_GATEWAY, "UNAVAILABLE", ""),
    ];
    for (number, (refusal, status, code, retry_after)) in rows.iter().enumerate() {
        let (port, image) = Port::with_image(&[10]).await;
        port.upstream.when(Seen::is_manifest).reply(*refusal);
        let response = port.manifest(image.manifest.digest.as_str()).await;
        assert_eq!((response.status(), header(&response, "retry-after")), (*status, *retry_after), "row {number}");
        assert_eq!(header(&response, "www-authenticate"), "", "row {number}: the upstream's challenge is not ours");
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(body["errors"][0]["code"], *code, "row {number}");
        let message = body["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(super::NAME) || *status == StatusCode::NOT_FOUND, "row {number}: {message}");
    }
}

#[tokio::test]
async fn clients_that_come_again_at_once_do_not_reach_an_upstream_in_trouble() {
    type Row = (fn(Reply) -> Reply, usize, StatusCode, &'static str);
    let rows: &[Row] = &[
        (|_| Reply::too_many_requests("7"), 1, StatusCode::TOO_MANY_REQUESTS, "7"),
        (|_| Reply::new(500), 5, StatusCode::SERVICE_UNAVAILABLE, "3"),
    ];
    for (number, (refusal, questions, status, retry_after)) in rows.iter().enumerate() {
        let (port, image) = Port::with_image(&[10]).await;
        port.upstream.when(|_| true).reply(*refusal);
        for _ in 0..*questions {
            port.manifest(image.manifest.digest.as_str()).await;
        }
        for _ in 0..5 {
            let response = port.manifest(image.manifest.digest.as_str()).await;
            assert_eq!((response.status(), header(&response, "retry-after")), (*status, *retry_after), "row {number}");
            let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            let message = body["errors"][0]["message"].as_str().unwrap();
            assert!(message.contains(super::NAME) && message.contains("not asked"), "row {number}: {message}");
        }
        assert_eq!(port.upstream.requests().len(), *questions, "row {number}");
    }
}

#[tokio::test]
async fn whatever_the_upstream_does_a_cached_tag_is_answered() {
    let failures: &[Lie] = &[
        ("401", |_| Reply::new(401).header("www-authenticate", "Basic realm=\"x\"")),
        ("403", |_| Reply::new(403)),
        ("404", |_| Reply::new(404)),
        ("408", |_| Reply::new(408)),
        ("429", |_| Reply::too_many_requests("1")),
        ("500", |_| Reply::new(500)),
        ("503", |_| Reply::new(503)),
    ];
    for (name, failure) in failures {
        let (port, image) = Port::confirming(&[10]).await;
        port.manifest("1").await;
        port.upstream.when(Seen::is_manifest).reply(*failure);
        let response = port.manifest("1").await;
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        assert!(header(&response, "warning").starts_with("299 - \"stale"), "{name}");
        assert_eq!(response.bytes().await.unwrap(), image.manifest.bytes, "{name}");
    }
}

#[tokio::test]
async fn a_silent_upstream_is_given_up_and_the_cache_answers() {
    let (port, image) = Port::confirming(&[10]).await;
    port.manifest("1").await;
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(|_| true).reply(move |honest| honest.silent(&held));
    let response = port.manifest("1").await;
    assert!(header(&response, "warning").contains("has not answered yet"), "{response:?}");
    assert_eq!(response.bytes().await.unwrap(), image.manifest.bytes);
    assert_eq!(port.manifest("2").await.status(), StatusCode::GATEWAY_TIMEOUT);
    gate.open();
}

#[tokio::test]
async fn the_first_question_for_a_blob_is_repeated_only_where_that_may_help() {
    type Row = (&'static str, fn(Reply) -> Reply, StatusCode, usize);
    let rows: &[Row] = &[
        ("429", |_| Reply::too_many_requests("1"), StatusCode::TOO_MANY_REQUESTS, 1),
        ("503 with a time", |_| Reply::new(503).header("retry-after", "1"), StatusCode::SERVICE_UNAVAILABLE, 1),
        ("404", |_| Reply::new(404), StatusCode::NOT_FOUND, 1),
        ("500", |_| Reply::new(500), StatusCode::BAD_GATEWAY, 4),
    ];
    for (name, refusal, status, questions) in rows {
        let (port, image) = Port::with_image(&[10]).await;
        port.manifest("1").await;
        port.upstream.when(Seen::is_blob).reply(*refusal);
        let response = port.get(port.blob_url(&image.layers[0].digest)).await;
        assert_eq!((response.status(), port.blob_gets()), (*status, *questions), "{name}");
    }
}

#[tokio::test]
async fn an_upstream_that_stalls_in_the_middle_is_asked_again_from_there() {
    let (port, image) = Port::with_image(&[SIZE]).await;
    port.manifest("1").await;
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(super::is_whole_blob_get).once().reply(move |honest| honest.stall_after(SIZE / 2, &held));
    assert_eq!(port.blob(&image.layers[0].digest).await, image.layers[0].bytes);
    assert_eq!(port.blob_gets(), 2);
    gate.open();
}
