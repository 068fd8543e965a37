//! Upload sessions.

use entrepot_metadata::{BlobLink, Error, Timestamp, UploadId, UploadRow};
use entrepot_oci::RepositoryName;
use rusqlite::{Connection, Row};

use crate::failure::Failure;
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

pub(crate) fn idle(connection: &Connection, before: Timestamp, limit: usize) -> Result<Vec<UploadRow>, Failure> {
    const SQL: &str = "SELECT uploads.id, name, algorithm, touched_at, owner FROM uploads
        JOIN repositories ON repositories.id = repository
        WHERE touched_at < ?1 ORDER BY touched_at, uploads.id LIMIT ?2";
    query::all(connection, SQL, (before.milliseconds(), query::row_limit(limit)), upload_row)
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

pub(crate) fn delete(connection: &Connection, id: &UploadId) -> Result<bool, Failure> {
    const SQL: &str = "DELETE FROM uploads WHERE id = ?1";
    Ok(query::execute(connection, SQL, [id.as_str()])? > 0)
}

pub(crate) fn finish(
    connection: &Connection,
    id: &UploadId,
    repository: &RepositoryName,
    blob: &BlobLink,
    now: Timestamp,
) -> Result<(), Failure> {
    const SQL: &str = "DELETE FROM uploads
        WHERE id = ?1 AND repository = (SELECT id FROM repositories WHERE name = ?2)";
    query::execute(connection, SQL, (id.as_str(), repository.as_str()))?;
    blobs::link(connection, repository, blob, now)
}
