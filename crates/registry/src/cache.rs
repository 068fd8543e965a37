//! The cache as its operator sees it: what is in it, what it is kept for, and how it is made to go.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::Timestamp;
use entrepot_oci::{Digest, MediaType, RepositoryName, Tag, TagOrDigest};
use futures_core::stream::BoxStream;

use crate::content::Listing;
use crate::{Error, Registry, Repository};

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

/// A part of an index to be fetched: `linux/arm64` or `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `arm64`
    pub architecture: String,
    /// `v7`; `None`: any.
    pub variant: Option<String>,
}

/// How far the fetching of an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WarmEvent {
    /// A manifest is here.
    Manifest {
        /// The manifest.
        digest: Digest,
        /// Its type.
        media_type: MediaType,
    },
    /// A blob is on its way, or here when `received` is `size`.
    Blob {
        /// The blob.
        digest: Digest,
        /// The bytes that are here.
        received: u64,
        /// All of its bytes.
        size: u64,
    },
    /// Something could not be fetched; the rest goes on.
    Failed {
        /// What it was: a tag or digest.
        subject: String,
        /// Why, for people, with its causes.
        reason: String,
    },
    /// Nothing more comes.
    Done {
        /// Manifests that are here.
        manifests: u64,
        /// Blobs that are here.
        blobs: u64,
        /// The bytes of those blobs.
        bytes: u64,
        /// How much could not be fetched.
        failures: u64,
    },
}

impl Repository {
    /// Forgets a tag or manifest of a cached repository, or everything of it, and frees the bytes that nobody else holds.
    ///
    /// # Errors
    /// [`Error::NotACache`] for a hosted repository, [`Error::Pinned`] when some of it is pinned.
    pub async fn purge(&self, _reference: Option<&TagOrDigest>) -> Result<EvictionReport, Error> {
        unimplemented!()
    }

    /// Keeps a reference of a cached repository whatever room is needed. It need not be here yet.
    pub async fn pin(&self, _reference: &TagOrDigest) -> Result<(), Error> {
        unimplemented!()
    }

    /// Ends that; `false` when it was not pinned.
    pub async fn unpin(&self, _reference: &TagOrDigest) -> Result<bool, Error> {
        unimplemented!()
    }

    /// Fetches everything of an image that is not here yet: of an index the parts for `platforms`, or all of them.
    pub fn warm(&self, _reference: TagOrDigest, _platforms: Vec<Platform>) -> BoxStream<'static, WarmEvent> {
        unimplemented!()
    }
}

impl Registry {
    /// The entries of the cache by name, behind `after`; of one repository where it is given.
    pub async fn cache_entries(
        self: &Arc<Self>,
        _name: Option<&RepositoryName>,
        _after: Option<CachedEntryKey>,
        _limit: usize,
    ) -> Result<Listing<CachedEntry>, Error> {
        unimplemented!()
    }

    /// How full the cache is.
    pub async fn cache_stats(&self) -> Result<CacheStats, Error> {
        unimplemented!()
    }

    /// Everything that is pinned, the first thousand.
    pub async fn cache_pins(&self) -> Result<Vec<CachePin>, Error> {
        unimplemented!()
    }

    /// Evicts by the limits of the configuration, or by those of `order`.
    pub async fn evict_cache(self: &Arc<Self>, _order: EvictionOrder) -> Result<EvictionReport, Error> {
        unimplemented!()
    }
}
