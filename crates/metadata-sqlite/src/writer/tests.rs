//! Tests of the writer: groups, failures, waits, and its log.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc as blocking;

use entrepot_metadata::Timestamp;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::limits::WRITE_WAIT_MAX;
use crate::{open, repositories};

const SHORT_WAIT: Duration = Duration::from_millis(100);

/// A writer of a fresh file.
fn writer(wait_max: Duration) -> (TempDir, PathBuf, Arc<Writer>) {
    let (folder, path, _readers, writer) = with_readers(wait_max);
    (folder, path, writer)
}

/// The same, and those who read what it writes.
fn with_readers(wait_max: Duration) -> (TempDir, PathBuf, Arc<Readers>, Arc<Writer>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.sqlite");
    let connection = open::writer(&path, wait_max).unwrap();
    let readers = Arc::new(Readers::new(path.clone()));
    let writer = Arc::new(Writer::start(connection, &readers, wait_max).unwrap());
    (folder, path, readers, writer)
}

/// What the tests write: a repository.
fn create(connection: &Connection, name: &str) -> Result<(), Failure> {
    repositories::ensure(connection, &name.parse().unwrap(), Timestamp::from_milliseconds(0))?;
    Ok(())
}

async fn write(writer: &Writer, name: &'static str) -> Result<(), Error> {
    writer.write(Changes::Nothing, move |connection| create(connection, name)).await
}

/// The repositories that are there for everyone.
fn stored(path: &Path) -> Vec<String> {
    let connection = open::reader(path).unwrap();
    let mut statement = connection.prepare("SELECT name FROM repositories ORDER BY name").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A write that keeps the thread until it is let go.
struct Hold {
    release: blocking::Sender<()>,
    write: JoinSet<Result<(), Error>>,
}

impl Hold {
    async fn new(writer: &Arc<Writer>) -> Self {
        let writer = Arc::clone(writer);
        let (started, has_started) = oneshot::channel();
        let (release, released) = blocking::channel();
        let mut write = JoinSet::new();
        write.spawn(async move {
            let wait = move |_: &Connection| {
                started.send(()).unwrap();
                released.recv().unwrap();
                Ok(())
            };
            writer.write(Changes::Nothing, wait).await
        });
        has_started.await.unwrap();
        Self { release, write }
    }

    async fn release(mut self) {
        self.release.send(()).unwrap();
        self.write.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// Waits until so many writes are in the queue.
async fn queued(writer: &Writer, count: usize) {
    let queue = writer.queue.as_ref().unwrap();
    while queue.max_capacity() - queue.capacity() < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn writes_that_wait_together_share_one_commit() {
    const WAITING: usize = 100;
    let (_folder, path, writer) = writer(WRITE_WAIT_MAX);
    let hold = Hold::new(&writer).await;
    let mut waiting = JoinSet::new();
    for number in 0..WAITING {
        let writer = Arc::clone(&writer);
        let name = format!("r{number}");
        waiting.spawn(async move {
            writer.write(Changes::Nothing, move |connection| create(connection, &name)).await.unwrap();
        });
    }
    queued(&writer, WAITING).await;
    assert!(stored(&path).is_empty());
    hold.release().await;
    waiting.join_all().await;
    assert_eq!(writer.counts(), WriteCounts { writes: 1 + WAITING as u64, commits: 2 });
    assert_eq!(stored(&path).len(), WAITING);
}

#[tokio::test]
async fn a_write_that_fails_leaves_its_neighbours_alone() {
    let (_folder, path, writer) = writer(WRITE_WAIT_MAX);
    let hold = Hold::new(&writer).await;
    let failing = writer.write(Changes::Nothing, |connection| {
        create(connection, "half-done")?;
        Ok(connection.execute_batch("INSERT INTO repositories (id) VALUES (1)")?)
    });
    let refusing = writer.write(Changes::Nothing, |connection| {
        create(connection, "refused")?;
        Err::<(), _>(Error::TooManyUploads { open: 1 }.into())
    });
    let release = async {
        queued(&writer, 4).await;
        hold.release().await;
    };
    let (before, failed, refused, after, ()) =
        tokio::join!(write(&writer, "before"), failing, refusing, write(&writer, "then"), release);
    before.unwrap();
    assert!(matches!(failed, Err(Error::Backend(_))), "{failed:?}");
    assert!(matches!(refused, Err(Error::TooManyUploads { open: 1 })), "{refused:?}");
    after.unwrap();
    assert_eq!(stored(&path), ["before", "then"]);
    assert_eq!(writer.counts(), WriteCounts { writes: 5, commits: 2 });
}

#[tokio::test]
async fn a_commit_that_fails_fails_every_write_of_its_group() {
    let (_folder, path, writer) = writer(WRITE_WAIT_MAX);
    let hold = Hold::new(&writer).await;
    let breaking = writer.write(Changes::Nothing, |connection| {
        // Checked by the commit alone: a blob of a repository that is not there.
        connection.execute_batch("PRAGMA defer_foreign_keys = ON")?;
        Ok(connection.execute_batch("INSERT INTO blob_links VALUES ('nobody', 'sha256:', 1, 1, 1)")?)
    });
    let release = async {
        queued(&writer, 3).await;
        hold.release().await;
    };
    let (one, broken, other, ()) = tokio::join!(write(&writer, "one"), breaking, write(&writer, "other"), release);
    let causes: Vec<Arc<rusqlite::Error>> = [one, broken, other]
        .into_iter()
        .map(|result| {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Backend(_)), "{error:?}");
            Arc::clone(error.source().unwrap().downcast_ref().unwrap())
        })
        .collect();
    assert!(causes.iter().all(|cause| Arc::ptr_eq(cause, &causes[0])), "{causes:?}");
    assert!(stored(&path).is_empty());

    write(&writer, "next").await.unwrap();
    assert_eq!(stored(&path), ["next"]);
}

#[tokio::test]
async fn a_full_disk_fails_writes_as_full_and_nothing_else() {
    let (_folder, path, writer) = writer(WRITE_WAIT_MAX);
    write(&writer, "before").await.unwrap();
    let limit_pages =
        |pages: &'static str| writer.write(Changes::Nothing, move |connection| Ok(connection.execute_batch(pages)?));
    // The limit of pages is answered as a full disk is; 1 stands for as many as there are.
    limit_pages("PRAGMA max_page_count = 1").await.unwrap();
    let filling = || {
        writer.write(Changes::Nothing, |connection| {
            create(connection, "half-done")?;
            let sql = "INSERT INTO manifest_contents (digest, bytes) VALUES ('sha256:', zeroblob(4000000))";
            Ok(connection.execute_batch(sql)?)
        })
    };
    let hold = Hold::new(&writer).await;
    let release = async {
        queued(&writer, 3).await;
        hold.release().await;
    };
    let (one, full, other, ()) = tokio::join!(write(&writer, "one"), filling(), write(&writer, "other"), release);
    assert!(matches!(full, Err(Error::Full(_))), "{full:?}");
    let mut expected = vec!["before".to_owned()];
    for (name, result) in [("one", one), ("other", other)] {
        match result {
            Ok(()) => expected.push(name.to_owned()),
            Err(error) => assert!(matches!(error, Error::Full(_)), "{error:?}"),
        }
    }
    assert_eq!(stored(&path), expected);

    limit_pages("PRAGMA max_page_count = 1000000").await.unwrap();
    filling().await.unwrap();
    assert!(stored(&path).contains(&"half-done".to_owned()));
}

#[tokio::test]
async fn a_write_happens_when_its_caller_has_left() {
    let (_folder, path, writer) = writer(WRITE_WAIT_MAX);
    let hold = Hold::new(&writer).await;
    tokio::select! {
        biased;
        answer = write(&writer, "left-behind") => panic!("{answer:?} came before the caller left"),
        () = queued(&writer, 1) => {}
    }
    hold.release().await;
    write(&writer, "next").await.unwrap();
    assert_eq!(stored(&path), ["left-behind", "next"]);
}

#[tokio::test]
async fn a_dropped_writer_finishes_what_is_queued_and_leaves_no_log() {
    let (folder, path, writer) = writer(WRITE_WAIT_MAX);
    let hold = Hold::new(&writer).await;
    let mut callers = JoinSet::new();
    for name in ["one", "two"] {
        let writer = Arc::clone(&writer);
        callers.spawn(async move { write(&writer, name).await });
    }
    queued(&writer, 2).await;
    callers.shutdown().await;
    hold.release().await;
    drop(Arc::into_inner(writer).unwrap());

    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files, std::slice::from_ref(&path));
    drop(open::writer(&path, WRITE_WAIT_MAX).unwrap());
    let connection = Connection::open(&path).unwrap();
    let count: i64 = connection.query_one("SELECT count(*) FROM repositories", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2);
}

#[tokio::test]
async fn a_foreign_lock_makes_writes_unavailable_after_their_wait() {
    let (_folder, path, writer) = writer(SHORT_WAIT);
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let asked = Instant::now();
    let (one, other) = tokio::join!(write(&writer, "one"), write(&writer, "other"));
    assert!(asked.elapsed() >= SHORT_WAIT);
    for refused in [one, other] {
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }
    assert!(stored(&path).is_empty(), "look-ups go on");
    foreign.execute_batch("ROLLBACK").unwrap();
    write(&writer, "next").await.unwrap();
    assert_eq!(stored(&path), ["next"]);
}

#[tokio::test]
async fn a_foreign_lock_that_ends_in_time_is_waited_for() {
    let (_folder, path, writer) = writer(WRITE_WAIT_MAX);
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let release = async {
        let queue = writer.queue.as_ref().unwrap();
        while queue.capacity() < queue.max_capacity() {
            tokio::task::yield_now().await;
        }
        foreign.execute_batch("COMMIT").unwrap();
    };
    let (written, ()) = tokio::join!(write(&writer, "patient"), release);
    written.unwrap();
    assert_eq!(stored(&path), ["patient"]);
}

#[tokio::test]
async fn a_full_queue_makes_writes_unavailable_after_their_wait() {
    let (_folder, path, writer) = writer(SHORT_WAIT);
    let hold = Hold::new(&writer).await;
    let mut callers = JoinSet::new();
    for _ in 0..QUEUE_LENGTH_MAX {
        let writer = Arc::clone(&writer);
        callers.spawn(async move { write(&writer, "queued").await });
    }
    queued(&writer, QUEUE_LENGTH_MAX).await;
    let refused = write(&writer, "refused").await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    hold.release().await;
    for result in callers.join_all().await {
        result.unwrap();
    }
    assert_eq!(stored(&path), ["queued"]);
}

#[tokio::test]
async fn a_writer_whose_thread_has_ended_says_so() {
    let (_folder, _path, writer) = writer(WRITE_WAIT_MAX);
    writer.check().unwrap();
    let panicked = writer.write(Changes::Nothing, |_| -> Result<(), Failure> { panic!("as the test wants") }).await;
    assert!(matches!(panicked, Err(Error::Backend(_))), "{panicked:?}");
    writer.queue.as_ref().unwrap().closed().await;
    assert!(matches!(writer.check(), Err(Error::Backend(_))));
    assert!(matches!(write(&writer, "late").await, Err(Error::Backend(_))));
}

/// Writes about a mebibyte.
async fn write_much(writer: &Writer) {
    let sql = "INSERT INTO manifest_contents (digest, bytes) VALUES (hex(randomblob(32)), zeroblob(1000000))";
    writer.write(Changes::Nothing, move |connection| Ok(connection.execute_batch(sql)?)).await.unwrap();
}

fn log_bytes(path: &Path) -> u64 {
    std::fs::metadata(path.with_file_name("metadata.sqlite-wal")).unwrap().len()
}

#[tokio::test]
async fn the_log_stays_small_and_starts_over_after_a_long_reader() {
    const MEBIBYTE: u64 = 1024 * 1024;
    let (_folder, path, writer) = writer(WRITE_WAIT_MAX);
    for _ in 0..40 {
        write_much(&writer).await;
    }
    assert!(log_bytes(&path) < 16 * MEBIBYTE, "{}", log_bytes(&path));

    let reader = open::reader(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM repositories").unwrap();
    for _ in 0..80 {
        write_much(&writer).await;
    }
    assert!(log_bytes(&path) > 70 * MEBIBYTE, "the reader needs what it began with");
    reader.execute_batch("COMMIT").unwrap();
    for _ in 0..3 {
        write_much(&writer).await;
    }
    assert!(log_bytes(&path) <= crate::limits::LOG_BYTES_KEPT_MAX.cast_unsigned() + 4 * MEBIBYTE);
}

#[tokio::test]
async fn readers_that_keep_what_they_see_do_not_keep_the_log() {
    const MEBIBYTE: u64 = 1024 * 1024;
    let (_folder, path, readers, writer) = with_readers(WRITE_WAIT_MAX);
    readers.rely_on(writer.commits());
    // Three of them, of which two are idle ever after.
    let count = |connection: &Connection| {
        Ok(connection.query_one("SELECT count(*) FROM repositories", [], |row| row.get::<_, i64>(0))?)
    };
    let three = || {
        let inner = |second: &Connection| {
            readers.read(count).unwrap();
            count(second)
        };
        readers.read(|first| {
            readers.read(inner).unwrap();
            count(first)
        })
    };
    let mut most = 0;
    for round in 0..80 {
        write_much(&writer).await;
        let name = format!("r{round}");
        writer.write(Changes::Nothing, move |connection| create(connection, &name)).await.unwrap();
        let seen = round + 1;
        if round < 40 {
            assert_eq!(three().unwrap(), seen);
        }
        assert_eq!(readers.read(count).unwrap(), seen, "each commit is seen at once");
        assert_eq!(readers.read_at_once(count).unwrap(), seen);
        most = most.max(log_bytes(&path));
    }
    assert!(most < 16 * MEBIBYTE, "{most}");
}

/// Whether the commit of the write that asks is synced.
fn is_synced(connection: &Connection) -> Result<bool, Failure> {
    Ok(connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))? == 2)
}

#[tokio::test]
async fn only_a_group_of_which_nothing_must_last_is_left_unsynced() {
    let (_folder, _path, writer) = writer(WRITE_WAIT_MAX);
    assert!(writer.write(Changes::Nothing, is_synced).await.unwrap());
    for _ in 0..2 {
        assert!(!writer.write_unsynced(is_synced).await.unwrap());
    }
    assert!(writer.write(Changes::Nothing, is_synced).await.unwrap());

    let hold = Hold::new(&writer).await;
    let release = async {
        queued(&writer, 3).await;
        hold.release().await;
    };
    let (first, second, third, ()) = tokio::join!(
        writer.write_unsynced(is_synced),
        writer.write(Changes::Nothing, is_synced),
        writer.write_unsynced(is_synced),
        release
    );
    assert_eq!((first.unwrap(), second.unwrap(), third.unwrap()), (true, true, true), "one of the group must last");
}

#[tokio::test]
async fn an_unsynced_write_outlives_the_process() {
    let (folder, path, writer) = writer(WRITE_WAIT_MAX);
    writer.write_unsynced(|connection| create(connection, "kept")).await.unwrap();
    // What a kill leaves: the file and its log as they are now.
    let copy = folder.path().join("copy.sqlite");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(folder.path().join("metadata.sqlite-wal"), folder.path().join("copy.sqlite-wal")).unwrap();
    drop(open::writer(&copy, WRITE_WAIT_MAX).unwrap());
    assert_eq!(stored(&copy), ["kept"]);
}

/// A job of its own for each deadline, and the answers.
fn jobs(deadlines: &[Instant]) -> (Vec<Job>, Vec<oneshot::Receiver<Result<(), Error>>>) {
    deadlines
        .iter()
        .map(|deadline| {
            let (reply, answer) = oneshot::channel();
            let work = Write { operation: Some(|_: &Connection| Ok(())), result: None, reply };
            (
                Job {
                    deadline: *deadline,
                    lasts: Lasts::ThroughPowerLoss,
                    changes: Changes::Nothing,
                    work: Box::new(work),
                },
                answer,
            )
        })
        .unzip()
}

#[test]
fn a_group_waits_for_a_foreign_lock_no_longer_than_its_first_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.sqlite");
    let connection = open::writer(&path, WRITE_WAIT_MAX).unwrap();
    let (_queue, receiver) = mpsc::channel(1);
    let mut thread = Thread {
        connection,
        jobs: receiver,
        readers: Weak::new(),
        counts: Arc::default(),
        commits: Arc::default(),
        lasts: Lasts::ThroughPowerLoss,
    };
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();

    let now = Instant::now();
    let (mut group, mut answers) = jobs(&[now + WRITE_WAIT_MAX, now, now + WRITE_WAIT_MAX]);
    thread.write_group(&mut group);
    assert!(now.elapsed() < WRITE_WAIT_MAX);
    assert_eq!(group.len(), 2, "those with time left stay");
    assert!(matches!(answers[1].try_recv(), Ok(Err(Error::Unavailable(_)))));

    foreign.execute_batch("ROLLBACK").unwrap();
    thread.write_group(&mut group);
    assert!(group.is_empty());
    assert!(matches!((answers[0].try_recv(), answers[2].try_recv()), (Ok(Ok(())), Ok(Ok(())))));
}
