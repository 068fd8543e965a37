//! Cases: what is a blob, when, and for how long.

use entrepot_oci::{Algorithm, ByteRange};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{
    assert_absent, assert_unstaged, collect, content, frames, read, sha256, spawn, stage, staged, staged_size, stored,
};
use crate::{BlobStore, CommitError};

/// Staged bytes are no blob; committed ones are, and the stage is gone.
pub async fn nothing_is_visible_before_the_commit(store: &dyn BlobStore) {
    let bytes = content("visible", 300_000);
    let digest = sha256(&bytes);
    let ingest = staged(store, "visible", &bytes).await;
    assert_absent(store, &digest).await;
    assert_eq!(staged_size(store, "visible").await, Some(300_000));
    assert_eq!(ingest.commit(&digest).await.unwrap(), 300_000);
    assert_eq!(store.size(&digest).await.unwrap(), Some(300_000));
    assert_eq!(read(store, &digest).await, bytes);
    assert_unstaged(store, "visible").await;
}

/// Neither the digest that was asked for, nor the one that was found, nor the stage.
pub async fn a_wrong_digest_keeps_nothing(store: &dyn BlobStore) {
    let (bytes, wanted) = (content("wrong", 5000), sha256(b"something else"));
    let refused = staged(store, "wrong", &bytes).await.commit(&wanted).await.unwrap_err();
    let CommitError::Mismatch { expected, actual } = refused else { panic!("{refused}") };
    assert_eq!((expected, actual), (wanted.clone(), sha256(&bytes)));
    assert_absent(store, &wanted).await;
    assert_absent(store, &sha256(&bytes)).await;
    assert_unstaged(store, "wrong").await;
}

/// SHA-512 is as good as SHA-256.
pub async fn sha512_is_verified_and_kept(store: &dyn BlobStore) {
    let bytes = content("sha512", 70_000);
    let digest = Algorithm::Sha512.digest(&bytes);
    for (expected, is_right) in [(Algorithm::Sha512.digest(b"else"), false), (digest.clone(), true)] {
        let mut ingest = store.begin(&stage("sha512"), Algorithm::Sha512).await.unwrap();
        ingest.absorb(frames(&bytes, 1000), u64::MAX).await.unwrap();
        assert_eq!(ingest.commit(&expected).await.is_ok(), is_right);
    }
    assert_eq!(read(store, &digest).await, bytes);
    assert_absent(store, &sha256(&bytes)).await;
}

/// The running hash is a hint: the closing digest decides, and is verified as strictly.
pub async fn a_commit_may_name_another_algorithm_than_the_running_one(store: &dyn BlobStore) {
    let bytes = content("other algorithm", 700_000);
    let wrong = Algorithm::Sha512.digest(b"else");
    let refused = staged(store, "other-algorithm", &bytes).await.commit(&wrong).await;
    assert!(matches!(refused, Err(CommitError::Mismatch { .. })));
    assert_absent(store, &wrong).await;
    let digest = Algorithm::Sha512.digest(&bytes);
    staged(store, "other-algorithm", &bytes).await.commit(&digest).await.unwrap();
    assert_eq!(read(store, &digest).await, bytes);
}

/// Nothing has a digest too.
pub async fn an_empty_blob_is_a_blob(store: &dyn BlobStore) {
    let digest = sha256(b"");
    let ingest = store.begin(&stage("empty"), Algorithm::Sha256).await.unwrap();
    assert_eq!(ingest.commit(&digest).await.unwrap(), 0);
    assert_eq!(store.size(&digest).await.unwrap(), Some(0));
    assert_eq!(read(store, &digest).await, b"");
}

/// The second commit of the same content succeeds as the first did.
pub async fn commits_are_idempotent(store: &dyn BlobStore) {
    let bytes = content("again", 40_000);
    let digest = stored(store, "again-1", &bytes).await;
    let reader = store.open(&digest).await.unwrap().unwrap();
    stored(store, "again-2", &bytes).await;
    assert_eq!(collect(reader.stream(None)).await.unwrap(), bytes);
    assert_eq!(read(store, &digest).await, bytes);
    assert_unstaged(store, "again-2").await;
}

/// Everybody who pushes the same blob at the same time has pushed it.
pub async fn concurrent_commits_of_one_digest_all_succeed(store: &dyn BlobStore) {
    let bytes = content("at once", 100_000);
    let digest = sha256(&bytes);
    let ids: Vec<String> = (0..32).map(|number| format!("at-once-{number}")).collect();
    let ingests = join_all(ids.iter().map(|id| staged(store, id, &bytes))).await;
    let commits = ingests.into_iter().map(|ingest| {
        let digest = digest.clone();
        spawn(async move { ingest.commit(&digest).await })
    });
    for committed in join_all(commits).await {
        assert_eq!(committed.unwrap().unwrap(), 100_000);
    }
    assert_eq!(read(store, &digest).await, bytes);
    for id in &ids {
        assert_unstaged(store, id).await;
    }
}

/// First bytes, last bytes, bytes across the edge of a buffer; and a range that is not there is an error.
pub async fn ranges_are_exact(store: &dyn BlobStore) {
    let bytes = content("ranges", 3_000_000);
    let digest = stored(store, "ranges", &bytes).await;
    let reader = store.open(&digest).await.unwrap().unwrap();
    for (first, last) in [(0, 0), (0, 2_999_999), (2_999_999, 2_999_999), (262_143, 262_144), (1_000_000, 1_999_999)] {
        let part = collect(reader.stream(ByteRange::new(first, last))).await.unwrap();
        let (first, last) = (usize::try_from(first).unwrap(), usize::try_from(last).unwrap());
        assert_eq!(part, bytes[first..=last], "{first}-{last}");
    }
    for (first, last) in [(2_999_999, 3_000_000), (3_000_000, 3_000_000), (5_000_000, u64::MAX)] {
        assert!(collect(reader.stream(ByteRange::new(first, last))).await.is_err(), "{first}-{last}");
    }
}

/// What is known beforehand is verified as strictly, and is no promise.
pub async fn content_of_a_known_digest_is_a_blob(store: &dyn BlobStore) {
    let (bytes, said) = (content("known", 3_000_000), sha256(b"what was said"));
    for (name, known, expected, is_right) in [
        ("known-wrong", said.clone(), said.clone(), false),
        ("known-other", said.clone(), sha256(&bytes), true),
        ("known-right", sha256(&bytes), sha256(&bytes), true),
        ("known-again", sha256(&bytes), sha256(&bytes), true),
    ] {
        let mut ingest = store.begin_known(&stage(name), &known).await.unwrap();
        ingest.absorb(frames(&bytes, 100_000), u64::MAX).await.unwrap();
        assert_eq!(ingest.commit(&expected).await.is_ok(), is_right, "{name}");
        assert_absent(store, &said).await;
        assert_unstaged(store, name).await;
        if is_right {
            assert_eq!(read(store, &expected).await, bytes);
        } else {
            assert_absent(store, &sha256(&bytes)).await;
        }
    }
}

/// Deletion is seen at once, and a deleted blob can come back.
pub async fn deleted_blobs_are_absent(store: &dyn BlobStore) {
    let bytes = content("deleted", 1000);
    assert!(!store.delete(&sha256(&bytes)).await.unwrap());
    for _ in 0..2 {
        let digest = stored(store, "deleted", &bytes).await;
        assert!(store.delete(&digest).await.unwrap());
        assert_absent(store, &digest).await;
        assert!(!store.delete(&digest).await.unwrap());
    }
}

/// Whoever has opened a blob, or begun to read it, gets all of it.
pub async fn a_reader_goes_on_when_its_blob_is_deleted(store: &dyn BlobStore) {
    let bytes = content("reading", 5_000_000);
    let digest = stored(store, "reading", &bytes).await;
    let reader = store.open(&digest).await.unwrap().unwrap();
    let mut begun = reader.stream(None);
    let first = begun.next().await.unwrap().unwrap();
    assert!(store.delete(&digest).await.unwrap());
    let rest: Vec<_> = begun.try_collect().await.unwrap();
    assert_eq!([&first[..], &rest.concat()].concat(), bytes);
    assert_eq!(collect(reader.stream(None)).await.unwrap(), bytes);
    assert_absent(store, &digest).await;
}
