//! Repositories.

use entrepot_metadata::{Page, Timestamp};
use entrepot_oci::RepositoryName;
use rusqlite::Connection;

use crate::failure::Failure;
use crate::query;

/// The row of a repository.
pub(crate) fn id(connection: &Connection, repository: &RepositoryName) -> Result<Option<i64>, Failure> {
    const SQL: &str = "SELECT id FROM repositories WHERE name = ?1";
    query::first(connection, SQL, [repository.as_str()], |row| Ok(row.get(0)?))
}

/// The row of a repository, created when it is new.
pub(crate) fn ensure(connection: &Connection, repository: &RepositoryName, now: Timestamp) -> Result<i64, Failure> {
    const SQL: &str = "INSERT INTO repositories (name, created_at) VALUES (?1, ?2)";
    if let Some(id) = id(connection, repository)? {
        return Ok(id);
    }
    query::execute(connection, SQL, (repository.as_str(), now.milliseconds()))?;
    Ok(connection.last_insert_rowid())
}

pub(crate) fn list(connection: &Connection, page: &Page<RepositoryName>) -> Result<Vec<RepositoryName>, Failure> {
    const SQL: &str = "SELECT name FROM repositories WHERE name > ?1 ORDER BY name LIMIT ?2";
    let after = query::text_after(page.after.as_ref().map(RepositoryName::as_str));
    query::all(connection, SQL, (after, query::row_limit(page.limit)), |row| query::parsed(row, 0, "repositories.name"))
}
