//! Tests of the store over a bucket in memory, which can fail.

mod bucket;
mod faults;
mod takeover;

use std::sync::Arc;

use entrepot_blobs::{BlobStore, Ingest, StageId};
use entrepot_oci::{Algorithm, Digest};
use futures_util::{TryStreamExt as _, stream};
use object_store::path::Path;
use tempfile::TempDir;

use self::bucket::FaultyBucket;
use crate::bucket::Bucket;
use crate::parts_in_flight::PartsInFlight;
use crate::schedule::Schedule;
use crate::store::Parts;
use crate::{Metrics, ObjectStore};

/// Bytes of a part in these tests.
const PART: usize = 1000;

/// A store over `bucket`, with a staging folder of its own.
fn over(bucket: &Arc<FaultyBucket>, part: u64) -> (ObjectStore, TempDir) {
    with_room(bucket, part, PartsInFlight::default())
}

fn with_room(bucket: &Arc<FaultyBucket>, part: u64, parts_in_flight: PartsInFlight) -> (ObjectStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = ObjectStore::assemble(Parts {
        bucket: Bucket::new(Arc::clone(bucket), None, "test".to_owned(), true),
        prefix: Path::from("some/prefix"),
        schedule: Schedule::growing(part),
        memory: parts_in_flight,
        metrics: Metrics::default(),
        staging: folder.path().to_owned(),
    });
    (store.unwrap(), folder)
}

fn id(text: &str) -> StageId {
    text.parse().unwrap()
}

fn content(name: &str, length: usize) -> Vec<u8> {
    let mut state = name.bytes().fold(7_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

async fn absorb(ingest: &mut Ingest, bytes: &[u8]) {
    let frames: Vec<_> = bytes.chunks(777).map(|frame| Ok::<_, std::io::Error>(frame.to_vec().into())).collect();
    ingest.absorb(stream::iter(frames), u64::MAX).await.unwrap();
}

async fn staged(store: &ObjectStore, stage: &str, bytes: &[u8]) -> Ingest {
    let mut ingest = store.begin(&id(stage), Algorithm::Sha256).await.unwrap();
    absorb(&mut ingest, bytes).await;
    ingest
}

async fn read(store: &ObjectStore, digest: &Digest) -> Option<Vec<u8>> {
    let reader = store.open(digest).await.unwrap()?;
    let frames: Vec<_> = reader.stream(None).try_collect().await.unwrap();
    Some(frames.concat())
}

mod suite_of_small_parts {
    fn store() -> (crate::ObjectStore, tempfile::TempDir) {
        super::over(&super::FaultyBucket::new(), 100_000)
    }

    entrepot_blobs::blob_store_suite!(store);
}

mod suite_of_large_parts {
    fn store() -> (crate::ObjectStore, tempfile::TempDir) {
        super::over(&super::FaultyBucket::new(), crate::PART_BYTES_DEFAULT)
    }

    entrepot_blobs::blob_store_suite!(store);
}
