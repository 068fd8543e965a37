//! Pushing a manifest: one function of the schema, which checks and then writes.

use std::collections::{BTreeSet, HashSet};

use entrepot_metadata::{Error, ManifestPush, PushOutcome, ReferenceCheck, TagCondition, Timestamp};
use entrepot_oci::{Digest, ReferenceKind, RepositoryName, Tag};
use tokio_postgres::Row;

use crate::connections::{Connections, Parameters, Repeat};
use crate::failure::corrupt;
use crate::rows::{get, parse, stored_size};

/// What a manifest names, as arrays of one length.
#[derive(Default)]
struct Named<'a> {
    targets: Vec<&'a str>,
    kinds: Vec<&'static str>,
    sizes: Vec<i64>,
    optional: Vec<bool>,
    /// What must be here and has a digest of an algorithm that nothing here can have.
    foreign: Vec<String>,
}

/// Stores the manifest of a push with everything that belongs to it, or nothing.
///
/// When the answer is lost the push is looked for: it has happened if all of its tags point at its manifest, or without tags if that is here.
/// Otherwise it is made again. So a push that is conditional is never refused because of itself, and one that was overtaken by another
/// in between comes after it, as if it had been sent then.
pub(crate) async fn push(connections: &Connections, push: &ManifestPush) -> Result<PushOutcome, Error> {
    const SQL: &str = "SELECT push_manifest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
        $17, $18, $19)";
    let content = named(push);
    let tags: Vec<&str> = push.tags.iter().map(Tag::as_str).collect();
    let unmovable: Vec<&str> = push.unmovable.iter().map(Tag::as_str).collect();
    let (condition, digests): (&str, &[Digest]) = match &push.condition {
        TagCondition::None => ("none", &[]),
        TagCondition::PointsAt(digests) => ("points-at", digests),
        TagCondition::Exists => ("exists", &[]),
        TagCondition::Absent => ("absent", &[]),
        TagCondition::PointsAtNoneOf(digests) => ("points-at-none-of", digests),
    };
    let digests: Vec<&str> = digests.iter().map(Digest::as_str).collect();
    let is_checked = push.references == ReferenceCheck::Required;
    let subject = push.manifest.subject().and_then(|subject| subject.digest.known()).map(Digest::as_str);
    let artifact_type = push.manifest.artifact_type().map(str::as_bytes);
    let annotations =
        serde_json::to_string(push.manifest.annotations()).map_err(|error| Error::Backend(Box::new(error)))?;
    let (repository, digest) = (push.repository.as_str(), push.digest.as_str());
    let parameters: Parameters<'_> = &[
        &repository,
        &digest,
        &push.manifest.media_type().as_str(),
        &push.manifest.bytes().as_ref(),
        &push.now.milliseconds(),
        &tags,
        &unmovable,
        &push.may_create_tags,
        &condition,
        &digests,
        &is_checked,
        &content.foreign,
        &content.targets,
        &content.kinds,
        &content.sizes,
        &content.optional,
        &subject,
        &artifact_type,
        &annotations,
    ];
    let answer = connections.send(Repeat::Yes, SQL, parameters).await?;
    let outcome = outcome(answer.rows.first())?;
    if answer.is_repeated && outcome != PushOutcome::Stored && has_happened(connections, push, &tags).await? {
        return Ok(PushOutcome::Stored);
    }
    Ok(outcome)
}

fn named(push: &ManifestPush) -> Named<'_> {
    let mut named = Named::default();
    let mut seen = HashSet::new();
    for reference in push.manifest.references() {
        let descriptor = &reference.descriptor;
        let Some(digest) = descriptor.digest.known() else {
            // Nobody can ask for it, so it is not recorded.
            if !reference.is_optional() {
                named.foreign.push(descriptor.digest.to_string());
            }
            continue;
        };
        if !seen.insert((reference.kind, digest, descriptor.size, reference.is_optional())) {
            continue;
        }
        named.targets.push(digest.as_str());
        named.kinds.push(match reference.kind {
            ReferenceKind::Config => "config",
            ReferenceKind::Layer => "layer",
            ReferenceKind::Child => "child",
        });
        named.sizes.push(stored_size(descriptor.size));
        named.optional.push(reference.is_optional());
    }
    named
}

fn outcome(row: Option<&Row>) -> Result<PushOutcome, Error> {
    let damage = || corrupt("push_manifest()", "no answer");
    let words: Vec<&str> = get(row.ok_or_else(damage)?, 0)?;
    let (kind, rest) = words.split_first().ok_or_else(damage)?;
    let tag = || parse(rest.first().copied().unwrap_or_default(), "tags.name");
    Ok(match *kind {
        "stored" => PushOutcome::Stored,
        "condition" => PushOutcome::ConditionFailed,
        "unmovable" => PushOutcome::TagUnmovable(tag()?),
        "uncreatable" => PushOutcome::TagUncreatable(tag()?),
        "missing" => {
            let missing: BTreeSet<String> = rest.iter().map(|&digest| digest.to_owned()).collect();
            PushOutcome::Missing(missing.into_iter().collect())
        }
        "wrong-size" => {
            let wrong = rest.iter().map(|digest| parse(digest, "manifest_references.target"));
            let wrong: BTreeSet<Digest> = wrong.collect::<Result<_, _>>()?;
            PushOutcome::WrongSize(wrong.into_iter().collect())
        }
        other => return Err(corrupt("push_manifest()", other)),
    })
}

async fn has_happened(connections: &Connections, push: &ManifestPush, tags: &[&str]) -> Result<bool, Error> {
    const SQL: &str = "SELECT EXISTS (SELECT 1 FROM manifests WHERE manifests.id = held.id) AND NOT EXISTS (
            SELECT 1 FROM unnest($3::text[]) AS wanted (name)
            WHERE NOT EXISTS (SELECT 1 FROM tags WHERE tags.manifest = held.id AND tags.name = wanted.name)
        )
        FROM (
            SELECT id FROM manifests
            WHERE repository = (SELECT id FROM repositories WHERE name = $1) AND digest = $2
        ) AS held";
    let row = connections.row(SQL, &[&push.repository.as_str(), &push.digest.as_str(), &tags]).await?;
    row.map_or(Ok(false), |row| get(&row, 0))
}

pub(crate) async fn confirm_tag(
    connections: &Connections,
    repository: &RepositoryName,
    tag: &Tag,
    digest: &Digest,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "SELECT confirm_tag($1, $2, $3, $4)";
    let parameters: Parameters<'_> = &[&repository.as_str(), &tag.as_str(), &digest.as_str(), &now.milliseconds()];
    let row = connections.row(SQL, parameters).await?;
    row.map_or(Ok(false), |row| get(&row, 0))
}
