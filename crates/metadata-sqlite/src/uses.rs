//! When content was last used.
//!
//! The time stands with the manifest or the blob link, and by a trigger with its entry, where eviction finds the oldest. A
//! manifest is never older than what it names as children, because every use goes up.

use std::collections::{BTreeMap, HashSet};

use entrepot_metadata::{Timestamp, Use};
use entrepot_oci::{Digest, RepositoryName};
use rusqlite::Connection;

use crate::failure::Failure;
use crate::limits::WALKED_MANIFESTS_MAX;
use crate::{manifests, query, repositories};

/// Records uses, in whatever order they come.
pub(crate) fn touch(connection: &Connection, uses: &[Use]) -> Result<(), Failure> {
    const BLOB: &str = "UPDATE blob_links SET used_at = ?3 WHERE repository = ?1 AND digest = ?2 AND used_at < ?3";
    // A batch often says the same thing many times over.
    let mut latest: BTreeMap<(&RepositoryName, &Digest), Timestamp> = BTreeMap::new();
    for one in uses {
        let at = latest.entry((&one.repository, &one.digest)).or_insert(one.at);
        *at = one.at.max(*at);
    }
    for ((name, digest), at) in latest {
        let Some(repository) = repositories::id(connection, name)? else { continue };
        query::execute(connection, BLOB, (name.as_str(), digest.as_str(), at.milliseconds()))?;
        if manifests::id(connection, repository, digest.as_str())?.is_some() {
            touch_upwards(connection, repository, digest, at)?;
        }
    }
    Ok(())
}

/// Records the use of a manifest for it and for every manifest above it. References among foreign content may form a circle,
/// and a popular child may have any number of indexes: none is visited twice, and only so many.
pub(crate) fn touch_upwards(
    connection: &Connection,
    repository: i64,
    digest: &Digest,
    at: Timestamp,
) -> Result<(), Failure> {
    const MANIFEST: &str = "UPDATE manifests SET used_at = ?3 WHERE repository = ?1 AND digest = ?2 AND used_at < ?3";
    const ABOVE: &str = "SELECT manifests.digest FROM manifest_references
        JOIN manifests ON manifests.id = manifest_references.manifest
        WHERE manifest_references.repository = ?1 AND target = ?2 AND kind = 'child' LIMIT ?3";
    let limit = query::row_limit(WALKED_MANIFESTS_MAX);
    let mut seen = HashSet::from([digest.as_str().to_owned()]);
    let mut pending = vec![digest.as_str().to_owned()];
    while let Some(digest) = pending.pop() {
        query::execute(connection, MANIFEST, (repository, &digest, at.milliseconds()))?;
        for above in query::all(connection, ABOVE, (repository, &digest, limit), |row| Ok(row.get::<_, String>(0)?))? {
            if seen.len() < WALKED_MANIFESTS_MAX && seen.insert(above.clone()) {
                pending.push(above);
            }
        }
    }
    Ok(())
}
