//! Moving everything here from SQLite.

use std::sync::Mutex;

use entrepot_metadata::moving::{MoveDestination, MoveError, MovedCounts, move_metadata};
use entrepot_metadata::{MetadataStore, suite};
use entrepot_metadata_sqlite::SqliteStore;

use crate::server::{SERVER, store};
use crate::suite::assert_sound;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_the_same_after_a_move() {
    let folder = tempfile::tempdir().unwrap();
    let url = SERVER.database();
    let source = SqliteStore::open(&folder.path().join("metadata.sqlite")).unwrap();
    suite::fill(&source).await;
    let destination = store(&url, "entrepot").await;
    let seen = Mutex::new(MovedCounts::default());
    let moved = move_metadata(&source, &destination, &|sent| *seen.lock().unwrap() = *sent).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), moved);
    assert!(moved.manifests > 40 && moved.referrers == 20 && moved.credentials == 3, "{moved:?}");
    suite::assert_same(&source, &destination).await;
    assert_sound(url.rsplit('/').next().unwrap(), "entrepot");

    // It goes on from there, and is not moved into twice.
    let again = move_metadata(&source, &destination, &|_| ()).await;
    assert!(matches!(&again, Err(MoveError::NotEmpty { table }) if table == "repositories"), "{again:?}");
    suite::assert_same(&source, &destination).await;
    destination.evict(&evict_everything()).await.unwrap();
    assert_sound(url.rsplit('/').next().unwrap(), "entrepot");
}

fn evict_everything() -> entrepot_metadata::Eviction {
    entrepot_metadata::Eviction {
        used_before: entrepot_metadata::Timestamp::from_milliseconds(i64::MAX),
        bytes: u64::MAX,
        entries_max: usize::MAX,
        is_dry_run: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_not_finished_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let url = SERVER.database();
    let source = SqliteStore::open(&folder.path().join("metadata.sqlite")).unwrap();
    suite::fill(&source).await;
    let destination = store(&url, "entrepot").await;
    let mut pages = entrepot_metadata::moving::MoveSource::rows(&source);
    let rows = futures_util::StreamExt::next(&mut pages).await.unwrap().unwrap();
    let mut taking = destination.begin().await.unwrap();
    taking.take(rows.clone()).await.unwrap();
    drop(taking);
    // Neither is one that lacks something made to last.
    let mut taking = destination.begin().await.unwrap();
    taking.take(rows).await.unwrap();
    let short = taking.finish(MovedCounts { tags: 1_000_000, ..MovedCounts::default() }).await;
    assert!(matches!(short, Err(MoveError::Counts { .. })), "{short:?}");
    move_metadata(&source, &destination, &|_| ()).await.unwrap();
    suite::assert_same(&source, &destination).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_store_is_moved_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let source = SqliteStore::open(&folder.path().join("metadata.sqlite")).unwrap();
    let destination = store(&SERVER.database(), "entrepot").await;
    let moved = move_metadata(&source, &destination, &|_| ()).await.unwrap();
    assert_eq!(moved, MovedCounts::default());
    assert!(destination.repositories(&entrepot_metadata::Page { after: None, limit: 9 }).await.unwrap().is_empty());
}
