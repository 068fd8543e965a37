//! Blobs: from anywhere on, slow, broken and stalled (threats C8, R19 and R20).

use std::time::Duration;

use entrepot_oci::{ByteRange, Digest};
use entrepot_testkit::{FakeUpstream, Gate, Reply, Seen, pseudo_random};
use entrepot_upstream::{BlobFrom, ContentError, Error, RemotesConfig, Timeouts};
use futures_util::StreamExt as _;

use crate::setup::{listed, read, remote, remote_with, repository};

const SIZE: usize = 300_000;

async fn fake() -> (FakeUpstream, Digest, Vec<u8>) {
    let (fake, bytes) = (FakeUpstream::start().await, pseudo_random(1, SIZE));
    let digest = fake.put_blob("team/app", bytes.clone());
    (fake, digest, bytes.to_vec())
}

/// Waits for nothing longer than this, so that a test of a timeout is short.
fn impatient(fake: &FakeUpstream) -> std::sync::Arc<entrepot_upstream::Remote> {
    let short = Duration::from_millis(500);
    let timeouts = Timeouts { first_byte: short, stall: short, document: short, ..Timeouts::default() };
    remote_with(RemotesConfig { upstreams: vec![listed(fake)], timeouts, ..RemotesConfig::default() })
}

#[tokio::test]
async fn a_blob_comes_whole_from_an_offset_and_in_a_range() {
    let (fake, digest, bytes) = fake().await;
    let remote = remote(&fake);
    let rows = [
        (BlobFrom::Start, None, 0..SIZE),
        (BlobFrom::Offset(0), None, 0..SIZE),
        (BlobFrom::Offset(1), Some("bytes=1-"), 1..SIZE),
        (BlobFrom::Offset(SIZE as u64 - 1), Some("bytes=299999-"), SIZE - 1..SIZE),
        (BlobFrom::Range(ByteRange::new(10, 19).unwrap()), Some("bytes=10-19"), 10..20),
    ];
    for (from, range, expected) in rows {
        fake.forget_requests();
        let blob = remote.get_blob(&repository(), &digest, from).await.unwrap();
        assert_eq!((blob.first, blob.total), (expected.start as u64, Some(SIZE as u64)), "{from:?}");
        let (received, error) = read(blob.body).await;
        assert!(error.is_none() && received == bytes[expected], "{from:?}");
        assert_eq!(fake.wait_for(Seen::is_blob).await.header("range"), range);
    }
}

#[tokio::test]
async fn an_upstream_that_ignores_a_range_begins_at_0() {
    let (fake, digest, bytes) = fake().await;
    fake.when(Seen::is_blob).reply(Reply::ignoring_range);
    let blob = remote(&fake).get_blob(&repository(), &digest, BlobFrom::Offset(1000)).await.unwrap();
    assert_eq!((blob.first, blob.total), (0, Some(SIZE as u64)));
    assert_eq!(read(blob.body).await.0, bytes);
}

#[tokio::test]
async fn a_part_that_does_not_say_where_it_belongs_is_refused() {
    let (fake, digest, _) = fake().await;
    let lies = ["bytes 2000-299999/300000", "bytes x-y/z", "lines 1000-299999/300000", "bytes */300000x"];
    for lie in lies {
        fake.when(Seen::is_blob).once().reply(move |honest| honest.header("content-range", lie));
        let error = remote(&fake).get_blob(&repository(), &digest, BlobFrom::Offset(1000)).await;
        if lie.starts_with("bytes *") {
            // Where the body begins is taken as 0: whoever verifies the whole finds the lie.
            assert_eq!(error.unwrap().first, 0);
        } else {
            assert!(matches!(error, Err(Error::InvalidContent { reason: ContentError::Range, .. })), "{lie}");
        }
    }
}

#[tokio::test]
async fn c8_a_blob_that_breaks_ends_in_an_error_and_goes_on_from_there() {
    let (fake, digest, bytes) = fake().await;
    let remote = remote(&fake);
    for cut in [0, 1, SIZE / 2, SIZE - 1] {
        fake.when(Seen::is_blob).once().reply(move |honest| honest.cut_after(cut));
        let blob = remote.get_blob(&repository(), &digest, BlobFrom::Start).await.unwrap();
        let (mut received, error) = read(blob.body).await;
        assert!(matches!(error, Some(Error::Interrupted { .. })), "{cut}: {error:?}");
        assert!(error.unwrap().is_temporary());
        assert!(received.len() <= cut && bytes.starts_with(&received));
        let from = BlobFrom::Offset(received.len() as u64);
        let rest = remote.get_blob(&repository(), &digest, from).await.unwrap();
        assert_eq!(rest.first, received.len() as u64);
        received.extend(read(rest.body).await.0);
        assert!(received == bytes, "{cut}");
    }
}

#[tokio::test]
async fn c8_without_a_length_the_end_is_that_of_the_encoding() {
    let (fake, digest, bytes) = fake().await;
    let remote = remote(&fake);
    fake.when(Seen::is_blob).once().reply(Reply::without_length);
    let blob = remote.get_blob(&repository(), &digest, BlobFrom::Start).await.unwrap();
    assert_eq!(blob.total, None);
    assert_eq!(read(blob.body).await.0, bytes);
    fake.when(Seen::is_blob).once().reply(|honest| honest.without_length().cut_after(SIZE / 2));
    let blob = remote.get_blob(&repository(), &digest, BlobFrom::Start).await.unwrap();
    assert!(matches!(read(blob.body).await.1, Some(Error::Interrupted { .. })));
}

#[tokio::test]
async fn r19_a_blob_that_stalls_is_given_up() {
    let (fake, digest, bytes) = fake().await;
    let gate = Gate::new();
    let held = gate.clone();
    fake.when(Seen::is_blob).reply(move |honest| honest.stall_after(SIZE / 2, &held));
    let blob = impatient(&fake).get_blob(&repository(), &digest, BlobFrom::Start).await.unwrap();
    let (received, error) = read(blob.body).await;
    assert!(matches!(error, Some(Error::Timeout { .. })), "{error:?}");
    assert_eq!(received, bytes[..SIZE / 2]);
}

#[tokio::test]
async fn r19_a_blob_that_is_slow_but_moves_goes_on_beyond_every_timeout() {
    let (fake, digest, bytes) = fake().await;
    // A second in all, and never half a second between two pieces.
    fake.when(Seen::is_blob).reply(|honest| honest.paced(SIZE / 20, Duration::from_millis(50)));
    let blob = impatient(&fake).get_blob(&repository(), &digest, BlobFrom::Start).await.unwrap();
    let (received, error) = read(blob.body).await;
    assert!(error.is_none() && received == bytes, "{error:?}");
}

#[tokio::test]
async fn r19_silence_before_the_head_is_a_timeout() {
    let (fake, digest, _) = fake().await;
    let gate = Gate::new();
    let held = gate.clone();
    fake.when(Seen::is_any).reply(move |honest| honest.silent(&held));
    let error = impatient(&fake).get_blob(&repository(), &digest, BlobFrom::Start).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { waited, .. } if waited == Duration::from_millis(500)), "{error}");
}

#[tokio::test]
async fn pieces_come_before_the_whole_is_there() {
    let (fake, digest, bytes) = fake().await;
    let gate = Gate::new();
    let held = gate.clone();
    fake.when(Seen::is_blob).reply(move |honest| honest.stall_after(1000, &held));
    let mut blob = remote(&fake).get_blob(&repository(), &digest, BlobFrom::Start).await.unwrap();
    let first = blob.body.next().await.unwrap().unwrap();
    assert!(bytes.starts_with(&first));
    gate.reached_by(1).await;
    gate.open();
    let rest = read(blob.body).await.0;
    assert_eq!(first.len() + rest.len(), SIZE);
}

#[tokio::test]
async fn a_blob_that_is_encoded_is_refused() {
    let (fake, digest, _) = fake().await;
    fake.when(Seen::is_blob).reply(|honest| honest.header("content-encoding", "gzip"));
    let error = remote(&fake).get_blob(&repository(), &digest, BlobFrom::Start).await.unwrap_err();
    assert!(matches!(error, Error::InvalidContent { reason: ContentError::Encoded { .. }, .. }), "{error}");
}

#[tokio::test]
async fn the_size_of_a_blob_is_had_by_head_or_by_its_first_byte() {
    let (fake, digest, _) = fake().await;
    let empty = fake.put_blob("team/app", "");
    let remote = remote(&fake);
    assert_eq!(remote.head_blob(&repository(), &digest).await.unwrap(), Some(SIZE as u64));
    assert_eq!(fake.count(Seen::is_get), 0);
    for status in [401, 403, 405] {
        fake.when(Seen::is_head).times(2).reply(move |_| Reply::new(status));
        assert_eq!(remote.head_blob(&repository(), &digest).await.unwrap(), Some(SIZE as u64), "{status}");
        assert_eq!(remote.head_blob(&repository(), &empty).await.unwrap(), Some(0), "{status}");
    }
    assert!(
        fake.requests()
            .iter()
            .filter(|seen| seen.is_blob() && seen.is_get())
            .all(|seen| { seen.header("range") == Some("bytes=0-0") })
    );
    fake.heal();
    fake.when(Seen::is_head).once().reply(Reply::without_length);
    assert_eq!(remote.head_blob(&repository(), &digest).await.unwrap(), None);
    fake.remove("team/app", &digest);
    assert!(matches!(remote.head_blob(&repository(), &digest).await, Err(Error::NotFound { .. })));
}
