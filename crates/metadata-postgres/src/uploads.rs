//! Upload sessions: one statement each, judged by the clock of the server.

use std::time::Duration;

use bytes::Bytes;
use entrepot_metadata::limits::UPLOAD_STATE_BYTES_MAX;
use entrepot_metadata::{BlobLink, Error, Timestamp, UploadClaim, UploadId, UploadProgress, UploadRow, UploadState};
use entrepot_oci::RepositoryName;
use tokio_postgres::Row;

use crate::connections::{Answer, Connections, Parameters, Repeat};
use crate::failure::corrupt;
use crate::rows::{free_text, get, parsed, row_limit, size, stored_size, time};

pub(crate) async fn create(connections: &Connections, upload: &UploadRow, open_max: usize) -> Result<(), Error> {
    const SQL: &str = "SELECT create_upload($1, $2, $3, $4, $5, $6)";
    let parameters: Parameters<'_> = &[
        &upload.id.as_str(),
        &upload.repository.as_str(),
        &upload.owner.as_bytes(),
        &upload.algorithm.as_str(),
        &upload.touched_at.milliseconds(),
        &row_limit(open_max),
    ];
    // Its own id is found again, so twice is the same as once.
    let answer = connections.send(Repeat::Yes, SQL, parameters).await?;
    match answer.rows.first().map(|row| get::<Option<i64>>(row, 0)).transpose()?.flatten() {
        None => Ok(()),
        Some(open) => Err(Error::TooManyUploads { open: usize::try_from(open).unwrap_or(usize::MAX) }),
    }
}

pub(crate) async fn get_one(connections: &Connections, id: &UploadId) -> Result<Option<UploadRow>, Error> {
    const SQL: &str = "SELECT uploads.id, name, owner, algorithm, touched_at FROM uploads
        JOIN repositories ON repositories.id = repository WHERE uploads.id = $1";
    connections.row(SQL, &[&id.as_str()]).await?.as_ref().map(upload_row).transpose()
}

pub(crate) async fn idle(connections: &Connections, before: Timestamp, limit: usize) -> Result<Vec<UploadRow>, Error> {
    const SQL: &str = "SELECT uploads.id, name, owner, algorithm, touched_at FROM uploads
        JOIN repositories ON repositories.id = repository
        WHERE touched_at < $1 AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
        ORDER BY touched_at, uploads.id LIMIT $2";
    let rows = connections.rows(SQL, &[&before.milliseconds(), &row_limit(limit)]).await?;
    rows.iter().map(upload_row).collect()
}

fn upload_row(row: &Row) -> Result<UploadRow, Error> {
    Ok(UploadRow {
        id: parsed(row, 0, "uploads.id")?,
        repository: parsed(row, 1, "repositories.name")?,
        owner: free_text(row, 2, "uploads.owner")?,
        algorithm: parsed(row, 3, "uploads.algorithm")?,
        touched_at: time(row, 4)?,
    })
}

pub(crate) async fn touch(connections: &Connections, id: &UploadId, now: Timestamp) -> Result<bool, Error> {
    const SQL: &str = "UPDATE uploads SET touched_at = $2 WHERE id = $1 RETURNING id";
    Ok(connections.row(SQL, &[&id.as_str(), &now.milliseconds()]).await?.is_some())
}

/// Ends a session. When the answer was lost, one that is gone has been ended by this.
pub(crate) async fn delete(connections: &Connections, id: &UploadId, writer: Option<&str>) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM uploads WHERE id = $1 AND may_end(uploads, $2) RETURNING id";
    let answer = connections.send(Repeat::Yes, SQL, &[&id.as_str(), &writer]).await?;
    if answer.rows.is_empty() && answer.is_repeated {
        return Ok(get_one(connections, id).await?.is_none());
    }
    Ok(!answer.rows.is_empty())
}

/// The commit of a push. When the answer was lost it is made again: a session that is gone does not stop it.
pub(crate) async fn finish(
    connections: &Connections,
    id: &UploadId,
    writer: Option<&str>,
    repository: &RepositoryName,
    blob: &BlobLink,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "SELECT finish_upload($1, $2, $3, $4, $5, $6)";
    let (digest, size) = (blob.digest.as_str(), stored_size(blob.size));
    let parameters: Parameters<'_> =
        &[&id.as_str(), &writer, &repository.as_str(), &digest, &size, &now.milliseconds()];
    flag(&connections.send(Repeat::Yes, SQL, parameters).await?)
}

pub(crate) async fn progress(connections: &Connections, id: &UploadId) -> Result<Option<UploadProgress>, Error> {
    const SQL: &str = "SELECT uploads.id, name, owner, algorithm, touched_at, coalesce(received, 0),
            coalesce(claimed_until > clock_timestamp(), FALSE)
        FROM uploads JOIN repositories ON repositories.id = repository WHERE uploads.id = $1";
    let row = connections.row(SQL, &[&id.as_str()]).await?;
    row.map(|row| Ok(UploadProgress { row: upload_row(&row)?, received: size(&row, 5)?, is_claimed: get(&row, 6)? }))
        .transpose()
}

/// Takes a session. Made again it is the same writer's again, so a lost answer does no harm.
pub(crate) async fn claim(
    connections: &Connections,
    id: &UploadId,
    writer: &str,
    lasts: Duration,
) -> Result<Option<UploadClaim>, Error> {
    // The second part sees the session as it was before the first: one that was taken in between is busy, and so is one that has just
    // ended, until it is asked for again.
    const SQL: &str = "WITH taken AS (
            UPDATE uploads SET writer = $2, claimed_until = clock_timestamp() + $3 * interval '1 second'
            FROM repositories
            WHERE uploads.id = $1 AND repositories.id = uploads.repository
                AND (writer IS NULL OR writer = $2 OR claimed_until <= clock_timestamp())
            RETURNING uploads.id, name, owner, algorithm, touched_at, received, state
        )
        SELECT id, name, owner, algorithm, touched_at, received, state, TRUE FROM taken
        UNION ALL
        SELECT uploads.id, NULL, NULL, NULL, NULL, NULL, NULL, FALSE FROM uploads
        WHERE uploads.id = $1 AND NOT EXISTS (SELECT 1 FROM taken)";
    let answer = connections.send(Repeat::Yes, SQL, &[&id.as_str(), &writer, &seconds(lasts)]).await?;
    let Some(row) = answer.rows.first() else { return Ok(None) };
    if !get::<bool>(row, 7)? {
        return Ok(Some(UploadClaim::Busy));
    }
    let state = match (get::<Option<i64>>(row, 5)?, get::<Option<&[u8]>>(row, 6)?) {
        (Some(received), Some(state)) => {
            Some(UploadState { received: received.cast_unsigned(), state: Bytes::copy_from_slice(state) })
        }
        (None, None) => None,
        _ => return Err(corrupt("uploads.state", "half of it")),
    };
    Ok(Some(UploadClaim::Taken(upload_row(row)?, state)))
}

pub(crate) async fn renew(
    connections: &Connections,
    id: &UploadId,
    writer: &str,
    lasts: Duration,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE uploads SET claimed_until = clock_timestamp() + $3 * interval '1 second'
        WHERE id = $1 AND writer = $2 RETURNING id";
    Ok(connections.row(SQL, &[&id.as_str(), &writer, &seconds(lasts)]).await?.is_some())
}

/// Lets go of a session. When the answer was lost and the claim is gone, it is looked whether what was to be left is what is there.
pub(crate) async fn release(
    connections: &Connections,
    id: &UploadId,
    writer: &str,
    state: Option<&UploadState>,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE uploads SET touched_at = $3, received = coalesce($4, received),
            state = coalesce($5, state), writer = NULL, claimed_until = NULL
        WHERE id = $1 AND writer = $2 RETURNING id";
    const LEFT: &str = "SELECT 1 FROM uploads WHERE id = $1 AND touched_at = $2
        AND ($3::bigint IS NULL OR received = $3) AND ($4::bytea IS NULL OR state = $4)";
    let length = state.map_or(0, |state| state.state.len());
    Error::check_length("the state of an upload", length, UPLOAD_STATE_BYTES_MAX)?;
    let received = state.map(|state| stored_size(state.received));
    let bytes = state.map(|state| state.state.as_ref());
    let (id, now) = (id.as_str(), now.milliseconds());
    let answer = connections.send(Repeat::Yes, SQL, &[&id, &writer, &now, &received, &bytes]).await?;
    if answer.rows.is_empty() && answer.is_repeated {
        return Ok(connections.row(LEFT, &[&id, &now, &received, &bytes]).await?.is_some());
    }
    Ok(!answer.rows.is_empty())
}

/// A duration as the database takes it. What is longer than a hundred years is that.
pub(crate) fn seconds(lasts: Duration) -> f64 {
    const LONGEST: f64 = 100.0 * 365.0 * 86400.0;
    lasts.as_secs_f64().min(LONGEST)
}

/// The one truth that a function answers.
pub(crate) fn flag(answer: &Answer) -> Result<bool, Error> {
    Ok(answer.rows.first().map(|row| get::<Option<bool>>(row, 0)).transpose()?.flatten().unwrap_or(false))
}
