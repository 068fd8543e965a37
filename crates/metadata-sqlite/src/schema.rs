//! The schema: which version a file has, and how it gets to this one.
//!
//! `PRAGMA user_version` counts the migrations that a file has been through and `PRAGMA application_id` says that it is
//! ours. Each migration and its number are one transaction, so an interrupted one has not happened.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Marks the files of this store: "Entr".
pub(crate) const APPLICATION_ID: i64 = 0x456e_7472;

/// Every migration, in order. One that was released is never changed.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_entries.sql"),
    include_str!("../migrations/0003_access.sql"),
    include_str!("../migrations/0004_upload_states.sql"),
];

/// What a file is, before anything is written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    /// Nothing in it yet.
    Empty,
    /// Ours, after so many migrations.
    Version(i64),
    /// A database of something else.
    Foreign,
}

/// Looks at a file. It reads only, so that what is refused stays as it was.
pub(crate) fn state(connection: &Connection) -> rusqlite::Result<FileState> {
    let application_id: i64 = connection.pragma_query_one(None, "application_id")?;
    let version: i64 = connection.pragma_query_one(None, "user_version")?;
    let objects: i64 = connection.query_one("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application_id, version, objects) {
        (APPLICATION_ID, version, _) => FileState::Version(version),
        (0, 0, 0) => FileState::Empty,
        _ => FileState::Foreign,
    })
}

/// Brings a file of this or an older version to this version.
pub(crate) fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    for (version, migration) in (1_i64..).zip(migrations) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Read under the lock: another process may have started at the same time and done it.
        let reached: i64 = transaction.pragma_query_one(None, "user_version")?;
        if reached < version {
            apply(&transaction, version, migration)?;
            transaction.commit()?;
        }
    }
    Ok(())
}

/// One migration with its number, as far as the commit.
fn apply(transaction: &Transaction<'_>, version: i64, migration: &str) -> rusqlite::Result<()> {
    transaction.execute_batch(migration)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(connection: &Connection) -> Vec<String> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn an_empty_file_gets_every_migration_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(state(&connection).unwrap(), FileState::Empty);
        let migrations = ["CREATE TABLE one (a)", "CREATE TABLE two (a)"];
        migrate(&mut connection, &migrations[..1]).unwrap();
        assert_eq!(state(&connection).unwrap(), FileState::Version(1));
        migrate(&mut connection, &migrations).unwrap();
        migrate(&mut connection, &migrations).unwrap();
        assert_eq!(state(&connection).unwrap(), FileState::Version(2));
        assert_eq!(tables(&connection), ["one", "two"]);
    }

    #[test]
    fn a_migration_that_is_cut_off_has_not_happened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.sqlite");
        let mut connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        migrate(&mut connection, &["CREATE TABLE one (a)"]).unwrap();

        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        apply(&transaction, 2, "CREATE TABLE two (a); INSERT INTO one VALUES (1)").unwrap();
        // What a kill leaves: the file and its log as they are now, without the commit.
        let copy = folder.path().join("copy.sqlite");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(folder.path().join("metadata.sqlite-wal"), folder.path().join("copy.sqlite-wal")).unwrap();
        drop(transaction);
        drop(connection);

        for path in [path, copy] {
            let mut connection = Connection::open(&path).unwrap();
            assert_eq!(state(&connection).unwrap(), FileState::Version(1), "{}", path.display());
            assert_eq!(tables(&connection), ["one"]);
            migrate(&mut connection, &["CREATE TABLE one (a)", "CREATE TABLE two (a)"]).unwrap();
            assert_eq!(state(&connection).unwrap(), FileState::Version(2));
            let rows: i64 = connection.query_one("SELECT count(*) FROM one", [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 0);
        }
    }

    #[test]
    fn a_migration_that_fails_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let migrations = ["CREATE TABLE one (a)", "CREATE TABLE two (a); CREATE TABLE one (a)"];
        migrate(&mut connection, &migrations).unwrap_err();
        assert_eq!(state(&connection).unwrap(), FileState::Version(1));
        assert_eq!(tables(&connection), ["one"]);
    }

    #[test]
    fn databases_of_others_are_told_apart() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE theirs (a)").unwrap();
        assert_eq!(state(&connection).unwrap(), FileState::Foreign);
        let connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "application_id", 7).unwrap();
        assert_eq!(state(&connection).unwrap(), FileState::Foreign);
    }
}
