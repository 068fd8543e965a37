//! Which repository holds which blob.

use entrepot_metadata::{BlobLink, Timestamp};
use entrepot_oci::{Digest, RepositoryName};
use rusqlite::Connection;

use crate::failure::Failure;
use crate::{query, repositories};

pub(crate) fn get(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<BlobLink>, Failure> {
    const SQL: &str = "SELECT size FROM blob_links WHERE repository = ?1 AND digest = ?2";
    query::first(connection, SQL, (repository.as_str(), digest.as_str()), |row| {
        Ok(BlobLink { digest: digest.clone(), size: query::size(row, 0)? })
    })
}

pub(crate) fn link(
    connection: &Connection,
    repository: &RepositoryName,
    blob: &BlobLink,
    now: Timestamp,
) -> Result<(), Failure> {
    const SQL: &str =
        "INSERT INTO blob_links (repository, digest, size, linked_at, used_at) VALUES (?1, ?2, ?3, ?4, ?4)
        ON CONFLICT (repository, digest) DO UPDATE SET size = excluded.size WHERE size <> excluded.size";
    repositories::ensure(connection, repository, now)?;
    let size = query::stored_size(blob.size);
    query::execute(connection, SQL, (repository.as_str(), blob.digest.as_str(), size, now.milliseconds()))?;
    Ok(())
}

pub(crate) fn unlink(connection: &Connection, repository: &RepositoryName, digest: &Digest) -> Result<bool, Failure> {
    const SQL: &str = "DELETE FROM blob_links WHERE repository = ?1 AND digest = ?2";
    Ok(query::execute(connection, SQL, (repository.as_str(), digest.as_str()))? > 0)
}

pub(crate) fn holders(
    connection: &Connection,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<(RepositoryName, BlobLink)>, Failure> {
    const SQL: &str = "SELECT repository, size FROM blob_links WHERE digest = ?1 ORDER BY repository LIMIT ?2";
    query::all(connection, SQL, (digest.as_str(), query::row_limit(limit)), |row| {
        let repository = query::parsed(row, 0, "blob_links.repository")?;
        Ok((repository, BlobLink { digest: digest.clone(), size: query::size(row, 1)? }))
    })
}

/// Blobs that have lost their last holder and were not forgotten yet.
pub(crate) fn unheld(connection: &Connection, limit: usize) -> Result<Vec<BlobLink>, Failure> {
    const SQL: &str = "SELECT digest, size FROM blobs WHERE holders = 0 AND digest > '' ORDER BY digest LIMIT ?1";
    query::all(connection, SQL, [query::row_limit(limit)], |row| {
        Ok(BlobLink { digest: query::parsed(row, 0, "blobs.digest")?, size: query::size(row, 1)? })
    })
}

pub(crate) fn forget(connection: &Connection, digest: &Digest) -> Result<bool, Failure> {
    const SQL: &str = "DELETE FROM blobs WHERE digest = ?1 AND holders = 0";
    Ok(query::execute(connection, SQL, [digest.as_str()])? > 0)
}
