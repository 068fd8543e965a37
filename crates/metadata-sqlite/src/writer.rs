//! The writer: one thread with the one connection that writes, and one commit for everything that waits.
//!
//! A commit is a sync of the disk. Writes that arrive while one is under way wait in a queue; the next commit takes them all.
//! Each runs in a savepoint of its own, so one that fails takes nothing of its neighbours with it, and none is
//! answered before the commit that carries it.
//!
//! Some writes say little that a loss of power would not make void anyway. When a group is made of such only, its commit is in the
//! log before they are answered, where the end of the process cannot harm it, and is synced with the next one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use entrepot_metadata::Error;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::changes::{Changes, Commits};
use crate::failure::{self, Failure};
use crate::limits::{CLOSE_WAIT_MAX, GROUP_LENGTH_MAX, LOG_PAGES_MAX, QUEUE_LENGTH_MAX};
use crate::readers::Readers;

/// How much was written since the store was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteCounts {
    /// The writes that were taken up, whatever became of them.
    pub writes: u64,
    /// The commits that carried them; fewer, when several waited at once.
    pub commits: u64,
}

/// The handle of the thread that writes. Dropped, it lets the thread finish what is queued and waits for it.
#[derive(Debug)]
pub(crate) struct Writer {
    /// `None` only while the handle is dropped.
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    wait_max: Duration,
    counts: Arc<Counts>,
    commits: Arc<Commits>,
}

#[derive(Debug, Default)]
struct Counts {
    writes: AtomicU64,
    commits: AtomicU64,
}

/// Why a write was not even tried.
#[derive(Debug, thiserror::Error)]
enum NotTried {
    #[error("the queue of writes was full for {0:?}")]
    QueueFull(Duration),
    #[error("the thread that writes has ended")]
    ThreadEnded,
}

impl Writer {
    /// Starts the thread on its connection. A write waits for its turn and for foreign locks up to `wait_max`. The readers are those
    /// who are to let go of old states when the log is copied.
    pub(crate) fn start(connection: Connection, readers: &Arc<Readers>, wait_max: Duration) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_LENGTH_MAX);
        let counts = Arc::new(Counts::default());
        let commits = Arc::new(Commits::default());
        let thread = Thread {
            connection,
            readers: Arc::downgrade(readers),
            jobs,
            counts: Arc::clone(&counts),
            commits: Arc::clone(&commits),
            lasts: Lasts::ThroughPowerLoss,
        };
        let thread = thread::Builder::new().name("metadata-writer".to_owned()).spawn(move || thread.run())?;
        Ok(Self { queue: Some(queue), thread: Some(thread), wait_max, counts, commits })
    }

    /// Runs `operation` on the writer's thread and returns once it is durable; after an error nothing of it is there.
    ///
    /// From the moment it is queued it happens whether or not the caller still waits.
    pub(crate) async fn write<T, Operation>(&self, changes: Changes, operation: Operation) -> Result<T, Error>
    where
        T: Send + 'static,
        Operation: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        self.queue(Lasts::ThroughPowerLoss, changes, operation).await
    }

    /// The same for what a loss of power may take, as long as nothing that was written after it is kept. Nothing that pulls look
    /// up is among that.
    pub(crate) async fn write_unsynced<T, Operation>(&self, operation: Operation) -> Result<T, Error>
    where
        T: Send + 'static,
        Operation: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        self.queue(Lasts::ThroughRestarts, Changes::Nothing, operation).await
    }

    async fn queue<T, Operation>(&self, lasts: Lasts, changes: Changes, operation: Operation) -> Result<T, Error>
    where
        T: Send + 'static,
        Operation: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let deadline = Instant::now() + self.wait_max;
        let (reply, answer) = oneshot::channel();
        let work = Box::new(Write { operation: Some(operation), result: None, reply });
        let queue = self.queue.as_ref().ok_or_else(thread_ended)?;
        match tokio::time::timeout_at(deadline.into(), queue.send(Job { deadline, lasts, changes, work })).await {
            Ok(Ok(())) => answer.await.unwrap_or_else(|_| Err(thread_ended())),
            Ok(Err(_closed)) => Err(thread_ended()),
            Err(_elapsed) => Err(Error::Unavailable(Box::new(NotTried::QueueFull(self.wait_max)))),
        }
    }

    /// Whether the thread still takes writes.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.queue {
            Some(queue) if !queue.is_closed() => Ok(()),
            _ => Err(thread_ended()),
        }
    }

    /// What becomes of the changes that are written.
    pub(crate) fn commits(&self) -> Arc<Commits> {
        Arc::clone(&self.commits)
    }

    pub(crate) fn counts(&self) -> WriteCounts {
        WriteCounts {
            writes: self.counts.writes.load(Ordering::Relaxed),
            commits: self.counts.commits.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes metadata panicked");
        }
    }
}

fn thread_ended() -> Error {
    Error::Backend(Box::new(NotTried::ThreadEnded))
}

/// A write in the queue.
struct Job {
    /// When it has waited long enough for a lock.
    deadline: Instant,
    lasts: Lasts,
    changes: Changes,
    work: Box<dyn Work>,
}

/// What an answered write withstands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    /// Whatever happens to the machine: it was synced.
    ThroughPowerLoss,
    /// Whatever happens to the process: the kernel has it.
    ThroughRestarts,
}

/// A write without its types.
trait Work: Send {
    /// Does it and keeps the result for the answer.
    fn run(&mut self, connection: &Connection) -> Result<(), &Failure>;

    /// Answers with the result, now that its changes are durable.
    fn succeed(self: Box<Self>);

    /// Answers that nothing happened.
    fn fail(self: Box<Self>, failure: Failure);
}

struct Write<T, Operation> {
    operation: Option<Operation>,
    result: Option<Result<T, Failure>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, Operation> Work for Write<T, Operation>
where
    T: Send,
    Operation: FnOnce(&Connection) -> Result<T, Failure> + Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), &Failure> {
        self.result = self.operation.take().map(|operation| operation(connection));
        match &self.result {
            Some(Err(failure)) => Err(failure),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    fn succeed(self: Box<Self>) {
        let result = self.result.map_or_else(|| Err(thread_ended()), |result| result.map_err(Error::from));
        // A caller that has left does not need its answer.
        drop(self.reply.send(result));
    }

    fn fail(self: Box<Self>, failure: Failure) {
        // Why the write itself failed says more than why the group did.
        let own = self.result.and_then(Result::err);
        drop(self.reply.send(Err(own.unwrap_or(failure).into())));
    }
}

/// What runs on the thread.
struct Thread {
    connection: Connection,
    /// Gone when the store is: the last to leave the file is this thread.
    readers: Weak<Readers>,
    jobs: mpsc::Receiver<Job>,
    counts: Arc<Counts>,
    /// Who remembers what was read is told here.
    commits: Arc<Commits>,
    /// What a commit of the connection withstands as it is set now.
    lasts: Lasts,
}

impl Thread {
    fn run(mut self) {
        let mut group = Vec::new();
        while self.collect(&mut group) {
            self.write_group(&mut group);
            self.checkpoint_when_due();
        }
        // Without this the next start would read the log; nothing is lost either way.
        let waiting = self.connection.busy_timeout(CLOSE_WAIT_MAX);
        if let Err(error) = waiting.and_then(|()| self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)")) {
            tracing::warn!(%error, "the log of the metadata database was not copied into it");
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the metadata database was not closed");
        }
    }

    /// Adds what is queued to the group, waiting only when the group is empty. `false` when there will be no more.
    fn collect(&mut self, group: &mut Vec<Job>) -> bool {
        if group.is_empty() {
            match self.jobs.blocking_recv() {
                Some(job) => group.push(job),
                None => return false,
            }
        }
        while group.len() < GROUP_LENGTH_MAX {
            match self.jobs.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        true
    }

    /// Runs, commits and answers a group. What is left in it afterwards has not been tried and has time to wait on.
    fn write_group(&mut self, group: &mut Vec<Job>) {
        match self.set_synchronous(group).and_then(|()| self.begin(group)) {
            Ok(()) => {}
            Err(error) if failure::is_busy(&error) => return give_up_late(group, &Arc::new(error)),
            Err(error) => return fail_all(group, &Arc::new(error)),
        }
        self.counts.writes.fetch_add(group.len() as u64, Ordering::Relaxed);
        let written = self.run_each(group).and_then(|()| {
            // Around the commit, and ended before anybody is answered: who was answered finds nothing older remembered.
            self.commits.begin(group.iter().map(|job| &job.changes));
            let committed = self.commit();
            self.commits.end(group.iter().map(|job| &job.changes));
            committed
        });
        match written {
            Ok(()) => group.drain(..).for_each(|job| job.work.succeed()),
            Err(error) => {
                self.roll_back();
                fail_all(group, &error);
            }
        }
    }

    /// Has the commit of the group synced when one of its writes needs that.
    ///
    /// `NORMAL` leaves out the sync of the log at a commit and no other: a checkpoint syncs the log before it copies from it, and
    /// a later commit with `FULL` syncs all of the log. What is lost with the power is the end of the log, never a part before it:
    /// <https://sqlite.org/pragma.html#pragma_synchronous>.
    fn set_synchronous(&mut self, group: &[Job]) -> rusqlite::Result<()> {
        let must_sync = group.iter().any(|job| job.lasts == Lasts::ThroughPowerLoss);
        let (lasts, sql) = if must_sync {
            (Lasts::ThroughPowerLoss, "PRAGMA synchronous = FULL")
        } else {
            (Lasts::ThroughRestarts, "PRAGMA synchronous = NORMAL")
        };
        if self.lasts != lasts {
            // Never from the cache of statements: this pragma works when it is compiled, not when it is run.
            self.connection.execute_batch(sql)?;
            self.lasts = lasts;
        }
        Ok(())
    }

    /// Takes the write lock, waiting for other processes as long as the first to give up can wait.
    fn begin(&self, group: &[Job]) -> rusqlite::Result<()> {
        let deadline = group.iter().map(|job| job.deadline).min().unwrap_or_else(Instant::now);
        self.connection.busy_timeout(deadline.saturating_duration_since(Instant::now()))?;
        self.execute("BEGIN IMMEDIATE")
    }

    /// Runs every write of the group; an error has ended all of them, whatever their own results.
    fn run_each(&self, group: &mut [Job]) -> Result<(), Arc<rusqlite::Error>> {
        for job in group {
            self.execute("SAVEPOINT write")?;
            if let Err(failure) = job.work.run(&self.connection) {
                // Some failures, a full disk among them, make SQLite roll back the whole transaction on its own.
                if let (true, Failure::Sqlite(error)) = (self.connection.is_autocommit(), failure) {
                    return Err(Arc::clone(error));
                }
                self.execute("ROLLBACK TO write")?;
            }
            self.execute("RELEASE write")?;
        }
        Ok(())
    }

    fn commit(&self) -> Result<(), Arc<rusqlite::Error>> {
        self.execute("COMMIT")?;
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn execute(&self, sql: &'static str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(|_| ())
    }

    /// Ends a transaction that failed, if it did not end itself.
    fn roll_back(&self) {
        if self.connection.is_autocommit() {
            return;
        }
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            tracing::error!(%error, "a failed write to the metadata database could not be rolled back");
        }
    }

    /// Copies the log into the database when it has grown, after everyone has been answered. A reader that holds on to an
    /// old state holds this up, not the writes; the log grows meanwhile, and is cut when it starts over.
    fn checkpoint_when_due(&self) {
        let waiting = self.checkpoint("PRAGMA wal_checkpoint(NOOP)");
        let done = match waiting {
            Ok(pages) if pages <= LOG_PAGES_MAX => Ok(pages),
            Ok(_) => {
                // Before: what a reader still sees is not copied. And behind: the log starts over when nobody reads in it.
                self.have_readers_let_go();
                let done = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
                self.have_readers_let_go();
                done
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the log of the metadata database was not copied into it");
        }
    }

    fn have_readers_let_go(&self) {
        if let Some(readers) = self.readers.upgrade() {
            readers.let_go();
        }
    }

    /// Runs one of the checkpoints and returns how many pages wait in the log after it.
    fn checkpoint(&self, pragma: &str) -> rusqlite::Result<i64> {
        let mut statement = self.connection.prepare_cached(pragma)?;
        statement.query_one([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
    }
}

/// Fails every write of the group with the same cause.
fn fail_all(group: &mut Vec<Job>, error: &Arc<rusqlite::Error>) {
    group.drain(..).for_each(|job| job.work.fail(Failure::Sqlite(Arc::clone(error))));
}

/// Fails the writes that have waited as long as they may; the others stay for the next attempt.
fn give_up_late(group: &mut Vec<Job>, error: &Arc<rusqlite::Error>) {
    let now = Instant::now();
    group.extract_if(.., |job| job.deadline <= now).for_each(|job| job.work.fail(Failure::Sqlite(Arc::clone(error))));
}

#[cfg(test)]
mod tests;
