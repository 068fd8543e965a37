//! Mounting: a repository gets a blob that is already here, without an upload.

use entrepot_metadata::BlobLink;
use entrepot_oci::{Digest, RepositoryName};

use crate::actor::Readable;
use crate::limits::{MOUNT_HOLDERS_MAX, MOUNT_SOURCES_MAX};
use crate::proxied::Proxied;
use crate::registry::Store;
use crate::repository::Kind;
use crate::{Error, Repository};

impl Repository {
    /// Makes the repository hold a blob that `from`, or without it any repository, holds already; `false` when that
    /// cannot be and the client has to upload. Cached repositories (`proxy/…`) can be mounted from as well: the bytes are
    /// shared between the stores, so that no eviction of the cache takes them away again.
    ///
    /// Only from repositories that `is_readable` says the caller may pull: another is like one that lacks the blob.
    pub async fn mount(
        &self,
        digest: &Digest,
        from: Option<&RepositoryName>,
        is_readable: Readable<'_>,
    ) -> Result<bool, Error> {
        self.writable()?;
        let is_mounted = match from {
            Some(name) => self.mount_from(digest, name, is_readable(name)).await?,
            None => self.mount_from_anywhere(digest, is_readable).await?,
        };
        if is_mounted {
            self.registry.metrics.blobs_pushed.inc();
        }
        Ok(is_mounted)
    }

    /// A source that must not be read is looked at like one that may, so that time does not tell whether it has the blob.
    async fn mount_from(&self, digest: &Digest, name: &RepositoryName, is_readable: bool) -> Result<bool, Error> {
        // A source that cannot be is treated like one that lacks the blob: the client uploads, and learns nothing.
        let Ok(source) = self.registry.repository(name) else { return Ok(false) };
        match &source.kind {
            Kind::Hosted => {
                let link = self.registry.own.metadata.blob(name, digest).await?;
                self.link(link.filter(|_| is_readable)).await
            }
            Kind::Proxied(proxied) => {
                let link = self.registry.cache.metadata.blob(proxied.cached_name(), digest).await?;
                let Some(link) = link.filter(|_| is_readable) else { return Ok(false) };
                if !self.is_admitted(proxied, digest).await? {
                    return Ok(false);
                }
                self.adopt(Some(link)).await
            }
        }
    }

    async fn mount_from_anywhere(&self, digest: &Digest, is_readable: Readable<'_>) -> Result<bool, Error> {
        let readable = readable_holders(&self.registry.own, digest, |name| is_readable(&name).then_some(())).await?;
        if self.link(readable.into_iter().next().map(|((), link)| link)).await? {
            return Ok(true);
        }
        // What no upstream stands for any more cannot be judged, and so not be had.
        let cached = |name| self.registry.cached(&name).filter(|proxied| is_readable(proxied.name()));
        for (proxied, link) in readable_holders(&self.registry.cache, digest, cached).await? {
            if self.is_admitted(&proxied, digest).await? {
                return self.adopt(Some(link)).await;
            }
        }
        Ok(false)
    }

    /// Whether the rules let a blob of a cached repository out. A refusal is answered like an absence: the client uploads.
    async fn is_admitted(&self, proxied: &Proxied, digest: &Digest) -> Result<bool, Error> {
        match self.admission(proxied).blob(digest).await {
            Ok(()) => Ok(true),
            // An upstream that cannot be asked for the size of the blob leaves it to the client as well.
            Err(Error::PolicyDenied { .. } | Error::Upstream { .. } | Error::BlobUnknown { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Links a blob of the own store, if its bytes are there as the link says.
    async fn link(&self, link: Option<BlobLink>) -> Result<bool, Error> {
        let Some(link) = link else { return Ok(false) };
        let Store { blobs, metadata } = &self.registry.own;
        if blobs.size(&link.digest).await? != Some(link.size) {
            return Ok(false);
        }
        metadata.link_blob(&self.name, &link, self.registry.clock.now()).await?;
        Ok(true)
    }

    /// Takes over a blob of the cache. Bytes first, then the row: a crash in between leaves a blob that nobody holds.
    ///
    /// It may be evicted at the same time, or turn out to be damaged when it is copied: then the client uploads.
    async fn adopt(&self, link: Option<BlobLink>) -> Result<bool, Error> {
        let Some(link) = link else { return Ok(false) };
        let reader = self.registry.cache.blobs.open(&link.digest).await?;
        let Some(reader) = reader.filter(|reader| reader.size() == link.size) else { return Ok(false) };
        let size = match self.registry.own.blobs.adopt(&link.digest, &reader).await {
            Ok(size) => size,
            Err(error @ (entrepot_blobs::Error::Source { .. } | entrepot_blobs::Error::Corrupt { .. })) => {
                tracing::warn!(
                    digest = %link.digest, repository.name = %self.name, error = &error as &dyn std::error::Error,
                    "a cached blob could not be mounted"
                );
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let link = BlobLink { digest: link.digest, size };
        self.registry.own.metadata.link_blob(&self.name, &link, self.registry.clock.now()).await?;
        Ok(true)
    }
}

/// The first holders of a blob that may be read, as what `read` makes of them. Where the first holders of all are not among them,
/// more are looked at.
async fn readable_holders<T>(
    store: &Store,
    digest: &Digest,
    read: impl Fn(RepositoryName) -> Option<T>,
) -> Result<Vec<(T, BlobLink)>, Error> {
    let mut readable = Vec::new();
    for looked_at_max in [MOUNT_SOURCES_MAX, MOUNT_HOLDERS_MAX] {
        let holders = store.metadata.blob_holders(digest, looked_at_max).await?;
        let are_all = holders.len() < looked_at_max;
        readable = holders.into_iter().filter_map(|(name, link)| Some((read(name)?, link))).collect();
        if are_all || !readable.is_empty() {
            break;
        }
    }
    readable.truncate(MOUNT_SOURCES_MAX);
    Ok(readable)
}
