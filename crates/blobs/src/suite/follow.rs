//! Cases: what others read while the content grows.

use bytes::Bytes;
use entrepot_oci::{Algorithm, ByteRange};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{assert_absent, channel, collect, content, sha256, soon, spawn, stage, staged};
use crate::{BlobStore, BlobStream, Content as _, FollowError, Piece, StreamError};

/// Reads exactly `length` bytes, which must come although the stream has not ended.
async fn take(stream: &mut BlobStream, length: usize) -> Vec<u8> {
    let mut taken = Vec::new();
    while taken.len() < length {
        let bytes = soon(stream.next()).await.expect("the stream goes on").expect("bytes");
        taken.extend_from_slice(&bytes);
    }
    assert_eq!(taken.len(), length, "more came than may be read");
    taken
}

/// Whether the stream has something to say now.
fn is_waiting(stream: &mut BlobStream) -> bool {
    futures_util::FutureExt::now_or_never(stream.next()).is_none()
}

/// Many followers, from the start and from the middle, early and late, all with the bytes of the blob.
pub async fn followers_read_the_same_bytes_at_their_own_pace(store: &dyn BlobStore) {
    let bytes = content("followed", 4_000_000);
    let (sender, source) = channel();
    let mut ingest = store.begin(&stage("followed"), Algorithm::Sha256).await.unwrap();
    let growing = ingest.growing();
    let leader = spawn(async move { ingest.absorb(source, u64::MAX).await.map(|_| ingest) });
    let mut followers = Vec::new();
    for number in 0..16_u64 {
        // One more follower for each part that arrives: some are ahead of the content, some behind.
        let first = number * 249_000;
        let range = if number == 0 { None } else { ByteRange::new(first, 3_999_999) };
        let expected = bytes.slice(usize::try_from(first).unwrap()..);
        let follower = growing.stream(range);
        followers.push(spawn(async move { assert_eq!(collect(follower).await.unwrap(), expected) }));
        let part = usize::try_from(number * 250_000).unwrap();
        for frame in 0..10 {
            sender.send(bytes.slice(part + frame * 25_000..part + (frame + 1) * 25_000)).unwrap();
            tokio::task::yield_now().await;
        }
    }
    drop(sender);
    let ingest = soon(leader).await.unwrap().unwrap();
    ingest.commit(&sha256(&bytes)).await.unwrap();
    for follower in join_all(followers).await {
        follower.unwrap();
    }
    assert_eq!(soon(growing.finished()).await.unwrap(), 4_000_000);
    assert_eq!(collect(growing.stream(None)).await.unwrap(), bytes);
}

/// The bytes of a range come as soon as they are there; its clean end comes with the commit, or never.
pub async fn a_range_is_followed_to_its_end(store: &dyn BlobStore) {
    let bytes = content("followed range", 500_000);
    let ingest = staged(store, "followed-range", &bytes).await;
    let growing = ingest.growing();
    let mut inside = growing.stream(ByteRange::new(1000, 1999));
    let mut beyond = growing.stream(ByteRange::new(499_000, 500_000));
    assert_eq!(take(&mut inside, 1000).await, bytes[1000..2000]);
    assert!(is_waiting(&mut inside), "nothing is known to be whole before it is verified");
    assert_eq!(take(&mut beyond, 999).await, bytes[499_000..499_999]);
    ingest.commit(&sha256(&bytes)).await.unwrap();
    assert!(soon(inside.next()).await.is_none());
    assert_eq!(take(&mut beyond, 1).await, bytes[499_999..]);
    let ended = soon(beyond.next()).await.unwrap();
    assert!(matches!(ended, Err(StreamError::Truncated { expected: 500_001, found: 500_000 })), "{ended:?}");
}

/// All bytes have come; the last one goes out with the verification, and not before.
pub async fn the_last_byte_is_held_back_until_the_digest_is_verified(store: &dyn BlobStore) {
    let bytes = content("held back", 100_000);
    let ingest = staged(store, "held-back", &bytes).await;
    let growing = ingest.growing();
    let mut follower = growing.stream(None);
    assert_eq!(take(&mut follower, 99_999).await, bytes[..99_999]);
    assert_eq!((growing.received(), growing.readable()), (100_000, 99_999));
    assert!(is_waiting(&mut follower));
    ingest.commit(&sha256(&bytes)).await.unwrap();
    assert_eq!(growing.readable(), 100_000);
    assert_eq!(take(&mut follower, 1).await, bytes[99_999..]);
    assert!(soon(follower.next()).await.is_none());
}

/// A transfer that fails its digest ends short for everybody who read along.
pub async fn followers_of_a_corrupt_transfer_never_get_its_last_byte(store: &dyn BlobStore) {
    let bytes = content("corrupt", 100_000);
    let wanted = sha256(b"what it should have been");
    let ingest = staged(store, "corrupt", &bytes).await;
    let growing = ingest.growing();
    let mut follower = growing.stream(None);
    take(&mut follower, 99_999).await;
    ingest.commit(&wanted).await.unwrap_err();
    let ended = soon(follower.next()).await.unwrap();
    assert!(matches!(ended, Err(StreamError::Follow(FollowError::Mismatch { .. }))), "{ended:?}");
    assert!(soon(follower.next()).await.is_none());
    assert!(collect(growing.stream(ByteRange::new(99_999, 99_999))).await.is_err());
    assert!(matches!(soon(growing.finished()).await, Err(FollowError::Mismatch { .. })));
    assert_absent(store, &wanted).await;
}

/// What a piece stands for.
fn bytes_of(piece: Piece) -> Bytes {
    match piece {
        Piece::Bytes(bytes) => bytes,
        Piece::Region(region) => {
            let mut bytes = vec![0; region.length()];
            let count = region.file().read_at(&mut bytes, region.position()).expect("a region can be read");
            assert_eq!(count, bytes.len(), "a region is there when it is made");
            bytes.into()
        }
    }
}

async fn collect_pieces(pieces: BlobStream<Piece>) -> Result<Vec<u8>, StreamError> {
    soon(pieces.map_ok(bytes_of).try_fold(Vec::new(), |all, bytes| async move { Ok([all, bytes.to_vec()].concat()) }))
        .await
}

/// In pieces come the same bytes as otherwise, of what grows and of what is stored, and the last one as late.
pub async fn pieces_stand_for_the_same_bytes(store: &dyn BlobStore) {
    let bytes = content("pieces", 3_000_000);
    let ingest = staged(store, "pieces", &bytes).await;
    let growing = ingest.growing();
    let mut follower = growing.pieces(None);
    let mut taken = Vec::new();
    while taken.len() < 2_999_999 {
        taken.extend_from_slice(&bytes_of(soon(follower.next()).await.unwrap().unwrap()));
    }
    assert!(taken == bytes[..2_999_999]);
    assert!(futures_util::FutureExt::now_or_never(follower.next()).is_none());
    let digest = sha256(&bytes);
    ingest.commit(&digest).await.unwrap();
    assert_eq!(collect_pieces(follower).await.unwrap(), bytes[2_999_999..]);

    let reader = store.open(&digest).await.unwrap().unwrap();
    assert!(collect_pieces(reader.pieces(None)).await.unwrap() == bytes);
    let middle = reader.pieces(ByteRange::new(1_048_575, 2_500_000));
    assert!(collect_pieces(middle).await.unwrap() == bytes[1_048_575..=2_500_000]);
    let beyond = collect_pieces(reader.pieces(ByteRange::new(2_999_999, 3_000_000))).await;
    assert!(matches!(beyond, Err(StreamError::Truncated { expected: 3_000_001, found: 3_000_000 })), "{beyond:?}");
}

/// Dropped or parked: nobody waits for ever, and nobody takes what came for the whole.
pub async fn followers_of_a_failed_transfer_get_an_error(store: &dyn BlobStore) {
    let bytes = content("failed", 10_000);
    for is_parked in [false, true] {
        let ingest = staged(store, "failed", &bytes).await;
        let growing = ingest.growing();
        let mut reading = growing.stream(None);
        take(&mut reading, 9_999).await;
        let (waiting, finished) = (growing.clone(), growing.clone());
        let waiting = spawn(async move { waiting.wait_for(10_000).await });
        let finished = spawn(async move { finished.finished().await });
        if is_parked {
            ingest.park().await.unwrap();
        } else {
            drop(ingest);
        }
        let ended = soon(reading.next()).await.unwrap();
        assert!(matches!(ended, Err(StreamError::Follow(FollowError::Abandoned))), "{ended:?}");
        assert!(matches!(soon(waiting).await.unwrap(), Err(FollowError::Abandoned)));
        assert!(matches!(soon(finished).await.unwrap(), Err(FollowError::Abandoned)));
        assert!(collect(growing.stream(None)).await.is_err());
    }
}

/// A follower that is slow reads on although the blob was committed and deleted meanwhile.
pub async fn followers_survive_the_deletion_of_the_blob(store: &dyn BlobStore) {
    let bytes = content("slow follower", 3_000_000);
    let digest = sha256(&bytes);
    let ingest = staged(store, "slow-follower", &bytes).await;
    let growing = ingest.growing();
    let mut follower = growing.stream(None);
    let first = soon(follower.next()).await.unwrap().unwrap();
    ingest.commit(&digest).await.unwrap();
    assert!(store.delete(&digest).await.unwrap());
    let rest = collect(follower).await.unwrap();
    assert_eq!([&first[..], &rest].concat(), bytes);
}

/// Whether a byte is near can be known without reading up to it.
pub async fn waiting_for_a_byte_ends_when_it_can_be_read(store: &dyn BlobStore) {
    let bytes = content("near", 2000);
    let (sender, source) = channel();
    let mut ingest = store.begin(&stage("near"), Algorithm::Sha256).await.unwrap();
    let growing = ingest.growing();
    let leader = spawn(async move { ingest.absorb(source, u64::MAX).await.map(|_| ingest) });
    let near = |offset: u64| {
        let growing = growing.clone();
        spawn(async move { growing.wait_for(offset).await })
    };
    let (middle, last, beyond) = (near(998), near(1999), near(2000));
    sender.send(Bytes::copy_from_slice(&bytes[..1000])).unwrap();
    soon(middle).await.unwrap().unwrap();
    sender.send(Bytes::copy_from_slice(&bytes[1000..])).unwrap();
    soon(growing.wait_for(1998)).await.unwrap();
    assert!(!last.is_finished() && !beyond.is_finished());
    drop(sender);
    soon(leader).await.unwrap().unwrap().commit(&sha256(&bytes)).await.unwrap();
    soon(last).await.unwrap().unwrap();
    assert!(matches!(soon(beyond).await.unwrap(), Err(FollowError::Beyond { size: 2000 })));
}
