//! A repository: everything that can be asked of one name.

use std::sync::Arc;
use std::time::Duration;

use entrepot_blobs::SignedUrl;
use entrepot_metadata::{BlobLink, Deletion, MetadataStore, ProtectedTags};
use entrepot_oci::{Digest, RepositoryName, TagOrDigest};

use crate::actor::Actor;
use crate::admission::{Admission, Admitted};
use crate::content::{BlobContent, CacheStatus, PulledBlob, PulledManifest};
use crate::memory::Subject;
use crate::proxied::Proxied;
use crate::registry::Store;
use crate::{Error, Registry};

/// One repository, which need not exist yet. Uploads, pushes, mounts and lists are further parts of it, in files of their own.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) registry: Arc<Registry>,
    pub(crate) name: RepositoryName,
    pub(crate) kind: Kind,
    pub(crate) actor: Arc<Actor>,
}

/// Where a repository's content comes from.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// It was pushed here.
    Hosted,
    /// It is fetched from another registry.
    Proxied(Proxied),
}

impl Repository {
    /// The name that it was asked by.
    pub const fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// For people: the upstream that it comes from, unless it is hosted.
    pub fn upstream(&self) -> Option<&str> {
        match &self.kind {
            Kind::Hosted => None,
            Kind::Proxied(proxied) => Some(proxied.remote().name()),
        }
    }

    /// The store of a hosted repository.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for a proxied one: this is where every write to a cache ends.
    pub(crate) fn writable(&self) -> Result<&Store, Error> {
        match &self.kind {
            Kind::Hosted => Ok(&self.registry.own),
            Kind::Proxied(_) => Err(Error::ReadOnly { name: self.name.clone() }),
        }
    }

    /// What the rules of the operator say about this repository.
    pub(crate) const fn admission<'a>(&'a self, proxied: &'a Proxied) -> Admission<'a> {
        Admission::new(&self.registry, proxied, &self.name)
    }

    /// The manifest of a tag or digest.
    pub async fn manifest(&self, reference: &TagOrDigest) -> Result<PulledManifest, Error> {
        match &self.kind {
            Kind::Proxied(proxied) => Box::pin(self.manifest_there(proxied, reference)).await,
            Kind::Hosted => {
                let found = stored_manifest(&*self.registry.own.metadata, &self.name, reference).await?;
                let Some(manifest) = found else {
                    self.must_exist().await?;
                    return Err(self.manifest_unknown(reference));
                };
                Ok(PulledManifest { manifest, cache: CacheStatus::Own, warning: None })
            }
        }
    }

    /// A blob, to be read.
    pub async fn blob(&self, digest: &Digest) -> Result<PulledBlob, Error> {
        match &self.kind {
            Kind::Proxied(proxied) => Box::pin(self.blob_there(proxied, digest)).await,
            Kind::Hosted => {
                let link = self.blob_link(digest).await?;
                open_linked(&self.registry.own, link, CacheStatus::Own).await
            }
        }
    }

    /// A URL at which the storage itself serves a blob that was found here, for as long as `lasts`; `None` when it has no such URLs.
    pub async fn signed_url(&self, digest: &Digest, lasts: Duration) -> Result<Option<SignedUrl>, Error> {
        let store = match &self.kind {
            Kind::Hosted => &self.registry.own,
            Kind::Proxied(_) => &self.registry.cache,
        };
        Ok(store.blobs.signed_url(digest, lasts).await?)
    }

    /// The size of a blob in bytes, and where that is known from. Cheaper than [`Self::blob`]: nothing is fetched for it.
    pub async fn blob_size(&self, digest: &Digest) -> Result<(u64, CacheStatus), Error> {
        match &self.kind {
            Kind::Proxied(proxied) => Box::pin(self.blob_size_there(proxied, digest)).await,
            Kind::Hosted => {
                let link = self.blob_link(digest).await?;
                // The row alone would promise bytes that a damaged disk may not have: a push skips what HEAD confirms.
                let found = self.registry.own.blobs.size(digest).await?;
                if found == Some(link.size) {
                    Ok((link.size, CacheStatus::Own))
                } else {
                    Err(Error::BlobDamaged { digest: link.digest, expected: link.size, found })
                }
            }
        }
    }

    // The ways through the cache have futures many times as large as those to hosted content. They are boxed, so that a pull of that is
    // not moved around with room for them.

    async fn manifest_there(&self, proxied: &Proxied, reference: &TagOrDigest) -> Result<PulledManifest, Error> {
        self.authorize(proxied, Subject::Manifest(reference.clone())).await?;
        let admission = self.admission(proxied);
        let admitted = admission.reference(reference).await?;
        let pulled = proxied.manifest(&self.registry, reference).await?;
        self.registry.usage.note(proxied.cached_name(), &pulled.manifest.digest);
        if admitted == Admitted::SoFar {
            admission.manifest(reference, &pulled.manifest).await?;
        }
        Ok(pulled)
    }

    async fn blob_there(&self, proxied: &Proxied, digest: &Digest) -> Result<PulledBlob, Error> {
        self.authorize(proxied, Subject::Blob(digest.clone())).await?;
        self.admission(proxied).blob(digest).await?;
        self.registry.usage.note(proxied.cached_name(), digest);
        proxied.blob(&self.registry, digest).await
    }

    async fn blob_size_there(&self, proxied: &Proxied, digest: &Digest) -> Result<(u64, CacheStatus), Error> {
        self.authorize(proxied, Subject::Blob(digest.clone())).await?;
        self.admission(proxied).blob(digest).await?;
        proxied.blob_size(&self.registry, digest).await
    }

    /// Deletes a tag, or a manifest with every tag on it; unless it is an immutable tag, or one reaches it.
    pub async fn delete_manifest(&self, reference: &TagOrDigest) -> Result<(), Error> {
        let (metadata, immutable) = (&self.writable()?.metadata, self.immutable_tags());
        let deletion = match reference {
            TagOrDigest::Tag(tag) => metadata.delete_tag(&self.name, tag, &immutable).await?,
            TagOrDigest::Digest(digest) => metadata.delete_manifest(&self.name, digest, &immutable).await?,
        };
        if self.is_gone(deletion, reference)? {
            return Ok(());
        }
        self.must_exist().await?;
        Err(self.manifest_unknown(reference))
    }

    /// Ends that the repository holds a blob, unless an immutable tag reaches it. The bytes stay for whoever else holds them; without
    /// any holder they are garbage, which a collection removes.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<(), Error> {
        let deletion = self.writable()?.metadata.unlink_blob(&self.name, digest, &self.immutable_tags()).await?;
        if self.is_gone(deletion, digest)? {
            return Ok(());
        }
        self.must_exist().await?;
        Err(self.blob_unknown(digest))
    }

    /// The tags of the repository that never move, and that keep what they reach.
    pub(crate) fn immutable_tags(&self) -> ProtectedTags {
        self.registry.immutable.of(&self.name)
    }

    /// What became of an order to delete `subject`: whether there was one.
    fn is_gone(&self, deletion: Deletion, subject: &impl ToString) -> Result<bool, Error> {
        match deletion {
            Deletion::Done { .. } => Ok(true),
            Deletion::Missing => Ok(false),
            Deletion::Protected(tag) => Err(Error::TagProtected { name: self.name.clone(), tag }),
            Deletion::NamedByTooMany => {
                Err(Error::MaybeProtected { name: self.name.clone(), subject: subject.to_string() })
            }
        }
    }

    /// What the row says of a hosted blob.
    async fn blob_link(&self, digest: &Digest) -> Result<BlobLink, Error> {
        if let Some(link) = self.registry.own.metadata.blob(&self.name, digest).await? {
            return Ok(link);
        }
        self.must_exist().await?;
        Err(self.blob_unknown(digest))
    }

    async fn must_exist(&self) -> Result<(), Error> {
        if self.registry.own.metadata.repository_exists(&self.name).await? {
            return Ok(());
        }
        Err(Error::RepositoryUnknown { name: self.name.clone() })
    }

    pub(crate) fn manifest_unknown(&self, reference: &TagOrDigest) -> Error {
        Error::ManifestUnknown { name: self.name.clone(), reference: reference.clone() }
    }

    pub(crate) fn blob_unknown(&self, digest: &Digest) -> Error {
        Error::BlobUnknown { name: self.name.clone(), digest: digest.clone() }
    }
}

/// The manifest of a tag or digest as the store has it.
pub(crate) async fn stored_manifest(
    metadata: &dyn MetadataStore,
    name: &RepositoryName,
    reference: &TagOrDigest,
) -> Result<Option<entrepot_metadata::ManifestRow>, Error> {
    Ok(match reference {
        TagOrDigest::Tag(tag) => metadata.tagged_manifest(name, tag).await?,
        TagOrDigest::Digest(digest) => metadata.manifest(name, digest).await?,
    })
}

/// Opens a blob that a row names. Bytes of another size than the row's are never served (a truncated file, a lost one).
pub(crate) async fn open_linked(store: &Store, link: BlobLink, cache: CacheStatus) -> Result<PulledBlob, Error> {
    let reader = store.blobs.open(&link.digest).await?;
    let found = reader.as_ref().map(entrepot_blobs::BlobReader::size);
    match reader {
        Some(reader) if reader.size() == link.size => {
            Ok(PulledBlob { digest: link.digest, size: link.size, cache, content: BlobContent::Stored(reader) })
        }
        _ => Err(Error::BlobDamaged { digest: link.digest, expected: link.size, found }),
    }
}
