//! What a read cache is doing, as series.

use std::sync::Arc;

use entrepot_blobs::ReadCache;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::series;

/// The series of one read cache, read when they are asked for.
#[derive(Debug)]
pub(crate) struct ReadCacheMetrics {
    store: &'static str,
    cache: Arc<ReadCache>,
}

impl ReadCacheMetrics {
    /// Of the cache in front of the store that is called `store`.
    pub(crate) const fn new(store: &'static str, cache: Arc<ReadCache>) -> Self {
        Self { store, cache }
    }
}

impl Collector for ReadCacheMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let state = self.cache.state();
        let counters = [
            ("hits", "Blobs that were read from the local disk", state.hits),
            ("misses", "Blobs that were read from the object storage", state.misses),
            ("fetched", "Blobs that were fetched to be kept", state.fetched),
            ("failed", "Fetches that came to nothing", state.failed),
        ];
        let prefix = format!("read_cache_{}", self.store);
        series::counters(&mut encoder, &prefix, counters)?;
        series::gauge(&mut encoder, &format!("{prefix}_bytes"), "Bytes that are kept on the local disk", state.bytes)
    }
}
