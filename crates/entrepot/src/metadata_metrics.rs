//! What a metadata database in a folder is doing, as series.

use std::sync::Arc;

use entrepot_metadata_sqlite::SqliteStore;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::series;

/// The series of one database.
#[derive(Debug)]
pub(crate) struct MetadataMetrics {
    store: &'static str,
    database: Arc<SqliteStore>,
}

impl MetadataMetrics {
    /// Of the database of the store that is called `store`.
    pub(crate) const fn new(store: &'static str, database: Arc<SqliteStore>) -> Self {
        Self { store, database }
    }
}

impl Collector for MetadataMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (memory, written) = (self.database.memory_counts(), self.database.write_counts());
        let counters = [
            ("memory_hits", "Manifests and links of blobs that were answered from memory", memory.hits),
            ("memory_misses", "Manifests and links of blobs that were looked up in the file", memory.misses),
            ("writes", "Writes to the metadata database", written.writes),
            ("commits", "Commits that carried them, each one sync of the disk at most", written.commits),
        ];
        let prefix = format!("metadata_{}", self.store);
        series::counters(&mut encoder, &prefix, counters)?;
        series::gauge(
            &mut encoder,
            &format!("{prefix}_memory_bytes"),
            "Bytes of manifests and links that are in memory",
            memory.bytes,
        )
    }
}
