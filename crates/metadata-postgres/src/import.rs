//! Taking everything from another store, in one transaction on a connection of its own.

use async_trait::async_trait;
use entrepot_metadata::Error;
use entrepot_metadata::moving::{MoveDestination, MoveError, Moved, MovedCounts, MovedManifest, Taking};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::access::stored_list;
use crate::connections::Parameters;
use crate::failure::{self, Verdict};
use crate::open::{self, OpenError};
use crate::rows::stored_size;
use crate::store::PostgresStore;

/// What must be empty. `uploads` too, though none are moved: somebody is at work where there are any.
const TABLES: [&str; 10] = [
    "repositories",
    "blobs",
    "blob_links",
    "manifests",
    "manifest_contents",
    "tags",
    "pins",
    "uploads",
    "credentials",
    "signing_keys",
];

/// Rows on their way, in an open transaction, which has the tables for itself.
struct Import {
    client: Client,
    moving: JoinHandle<()>,
}

impl Drop for Import {
    fn drop(&mut self) {
        // The end of the connection is the end of the transaction, if it has not committed.
        self.moving.abort();
    }
}

#[async_trait]
impl MoveDestination for PostgresStore {
    async fn begin(&self) -> Result<Box<dyn Taking>, MoveError> {
        let (config, tls) = self.place();
        let (client, moving) = open::connect_once(config, tls).await.map_err(not_connected)?;
        let import = Import { client, moving };
        // A move takes as long as it takes; others wait for its tables for no longer than they wait for anything.
        let begin = format!(
            "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
             LOCK TABLE {} IN EXCLUSIVE MODE",
            TABLES.join(", ")
        );
        import.client.batch_execute(&begin).await.map_err(failed)?;
        for table in TABLES {
            let used = import.client.query_opt(&format!("SELECT 1 FROM {table} LIMIT 1"), &[]).await.map_err(failed)?;
            if used.is_some() {
                return Err(MoveError::NotEmpty { table: table.to_owned() });
            }
        }
        Ok(Box::new(import))
    }
}

#[async_trait]
impl Taking for Import {
    async fn take(&mut self, rows: Vec<Moved>) -> Result<(), MoveError> {
        // Rows of one kind come together, so each run of them is one statement.
        for run in rows.chunk_by(|one, other| std::mem::discriminant(one) == std::mem::discriminant(other)) {
            match run[0] {
                Moved::Repository { .. } => self.repositories(run).await?,
                Moved::Blob(_) => self.blobs(run).await?,
                Moved::Link { .. } => self.links(run).await?,
                Moved::Manifest(_) => self.manifests(run).await?,
                Moved::Tag { .. } => self.tags(run).await?,
                Moved::Pin(_) => self.pins(run).await?,
                Moved::Credential(_) => self.credentials(run).await?,
                Moved::SigningKey(_) => self.signing_keys(run).await?,
            }
        }
        Ok(())
    }

    async fn finish(self: Box<Self>, sent: MovedCounts) -> Result<(), MoveError> {
        const DERIVE: &str = "UPDATE blobs SET holders = held.holders
            FROM (SELECT digest, count(*) AS holders FROM blob_links GROUP BY digest) AS held
            WHERE blobs.digest = held.digest;
            INSERT INTO totals_changes (bytes, blobs, manifests)
            SELECT coalesce(sum(size), 0), count(*), (SELECT count(*) FROM manifests) FROM blobs WHERE holders > 0;
            INSERT INTO entries (repository, digest, manifest, used_at, is_pinned)
            SELECT repository, digest, manifest, used_at, is_pinned FROM manifest_entries;
            INSERT INTO entries (repository, digest, manifest, used_at, is_pinned)
            SELECT repository, digest, manifest, used_at, is_pinned FROM blob_entries";
        self.client.batch_execute(DERIVE).await.map_err(failed)?;
        let found = self.counts().await?;
        if found != sent {
            return Err(MoveError::Counts { sent: Box::new(sent), found: Box::new(found) });
        }
        self.client.batch_execute("COMMIT").await.map_err(failed)?;
        // Without this the first statements are planned for empty tables. It comes in its own time as well.
        if let Err(error) = self.client.batch_execute("ANALYZE").await {
            tracing::debug!(%error, "the moved tables were not analysed");
        }
        Ok(())
    }
}

impl Import {
    async fn write(&self, sql: &str, parameters: Parameters<'_>) -> Result<(), MoveError> {
        self.client.execute(sql, parameters).await.map(|_| ()).map_err(failed)
    }

    async fn counts(&self) -> Result<MovedCounts, MoveError> {
        const SQL: &str = "SELECT (SELECT count(*) FROM repositories), (SELECT count(*) FROM blobs),
            (SELECT count(*) FROM blob_links), (SELECT count(*) FROM manifests),
            (SELECT count(*) FROM manifest_references), (SELECT count(*) FROM referrers), (SELECT count(*) FROM tags),
            (SELECT count(*) FROM pins), (SELECT count(*) FROM credentials), (SELECT count(*) FROM signing_keys)";
        let row = self.client.query_one(SQL, &[]).await.map_err(failed)?;
        let count = |index| row.try_get::<_, i64>(index).map(i64::cast_unsigned).map_err(failed);
        Ok(MovedCounts {
            repositories: count(0)?,
            blobs: count(1)?,
            links: count(2)?,
            manifests: count(3)?,
            references: count(4)?,
            referrers: count(5)?,
            tags: count(6)?,
            pins: count(7)?,
            credentials: count(8)?,
            signing_keys: count(9)?,
        })
    }

    async fn repositories(&self, rows: &[Moved]) -> Result<(), MoveError> {
        const SQL: &str = "INSERT INTO repositories (name, created_at) SELECT * FROM unnest($1::text[], $2::bigint[])";
        let (mut names, mut times) = (Vec::new(), Vec::new());
        for row in rows {
            if let Moved::Repository { name, created_at } = row {
                names.push(name.as_str());
                times.push(created_at.milliseconds());
            }
        }
        self.write(SQL, &[&names, &times]).await
    }

    async fn blobs(&self, rows: &[Moved]) -> Result<(), MoveError> {
        const SQL: &str = "INSERT INTO blobs (digest, size, holders)
            SELECT digest, size, 0 FROM unnest($1::text[], $2::bigint[]) AS sent (digest, size)";
        let (mut digests, mut sizes) = (Vec::new(), Vec::new());
        for row in rows {
            if let Moved::Blob(blob) = row {
                digests.push(blob.digest.as_str());
                sizes.push(stored_size(blob.size));
            }
        }
        self.write(SQL, &[&digests, &sizes]).await
    }

    async fn links(&self, rows: &[Moved]) -> Result<(), MoveError> {
        const SQL: &str = "INSERT INTO blob_links (repository, digest, size, linked_at, used_at)
            SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])";
        let (mut repositories, mut digests) = (Vec::new(), Vec::new());
        let (mut sizes, mut linked, mut used) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            if let Moved::Link { repository, blob, linked_at, used_at } = row {
                repositories.push(repository.as_str());
                digests.push(blob.digest.as_str());
                sizes.push(stored_size(blob.size));
                linked.push(linked_at.milliseconds());
                used.push(used_at.milliseconds());
            }
        }
        self.write(SQL, &[&repositories, &digests, &sizes, &linked, &used]).await
    }

    async fn manifests(&self, rows: &[Moved]) -> Result<(), MoveError> {
        const CONTENTS: &str = "INSERT INTO manifest_contents (digest, bytes)
            SELECT DISTINCT ON (digest) digest, bytes FROM unnest($1::text[], $2::bytea[]) AS sent (digest, bytes)
            ON CONFLICT (digest) DO NOTHING";
        // Numbered in the order in which they came, which lists of what names something follow.
        const MANIFESTS: &str = "INSERT INTO manifests (repository, digest, content, media_type, pushed_at, used_at)
            SELECT repositories.id, sent.digest, manifest_contents.id, media_type, pushed_at, used_at
            FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) WITH ORDINALITY
                AS sent (repository, digest, media_type, pushed_at, used_at, place)
            JOIN repositories ON repositories.name = sent.repository
            JOIN manifest_contents ON manifest_contents.digest = sent.digest ORDER BY place";
        let manifests: Vec<&MovedManifest> = rows
            .iter()
            .filter_map(|row| if let Moved::Manifest(manifest) = row { Some(&**manifest) } else { None })
            .collect();
        let repositories: Vec<&str> = manifests.iter().map(|manifest| manifest.repository.as_str()).collect();
        let digests: Vec<&str> = manifests.iter().map(|manifest| manifest.digest.as_str()).collect();
        let types: Vec<&str> = manifests.iter().map(|manifest| manifest.media_type.as_str()).collect();
        let bytes: Vec<&[u8]> = manifests.iter().map(|manifest| manifest.bytes.as_ref()).collect();
        let pushed: Vec<i64> = manifests.iter().map(|manifest| manifest.pushed_at.milliseconds()).collect();
        let used: Vec<i64> = manifests.iter().map(|manifest| manifest.used_at.milliseconds()).collect();
        self.write(CONTENTS, &[&digests, &bytes]).await?;
        self.write(MANIFESTS, &[&repositories, &digests, &types, &pushed, &used]).await?;
        self.references(&manifests).await?;
        self.referrers(&manifests).await
    }

    async fn references(&self, manifests: &[&MovedManifest]) -> Result<(), MoveError> {
        const SQL: &str = "INSERT INTO manifest_references (repository, target, manifest, kind, size)
            SELECT repositories.id, target, manifests.id, kind, size
            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
                AS sent (repository, digest, target, kind, size)
            JOIN repositories ON repositories.name = sent.repository
            JOIN manifests ON manifests.repository = repositories.id AND manifests.digest = sent.digest";
        let (mut repositories, mut digests) = (Vec::new(), Vec::new());
        let (mut targets, mut kinds, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for manifest in manifests {
            for reference in &manifest.references {
                repositories.push(manifest.repository.as_str());
                digests.push(manifest.digest.as_str());
                targets.push(reference.target.as_str());
                kinds.push(reference.kind.as_str());
                sizes.push(stored_size(reference.size));
            }
        }
        self.write(SQL, &[&repositories, &digests, &targets, &kinds, &sizes]).await
    }

    async fn referrers(&self, manifests: &[&MovedManifest]) -> Result<(), MoveError> {
        const SQL: &str = "INSERT INTO referrers (repository, subject, digest, manifest, artifact_type, annotations)
            SELECT repositories.id, subject, sent.digest, manifests.id, artifact_type, annotations
            FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[])
                AS sent (repository, digest, subject, artifact_type, annotations)
            JOIN repositories ON repositories.name = sent.repository
            JOIN manifests ON manifests.repository = repositories.id AND manifests.digest = sent.digest";
        let (mut repositories, mut digests) = (Vec::new(), Vec::new());
        let (mut subjects, mut types, mut annotations) = (Vec::new(), Vec::new(), Vec::new());
        for manifest in manifests {
            if let Some(referrer) = &manifest.referrer {
                repositories.push(manifest.repository.as_str());
                digests.push(manifest.digest.as_str());
                subjects.push(referrer.subject.as_str());
                types.push(referrer.artifact_type.as_deref().map(str::as_bytes));
                annotations.push(referrer.annotations.as_str());
            }
        }
        self.write(SQL, &[&repositories, &digests, &subjects, &types, &annotations]).await
    }

    async fn tags(&self, rows: &[Moved]) -> Result<(), MoveError> {
        const SQL: &str = "INSERT INTO tags (repository, name, manifest, confirmed_at)
            SELECT repositories.id, sent.name, manifests.id, confirmed_at
            FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
                AS sent (repository, name, digest, confirmed_at)
            JOIN repositories ON repositories.name = sent.repository
            JOIN manifests ON manifests.repository = repositories.id AND manifests.digest = sent.digest";
        let (mut repositories, mut names) = (Vec::new(), Vec::new());
        let (mut digests, mut times) = (Vec::new(), Vec::new());
        for row in rows {
            if let Moved::Tag { repository, tag, digest, confirmed_at } = row {
                repositories.push(repository.as_str());
                names.push(tag.as_str());
                digests.push(digest.as_str());
                times.push(confirmed_at.milliseconds());
            }
        }
        self.write(SQL, &[&repositories, &names, &digests, &times]).await
    }

    async fn pins(&self, rows: &[Moved]) -> Result<(), MoveError> {
        const SQL: &str = "INSERT INTO pins (repository, reference, pinned_at)
            SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])";
        let (mut repositories, mut references, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            if let Moved::Pin(pin) = row {
                repositories.push(pin.repository.as_str());
                references.push(pin.reference.to_string());
                times.push(pin.pinned_at.milliseconds());
            }
        }
        self.write(SQL, &[&repositories, &references, &times]).await
    }

    async fn credentials(&self, rows: &[Moved]) -> Result<(), MoveError> {
        const SQL: &str =
            "INSERT INTO credentials (id, secret_hash, kind, principal, name, repositories, actions, basis,
                created_at, expires_at, used_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        for row in rows {
            let Moved::Credential(credential) = row else { continue };
            let repositories = stored_list(&credential.repositories).map_err(MoveError::Destination)?;
            let actions = stored_list(&credential.actions).map_err(MoveError::Destination)?;
            let parameters: Parameters<'_> = &[
                &credential.id.as_bytes(),
                &&credential.secret_hash[..],
                &credential.kind.as_str(),
                &credential.principal.as_bytes(),
                &credential.name.as_bytes(),
                &repositories,
                &actions,
                &credential.basis.as_ref().map(|basis| &basis[..]),
                &credential.created_at.milliseconds(),
                &credential.expires_at.map(entrepot_metadata::Timestamp::milliseconds),
                &credential.used_at.map(entrepot_metadata::Timestamp::milliseconds),
            ];
            self.write(SQL, parameters).await?;
        }
        Ok(())
    }

    async fn signing_keys(&self, rows: &[Moved]) -> Result<(), MoveError> {
        const SQL: &str = "INSERT INTO signing_keys (id, secret, created_at) VALUES ($1, $2, $3)";
        for row in rows {
            let Moved::SigningKey(key) = row else { continue };
            self.write(SQL, &[&key.id, &key.secret, &key.created_at.milliseconds()]).await?;
        }
        Ok(())
    }
}

fn not_connected(error: OpenError) -> MoveError {
    MoveError::Destination(Error::Unavailable(Box::new(error)))
}

fn failed(error: tokio_postgres::Error) -> MoveError {
    let (Verdict::Conflict(error) | Verdict::Refused(error) | Verdict::Lost(error) | Verdict::Final(error)) =
        failure::judge(error, false);
    MoveError::Destination(error)
}
