//! What the suite cannot know: files, restarts, and other users of the file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use entrepot_metadata::{
    BlobLink, Error, Eviction, ManifestPush, MetadataStore, MissingOr, Page, Pin, ProtectedTags, PushOutcome,
    ReferenceCheck, TagCondition, Timestamp, Totals, UploadId, UploadRow, Use, suite,
};
use entrepot_metadata_sqlite::{OpenError, SqliteStore};
use entrepot_oci::{Algorithm, Digest, Manifest, MediaType, RepositoryName, Tag, TagOrDigest};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

const NOW: Timestamp = Timestamp::from_milliseconds(1_700_000_000_000);

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.sqlite");
    (folder, path)
}

fn app() -> RepositoryName {
    "team/app".parse().unwrap()
}

fn latest() -> Tag {
    "latest".parse().unwrap()
}

/// A push of an index that differs by `number`.
fn push(number: u32) -> ManifestPush {
    let text = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"number":"{number}"}}}}"#);
    let media_type = MediaType::OCI_INDEX.parse().unwrap();
    let manifest = Manifest::parse(Bytes::from(text), Some(&media_type)).unwrap();
    ManifestPush {
        repository: app(),
        digest: manifest.digest(Algorithm::Sha256),
        manifest,
        tags: vec![latest(), format!("v{number}").parse().unwrap()],
        references: ReferenceCheck::Required,
        unmovable: Vec::new(),
        may_create_tags: true,
        condition: TagCondition::None,
        now: NOW,
    }
}

fn blob() -> BlobLink {
    BlobLink { digest: Algorithm::Sha256.digest(b"a"), size: 1 }
}

fn upload() -> UploadRow {
    let owner = "alice".to_owned();
    UploadRow { id: UploadId::from_random(1), repository: app(), owner, algorithm: Algorithm::Sha256, touched_at: NOW }
}

/// Asserts that there is nothing wrong with a file that no store has open.
fn assert_sound(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let verdict: String = connection.pragma_query_one(None, "integrity_check").unwrap();
    assert_eq!(verdict, "ok", "{}", path.display());
    let mut violations = connection.prepare("PRAGMA foreign_key_check").unwrap();
    assert!(!violations.exists([]).unwrap(), "{} has rows without their parents", path.display());
    for (kept, derived) in DERIVED {
        for (one, other) in [(kept, derived), (derived, kept)] {
            let mut difference = connection.prepare(&format!("{one} EXCEPT {other}")).unwrap();
            assert!(!difference.exists([]).unwrap(), "{} differs: {one} EXCEPT {other}", path.display());
        }
    }
}

/// What triggers keep, and what it must be at any time.
const DERIVED: [(&str, &str); 3] = [
    ("SELECT * FROM entries", "SELECT * FROM (SELECT * FROM manifest_entries UNION ALL SELECT * FROM blob_entries)"),
    (
        "SELECT bytes, blobs, manifests FROM totals",
        "SELECT coalesce(sum(size), 0), count(*), (SELECT count(*) FROM manifests) FROM blobs WHERE holders > 0",
    ),
    ("SELECT digest, holders FROM blobs WHERE holders > 0", "SELECT digest, count(*) FROM blob_links GROUP BY digest"),
];

/// The count of a table's rows, seen past the store.
fn count(path: &Path, table: &str) -> i64 {
    Connection::open(path).unwrap().query_one(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// Runs a statement past the store.
fn meddle(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_passes_and_leaves_sound_files() {
    run_suite(|store| store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_passes_with_what_is_remembered() {
    run_suite(SqliteStore::remembering).await;
}

async fn run_suite(set_up: impl Fn(SqliteStore) -> SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    suite::run(|case| {
        let store = set_up(SqliteStore::open(&folder.path().join(format!("{case}.sqlite"))).unwrap());
        std::future::ready(Arc::new(store) as Arc<dyn MetadataStore>)
    })
    .await;
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 30, "only {} files", files.len());
    for file in files {
        assert!(file.extension().is_some_and(|extension| extension == "sqlite"), "{} was left", file.display());
        assert_sound(&file);
    }
}

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.push_manifest(push(1)).await.unwrap(), PushOutcome::Stored);
    store.link_blob(&app(), &blob(), NOW).await.unwrap();
    store.create_upload(&upload(), 1).await.unwrap();
    drop(store);

    let store = SqliteStore::open(&path).unwrap();
    let row = store.tagged_manifest(&app(), &latest()).await.unwrap().unwrap();
    assert_eq!((row.digest, &row.bytes), (push(1).digest, push(1).manifest.bytes()));
    assert_eq!(store.blob(&app(), &blob().digest).await.unwrap(), Some(blob()));
    assert_eq!(store.upload(&upload().id).await.unwrap(), Some(upload()));
}

/// Opens a copy of the files as they are now, which is what a kill would leave.
fn copy_of(path: &Path, folder: &Path, name: &str) -> SqliteStore {
    // Reading them in this process drops its locks on them, which no other process is waiting for here.
    let copy = folder.join(name);
    fs::copy(path, &copy).unwrap();
    fs::copy(log_of(path), log_of(&copy)).unwrap();
    SqliteStore::open(&copy).unwrap()
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

#[tokio::test]
async fn every_answered_write_is_in_the_files_at_once() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    for number in 0..10 {
        store.push_manifest(push(number)).await.unwrap();
        let copy = copy_of(&path, folder.path(), &format!("push-{number}"));
        assert_eq!(copy.tag(&app(), &latest()).await.unwrap().unwrap().digest, push(number).digest);
    }
    store.create_upload(&upload(), 1).await.unwrap();
    let copy = copy_of(&path, folder.path(), "created");
    assert_eq!(copy.upload(&upload().id).await.unwrap(), Some(upload()));

    assert!(store.finish_upload(&upload().id, None, &app(), &blob(), NOW).await.unwrap());
    let copy = copy_of(&path, folder.path(), "finished");
    assert_eq!(copy.upload(&upload().id).await.unwrap(), None);
    assert_eq!(copy.blob(&app(), &blob().digest).await.unwrap(), Some(blob()));

    store.delete_manifest(&app(), &push(9).digest, &ProtectedTags::default()).await.unwrap();
    let copy = copy_of(&path, folder.path(), "deleted");
    assert_eq!(copy.tag(&app(), &latest()).await.unwrap(), None);
    drop(copy);
    assert_sound(&folder.path().join("deleted"));
}

#[tokio::test]
async fn a_log_that_is_cut_off_loses_whole_writes_only() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    for number in 0..5 {
        store.push_manifest(push(number)).await.unwrap();
    }
    let log = fs::read(log_of(&path)).unwrap();
    for (round, length) in (0..log.len()).step_by(2999).enumerate() {
        let copy = folder.path().join(format!("cut-{round}"));
        fs::copy(&path, &copy).unwrap();
        fs::write(log_of(&copy), &log[..length]).unwrap();
        let store = SqliteStore::open(&copy).unwrap();
        if let MissingOr::Found(tags) = store.tags(&app(), &Page { after: None, limit: 9 }).await.unwrap() {
            // Each push brought a tag of its own and `latest`, which is on the last one.
            let last = u32::try_from(tags.len()).unwrap() - 2;
            let row = store.tagged_manifest(&app(), &latest()).await.unwrap().unwrap();
            assert_eq!((row.digest, &row.bytes), (push(last).digest, push(last).manifest.bytes()));
        }
        drop(store);
        assert_sound(&copy);
    }
}

#[tokio::test]
async fn the_bytes_of_a_manifest_are_kept_once_and_go_with_the_last_repository() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    let other: RepositoryName = "other".parse().unwrap();
    store.push_manifest(push(1)).await.unwrap();
    store.push_manifest(ManifestPush { repository: other.clone(), ..push(1) }).await.unwrap();
    assert_eq!((count(&path, "manifests"), count(&path, "manifest_contents")), (2, 1));
    store.delete_manifest(&app(), &push(1).digest, &ProtectedTags::default()).await.unwrap();
    assert_eq!((count(&path, "manifests"), count(&path, "manifest_contents")), (1, 1));
    store.delete_manifest(&other, &push(1).digest, &ProtectedTags::default()).await.unwrap();
    for table in ["manifests", "manifest_contents", "manifest_references", "referrers", "tags"] {
        assert_eq!(count(&path, table), 0, "{table}");
    }
}

#[tokio::test]
async fn a_lock_of_another_process_stops_writes_but_not_look_ups() {
    let (_folder, path) = place();
    let store = SqliteStore::open_waiting(&path, Duration::from_millis(50)).unwrap();
    store.push_manifest(push(1)).await.unwrap();
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE; DELETE FROM uploads").unwrap();

    let refused = store.push_manifest(push(2)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert_eq!(store.tag(&app(), &latest()).await.unwrap().unwrap().digest, push(1).digest);
    store.probe().await.unwrap();

    foreign.execute_batch("COMMIT").unwrap();
    assert_eq!(store.manifest(&app(), &push(2).digest).await.unwrap(), None);
    store.push_manifest(push(2)).await.unwrap();
    assert_eq!(store.tag(&app(), &latest()).await.unwrap().unwrap().digest, push(2).digest);
}

#[tokio::test]
async fn two_stores_of_one_file_see_each_others_writes() {
    let (_folder, path) = place();
    let (one, other) = (SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap());
    let (name, blob) = (app(), blob());
    for number in 0..10 {
        let (pushed, linked) = tokio::join!(one.push_manifest(push(number)), other.link_blob(&name, &blob, NOW));
        assert_eq!(pushed.unwrap(), PushOutcome::Stored);
        linked.unwrap();
        assert_eq!(other.tag(&app(), &latest()).await.unwrap().unwrap().digest, push(number).digest);
    }
    drop(one);
    drop(other);
    assert_sound(&path);
}

/// The number of a pushed index, out of its bytes.
fn number_of(bytes: &Bytes) -> u32 {
    let manifest: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    manifest["annotations"]["number"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_reads_anything_older_than_what_was_answered_or_read_before() {
    const PUSHES: u32 = 300;
    let (_folder, path) = place();
    let store = Arc::new(SqliteStore::open(&path).unwrap().remembering());
    store.push_manifest(push(0)).await.unwrap();
    let answered = Arc::new(AtomicU32::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let (store, answered) = (Arc::clone(&store), Arc::clone(&answered));
        readers.spawn(async move {
            let mut least = 0;
            while least < PUSHES {
                least = least.max(answered.load(Ordering::SeqCst));
                let row = store.tagged_manifest(&app(), &latest()).await.unwrap().unwrap();
                let found = number_of(&row.bytes);
                assert!(found >= least, "{found} after {least}");
                // Whoever has seen the tag moved, finds its manifest as well.
                assert!(store.manifest(&app(), &row.digest).await.unwrap().is_some());
                least = found;
                tokio::task::yield_now().await;
            }
        });
    }
    for number in 1..=PUSHES {
        store.push_manifest(push(number)).await.unwrap();
        answered.store(number, Ordering::SeqCst);
        assert_eq!(number_of(&store.tagged_manifest(&app(), &latest()).await.unwrap().unwrap().bytes), number);
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    assert!(store.memory_counts().hits > 0, "nothing was remembered");
    let protected = ProtectedTags::default();
    store.delete_manifest(&app(), &push(PUSHES).digest, &protected).await.unwrap();
    assert_eq!(store.tagged_manifest(&app(), &latest()).await.unwrap(), None);
    assert_eq!(store.manifest(&app(), &push(PUSHES).digest).await.unwrap(), None);
    store.link_blob(&app(), &blob(), NOW).await.unwrap();
    assert_eq!(store.blob(&app(), &blob().digest).await.unwrap(), Some(blob()));
    store.unlink_blob(&app(), &blob().digest, &protected).await.unwrap();
    assert_eq!(store.blob(&app(), &blob().digest).await.unwrap(), None);
}

#[tokio::test]
async fn damage_is_told_and_never_taken_for_absence() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store.push_manifest(push(1)).await.unwrap();
    store.create_upload(&upload(), 1).await.unwrap();
    let digest: Digest = push(1).digest;
    meddle(&path, "UPDATE manifests SET media_type = 'no type'");
    meddle(&path, "UPDATE uploads SET algorithm = 'md5'");
    meddle(&path, "UPDATE tags SET name = '../x' WHERE name = 'v1'");
    let rows = [
        (store.manifest(&app(), &digest).await.err(), "manifests.media_type holds \"no type\""),
        (store.tagged_manifest(&app(), &latest()).await.err(), "manifests.media_type holds \"no type\""),
        (store.upload(&upload().id).await.err(), "uploads.algorithm holds \"md5\""),
        (store.tags(&app(), &Page { after: None, limit: 9 }).await.err(), "tags.name holds \"../x\""),
    ];
    for (error, expected) in rows {
        assert!(matches!(&error, Some(Error::Corrupt { what }) if what == expected), "{error:?}");
    }
    // A damaged row does not harm the others.
    assert_eq!(store.tag(&app(), &latest()).await.unwrap().unwrap().digest, digest);
}

/// A file as the first version left it, with two repositories.
fn write_first_version(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.execute_batch(include_str!("../migrations/0001_initial.sql")).unwrap();
    connection.pragma_update(None, "application_id", 0x456e_7472).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    let [config, layer, lone] = ["config", "layer", "lone"].map(|text| Algorithm::Sha256.digest(text.as_bytes()));
    let [image, index] = ["image", "index"].map(|text| Algorithm::Sha256.digest(text.as_bytes()));
    let media_type = MediaType::OCI_INDEX;
    let rows = format!(
        "INSERT INTO repositories VALUES (1, 'other', 1), (2, 'team/app', 1);
        INSERT INTO manifest_contents VALUES (1, '{image}', CAST('image' AS BLOB)), (2, '{index}', CAST('index' AS BLOB));
        INSERT INTO manifests VALUES (1, 2, '{image}', 1, '{media_type}', 65), (2, 2, '{index}', 2, '{media_type}', 60),
            (3, 1, '{image}', 1, '{media_type}', 70);
        INSERT INTO manifest_references VALUES (2, '{config}', 1, 'config', 6), (2, '{layer}', 1, 'layer', 5),
            (2, '{image}', 2, 'child', 5), (1, '{config}', 3, 'config', 6), (1, '{layer}', 3, 'layer', 5);
        INSERT INTO tags VALUES (2, 'latest', 2, 60);
        INSERT INTO blob_links VALUES ('team/app', '{config}', 6, 10), ('team/app', '{layer}', 500, 10),
            ('other', '{layer}', 5, 20), ('other', '{lone}', 4, 30);"
    );
    connection.execute_batch(&rows).unwrap();
    let upload = format!("INSERT INTO uploads VALUES ('{}', 2, 'sha256', 60)", upload().id);
    connection.execute_batch(&upload).unwrap();
}

#[tokio::test]
async fn a_file_of_the_first_version_is_taken_over_with_its_content() {
    let (_folder, path) = place();
    write_first_version(&path);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.totals().await.unwrap(), Totals { bytes: 6 + 5 + 4, blobs: 3, manifests: 3 });
    let entries = store.entries(None, &Page { after: None, limit: 9 }).await.unwrap();
    let at = Timestamp::from_milliseconds;
    let mut seen: Vec<_> =
        entries.iter().map(|entry| (entry.repository.as_str(), entry.used_at, entry.bytes, entry.tags.len())).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("other", at(30), 4, 0), ("other", at(70), 5, 0), ("team/app", at(65), 506, 1)]);
    assert_eq!(store.unheld_blobs(9).await.unwrap(), []);
    let image = Algorithm::Sha256.digest(b"image");
    assert_eq!(store.manifest(&app(), &image).await.unwrap().unwrap().bytes, "image");

    let unowned = UploadRow { owner: String::new(), touched_at: at(60), ..upload() };
    assert_eq!(store.upload(&upload().id).await.unwrap(), Some(unowned));

    // Everything works on it that works on a new one.
    store.touch(vec![Use { repository: app(), digest: image, at: at(80) }]).await.unwrap();
    let eviction = Eviction { used_before: at(80), bytes: u64::MAX, entries_max: 9, is_dry_run: false };
    let evicted = store.evict(&eviction).await.unwrap();
    assert_eq!(evicted.iter().map(|evicted| evicted.freed).collect::<Vec<_>>(), [4, 0]);
    assert_eq!(store.totals().await.unwrap(), Totals { bytes: 6 + 5, blobs: 2, manifests: 2 });
    drop(store);
    assert_sound(&path);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.tag(&app(), &latest()).await.unwrap().unwrap().digest, Algorithm::Sha256.digest(b"index"));
    store.push_manifest(push(1)).await.unwrap();
    store.link_blob(&app(), &blob(), NOW).await.unwrap();
    drop(store);
    assert_sound(&path);
}

#[tokio::test]
async fn uses_pins_and_unheld_blobs_are_there_after_a_kill() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store.push_manifest(push(1)).await.unwrap();
    store.link_blob(&app(), &blob(), NOW).await.unwrap();
    let at = Timestamp::from_milliseconds(NOW.milliseconds() + 5);
    store.touch(vec![Use { repository: app(), digest: push(1).digest, at }]).await.unwrap();
    let pin = Pin { repository: app(), reference: TagOrDigest::Tag(latest()), pinned_at: NOW };
    store.pin(&pin).await.unwrap();
    let eviction = Eviction { used_before: at, bytes: 1, entries_max: 9, is_dry_run: false };
    assert_eq!(store.evict(&eviction).await.unwrap().len(), 1);

    let copy = copy_of(&path, folder.path(), "evicted");
    assert_eq!(copy.unheld_blobs(9).await.unwrap(), [blob()]);
    assert_eq!(copy.pins(9).await.unwrap(), [pin]);
    let entries = copy.entries(None, &Page { after: None, limit: 9 }).await.unwrap();
    assert_eq!((entries.len(), entries[0].used_at, entries[0].is_pinned), (1, at, true));
    assert_eq!(copy.totals().await.unwrap(), Totals { bytes: 0, blobs: 0, manifests: 1 });
    drop(copy);
    assert_sound(&folder.path().join("evicted"));
}

#[tokio::test]
async fn an_entry_that_cannot_go_is_damage_and_no_endless_work() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store.link_blob(&app(), &blob(), NOW).await.unwrap();
    meddle(&path, "UPDATE entries SET manifest = 7");
    let used_before = Timestamp::from_milliseconds(i64::MAX);
    let eviction = Eviction { used_before, bytes: u64::MAX, entries_max: usize::MAX, is_dry_run: false };
    for error in [store.evict(&eviction).await.err(), store.forget(&app(), None).await.err()] {
        let Some(Error::Corrupt { what }) = &error else { panic!("{error:?}") };
        assert!(what.starts_with("entries.digest holds"), "{what}");
    }
    assert_eq!(store.blob(&app(), &blob().digest).await.unwrap(), Some(blob()));
}

#[test]
fn a_schema_of_a_later_version_is_refused_and_left_alone() {
    let (_folder, path) = place();
    drop(SqliteStore::open(&path).unwrap());
    meddle(&path, "PRAGMA user_version = 1000");
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { found: 1000, .. }), "{error:?}");
    assert!(error.to_string().contains("1000"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn files_of_others_are_refused_and_left_alone() {
    let (folder, path) = place();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "not a database, and longer than the header of one would be. ".repeat(10)).unwrap();
    for path in [path, text] {
        let before = fs::read(&path).unwrap();
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a13_the_files_are_their_owners_alone() {
    let (_folder, path) = place();
    let files = ["", "-wal", "-shm"].map(|ending| PathBuf::from(format!("{}{ending}", path.display())));
    let store = SqliteStore::open(&path).unwrap();
    store.push_manifest(push(1)).await.unwrap();
    for file in &files {
        assert_eq!(mode_of(file), 0o600, "{}", file.display());
    }
    // An older version has left it to the umask; and one that crashed has left its log.
    for file in &files {
        fs::set_permissions(file, fs::Permissions::from_mode(0o664)).unwrap();
    }
    let other = SqliteStore::open(&path).unwrap();
    for file in &files {
        assert_eq!(mode_of(file), 0o600, "{}", file.display());
    }
    drop(other);
    drop(store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    store.push_manifest(push(2)).await.unwrap();
    for file in &files {
        assert_eq!(mode_of(file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let (folder, file) = place();
    fs::write(&file, "a file").unwrap();
    let below = file.join("deeper");
    let error = SqliteStore::open(&below.join("metadata.sqlite")).unwrap_err();
    assert!(matches!(&error, OpenError::Folder { path, .. } if *path == below), "{error:?}");
    let error = SqliteStore::open(folder.path()).unwrap_err();
    assert!(matches!(&error, OpenError::Sqlite { path, .. } if path == folder.path()), "{error:?}");
}
