//! Manifests that are here: looking them up, their referrers, and deleting them.

use bytes::Bytes;
use entrepot_metadata::{ManifestRow, Page};
use entrepot_oci::{Annotations, Digest, Referrer, RepositoryName, Tag};
use rusqlite::{Connection, Row};

use crate::failure::Failure;
use crate::{query, tags};

pub(crate) fn get(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<ManifestRow>, Failure> {
    const SQL: &str = "SELECT manifests.digest, media_type, bytes FROM manifests
        JOIN manifest_contents ON manifest_contents.id = content
        WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND manifests.digest = ?2";
    query::first(connection, SQL, (repository.as_str(), digest.as_str()), manifest_row)
}

/// The row of a manifest.
pub(crate) fn id(connection: &Connection, repository: i64, digest: &str) -> Result<Option<i64>, Failure> {
    const SQL: &str = "SELECT id FROM manifests WHERE repository = ?1 AND digest = ?2";
    query::first(connection, SQL, (repository, digest), |row| Ok(row.get(0)?))
}

pub(crate) fn tagged(
    connection: &Connection,
    repository: &RepositoryName,
    tag: &Tag,
) -> Result<Option<ManifestRow>, Failure> {
    const SQL: &str = "SELECT manifests.digest, media_type, bytes FROM tags
        JOIN manifests ON manifests.id = tags.manifest
        JOIN manifest_contents ON manifest_contents.id = content
        WHERE tags.repository = (SELECT id FROM repositories WHERE name = ?1) AND tags.name = ?2";
    query::first(connection, SQL, (repository.as_str(), tag.as_str()), manifest_row)
}

fn manifest_row(row: &Row<'_>) -> Result<ManifestRow, Failure> {
    Ok(ManifestRow {
        digest: query::parsed(row, 0, "manifests.digest")?,
        media_type: query::parsed(row, 1, "manifests.media_type")?,
        bytes: Bytes::from(row.get::<_, Vec<u8>>(2)?),
    })
}

pub(crate) fn referenced_size(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<u64>, Failure> {
    const SQL: &str = "SELECT size FROM manifest_references
        WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND target = ?2 LIMIT 1";
    query::first(connection, SQL, (repository.as_str(), digest.as_str()), |row| query::size(row, 0))
}

pub(crate) fn naming(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<ManifestRow>, Failure> {
    // A manifest may name the content in several ways, and is one row of the answer.
    const SQL: &str = "SELECT manifests.digest, media_type, bytes FROM manifest_references
        JOIN manifests ON manifests.id = manifest
        JOIN manifest_contents ON manifest_contents.id = content
        WHERE manifest_references.repository = (SELECT id FROM repositories WHERE name = ?1) AND target = ?2
        GROUP BY manifest LIMIT ?3";
    let limit = query::row_limit(limit);
    query::all(connection, SQL, (repository.as_str(), digest.as_str(), limit), manifest_row)
}

pub(crate) fn referrers(
    connection: &Connection,
    repository: &RepositoryName,
    subject: &Digest,
    artifact_type: Option<&str>,
    page: &Page<Digest>,
) -> Result<Vec<Referrer>, Failure> {
    // Two statements, because each has an index of its own to walk along.
    const ALL: &str = "SELECT referrers.digest, artifact_type, annotations, media_type, length(bytes) FROM referrers
        JOIN manifests ON manifests.id = manifest
        JOIN manifest_contents ON manifest_contents.id = content
        WHERE referrers.repository = (SELECT id FROM repositories WHERE name = ?1) AND subject = ?2
            AND referrers.digest > ?3
        ORDER BY referrers.digest LIMIT ?4";
    const OF_TYPE: &str = "SELECT referrers.digest, artifact_type, annotations, media_type, length(bytes)
        FROM referrers INDEXED BY referrers_by_artifact_type
        JOIN manifests ON manifests.id = manifest
        JOIN manifest_contents ON manifest_contents.id = content
        WHERE referrers.repository = (SELECT id FROM repositories WHERE name = ?1) AND subject = ?2
            AND referrers.digest > ?3 AND artifact_type = ?5
        ORDER BY referrers.digest LIMIT ?4";
    let after = query::text_after(page.after.as_ref().map(Digest::as_str));
    let limit = query::row_limit(page.limit);
    let (repository, subject) = (repository.as_str(), subject.as_str());
    match artifact_type {
        None => query::all(connection, ALL, (repository, subject, after, limit), referrer),
        Some(wanted) => query::all(connection, OF_TYPE, (repository, subject, after, limit, wanted), referrer),
    }
}

fn referrer(row: &Row<'_>) -> Result<Referrer, Failure> {
    let annotations: String = row.get(2)?;
    let annotations: Annotations =
        serde_json::from_str(&annotations).map_err(|_| Failure::corrupt("referrers.annotations", &annotations))?;
    Ok(Referrer {
        digest: query::parsed(row, 0, "referrers.digest")?,
        artifact_type: row.get(1)?,
        annotations,
        media_type: query::parsed(row, 3, "manifests.media_type")?,
        size: query::size(row, 4)?,
    })
}

/// The tags on a manifest.
pub(crate) fn tags(connection: &Connection, repository: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Failure> {
    const SQL: &str = "SELECT repository, id FROM manifests
        WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND digest = ?2";
    let found = query::first(connection, SQL, (repository.as_str(), digest.as_str()), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    })?;
    match found {
        Some((repository, manifest)) => tags::of_manifest(connection, repository, manifest),
        None => Ok(Vec::new()),
    }
}

pub(crate) fn delete(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<Vec<Tag>>, Failure> {
    const SQL: &str = "SELECT id FROM manifests
        WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND digest = ?2";
    let found = query::first(connection, SQL, (repository.as_str(), digest.as_str()), |row| Ok(row.get(0)?))?;
    let Some(manifest) = found else { return Ok(None) };
    Ok(Some(remove(connection, manifest)?))
}

/// Deletes a manifest by its row with everything that belongs to it, and its bytes with the last repository. Returns the tags
/// that were on it, in order.
pub(crate) fn remove(connection: &Connection, manifest: i64) -> Result<Vec<Tag>, Failure> {
    const TAGS: &str = "DELETE FROM tags WHERE manifest = ?1 RETURNING name";
    const REFERENCES: &str = "DELETE FROM manifest_references WHERE manifest = ?1";
    const REFERRER: &str = "DELETE FROM referrers WHERE manifest = ?1";
    const MANIFEST: &str = "DELETE FROM manifests WHERE id = ?1 RETURNING content";
    const CONTENT: &str = "DELETE FROM manifest_contents
        WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM manifests WHERE content = ?1)";
    let mut tags: Vec<Tag> = query::all(connection, TAGS, [manifest], |row| query::parsed(row, 0, "tags.name"))?;
    tags.sort_unstable();
    query::execute(connection, REFERENCES, [manifest])?;
    query::execute(connection, REFERRER, [manifest])?;
    for content in query::all(connection, MANIFEST, [manifest], |row| Ok(row.get::<_, i64>(0)?))? {
        query::execute(connection, CONTENT, [content])?;
    }
    Ok(tags)
}
