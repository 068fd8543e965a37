//! The credentials that were issued. Of a secret there is only its hash.

use std::collections::BTreeMap;

use entrepot_metadata::{CredentialKind, CredentialRow, Error, Page, Timestamp};
use rusqlite::{Connection, Row};

use crate::failure::Failure;
use crate::query;

pub(crate) fn add(connection: &Connection, credential: &CredentialRow) -> Result<bool, Failure> {
    const SQL: &str = "INSERT INTO credentials (id, secret_hash, kind, principal, name, repositories, actions, basis,
            created_at, expires_at, used_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING";
    let row = (
        &credential.id,
        &credential.secret_hash[..],
        credential.kind.as_str(),
        &credential.principal,
        &credential.name,
        stored_list(&credential.repositories)?,
        stored_list(&credential.actions)?,
        credential.basis.as_ref().map(|basis| &basis[..]),
        credential.created_at.milliseconds(),
        credential.expires_at.map(Timestamp::milliseconds),
        credential.used_at.map(Timestamp::milliseconds),
    );
    Ok(query::execute(connection, SQL, row)? > 0)
}

pub(crate) fn get(connection: &Connection, id: &str) -> Result<Option<CredentialRow>, Failure> {
    const SQL: &str =
        "SELECT id, secret_hash, kind, principal, name, repositories, actions, basis, created_at, expires_at,
            used_at
        FROM credentials WHERE id = ?1";
    query::first(connection, SQL, [id], credential_row)
}

pub(crate) fn list(
    connection: &Connection,
    principal: Option<&str>,
    page: &Page<String>,
) -> Result<Vec<CredentialRow>, Failure> {
    // Two statements, because each has an index of its own to walk along.
    const ALL: &str =
        "SELECT id, secret_hash, kind, principal, name, repositories, actions, basis, created_at, expires_at,
            used_at
        FROM credentials WHERE id > ?1 ORDER BY id LIMIT ?2";
    const OF_ONE: &str = "SELECT id, secret_hash, kind, principal, name, repositories, actions, basis, created_at,
            expires_at, used_at
        FROM credentials INDEXED BY credentials_by_principal WHERE principal = ?3 AND id > ?1 ORDER BY id LIMIT ?2";
    let after = query::text_after(page.after.as_deref());
    let limit = query::row_limit(page.limit);
    match principal {
        None => query::all(connection, ALL, (after, limit), credential_row),
        Some(principal) => query::all(connection, OF_ONE, (after, limit, principal), credential_row),
    }
}

pub(crate) fn delete(connection: &Connection, id: &str) -> Result<bool, Failure> {
    const SQL: &str = "DELETE FROM credentials WHERE id = ?1";
    Ok(query::execute(connection, SQL, [id])? > 0)
}

/// Records uses, in whatever order they come.
pub(crate) fn touch(connection: &Connection, uses: &[(String, Timestamp)]) -> Result<(), Failure> {
    const SQL: &str = "UPDATE credentials SET used_at = ?2 WHERE id = ?1 AND ifnull(used_at < ?2, TRUE)";
    // A batch often says the same thing many times over.
    let mut latest: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for (id, at) in uses {
        let last = latest.entry(id).or_insert(*at);
        *last = (*at).max(*last);
    }
    for (id, at) in latest {
        query::execute(connection, SQL, (id, at.milliseconds()))?;
    }
    Ok(())
}

/// Deletes what is over, and says how many.
pub(crate) fn sweep(connection: &Connection, unused_since: Timestamp, now: Timestamp) -> Result<u64, Failure> {
    const EXPIRED: &str = "DELETE FROM credentials WHERE expires_at < ?1";
    const IDLE: &str =
        "DELETE FROM credentials WHERE kind = 'refresh' AND max(created_at, ifnull(used_at, created_at)) < ?1";
    let expired = query::execute(connection, EXPIRED, [now.milliseconds()])?;
    let idle = query::execute(connection, IDLE, [unused_since.milliseconds()])?;
    Ok(u64::try_from(expired.saturating_add(idle)).unwrap_or(u64::MAX))
}

fn credential_row(row: &Row<'_>) -> Result<CredentialRow, Failure> {
    let kind: String = row.get(2)?;
    let time = |index| Ok::<_, Failure>(row.get::<_, Option<i64>>(index)?.map(Timestamp::from_milliseconds));
    Ok(CredentialRow {
        id: row.get(0)?,
        secret_hash: row.get(1)?,
        kind: CredentialKind::parse(&kind).ok_or_else(|| Failure::corrupt("credentials.kind", &kind))?,
        principal: row.get(3)?,
        name: row.get(4)?,
        repositories: list_of(row, 5, "credentials.repositories")?,
        actions: list_of(row, 6, "credentials.actions")?,
        basis: row.get(7)?,
        created_at: Timestamp::from_milliseconds(row.get(8)?),
        expires_at: time(9)?,
        used_at: time(10)?,
    })
}

fn stored_list(texts: &[String]) -> Result<String, Failure> {
    serde_json::to_string(texts).map_err(|error| Failure::Refused(Error::Backend(Box::new(error))))
}

/// A list as [`stored_list`] wrote it. What a credential is limited to is never taken for nothing.
fn list_of(row: &Row<'_>, index: usize, column: &str) -> Result<Vec<String>, Failure> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text).map_err(|_| Failure::corrupt(column, &text))
}
