//! The store in files: the suite on one file system and on two, and what only files can do.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use entrepot_blobs::{
    AbsorbError, BlobStore, CommitError, Error, FilesystemStore, Ingest, StageId, StreamError, Whole,
};
use entrepot_oci::{Algorithm, ByteRange, Digest};
use futures_util::{TryStreamExt as _, stream};
use tempfile::TempDir;

/// Stages and blobs on one file system.
mod beside {
    fn store() -> (super::FilesystemStore, super::TempDir) {
        let (store, folder) = super::beside();
        assert!(!store.staging_is_elsewhere());
        (store, folder)
    }

    entrepot_blobs::blob_store_suite!(store);
}

/// Stages in memory, blobs on the disk; where the machine has but one file system, on one.
mod elsewhere {
    fn store() -> (super::FilesystemStore, (super::TempDir, super::TempDir)) {
        let (store, folders) = super::elsewhere();
        assert_eq!(store.staging_is_elsewhere(), super::device(&folders.0) != super::device(&folders.1));
        (store, folders)
    }

    entrepot_blobs::blob_store_suite!(store);
}

fn open(folder: &TempDir) -> Result<FilesystemStore, Error> {
    FilesystemStore::open(folder.path().join("root"), folder.path().join("staging"))
}

fn beside() -> (FilesystemStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open(&folder).unwrap(), folder)
}

fn elsewhere() -> (FilesystemStore, (TempDir, TempDir)) {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let store = FilesystemStore::open(folder.path().into(), other.path().join("staging")).unwrap();
    (store, (folder, other))
}

fn device(folder: &TempDir) -> u64 {
    fs::metadata(folder.path()).unwrap().dev()
}

fn stage(id: &str) -> StageId {
    id.parse().unwrap()
}

async fn staged(store: &FilesystemStore, id: &str, bytes: &'static [u8]) -> Ingest {
    let mut ingest = store.begin(&stage(id), Algorithm::Sha256).await.unwrap();
    ingest.absorb(stream::iter([Ok::<_, Error>(Bytes::from_static(bytes))]), u64::MAX).await.unwrap();
    ingest
}

async fn stored(store: &FilesystemStore, bytes: &'static [u8]) -> Digest {
    let digest = Algorithm::Sha256.digest(bytes);
    staged(store, "stored", bytes).await.commit(&digest).await.unwrap();
    digest
}

async fn read(store: &FilesystemStore, digest: &Digest) -> Result<Vec<u8>, StreamError> {
    let stream = store.open(digest).await.unwrap().unwrap().stream(None);
    stream.try_collect::<Vec<_>>().await.map(|parts| parts.concat())
}

/// Where the reference registry keeps the blob.
fn data(root: &Path, digest: &Digest) -> PathBuf {
    let (algorithm, hex) = (digest.algorithm(), digest.hex());
    root.join(format!("docker/registry/v2/blobs/{algorithm}/{}/{hex}/data", &hex[..2]))
}

/// Takes a folder out of the store's sight, or brings it back.
#[expect(clippy::disallowed_methods, reason = "nothing is published here")]
fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

const NONE: [PathBuf; 0] = [];

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if fs::metadata(&path).unwrap().is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn blobs_lie_where_the_reference_registry_keeps_them() {
    let (store, folder) = beside();
    let root = folder.path().join("root");
    let digest = stored(&store, b"as the reference registry").await;
    assert_eq!(fs::read(data(&root, &digest)).unwrap(), b"as the reference registry");
    assert_eq!(files(folder.path()), [data(&root, &digest)], "nothing else is left, of the opening or of the commit");
    drop(store);
    assert_eq!(read(&open(&folder).unwrap(), &digest).await.unwrap(), b"as the reference registry");
    assert!(open(&folder).unwrap().delete(&digest).await.unwrap());
    assert!(!fs::exists(data(&root, &digest).parent().unwrap()).unwrap());
}

#[tokio::test]
async fn commits_across_file_systems_leave_no_copies() {
    let (store, folders) = elsewhere();
    let digest = stored(&store, b"copied").await;
    assert_eq!(files(folders.0.path()), [data(folders.0.path(), &digest)]);
    assert_eq!(files(folders.1.path()), NONE);
    let wrong = Algorithm::Sha256.digest(b"else");
    staged(&store, "refused", b"refused").await.commit(&wrong).await.unwrap_err();
    assert_eq!(files(folders.0.path()), [data(folders.0.path(), &digest)]);
    assert_eq!(files(folders.1.path()), NONE);
}

#[tokio::test]
async fn a_file_of_the_wrong_size_is_replaced_by_the_next_commit() {
    let (store, folder) = beside();
    let digest = stored(&store, b"damaged and healed").await;
    let path = data(&folder.path().join("root"), &digest);
    for damage in ["", "damaged", "damaged and healed and longer"] {
        fs::write(&path, damage).unwrap();
        assert_eq!(stored(&store, b"damaged and healed").await, digest);
        assert_eq!(fs::read(&path).unwrap(), b"damaged and healed");
    }
}

fn whole(bytes: &'static [u8]) -> Whole {
    Whole::verify(vec![Bytes::from_static(bytes)], &Algorithm::Sha256.digest(bytes)).unwrap()
}

#[tokio::test]
async fn what_is_put_has_its_place_alone_and_leaves_nothing_behind() {
    let ((store, folder), (store_elsewhere, folders)) = (beside(), elsewhere());
    let digest = Algorithm::Sha256.digest(b"put");
    for (store, root, staging) in [
        (store, folder.path().join("root"), folder.path()),
        (store_elsewhere, folders.0.path().into(), folders.1.path()),
    ] {
        store.put(whole(b"put")).await.unwrap();
        assert_eq!(files(&root), [data(&root, &digest)]);
        assert_eq!(files(&staging.join("staging")), NONE);
    }
}

#[tokio::test]
async fn a_file_of_the_wrong_size_is_replaced_by_what_is_put() {
    let (store, folder) = beside();
    let digest = stored(&store, b"whole").await;
    fs::write(data(&folder.path().join("root"), &digest), "who").unwrap();
    store.put(whole(b"whole")).await.unwrap();
    assert_eq!(read(&store, &digest).await.unwrap(), b"whole");
}

#[tokio::test]
async fn what_cannot_be_put_in_its_place_leaves_nothing_behind() {
    let (store, folder) = beside();
    let content = whole(b"blocked");
    let place = data(&folder.path().join("root"), content.digest());
    fs::create_dir_all(&place).unwrap();
    let failed = store.put(content.clone()).await;
    assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    // Now it is absent, and its folder cannot be made.
    let shard = place.parent().unwrap().parent().unwrap();
    fs::remove_dir_all(shard).unwrap();
    std::os::unix::fs::symlink("nowhere", shard).unwrap();
    let failed = store.put(content).await;
    assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    assert_eq!(files(&folder.path().join("staging")), NONE);
}

#[tokio::test]
async fn a_file_of_the_wrong_size_is_replaced_by_an_adopted_blob() {
    let ((store, folder), (source, _keep)) = (beside(), beside());
    let digest = stored(&source, b"the whole").await;
    stored(&store, b"the whole").await;
    let path = data(&folder.path().join("root"), &digest);
    fs::write(&path, "a part").unwrap();
    let reader = source.open(&digest).await.unwrap().unwrap();
    assert_eq!(store.adopt(&digest, &reader).await.unwrap(), 9);
    assert_eq!(fs::read(&path).unwrap(), b"the whole");
}

#[tokio::test]
async fn an_adopted_blob_shares_its_bytes_where_it_can() {
    let ((store, folder), (source, other)) = (beside(), beside());
    let digest = stored(&source, b"shared").await;
    let reader = source.open(&digest).await.unwrap().unwrap();
    store.adopt(&digest, &reader).await.unwrap();
    let inode = |folder: &TempDir| fs::metadata(data(&folder.path().join("root"), &digest)).unwrap().ino();
    assert_eq!(inode(&folder), inode(&other));
}

#[tokio::test]
async fn a_blob_of_another_file_system_is_copied() {
    let (store, _folder) = beside();
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let source = open(&memory).unwrap();
    let digest = stored(&source, b"from afar").await;
    let reader = source.open(&digest).await.unwrap().unwrap();
    assert_eq!(store.adopt(&digest, &reader).await.unwrap(), 9);
    drop(memory);
    assert_eq!(read(&store, &digest).await.unwrap(), b"from afar");
}

#[tokio::test]
async fn a_file_that_got_shorter_is_an_error_and_no_end() {
    let (store, folder) = beside();
    let digest = stored(&store, b"it was longer than this").await;
    let reader = store.open(&digest).await.unwrap().unwrap();
    let path = data(&folder.path().join("root"), &digest);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(6).unwrap();
    for range in [None, ByteRange::new(4, 9), ByteRange::new(10, 11)] {
        let ended = reader.stream(range).try_collect::<Vec<_>>().await;
        assert!(matches!(ended, Err(StreamError::Truncated { .. })), "{range:?}: {ended:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_not_absent() {
    let (store, folder) = beside();
    let digest = stored(&store, b"out of sight").await;
    let path = data(&folder.path().join("root"), &digest);
    let shard = path.parent().unwrap().parent().unwrap();
    let hidden = shard.with_extension("hidden");
    rename(shard, &hidden);
    fs::write(shard, "a file in the place of a folder").unwrap();
    assert!(matches!(store.size(&digest).await, Err(Error::Io { .. })));
    assert!(matches!(store.open(&digest).await, Err(Error::Io { .. })));
    assert!(matches!(store.delete(&digest).await, Err(Error::Io { .. })));
    let failed = staged(&store, "blocked", b"out of sight").await.commit(&digest).await;
    assert!(matches!(failed, Err(CommitError::Store(Error::Io { .. }))), "{failed:?}");
    fs::remove_file(shard).unwrap();
    rename(&hidden, shard);
    assert_eq!(read(&store, &digest).await.unwrap(), b"out of sight");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(store.size(&digest).await, Err(Error::Io { .. })));
    assert!(matches!(store.open(&digest).await, Err(Error::Io { .. })));
}

#[tokio::test]
async fn a_folder_without_permission_is_an_error() {
    let (store, folder) = beside();
    let digest = stored(&store, b"forbidden").await;
    let path = data(&folder.path().join("root"), &digest);
    let shard = path.parent().unwrap().parent().unwrap();
    fs::set_permissions(shard, fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser is refused nothing.
    if fs::read_dir(shard).is_err() {
        assert!(matches!(store.size(&digest).await, Err(Error::Io { .. })));
        assert!(matches!(store.open(&digest).await, Err(Error::Io { .. })));
    }
    fs::set_permissions(shard, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(read(&store, &digest).await.unwrap(), b"forbidden");
}

#[tokio::test]
async fn an_empty_mount_point_is_not_an_empty_store() {
    let (store, folder) = beside();
    let digest = stored(&store, b"on the volume").await;
    let (root, away) = (folder.path().join("root"), folder.path().join("away"));
    rename(&root, &away);
    fs::create_dir(&root).unwrap();
    assert!(store.size(&digest).await.is_err());
    assert!(store.open(&digest).await.is_err());
    assert!(store.delete(&digest).await.is_err());
    assert!(store.probe().await.is_err());
    fs::remove_dir_all(&root).unwrap();
    rename(&away, &root);
    assert_eq!(store.size(&digest).await.unwrap(), Some(13));
    store.probe().await.unwrap();
    fs::remove_dir_all(folder.path().join("staging")).unwrap();
    assert!(store.staged().await.is_err());
    assert!(store.probe().await.is_err());
}

#[tokio::test]
async fn leftovers_are_found_after_a_restart() {
    let (store, folder) = beside();
    staged(&store, "left-1", b"left").await.park().await.unwrap();
    // A process that is killed runs no destructor.
    std::mem::forget(staged(&store, "left-2", b"left over").await);
    fs::create_dir(folder.path().join("staging/lost+found")).unwrap();
    fs::write(folder.path().join("staging/README"), "not a stage").unwrap();
    fs::write(folder.path().join("staging/lost+found/Not.A.Stage"), "not a stage").unwrap();
    let store = open(&folder).unwrap();
    let mut staged = store.staged().await.unwrap();
    staged.sort_by_key(|entry| entry.stage.clone());
    let found: Vec<_> = staged.iter().map(|entry| (entry.stage.as_str(), entry.size)).collect();
    assert_eq!(found, [("left-1", 4), ("left-2", 9)]);
    let ingest = store.resume(&stage("left-2"), Algorithm::Sha256, None).await.unwrap().unwrap();
    ingest.commit(&Algorithm::Sha256.digest(b"left over")).await.unwrap();
    assert!(store.discard(&stage("left-1")).await.unwrap());
    assert!(store.staged().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_copy_whose_stage_is_lost_is_found_and_discarded() {
    let (store, folders) = elsewhere();
    if !store.staging_is_elsewhere() {
        return;
    }
    staged(&store, "lost", b"lost").await.park().await.unwrap();
    let staging = folders.1.path().join("staging");
    let lost = files(&staging).remove(0);
    let copy = folders.0.path().join(".staging").join(lost.strip_prefix(&staging).unwrap());
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(&lost, &copy).unwrap();
    assert_eq!(store.staged().await.unwrap().len(), 1);
    fs::remove_file(&lost).unwrap();
    assert_eq!(store.staged().await.unwrap().len(), 1);
    assert!(store.discard(&stage("lost")).await.unwrap());
    assert!(store.staged().await.unwrap().is_empty());
    assert_eq!(files(folders.0.path()), NONE);
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full() {
    let (store, folder) = beside();
    staged(&store, "full", b"").await.park().await.unwrap();
    let path = files(&folder.path().join("staging")).remove(0);
    fs::remove_file(&path).unwrap();
    // A file of the kind that never has room.
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let mut ingest = store.resume(&stage("full"), Algorithm::Sha256, None).await.unwrap().unwrap();
    let failed = ingest.absorb(stream::iter([Ok::<_, Error>(Bytes::from_static(b"more"))]), u64::MAX).await;
    let Err(AbsorbError::Store(error)) = failed else { panic!("{failed:?}") };
    assert!(error.is_full(), "{error:?}");
    assert_eq!(ingest.offset(), 0);
    drop(ingest);
    assert!(store.staged().await.unwrap().is_empty());
}

#[test]
fn a_folder_that_cannot_be_made_is_named_with_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    for (root, staging) in [(blocked.join("root"), folder.path().join("a")), (folder.path().join("b"), blocked.clone())]
    {
        let error = FilesystemStore::open(root, staging).unwrap_err();
        let Error::Io { path, source, .. } = &error else { panic!("{error:?}") };
        assert!(path.starts_with(&blocked), "{error}: {source}");
    }
}
