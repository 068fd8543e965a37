//! What can go wrong in the domain. Each variant is something that happened; what HTTP makes of it is decided elsewhere.

use std::sync::Arc;

use entrepot_metadata::UploadId;
use entrepot_oci::{Digest, ManifestError, RepositoryName, Tag, TagOrDigest};

use crate::upload::SourceError;

/// A request that the domain could not fulfil.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository does not exist.
    #[error("repository {name} is not known")]
    RepositoryUnknown {
        /// Its name.
        name: RepositoryName,
    },
    /// The repository holds no such manifest.
    #[error("repository {name} holds no manifest {reference}")]
    ManifestUnknown {
        /// The repository.
        name: RepositoryName,
        /// What was asked for.
        reference: TagOrDigest,
    },
    /// The repository holds no such blob.
    #[error("repository {name} holds no blob {digest}")]
    BlobUnknown {
        /// The repository.
        name: RepositoryName,
        /// What was asked for.
        digest: Digest,
    },
    /// The repository has no such upload session.
    #[error("repository {name} has no upload {id}: it ended, expired, or never was; start a new one")]
    UploadUnknown {
        /// The repository.
        name: RepositoryName,
        /// The session as the client spelled it.
        id: String,
    },
    /// Another request is writing to the session.
    #[error("another request is writing to upload {id}: wait for it to end, then ask for the status")]
    UploadBusy {
        /// The session.
        id: UploadId,
    },
    /// The chunk does not begin where the session ends.
    #[error("chunk begins at {first}, but upload {id} has {received} bytes")]
    ChunkOutOfOrder {
        /// The session.
        id: UploadId,
        /// Where the chunk begins.
        first: u64,
        /// How many bytes the session has.
        received: u64,
    },
    /// The body has another length than was announced.
    #[error("the body should have {announced} bytes and has {received}")]
    SizeMismatch {
        /// What a header said.
        announced: u64,
        /// What was received, or what another header said.
        received: u64,
    },
    /// The client's body ended with an error.
    #[error("the request's body broke off after {received} bytes")]
    SourceBroken {
        /// How many bytes of the upload have been received in all.
        received: u64,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// The content is not what its digest says.
    #[error("the content is {actual}, not {expected}")]
    DigestMismatch {
        /// The digest that was announced.
        expected: Digest,
        /// The digest of what was received.
        actual: Digest,
    },
    /// The blob is larger than this registry takes.
    #[error("the blob is larger than the {limit} bytes that this registry takes")]
    BlobTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes are no manifest that this registry takes.
    #[error(transparent)]
    ManifestInvalid(#[from] ManifestError),
    /// The manifest names content that the repository does not hold.
    #[error("the manifest names content that repository {name} does not hold: push it first")]
    ReferencesMissing {
        /// The repository.
        name: RepositoryName,
        /// The digests in byte order, at most 200 of them.
        digests: Vec<String>,
    },
    /// The manifest names content with another size than it has.
    #[error("the manifest gives other sizes than the content has that repository {name} holds")]
    ReferencesOfWrongSize {
        /// The repository.
        name: RepositoryName,
        /// The digests in byte order, at most 200 of them.
        digests: Vec<Digest>,
    },
    /// The condition that the push was made under is not met.
    #[error("the tag has changed: the condition of the request is not met")]
    ConditionFailed,
    /// The caller may make tags and not move them, or the tag is one that never moves.
    #[error(
        "the tag {tag} of {name} exists and must not be moved: push under another tag, nothing of this push was stored"
    )]
    TagUnmovable {
        /// The repository.
        name: RepositoryName,
        /// The tag.
        tag: Tag,
    },
    /// The caller may move tags and not make them.
    #[error(
        "the tag {tag} of {name} does not exist and must not be made by you: push to one that exists, or ask the operator for the \
         right to create"
    )]
    TagUncreatable {
        /// The repository.
        name: RepositoryName,
        /// The tag.
        tag: Tag,
    },
    /// What is to be deleted is a tag that never moves, or is reached by one.
    #[error(
        "the tag {tag} of {name} is immutable: neither it nor what it reaches can be deleted, unless the operator changes the rule"
    )]
    TagProtected {
        /// The repository.
        name: RepositoryName,
        /// The tag.
        tag: Tag,
    },
    /// What is to be deleted is named by more manifests than can be looked at, and so perhaps by an immutable tag.
    #[error(
        "too many manifests of {name} name {subject} to find out whether an immutable tag keeps it: delete those first"
    )]
    MaybeProtected {
        /// The repository.
        name: RepositoryName,
        /// What was to be deleted.
        subject: String,
    },
    /// The repository has as many upload sessions as it may have.
    #[error("repository {name} has {open} unfinished uploads, as many as it may have: finish or cancel some")]
    TooManyUploads {
        /// The repository.
        name: RepositoryName,
        /// How many there are.
        open: usize,
    },
    /// A write to a repository that belongs to another registry.
    #[error(
        "{name} is a cache of another registry and takes no pushes or deletes: push to a name that does not begin with proxy/"
    )]
    ReadOnly {
        /// The repository.
        name: RepositoryName,
    },
    /// The name begins with `proxy/` and names no registry that can be asked.
    #[error("{name} cannot be pulled through")]
    UpstreamUnknown {
        /// The repository.
        name: RepositoryName,
        /// Why.
        #[source]
        source: entrepot_upstream::ResolveError,
    },
    /// The name ends where the name of a repository at the other registry should begin.
    #[error("{name} names a registry but no repository: the form is proxy/<registry>/<repository>")]
    ProxyNameIncomplete {
        /// The repository.
        name: RepositoryName,
    },
    /// With the registry's own address in place of its alias, the name is too long to be cached.
    #[error("{name} is too long to be cached: the registry's address and the repository must fit in 255 bytes")]
    ProxyNameTooLong {
        /// The repository.
        name: RepositoryName,
    },
    /// Only what is cached can be refreshed, purged, pinned or fetched in advance.
    #[error("{name} is not a cached repository: the form is proxy/<registry>/<repository>")]
    NotACache {
        /// The repository.
        name: RepositoryName,
    },
    /// There is nothing of it in the cache.
    #[error("{name} has nothing of {subject} in the cache")]
    NotCached {
        /// The repository.
        name: RepositoryName,
        /// The tag or digest, or the words for everything.
        subject: String,
    },
    /// It is pinned, and so not removed.
    #[error("{name}: {reference} is pinned; unpin it first")]
    Pinned {
        /// The repository.
        name: RepositoryName,
        /// The pinned tag or digest.
        reference: TagOrDigest,
    },
    /// A rule of the operator refuses the content.
    #[error("{name}: {subject} is refused by the rule {rule:?}: {reason}; its operator can change the rule")]
    PolicyDenied {
        /// The repository.
        name: RepositoryName,
        /// What was asked for: the tag or digest.
        subject: String,
        /// The name of the rule.
        rule: String,
        /// What the rule matched on.
        reason: String,
    },
    /// The question came through this cache before, or through too many of them.
    #[error(
        "{name} leads in a circle: the upstreams of this cache and of those before it ask each other; point one of them at \
         the registry itself"
    )]
    ProxyLoop {
        /// The repository.
        name: RepositoryName,
    },
    /// The upstream did not give what was asked of it, and nothing cached could stand in.
    #[error("the upstream of {name} did not answer as it should")]
    Upstream {
        /// The repository.
        name: RepositoryName,
        /// What happened there.
        #[source]
        source: Arc<entrepot_upstream::Error>,
    },
    /// The upstream's content is longer or shorter than the manifest says.
    #[error("the upstream offers {offered} bytes for {digest}, but its manifest says {described}")]
    UpstreamSizeMismatch {
        /// The blob.
        digest: Digest,
        /// What the upstream offers.
        offered: u64,
        /// What the manifest says.
        described: u64,
    },
    /// The upstream's content is not what its digest says.
    #[error("the upstream sent {actual} for {expected}: nothing of it was kept")]
    UpstreamDigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The upstream broke off too often.
    #[error("the upstream broke off {tries} times without progress at byte {received} of {digest}")]
    FillBroken {
        /// The blob.
        digest: Digest,
        /// How many bytes had come.
        received: u64,
        /// How often it was asked.
        tries: u32,
    },
    /// The cache has no room for the blob, as another one found a moment ago, and its size is not known, so that it cannot be
    /// passed on either.
    #[error("there is no room for {digest} in the cache, and nobody tells its size")]
    NoRoom {
        /// The blob.
        digest: Digest,
    },
    /// Nobody tells the size of a blob that is being fetched, so that it cannot be answered before it is here.
    #[error("the upstream does not tell the size of {digest}, and it is not here yet: it is being fetched, ask again")]
    BlobSizeUntold {
        /// The blob.
        digest: Digest,
    },
    /// The configuration of an image could not be read, so that its age is not known.
    #[error("the age of {manifest} could not be found out: its configuration {digest} did not arrive")]
    ConfigUnreadable {
        /// The manifest of the image.
        manifest: Digest,
        /// Its configuration.
        digest: Digest,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// The stored bytes of a blob are not those that its row describes.
    #[error(
        "the stored bytes of {digest} are damaged: {found:?} bytes where there should be {expected}; push it again"
    )]
    BlobDamaged {
        /// The blob.
        digest: Digest,
        /// The size that was verified when it was stored.
        expected: u64,
        /// The size that was found; nothing when the bytes are gone.
        found: Option<u64>,
    },
    /// The blob store failed.
    #[error("the blob store failed")]
    Blobs(#[from] entrepot_blobs::Error),
    /// The metadata store failed.
    #[error("the metadata store failed")]
    Metadata(#[source] entrepot_metadata::Error),
    /// A failure that several requests share, because one piece of work served them all.
    #[error(transparent)]
    Shared(Arc<Error>),
    /// The work was ended by a shutdown, or by a defect that the log has.
    #[error("the work was ended before it was done: the server is stopping, or failed")]
    Interrupted,
}

impl Error {
    /// Whether room on a disk is what was missing.
    pub(crate) fn is_full(&self) -> bool {
        match self.root() {
            Self::NoRoom { .. } => true,
            Self::Blobs(error) => error.is_full(),
            Self::Metadata(error) => matches!(error, entrepot_metadata::Error::Full(_)),
            _ => false,
        }
    }

    /// The failure itself, without the sharing around it.
    pub fn root(&self) -> &Self {
        match self {
            Self::Shared(shared) => shared.root(),
            other => other,
        }
    }
}

impl From<Arc<Self>> for Error {
    fn from(shared: Arc<Self>) -> Self {
        Self::Shared(shared)
    }
}

impl From<entrepot_metadata::Error> for Error {
    fn from(error: entrepot_metadata::Error) -> Self {
        Self::Metadata(error)
    }
}

/// An error with its causes, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
