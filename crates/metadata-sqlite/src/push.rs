//! Pushing a manifest: check, then write, in the transaction of the writer.

use std::collections::{BTreeSet, HashSet};

use entrepot_metadata::{Error, ManifestPush, PushOutcome, ReferenceCheck, TagCondition};
use entrepot_oci::{Digest, Manifest, Reference, ReferenceKind, RepositoryName, Tag};
use rusqlite::Connection;

use crate::failure::Failure;
use crate::{blobs, manifests, query, repositories, tags, uses};

/// Stores the manifest of a push with everything that belongs to it. Nothing is written before every check is done.
pub(crate) fn push(connection: &Connection, push: &ManifestPush) -> Result<PushOutcome, Failure> {
    if let Some(refusal) = check_tags(connection, push)? {
        return Ok(refusal);
    }
    if !is_condition_met(connection, push)? {
        return Ok(PushOutcome::ConditionFailed);
    }
    if push.references == ReferenceCheck::Required
        && let Some(refusal) = check_references(connection, &push.repository, push.manifest.references())?
    {
        return Ok(refusal);
    }
    let repository = repositories::ensure(connection, &push.repository, push.now)?;
    let manifest = put_manifest(connection, repository, push)?;
    put_references(connection, repository, manifest, push.manifest.references())?;
    // What comes again, or below an index that is here already, was asked for just now.
    uses::touch_upwards(connection, repository, &push.digest, push.now)?;
    put_referrer(connection, repository, manifest, push)?;
    for tag in &push.tags {
        tags::point(connection, repository, tag, manifest, push.now)?;
    }
    Ok(PushOutcome::Stored)
}

/// The refusal, when one of the tags may not be made or moved. Nothing is looked up for who may do both.
fn check_tags(connection: &Connection, push: &ManifestPush) -> Result<Option<PushOutcome>, Failure> {
    let unmovable: HashSet<&Tag> = push.unmovable.iter().collect();
    if unmovable.is_empty() && push.may_create_tags {
        return Ok(None);
    }
    for tag in &push.tags {
        let is_unmovable = unmovable.contains(tag);
        if !is_unmovable && push.may_create_tags {
            continue;
        }
        match tags::get(connection, &push.repository, tag)? {
            None if !push.may_create_tags => return Ok(Some(PushOutcome::TagUncreatable(tag.clone()))),
            Some(row) if is_unmovable && row.digest != push.digest => {
                return Ok(Some(PushOutcome::TagUnmovable(tag.clone())));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// A push without tags is judged like one whose tag does not exist.
fn is_condition_met(connection: &Connection, push: &ManifestPush) -> Result<bool, Failure> {
    if push.condition == TagCondition::None {
        return Ok(true);
    }
    let current = match push.tags.first() {
        Some(tag) => tags::get(connection, &push.repository, tag)?.map(|row| row.digest),
        None => None,
    };
    let is_one_of = |digests: &[Digest]| current.as_ref().is_some_and(|current| digests.contains(current));
    Ok(match &push.condition {
        TagCondition::None => true,
        TagCondition::PointsAt(digests) => is_one_of(digests),
        TagCondition::Exists => current.is_some(),
        TagCondition::Absent => current.is_none(),
        TagCondition::PointsAtNoneOf(digests) => !is_one_of(digests),
    })
}

/// How the repository holds what a reference names.
enum Held {
    Exactly,
    WithAnotherSize,
    Not,
}

/// The refusal, when the repository lacks something that may not be left out. What is missing outweighs a wrong size.
fn check_references(
    connection: &Connection,
    repository: &RepositoryName,
    references: &[Reference],
) -> Result<Option<PushOutcome>, Failure> {
    let (mut missing, mut wrong_size) = (BTreeSet::new(), BTreeSet::new());
    let mut checked = HashSet::new();
    for reference in references.iter().filter(|reference| !reference.is_optional()) {
        let descriptor = &reference.descriptor;
        if !checked.insert((reference.kind, &descriptor.digest, descriptor.size)) {
            continue;
        }
        let Some(digest) = descriptor.digest.known() else {
            missing.insert(descriptor.digest.to_string());
            continue;
        };
        match held(connection, repository, reference.kind, digest, descriptor.size)? {
            Held::Exactly => {}
            Held::WithAnotherSize => {
                wrong_size.insert(digest.clone());
            }
            Held::Not => {
                missing.insert(digest.to_string());
            }
        }
    }
    if !missing.is_empty() {
        return Ok(Some(PushOutcome::Missing(missing.into_iter().collect())));
    }
    Ok(if wrong_size.is_empty() { None } else { Some(PushOutcome::WrongSize(wrong_size.into_iter().collect())) })
}

fn held(
    connection: &Connection,
    repository: &RepositoryName,
    kind: ReferenceKind,
    digest: &Digest,
    size: u64,
) -> Result<Held, Failure> {
    let manifest_size = match kind {
        ReferenceKind::Child => manifest_size(connection, repository, digest)?,
        ReferenceKind::Config | ReferenceKind::Layer => None,
    };
    let found = match manifest_size {
        Some(size) => Some(size),
        None => blobs::get(connection, repository, digest)?.map(|blob| blob.size),
    };
    Ok(match found {
        Some(found) if found == size => Held::Exactly,
        Some(_) => Held::WithAnotherSize,
        None => Held::Not,
    })
}

fn manifest_size(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<u64>, Failure> {
    const SQL: &str = "SELECT length(bytes) FROM manifests
        JOIN manifest_contents ON manifest_contents.id = content
        WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND manifests.digest = ?2";
    query::first(connection, SQL, (repository.as_str(), digest.as_str()), |row| query::size(row, 0))
}

/// The row of the manifest, which keeps the type of the last push.
fn put_manifest(connection: &Connection, repository: i64, push: &ManifestPush) -> Result<i64, Failure> {
    const UPDATE: &str = "UPDATE manifests SET media_type = ?2, pushed_at = ?3 WHERE id = ?1";
    const INSERT: &str = "INSERT INTO manifests (repository, digest, content, media_type, pushed_at, used_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
    let (digest, now) = (push.digest.as_str(), push.now.milliseconds());
    let media_type = push.manifest.media_type().as_str();
    if let Some(id) = manifests::id(connection, repository, digest)? {
        query::execute(connection, UPDATE, (id, media_type, now))?;
        return Ok(id);
    }
    let content = put_content(connection, &push.digest, &push.manifest)?;
    query::execute(connection, INSERT, (repository, digest, content, media_type, now))?;
    Ok(connection.last_insert_rowid())
}

/// The row of the bytes, which all repositories share.
fn put_content(connection: &Connection, digest: &Digest, manifest: &Manifest) -> Result<i64, Failure> {
    const FIND: &str = "SELECT id FROM manifest_contents WHERE digest = ?1";
    const INSERT: &str = "INSERT INTO manifest_contents (digest, bytes) VALUES (?1, ?2)";
    if let Some(id) = query::first(connection, FIND, [digest.as_str()], |row| Ok(row.get(0)?))? {
        return Ok(id);
    }
    query::execute(connection, INSERT, (digest.as_str(), manifest.bytes().as_ref()))?;
    Ok(connection.last_insert_rowid())
}

/// Records what the manifest names. Nobody can ask for content of a foreign algorithm, so that is left out.
fn put_references(
    connection: &Connection,
    repository: i64,
    manifest: i64,
    references: &[Reference],
) -> Result<(), Failure> {
    const SQL: &str = "INSERT INTO manifest_references (repository, target, manifest, kind, size)
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
    for reference in references {
        let Some(target) = reference.descriptor.digest.known() else { continue };
        let kind = match reference.kind {
            ReferenceKind::Config => "config",
            ReferenceKind::Layer => "layer",
            ReferenceKind::Child => "child",
        };
        let size = query::stored_size(reference.descriptor.size);
        query::execute(connection, SQL, (repository, target.as_str(), manifest, kind, size))?;
    }
    Ok(())
}

/// Gives the manifest its place among the referrers of its subject.
fn put_referrer(connection: &Connection, repository: i64, manifest: i64, push: &ManifestPush) -> Result<(), Failure> {
    const SQL: &str = "INSERT INTO referrers (repository, subject, digest, manifest, artifact_type, annotations)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (repository, subject, digest)
        DO UPDATE SET artifact_type = excluded.artifact_type, annotations = excluded.annotations";
    let Some(subject) = push.manifest.subject().and_then(|subject| subject.digest.known()) else { return Ok(()) };
    let annotations = serde_json::to_string(push.manifest.annotations())
        .map_err(|error| Failure::Refused(Error::Backend(Box::new(error))))?;
    let artifact_type = push.manifest.artifact_type();
    let row = (repository, subject.as_str(), push.digest.as_str(), manifest, artifact_type, annotations);
    query::execute(connection, SQL, row)?;
    Ok(())
}
