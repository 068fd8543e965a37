//! Stores that answer late, wrongly, or not at all.

use std::time::Duration;

use entrepot_blobs::{BlobStore as _, CommitError, Error, Whole};
use entrepot_oci::{Algorithm, ByteRange};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;

use super::bucket::Verdict;
use super::{FaultyBucket, PART, absorb, content, id, over, read, staged, with_room};
use crate::parts_in_flight::PartsInFlight;

/// The answer to the last request of a commit is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_that_happened_is_a_success_whatever_was_answered() {
    for is_known in [false, true] {
        let bucket = FaultyBucket::new();
        let (store, _folder) = over(&bucket, PART as u64);
        let bytes = content("unknown outcome", 3 * PART + 5);
        let digest = Algorithm::Sha256.digest(&bytes);
        let mut ingest = if is_known {
            store.begin_known(&id("outcome"), &digest).await.unwrap()
        } else {
            store.begin(&id("outcome"), Algorithm::Sha256).await.unwrap()
        };
        absorb(&mut ingest, &bytes).await;
        bucket.fail(|operation, _| (operation == "complete").then_some(Verdict::IsNotHeardOf));
        ingest.commit(&digest).await.unwrap();
        assert_eq!(read(&store, &digest).await.unwrap(), bytes);
        bucket.fail(|operation, _| (operation == "complete").then_some(Verdict::Fails));
        let other = content("another", 3 * PART + 5);
        let other_digest = Algorithm::Sha256.digest(&other);
        let failed = staged(&store, "outcome", &other).await.commit(&other_digest).await;
        assert!(matches!(failed, Err(CommitError::Store(Error::Unavailable { .. }))), "{failed:?}");
        assert!(read(&store, &other_digest).await.is_none());
    }
}

/// Somebody else has ended the upload: what it would have been is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_ended_by_another_process_makes_no_blob() {
    let bucket = FaultyBucket::new();
    let (here, there) = (over(&bucket, PART as u64), over(&bucket, PART as u64));
    let bytes = content("ended", 3 * PART + 5);
    let digest = Algorithm::Sha256.digest(&bytes);
    let parked = staged(&here.0, "ended", &bytes).await.park().await.unwrap();
    let ingest = here.0.resume(&id("ended"), Algorithm::Sha256, Some(parked)).await.unwrap().unwrap();
    assert!(there.0.discard(&id("ended")).await.unwrap());
    let failed = ingest.commit(&digest).await;
    assert!(matches!(failed, Err(CommitError::Store(Error::Discarded { .. }))), "{failed:?}");
    assert!(read(&there.0, &digest).await.is_none());
}

/// A question about an object is answered by what does not know of it yet; whoever reads it finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_lags_does_not_make_a_blob_absent() {
    let bucket = FaultyBucket::new();
    let (here, there) = (over(&bucket, PART as u64), over(&bucket, PART as u64));
    bucket.fail(|operation, _| (operation == "head" || operation == "list").then_some(Verdict::IsNotSeen));
    for size in [700, 3 * PART] {
        let bytes = content("lagging", size);
        let digest = Algorithm::Sha256.digest(&bytes);
        staged(&here.0, "lagging", &bytes).await.commit(&digest).await.unwrap();
        for store in [&here.0, &there.0] {
            assert_eq!(store.size(&digest).await.unwrap(), Some(size as u64));
            assert_eq!(read(store, &digest).await.unwrap(), bytes);
        }
    }
}

/// Whatever cannot be found out is an error, never an absence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_not_an_absence() {
    let bucket = FaultyBucket::new();
    let (store, _folder) = over(&bucket, PART as u64);
    let digest = Algorithm::Sha256.digest(b"whatever");
    for failing in ["head", "get"] {
        bucket.fail(move |operation, _| (operation == failing).then_some(Verdict::Fails));
        assert!(matches!(store.size(&digest).await, Err(Error::Unavailable { .. })), "{failing}");
        assert!(matches!(store.open(&digest).await, Err(Error::Unavailable { .. })), "{failing}");
        assert!(matches!(store.delete(&digest).await, Err(Error::Unavailable { .. })), "{failing}");
    }
    bucket.fail(|_, _| Some(Verdict::Fails));
    assert!(matches!(store.probe().await, Err(Error::Unavailable { .. })));
    assert!(store.staged().await.is_err());
    bucket.heal();
    store.probe().await.unwrap();
}

/// Whoever comes second uses what the first has named, and nobody's object is left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_one_large_blob_at_once_leave_one_object() {
    let bucket = FaultyBucket::new();
    let stores: Vec<_> = (0..4).map(|_| over(&bucket, PART as u64)).collect();
    let bytes = content("at once", 4 * PART + 1);
    let digest = Algorithm::Sha256.digest(&bytes);
    let mut ingests = Vec::new();
    for (number, (store, _)) in stores.iter().enumerate() {
        ingests.push(staged(store, &format!("at-once-{number}"), &bytes).await);
    }
    let committed = join_all(ingests.into_iter().map(|ingest| ingest.commit(&digest))).await;
    for committed in committed {
        assert_eq!(committed.unwrap(), bytes.len() as u64);
    }
    for (store, _) in &stores {
        assert_eq!(read(store, &digest).await.unwrap(), bytes);
        store.drained().await;
    }
    let (keys, uploads) = bucket.left().await;
    assert_eq!((keys.len(), uploads), (2, 0), "{keys:?}");
    assert!(stores[0].0.delete(&digest).await.unwrap());
    for (store, _) in &stores {
        store.drained().await;
        assert_eq!(store.size(&digest).await.unwrap(), None);
    }
    assert_eq!(bucket.left().await.0, Vec::<String>::new());
}

/// The pointer was written, and the answer was lost: it is ours all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pointer_whose_answer_was_lost_is_believed() {
    let bucket = FaultyBucket::new();
    let (store, _folder) = over(&bucket, PART as u64);
    let bytes = content("pointer", 4 * PART + 1);
    let digest = Algorithm::Sha256.digest(&bytes);
    let mut ingest = staged(&store, "pointer", &bytes).await;
    let mut is_first = true;
    bucket.fail(move |operation, key| {
        let is_pointer = operation == "put" && key.ends_with("/entrepot");
        (is_pointer && std::mem::take(&mut is_first)).then_some(Verdict::IsNotHeardOf)
    });
    absorb(&mut ingest, &[]).await;
    // The retries of a request are below this bucket: here the commit fails, and the next finds the pointer of an object that is gone.
    let failed = ingest.commit(&digest).await;
    assert!(matches!(failed, Err(CommitError::Store(Error::Unavailable { .. }))), "{failed:?}");
    store.drained().await;
    assert_eq!(read(&store, &digest).await.unwrap(), bytes, "what a pointer names is not removed");
    staged(&store, "pointer", &bytes).await.commit(&digest).await.unwrap();
    store.drained().await;
    assert_eq!(bucket.left().await.0.len(), 2);
}

/// A stored copy of another size is damaged: the verified one takes its place, wherever either is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_is_replaced() {
    for (size, is_pointer_damaged) in [(500, false), (3 * PART, false), (3 * PART, true)] {
        let bucket = FaultyBucket::new();
        let (store, _folder) = over(&bucket, PART as u64);
        let bytes = content("damaged", size);
        let digest = Algorithm::Sha256.digest(&bytes);
        let layout = &store.0.layout;
        if is_pointer_damaged {
            let pointer = crate::locations::Pointer::new("entrepot/uploads/gone".to_owned(), size as u64);
            bucket.put(&layout.pointer(&digest), pointer.encode().into()).await.unwrap();
        } else {
            bucket.put(&layout.data(&digest), bytes[..100].to_vec().into()).await.unwrap();
        }
        staged(&store, "damaged", &bytes).await.commit(&digest).await.unwrap();
        assert_eq!(store.size(&digest).await.unwrap(), Some(size as u64));
        assert_eq!(read(&store, &digest).await.unwrap(), bytes);
        store.drained().await;
        let (keys, _) = bucket.left().await;
        assert_eq!(keys.len(), if size > PART { 2 } else { 1 }, "{keys:?}");
    }
}

/// What one process has deleted no other finds, whatever it remembers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_is_seen_everywhere_and_what_comes_back_is_found() {
    let bucket = FaultyBucket::new();
    let (here, there) = (over(&bucket, PART as u64), over(&bucket, PART as u64));
    let bytes = content("deleted", 2 * PART + 1);
    let digest = Algorithm::Sha256.digest(&bytes);
    for is_known in [false, true, false] {
        let mut ingest = if is_known {
            here.0.begin_known(&id("deleted"), &digest).await.unwrap()
        } else {
            here.0.begin(&id("deleted"), Algorithm::Sha256).await.unwrap()
        };
        absorb(&mut ingest, &bytes).await;
        ingest.commit(&digest).await.unwrap();
        assert_eq!(read(&there.0, &digest).await.unwrap(), bytes);
        assert!(here.0.delete(&digest).await.unwrap());
        assert_eq!(there.0.size(&digest).await.unwrap(), None);
        assert!(there.0.open(&digest).await.unwrap().is_none());
        here.0.drained().await;
        assert_eq!(bucket.left().await.0, Vec::<String>::new());
    }
}

/// Its bytes are kept for those who read it here, and go when the last of them is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_while_it_is_deleted_goes_when_the_reader_is_done() {
    for size in [900, 3 * PART] {
        let bucket = FaultyBucket::new();
        let (store, _folder) = over(&bucket, PART as u64);
        let bytes = content("reading", size);
        let digest = Algorithm::Sha256.digest(&bytes);
        staged(&store, "reading", &bytes).await.commit(&digest).await.unwrap();
        store.drained().await;
        let reader = store.open(&digest).await.unwrap().unwrap();
        assert!(store.delete(&digest).await.unwrap());
        assert_eq!(store.size(&digest).await.unwrap(), None);
        store.drained().await;
        let frames: Vec<_> = reader.stream(ByteRange::new(10, 99)).try_collect().await.unwrap();
        assert_eq!(frames.concat(), bytes[10..100]);
        drop(reader);
        store.drained().await;
        assert_eq!(bucket.left().await.0, Vec::<String>::new());
    }
}

/// The bytes are not whole: the reader must not believe that they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_was_cut_ends_in_an_error() {
    let bucket = FaultyBucket::new();
    let (store, _folder) = over(&bucket, PART as u64);
    let bytes = content("cut", 900);
    let digest = Algorithm::Sha256.digest(&bytes);
    staged(&store, "cut", &bytes).await.commit(&digest).await.unwrap();
    let reader = store.open(&digest).await.unwrap().unwrap();
    bucket.put(&store.0.layout.data(&digest), bytes[..500].to_vec().into()).await.unwrap();
    let read: Vec<_> = reader.stream(None).collect().await;
    assert!(read.last().unwrap().is_err());
    bucket.delete(&store.0.layout.data(&digest)).await.unwrap();
    let read: Vec<_> = reader.stream(None).collect().await;
    assert!(matches!(read.as_slice(), [Err(_)]), "{read:?}");
}

/// However many uploads there are, and however slow the store is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_in_memory_have_a_bound() {
    const PART: usize = 1 << 20;
    let bucket = FaultyBucket::new();
    *bucket.delay.lock().unwrap() = Some(Duration::from_millis(2));
    let (store, _folder) = with_room(&bucket, PART as u64, PartsInFlight::new(3 << 20));
    let bytes = content("bound", 8 * PART + 1);
    let digest = Algorithm::Sha256.digest(&bytes);
    let uploads = (0..4).map(|number| {
        let (store, bytes, digest) = (store.clone(), &bytes, digest.clone());
        async move { staged(&store, &format!("bound-{number}"), bytes).await.commit(&digest).await.unwrap() }
    });
    join_all(uploads).await;
    let most = bucket.in_flight_most.load(std::sync::atomic::Ordering::Relaxed);
    assert!((PART..=3 * PART).contains(&most), "{most}");
    assert_eq!(read(&store, &digest).await.unwrap(), bytes);
}

/// The store copies within a bucket, and no byte comes here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_of_the_same_bucket_is_adopted_without_its_bytes() {
    let bucket = FaultyBucket::new();
    let (source, store) = (over(&bucket, PART as u64), over(&bucket, PART as u64));
    for (size, may_copy) in [(500, true), (3 * PART, true), (4 * PART, false)] {
        let bytes = content("adopted", size);
        let digest = Algorithm::Sha256.digest(&bytes);
        staged(&source.0, "adopted", &bytes).await.commit(&digest).await.unwrap();
        let reader = source.0.open(&digest).await.unwrap().unwrap();
        if !may_copy {
            bucket.fail(|operation, _| (operation == "copy").then_some(Verdict::Fails));
        }
        bucket.take_log();
        assert_eq!(store.0.adopt(&digest, &reader).await.unwrap(), size as u64);
        let is_read = bucket.take_log().iter().any(|asked| asked.starts_with("get"));
        assert_eq!(is_read, !may_copy);
        assert_eq!(read(&store.0, &digest).await.unwrap(), bytes);
    }
}

/// The content is another blob than was said at the beginning, and is one all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_may_name_another_digest_than_was_known() {
    let bucket = FaultyBucket::new();
    let (store, _folder) = over(&bucket, PART as u64);
    let said = Algorithm::Sha256.digest(b"something else");
    for size in [500, 3 * PART + 1] {
        let bytes = content("other", size);
        let digest = Algorithm::Sha256.digest(&bytes);
        let mut ingest = store.begin_known(&id("other"), &said).await.unwrap();
        absorb(&mut ingest, &bytes).await;
        ingest.commit(&digest).await.unwrap();
        assert_eq!(read(&store, &digest).await.unwrap(), bytes);
        assert!(read(&store, &said).await.is_none());
        store.drained().await;
        assert!(store.delete(&digest).await.unwrap());
        store.drained().await;
        let (keys, uploads) = bucket.left().await;
        assert_eq!((keys, uploads), (Vec::<String>::new(), 0));
    }
}

/// Small content is one request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_small_is_put_with_one_request() {
    let bucket = FaultyBucket::new();
    let (store, _folder) = over(&bucket, PART as u64);
    let digest = Algorithm::Sha256.digest(b"small");
    store.put(Whole::verify(vec!["small".into()], &digest).unwrap()).await.unwrap();
    assert_eq!(bucket.take_log(), [format!("put {}", store.0.layout.data(&digest))]);
}
