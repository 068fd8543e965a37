//! What repositories hold: looking it up, adding blobs, uses and pins.

use std::collections::BTreeMap;

use entrepot_metadata::{
    BlobLink, Entry, EntryKey, Error, ManifestRow, MissingOr, Page, Pin, TagRow, Timestamp, Totals, Use,
};
use entrepot_oci::{Annotations, Digest, Referrer, RepositoryName, Tag, TagOrDigest};
use tokio_postgres::Row;

use crate::connections::{Connections, Repeat};
use crate::failure::corrupt;
use crate::rows::{blob_link, get, manifest_row, parse, parsed, row_limit, size, stored_size, text_after, time};

// Repositories.

pub(crate) async fn exists(connections: &Connections, repository: &RepositoryName) -> Result<bool, Error> {
    const SQL: &str = "SELECT 1 FROM repositories WHERE name = $1";
    Ok(connections.row(SQL, &[&repository.as_str()]).await?.is_some())
}

pub(crate) async fn repositories(
    connections: &Connections,
    page: &Page<RepositoryName>,
) -> Result<Vec<RepositoryName>, Error> {
    const SQL: &str = "SELECT name FROM repositories WHERE name > $1 ORDER BY name LIMIT $2";
    let after = text_after(page.after.as_ref().map(RepositoryName::as_str));
    let rows = connections.rows(SQL, &[&after, &row_limit(page.limit)]).await?;
    rows.iter().map(|row| parsed(row, 0, "repositories.name")).collect()
}

// Blobs.

pub(crate) async fn blob(
    connections: &Connections,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<BlobLink>, Error> {
    const SQL: &str = "SELECT size FROM blob_links WHERE repository = $1 AND digest = $2";
    let row = connections.row(SQL, &[&repository.as_str(), &digest.as_str()]).await?;
    row.map(|row| Ok(BlobLink { digest: digest.clone(), size: size(&row, 0)? })).transpose()
}

pub(crate) async fn link_blob(
    connections: &Connections,
    repository: &RepositoryName,
    blob: &BlobLink,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "SELECT link_blob($1, $2, $3, $4)";
    let (digest, size) = (blob.digest.as_str(), stored_size(blob.size));
    // Twice is the same as once.
    connections.send(Repeat::Yes, SQL, &[&repository.as_str(), &digest, &size, &now.milliseconds()]).await.map(|_| ())
}

pub(crate) async fn blob_holders(
    connections: &Connections,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<(RepositoryName, BlobLink)>, Error> {
    const SQL: &str = "SELECT repository, size FROM blob_links WHERE digest = $1 ORDER BY repository LIMIT $2";
    let rows = connections.rows(SQL, &[&digest.as_str(), &row_limit(limit)]).await?;
    let read = |row: &Row| {
        let repository = parsed(row, 0, "blob_links.repository")?;
        Ok((repository, BlobLink { digest: digest.clone(), size: size(row, 1)? }))
    };
    rows.iter().map(read).collect()
}

pub(crate) async fn unheld_blobs(connections: &Connections, limit: usize) -> Result<Vec<BlobLink>, Error> {
    const SQL: &str = "SELECT digest, size FROM blobs WHERE holders = 0 ORDER BY digest LIMIT $1";
    let rows = connections.rows(SQL, &[&row_limit(limit)]).await?;
    rows.iter().map(|row| blob_link(row, "blobs.digest")).collect()
}

// Manifests.

pub(crate) async fn referenced_size(
    connections: &Connections,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<u64>, Error> {
    const SQL: &str = "SELECT size FROM manifest_references
        WHERE repository = (SELECT id FROM repositories WHERE name = $1) AND target = $2 LIMIT 1";
    let row = connections.row(SQL, &[&repository.as_str(), &digest.as_str()]).await?;
    row.map(|row| size(&row, 0)).transpose()
}

pub(crate) async fn naming_manifests(
    connections: &Connections,
    repository: &RepositoryName,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<ManifestRow>, Error> {
    // A manifest may name the content in several ways, and is one row of the answer.
    const SQL: &str = "SELECT manifests.digest, media_type, bytes FROM (
            SELECT DISTINCT manifest FROM manifest_references
            WHERE repository = (SELECT id FROM repositories WHERE name = $1) AND target = $2
            ORDER BY manifest LIMIT $3
        ) AS naming
        JOIN manifests ON manifests.id = naming.manifest
        JOIN manifest_contents ON manifest_contents.id = content
        ORDER BY manifests.id";
    let rows = connections.rows(SQL, &[&repository.as_str(), &digest.as_str(), &row_limit(limit)]).await?;
    rows.iter().map(manifest_row).collect()
}

pub(crate) async fn manifest(
    connections: &Connections,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<ManifestRow>, Error> {
    const SQL: &str = "SELECT manifests.digest, media_type, bytes FROM manifests
        JOIN manifest_contents ON manifest_contents.id = content
        WHERE repository = (SELECT id FROM repositories WHERE name = $1) AND manifests.digest = $2";
    let row = connections.row(SQL, &[&repository.as_str(), &digest.as_str()]).await?;
    row.as_ref().map(manifest_row).transpose()
}

pub(crate) async fn tagged_manifest(
    connections: &Connections,
    repository: &RepositoryName,
    tag: &Tag,
) -> Result<Option<ManifestRow>, Error> {
    const SQL: &str = "SELECT manifests.digest, media_type, bytes FROM tags
        JOIN manifests ON manifests.id = tags.manifest
        JOIN manifest_contents ON manifest_contents.id = content
        WHERE tags.repository = (SELECT id FROM repositories WHERE name = $1) AND tags.name = $2";
    let row = connections.row(SQL, &[&repository.as_str(), &tag.as_str()]).await?;
    row.as_ref().map(manifest_row).transpose()
}

pub(crate) async fn referrers(
    connections: &Connections,
    repository: &RepositoryName,
    subject: &Digest,
    artifact_type: Option<&str>,
    page: &Page<Digest>,
) -> Result<Vec<Referrer>, Error> {
    // Two statements, because each has an index of its own to walk along.
    const ALL: &str = "SELECT referrers.digest, artifact_type, annotations, media_type, octet_length(bytes)::bigint
        FROM referrers JOIN manifests ON manifests.id = manifest
        JOIN manifest_contents ON manifest_contents.id = content
        WHERE referrers.repository = (SELECT id FROM repositories WHERE name = $1) AND subject = $2
            AND referrers.digest > $3
        ORDER BY referrers.digest LIMIT $4";
    const OF_TYPE: &str = "SELECT referrers.digest, artifact_type, annotations, media_type, octet_length(bytes)::bigint
        FROM referrers JOIN manifests ON manifests.id = manifest
        JOIN manifest_contents ON manifest_contents.id = content
        WHERE referrers.repository = (SELECT id FROM repositories WHERE name = $1) AND subject = $2
            AND referrers.digest > $3 AND artifact_type = $5
        ORDER BY referrers.digest LIMIT $4";
    let after = text_after(page.after.as_ref().map(Digest::as_str));
    let limit = row_limit(page.limit);
    let (repository, subject) = (repository.as_str(), subject.as_str());
    let rows = match artifact_type.map(str::as_bytes) {
        None => connections.rows(ALL, &[&repository, &subject, &after, &limit]).await?,
        Some(wanted) => connections.rows(OF_TYPE, &[&repository, &subject, &after, &limit, &wanted]).await?,
    };
    rows.iter().map(referrer).collect()
}

fn referrer(row: &Row) -> Result<Referrer, Error> {
    let annotations: &str = get(row, 2)?;
    let annotations: Annotations =
        serde_json::from_str(annotations).map_err(|_| corrupt("referrers.annotations", annotations))?;
    let artifact_type: Option<&[u8]> = get(row, 1)?;
    let artifact_type = artifact_type.map(|bytes| {
        let text = str::from_utf8(bytes);
        text.map(str::to_owned).map_err(|_| corrupt("referrers.artifact_type", &String::from_utf8_lossy(bytes)))
    });
    Ok(Referrer {
        digest: parsed(row, 0, "referrers.digest")?,
        artifact_type: artifact_type.transpose()?,
        annotations,
        media_type: parsed(row, 3, "manifests.media_type")?,
        size: size(row, 4)?,
    })
}

pub(crate) async fn manifest_tags(
    connections: &Connections,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Vec<Tag>, Error> {
    const SQL: &str = "SELECT tags.name FROM manifests JOIN tags ON tags.manifest = manifests.id
        WHERE manifests.repository = (SELECT id FROM repositories WHERE name = $1) AND digest = $2
        ORDER BY tags.name";
    let rows = connections.rows(SQL, &[&repository.as_str(), &digest.as_str()]).await?;
    rows.iter().map(|row| parsed(row, 0, "tags.name")).collect()
}

// Tags.

pub(crate) async fn tag(
    connections: &Connections,
    repository: &RepositoryName,
    tag: &Tag,
) -> Result<Option<TagRow>, Error> {
    const SQL: &str = "SELECT digest, confirmed_at FROM tags JOIN manifests ON manifests.id = manifest
        WHERE tags.repository = (SELECT id FROM repositories WHERE name = $1) AND tags.name = $2";
    let row = connections.row(SQL, &[&repository.as_str(), &tag.as_str()]).await?;
    row.map(|row| Ok(TagRow { digest: parsed(&row, 0, "manifests.digest")?, confirmed_at: time(&row, 1)? })).transpose()
}

pub(crate) async fn tags(
    connections: &Connections,
    repository: &RepositoryName,
    page: &Page<Tag>,
) -> Result<MissingOr<Vec<Tag>>, Error> {
    // A repository without tags is one row without a name.
    const SQL: &str = "SELECT listed.name FROM repositories LEFT JOIN LATERAL (
            SELECT name FROM tags WHERE tags.repository = repositories.id AND name > $2 ORDER BY name LIMIT $3
        ) AS listed ON TRUE
        WHERE repositories.name = $1 ORDER BY listed.name";
    let after = text_after(page.after.as_ref().map(Tag::as_str));
    let rows = connections.rows(SQL, &[&repository.as_str(), &after, &row_limit(page.limit)]).await?;
    if rows.is_empty() {
        return Ok(MissingOr::Missing);
    }
    let names = rows.iter().map(|row| get::<Option<&str>>(row, 0)).filter_map(Result::transpose);
    names.map(|name| parse(name?, "tags.name")).collect::<Result<_, _>>().map(MissingOr::Found)
}

// What is used, kept and counted.

pub(crate) async fn touch(connections: &Connections, uses: &[Use]) -> Result<(), Error> {
    const SQL: &str = "SELECT touch($1, $2, $3)";
    // A batch often says the same thing many times over.
    let mut latest: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for one in uses {
        let at = latest.entry((one.repository.as_str(), one.digest.as_str())).or_insert(i64::MIN);
        *at = one.at.milliseconds().max(*at);
    }
    if latest.is_empty() {
        return Ok(());
    }
    let (repositories, digests): (Vec<&str>, Vec<&str>) = latest.keys().copied().unzip();
    let times: Vec<i64> = latest.into_values().collect();
    connections.send(Repeat::Yes, SQL, &[&repositories, &digests, &times]).await.map(|_| ())
}

pub(crate) async fn entries(
    connections: &Connections,
    repository: Option<&RepositoryName>,
    page: &Page<EntryKey>,
) -> Result<Vec<Entry>, Error> {
    // One statement, so that all of it is one state.
    const ALL: &str = "SELECT entries.repository, entries.digest, media_type, entries.used_at, is_pinned,
            ARRAY(SELECT name FROM tags WHERE tags.manifest = entries.manifest ORDER BY name),
            reached_bytes(entries.repository, entries.digest, entries.manifest)
        FROM entries LEFT JOIN manifests ON manifests.id = entries.manifest
        WHERE (entries.repository, entries.digest) > ($1, $2)
        ORDER BY entries.repository, entries.digest LIMIT $3";
    const OF_ONE: &str = "SELECT entries.repository, entries.digest, media_type, entries.used_at, is_pinned,
            ARRAY(SELECT name FROM tags WHERE tags.manifest = entries.manifest ORDER BY name),
            reached_bytes(entries.repository, entries.digest, entries.manifest)
        FROM entries LEFT JOIN manifests ON manifests.id = entries.manifest
        WHERE entries.repository = $1 AND entries.digest > $2
        ORDER BY entries.digest LIMIT $3";
    let limit = row_limit(page.limit);
    let (after_repository, after_digest) = match &page.after {
        Some((repository, digest)) => (repository.as_str(), digest.as_str()),
        None => ("", ""),
    };
    let rows = match repository.map(RepositoryName::as_str) {
        None => connections.rows(ALL, &[&after_repository, &after_digest, &limit]).await?,
        Some(name) if after_repository > name => Vec::new(),
        Some(name) => {
            let after = if after_repository == name { after_digest } else { "" };
            connections.rows(OF_ONE, &[&name, &after, &limit]).await?
        }
    };
    rows.iter().map(entry).collect()
}

fn entry(row: &Row) -> Result<Entry, Error> {
    let media_type: Option<&str> = get(row, 2)?;
    Ok(Entry {
        repository: parsed(row, 0, "entries.repository")?,
        digest: parsed(row, 1, "entries.digest")?,
        media_type: media_type.map(|text| parse(text, "manifests.media_type")).transpose()?,
        used_at: time(row, 3)?,
        is_pinned: get(row, 4)?,
        tags: names(row, 5)?,
        bytes: size(row, 6)?,
    })
}

/// The tags of an array.
pub(crate) fn names(row: &Row, index: usize) -> Result<Vec<Tag>, Error> {
    get::<Vec<&str>>(row, index)?.into_iter().map(|name| parse(name, "tags.name")).collect()
}

pub(crate) async fn pin(connections: &Connections, pin: &Pin) -> Result<(), Error> {
    const SQL: &str = "SELECT pin($1, $2, $3)";
    let (repository, reference) = (pin.repository.as_str(), pin.reference.to_string());
    connections.send(Repeat::Yes, SQL, &[&repository, &reference, &pin.pinned_at.milliseconds()]).await.map(|_| ())
}

pub(crate) async fn pins(connections: &Connections, limit: usize) -> Result<Vec<Pin>, Error> {
    const SQL: &str = "SELECT repository, reference, pinned_at FROM pins ORDER BY repository, reference LIMIT $1";
    let rows = connections.rows(SQL, &[&row_limit(limit)]).await?;
    let read = |row: &Row| {
        let repository = parsed(row, 0, "pins.repository")?;
        Ok(Pin { repository, reference: reference(get(row, 1)?)?, pinned_at: time(row, 2)? })
    };
    rows.iter().map(read).collect()
}

/// What is pinned.
pub(crate) fn reference(text: &str) -> Result<TagOrDigest, Error> {
    TagOrDigest::parse(text).map_err(|_| corrupt("pins.reference", text))
}

pub(crate) async fn totals(connections: &Connections) -> Result<Totals, Error> {
    const SQL: &str = "SELECT coalesce(sum(bytes), 0)::bigint, coalesce(sum(blobs), 0)::bigint,
        coalesce(sum(manifests), 0)::bigint FROM totals_changes";
    let row = connections.row(SQL, &[]).await?.ok_or_else(|| corrupt("totals_changes", "no sum"))?;
    Ok(Totals { bytes: size(&row, 0)?, blobs: size(&row, 1)?, manifests: size(&row, 2)? })
}
