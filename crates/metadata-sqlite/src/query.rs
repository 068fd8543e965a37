//! Statements: prepared once per connection, with bound parameters only.
//!
//! The text of a statement is a constant of the program by type, so nothing that came from a client can be part of it.

use std::str::FromStr;

use rusqlite::{Connection, Params, Row};

use crate::failure::Failure;

/// The first row, if there is one.
pub(crate) fn first<T>(
    connection: &Connection,
    sql: &'static str,
    parameters: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    #[cfg(test)]
    tests::record(sql);
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(read).transpose()
}

/// Every row.
pub(crate) fn all<T>(
    connection: &Connection,
    sql: &'static str,
    parameters: impl Params,
    read: impl FnMut(&Row<'_>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    #[cfg(test)]
    tests::record(sql);
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_and_then(parameters, read)?.collect()
}

/// Runs a statement without rows and returns how many it changed.
pub(crate) fn execute(connection: &Connection, sql: &'static str, parameters: impl Params) -> Result<usize, Failure> {
    #[cfg(test)]
    tests::record(sql);
    Ok(connection.prepare_cached(sql)?.execute(parameters)?)
}

/// The column of a row as the type that was written to it. `column` is its full name, for the message about damage.
pub(crate) fn parsed<T: FromStr>(row: &Row<'_>, index: usize, column: &str) -> Result<T, Failure> {
    // Read where it lies: the value makes a text of its own.
    let text = row.get_ref(index)?.as_str().map_err(|_| Failure::corrupt(column, "what is no text"))?;
    text.parse().map_err(|_| Failure::corrupt(column, text))
}

/// A size as `SQLite` stores integers. Bits are kept: what a descriptor claims may be beyond 2^63, and comes back exactly.
pub(crate) const fn stored_size(size: u64) -> i64 {
    size.cast_signed()
}

/// The size of a row, undoing [`stored_size`].
pub(crate) fn size(row: &Row<'_>, index: usize) -> Result<u64, Failure> {
    Ok(row.get::<_, i64>(index)?.cast_unsigned())
}

/// A number of rows as `SQLite` takes it.
pub(crate) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The text that a page goes on after. Names, tags and digests are never empty, so everything comes after the empty text.
pub(crate) fn text_after(after: Option<&str>) -> &str {
    after.unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex, PoisonError};

    use entrepot_metadata::{MetadataStore, suite};
    use rusqlite::config::DbConfig;

    use crate::SqliteStore;
    use crate::schema::MIGRATIONS;

    static RECORDED: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

    thread_local! {
        static RUN: Cell<usize> = const { Cell::new(0) };
    }

    /// How many statements something runs on this thread.
    pub(crate) fn statements<T>(run: impl FnOnce() -> T) -> (usize, T) {
        RUN.set(0);
        let result = run();
        (RUN.get(), result)
    }

    /// Remembers the statements that the tests of this crate run.
    pub(crate) fn record(sql: &'static str) {
        RUN.set(RUN.get() + 1);
        RECORDED.lock().unwrap_or_else(PoisonError::into_inner).insert(sql);
    }

    #[tokio::test]
    async fn every_statement_reads_from_an_index_and_sorts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        suite::run(|case| {
            let store = SqliteStore::open(&folder.path().join(case)).unwrap();
            std::future::ready(Arc::new(store) as Arc<dyn MetadataStore>)
        })
        .await;

        let connection = rusqlite::Connection::open_in_memory().unwrap();
        for migration in MIGRATIONS {
            connection.execute_batch(migration).unwrap();
        }
        // What triggers do is a part of the statement that fires them.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRIGGER_EQP, true).unwrap();
        let mut triggers = BTreeSet::new();
        let recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(recorded.len() > 20, "only {} statements were seen", recorded.len());
        for sql in recorded {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().unwrap() {
                let step: String = row.get("detail").unwrap();
                if let Some(name) = step.strip_prefix("-- TRIGGER ") {
                    triggers.insert(name.to_owned());
                    continue;
                }
                let is_wasteful = step.contains("TEMP B-TREE") || step.contains("AUTOMATIC");
                let is_scan = step.starts_with("SCAN") && step != "SCAN CONSTANT ROW";
                assert!(!is_wasteful && !is_scan, "{sql}\nis planned as {step}");
            }
        }
        let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'").unwrap();
        let all = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<BTreeSet<String>, _>>();
        assert_eq!(triggers, all.unwrap(), "each trigger was fired by some statement");
    }
}
