//! Upload sessions.

use std::time::Duration;

use bytes::Bytes;
use entrepot_metadata::limits::UPLOAD_STATE_BYTES_MAX;
use entrepot_metadata::{BlobLink, Error, Timestamp, UploadClaim, UploadId, UploadProgress, UploadRow, UploadState};
use entrepot_oci::RepositoryName;
use rusqlite::{Connection, Row};

use crate::failure::Failure;
use crate::in_process::InProcess;
use crate::{blobs, query, repositories};

pub(crate) fn create(connection: &Connection, upload: &UploadRow, open_max: usize) -> Result<(), Failure> {
    const COUNT: &str = "SELECT count(*) FROM uploads WHERE repository = ?1";
    const INSERT: &str = "INSERT INTO uploads (id, repository, algorithm, touched_at, owner)
        VALUES (?1, ?2, ?3, ?4, ?5)";
    let repository = repositories::ensure(connection, &upload.repository, upload.touched_at)?;
    let open = query::first(connection, COUNT, [repository], |row| query::size(row, 0))?.unwrap_or_default();
    let open = usize::try_from(open).unwrap_or(usize::MAX);
    if open >= open_max {
        // The repository that may have been created above goes with this error.
        return Err(Error::TooManyUploads { open }.into());
    }
    let (algorithm, touched_at) = (upload.algorithm.as_str(), upload.touched_at.milliseconds());
    query::execute(connection, INSERT, (upload.id.as_str(), repository, algorithm, touched_at, &upload.owner))?;
    Ok(())
}

pub(crate) fn get(connection: &Connection, id: &UploadId) -> Result<Option<UploadRow>, Failure> {
    const SQL: &str = "SELECT uploads.id, name, algorithm, touched_at, owner FROM uploads
        JOIN repositories ON repositories.id = repository WHERE uploads.id = ?1";
    query::first(connection, SQL, [id.as_str()], upload_row)
}

/// Those that are old enough; a claim of this process may still last on some of them.
pub(crate) fn idle(
    connection: &Connection,
    process: &InProcess,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<UploadRow>, Failure> {
    const SQL: &str = "SELECT uploads.id, name, algorithm, touched_at, owner FROM uploads
        JOIN repositories ON repositories.id = repository
        WHERE (touched_at, uploads.id) > (?2, ?3) AND touched_at < ?1 ORDER BY touched_at, uploads.id LIMIT ?4";
    let (mut found, mut after) = (Vec::new(), (i64::MIN, String::new()));
    while found.len() < limit {
        let wanted = limit - found.len();
        let parameters = (before.milliseconds(), after.0, &after.1, query::row_limit(wanted));
        let rows = query::all(connection, SQL, parameters, upload_row)?;
        let is_last = rows.len() < wanted;
        if let Some(row) = rows.last() {
            after = (row.touched_at.milliseconds(), row.id.as_str().to_owned());
        }
        found.extend(rows.into_iter().filter(|row| !process.is_claimed(&row.id)));
        if is_last {
            break;
        }
    }
    Ok(found)
}

pub(crate) fn progress(
    connection: &Connection,
    process: &InProcess,
    id: &UploadId,
) -> Result<Option<UploadProgress>, Failure> {
    let Some(row) = get(connection, id)? else { return Ok(None) };
    let received = state(connection, id)?.map_or(0, |state| state.received);
    let is_claimed = process.is_claimed(&row.id);
    Ok(Some(UploadProgress { row, received, is_claimed }))
}

pub(crate) fn claim(
    connection: &Connection,
    process: &InProcess,
    id: &UploadId,
    writer: &str,
    lasts: Duration,
) -> Result<Option<UploadClaim>, Failure> {
    let Some(row) = get(connection, id)? else { return Ok(None) };
    let state = state(connection, id)?;
    let is_taken = process.claim_upload(id, writer, lasts);
    Ok(Some(if is_taken { UploadClaim::Taken(row, state) } else { UploadClaim::Busy }))
}

pub(crate) fn renew(
    connection: &Connection,
    process: &InProcess,
    id: &UploadId,
    writer: &str,
    lasts: Duration,
) -> Result<bool, Failure> {
    if !process.may_write(id, Some(writer)) || get(connection, id)?.is_none() {
        return Ok(false);
    }
    Ok(process.claim_upload(id, writer, lasts))
}

pub(crate) fn release(
    connection: &Connection,
    process: &InProcess,
    id: &UploadId,
    writer: &str,
    state: Option<&UploadState>,
    now: Timestamp,
) -> Result<bool, Failure> {
    const SQL: &str = "INSERT INTO upload_states (upload, received, state) VALUES (?1, ?2, ?3)
        ON CONFLICT (upload) DO UPDATE SET received = excluded.received, state = excluded.state";
    if !process.may_write(id, Some(writer)) || !touch(connection, id, now)? {
        return Ok(false);
    }
    if let Some(state) = state {
        let received = query::stored_size(state.received);
        query::execute(connection, SQL, (id.as_str(), received, state.state.as_ref()))?;
    }
    Ok(true)
}

pub(crate) fn check(state: Option<&UploadState>) -> Result<(), Error> {
    let length = state.map_or(0, |state| state.state.len());
    Error::check_length("the state of an upload", length, UPLOAD_STATE_BYTES_MAX)
}

fn state(connection: &Connection, id: &UploadId) -> Result<Option<UploadState>, Failure> {
    const SQL: &str = "SELECT received, state FROM upload_states WHERE upload = ?1";
    query::first(connection, SQL, [id.as_str()], |row| {
        Ok(UploadState { received: query::size(row, 0)?, state: Bytes::from(row.get::<_, Vec<u8>>(1)?) })
    })
}

fn upload_row(row: &Row<'_>) -> Result<UploadRow, Failure> {
    Ok(UploadRow {
        id: query::parsed(row, 0, "uploads.id")?,
        repository: query::parsed(row, 1, "repositories.name")?,
        owner: row.get(4)?,
        algorithm: query::parsed(row, 2, "uploads.algorithm")?,
        touched_at: Timestamp::from_milliseconds(row.get(3)?),
    })
}

pub(crate) fn touch(connection: &Connection, id: &UploadId, now: Timestamp) -> Result<bool, Failure> {
    const SQL: &str = "UPDATE uploads SET touched_at = ?2 WHERE id = ?1";
    Ok(query::execute(connection, SQL, (id.as_str(), now.milliseconds()))? > 0)
}

pub(crate) fn delete(
    connection: &Connection,
    process: &InProcess,
    id: &UploadId,
    writer: Option<&str>,
) -> Result<bool, Failure> {
    const STATE: &str = "DELETE FROM upload_states WHERE upload = ?1";
    const SQL: &str = "DELETE FROM uploads WHERE id = ?1";
    if !process.may_write(id, writer) {
        return Ok(false);
    }
    query::execute(connection, STATE, [id.as_str()])?;
    Ok(query::execute(connection, SQL, [id.as_str()])? > 0)
}

pub(crate) fn finish(
    connection: &Connection,
    process: &InProcess,
    id: &UploadId,
    writer: Option<&str>,
    repository: &RepositoryName,
    blob: &BlobLink,
    now: Timestamp,
) -> Result<bool, Failure> {
    const STATE: &str = "DELETE FROM upload_states WHERE upload = (SELECT id FROM uploads
        WHERE id = ?1 AND repository = (SELECT id FROM repositories WHERE name = ?2))";
    const SQL: &str = "DELETE FROM uploads
        WHERE id = ?1 AND repository = (SELECT id FROM repositories WHERE name = ?2)";
    if !process.may_write(id, writer) && get(connection, id)?.is_some() {
        return Ok(false);
    }
    query::execute(connection, STATE, (id.as_str(), repository.as_str()))?;
    query::execute(connection, SQL, (id.as_str(), repository.as_str()))?;
    blobs::link(connection, repository, blob, now)?;
    Ok(true)
}
