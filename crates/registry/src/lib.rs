//! The domain: what a registry does, without HTTP, SQL or a particular store.
//!
//! A [`Registry`] has two [`Store`]s: one for what was pushed here, one for what was fetched from other registries. A
//! [`Repository`] is *hosted* (it lives in the first) or *proxied* (it lives in the second and fills itself). Which of the two is
//! decided once, by its name, in [`Registry::repository`]; the difference shows only where a local miss, a write, or the
//! freshness of a tag is decided (`proxied.rs`).
//!
//! Invariants that hold for every function here:
//!
//! - bytes are durable before a row names them, and rows before an answer does;
//! - what was not verified is never complete to anybody;
//! - an outage is an error, never an absence.

mod actor;
mod admission;
mod authorize;
mod cache;
mod content;
mod created;
mod error;
mod eviction;
mod explain;
mod fill;
mod flight;
mod freshness;
mod limits;
mod lists;
mod memory;
mod metrics;
mod mount;
mod passing;
mod policy;
mod proxied;
mod push;
mod registry;
mod remembered;
mod removal;
mod replicas;
mod repository;
mod sessions;
mod settings;
mod sharing;
mod sweep;
mod tasks;
mod transfer;
mod upkeep;
mod upload;
mod upstream_metrics;
mod usage;
mod warm;
mod whole;

pub use actor::{Actor, Named, Readable};
pub use cache::{CachePin, CacheStats, CachedEntry, CachedEntryKey, EvictedEntry, EvictionOrder, EvictionReport};
pub use content::{BlobContent, CacheStatus, ContentStream, Listing, PulledBlob, PulledManifest};
pub use entrepot_metadata::{Clock, SystemClock};
pub use error::{Error, with_causes};
pub use explain::{ExplainedContent, ExplainedRule, ExplainedUpstream, Explanation};
pub use limits::{Limits, MANIFEST_TAGS_MAX, PAGE_MAX, REFERRERS_PAGE_BYTES_MAX, REFERRERS_PAGE_MAX, REPLICA_LASTS};
pub use metrics::Metrics;
pub use proxied::Refreshed;
pub use push::{ManifestUpload, PushedManifest};
pub use registry::{Parts, Registry, Store};
pub use replicas::{PeerAnswer, PeerError, PeerRequest, Peers, ReplicaParts, Ticket};
pub use repository::Repository;
pub use settings::{
    CacheLimits, Freshness, FreshnessRule, ImmutableRule, ImmutableTags, OnUpstream404, PatternError, Patterns,
    PolicyAction, PolicyRule, ProxySettings,
};
pub use sweep::Swept;
pub use tasks::Tasks;
pub use upload::{Chunk, Source, SourceError, UploadStatus};
pub use warm::{Platform, WarmEvent};
