//! The cache as its operator sees it: what is in it, and what it is kept for. How it is made to go is in `eviction.rs`.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::{Entry, Page, Pin, Timestamp};
use entrepot_oci::{Digest, MediaType, RepositoryName, Tag, TagOrDigest};

use crate::content::Listing;
use crate::limits::{PINS_LISTED_MAX, UNHELD_COUNTED_MAX};
use crate::metrics::gauged;
use crate::proxied::Proxied;
use crate::registry::PROXY_PREFIX;
use crate::repository::Kind;
use crate::{Error, PAGE_MAX, Registry, Repository};

/// An image in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedEntry {
    /// The repository, under its upstream's own address: `proxy/registry-1.docker.io/library/redis`.
    pub name: RepositoryName,
    /// The manifest, or a blob that no manifest names.
    pub digest: Digest,
    /// The type of the manifest; `None` for a blob.
    pub media_type: Option<MediaType>,
    /// The tags that point at it.
    pub tags: Vec<Tag>,
    /// The bytes of everything it reaches that is here.
    pub bytes: u64,
    /// When it was last pulled.
    pub used_at: Timestamp,
    /// Whether it is kept whatever room is needed.
    pub is_pinned: bool,
}

/// Where a list of entries goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedEntryKey {
    /// The repository of the last entry of the page before.
    pub name: RepositoryName,
    /// Its digest.
    pub digest: Digest,
}

/// How full the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStats {
    /// The bytes of all blobs, each once.
    pub bytes: u64,
    /// How many blobs.
    pub blobs: u64,
    /// How many manifests.
    pub manifests: u64,
    /// Blobs that no repository holds any more and whose bytes are about to go; counted up to a thousand.
    pub unheld_blobs: u64,
    /// The limit; `None`: there is none.
    pub size_max: Option<u64>,
    /// Fills that run now.
    pub fills: u64,
}

/// A reference that is kept whatever room is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePin {
    /// The repository, under its upstream's own address.
    pub name: RepositoryName,
    /// The tag or digest.
    pub reference: TagOrDigest,
    /// Since when.
    pub pinned_at: Timestamp,
}

/// What to evict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvictionOrder {
    /// Only say what would go.
    pub is_dry_run: bool,
    /// Evict down to so many bytes, whatever the limits of the configuration say.
    pub down_to: Option<u64>,
    /// Evict what was not pulled for so long, whatever the limits of the configuration say.
    pub unused_for: Option<Duration>,
}

/// What was evicted, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvictionReport {
    /// The entries, least recently used first; the first thousand of them.
    pub entries: Vec<EvictedEntry>,
    /// How many entries in all.
    pub count: u64,
    /// The bytes that are free now, or would be.
    pub freed: u64,
}

/// An entry that went, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictedEntry {
    /// The repository, under its upstream's own address.
    pub name: RepositoryName,
    /// The manifest or blob.
    pub digest: Digest,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// The bytes that nobody else held.
    pub freed: u64,
    /// When it was last used.
    pub used_at: Timestamp,
}

impl Repository {
    /// Keeps a reference of a cached repository whatever room is needed. It need not be here yet; a second pin changes nothing.
    ///
    /// # Errors
    /// [`Error::NotACache`] for a hosted repository.
    pub async fn pin(&self, reference: &TagOrDigest) -> Result<(), Error> {
        let pin = Pin {
            repository: self.cached()?.cached_name().clone(),
            reference: reference.clone(),
            pinned_at: self.registry.clock.now(),
        };
        self.registry.cache.metadata.pin(&pin).await?;
        tracing::info!(repository.name = %self.name, %reference, "pinned");
        Ok(())
    }

    /// Ends that; `false` when it was not pinned.
    ///
    /// # Errors
    /// [`Error::NotACache`] for a hosted repository.
    pub async fn unpin(&self, reference: &TagOrDigest) -> Result<bool, Error> {
        let is_ended = self.registry.cache.metadata.unpin(self.cached()?.cached_name(), reference).await?;
        if is_ended {
            tracing::info!(repository.name = %self.name, %reference, "unpinned");
        }
        Ok(is_ended)
    }

    /// What it is in the cache.
    ///
    /// # Errors
    /// [`Error::NotACache`] for a hosted repository.
    pub(crate) fn cached(&self) -> Result<&Proxied, Error> {
        match &self.kind {
            Kind::Proxied(proxied) => Ok(proxied),
            Kind::Hosted => Err(Error::NotACache { name: self.name.clone() }),
        }
    }
}

impl Registry {
    /// The entries of the cache by name, behind `after`; of one repository where it is given. A page has at most 10 000.
    ///
    /// # Errors
    /// [`Error::NotACache`] for a hosted repository.
    pub async fn cache_entries(
        self: &Arc<Self>,
        name: Option<&RepositoryName>,
        after: Option<CachedEntryKey>,
        limit: usize,
    ) -> Result<Listing<CachedEntry>, Error> {
        let repository = name.map(|name| self.cached_name(name)).transpose()?;
        // Whoever has just pulled something looks for it here.
        self.write_uses().await?;
        let limit = limit.min(PAGE_MAX);
        let after = after.map(|CachedEntryKey { name, digest }| (without_prefix(&name), digest));
        let page = Page { after, limit: limit + 1 };
        let entries = self.cache.metadata.entries(repository.as_ref(), &page).await?;
        Ok(Listing::from_overfull(entries.into_iter().map(CachedEntry::from).collect(), limit))
    }

    /// How full the cache is.
    pub async fn cache_stats(&self) -> Result<CacheStats, Error> {
        let totals = self.measure_cache().await?;
        let unheld_blobs = self.cache.metadata.unheld_blobs(UNHELD_COUNTED_MAX).await?.len() as u64;
        Ok(CacheStats {
            bytes: totals.bytes,
            blobs: totals.blobs,
            manifests: totals.manifests,
            unheld_blobs,
            size_max: self.settings.cache.size_max,
            fills: u64::try_from(self.metrics.fills_running.get()).unwrap_or(0),
        })
    }

    /// Everything that is pinned, the first thousand.
    pub async fn cache_pins(&self) -> Result<Vec<CachePin>, Error> {
        let pins = self.cache.metadata.pins(PINS_LISTED_MAX).await?;
        let shown = |Pin { repository, reference, pinned_at }| {
            let name = with_prefix(&repository);
            CachePin { name, reference, pinned_at }
        };
        Ok(pins.into_iter().map(shown).collect())
    }

    /// How much is in the cache, which the metrics are told as well.
    pub(crate) async fn measure_cache(&self) -> Result<entrepot_metadata::Totals, Error> {
        let totals = self.cache.metadata.totals().await?;
        self.metrics.cache_bytes.set(gauged(totals.bytes));
        self.metrics.cache_blobs.set(gauged(totals.blobs));
        self.metrics.cache_manifests.set(gauged(totals.manifests));
        Ok(totals)
    }

    /// The name of a repository in the cache, by whatever name it was asked for. What was cached of a registry that may not be
    /// asked any more is still found, under the registry's own address.
    fn cached_name(self: &Arc<Self>, name: &RepositoryName) -> Result<RepositoryName, Error> {
        match self.repository(name) {
            Ok(repository) => Ok(repository.cached()?.cached_name().clone()),
            Err(Error::UpstreamUnknown { .. }) => Ok(without_prefix(name)),
            Err(error) => Err(error),
        }
    }
}

impl From<Entry> for CachedEntry {
    fn from(entry: Entry) -> Self {
        let Entry { repository, digest, media_type, tags, bytes, used_at, is_pinned } = entry;
        Self { name: with_prefix(&repository), digest, media_type, tags, bytes, used_at, is_pinned }
    }
}

/// The name under which a cached repository is shown, and can be pulled from. Where that would be too long for a name, the
/// prefix is left out: the repository was cached through a shorter alias, and cannot be named by its address.
pub(crate) fn with_prefix(cached: &RepositoryName) -> RepositoryName {
    cached.below(PROXY_PREFIX).unwrap_or_else(|_| cached.clone())
}

/// The opposite.
fn without_prefix(shown: &RepositoryName) -> RepositoryName {
    match shown.split_first() {
        Some((PROXY_PREFIX, cached)) => cached,
        _ => shown.clone(),
    }
}
