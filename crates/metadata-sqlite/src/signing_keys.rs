//! The keys that tokens are signed with.

use entrepot_metadata::{SigningKeyRow, Timestamp};
use rusqlite::Connection;

use crate::failure::Failure;
use crate::query;

pub(crate) fn list(connection: &Connection) -> Result<Vec<SigningKeyRow>, Failure> {
    const SQL: &str = "SELECT id, secret, created_at FROM signing_keys WHERE number > 0 ORDER BY number DESC";
    query::all(connection, SQL, [], |row| {
        let created_at = Timestamp::from_milliseconds(row.get(2)?);
        Ok(SigningKeyRow { id: row.get(0)?, secret: row.get(1)?, created_at })
    })
}

/// Adds a key, if the last one is still the one that the caller knows.
pub(crate) fn add(connection: &Connection, key: &SigningKeyRow, newest: Option<&str>) -> Result<bool, Failure> {
    const NEWEST: &str = "SELECT id FROM signing_keys WHERE number > 0 ORDER BY number DESC LIMIT 1";
    const INSERT: &str = "INSERT INTO signing_keys (id, secret, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    let found: Option<String> = query::first(connection, NEWEST, [], |row| Ok(row.get(0)?))?;
    if found.as_deref() != newest {
        return Ok(false);
    }
    Ok(query::execute(connection, INSERT, (&key.id, &key.secret, key.created_at.milliseconds()))? > 0)
}

pub(crate) fn delete(connection: &Connection, id: &str) -> Result<bool, Failure> {
    const SQL: &str = "DELETE FROM signing_keys WHERE id = ?1";
    Ok(query::execute(connection, SQL, [id])? > 0)
}
