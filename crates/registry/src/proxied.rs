//! The proxied repository: what happens on a local miss, and when a tag is to be believed.
//!
//! Content is kept under the upstream's own address (its *origin*), so that every name that leads to one registry shares one
//! entry, and none survives the name being pointed elsewhere.
//!
//! Freshness today: a digest is believed for ever; a tag is confirmed by one HEAD, shared by all who ask at the time. Windows in which a
//! tag needs no confirmation, and the spending of the upstream's budget, belong into [`Proxied::ask_for_tag`].

use std::sync::Arc;

use bytes::{Buf, Bytes};
use entrepot_metadata::{ManifestPush, ManifestRow, MissingOr, Page, ReferenceCheck, TagCondition};
use entrepot_oci::{ByteRange, Digest, Referrer, RepositoryName, Tag, TagOrDigest};
use entrepot_upstream::{BlobFrom, FetchedManifest, Remote, RemoteRepository, Via};
use futures_util::{Stream, StreamExt, TryStreamExt};

use crate::content::{BlobContent, CacheStatus, ContentStream, Listing, PulledBlob, PulledManifest};
use crate::fill::FillRequest;
use crate::lists::PageCut;
use crate::{Error, Metrics, Registry, SourceError};

/// A repository of another registry.
#[derive(Clone, Debug)]
pub(crate) struct Proxied {
    /// As it was asked for, `proxy/…`.
    name: RepositoryName,
    /// Where it comes from.
    remote: Arc<Remote>,
    /// What it is called there.
    upstream_name: RemoteRepository,
    /// What it is called in the cache: its origin and its name there.
    cached_name: RepositoryName,
    /// Where questions to the upstream are counted.
    metrics: Arc<Metrics>,
}

impl Proxied {
    pub(crate) fn new(
        name: &RepositoryName,
        remote: Arc<Remote>,
        repository: &RepositoryName,
        via: Via,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let upstream_name = RemoteRepository { name: remote.repository(repository), via };
        let too_long = |_| Error::ProxyNameTooLong { name: name.clone() };
        let cached_name = upstream_name.name.below(remote.origin()).map_err(too_long)?;
        Ok(Self { name: name.clone(), remote, upstream_name, cached_name, metrics })
    }

    pub(crate) const fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    pub(crate) const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What it is called at its upstream.
    pub(crate) const fn name_there(&self) -> &RepositoryName {
        &self.upstream_name.name
    }

    pub(crate) const fn cached_name(&self) -> &RepositoryName {
        &self.cached_name
    }

    pub(crate) async fn manifest(
        &self,
        registry: &Arc<Registry>,
        reference: &TagOrDigest,
    ) -> Result<PulledManifest, Error> {
        if let TagOrDigest::Digest(digest) = reference
            && let Some(manifest) = registry.cache.metadata.manifest(&self.cached_name, digest).await?
        {
            registry.metrics.cache_hits.inc();
            return Ok(PulledManifest { manifest, cache: CacheStatus::Hit, warning: None });
        }
        let pulled = registry
            .manifest_flights
            .join(format!("{} {reference}", self.cached_name), || {
                let (proxied, registry, reference) = (self.clone(), Arc::clone(registry), reference.clone());
                async move { proxied.fetch_manifest(&registry, &reference).await }
            })
            .await?;
        match pulled.cache {
            CacheStatus::Own | CacheStatus::Hit => registry.metrics.cache_hits.inc(),
            CacheStatus::Miss => registry.metrics.cache_misses.inc(),
            CacheStatus::Stale => registry.metrics.cache_stale.inc(),
        };
        Ok(pulled)
    }

    async fn fetch_manifest(&self, registry: &Registry, reference: &TagOrDigest) -> Result<PulledManifest, Error> {
        let TagOrDigest::Tag(tag) = reference else {
            let fetched = self.metrics.count_upstream(self.remote.get_manifest(&self.upstream_name, reference).await);
            let fetched = fetched.map_err(|error| self.manifest_error(error, reference))?;
            return Ok(self.keep(registry, fetched, None).await);
        };
        match self.ask_for_tag(registry, tag, reference).await {
            Err(error @ (Error::Upstream { .. } | Error::ManifestUnknown { .. })) => {
                self.stale(registry, tag, error).await
            }
            outcome => outcome,
        }
    }

    /// Where the tag points now, as the upstream says: one HEAD, and a GET only for a manifest that is not here yet.
    async fn ask_for_tag(
        &self,
        registry: &Registry,
        tag: &Tag,
        reference: &TagOrDigest,
    ) -> Result<PulledManifest, Error> {
        let head = self.metrics.count_upstream(self.remote.head_manifest(&self.upstream_name, reference, None).await);
        let head = head.map_err(|error| self.manifest_error(error, reference))?;
        if let Some(digest) = head.digest {
            if let Some(manifest) = registry.cache.metadata.manifest(&self.cached_name, &digest).await? {
                let now = registry.clock.now();
                registry.cache.metadata.confirm_tag(&self.cached_name, tag, &digest, now).await?;
                return Ok(PulledManifest { manifest, cache: CacheStatus::Hit, warning: None });
            }
            // By the digest that was just named: a tag that moves in between cannot mix two answers.
            match self
                .metrics
                .count_upstream(self.remote.get_manifest(&self.upstream_name, &TagOrDigest::Digest(digest)).await)
            {
                Ok(fetched) => return Ok(self.keep(registry, fetched, Some(tag)).await),
                Err(entrepot_upstream::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.manifest_error(error, reference)),
            }
        }
        let fetched = self.metrics.count_upstream(self.remote.get_manifest(&self.upstream_name, reference).await);
        let fetched = fetched.map_err(|error| self.manifest_error(error, reference))?;
        Ok(self.keep(registry, fetched, Some(tag)).await)
    }

    /// Keeps a fetched manifest. That it could not be kept is no reason to withhold it: it has been verified.
    async fn keep(&self, registry: &Registry, fetched: FetchedManifest, tag: Option<&Tag>) -> PulledManifest {
        let FetchedManifest { manifest, digest } = fetched;
        let row = ManifestRow {
            digest: digest.clone(),
            media_type: manifest.media_type().clone(),
            bytes: manifest.bytes().clone(),
        };
        let push = ManifestPush {
            repository: self.cached_name.clone(),
            digest,
            manifest,
            tags: tag.cloned().into_iter().collect(),
            references: ReferenceCheck::Lazy,
            condition: TagCondition::None,
            now: registry.clock.now(),
        };
        if let Err(error) = registry.cache.metadata.push_manifest(push).await {
            tracing::warn!(
                repository.name = %self.name, digest = %row.digest, error = &error as &dyn std::error::Error,
                "a fetched manifest could not be cached and is passed on uncached"
            );
        }
        PulledManifest { manifest: row, cache: CacheStatus::Miss, warning: None }
    }

    /// What is cached of a tag whose upstream cannot say, or says that it is gone.
    async fn stale(&self, registry: &Registry, tag: &Tag, error: Error) -> Result<PulledManifest, Error> {
        let Some(manifest) = registry.cache.metadata.tagged_manifest(&self.cached_name, tag).await? else {
            return Err(error);
        };
        tracing::warn!(
            repository.name = %self.name, %tag, remote.name = self.remote.name(), error = &error as &dyn std::error::Error,
            "answered from the cache: the upstream did not confirm the tag"
        );
        let warning = match error {
            Error::ManifestUnknown { .. } => format!("stale: {} no longer has this tag", self.remote.name()),
            _ => format!("stale: {} could not be asked, this is the last known answer", self.remote.name()),
        };
        Ok(PulledManifest { manifest, cache: CacheStatus::Stale, warning: Some(warning) })
    }

    pub(crate) async fn blob(&self, registry: &Registry, digest: &Digest) -> Result<PulledBlob, Error> {
        let store = &registry.cache;
        if let Some(link) = store.metadata.blob(&self.cached_name, digest).await?
            && let Some(reader) = store.blobs.open(digest).await?
            && reader.size() == link.size
        {
            registry.metrics.cache_hits.inc();
            let content = BlobContent::Stored(reader);
            return Ok(PulledBlob { digest: link.digest, size: link.size, cache: CacheStatus::Hit, content });
        }
        registry.metrics.cache_misses.inc();
        let request = FillRequest {
            digest: digest.clone(),
            described_size: store.metadata.referenced_size(&self.cached_name, digest).await?,
            proxied: self.clone(),
        };
        let (size, content) = registry.fills.join(request).await?;
        Ok(PulledBlob { digest: digest.clone(), size, cache: CacheStatus::Miss, content })
    }

    pub(crate) async fn blob_size(&self, registry: &Registry, digest: &Digest) -> Result<(u64, CacheStatus), Error> {
        let store = &registry.cache;
        if let Some(link) = store.metadata.blob(&self.cached_name, digest).await?
            && store.blobs.size(digest).await? == Some(link.size)
        {
            return Ok((link.size, CacheStatus::Hit));
        }
        if let Some(size) = store.metadata.referenced_size(&self.cached_name, digest).await? {
            return Ok((size, CacheStatus::Hit));
        }
        let size = self.metrics.count_upstream(self.remote.head_blob(&self.upstream_name, digest).await);
        match size.map_err(|error| self.blob_error(error, digest))? {
            Some(size) => Ok((size, CacheStatus::Miss)),
            // The upstream keeps the size to itself: only a whole blob has a length.
            None => Ok((self.blob(registry, digest).await?.size, CacheStatus::Miss)),
        }
    }

    /// Asks the upstream for whatever it has of the blob from `from` on.
    pub(crate) async fn ask_for_blob(
        &self,
        digest: &Digest,
        from: BlobFrom,
    ) -> Result<entrepot_upstream::BlobResponse, entrepot_upstream::Error> {
        self.metrics.count_upstream(self.remote.get_blob(&self.upstream_name, digest, from).await)
    }

    /// The size of a blob as the upstream tells it, in bytes; `None` when it is there and its size is not told.
    pub(crate) async fn told_blob_size(&self, digest: &Digest) -> Result<Option<u64>, entrepot_upstream::Error> {
        self.metrics.count_upstream(self.remote.head_blob(&self.upstream_name, digest).await)
    }

    /// Whether the upstream serves the blob under this repository: without that, bytes that came through another one are not its own.
    pub(crate) async fn confirm_blob(&self, digest: &Digest) -> Result<(), Error> {
        let answer = self.metrics.count_upstream(self.remote.head_blob(&self.upstream_name, digest).await);
        answer.map(|_size| ()).map_err(|error| self.blob_error(error, digest))
    }

    /// A range straight from the upstream. A part cannot be verified; the whole, which is being filled meanwhile, is.
    pub(crate) async fn stream_range(&self, digest: &Digest, range: ByteRange) -> Result<ContentStream, Error> {
        let response = self.ask_for_blob(digest, BlobFrom::Range(range)).await;
        let response = response.map_err(|error| self.blob_error(error, digest))?;
        let skipped = range.first().saturating_sub(response.first);
        Ok(exactly(response.body.map_err(Into::into).boxed(), skipped, range.length()).boxed())
    }

    pub(crate) async fn tags(
        &self,
        registry: &Registry,
        after: Option<Tag>,
        limit: usize,
    ) -> Result<Listing<Tag>, Error> {
        let error = match self.metrics.count_upstream(self.remote.tags(&self.upstream_name).await) {
            Ok(mut tags) => {
                tags.sort_unstable();
                tags.dedup();
                let behind = after.map_or(0, |after| tags.partition_point(|tag| *tag <= after));
                return Ok(Listing::from_overfull(tags.split_off(behind), limit));
            }
            Err(error) => error,
        };
        let page = Page { after, limit: limit + 1 };
        match registry.cache.metadata.tags(&self.cached_name, &page).await? {
            MissingOr::Found(tags) => {
                let mut listing = Listing::from_overfull(tags, limit);
                listing.warning =
                    Some(format!("stale: {} could not be asked, these are the cached tags", self.remote.name()));
                registry.metrics.cache_stale.inc();
                Ok(listing)
            }
            MissingOr::Missing if matches!(error, entrepot_upstream::Error::NotFound { .. }) => {
                Err(Error::RepositoryUnknown { name: self.name.clone() })
            }
            MissingOr::Missing => Err(self.upstream_error(error)),
        }
    }

    pub(crate) async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<Digest>,
    ) -> Result<Listing<Referrer>, Error> {
        // An unreachable upstream is an error here: "no signatures" must not be a lie.
        let referrers = self.metrics.count_upstream(self.remote.referrers(&self.upstream_name, subject).await);
        let mut referrers = match referrers {
            Ok(referrers) => referrers,
            Err(entrepot_upstream::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(self.upstream_error(error)),
        };
        referrers.sort_unstable_by(|one, other| one.digest.cmp(&other.digest));
        referrers.retain(|referrer| {
            artifact_type.is_none_or(|wanted| referrer.artifact_type.as_deref() == Some(wanted))
                && after.as_ref().is_none_or(|after| referrer.digest > *after)
        });
        let mut cut = PageCut::default();
        cut.take(referrers);
        Ok(cut.listing)
    }

    fn manifest_error(&self, error: entrepot_upstream::Error, reference: &TagOrDigest) -> Error {
        match error {
            entrepot_upstream::Error::NotFound { .. } => {
                Error::ManifestUnknown { name: self.name.clone(), reference: reference.clone() }
            }
            other => self.upstream_error(other),
        }
    }

    pub(crate) fn blob_error(&self, error: entrepot_upstream::Error, digest: &Digest) -> Error {
        match error {
            entrepot_upstream::Error::NotFound { .. } => {
                Error::BlobUnknown { name: self.name.clone(), digest: digest.clone() }
            }
            other => self.upstream_error(other),
        }
    }

    fn upstream_error(&self, error: entrepot_upstream::Error) -> Error {
        Error::Upstream { name: self.name.clone(), source: Arc::new(error) }
    }
}

/// Leaves out the first `skipped` bytes and passes on exactly `length`: fewer end with an error, more are not read.
fn exactly<S>(source: S, skipped: u64, length: u64) -> impl Stream<Item = Result<Bytes, SourceError>> + Send
where
    S: Stream<Item = Result<Bytes, SourceError>> + Unpin + Send,
{
    futures_util::stream::try_unfold((source, skipped, length), |(mut source, mut skipped, missing)| async move {
        if missing == 0 {
            return Ok(None);
        }
        loop {
            let Some(mut piece) = source.try_next().await? else {
                return Err(format!("the upstream's answer ended {missing} bytes early").into());
            };
            skipped -= advance(&mut piece, skipped);
            piece.truncate(usize::try_from(missing).unwrap_or(usize::MAX));
            if !piece.is_empty() {
                let missing = missing - piece.len() as u64;
                return Ok(Some((piece, (source, skipped, missing))));
            }
        }
    })
}

/// Cuts up to `count` bytes off the front, and says how many that were.
pub(crate) fn advance(piece: &mut Bytes, count: u64) -> u64 {
    let cut = usize::try_from(count).unwrap_or(usize::MAX).min(piece.len());
    piece.advance(cut);
    cut as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passed_on(pieces: &'static [&'static str], skipped: u64, length: u64) -> Result<String, String> {
        let source = futures_util::stream::iter(pieces).map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let pieces: Vec<Bytes> =
            exactly(source, skipped, length).try_collect().await.map_err(|error| error.to_string())?;
        Ok(pieces.iter().map(|piece| String::from_utf8_lossy(piece)).collect())
    }

    #[tokio::test]
    async fn a_range_is_passed_on_to_the_byte() {
        assert_eq!(passed_on(&["abc", "def", "ghi"], 0, 4).await, Ok("abcd".into()));
        assert_eq!(passed_on(&["abc", "def", "ghi"], 4, 3).await, Ok("efg".into()));
        assert_eq!(passed_on(&["abc"], 1, 2).await, Ok("bc".into()));
        assert!(passed_on(&["abc"], 1, 3).await.unwrap_err().contains("1 bytes early"));
    }
}
