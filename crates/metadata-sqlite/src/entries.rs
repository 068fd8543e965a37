//! What can be evicted: listing it, and what it reaches.
//!
//! What an entry is stands in the views of the schema; triggers keep the table in step with them.

use std::collections::HashSet;

use entrepot_metadata::{Entry, EntryKey, Page, Timestamp};
use entrepot_oci::{Digest, MediaType, RepositoryName};
use rusqlite::{Connection, Row};

use crate::failure::Failure;
use crate::limits::WALKED_MANIFESTS_MAX;
use crate::{manifests, query, tags};

/// A digest that is an entry.
pub(crate) struct EntryRow {
    /// The manifest; `None` for a blob.
    pub(crate) manifest: Option<i64>,
    pub(crate) is_pinned: bool,
}

/// The entry of that digest. `None` also for what is here, but named by a manifest that is.
pub(crate) fn get(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &str,
) -> Result<Option<EntryRow>, Failure> {
    const SQL: &str = "SELECT manifest, is_pinned FROM entries WHERE repository = ?1 AND digest = ?2";
    query::first(connection, SQL, (repository.as_str(), digest), |row| {
        Ok(EntryRow { manifest: row.get(0)?, is_pinned: row.get(1)? })
    })
}

pub(crate) fn list(
    connection: &Connection,
    repository: Option<&RepositoryName>,
    page: &Page<EntryKey>,
) -> Result<Vec<Entry>, Failure> {
    const ALL: &str = "SELECT repositories.id, entries.repository, entries.digest, manifest, media_type,
            entries.used_at, is_pinned
        FROM entries CROSS JOIN repositories ON repositories.name = entries.repository
        LEFT JOIN manifests ON manifests.id = manifest
        WHERE (entries.repository, entries.digest) > (?1, ?2)
        ORDER BY entries.repository, entries.digest LIMIT ?3";
    const OF_ONE: &str = "SELECT repositories.id, entries.repository, entries.digest, manifest, media_type,
            entries.used_at, is_pinned
        FROM entries CROSS JOIN repositories ON repositories.name = entries.repository
        LEFT JOIN manifests ON manifests.id = manifest
        WHERE entries.repository = ?1 AND entries.digest > ?2
        ORDER BY entries.digest LIMIT ?3";
    let limit = query::row_limit(page.limit);
    let (after_repository, after_digest) = match &page.after {
        Some((repository, digest)) => (repository.as_str(), digest.as_str()),
        None => ("", ""),
    };
    let rows = match repository.map(RepositoryName::as_str) {
        None => query::all(connection, ALL, (after_repository, after_digest, limit), listed)?,
        Some(name) if after_repository > name => Vec::new(),
        Some(name) => {
            let after = if after_repository == name { after_digest } else { "" };
            query::all(connection, OF_ONE, (name, after, limit), listed)?
        }
    };
    rows.into_iter().map(|row| complete(connection, row)).collect()
}

/// A row of the list, and the rows that the rest of the entry is found by.
struct Listed {
    entry: Entry,
    repository: i64,
    manifest: Option<i64>,
}

fn listed(row: &Row<'_>) -> Result<Listed, Failure> {
    let manifest: Option<i64> = row.get(3)?;
    let media_type: Option<MediaType> = match manifest {
        Some(_) => Some(query::parsed(row, 4, "manifests.media_type")?),
        None => None,
    };
    let entry = Entry {
        repository: query::parsed(row, 1, "entries.repository")?,
        digest: query::parsed(row, 2, "entries.digest")?,
        media_type,
        tags: Vec::new(),
        bytes: 0,
        used_at: Timestamp::from_milliseconds(row.get(5)?),
        is_pinned: row.get(6)?,
    };
    Ok(Listed { entry, repository: row.get(0)?, manifest })
}

fn complete(connection: &Connection, row: Listed) -> Result<Entry, Failure> {
    let Listed { mut entry, repository, manifest } = row;
    if let Some(manifest) = manifest {
        entry.tags = tags::of_manifest(connection, repository, manifest)?;
    }
    entry.bytes = reached_bytes(connection, &entry.repository, repository, &entry.digest, manifest)?;
    Ok(entry)
}

/// The bytes of the held blobs that are reached from a digest, each counted once. Nothing is visited twice, and only so many
/// manifests: what foreign content names may be circular, and without end.
fn reached_bytes(
    connection: &Connection,
    name: &RepositoryName,
    repository: i64,
    digest: &Digest,
    manifest: Option<i64>,
) -> Result<u64, Failure> {
    const OWN: &str = "SELECT size FROM blob_links WHERE repository = ?1 AND digest = ?2";
    const NAMED: &str = "SELECT target, kind = 'child', blob_links.size FROM manifest_references
        LEFT JOIN blob_links ON blob_links.repository = ?2 AND blob_links.digest = target
        WHERE manifest = ?1";
    let own = query::first(connection, OWN, (name.as_str(), digest.as_str()), |row| query::size(row, 0))?;
    let mut bytes = own.unwrap_or_default();
    let mut counted = HashSet::from([digest.as_str().to_owned()]);
    let mut walked = HashSet::new();
    let mut pending: Vec<i64> = manifest.into_iter().collect();
    while let Some(manifest) = pending.pop() {
        if walked.len() == WALKED_MANIFESTS_MAX || !walked.insert(manifest) {
            continue;
        }
        let named = query::all(connection, NAMED, (manifest, name.as_str()), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?, row.get::<_, Option<i64>>(2)?))
        })?;
        for (target, is_child, size) in named {
            if is_child {
                pending.extend(manifests::id(connection, repository, &target)?);
            }
            if let Some(size) = size
                && counted.insert(target)
            {
                bytes = bytes.saturating_add(size.cast_unsigned());
            }
        }
    }
    Ok(bytes)
}
