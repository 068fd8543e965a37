//! The readers: connections for look-ups, each used by one look-up at a time.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use entrepot_metadata::Error;
use rusqlite::Connection;

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
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Readers of the file at `path`, which a writer has open.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::new(Vec::new()) }
    }

    /// Runs a look-up. Each of its statements sees everything that was committed before it began.
    pub(crate) fn read<T>(&self, look_up: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Error> {
        let connection = match self.take() {
            Some(connection) => connection,
            None => open::reader(&self.path).map_err(Failure::from)?,
        };
        // A connection on which something failed is closed, in case that it was the reason.
        let found = look_up(&connection)?;
        self.put_back(connection);
        Ok(found)
    }

    /// Runs a look-up of several statements that all see the same state.
    pub(crate) fn read_at_once<T>(&self, look_up: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Error> {
        self.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let found = look_up(&transaction)?;
            transaction.finish()?;
            Ok(found)
        })
    }

    /// The path of the file, for a connection that lasts longer than a look-up.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_READERS_MAX {
            idle.push(connection);
        }
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
