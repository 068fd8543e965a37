//! Faults of an upstream as a table: fault x manifest or blob x cold or warm x first, middle or last byte.

use entrepot_testkit::{FakeUpstream, Gate, Image, Reply, Seen};
use reqwest::StatusCode;

use super::{Port, REPOSITORY, header, is_whole_blob_get, receive};

const SIZE: usize = 300_000;

/// A fault at a byte.
struct Fault {
    name: &'static str,
    make: fn(Reply, usize, &Gate) -> Reply,
    /// Whether a transfer goes on after it, when it happens once.
    is_overcome: bool,
}

const FAULTS: &[Fault] = &[
    Fault { name: "the connection breaks", make: |honest, at, _| honest.cut_after(at), is_overcome: true },
    Fault { name: "nothing more comes", make: |honest, at, gate| honest.stall_after(at, gate), is_overcome: true },
    Fault { name: "a byte is flipped", make: |honest, at, _| honest.flip_byte(at), is_overcome: false },
];

/// The first, the middle and the last byte of so many.
const fn places(size: usize) -> [(&'static str, usize); 3] {
    [("first byte", 0), ("middle byte", size / 2), ("last byte", size - 1)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_outlives_every_fault_that_passes_and_is_never_wrong() {
    for Fault { name, make, is_overcome } in FAULTS {
        for (place, at) in places(SIZE) {
            let (port, image) = Port::with_image(&[SIZE]).await;
            port.manifest("1").await;
            let (layer, gate) = (&image.layers[0], Gate::new());
            let held = gate.clone();
            port.upstream.when(is_whole_blob_get).once().reply(move |honest| make(honest, at, &held));
            let row = format!("{name}, {place}, cold");
            let response = port.get(port.blob_url(&layer.digest)).await;
            assert_eq!(header(&response, "content-length"), SIZE.to_string(), "{row}");
            let (received, is_clean) = receive(response).await;
            if *is_overcome {
                assert!(is_clean && received == layer.bytes, "{row}: {} bytes, clean end: {is_clean}", received.len());
                assert_eq!(port.blob_gets(), 2, "{row}");
            } else {
                assert!(!is_clean && received.len() < SIZE, "{row}: {} bytes, clean end: {is_clean}", received.len());
                assert_eq!(port.leftovers().await, 0, "{row}");
                assert_eq!(port.blob(&layer.digest).await, layer.bytes, "{row}: nothing of it was kept");
            }
            assert_eq!(port.leftovers().await, 0, "{row}");
            gate.open();
            // Warm: the upstream is not asked, whatever it would do.
            port.upstream.forget_requests();
            let held = gate.clone();
            port.upstream.when(|_| true).reply(move |honest| make(honest, 0, &held));
            assert_eq!(port.blob(&layer.digest).await, layer.bytes, "{name}, {place}, warm");
            assert_eq!(port.upstream.requests().len(), 0, "{name}, {place}, warm");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_is_answered_right_or_not_at_all() {
    for Fault { name, make, .. } in FAULTS {
        for reference in ["the tag", "the digest"] {
            let size = Image::new(7, &[10]).manifest.bytes.len();
            for (place, at) in places(size) {
                let (port, image) = Port::with_image(&[10]).await;
                let digest = image.manifest.digest.to_string();
                let by = if reference == "the tag" { "1" } else { &digest };
                let gate = Gate::new();
                let held = gate.clone();
                port.upstream
                    .when(|seen| seen.is_get() && seen.is_manifest())
                    .reply(move |honest| make(honest, at, &held));
                let row = format!("{name}, {place}, by {reference}");
                let status = port.manifest(by).await.status();
                assert!(matches!(status.as_u16(), 502 | 504), "{row}, cold: {status}");
                gate.open();
                port.upstream.heal();
                port.upstream.forget_requests();
                let response = port.manifest(by).await;
                assert_eq!(response.bytes().await.unwrap(), image.manifest.bytes, "{row}, healed");
                assert!(
                    port.upstream.count(|seen| seen.is_get() && seen.is_manifest()) > 0,
                    "{row}: something was kept"
                );
                // Warm: a digest is not asked for again, and a tag falls back on what is here.
                port.upstream.forget_requests();
                port.upstream.when(|_| true).reply(|_| Reply::page());
                let response = port.manifest(by).await;
                assert_eq!(response.status(), StatusCode::OK, "{row}, warm");
                assert_eq!(response.bytes().await.unwrap(), image.manifest.bytes, "{row}, warm");
                let gets = port.upstream.count(|seen| seen.is_get() && seen.path.contains(&digest));
                assert_eq!(gets, 0, "{row}, warm");
            }
        }
    }
}

/// What an upstream may say when it is asked for the rest of a blob.
type Refusal = (&'static str, fn(Reply) -> Reply);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_in_the_middle_of_a_blob_is_not_final() {
    let refusals: &[Refusal] = &[
        ("403", |_| Reply::error(403, "DENIED", "no")),
        ("404", |_| Reply::error(404, "BLOB_UNKNOWN", "no")),
        ("416", |_| Reply::new(416)),
        ("429 with a time", |_| Reply::too_many_requests("1")),
        ("500", |_| Reply::new(500)),
        ("503 with a time", |_| Reply::new(503).header("retry-after", "1")),
        ("the whole instead of the rest", Reply::ignoring_range),
        ("the rest from another byte on", |honest| honest.header("content-range", "bytes 200000-299999/300000")),
    ];
    for (name, refusal) in refusals {
        let (port, image) = Port::with_image(&[SIZE]).await;
        port.manifest("1").await;
        port.upstream.when(is_whole_blob_get).once().reply(|honest| honest.cut_after(SIZE / 2));
        port.upstream.when(|seen| seen.is_blob() && seen.header("range").is_some()).once().reply(*refusal);
        assert_eq!(port.blob(&image.layers[0].digest).await, image.layers[0].bytes, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_stays_or_asks_for_too_much_patience_ends_the_transfer() {
    type Row = (&'static str, fn(Reply) -> Reply, usize);
    let refusals: &[Row] = &[
        ("404", |_| Reply::error(404, "BLOB_UNKNOWN", "no"), 4),
        ("500", |_| Reply::new(500), 4),
        ("429 for an hour", |_| Reply::too_many_requests("3600"), 2),
    ];
    for (name, refusal, questions) in refusals {
        let (port, image) = Port::with_image(&[SIZE]).await;
        port.manifest("1").await;
        port.upstream.when(is_whole_blob_get).reply(|honest| honest.cut_after(SIZE / 2));
        port.upstream.when(|seen| seen.is_blob() && seen.header("range").is_some()).reply(*refusal);
        let (received, is_clean) = receive(port.get(port.blob_url(&image.layers[0].digest)).await).await;
        assert!(!is_clean && received.len() < SIZE, "{name}: {} bytes, clean end: {is_clean}", received.len());
        assert_eq!((port.leftovers().await, port.blob_gets()), (0, *questions), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_expires_in_the_middle_of_a_blob_is_asked_for_again() {
    let storage = FakeUpstream::start().await;
    let trusted = storage.address().to_string();
    let port = Port::with(|config| config.trusted_hosts = vec![trusted]).await;
    let image = Image::new(7, &[SIZE]);
    image.load_into(&port.upstream, REPOSITORY, "1");
    image.load_into(&storage, REPOSITORY, "1");
    let layer = &image.layers[0];
    let target = format!("{}/v2/{REPOSITORY}/blobs/{}?signature=1", storage.url(), layer.digest);
    port.upstream.when(Seen::is_blob).reply(move |_| Reply::redirect(307, &target));
    storage.when(is_whole_blob_get).once().reply(|honest| honest.cut_after(SIZE / 2));
    storage.when(|seen| seen.header("range").is_some()).once().reply(|_| Reply::new(403));
    port.manifest("1").await;
    assert_eq!(port.blob(&layer.digest).await, layer.bytes);
    // Each time the registry was asked for the address, and the storage only for what was missing.
    assert_eq!((port.blob_gets(), storage.count(Seen::is_blob)), (3, 3));
    assert_eq!(storage.count(is_whole_blob_get), 1);
}

#[tokio::test]
async fn a_blob_without_a_length_is_answered_with_the_size_that_head_tells_before_it_is_here() {
    let port = Port::open().await;
    let blob = entrepot_testkit::Blob::random(5, SIZE);
    port.upstream.put_blob(REPOSITORY, blob.bytes.clone());
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream
        .when(|seen| seen.is_get() && seen.is_blob())
        .reply(move |honest| honest.without_length().stall_after(SIZE / 2, &held));
    let mut response = port.get(port.blob_url(&blob.digest)).await;
    assert_eq!(header(&response, "content-length"), SIZE.to_string());
    assert!(!response.chunk().await.unwrap().unwrap().is_empty(), "bytes come before the upstream has sent them all");
    gate.open();
    assert!(receive(response).await.1);
    // A size that turns out to be wrong delivers nothing whole.
    let other = entrepot_testkit::Blob::random(6, SIZE);
    port.upstream.put_blob(REPOSITORY, other.bytes.clone());
    port.upstream.heal();
    port.upstream
        .when(|seen| seen.is_head() && seen.is_blob())
        .reply(|honest| honest.header("content-length", "299999"));
    port.upstream.when(|seen| seen.is_get() && seen.is_blob()).reply(Reply::without_length);
    let (received, is_clean) = receive(port.get(port.blob_url(&other.digest)).await).await;
    assert!(!is_clean && received.len() < SIZE - 1, "{} bytes, clean end: {is_clean}", received.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_sends_something_else_is_passed_over_the_next_time() {
    let mirror = FakeUpstream::start().await;
    let (url, trusted) = (mirror.url().parse().unwrap(), mirror.address().to_string());
    let port = Port::with(|config| {
        config.mirrors = vec![entrepot_upstream::Mirror::At(url)];
        config.trusted_hosts = vec![trusted];
    })
    .await;
    let image = Image::new(7, &[SIZE]);
    for place in [&port.upstream, &mirror] {
        image.load_into(place, REPOSITORY, "1");
    }
    let layer = &image.layers[0];
    port.manifest("1").await;
    mirror.when(Seen::is_blob).reply(|honest| honest.flip_byte(SIZE / 2));
    let (received, is_clean) = receive(port.get(port.blob_url(&layer.digest)).await).await;
    assert!(!is_clean && received.len() < SIZE, "{} bytes, clean end: {is_clean}", received.len());
    assert_eq!(port.leftovers().await, 0);
    assert_eq!(mirror.count(|seen| seen.is_get() && seen.is_blob()), 1);
    assert_eq!(port.blob(&layer.digest).await, layer.bytes);
    assert_eq!(mirror.count(|seen| seen.is_get() && seen.is_blob()), 1, "the mirror is not asked again");
    assert_eq!(port.blob_gets(), 1);
}
