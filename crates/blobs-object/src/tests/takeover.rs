//! Stages that one process begins and another ends, or nobody.

use std::sync::Arc;

use entrepot_blobs::{AbsorbError, BlobStore as _, CommitError, Error, Ingest, Parked};
use entrepot_oci::Algorithm;

use super::bucket::Verdict;
use super::{FaultyBucket, PART, absorb, content, id, over, read, staged};
use crate::ObjectStore;

/// Parks, and has what the database would hold.
async fn park(ingest: Ingest) -> Vec<u8> {
    ingest.park().await.unwrap().encode().unwrap().to_vec()
}

async fn resume(store: &ObjectStore, stage: &str, row: &[u8]) -> Option<Ingest> {
    let parked = Parked::decode(row).unwrap();
    store.resume(&id(stage), Algorithm::Sha256, Some(parked)).await.unwrap()
}

/// Nothing is left but the blob, wherever it is.
async fn assert_only_blobs(bucket: &Arc<FaultyBucket>, stores: &[&ObjectStore], count: usize) {
    for store in stores {
        store.drained().await;
    }
    for store in stores {
        assert_eq!(store.staged().await.unwrap(), []);
    }
    let (keys, uploads) = bucket.left().await;
    assert_eq!(uploads, 0, "uploads are left over");
    let is_of_stage = |key: &&String| key.contains("/stages/");
    assert_eq!(keys.iter().filter(is_of_stage).count(), 0, "{keys:?}");
    let blobs = keys.iter().filter(|key| key.ends_with("/data") || key.contains("/uploads/")).count();
    assert_eq!(blobs, count, "{keys:?}");
}

/// Every kind of offset: nothing, less than a part, a part, more, many parts and many parts with more.
const OFFSETS: [usize; 9] = [0, 1, PART - 1, PART, PART + 1, 2 * PART, 5 * PART - 1, 5 * PART, 7 * PART + 123];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_elsewhere_from_every_kind_of_offset() {
    for first in OFFSETS {
        for second in OFFSETS.into_iter().filter(|second| *second >= first) {
            for size in [second, second + 1, second + 3 * PART + 7] {
                let bucket = FaultyBucket::new();
                let stores = [over(&bucket, PART as u64), over(&bucket, PART as u64), over(&bucket, PART as u64)];
                let bytes = content("elsewhere", size);
                let digest = Algorithm::Sha256.digest(&bytes);
                let row = park(staged(&stores[0].0, "session", &bytes[..first]).await).await;
                let mut ingest = resume(&stores[1].0, "session", &row).await.unwrap();
                assert_eq!(ingest.offset(), first as u64);
                absorb(&mut ingest, &bytes[first..second]).await;
                let row = park(ingest).await;
                let mut ingest = resume(&stores[2].0, "session", &row).await.unwrap();
                absorb(&mut ingest, &bytes[second..]).await;
                assert_eq!(ingest.commit(&digest).await.unwrap(), size as u64);
                assert_eq!(read(&stores[0].0, &digest).await.unwrap(), bytes, "{first} {second} {size}");
                // What is parked there is of no use any more, and is removed as the session ends.
                for (store, _) in &stores {
                    store.discard(&id("session")).await.unwrap();
                }
                assert_only_blobs(&bucket, &[&stores[0].0, &stores[1].0, &stores[2].0], 1).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_still_here_is_not_read_back() {
    let bucket = FaultyBucket::new();
    let (store, _folder) = over(&bucket, PART as u64);
    let bytes = content("here", 4 * PART + 5);
    let row = park(staged(&store, "session", &bytes[..2 * PART + 500]).await).await;
    bucket.take_log();
    let mut ingest = resume(&store, "session", &row).await.unwrap();
    absorb(&mut ingest, &bytes[2 * PART + 500..]).await;
    let asked = bucket.take_log();
    assert!(asked.iter().all(|asked| !asked.starts_with("get")), "{asked:?}");
    ingest.commit(&Algorithm::Sha256.digest(&bytes)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_comes_back_is_taken_up_as_the_other_has_left_it() {
    let bucket = FaultyBucket::new();
    let (here, there) = (over(&bucket, PART as u64), over(&bucket, PART as u64));
    let bytes = content("back", 6 * PART + 5);
    let mut row = park(staged(&here.0, "session", &bytes[..100]).await).await;
    for (store, end) in [(&there.0, 2500), (&here.0, 2600), (&there.0, 5900), (&here.0, bytes.len())] {
        let mut ingest = resume(store, "session", &row).await.unwrap();
        let offset = usize::try_from(ingest.offset()).unwrap();
        absorb(&mut ingest, &bytes[offset..end]).await;
        row = park(ingest).await;
    }
    let digest = Algorithm::Sha256.digest(&bytes);
    resume(&there.0, "session", &row).await.unwrap().commit(&digest).await.unwrap();
    assert_eq!(read(&here.0, &digest).await.unwrap(), bytes);
    here.0.discard(&id("session")).await.unwrap();
    assert_only_blobs(&bucket, &[&here.0, &there.0], 1).await;
}

/// The process ends between its answer and the row: the row of the request before is what counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_down_can_be_taken_up_until_something_later_was() {
    let bucket = FaultyBucket::new();
    let (here, there) = (over(&bucket, PART as u64), over(&bucket, PART as u64));
    let bytes = content("row", 4 * PART + 5);
    let digest = Algorithm::Sha256.digest(&bytes);
    let row = park(staged(&here.0, "session", &bytes[..1500]).await).await;
    let mut ingest = resume(&here.0, "session", &row).await.unwrap();
    absorb(&mut ingest, &bytes[1500..3700]).await;
    let _lost = park(ingest).await;
    let mut ingest = resume(&there.0, "session", &row).await.unwrap();
    assert_eq!(ingest.offset(), 1500);
    absorb(&mut ingest, &bytes[1500..]).await;
    ingest.commit(&digest).await.unwrap();
    assert_eq!(read(&here.0, &digest).await.unwrap(), bytes);
    here.0.discard(&id("session")).await.unwrap();
    assert_only_blobs(&bucket, &[&here.0, &there.0], 1).await;
}

/// The store is away when a request ends: its client is told so, and goes on from the request before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_cannot_be_kept_leaves_what_was_kept_before() {
    let bucket = FaultyBucket::new();
    let (here, there) = (over(&bucket, PART as u64), over(&bucket, PART as u64));
    let bytes = content("outage", 4 * PART + 5);
    let digest = Algorithm::Sha256.digest(&bytes);
    let row = park(staged(&here.0, "session", &bytes[..1500]).await).await;
    let mut ingest = resume(&here.0, "session", &row).await.unwrap();
    bucket.fail(|operation, _| matches!(operation, "part" | "put").then_some(Verdict::Fails));
    let frames = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes[1500..3700].to_vec().into())]);
    let absorbed = ingest.absorb(frames, u64::MAX).await;
    assert!(matches!(absorbed, Ok(_) | Err(AbsorbError::Store(Error::Unavailable { .. }))), "{absorbed:?}");
    let parked = ingest.park().await;
    assert!(matches!(parked, Err(Error::Unavailable { .. })), "{parked:?}");
    bucket.heal();
    let mut ingest = resume(&there.0, "session", &row).await.unwrap();
    absorb(&mut ingest, &bytes[1500..]).await;
    ingest.commit(&digest).await.unwrap();
    assert_eq!(read(&there.0, &digest).await.unwrap(), bytes);
    assert_only_blobs(&bucket, &[&here.0, &there.0], 1).await;
}

/// The bytes of the parts can be read by nobody before they are one object.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_algorithm_is_verified_elsewhere_too() {
    let bucket = FaultyBucket::new();
    let (here, there) = (over(&bucket, PART as u64), over(&bucket, PART as u64));
    for (stage, size) in [("small", 700), ("large", 5 * PART + 99)] {
        let bytes = content(stage, size);
        for (digest, is_right) in [(Algorithm::Sha512.digest(b"else"), false), (Algorithm::Sha512.digest(&bytes), true)]
        {
            let row = park(staged(&here.0, stage, &bytes).await).await;
            let ingest = resume(&there.0, stage, &row).await.unwrap();
            let committed = ingest.commit(&digest).await;
            if is_right {
                assert_eq!(committed.unwrap(), size as u64);
                assert_eq!(read(&here.0, &digest).await.unwrap(), bytes);
            } else {
                assert!(matches!(committed, Err(CommitError::Mismatch { .. })), "{committed:?}");
                assert!(read(&here.0, &digest).await.is_none());
                there.0.drained().await;
                let (keys, uploads) = bucket.left().await;
                assert!(
                    uploads == 0 && keys.iter().all(|key| key.contains("/blobs/") || !key.contains(stage)),
                    "{keys:?}"
                );
            }
            here.0.discard(&id(stage)).await.unwrap();
        }
    }
    assert_only_blobs(&bucket, &[&here.0, &there.0], 2).await;
}

/// What is uploaded to the key of a blob becomes that blob when it is complete: so it is not completed to be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_to_be_a_known_blob_is_not_completed_before_it_is_verified() {
    let bucket = FaultyBucket::new();
    let (here, there) = (over(&bucket, PART as u64), over(&bucket, PART as u64));
    let (bytes, said) = (content("said", 3 * PART + 5), Algorithm::Sha256.digest(b"something else"));
    let mut ingest = here.0.begin_known(&id("said"), &said).await.unwrap();
    absorb(&mut ingest, &bytes).await;
    let row = park(ingest).await;
    let digest = Algorithm::Sha512.digest(&bytes);
    let refused = resume(&there.0, "said", &row).await.unwrap().commit(&digest).await;
    assert!(matches!(refused, Err(CommitError::Store(Error::Refused { .. }))), "{refused:?}");
    let asked = bucket.take_log();
    assert!(asked.iter().all(|asked| !asked.starts_with("complete")), "{asked:?}");
    there.0.drained().await;
    for digest in [&said, &digest] {
        assert!(read(&there.0, digest).await.is_none());
    }
    here.0.discard(&id("said")).await.unwrap();
    assert_only_blobs(&bucket, &[&here.0, &there.0], 0).await;
}

/// A process that is killed, or just dropped, in the middle of a request, at every kind of offset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_leaves_nothing_behind_the_sweep() {
    for offset in OFFSETS {
        for is_parked in [false, true] {
            let bucket = FaultyBucket::new();
            let (crashed, sweeping) = (over(&bucket, PART as u64), over(&bucket, PART as u64));
            let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let store = crashed.0.clone();
            let uploading = process.spawn(async move {
                let mut ingest = staged(&store, "session", &content("crash", offset)).await;
                if is_parked {
                    let parked = Some(ingest.park().await.unwrap());
                    ingest = store.resume(&id("session"), Algorithm::Sha256, parked).await.unwrap().unwrap();
                    absorb(&mut ingest, &content("more", 2 * PART)).await;
                }
                ingest
            });
            let ingest = uploading.await.unwrap();
            // Nothing of the process runs any more: not even destructors, nor the upload of parts.
            bucket.fail(|_, _| Some(Verdict::Fails));
            std::mem::forget(ingest);
            tokio::task::spawn_blocking(move || drop(process)).await.unwrap();
            bucket.heal();
            for staged in sweeping.0.staged().await.unwrap() {
                assert!(sweeping.0.discard(&staged.stage).await.unwrap());
            }
            assert_only_blobs(&bucket, &[&sweeping.0], 0).await;
            assert!(!sweeping.0.discard(&id("session")).await.unwrap());
        }
    }
}

/// A crash at every single request of a commit: what was acknowledged is there, and the sweep takes nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_request_of_a_commit_loses_and_leaves_nothing() {
    let bytes = content("commit", 3 * PART + 5);
    let digest = Algorithm::Sha256.digest(&bytes);
    for after in 0..40 {
        let bucket = FaultyBucket::new();
        let (crashing, sweeping) = (over(&bucket, PART as u64), over(&bucket, PART as u64));
        let row = park(staged(&crashing.0, "session", &bytes[..1700]).await).await;
        let mut ingest = resume(&crashing.0, "session", &row).await.unwrap();
        absorb(&mut ingest, &bytes[1700..]).await;
        let mut count = 0;
        bucket.fail(move |_, _| {
            count += 1;
            (count > after).then_some(Verdict::Fails)
        });
        let committed = ingest.commit(&digest).await.is_ok();
        crashing.0.drained().await;
        bucket.heal();
        for staged in sweeping.0.staged().await.unwrap() {
            sweeping.0.discard(&staged.stage).await.unwrap();
        }
        let there = read(&sweeping.0, &digest).await;
        assert!(!committed || there.is_some(), "acknowledged and lost after {after} requests");
        assert!(there.as_ref().is_none_or(|there| *there == bytes));
        assert_only_blobs(&bucket, &[&sweeping.0], usize::from(there.is_some())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_ingest_leaves_nothing_at_the_store() {
    let bucket = FaultyBucket::new();
    let (store, _folder) = over(&bucket, PART as u64);
    for offset in OFFSETS {
        drop(staged(&store, "dropped", &content("dropped", offset)).await);
        assert_eq!(store.staged().await.unwrap(), []);
        assert_only_blobs(&bucket, &[&store], 0).await;
    }
    let bytes = content("known", 3 * PART);
    let mut ingest = store.begin_known(&id("known"), &Algorithm::Sha256.digest(&bytes)).await.unwrap();
    absorb(&mut ingest, &bytes).await;
    drop(ingest);
    assert_only_blobs(&bucket, &[&store], 0).await;
}
