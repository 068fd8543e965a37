//! Removing entries: the least recently used of them, or those that somebody names.
//!
//! Removing is one walk, whoever asked for it. It relies on the triggers of the schema: when the references of a manifest are
//! deleted, whatever nothing else names becomes an entry in the same moment, so the walk only asks which of its targets did.

use entrepot_metadata::{Evicted, Eviction, Forgotten, Timestamp};
use entrepot_oci::{Digest, RepositoryName, Tag, TagOrDigest};
use rusqlite::Connection;

use crate::failure::Failure;
use crate::limits::WALKED_MANIFESTS_MAX;
use crate::{blobs, entries, manifests, pins, query, repositories, tags, totals};

/// Evicts; a dry run is the same, undone at its end, so that its numbers are those of the real one.
pub(crate) fn evict(connection: &Connection, eviction: &Eviction) -> Result<Vec<Evicted>, Failure> {
    if !eviction.is_dry_run {
        return evict_oldest(connection, eviction);
    }
    query::execute(connection, "SAVEPOINT dry_run", [])?;
    // After an error the savepoint goes with the whole write.
    let evicted = evict_oldest(connection, eviction)?;
    query::execute(connection, "ROLLBACK TO dry_run", [])?;
    query::execute(connection, "RELEASE dry_run", [])?;
    Ok(evicted)
}

fn evict_oldest(connection: &Connection, eviction: &Eviction) -> Result<Vec<Evicted>, Failure> {
    const OLDEST: &str = "SELECT repository, digest, used_at FROM entries
        WHERE is_pinned = 0 AND used_at < ?1 ORDER BY used_at, repository, digest LIMIT 1";
    let mut evicted = Vec::new();
    let mut freed = 0;
    while freed < eviction.bytes && evicted.len() < eviction.entries_max {
        // What is removed is not found again. What it leaves behind, a child with a tag, takes its own place in the order.
        let oldest = query::first(connection, OLDEST, [eviction.used_before.milliseconds()], |row| {
            let name: RepositoryName = query::parsed(row, 0, "entries.repository")?;
            let digest: Digest = query::parsed(row, 1, "entries.digest")?;
            Ok((name, digest, Timestamp::from_milliseconds(row.get(2)?)))
        })?;
        let Some((name, digest, used_at)) = oldest else { break };
        let place =
            Place::find(connection, &name)?.ok_or_else(|| Failure::corrupt("entries.repository", name.as_str()))?;
        let entry = place.remove_listed(&digest, used_at)?;
        freed = entry.freed.saturating_add(freed);
        evicted.push(entry);
    }
    Ok(evicted)
}

pub(crate) fn forget(
    connection: &Connection,
    repository: &RepositoryName,
    reference: Option<&TagOrDigest>,
) -> Result<Forgotten, Failure> {
    let Some(place) = Place::find(connection, repository)? else { return Ok(Forgotten::Nothing) };
    match reference {
        None => place.forget_all(),
        Some(TagOrDigest::Tag(tag)) => place.forget_tag(tag),
        Some(TagOrDigest::Digest(digest)) => place.forget_digest(digest),
    }
}

/// A repository, where something is removed.
struct Place<'a> {
    connection: &'a Connection,
    name: &'a RepositoryName,
    repository: i64,
}

impl<'a> Place<'a> {
    fn find(connection: &'a Connection, name: &'a RepositoryName) -> Result<Option<Self>, Failure> {
        Ok(repositories::id(connection, name)?.map(|repository| Self { connection, name, repository }))
    }

    /// A tag that is not the last one on its manifest, or whose manifest is part of an index, goes alone.
    fn forget_tag(&self, tag: &Tag) -> Result<Forgotten, Failure> {
        const SQL: &str = "SELECT digest, used_at, manifests.id FROM tags JOIN manifests ON manifests.id = manifest
            WHERE tags.repository = ?1 AND name = ?2";
        let found = query::first(self.connection, SQL, (self.repository, tag.as_str()), |row| {
            let digest: Digest = query::parsed(row, 0, "manifests.digest")?;
            Ok((digest, Timestamp::from_milliseconds(row.get(1)?), row.get::<_, i64>(2)?))
        })?;
        let Some((digest, used_at, manifest)) = found else { return Ok(Forgotten::Nothing) };
        if let Some(pinned) = self.first_pinned([TagOrDigest::Tag(tag.clone())])? {
            return Ok(Forgotten::Pinned(pinned));
        }
        let is_last = tags::of_manifest(self.connection, self.repository, manifest)?.len() == 1;
        if !is_last || entries::get(self.connection, self.name, digest.as_str())?.is_none() {
            tags::delete(self.connection, self.name, tag)?;
            let (repository, tags) = (self.name.clone(), vec![tag.clone()]);
            return Ok(Forgotten::Entries(vec![Evicted { repository, digest, tags, freed: 0, used_at }]));
        }
        if let Some(pinned) = self.first_pinned([TagOrDigest::Digest(digest.clone())])? {
            return Ok(Forgotten::Pinned(pinned));
        }
        Ok(Forgotten::Entries(vec![self.remove_entry(&digest, used_at)?]))
    }

    /// A digest goes whatever names it: who asks for exactly this does not want it here.
    fn forget_digest(&self, digest: &Digest) -> Result<Forgotten, Failure> {
        const MANIFEST: &str = "SELECT used_at FROM manifests WHERE repository = ?1 AND digest = ?2";
        const BLOB: &str = "SELECT used_at FROM blob_links WHERE repository = ?1 AND digest = ?2";
        let manifest = query::first(self.connection, MANIFEST, (self.repository, digest.as_str()), |row| {
            Ok(Timestamp::from_milliseconds(row.get(0)?))
        })?;
        let blob = query::first(self.connection, BLOB, (self.name.as_str(), digest.as_str()), |row| {
            Ok(Timestamp::from_milliseconds(row.get(0)?))
        })?;
        let Some(used_at) = manifest.max(blob) else { return Ok(Forgotten::Nothing) };
        let tags = manifests::tags(self.connection, self.name, digest)?;
        let references = tags.into_iter().map(TagOrDigest::Tag);
        if let Some(pinned) = self.first_pinned([TagOrDigest::Digest(digest.clone())].into_iter().chain(references))? {
            return Ok(Forgotten::Pinned(pinned));
        }
        let held = totals::get(self.connection)?.bytes;
        let mut evicted = self.remove_entry(digest, used_at)?;
        blobs::unlink(self.connection, self.name, digest)?;
        evicted.freed = held.saturating_sub(totals::get(self.connection)?.bytes);
        Ok(Forgotten::Entries(vec![evicted]))
    }

    fn forget_all(&self) -> Result<Forgotten, Failure> {
        // A circle of manifests that name one another has no entry: whatever manifest is left comes next.
        const NEXT: &str = "SELECT digest, used_at FROM entries WHERE repository = ?1 ORDER BY digest LIMIT 1";
        const LEFT: &str = "SELECT digest, used_at FROM manifests WHERE repository = ?1 LIMIT 1";
        for pinned in pins::of_repository(self.connection, self.name)? {
            if self.holds(&pinned)? {
                return Ok(Forgotten::Pinned(pinned));
            }
        }
        let mut forgotten = Vec::new();
        loop {
            let read = |row: &rusqlite::Row<'_>| {
                let digest: Digest = query::parsed(row, 0, "entries.digest")?;
                Ok((digest, Timestamp::from_milliseconds(row.get(1)?)))
            };
            let next = match query::first(self.connection, NEXT, [self.name.as_str()], read)? {
                Some(next) => Some(next),
                None => query::first(self.connection, LEFT, [self.repository], read)?,
            };
            let Some((digest, used_at)) = next else { break };
            forgotten.push(self.remove_listed(&digest, used_at)?);
        }
        Ok(if forgotten.is_empty() { Forgotten::Nothing } else { Forgotten::Entries(forgotten) })
    }

    fn first_pinned(&self, references: impl IntoIterator<Item = TagOrDigest>) -> Result<Option<TagOrDigest>, Failure> {
        pins::first_of(self.connection, self.name, references)
    }

    fn holds(&self, reference: &TagOrDigest) -> Result<bool, Failure> {
        Ok(match reference {
            TagOrDigest::Tag(tag) => tags::get(self.connection, self.name, tag)?.is_some(),
            TagOrDigest::Digest(digest) => {
                manifests::id(self.connection, self.repository, digest.as_str())?.is_some()
                    || blobs::get(self.connection, self.name, digest)?.is_some()
            }
        })
    }

    /// Removes what is under the digest and whatever only that reached, and says what it came to.
    fn remove_entry(&self, digest: &Digest, used_at: Timestamp) -> Result<Evicted, Failure> {
        let held = totals::get(self.connection)?.bytes;
        let mut pending = vec![Target { digest: digest.as_str().to_owned(), is_child: false }];
        let mut tags = Vec::new();
        if let Some(manifest) = manifests::id(self.connection, self.repository, digest.as_str())? {
            pending.extend(self.targets(manifest)?);
            tags = manifests::remove(self.connection, manifest)?;
        }
        self.remove_unnamed(pending)?;
        let freed = held.saturating_sub(totals::get(self.connection)?.bytes);
        Ok(Evicted { repository: self.name.clone(), digest: digest.clone(), tags, freed, used_at })
    }

    /// The same for one that a list names, which must not name it again: the caller would never come to an end.
    fn remove_listed(&self, digest: &Digest, used_at: Timestamp) -> Result<Evicted, Failure> {
        let evicted = self.remove_entry(digest, used_at)?;
        match entries::get(self.connection, self.name, digest.as_str())? {
            None => Ok(evicted),
            Some(_) => Err(Failure::corrupt("entries.digest", digest.as_str())),
        }
    }

    /// Removes those of the targets, and of their targets in turn, that nothing names any more. A manifest that has a tag or
    /// a pin stays, and so does one that would have been an entry anyway because it was not named as a child.
    /// Manifests that are beyond the limit of a walk stay as entries of their own.
    fn remove_unnamed(&self, mut pending: Vec<Target>) -> Result<(), Failure> {
        const BLOB: &str = "DELETE FROM blob_links WHERE repository = ?1 AND digest = ?2";
        let mut walked = 0;
        while let Some(target) = pending.pop() {
            let Some(entry) = entries::get(self.connection, self.name, &target.digest)? else { continue };
            let Some(manifest) = entry.manifest else {
                if !entry.is_pinned {
                    query::execute(self.connection, BLOB, (self.name.as_str(), &target.digest))?;
                }
                continue;
            };
            let is_kept = entry.is_pinned || !target.is_child || tags::are_on(self.connection, manifest)?;
            if is_kept || walked == WALKED_MANIFESTS_MAX {
                continue;
            }
            walked += 1;
            pending.push(Target { is_child: false, ..target });
            pending.extend(self.targets(manifest)?);
            manifests::remove(self.connection, manifest)?;
        }
        Ok(())
    }

    /// What a manifest names.
    fn targets(&self, manifest: i64) -> Result<Vec<Target>, Failure> {
        const SQL: &str = "SELECT target, kind = 'child' FROM manifest_references WHERE manifest = ?1";
        query::all(self.connection, SQL, [manifest], |row| Ok(Target { digest: row.get(0)?, is_child: row.get(1)? }))
    }
}

/// What a manifest named that is gone.
struct Target {
    digest: String,
    /// As a child: only then is the manifest of that digest a part of it. A blob is a part in any case.
    is_child: bool,
}
