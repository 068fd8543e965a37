//! The contract of [`BlobStore`] as cases that every store runs.
//!
//! A store's test file calls [`blob_store_suite!`](crate::blob_store_suite) with a function that makes a store; cases
//! use ids and content of their own, so they may share one store. What only one kind of store can do stays in that
//! store's own tests. A fault found in one store becomes a case here.

#![expect(clippy::missing_panics_doc, reason = "a case panics where the store breaks the contract: that is its result")]

mod adopt;
mod blobs;
mod follow;
mod stages;
mod whole;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest};
use futures_core::Stream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use self::adopt::*;
pub use self::blobs::*;
pub use self::follow::*;
pub use self::stages::*;
pub use self::whole::*;
use crate::{BlobStore, BlobStream, Ingest, StageId, StreamError};

/// Makes a test of every case: `blob_store_suite!(make)`, where the expression `make()` is a tuple of a store and of
/// whatever must live as long as the store. `blob_store_suite!(make, sha256 only)` leaves out the cases that store something by its
/// SHA-512.
#[macro_export]
macro_rules! blob_store_suite {
    ($make:path) => {
        $crate::blob_store_suite! { $make, sha256 only }
        $crate::blob_store_suite! { $make:
            sha512_is_verified_and_kept
            a_commit_may_name_another_algorithm_than_the_running_one
            a_stage_without_its_parked_hash_is_read_again
            what_is_put_is_a_blob
        }
    };
    ($make:path, sha256 only) => {
        $crate::blob_store_suite! { $make:
            nothing_is_visible_before_the_commit
            a_wrong_digest_keeps_nothing
            an_empty_blob_is_a_blob
            commits_are_idempotent
            concurrent_commits_of_one_digest_all_succeed
            ranges_are_exact
            pieces_stand_for_the_same_bytes
            deleted_blobs_are_absent
            a_reader_goes_on_when_its_blob_is_deleted
            a_parked_stage_is_taken_up_again
            a_parked_hash_of_other_bytes_is_not_trusted
            a_dropped_ingest_leaves_nothing
            stages_are_listed_and_discarded
            beginning_again_discards_the_earlier_stage
            an_ingest_whose_stage_was_discarded_makes_no_blob
            the_limit_counts_the_whole_stage
            a_failing_source_keeps_what_came_before
            what_a_stalled_source_sent_is_written
            a_cancelled_absorb_loses_nothing
            a_fast_transfer_is_taken_up_where_it_was_cut_off
            frames_of_every_size_arrive_in_order
            large_transfers_wait_for_the_disk_and_not_in_memory
            followers_read_the_same_bytes_at_their_own_pace
            a_range_is_followed_to_its_end
            the_last_byte_is_held_back_until_the_digest_is_verified
            followers_of_a_corrupt_transfer_never_get_its_last_byte
            followers_of_a_failed_transfer_get_an_error
            followers_survive_the_deletion_of_the_blob
            waiting_for_a_byte_ends_when_it_can_be_read
            a_blob_from_memory_is_adopted
            a_blob_from_files_is_adopted
            a_corrupt_blob_is_not_adopted
            what_was_parked_can_be_written_down_where_the_store_is_shared
            content_of_a_known_digest_is_a_blob
            other_content_than_was_said_is_not_whole
            what_is_here_can_be_put_again
            content_that_is_put_and_committed_at_once_is_one_blob
        }
    };
    ($make:path: $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, _keep) = $make();
                $crate::suite::$case(&store).await;
            }
        )*
    };
}

/// How long a case waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what must happen; a store that never does it fails the case instead of stopping the run.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens soon")
}

/// Runs a part of a case beside the rest of it.
#[expect(clippy::disallowed_methods, reason = "a case waits for what it started, or fails")]
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}

/// Content that is the same for the same `name` and `length`, and otherwise different.
fn content(name: &str, length: usize) -> Bytes {
    let mut state = name
        .bytes()
        .fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

fn sha256(bytes: &[u8]) -> Digest {
    Algorithm::Sha256.digest(bytes)
}

fn stage(id: &str) -> StageId {
    id.parse().expect("a stage id")
}

/// A source of `bytes` in frames of `length`.
fn frames(bytes: &Bytes, length: usize) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin + Send + use<> {
    let bytes = bytes.clone();
    let starts = (0..bytes.len()).step_by(length);
    stream::iter(starts.map(move |start| Ok(bytes.slice(start..bytes.len().min(start + length)))))
}

/// A source that the case feeds. Closing the sender ends it.
fn channel() -> (mpsc::UnboundedSender<Bytes>, impl Stream<Item = Result<Bytes, Infallible>> + Unpin + Send) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    (sender, stream::poll_fn(move |context| receiver.poll_recv(context)).map(Ok))
}

/// Begins a stage and takes all of `bytes` into it.
async fn staged(store: &dyn BlobStore, id: &str, bytes: &Bytes) -> Ingest {
    let mut ingest = store.begin(&stage(id), Algorithm::Sha256).await.expect("a stage begins");
    let absorbed = ingest.absorb(frames(bytes, 16 << 10), u64::MAX).await.expect("bytes are absorbed");
    assert_eq!(absorbed, bytes.len() as u64);
    ingest
}

/// Makes `bytes` a blob.
async fn stored(store: &dyn BlobStore, id: &str, bytes: &Bytes) -> Digest {
    let digest = sha256(bytes);
    staged(store, id, bytes).await.commit(&digest).await.expect("a commit");
    digest
}

async fn collect(stream: BlobStream) -> Result<Vec<u8>, StreamError> {
    soon(stream.try_fold(Vec::new(), |mut all, bytes| async move {
        all.extend_from_slice(&bytes);
        Ok(all)
    }))
    .await
}

/// The whole blob; it must be there.
async fn read(store: &dyn BlobStore, digest: &Digest) -> Vec<u8> {
    let reader = store.open(digest).await.expect("the store answers").expect("the blob is there");
    let bytes = collect(reader.stream(None)).await.expect("the blob can be read");
    assert_eq!(reader.size(), bytes.len() as u64);
    bytes
}

async fn assert_absent(store: &dyn BlobStore, digest: &Digest) {
    assert_eq!(store.size(digest).await.expect("the store answers"), None);
    assert!(store.open(digest).await.expect("the store answers").is_none());
}

/// Waits until nothing of the stage is listed any more: a store that is far away removes what has ended after it has answered.
async fn assert_unstaged(store: &dyn BlobStore, id: &str) {
    soon(async {
        while staged_size(store, id).await.is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The size of what is staged under `id`.
async fn staged_size(store: &dyn BlobStore, id: &str) -> Option<u64> {
    let listed = store.staged().await.expect("stages are listed");
    let mut found = listed.iter().filter(|entry| entry.stage == stage(id));
    let size = found.next().map(|entry| entry.size);
    assert_eq!(found.next(), None, "a stage is listed once");
    size
}
