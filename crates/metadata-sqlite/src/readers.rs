//! The readers: connections for look-ups, each used by one look-up at a time.
//!
//! A look-up by itself takes a lock of the log and gives it back, each time with a system call behind a mutex that all connections of the
//! process to the file share: with several threads, waiting for it costs more than the look-up. A process that is alone with
//! its file knows when there was a commit. There a reader keeps the state that it has read, with its lock, for the look-ups that
//! follow, until the next commit. It lets go when the log is to be copied into the database, which waits for old states.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use entrepot_metadata::Error;
use rusqlite::Connection;

use crate::changes::Commits;
use crate::failure::Failure;
use crate::limits::IDLE_READERS_MAX;
use crate::open;

/// The connections for look-ups.
///
/// A look-up runs on the thread that asks. It takes about 4 µs with prepared statements and the pages in memory, while
/// handing it to another thread and waking up again takes 65 µs. What that costs: a page that must come from
/// the disk holds up its thread of the runtime for the time of one read.
///
/// No look-up ever waits for a connection: when none is idle another one is opened.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
    /// The commits to the file, once it is known that there are no others.
    all_commits: OnceLock<Arc<Commits>>,
}

/// A connection that reads.
#[derive(Debug)]
struct Reader {
    connection: Connection,
    /// The state that its open transaction sees; `None` when none is open.
    sees: Option<u64>,
}

impl Readers {
    /// Readers of the file at `path`, which a writer has open.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::new(Vec::new()), all_commits: OnceLock::new() }
    }

    /// Lets readers keep what they see from one commit to the next: these are all commits that there are.
    pub(crate) fn rely_on(&self, commits: Arc<Commits>) {
        // They are those of one writer, whoever says it first.
        let _ = self.all_commits.set(commits);
    }

    /// Runs a look-up. Each of its statements sees everything that was committed before it began.
    pub(crate) fn read<T>(&self, look_up: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Error> {
        let mut reader = match self.take() {
            Some(reader) => reader,
            None => Reader { connection: open::reader(&self.path).map_err(Failure::from)?, sees: None },
        };
        // A connection on which something failed is closed, in case that it was the reason.
        if let Some(commits) = self.all_commits.get() {
            reader.catch_up(commits.state()).map_err(Failure::from)?;
        }
        let found = look_up(&reader.connection)?;
        self.put_back(reader);
        Ok(found)
    }

    /// Runs a look-up of several statements that all see the same state.
    pub(crate) fn read_at_once<T>(&self, look_up: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Error> {
        self.read(|connection| {
            if !connection.is_autocommit() {
                return look_up(connection);
            }
            let transaction = connection.unchecked_transaction()?;
            let found = look_up(&transaction)?;
            transaction.finish()?;
            Ok(found)
        })
    }

    /// Has the idle readers forget what they see. Those that are at work do not keep the log for long.
    pub(crate) fn let_go(&self) {
        // One that cannot is closed.
        self.idle().retain_mut(|reader| reader.let_go().is_ok());
    }

    /// The path of the file, for a connection that lasts longer than a look-up.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn take(&self) -> Option<Reader> {
        self.idle().pop()
    }

    fn put_back(&self, reader: Reader) {
        let mut idle = self.idle();
        if idle.len() < IDLE_READERS_MAX {
            idle.push(reader);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Sees to it that the next statement sees `state`, or the current one while it changes.
    fn catch_up(&mut self, state: Option<u64>) -> rusqlite::Result<()> {
        if self.sees.is_some() && self.sees == state {
            return Ok(());
        }
        self.let_go()?;
        if state.is_some() {
            // It begins to see with its first statement, which comes after the look at the commits: what it sees is not older.
            self.connection.prepare_cached("BEGIN")?.execute([])?;
            self.sees = state;
        }
        Ok(())
    }

    fn let_go(&mut self) -> rusqlite::Result<()> {
        if self.sees.take().is_some() {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WRITE_WAIT_MAX;

    /// Look-ups inside of look-ups, so many that each needs a connection of its own.
    fn nested(readers: &Readers, depth: usize) -> Result<(), Failure> {
        readers.read(|_| if depth == 0 { Ok(()) } else { nested(readers, depth - 1) })?;
        Ok(())
    }

    #[test]
    fn a_look_up_never_waits_for_another_and_few_connections_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.sqlite");
        let _writer = open::writer(&path, WRITE_WAIT_MAX).unwrap();
        let readers = Readers::new(path);
        nested(&readers, 2).unwrap();
        assert_eq!(readers.idle.lock().unwrap().len(), 3);
        nested(&readers, IDLE_READERS_MAX * 2).unwrap();
        assert_eq!(readers.idle.lock().unwrap().len(), IDLE_READERS_MAX);
    }

    #[test]
    fn a_connection_that_failed_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.sqlite");
        let _writer = open::writer(&path, WRITE_WAIT_MAX).unwrap();
        let readers = Readers::new(path);
        let failed = readers.read(|connection| Ok(connection.execute_batch("SELECT * FROM nothing")?));
        assert!(matches!(failed, Err(Error::Backend(_))), "{failed:?}");
        assert!(readers.idle.lock().unwrap().is_empty());
    }
}
