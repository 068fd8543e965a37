//! The credentials that were issued, and the keys that tokens are signed with. Of a credential's secret there is only its hash.

use std::collections::BTreeMap;

use entrepot_metadata::{CredentialKind, CredentialRow, Error, Page, SigningKeyRow, Timestamp};
use tokio_postgres::Row;

use crate::connections::{Connections, Parameters, Repeat};
use crate::failure::corrupt;
use crate::rows::{free_text, get, parsed, row_limit, text_after, time};
use crate::uploads::flag;

/// Adds a credential. When the answer was lost and it cannot be added again, it is looked whether it is the one that is there.
pub(crate) async fn add_credential(connections: &Connections, credential: &CredentialRow) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO credentials (id, secret_hash, kind, principal, name, repositories, actions, basis,
            created_at, expires_at, used_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING RETURNING id";
    let (repositories, actions) = (stored_list(&credential.repositories)?, stored_list(&credential.actions)?);
    let parameters: Parameters<'_> = &[
        &credential.id.as_bytes(),
        &&credential.secret_hash[..],
        &credential.kind.as_str(),
        &credential.principal.as_bytes(),
        &credential.name.as_bytes(),
        &repositories,
        &actions,
        &credential.basis.as_ref().map(|basis| &basis[..]),
        &credential.created_at.milliseconds(),
        &credential.expires_at.map(Timestamp::milliseconds),
        &credential.used_at.map(Timestamp::milliseconds),
    ];
    let answer = connections.send(Repeat::Yes, SQL, parameters).await?;
    if answer.rows.is_empty() && answer.is_repeated {
        return Ok(self::credential(connections, &credential.id).await?.as_ref() == Some(credential));
    }
    Ok(!answer.rows.is_empty())
}

pub(crate) async fn credential(connections: &Connections, id: &str) -> Result<Option<CredentialRow>, Error> {
    const SQL: &str = "SELECT id, secret_hash, kind, principal, name, repositories, actions, basis, created_at,
            expires_at, used_at
        FROM credentials WHERE id = $1";
    connections.row(SQL, &[&id.as_bytes()]).await?.as_ref().map(credential_row).transpose()
}

pub(crate) async fn credentials(
    connections: &Connections,
    principal: Option<&str>,
    page: &Page<String>,
) -> Result<Vec<CredentialRow>, Error> {
    // Two statements, because each has an index of its own to walk along.
    const ALL: &str = "SELECT id, secret_hash, kind, principal, name, repositories, actions, basis, created_at,
            expires_at, used_at
        FROM credentials WHERE id > $1 ORDER BY id LIMIT $2";
    const OF_ONE: &str = "SELECT id, secret_hash, kind, principal, name, repositories, actions, basis, created_at,
            expires_at, used_at
        FROM credentials WHERE principal = $3 AND id > $1 ORDER BY id LIMIT $2";
    let after = text_after(page.after.as_deref()).as_bytes();
    let limit = row_limit(page.limit);
    let rows = match principal.map(str::as_bytes) {
        None => connections.rows(ALL, &[&after, &limit]).await?,
        Some(principal) => connections.rows(OF_ONE, &[&after, &limit, &principal]).await?,
    };
    rows.iter().map(credential_row).collect()
}

pub(crate) async fn delete_credential(connections: &Connections, id: &str) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM credentials WHERE id = $1 RETURNING id";
    let answer = connections.send(Repeat::Yes, SQL, &[&id.as_bytes()]).await?;
    // Ids are never used twice: what is not there any more was deleted.
    Ok(!answer.rows.is_empty() || answer.is_repeated)
}

/// Records uses, in whatever order they come.
pub(crate) async fn touch_credentials(connections: &Connections, uses: &[(String, Timestamp)]) -> Result<(), Error> {
    // In the order of the ids, so that two that do this wait for each other and never each for the other.
    const SQL: &str = "WITH latest AS (
            SELECT credentials.id, at FROM unnest($1::bytea[], $2::bigint[]) AS used (id, at)
            JOIN credentials ON credentials.id = used.id ORDER BY credentials.id FOR NO KEY UPDATE OF credentials
        )
        UPDATE credentials SET used_at = at FROM latest
        WHERE credentials.id = latest.id AND (used_at IS NULL OR used_at < at)";
    let mut latest: BTreeMap<&[u8], i64> = BTreeMap::new();
    for (id, at) in uses {
        let last = latest.entry(id.as_bytes()).or_insert(i64::MIN);
        *last = at.milliseconds().max(*last);
    }
    if latest.is_empty() {
        return Ok(());
    }
    let ids: Vec<&[u8]> = latest.keys().copied().collect();
    let times: Vec<i64> = latest.into_values().collect();
    connections.send(Repeat::Yes, SQL, &[&ids, &times]).await.map(|_| ())
}

/// Deletes what is over, and says how many.
pub(crate) async fn sweep_credentials(
    connections: &Connections,
    unused_since: Timestamp,
    now: Timestamp,
) -> Result<u64, Error> {
    const SQL: &str = "WITH gone AS (
            DELETE FROM credentials
            WHERE expires_at < $1 OR (kind = 'refresh' AND greatest(created_at, used_at) < $2) RETURNING 1
        )
        SELECT count(*) FROM gone";
    let row = connections.row(SQL, &[&now.milliseconds(), &unused_since.milliseconds()]).await?;
    row.map_or(Ok(0), |row| Ok(get::<i64>(&row, 0)?.cast_unsigned()))
}

fn credential_row(row: &Row) -> Result<CredentialRow, Error> {
    let kind: &str = get(row, 2)?;
    let moment = |index| Ok::<_, Error>(get::<Option<i64>>(row, index)?.map(Timestamp::from_milliseconds));
    let hash = |bytes: &[u8], column| {
        <[u8; 32]>::try_from(bytes).map_err(|_| corrupt(column, &format!("{} bytes", bytes.len())))
    };
    let basis: Option<&[u8]> = get(row, 7)?;
    Ok(CredentialRow {
        id: free_text(row, 0, "credentials.id")?,
        secret_hash: hash(get(row, 1)?, "credentials.secret_hash")?,
        kind: CredentialKind::parse(kind).ok_or_else(|| corrupt("credentials.kind", kind))?,
        principal: free_text(row, 3, "credentials.principal")?,
        name: free_text(row, 4, "credentials.name")?,
        repositories: list_of(row, 5, "credentials.repositories")?,
        actions: list_of(row, 6, "credentials.actions")?,
        basis: basis.map(|bytes| hash(bytes, "credentials.basis")).transpose()?,
        created_at: time(row, 8)?,
        expires_at: moment(9)?,
        used_at: moment(10)?,
    })
}

/// Control characters are written as escapes, so that the text never has one.
pub(crate) fn stored_list(texts: &[String]) -> Result<String, Error> {
    serde_json::to_string(texts).map_err(|error| Error::Backend(Box::new(error)))
}

/// A list as [`stored_list`] wrote it. What a credential is limited to is never taken for nothing.
fn list_of(row: &Row, index: usize, column: &str) -> Result<Vec<String>, Error> {
    let text: &str = get(row, index)?;
    serde_json::from_str(text).map_err(|_| corrupt(column, text))
}

pub(crate) async fn signing_keys(connections: &Connections) -> Result<Vec<SigningKeyRow>, Error> {
    const SQL: &str = "SELECT id, secret, created_at FROM signing_keys ORDER BY number DESC";
    let read = |row: &Row| {
        let secret: &[u8] = get(row, 1)?;
        Ok(SigningKeyRow { id: parsed(row, 0, "signing_keys.id")?, secret: secret.to_vec(), created_at: time(row, 2)? })
    };
    connections.rows(SQL, &[]).await?.iter().map(read).collect()
}

/// Adds a key, if the last one is still the one that the caller knows. When the answer was lost, it may be there already.
pub(crate) async fn add_signing_key(
    connections: &Connections,
    key: &SigningKeyRow,
    newest: Option<&str>,
) -> Result<bool, Error> {
    const SQL: &str = "SELECT add_signing_key($1, $2, $3, $4)";
    let parameters: Parameters<'_> = &[&key.id, &key.secret, &key.created_at.milliseconds(), &newest];
    let answer = connections.send(Repeat::Yes, SQL, parameters).await?;
    let is_added = flag(&answer)?;
    if !is_added && answer.is_repeated {
        return Ok(signing_keys(connections).await?.contains(key));
    }
    Ok(is_added)
}

pub(crate) async fn delete_signing_key(connections: &Connections, id: &str) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM signing_keys WHERE id = $1 RETURNING id";
    let answer = connections.send(Repeat::Yes, SQL, &[&id]).await?;
    Ok(!answer.rows.is_empty() || answer.is_repeated)
}
