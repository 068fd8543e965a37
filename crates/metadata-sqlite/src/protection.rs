//! What must not be deleted: protected tags, and everything that they reach.
//!
//! Looked for from what is to go upwards, through the manifests that name it, since a tag reaches little and a repository has many
//! tags. Nothing is looked up where no tag can be protected.

use std::collections::HashSet;

use entrepot_metadata::{Deletion, ProtectedTags};
use entrepot_oci::{Digest, RepositoryName, Tag};
use rusqlite::{Connection, Row};

use crate::failure::Failure;
use crate::limits::WALKED_MANIFESTS_MAX;
use crate::{blobs, manifests, query, repositories, tags};

pub(crate) fn delete_tag(
    connection: &Connection,
    repository: &RepositoryName,
    tag: &Tag,
    protected: &ProtectedTags,
) -> Result<Deletion, Failure> {
    // Whether there is one decides first, so that what never was is missing and not protected.
    if protected.contains(tag) && tags::get(connection, repository, tag)?.is_some() {
        return Ok(Deletion::Protected(tag.clone()));
    }
    let is_gone = tags::delete(connection, repository, tag)?;
    Ok(if is_gone { Deletion::Done { tags: Vec::new() } } else { Deletion::Missing })
}

pub(crate) fn delete_manifest(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    protected: &ProtectedTags,
) -> Result<Deletion, Failure> {
    if !protected.are_none()
        && let Some(row) = repositories::id(connection, repository)?
        && let Some(manifest) = manifests::id(connection, row, digest.as_str())?
    {
        let start = Above { manifest, digest: digest.as_str().to_owned() };
        if let Some(refusal) = look_upwards(connection, row, vec![start], protected)? {
            return Ok(refusal);
        }
    }
    let tags = manifests::delete(connection, repository, digest)?;
    Ok(tags.map_or(Deletion::Missing, |tags| Deletion::Done { tags }))
}

pub(crate) fn unlink_blob(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    protected: &ProtectedTags,
) -> Result<Deletion, Failure> {
    // An index may name a blob as a child, so every kind of name counts. A manifest may have several for one content.
    const NAMING: &str = "SELECT manifests.id, manifests.digest FROM manifest_references
        JOIN manifests ON manifests.id = manifest_references.manifest
        WHERE manifest_references.repository = ?1 AND target = ?2 GROUP BY manifest_references.manifest LIMIT ?3";
    if !protected.are_none()
        && blobs::get(connection, repository, digest)?.is_some()
        && let Some(row) = repositories::id(connection, repository)?
    {
        let limit = query::row_limit(WALKED_MANIFESTS_MAX + 1);
        let naming = query::all(connection, NAMING, (row, digest.as_str(), limit), above)?;
        if let Some(refusal) = look_upwards(connection, row, naming, protected)? {
            return Ok(refusal);
        }
    }
    let is_gone = blobs::unlink(connection, repository, digest)?;
    Ok(if is_gone { Deletion::Done { tags: Vec::new() } } else { Deletion::Missing })
}

/// A manifest that a protected tag may be on, or above.
struct Above {
    manifest: i64,
    digest: String,
}

fn above(row: &Row<'_>) -> Result<Above, Failure> {
    Ok(Above { manifest: row.get(0)?, digest: row.get(1)? })
}

/// The refusal, when a protected tag is on one of these manifests or on one above them. References may form a circle: no manifest is
/// visited twice, and only so many.
fn look_upwards(
    connection: &Connection,
    repository: i64,
    mut pending: Vec<Above>,
    protected: &ProtectedTags,
) -> Result<Option<Deletion>, Failure> {
    const ABOVE: &str = "SELECT manifests.id, manifests.digest FROM manifest_references
        JOIN manifests ON manifests.id = manifest_references.manifest
        WHERE manifest_references.repository = ?1 AND target = ?2 AND kind = 'child' LIMIT ?3";
    let limit = query::row_limit(WALKED_MANIFESTS_MAX + 1);
    let mut seen = HashSet::new();
    while let Some(next) = pending.pop() {
        if !seen.insert(next.manifest) {
            continue;
        }
        if seen.len() > WALKED_MANIFESTS_MAX {
            return Ok(Some(Deletion::NamedByTooMany));
        }
        let tags = tags::of_manifest(connection, repository, next.manifest)?;
        if let Some(tag) = tags.into_iter().find(|tag| protected.contains(tag)) {
            return Ok(Some(Deletion::Protected(tag)));
        }
        let found = query::all(connection, ABOVE, (repository, &next.digest, limit), above)?;
        pending.extend(found.into_iter().filter(|one| !seen.contains(&one.manifest)));
    }
    Ok(None)
}
