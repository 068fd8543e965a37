//! Moving everything from one store to another: typed rows, streamed from a source and taken by a destination.
//!
//! What is derived (entries, totals, holders) is not moved but derived again. Upload sessions are left out: their bytes lie in the staging
//! area of one process, and their clients begin again. Leases, notes and announcements are of the moment.

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_oci::{Digest, MediaType, RepositoryName, Tag};
use futures_core::stream::BoxStream;
use futures_util::TryStreamExt as _;

use crate::{BlobLink, CredentialRow, Error, Pin, SigningKeyRow, Timestamp};

/// One row on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// A repository, empty or not.
    Repository {
        /// Its name.
        name: RepositoryName,
        /// When the first thing came into it.
        created_at: Timestamp,
    },
    /// A blob that is or was held, with the size that was linked last. Those that no [`Self::Link`] follows are unheld.
    Blob(BlobLink),
    /// That a repository holds a blob.
    Link {
        /// The repository.
        repository: RepositoryName,
        /// The blob, as this repository holds it.
        blob: BlobLink,
        /// When it was linked.
        linked_at: Timestamp,
        /// When it was last used.
        used_at: Timestamp,
    },
    /// A manifest that a repository holds.
    Manifest(Box<MovedManifest>),
    /// Where a tag points.
    Tag {
        /// The repository.
        repository: RepositoryName,
        /// The tag.
        tag: Tag,
        /// The manifest.
        digest: Digest,
        /// When that was last confirmed.
        confirmed_at: Timestamp,
    },
    /// What is kept, whatever room is needed.
    Pin(Pin),
    /// A credential that was issued.
    Credential(CredentialRow),
    /// A key that tokens are signed with.
    SigningKey(SigningKeyRow),
}

/// A manifest on its way, with what was recorded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedManifest {
    /// The repository that holds it.
    pub repository: RepositoryName,
    /// The digest it is held under.
    pub digest: Digest,
    /// The type it was pushed with.
    pub media_type: MediaType,
    /// The bytes as received.
    pub bytes: Bytes,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// When it, or something below it, was last used.
    pub used_at: Timestamp,
    /// What it names, other than as its subject.
    pub references: Vec<MovedReference>,
    /// What it refers to.
    pub referrer: Option<MovedReferrer>,
}

/// What a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedReference {
    /// The content.
    pub target: Digest,
    /// As what: `config`, `layer` or `child`.
    pub kind: String,
    /// The size that the descriptor claims.
    pub size: u64,
}

/// That a manifest has a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedReferrer {
    /// The subject, which need not be here.
    pub subject: Digest,
    /// What kind of referrer it is.
    pub artifact_type: Option<String>,
    /// Its annotations as a JSON object.
    pub annotations: String,
}

/// How many rows of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovedCounts {
    /// Repositories.
    pub repositories: u64,
    /// Blobs that are or were held.
    pub blobs: u64,
    /// Blobs in each repository that holds them.
    pub links: u64,
    /// Manifests in each repository that holds them.
    pub manifests: u64,
    /// What these manifests name.
    pub references: u64,
    /// Those that have a subject.
    pub referrers: u64,
    /// Tags.
    pub tags: u64,
    /// Pins.
    pub pins: u64,
    /// Credentials.
    pub credentials: u64,
    /// Signing keys.
    pub signing_keys: u64,
}

impl MovedCounts {
    /// Counts one row.
    pub fn count(&mut self, row: &Moved) {
        match row {
            Moved::Repository { .. } => self.repositories += 1,
            Moved::Blob(_) => self.blobs += 1,
            Moved::Link { .. } => self.links += 1,
            Moved::Manifest(manifest) => {
                self.manifests += 1;
                self.references += manifest.references.len() as u64;
                self.referrers += u64::from(manifest.referrer.is_some());
            }
            Moved::Tag { .. } => self.tags += 1,
            Moved::Pin(_) => self.pins += 1,
            Moved::Credential(_) => self.credentials += 1,
            Moved::SigningKey(_) => self.signing_keys += 1,
        }
    }
}

/// Why nothing was moved: the destination is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The destination holds something.
    #[error(
        "the destination is not empty: it has rows in {table:?}. Metadata is only moved into a store that was never used"
    )]
    NotEmpty {
        /// Where.
        table: String,
    },
    /// The destination does not hold what was sent.
    #[error("the destination holds {found:?} and was sent {sent:?}")]
    Counts {
        /// What was sent.
        sent: Box<MovedCounts>,
        /// What is there.
        found: Box<MovedCounts>,
    },
    /// The source could not be read.
    #[error("the metadata cannot be read from its source")]
    Source(#[source] Error),
    /// The destination could not be written.
    #[error("the metadata cannot be written to its destination")]
    Destination(#[source] Error),
}

/// A store that everything can be read from.
pub trait MoveSource: Send + Sync {
    /// Every row as of one moment, in pages of a bounded size. What a row needs comes before it: first repositories, blobs and links, then
    /// manifests in the order in which they came, then tags, pins, credentials, and keys, the oldest first.
    fn rows(&self) -> BoxStream<'static, Result<Vec<Moved>, Error>>;
}

/// A store that everything can be written to.
#[async_trait]
pub trait MoveDestination: Send + Sync {
    /// Begins to take rows.
    ///
    /// # Errors
    /// [`MoveError::NotEmpty`] when the store was used before.
    async fn begin(&self) -> Result<Box<dyn Taking>, MoveError>;
}

/// Rows on their way into a store. Nothing of it is there before [`Self::finish`] has returned, and nothing when this is dropped.
#[async_trait]
pub trait Taking: Send {
    /// Takes a page of rows.
    async fn take(&mut self, rows: Vec<Moved>) -> Result<(), MoveError>;

    /// Derives what is derived, compares what is there with what was sent, and makes it last.
    ///
    /// # Errors
    /// [`MoveError::Counts`] when something is missing.
    async fn finish(self: Box<Self>, sent: MovedCounts) -> Result<(), MoveError>;
}

/// Moves everything. The source must not be written to meanwhile: what comes too late stays behind. `progress` is told what has been sent
/// so far, after each page.
///
/// # Errors
/// A [`MoveError`] says why the destination is as it was.
pub async fn move_metadata(
    source: &dyn MoveSource,
    destination: &dyn MoveDestination,
    progress: &(dyn Fn(&MovedCounts) + Sync),
) -> Result<MovedCounts, MoveError> {
    let mut taking = destination.begin().await?;
    let mut sent = MovedCounts::default();
    let mut pages = source.rows();
    while let Some(page) = pages.try_next().await.map_err(MoveError::Source)? {
        for row in &page {
            sent.count(row);
        }
        taking.take(page).await?;
        progress(&sent);
    }
    taking.finish(sent).await?;
    Ok(sent)
}
