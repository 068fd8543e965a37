//! Failures inside the store, and what they are to its callers.

use std::sync::Arc;

use entrepot_metadata::Error;
use rusqlite::ErrorCode;

use crate::limits::DAMAGE_QUOTED_MAX;

/// A statement or a whole operation that did not happen.
#[derive(Debug)]
pub(crate) enum Failure {
    /// `SQLite` failed. The cause is shared, because a commit that fails has the callers of a whole group.
    Sqlite(Arc<rusqlite::Error>),
    /// The store refused, or found something that it can not have written.
    Refused(Error),
}

impl Failure {
    /// A row holds `value`, which the store can not have written into `column`.
    pub(crate) fn corrupt(column: &str, value: &str) -> Self {
        let quoted: String = value.chars().take(DAMAGE_QUOTED_MAX).collect();
        Self::Refused(Error::Corrupt { what: format!("{column} holds {quoted:?}") })
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sqlite(error) => to_error(&error),
            Failure::Refused(error) => error,
        }
    }
}

/// What a failure of `SQLite` is to a caller.
fn to_error(error: &Arc<rusqlite::Error>) -> Error {
    let source = Box::new(Arc::clone(error));
    if is_damage(error) {
        return Error::Corrupt { what: error.to_string() };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full(source),
        // The file cannot be opened, too, when the process has as many files open as it may have.
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::CannotOpen,
        ) => Error::Unavailable(source),
        _ => Error::Backend(source),
    }
}

/// Whether another connection has the lock that was needed.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether the file is malformed, or a column holds a value of another type than the schema allows.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..)
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(code: i32) -> Error {
        Failure::from(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)).into()
    }

    #[test]
    fn failures_of_sqlite_are_told_apart() {
        use rusqlite::ffi;
        assert!(matches!(sqlite(ffi::SQLITE_FULL), Error::Full(_)));
        assert!(matches!(sqlite(ffi::SQLITE_BUSY), Error::Unavailable(_)));
        assert!(matches!(sqlite(ffi::SQLITE_BUSY_SNAPSHOT), Error::Unavailable(_)));
        assert!(matches!(sqlite(ffi::SQLITE_LOCKED), Error::Unavailable(_)));
        assert!(matches!(sqlite(ffi::SQLITE_PROTOCOL), Error::Unavailable(_)));
        assert!(matches!(sqlite(ffi::SQLITE_CANTOPEN), Error::Unavailable(_)));
        assert!(matches!(sqlite(ffi::SQLITE_CORRUPT), Error::Corrupt { .. }));
        assert!(matches!(sqlite(ffi::SQLITE_CORRUPT_INDEX), Error::Corrupt { .. }));
        assert!(matches!(sqlite(ffi::SQLITE_NOTADB), Error::Corrupt { .. }));
        assert!(matches!(sqlite(ffi::SQLITE_IOERR), Error::Backend(_)));
        assert!(matches!(sqlite(ffi::SQLITE_CONSTRAINT), Error::Backend(_)));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_damage() {
        let error = rusqlite::Error::InvalidColumnType(0, "size".to_owned(), rusqlite::types::Type::Text);
        assert!(matches!(Failure::from(error).into(), Error::Corrupt { .. }));
    }
}
