//! One fetch, any number of readers.

use std::time::Duration;

use entrepot_testkit::{Blob, FakeUpstream, Gate, Seen};
use futures_util::future::join_all;
use reqwest::StatusCode;

use super::{NAME, Port, REPOSITORY, header, is_whole_blob_get, receive};

const MIB: usize = 1024 * 1024;

/// Asks for a blob, reads a tenth of it, and hangs up.
async fn leave_at_a_tenth(port: &Port, blob: &Blob) {
    let mut response = port.get(port.blob_url(&blob.digest)).await;
    let mut received = 0;
    while received < blob.bytes.len() / 10 {
        received += response.chunk().await.unwrap().unwrap().len();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_cold_clients_cause_one_get_though_the_first_of_them_leaves() {
    let (port, image) = Port::with_image(&[8 * MIB]).await;
    port.manifest("1").await;
    let layer = &image.layers[0];
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(is_whole_blob_get).reply(move |honest| honest.stall_after(2 * MIB, &held));
    leave_at_a_tenth(&port, layer).await;
    let clients = join_all((0..200).map(|_| port.blob(&layer.digest)));
    let opening = async {
        gate.reached_by(1).await;
        gate.open();
    };
    let (bodies, ()) = tokio::join!(clients, opening);
    assert!(bodies.iter().all(|body| *body == layer.bytes));
    assert_eq!(port.blob_gets(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_cuts_twice_is_resumed_for_a_hundred_clients() {
    let (port, image) = Port::with_image(&[8 * MIB]).await;
    port.manifest("1").await;
    let layer = &image.layers[0];
    port.upstream.when(is_whole_blob_get).once().reply(|honest| honest.cut_after(3 * MIB));
    port.upstream
        .when(|seen| seen.is_blob() && seen.header("range").is_some())
        .once()
        .reply(|honest| honest.cut_after(3 * MIB));
    let (bodies, ()) =
        tokio::join!(join_all((0..99).map(|_| port.blob(&layer.digest))), leave_at_a_tenth(&port, layer));
    assert!(bodies.iter().all(|body| *body == layer.bytes));
    let ranges: Vec<Option<String>> = port
        .upstream
        .requests()
        .iter()
        .filter(|seen| seen.is_get() && seen.is_blob())
        .map(|seen| seen.header("range").map(ToOwned::to_owned))
        .collect();
    // The whole once, then what was missing, then what was still missing: no byte is asked for twice.
    assert!(matches!(ranges.as_slice(), [None, Some(_), Some(_)]), "{ranges:?}");
    assert_eq!(port.leftovers().await, 0);
}

#[tokio::test]
async fn an_upstream_that_ignores_the_range_of_a_resumption_is_skipped_forward() {
    let (port, image) = Port::with_image(&[2 * MIB]).await;
    port.manifest("1").await;
    port.upstream.when(is_whole_blob_get).once().reply(|honest| honest.cut_after(MIB));
    port.upstream
        .when(|seen| seen.is_blob() && seen.header("range").is_some())
        .reply(entrepot_testkit::Reply::ignoring_range);
    assert_eq!(port.blob(&image.layers[0].digest).await, image.layers[0].bytes);
}

#[tokio::test]
async fn bytes_reach_the_client_before_the_upstream_has_sent_them_all() {
    let (port, image) = Port::with_image(&[4 * MIB]).await;
    port.manifest("1").await;
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(is_whole_blob_get).reply(move |honest| honest.stall_after(MIB, &held));
    let mut response = port.get(port.blob_url(&image.layers[0].digest)).await;
    assert_eq!(header(&response, "content-length"), (4 * MIB).to_string());
    let mut received = 0;
    while received < MIB - 1 {
        received += response.chunk().await.unwrap().unwrap().len();
    }
    gate.open();
    let (rest, is_clean) = receive(response).await;
    assert!(is_clean);
    assert_eq!(received + rest.len(), 4 * MIB);
}

#[tokio::test]
async fn a_fill_goes_on_when_every_client_has_left() {
    let (port, image) = Port::with_image(&[4 * MIB]).await;
    port.manifest("1").await;
    leave_at_a_tenth(&port, &image.layers[0]).await;
    assert_eq!(port.leftovers().await, 0);
    port.upstream.stop().await;
    assert_eq!(port.blob(&image.layers[0].digest).await, image.layers[0].bytes);
}

#[tokio::test]
async fn ranges_of_a_cold_blob_wait_when_near_and_are_asked_for_when_far() {
    let (port, image) = Port::with_image(&[32 * MIB]).await;
    port.manifest("1").await;
    let layer = &image.layers[0];
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(is_whole_blob_get).reply(move |honest| honest.stall_after(MIB, &held));
    let range = async |range: &str| {
        let request = port.registry.client.get(port.blob_url(&layer.digest)).header("range", range);
        request.send().await.unwrap()
    };
    let far = range("bytes=30000000-30000999").await;
    assert_eq!(far.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(header(&far, "content-range"), format!("bytes 30000000-30000999/{}", 32 * MIB));
    assert_eq!(far.bytes().await.unwrap(), layer.bytes[30_000_000..30_001_000]);
    let near = range("bytes=1000-1999").await;
    assert_eq!(near.bytes().await.unwrap(), layer.bytes[1000..2000]);
    gate.open();
    let last = range("bytes=-10").await;
    assert_eq!(last.bytes().await.unwrap(), layer.bytes[32 * MIB - 10..]);
    assert_eq!(port.leftovers().await, 0);
    assert_eq!(port.upstream.count(is_whole_blob_get), 1);
}

#[tokio::test]
async fn open_ranges_that_are_dropped_start_one_fill_only() {
    let (port, image) = Port::with_image(&[8 * MIB]).await;
    port.manifest("1").await;
    for first in [0, MIB, 2 * MIB] {
        let request = port.registry.client.get(port.blob_url(&image.layers[0].digest));
        let mut response = request.header("range", format!("bytes={first}-")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        response.chunk().await.unwrap();
    }
    assert_eq!(port.leftovers().await, 0);
    assert_eq!(port.blob_gets(), 1);
}

#[tokio::test]
async fn content_belongs_to_the_repository_that_it_came_through() {
    // B10 in part: what came through one repository is no proof for another.
    let (port, image) = Port::with_image(&[10]).await;
    port.manifest("1").await;
    let layer = &image.layers[0];
    port.blob(&layer.digest).await;
    let other = |repository: &str| port.registry.url(&format!("/v2/proxy/{NAME}/{repository}/blobs/{}", layer.digest));
    assert_eq!(port.get(other("other/app")).await.status(), StatusCode::NOT_FOUND);
    // Where the upstream says that it is there too, the bytes need not be fetched again.
    port.upstream.put_blob("another/app", layer.bytes.clone());
    port.upstream.forget_requests();
    assert_eq!(port.get(other("another/app")).await.bytes().await.unwrap(), layer.bytes);
    assert_eq!(port.blob_gets(), 0);
}

#[tokio::test]
async fn upstreams_with_the_same_names_do_not_mix() {
    // B11: the cache is keyed by where content comes from.
    let second = FakeUpstream::start().await;
    let (first_image, second_image) = (entrepot_testkit::Image::new(1, &[10]), entrepot_testkit::Image::new(2, &[10]));
    second_image.load_into(&second, REPOSITORY, "1");
    let mut port = Port::open().await;
    first_image.load_into(&port.upstream, REPOSITORY, "1");
    assert_eq!(port.manifest("1").await.bytes().await.unwrap(), first_image.manifest.bytes);
    // The same name is pointed at another registry: nothing of the first is served, not even as stale.
    port.registry
        .replace_upstreams(vec![entrepot_upstream::UpstreamConfig::new(NAME, second.url().parse().unwrap())])
        .await;
    assert_eq!(port.manifest("1").await.bytes().await.unwrap(), second_image.manifest.bytes);
    second.stop().await;
    let missing = port.manifest(first_image.manifest.digest.as_str()).await;
    assert_eq!(missing.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_slow_but_moving_upstream_is_waited_for() {
    let (port, image) = Port::with_image(&[20_000]).await;
    port.manifest("1").await;
    // Longer in all than the stall timeout of this test, but never silent for that long.
    port.upstream.when(Seen::is_blob).reply(|honest| honest.paced(2_000, Duration::from_millis(250)));
    assert_eq!(port.blob(&image.layers[0].digest).await, image.layers[0].bytes);
    assert_eq!(port.blob_gets(), 1);
}
