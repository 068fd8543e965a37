//! What the domain counts. No label is ever taken from a request.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The series of the domain.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Pulls of proxied content answered from the cache.
    pub cache_hits: Counter,
    /// Pulls of proxied content that had to wait for an upstream.
    pub cache_misses: Counter,
    /// Pulls answered from the cache because the upstream could not be asked.
    pub cache_stale: Counter,
    /// Pulls of tags answered within their fresh window, without a question to the upstream.
    pub tags_believed: Counter,
    /// Refusals and failures of upstreams that were repeated from memory, without asking again.
    pub refusals_repeated: Counter,
    /// Lists of tags and referrers answered from memory, without asking again.
    pub lists_repeated: Counter,
    /// The bytes of the blobs in the cache, as last looked at.
    pub cache_bytes: Gauge,
    /// How many blobs are in the cache, as last looked at.
    pub cache_blobs: Gauge,
    /// How many manifests are in the cache, as last looked at.
    pub cache_manifests: Gauge,
    /// The bytes that the cache may have; 0 is no limit.
    pub cache_size_max: Gauge,
    /// Entries of the cache that were evicted or purged.
    pub evictions: Counter,
    /// The bytes that became free by that.
    pub evicted_bytes: Counter,
    /// Uses of cached content that were not noted because too many waited to be written.
    pub uses_lost: Counter,
    /// Fills that were started.
    pub fills_started: Counter,
    /// Fills that ended without a blob.
    pub fills_failed: Counter,
    /// Times that a fill went on after its upstream had broken off.
    pub fills_resumed: Counter,
    /// Fills that read along from the replica that fetches the blob.
    pub fills_read_along: Counter,
    /// Fills that went on where another replica had left off.
    pub fills_taken_over: Counter,
    /// Bytes received from upstreams for blobs.
    pub fill_bytes: Counter,
    /// Fills that are running now.
    pub fills_running: Gauge,
    /// Fills that run though no client follows them now.
    pub fills_orphaned: Gauge,
    /// Fills that were ended because too many ran without a client.
    pub fills_abandoned: Counter,
    /// Fills whose bytes pass through uncached, because the disk is full.
    pub fills_passed_through: Counter,
    /// Pulls that a rule refused.
    pub policy_denied: Counter,
    /// Matches of rules that would refuse if they did not only log.
    pub policy_would_deny: Counter,
    /// Blobs that were pushed or mounted.
    pub blobs_pushed: Counter,
    /// Manifests that were pushed.
    pub manifests_pushed: Counter,
    /// Upload sessions that a request is writing to now.
    pub uploads_running: Gauge,
    /// Upload sessions and staged leftovers that the sweep ended.
    pub uploads_swept: Counter,
    /// Questions to upstreams by how they ended.
    upstream_requests: Family<UpstreamLabels, Counter>,
}

/// How a question to an upstream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum UpstreamOutcome {
    /// With what was asked for.
    Success,
    /// It does not have it, or keeps it private.
    NotFound,
    /// It asks for patience.
    RateLimited,
    /// It was not asked, because it had asked for patience or kept failing.
    Suspended,
    /// It was not asked, because too many questions to it waited already.
    Busy,
    /// It could not be reached, or fell silent.
    Unreachable,
    /// With an error of its own, or something that cannot be right.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    outcome: UpstreamOutcome,
}

impl Metrics {
    /// Counts a question to an upstream, and passes its outcome on.
    pub(crate) fn count_upstream<T>(
        &self,
        outcome: Result<T, entrepot_upstream::Error>,
    ) -> Result<T, entrepot_upstream::Error> {
        use entrepot_upstream::Error as Upstream;
        let label = match &outcome {
            Ok(_) => UpstreamOutcome::Success,
            Err(Upstream::NotFound { .. } | Upstream::Denied { .. }) => UpstreamOutcome::NotFound,
            Err(Upstream::RateLimited { .. }) => UpstreamOutcome::RateLimited,
            Err(Upstream::Suspended { .. }) => UpstreamOutcome::Suspended,
            Err(Upstream::Busy { .. }) => UpstreamOutcome::Busy,
            Err(Upstream::Unreachable { .. } | Upstream::Timeout { .. } | Upstream::Interrupted { .. }) => {
                UpstreamOutcome::Unreachable
            }
            Err(_) => UpstreamOutcome::Failed,
        };
        self.upstream_requests.get_or_create(&UpstreamLabels { outcome: label }).inc();
        outcome
    }

    /// Registers every series below `registry`'s prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("cache_hits", "Pulls of proxied content answered from the cache", self.cache_hits.clone());
        registry.register(
            "cache_misses",
            "Pulls of proxied content that waited for an upstream",
            self.cache_misses.clone(),
        );
        registry.register(
            "cache_stale",
            "Pulls answered from the cache while the upstream was away",
            self.cache_stale.clone(),
        );
        registry.register(
            "tags_believed",
            "Pulls of tags answered within their fresh window, without asking the upstream",
            self.tags_believed.clone(),
        );
        registry.register(
            "refusals_repeated",
            "Refusals and failures of upstreams repeated from memory, without asking again",
            self.refusals_repeated.clone(),
        );
        registry.register(
            "lists_repeated",
            "Lists of tags and referrers answered from memory, without asking again",
            self.lists_repeated.clone(),
        );
        self.register_cache(registry);
        self.register_fills(registry);
        registry.register("policy_denied", "Pulls that a rule refused", self.policy_denied.clone());
        registry.register(
            "policy_would_deny",
            "Matches of rules that only log and would have refused",
            self.policy_would_deny.clone(),
        );
        registry.register("blobs_pushed", "Blobs that were pushed or mounted", self.blobs_pushed.clone());
        registry.register("manifests_pushed", "Manifests that were pushed", self.manifests_pushed.clone());
        registry.register("uploads_running", "Upload sessions being written to", self.uploads_running.clone());
        registry.register(
            "uploads_swept",
            "Upload sessions and leftovers ended by the sweep",
            self.uploads_swept.clone(),
        );
        registry.register(
            "upstream_requests",
            "Questions to upstreams by how they ended",
            self.upstream_requests.clone(),
        );
    }

    fn register_fills(&self, registry: &mut Registry) {
        registry.register("fills_started", "Fills that were started", self.fills_started.clone());
        registry.register("fills_failed", "Fills that ended without a blob", self.fills_failed.clone());
        registry.register("fills_resumed", "Fills that went on after a break", self.fills_resumed.clone());
        registry.register(
            "fills_read_along",
            "Fills that read along from the replica that fetches the blob",
            self.fills_read_along.clone(),
        );
        registry.register(
            "fills_taken_over",
            "Fills that went on where another replica had left off",
            self.fills_taken_over.clone(),
        );
        registry.register("fill_bytes", "Bytes received from upstreams for blobs", self.fill_bytes.clone());
        registry.register("fills_running", "Fills that are running", self.fills_running.clone());
        registry.register(
            "fills_orphaned",
            "Fills that run though no client follows them",
            self.fills_orphaned.clone(),
        );
        registry.register(
            "fills_abandoned",
            "Fills ended because too many ran without a client",
            self.fills_abandoned.clone(),
        );
        registry.register(
            "fills_passed_through",
            "Fills whose bytes passed through uncached because the disk was full",
            self.fills_passed_through.clone(),
        );
    }

    fn register_cache(&self, registry: &mut Registry) {
        registry.register("cache_bytes", "Bytes of the blobs in the cache", self.cache_bytes.clone());
        registry.register("cache_blobs", "Blobs in the cache", self.cache_blobs.clone());
        registry.register("cache_manifests", "Manifests in the cache", self.cache_manifests.clone());
        registry.register(
            "cache_size_max",
            "Bytes that the cache may have; 0 is no limit",
            self.cache_size_max.clone(),
        );
        registry.register("evictions", "Entries evicted or purged from the cache", self.evictions.clone());
        registry.register("evicted_bytes", "Bytes that became free in the cache", self.evicted_bytes.clone());
        registry.register("uses_lost", "Uses of cached content that could not be noted", self.uses_lost.clone());
    }
}

/// A count as a gauge takes it.
pub(crate) fn gauged(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Counts something as running for as long as it lives.
#[derive(Debug)]
pub(crate) struct Running(Gauge);

impl Running {
    pub(crate) fn start(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
