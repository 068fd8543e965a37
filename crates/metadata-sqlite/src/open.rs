//! Opening: the file, its folder, and the connections to it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::limits::{LOG_BYTES_KEPT_MAX, READ_WAIT_MAX, STATEMENTS_MAX};
use crate::schema::{self, FileState, MIGRATIONS};

/// The first `SQLite` without the defect that lets two connections, one writing and one checkpointing, damage the file:
/// <https://sqlite.org/wal.html#walresetbug>.
const LIBRARY_VERSION_MIN: i32 = 3_051_003;

/// The mode of the database: it holds the keys that tokens are signed with.
const OWNER_ONLY: u32 = 0o600;

/// Why the store cannot be opened. A file that is refused is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The library that the program was built with or loaded is too old.
    #[error("SQLite {found} may damage the metadata database: 3.51.3 or later is needed")]
    LibraryTooOld {
        /// Its version.
        found: &'static str,
    },
    /// The folder of the file does not exist and cannot be created.
    #[error("cannot create the folder {path:?} for the metadata database")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is a database of another program, or no database.
    #[error("{path:?} is not a metadata database of this registry")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later version of the program.
    #[error(
        "{path:?} has schema version {found} and this program knows versions up to {known}: \
         start the later version of the program again, or restore a backup from before the upgrade"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The last version that this program knows.
        known: i64,
    },
    /// The file system does not carry a write-ahead log; those of networks often do not.
    #[error("{path:?} cannot have a write-ahead log: the metadata database needs a local file system")]
    LogUnavailable {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the file, and that cannot be ended.
    #[error(
        "{path:?} holds the keys that tokens are signed with, others may read it, and its mode cannot be changed: run          `chmod 600` on it as its owner"
    )]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Any other failure to open the file.
    #[error("cannot open the metadata database {path:?}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// The thread of the writer cannot be started.
    #[error("cannot start the thread that writes the metadata database")]
    Thread(#[source] io::Error),
}

/// Opens the connection that writes, creating and migrating the file where needed.
pub(crate) fn writer(path: &Path, wait_max: Duration) -> Result<Connection, OpenError> {
    check_library(rusqlite::version_number(), rusqlite::version())?;
    create_folder(path)?;
    create_closed(path);
    let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign { path: path.to_owned() },
        _ => OpenError::Sqlite { path: path.to_owned(), source },
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(wait_max).map_err(failed)?;
    check_state(path, schema::state(&connection).map_err(failed)?)?;
    close_to_others(path)?;
    configure_writer(&connection).map_err(failed)?;
    let mode: String = connection.pragma_query_one(None, "journal_mode").map_err(failed)?;
    if mode != "wal" {
        return Err(OpenError::LogUnavailable { path: path.to_owned() });
    }
    schema::migrate(&mut connection, MIGRATIONS).map_err(failed)?;
    Ok(connection)
}

/// Opens a connection that only reads. The writer has been opened before.
pub(crate) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(READ_WAIT_MAX)?;
    configure(&connection)?;
    Ok(connection)
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    configure(connection)?;
    // Switching a file that is in use by others fails with a lock error; one that has its log already is not switched.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // Every commit reaches the disk before it is answered, on macOS as well.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // The writer copies the log into the database when nobody waits for it, never inside of a commit.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT_MAX, |_| Ok(()))
}

/// What both kinds of connection have in common.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // A mapped file ends the process when it is cut short, and has made the defect above worse.
    connection.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(()))?;
    // What can be undone is kept in memory, since a container may have no place for temporary files.
    connection.pragma_update(None, "temp_store", "memory")?;
    // The file may come from elsewhere: nothing in its schema may run anything, or reach the pages under it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // A plan depends on the statement, never on what is bound to it: without this most statements would be prepared anew
    // whenever other values are bound, which takes three times as long as running them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A misspelt column is an error, not a text.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    Ok(())
}

fn check_library(number: i32, version: &'static str) -> Result<(), OpenError> {
    if number < LIBRARY_VERSION_MIN { Err(OpenError::LibraryTooOld { found: version }) } else { Ok(()) }
}

fn check_state(path: &Path, state: FileState) -> Result<(), OpenError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    match state {
        FileState::Foreign => Err(OpenError::Foreign { path: path.to_owned() }),
        FileState::Version(found) if found > known => {
            Err(OpenError::NewerSchema { path: path.to_owned(), found, known })
        }
        FileState::Empty | FileState::Version(_) => Ok(()),
    }
}

/// Creates the folder of `path` and makes it durable: `SQLite` syncs the folder that its files are in, but not the ones above.
fn create_folder(path: &Path) -> Result<(), OpenError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => return Ok(()),
    };
    let failed = |source| OpenError::Folder { path: folder.to_owned(), source };
    let mut missing = Vec::new();
    for ancestor in folder.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty()) {
        if ancestor.try_exists().map_err(failed)? {
            break;
        }
        missing.push(ancestor);
    }
    fs::create_dir_all(folder).map_err(failed)?;
    for created in missing {
        let above = created.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(above).and_then(|above| above.sync_all()).map_err(failed)?;
    }
    Ok(())
}

/// Creates the file for its owner alone, if there is none; `SQLite` gives its log and the index of that the same mode.
fn create_closed(path: &Path) {
    // One that exists is not opened here: closing it again would end the locks on it that this process has. What else is in the
    // way is in the way of SQLite as well, and told by it.
    drop(OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path));
}

/// Takes away what others may do with the files, which older versions have left to the umask.
fn close_to_others(path: &Path) -> Result<(), OpenError> {
    for ending in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        let path = PathBuf::from(name);
        let narrowed = match fs::metadata(&path) {
            Ok(found) => {
                let mode = found.permissions().mode() & 0o7777;
                if mode & !OWNER_ONLY == 0 {
                    continue;
                }
                fs::set_permissions(&path, Permissions::from_mode(mode & OWNER_ONLY))
            }
            Err(error) => Err(error),
        };
        match narrowed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(|source| OpenError::ReadableByOthers { path, source })?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> T {
        connection.pragma_query_one(None, name).unwrap()
    }

    #[test]
    fn a_library_with_the_log_defect_is_refused() {
        let error = check_library(3_051_002, "3.51.2").unwrap_err();
        assert!(error.to_string().contains("3.51.2"), "{error}");
        check_library(3_051_003, "3.51.3").unwrap();
        check_library(rusqlite::version_number(), rusqlite::version()).unwrap();
    }

    #[test]
    fn connections_are_durable_checked_and_not_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folders/metadata.sqlite");
        let writing = writer(&path, Duration::from_secs(3)).unwrap();
        assert_eq!(pragma::<String>(&writing, "journal_mode"), "wal");
        assert_eq!(pragma::<i64>(&writing, "synchronous"), 2);
        assert_eq!(pragma::<i64>(&writing, "foreign_keys"), 1);
        assert_eq!(pragma::<i64>(&writing, "wal_autocheckpoint"), 0);
        assert_eq!(pragma::<i64>(&writing, "busy_timeout"), 3000);
        assert_eq!(pragma::<i64>(&writing, "mmap_size"), 0);
        assert_eq!(pragma::<i64>(&writing, "temp_store"), 2);
        let reading = reader(&path).unwrap();
        assert_eq!(pragma::<i64>(&reading, "mmap_size"), 0);
        reading.execute("DELETE FROM tags", []).unwrap_err();
        reading.query_one("SELECT \"misspelt\"", [], |_| Ok(())).unwrap_err();
    }
    #[test]
    fn statements_are_prepared_once_whatever_is_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.sqlite");
        let _writing = writer(&path, Duration::from_secs(3)).unwrap();
        let reading = reader(&path).unwrap();
        let sql = "SELECT digest FROM tags JOIN manifests ON id = manifest WHERE tags.repository = ?1 AND name = ?2";
        let mut statement = reading.prepare(sql).unwrap();
        for repository in 0..9 {
            assert!(!statement.exists((repository, format!("tag-{repository}"))).unwrap());
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
