//! What goes: deletions, with what protects from them, and evictions.
//!
//! A deletion whose answer was lost is made again, and when there is nothing left to delete it has happened: which tags went with it is
//! not known then, and none are named. What is evicted or forgotten is not done again; the caller hears that the store is unavailable, and what
//! went stands on the list of unheld blobs.

use deadpool_postgres::Client;
use entrepot_metadata::{Deletion, Error, Evicted, Eviction, Forgotten, ProtectedTags};
use entrepot_oci::{Digest, RepositoryName, Tag, TagOrDigest};
use futures_util::FutureExt as _;
use tokio_postgres::Row;

use crate::connections::{Answer, Connections, Ending, Parameters, Repeat};
use crate::content;
use crate::limits::WALKED_MANIFESTS_MAX;
use crate::rows::{get, parse, parsed, row_limit, size, time};

const UNLINK_BLOB: &str = "SELECT unlink_blob($1, $2)";
const DELETE_MANIFEST: &str = "SELECT delete_manifest($1, $2)";
const DELETE_TAG: &str = "SELECT delete_tag($1, $2)";

/// The tags on what is to go and on everything above it, and how much that is. A blob may be named as a child of an index as well.
const ABOVE: &str = "WITH RECURSIVE here AS (
        SELECT id FROM repositories WHERE name = $1
    ), above (id, digest) AS (
        (
            SELECT manifests.id, manifests.digest FROM here
            JOIN manifests ON manifests.repository = here.id AND manifests.digest = $2 WHERE NOT $3
            UNION
            SELECT manifests.id, manifests.digest FROM here
            JOIN manifest_references ON manifest_references.repository = here.id AND target = $2
            JOIN manifests ON manifests.id = manifest_references.manifest WHERE $3
        )
        UNION
        SELECT manifests.id, manifests.digest FROM above CROSS JOIN here
        JOIN manifest_references ON manifest_references.repository = here.id
            AND target = above.digest AND kind = 'child'
        JOIN manifests ON manifests.id = manifest_references.manifest
    ), visited AS (
        SELECT id FROM above LIMIT $4
    )
    SELECT tags.name, (SELECT count(*) FROM visited) FROM visited
    LEFT JOIN tags ON tags.manifest = visited.id ORDER BY tags.name";

pub(crate) async fn delete_tag(
    connections: &Connections,
    repository: &RepositoryName,
    tag: &Tag,
    protected: &ProtectedTags,
) -> Result<Deletion, Error> {
    // Whether there is one decides first, so that what never was is missing and not protected.
    if protected.contains(tag) {
        let is_here = content::tag(connections, repository, tag).await?.is_some();
        return Ok(if is_here { Deletion::Protected(tag.clone()) } else { Deletion::Missing });
    }
    let answer = connections.send(Repeat::Yes, DELETE_TAG, &[&repository.as_str(), &tag.as_str()]).await?;
    done_or_missing(&answer)
}

pub(crate) async fn unlink_blob(
    connections: &Connections,
    repository: &RepositoryName,
    digest: &Digest,
    protected: &ProtectedTags,
) -> Result<Deletion, Error> {
    let parameters: Parameters<'_> = &[&repository.as_str(), &digest.as_str()];
    if protected.are_none() {
        return done_or_missing(&connections.send(Repeat::Yes, UNLINK_BLOB, parameters).await?);
    }
    match unless_protected(connections, repository, digest, protected, Target::Blob).await? {
        Guarded::Refused(refusal) => Ok(refusal),
        Guarded::Done(answer) => done_or_missing(&answer),
    }
}

pub(crate) async fn delete_manifest(
    connections: &Connections,
    repository: &RepositoryName,
    digest: &Digest,
    protected: &ProtectedTags,
) -> Result<Deletion, Error> {
    let parameters: Parameters<'_> = &[&repository.as_str(), &digest.as_str()];
    let answer = if protected.are_none() {
        connections.send(Repeat::Yes, DELETE_MANIFEST, parameters).await?
    } else {
        match unless_protected(connections, repository, digest, protected, Target::Manifest).await? {
            Guarded::Refused(refusal) => return Ok(refusal),
            Guarded::Done(answer) => answer,
        }
    };
    let tags: Option<Vec<&str>> = match answer.rows.first() {
        Some(row) => get(row, 0)?,
        None => None,
    };
    match tags {
        Some(tags) => {
            let tags = tags.into_iter().map(|name| parse(name, "tags.name")).collect::<Result<_, _>>()?;
            Ok(Deletion::Done { tags })
        }
        None if answer.is_repeated => Ok(Deletion::Done { tags: Vec::new() }),
        None => Ok(Deletion::Missing),
    }
}

/// Whether a function said that there was something to delete.
fn done_or_missing(answer: &Answer) -> Result<Deletion, Error> {
    let is_gone: Option<bool> = match answer.rows.first() {
        Some(row) => get(row, 0)?,
        None => None,
    };
    let is_gone = is_gone.unwrap_or(false) || answer.is_repeated;
    Ok(if is_gone { Deletion::Done { tags: Vec::new() } } else { Deletion::Missing })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Blob,
    Manifest,
}

enum Guarded {
    Refused(Deletion),
    Done(Answer),
}

/// Deletes unless a protected tag is on it or above it. Rules are asked here and not by the database, so this is one transaction of
/// several statements, which has the repository for itself from the first one on.
async fn unless_protected(
    connections: &Connections,
    repository: &RepositoryName,
    digest: &Digest,
    protected: &ProtectedTags,
    target: Target,
) -> Result<Guarded, Error> {
    const HELD: &str = "SELECT EXISTS (SELECT 1 FROM blob_links WHERE repository = $1 AND digest = $2)";
    let limit = row_limit(WALKED_MANIFESTS_MAX + 1);
    let sql = if target == Target::Blob { UNLINK_BLOB } else { DELETE_MANIFEST };
    let (name, digest, protected) = (repository.as_str().to_owned(), digest.as_str().to_owned(), protected.clone());
    let (outcome, is_repeated) = connections
        .transaction(Repeat::Yes, move |client| {
            let (name, digest, protected) = (name.clone(), digest.clone(), protected.clone());
            async move {
                let lock = client.prepare_cached("SELECT lock_repository($1)").await?;
                client.query(&lock, &[&name]).await?;
                let is_blob = target == Target::Blob;
                if is_blob {
                    let held = client.prepare_cached(HELD).await?;
                    let is_held: bool = client.query_one(&held, &[&name, &digest]).await?.try_get(0)?;
                    if !is_held {
                        return Ok((Err(Ok(Deletion::Missing)), Ending::RollBack));
                    }
                }
                let above = client.prepare_cached(ABOVE).await?;
                let above = client.query(&above, &[&name, &digest, &is_blob, &limit]).await?;
                if let Some(refusal) = refusal(&above, &protected).transpose() {
                    return Ok((Err(refusal), Ending::RollBack));
                }
                let delete = client.prepare_cached(sql).await?;
                let rows = client.query(&delete, &[&name, &digest]).await?;
                Ok((Ok(rows), Ending::Commit))
            }
            .boxed()
        })
        .await?;
    match outcome {
        Ok(rows) => Ok(Guarded::Done(Answer { rows, is_repeated })),
        Err(Ok(Deletion::Missing)) if is_repeated => Ok(Guarded::Refused(Deletion::Done { tags: Vec::new() })),
        Err(refusal) => refusal.map(Guarded::Refused),
    }
}

/// The refusal, when a protected tag is among these, or there may be more above than was looked at.
fn refusal(above: &[Row], protected: &ProtectedTags) -> Result<Option<Deletion>, Error> {
    for row in above {
        let name: Option<&str> = get(row, 0)?;
        let tag = name.map(|name| parse::<Tag>(name, "tags.name")).transpose()?;
        if let Some(tag) = tag.filter(|tag| protected.contains(tag)) {
            return Ok(Some(Deletion::Protected(tag)));
        }
    }
    let looked_at = above.first().map_or(Ok(0), |row| get::<i64>(row, 1))?;
    Ok((looked_at > row_limit(WALKED_MANIFESTS_MAX)).then_some(Deletion::NamedByTooMany))
}

pub(crate) async fn forget_blob(connections: &Connections, digest: &Digest) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM blobs WHERE digest = $1 AND holders = 0 RETURNING digest";
    let answer = connections.send(Repeat::Yes, SQL, &[&digest.as_str()]).await?;
    if answer.rows.is_empty() && answer.is_repeated {
        // It has happened, unless somebody holds it again.
        return Ok(content::blob_holders(connections, digest, 1).await?.is_empty());
    }
    Ok(!answer.rows.is_empty())
}

pub(crate) async fn unpin(
    connections: &Connections,
    repository: &RepositoryName,
    reference: &TagOrDigest,
) -> Result<bool, Error> {
    const SQL: &str = "SELECT unpin($1, $2)";
    let answer = connections.send(Repeat::Yes, SQL, &[&repository.as_str(), &reference.to_string()]).await?;
    Ok(matches!(done_or_missing(&answer)?, Deletion::Done { .. }))
}

const EVICT: &str = "SELECT repository, digest, gone_tags, freed, used_at FROM evict($1, $2, $3)";

pub(crate) async fn evict(connections: &Connections, eviction: &Eviction) -> Result<Vec<Evicted>, Error> {
    let used_before = eviction.used_before.milliseconds();
    let bytes = i64::try_from(eviction.bytes).unwrap_or(i64::MAX);
    let entries_max = row_limit(eviction.entries_max);
    let rows = if eviction.is_dry_run {
        // The same, undone at its end, so that its numbers are those of the real one.
        connections
            .transaction(Repeat::Yes, move |client| would_evict(client, used_before, bytes, entries_max).boxed())
            .await?
            .0
    } else {
        connections.send(Repeat::No, EVICT, &[&used_before, &bytes, &entries_max]).await?.rows
    };
    let read = |row: &Row| {
        Ok(Evicted {
            repository: parsed(row, 0, "entries.repository")?,
            digest: parsed(row, 1, "entries.digest")?,
            tags: content::names(row, 2)?,
            freed: size(row, 3)?,
            used_at: time(row, 4)?,
        })
    };
    rows.iter().map(read).collect()
}

async fn would_evict(
    client: &Client,
    used_before: i64,
    bytes: i64,
    entries_max: i64,
) -> Result<(Vec<Row>, Ending), tokio_postgres::Error> {
    let evict = client.prepare_cached(EVICT).await?;
    Ok((client.query(&evict, &[&used_before, &bytes, &entries_max]).await?, Ending::RollBack))
}

pub(crate) async fn forget(
    connections: &Connections,
    repository: &RepositoryName,
    reference: Option<&TagOrDigest>,
) -> Result<Forgotten, Error> {
    const SQL: &str = "SELECT pinned, digest, gone_tags, freed, used_at FROM forget($1, $2, $3)";
    let (tag, digest) = match reference {
        None => (None, None),
        Some(TagOrDigest::Tag(tag)) => (Some(tag.as_str()), None),
        Some(TagOrDigest::Digest(digest)) => (None, Some(digest.as_str())),
    };
    let rows = connections.send(Repeat::No, SQL, &[&repository.as_str(), &tag, &digest]).await?.rows;
    let mut entries = Vec::new();
    for row in &rows {
        if let Some(pinned) = get::<Option<&str>>(row, 0)? {
            return Ok(Forgotten::Pinned(content::reference(pinned)?));
        }
        entries.push(Evicted {
            repository: repository.clone(),
            digest: parsed(row, 1, "manifests.digest")?,
            tags: content::names(row, 2)?,
            freed: size(row, 3)?,
            used_at: time(row, 4)?,
        });
    }
    Ok(if entries.is_empty() { Forgotten::Nothing } else { Forgotten::Entries(entries) })
}
