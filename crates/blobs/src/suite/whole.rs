//! Cases: small content that is put as a whole.

use bytes::Bytes;
use entrepot_oci::Algorithm;
use futures_util::future::join_all;

use super::{assert_absent, collect, content, read, sha256, spawn, staged, stored};
use crate::{BlobStore, CommitError, Whole};

/// The content in two frames.
fn whole(bytes: &Bytes) -> Whole {
    let middle = bytes.len() / 2;
    Whole::verify(vec![bytes.slice(..middle), bytes.slice(middle..)], &sha256(bytes)).expect("its digest is right")
}

/// A blob like any other, of whatever algorithm, even when it is empty.
pub async fn what_is_put_is_a_blob(store: &dyn BlobStore) {
    for length in [0, 1, 4096, 32 << 10] {
        let bytes = content("put", length);
        let digest = sha256(&bytes);
        assert_absent(store, &digest).await;
        store.put(whole(&bytes)).await.unwrap();
        assert_eq!(store.size(&digest).await.unwrap(), Some(length as u64));
        assert_eq!(read(store, &digest).await, bytes);
        assert!(store.delete(&digest).await.unwrap());
        assert_absent(store, &digest).await;
    }
    let bytes = content("put", 5000);
    let digest = Algorithm::Sha512.digest(&bytes);
    store.put(Whole::verify(vec![bytes.clone()], &digest).unwrap()).await.unwrap();
    assert_eq!(read(store, &digest).await, bytes);
}

/// What was not verified cannot be put.
pub async fn other_content_than_was_said_is_not_whole(store: &dyn BlobStore) {
    let (bytes, wanted) = (content("not whole", 5000), sha256(b"something else"));
    let refused = Whole::verify(vec![bytes.clone()], &wanted).unwrap_err();
    let CommitError::Mismatch { expected, actual } = refused else { panic!("{refused}") };
    assert_eq!((&expected, &actual), (&wanted, &sha256(&bytes)));
    assert_absent(store, &expected).await;
    assert_absent(store, &actual).await;
}

/// Whichever way the content came first.
pub async fn what_is_here_can_be_put_again(store: &dyn BlobStore) {
    for (name, is_put) in [("put, then committed", [true, false, true]), ("committed, then put", [false, true, true])] {
        let bytes = content(name, 4096);
        let digest = sha256(&bytes);
        let mut reader = None;
        for is_put in is_put {
            if is_put {
                store.put(whole(&bytes)).await.unwrap();
            } else {
                stored(store, "put-again", &bytes).await;
            }
            if reader.is_none() {
                reader = store.open(&digest).await.unwrap();
            }
        }
        assert_eq!(collect(reader.unwrap().stream(None)).await.unwrap(), bytes, "{name}");
        assert_eq!(read(store, &digest).await, bytes, "{name}");
    }
}

/// Half of them as a whole, half through a stage.
pub async fn content_that_is_put_and_committed_at_once_is_one_blob(store: &dyn BlobStore) {
    let bytes = content("put at once", 4096);
    let digest = sha256(&bytes);
    let mut all = Vec::new();
    // What is put borrows the store, and so is waited for here, beside the tasks.
    let puts = join_all((0..16).map(|_| store.put(whole(&bytes))));
    for number in 0..16 {
        let (ingest, digest) = (staged(store, &format!("put-at-once-{number}"), &bytes).await, digest.clone());
        all.push(spawn(async move { ingest.commit(&digest).await }));
    }
    puts.await.into_iter().for_each(|put| put.expect("it is put"));
    for committed in join_all(all).await {
        assert_eq!(committed.unwrap().unwrap(), 4096);
    }
    assert_eq!(read(store, &digest).await, bytes);
}
