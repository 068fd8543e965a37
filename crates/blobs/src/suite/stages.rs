//! Cases: what is staged, by whom, and what becomes of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use entrepot_oci::Algorithm;
use futures_util::{StreamExt as _, stream};

use super::{
    assert_absent, assert_unstaged, channel, collect, content, frames, read, sha256, soon, spawn, stage, staged,
    staged_size, stored,
};
use crate::{AbsorbError, BlobStore, CommitError, Error, Parked, WAITING_BYTES_MAX};

/// An upload in several requests: parked between them.
pub async fn a_parked_stage_is_taken_up_again(store: &dyn BlobStore) {
    let bytes = content("parked", 600_000);
    let digest = sha256(&bytes);
    let parked = staged(store, "parked", &bytes.slice(..200_000)).await.park().await.unwrap();
    assert_eq!((parked.offset(), parked.stage()), (200_000, &stage("parked")));
    assert_eq!(staged_size(store, "parked").await, Some(200_000));
    let mut ingest = store.resume(&stage("parked"), Algorithm::Sha256, Some(parked)).await.unwrap().unwrap();
    assert_eq!(ingest.offset(), 200_000);
    assert_eq!(ingest.absorb(frames(&bytes.slice(200_000..), 7000), u64::MAX).await.unwrap(), 400_000);
    assert_eq!(ingest.commit(&digest).await.unwrap(), 600_000);
    assert_eq!(read(store, &digest).await, bytes);
    assert!(store.resume(&stage("parked"), Algorithm::Sha256, None).await.unwrap().is_none());
}

/// Where several processes use the same bytes, a row of a database is all that another needs. Elsewhere nothing is worth a row.
pub async fn what_was_parked_can_be_written_down_where_the_store_is_shared(store: &dyn BlobStore) {
    let bytes = content("written down", 600_000);
    let digest = sha256(&bytes);
    let parked = staged(store, "written-down", &bytes.slice(..200_000)).await.park().await.unwrap();
    let row = parked.encode();
    assert_eq!(row.is_some(), store.is_shared());
    let parked = row.map_or(parked, |row| Parked::decode(&row).unwrap());
    assert_eq!((parked.offset(), parked.stage()), (200_000, &stage("written-down")));
    let mut ingest = store.resume(&stage("written-down"), Algorithm::Sha256, Some(parked)).await.unwrap().unwrap();
    ingest.absorb(frames(&bytes.slice(200_000..), 7000), u64::MAX).await.unwrap();
    assert_eq!(ingest.commit(&digest).await.unwrap(), 600_000);
    assert_eq!(read(store, &digest).await, bytes);
}

/// After a restart there is nothing but the staged bytes; also nothing at all may have been staged.
pub async fn a_stage_without_its_parked_hash_is_read_again(store: &dyn BlobStore) {
    let bytes = content("restarted", 600_000);
    for (split, algorithm) in [(0, Algorithm::Sha256), (350_000, Algorithm::Sha256), (350_000, Algorithm::Sha512)] {
        staged(store, "restarted", &bytes.slice(..split)).await.park().await.unwrap();
        let mut ingest = store.resume(&stage("restarted"), algorithm, None).await.unwrap().unwrap();
        assert_eq!(ingest.offset(), split as u64);
        ingest.absorb(frames(&bytes.slice(split..), 7000), u64::MAX).await.unwrap();
        let digest = algorithm.digest(&bytes);
        ingest.commit(&digest).await.unwrap();
        assert_eq!(read(store, &digest).await, bytes);
        store.delete(&digest).await.unwrap();
    }
}

/// A hash that was parked with other bytes would let a commit publish what nobody verified.
pub async fn a_parked_hash_of_other_bytes_is_not_trusted(store: &dyn BlobStore) {
    let (right, wrong) = (content("right bytes", 5000), content("wrong bytes", 5000));
    let parked = staged(store, "other-bytes", &right).await.park().await.unwrap();
    staged(store, "other-bytes", &wrong).await.park().await.unwrap();
    let ingest = store.resume(&stage("other-bytes"), Algorithm::Sha256, Some(parked)).await.unwrap().unwrap();
    let refused = ingest.commit(&sha256(&right)).await;
    assert!(matches!(refused, Err(CommitError::Mismatch { .. })), "{refused:?}");
    assert_absent(store, &sha256(&right)).await;
}

/// Dropping an ingest is giving it up.
pub async fn a_dropped_ingest_leaves_nothing(store: &dyn BlobStore) {
    drop(staged(store, "dropped", &content("dropped", 5000)).await);
    assert_unstaged(store, "dropped").await;
    assert!(store.resume(&stage("dropped"), Algorithm::Sha256, None).await.unwrap().is_none());
}

/// What nobody takes up again can be found, with its size and age, and removed.
pub async fn stages_are_listed_and_discarded(store: &dyn BlobStore) {
    for (id, length) in [("listed-a", 0), ("listed-b", 1000), ("listed-c", 500_000)] {
        staged(store, id, &content(id, length)).await.park().await.unwrap();
        assert_eq!(staged_size(store, id).await, Some(length as u64));
    }
    let listed = store.staged().await.unwrap();
    let entry = listed.iter().find(|entry| entry.stage == stage("listed-b")).unwrap();
    assert!(entry.modified.elapsed().is_ok_and(|age| age < super::PATIENCE));
    for id in ["listed-a", "listed-b", "listed-c"] {
        assert!(store.discard(&stage(id)).await.unwrap());
        assert!(!store.discard(&stage(id)).await.unwrap());
        assert_unstaged(store, id).await;
    }
}

/// The id belongs to the later ingest; the earlier can neither publish nor remove what is staged under it.
pub async fn beginning_again_discards_the_earlier_stage(store: &dyn BlobStore) {
    let (earlier, later) = (content("earlier", 5000), content("later", 7000));
    let parked = staged(store, "begun-again", &earlier).await.park().await.unwrap();
    let first = store.resume(&stage("begun-again"), Algorithm::Sha256, Some(parked)).await.unwrap().unwrap();
    let second = staged(store, "begun-again", &later).await;
    assert_eq!(second.offset(), 7000);
    drop(first);
    assert_eq!(staged_size(store, "begun-again").await, Some(7000));
    second.commit(&sha256(&later)).await.unwrap();
    assert_eq!(read(store, &sha256(&later)).await, later);
}

/// A commit that finds its stage taken away fails, and leaves alone what took its place.
pub async fn an_ingest_whose_stage_was_discarded_makes_no_blob(store: &dyn BlobStore) {
    let (earlier, later) = (content("taken", 5000), content("taking", 5000));
    let first = staged(store, "taken", &earlier).await;
    let second = staged(store, "taken", &later).await;
    let failed = first.commit(&sha256(&earlier)).await;
    assert!(matches!(failed, Err(CommitError::Store(Error::Discarded { .. }))), "{failed:?}");
    assert_absent(store, &sha256(&earlier)).await;
    second.commit(&sha256(&later)).await.unwrap();
    assert_eq!(read(store, &sha256(&later)).await, later);
}

/// The limit is on what is staged, not on one call; what fits is kept, the frame that does not is not.
pub async fn the_limit_counts_the_whole_stage(store: &dyn BlobStore) {
    let bytes = content("limited", 10_000);
    let mut ingest = store.begin(&stage("limited"), Algorithm::Sha256).await.unwrap();
    assert_eq!(ingest.absorb(frames(&bytes.slice(..6000), 1000), 10_000).await.unwrap(), 6000);
    let refused = ingest.absorb(frames(&bytes, 1000), 9_999).await;
    assert!(matches!(refused, Err(AbsorbError::TooLarge { limit: 9_999 })), "{refused:?}");
    assert_eq!(ingest.offset(), 9000);
    let refused = ingest.absorb(frames(&bytes, 1000), 100).await;
    assert!(matches!(refused, Err(AbsorbError::TooLarge { limit: 100 })), "{refused:?}");
    assert_eq!(ingest.absorb(frames(&bytes.slice(..1000), 1000), 10_000).await.unwrap(), 1000);
    drop(ingest);
    assert_unstaged(store, "limited").await;
}

/// An upstream that breaks off: the next request goes on from there.
pub async fn a_failing_source_keeps_what_came_before(store: &dyn BlobStore) {
    let bytes = content("broken off", 500_000);
    let mut ingest = store.begin(&stage("broken-off"), Algorithm::Sha256).await.unwrap();
    let before = frames(&bytes.slice(..300_000), 9000).map(|frame| frame.map_err(|never| match never {}));
    let broken = before.chain(stream::iter([Err("connection reset")]));
    let failed = ingest.absorb(broken, u64::MAX).await;
    assert!(matches!(failed, Err(AbsorbError::Source("connection reset"))), "{failed:?}");
    assert_eq!((ingest.offset(), ingest.growing().received()), (300_000, 300_000));
    ingest.absorb(frames(&bytes.slice(300_000..), 9000), u64::MAX).await.unwrap();
    let digest = sha256(&bytes);
    ingest.commit(&digest).await.unwrap();
    assert_eq!(read(store, &digest).await, bytes);
}

/// Bytes do not wait for more bytes to come.
pub async fn what_a_stalled_source_sent_is_written(store: &dyn BlobStore) {
    let bytes = content("stalled", 3000);
    let (sender, source) = channel();
    let mut ingest = store.begin(&stage("stalled"), Algorithm::Sha256).await.unwrap();
    let growing = ingest.growing();
    let leader = spawn(async move { ingest.absorb(source, u64::MAX).await.map(|_| ingest) });
    for end in [1000, 2000, 3000] {
        sender.send(bytes.slice(end - 1000..end)).unwrap();
        // The last byte of what came is held back; the one before it shows that it was written.
        soon(growing.wait_for(end as u64 - 2)).await.unwrap();
        assert_eq!(growing.received(), end as u64);
        assert_eq!(staged_size(store, "stalled").await, Some(end as u64));
    }
    drop(sender);
    let ingest = soon(leader).await.unwrap().unwrap();
    ingest.commit(&sha256(&bytes)).await.unwrap();
    assert_eq!(read(store, &sha256(&bytes)).await, bytes);
}

/// A client that leaves cancels the future; what it had sent can be parked and committed all the same.
pub async fn a_cancelled_absorb_loses_nothing(store: &dyn BlobStore) {
    let bytes = content("cancelled", 2_000_000);
    let mut ingest = store.begin(&stage("cancelled"), Algorithm::Sha256).await.unwrap();
    let taken = Arc::new(AtomicU64::new(0));
    let counted = {
        let taken = Arc::clone(&taken);
        frames(&bytes.slice(..1_500_000), 5000)
            .inspect(move |frame| {
                taken.fetch_add(frame.as_ref().map_or(0, |frame| frame.len() as u64), Ordering::SeqCst);
            })
            .chain(stream::pending::<Result<Bytes, Infallible>>())
    };
    let growing = ingest.growing();
    tokio::select! {
        ended = ingest.absorb(counted, u64::MAX) => panic!("the source never ends: {ended:?}"),
        reached = growing.wait_for(1000) => reached.unwrap(),
    }
    let parked = ingest.park().await.unwrap();
    assert_eq!(parked.offset(), taken.load(Ordering::SeqCst));
    let rest = bytes.slice(usize::try_from(parked.offset()).unwrap()..);
    let mut ingest = store.resume(&stage("cancelled"), Algorithm::Sha256, Some(parked)).await.unwrap().unwrap();
    ingest.absorb(frames(&rest, 5000), u64::MAX).await.unwrap();
    ingest.commit(&sha256(&bytes)).await.unwrap();
    assert_eq!(read(store, &sha256(&bytes)).await, bytes);
}

/// Cut off at full speed, with bytes waiting, being written and being hashed: it goes on where it was.
pub async fn a_fast_transfer_is_taken_up_where_it_was_cut_off(store: &dyn BlobStore) {
    let bytes = content("cut off", 6_000_000);
    let digest = sha256(&bytes);
    let mut ingest = store.begin(&stage("cut-off"), Algorithm::Sha256).await.unwrap();
    for reached in [1_500_000, 3_000_000, 4_500_000] {
        let growing = ingest.growing();
        let rest = bytes.slice(usize::try_from(ingest.offset()).unwrap()..);
        let source = frames(&rest, 50_000).chain(stream::pending());
        tokio::select! {
            ended = ingest.absorb(source, u64::MAX) => panic!("the source never ends: {ended:?}"),
            reached = growing.wait_for(reached) => reached.unwrap(),
        }
        let parked = ingest.park().await.unwrap();
        assert!(parked.offset() > reached);
        ingest = store.resume(&stage("cut-off"), Algorithm::Sha256, Some(parked)).await.unwrap().unwrap();
    }
    let rest = bytes.slice(usize::try_from(ingest.offset()).unwrap()..);
    ingest.absorb(frames(&rest, 50_000), u64::MAX).await.unwrap();
    ingest.commit(&digest).await.unwrap();
    assert_eq!(read(store, &digest).await, bytes);
}

/// Single bytes, empty frames, and frames larger than every buffer.
pub async fn frames_of_every_size_arrive_in_order(store: &dyn BlobStore) {
    let bytes = content("frames", 6_000_000);
    let mut lengths = [1_usize, 0, 2, 4095, 4096, 0, 262_143, 262_144, 262_145, 1, 2_000_000].into_iter().cycle();
    let mut rest = bytes.clone();
    let source = stream::iter(std::iter::from_fn(move || {
        let length = lengths.next()?.min(rest.len());
        (!rest.is_empty()).then(|| Ok::<_, Infallible>(rest.split_to(length)))
    }));
    let mut ingest = store.begin(&stage("frames"), Algorithm::Sha256).await.unwrap();
    assert_eq!(ingest.absorb(source, u64::MAX).await.unwrap(), 6_000_000);
    ingest.absorb(frames(&Bytes::new(), 1), u64::MAX).await.unwrap();
    ingest.commit(&sha256(&bytes)).await.unwrap();
    assert_eq!(read(store, &sha256(&bytes)).await, bytes);
    let single = content("single bytes", 5000);
    let mut ingest = store.begin(&stage("frames"), Algorithm::Sha256).await.unwrap();
    ingest.absorb(frames(&single, 1), u64::MAX).await.unwrap();
    ingest.commit(&sha256(&single)).await.unwrap();
    assert_eq!(read(store, &sha256(&single)).await, single);
    stored(store, "frames", &bytes).await;
}

/// A source that always has more is taken no faster than the bytes are staged.
pub async fn large_transfers_wait_for_the_disk_and_not_in_memory(store: &dyn BlobStore) {
    const FRAME: usize = 64 << 10;
    const FRAMES: usize = 1024;
    let block = content("large", FRAME);
    let mut ingest = store.begin(&stage("large"), Algorithm::Sha256).await.unwrap();
    let growing = ingest.growing();
    let (mut hasher, mut taken, mut ahead) = (Algorithm::Sha256.hasher(), 0_u64, 0_u64);
    let source = stream::iter((0..FRAMES).map(|_| {
        ahead = ahead.max(taken - growing.received());
        taken += FRAME as u64;
        hasher.update(&block);
        Ok::<_, Infallible>(block.clone())
    }));
    ingest.absorb(source, u64::MAX).await.unwrap();
    // One batch is being written while the next waits.
    assert!(ahead <= (2 * WAITING_BYTES_MAX + FRAME) as u64, "{ahead} bytes were held in memory");
    let digest = hasher.finish();
    assert_eq!(ingest.commit(&digest).await.unwrap(), (FRAME * FRAMES) as u64);
    let all = collect(store.open(&digest).await.unwrap().unwrap().stream(None)).await.unwrap();
    assert_eq!(sha256(&all), digest);
}
