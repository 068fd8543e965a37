//! Tags.

use entrepot_metadata::{MissingOr, Page, TagRow, Timestamp};
use entrepot_oci::{Digest, RepositoryName, Tag};
use rusqlite::Connection;

use crate::failure::Failure;
use crate::{query, repositories};

pub(crate) fn get(connection: &Connection, repository: &RepositoryName, tag: &Tag) -> Result<Option<TagRow>, Failure> {
    const SQL: &str = "SELECT digest, confirmed_at FROM tags JOIN manifests ON manifests.id = manifest
        WHERE tags.repository = (SELECT id FROM repositories WHERE name = ?1) AND tags.name = ?2";
    query::first(connection, SQL, (repository.as_str(), tag.as_str()), |row| {
        let confirmed_at = Timestamp::from_milliseconds(row.get(1)?);
        Ok(TagRow { digest: query::parsed(row, 0, "manifests.digest")?, confirmed_at })
    })
}

/// Points a tag at a manifest of the same repository, both given by their rows.
pub(crate) fn point(
    connection: &Connection,
    repository: i64,
    tag: &Tag,
    manifest: i64,
    now: Timestamp,
) -> Result<(), Failure> {
    const SQL: &str = "INSERT INTO tags (repository, name, manifest, confirmed_at) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (repository, name)
        DO UPDATE SET manifest = excluded.manifest, confirmed_at = excluded.confirmed_at";
    query::execute(connection, SQL, (repository, tag.as_str(), manifest, now.milliseconds()))?;
    Ok(())
}

/// The tags on a manifest of the repository, both given by their rows, in order.
pub(crate) fn of_manifest(connection: &Connection, repository: i64, manifest: i64) -> Result<Vec<Tag>, Failure> {
    const SQL: &str = "SELECT name FROM tags WHERE manifest = ?2 AND repository = ?1 ORDER BY name";
    query::all(connection, SQL, (repository, manifest), |row| query::parsed(row, 0, "tags.name"))
}

/// Whether there is a tag on a manifest.
pub(crate) fn are_on(connection: &Connection, manifest: i64) -> Result<bool, Failure> {
    const SQL: &str = "SELECT 1 FROM tags WHERE manifest = ?1 LIMIT 1";
    Ok(query::first(connection, SQL, [manifest], |_| Ok(()))?.is_some())
}

pub(crate) fn confirm(
    connection: &Connection,
    repository: &RepositoryName,
    tag: &Tag,
    digest: &Digest,
    now: Timestamp,
) -> Result<bool, Failure> {
    const SQL: &str = "SELECT repository, id FROM manifests
        WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND digest = ?2";
    let found = query::first(connection, SQL, (repository.as_str(), digest.as_str()), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    })?;
    let Some((repository, manifest)) = found else { return Ok(false) };
    point(connection, repository, tag, manifest, now)?;
    Ok(true)
}

pub(crate) fn delete(connection: &Connection, repository: &RepositoryName, tag: &Tag) -> Result<bool, Failure> {
    const SQL: &str = "DELETE FROM tags
        WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND name = ?2";
    Ok(query::execute(connection, SQL, (repository.as_str(), tag.as_str()))? > 0)
}

pub(crate) fn list(
    connection: &Connection,
    repository: &RepositoryName,
    page: &Page<Tag>,
) -> Result<MissingOr<Vec<Tag>>, Failure> {
    const SQL: &str = "SELECT name FROM tags WHERE repository = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
    // Two statements see two states, but a repository that exists never stops to.
    let Some(repository) = repositories::id(connection, repository)? else { return Ok(MissingOr::Missing) };
    let after = query::text_after(page.after.as_ref().map(Tag::as_str));
    query::all(connection, SQL, (repository, after, query::row_limit(page.limit)), |row| {
        query::parsed(row, 0, "tags.name")
    })
    .map(MissingOr::Found)
}
