//! Buckets: from what the configuration says of them to stores of blobs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use entrepot_blobs::{BlobStore, Fetching, ReadCache};
use entrepot_blobs_object::{
    AddressStyle, Checksum, Metrics, ObjectStore, ObjectStoreConfig, OpenError, PART_COUNT_MAX, PartGrowth,
    PartsInFlight, Timeouts,
};
use prometheus_client::registry::Registry;

use crate::config::{
    AzureConfiguration, GcsConfiguration, ObjectChecksum, ObjectScheme, ObjectUrl, ReadCacheConfiguration,
    S3Configuration, StorageConfiguration, TransferConfiguration,
};
use crate::read_cache_metrics::ReadCacheMetrics;

/// The region of R2, which wants all parts of an upload to have one size.
const REGION_OF_EQUAL_PARTS: &str = "auto";

/// The buckets of this process, which share what they may take of its memory.
#[derive(Debug)]
pub(crate) struct Buckets {
    parts_in_flight: PartsInFlight,
    metrics: Metrics,
}

/// A store in a bucket, and the work of its read cache, which has to be run.
pub(crate) type Opened = (Arc<dyn BlobStore>, Option<Fetching>);

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// What is said of it makes no sense.
    #[error("{url} cannot be used")]
    Open {
        /// The bucket.
        url: ObjectUrl,
        /// What is wrong.
        #[source]
        source: Box<OpenError>,
    },
    /// It cannot be read or written.
    #[error("{url} cannot be read and written")]
    Probe {
        /// The bucket.
        url: ObjectUrl,
        /// What happened.
        #[source]
        source: Box<entrepot_blobs::Error>,
    },
    /// The folder of the read cache cannot be used.
    #[error("{} cannot be used as the read cache", folder.display())]
    ReadCache {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        #[source]
        source: entrepot_blobs::Error,
    },
}

impl Buckets {
    /// Those that `configuration` is about; what they count is registered.
    pub(crate) fn new(configuration: &StorageConfiguration, registry: &mut Registry) -> Self {
        let transfers = [Some(configuration.s3.transfer), Some(configuration.gcs.transfer)];
        let azure = configuration.azure.as_ref().map(|azure| azure.transfer);
        let memory =
            |transfer: TransferConfiguration| transfer.part_size.saturating_mul(transfer.parts_in_flight as u64);
        let bytes_max = transfers.into_iter().chain([azure]).flatten().map(memory).max().unwrap_or(0);
        let metrics = Metrics::default();
        metrics.register(registry.sub_registry_with_prefix("object_storage"));
        Self { parts_in_flight: PartsInFlight::new(bytes_max), metrics }
    }

    /// Opens one of them. `name` is that of its part of the read cache.
    pub(crate) fn open(
        &self,
        configuration: &StorageConfiguration,
        url: &ObjectUrl,
        staging: &Path,
        (name, registry): (&'static str, &mut Registry),
    ) -> Result<Opened, BucketError> {
        let config = self.config(configuration, url);
        let store = ObjectStore::open(&config, staging, self.metrics.clone())
            .map_err(|source| BucketError::Open { url: url.clone(), source: Box::new(source) })?;
        let store: Arc<dyn BlobStore> = Arc::new(store);
        let Some(ReadCacheConfiguration { folder, size_max }) = &configuration.read_cache else {
            return Ok((store, None));
        };
        let folder = folder.join(name);
        // The two stores share what there is: their content does not mix, because who may read it differs.
        let (cache, fetching) = ReadCache::open(store, &folder, size_max / 2)
            .map_err(|source| BucketError::ReadCache { folder: folder.clone(), source })?;
        registry.register_collector(Box::new(ReadCacheMetrics::new(name, Arc::clone(&cache))));
        Ok((cache, Some(fetching)))
    }

    fn config(&self, configuration: &StorageConfiguration, url: &ObjectUrl) -> ObjectStoreConfig {
        let base = ObjectStoreConfig::new(url.to_string());
        let config = match url.scheme() {
            ObjectScheme::S3 => s3(base, url.bucket(), &configuration.s3),
            ObjectScheme::Gcs => gcs(base, &configuration.gcs),
            ObjectScheme::Azure => match &configuration.azure {
                Some(configuration) => azure(base, configuration),
                None => base,
            },
        };
        let is_plain = |endpoint: &Option<String>| endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        ObjectStoreConfig {
            // Whoever has written http:// has meant it.
            allow_http: is_plain(&config.endpoint) || is_plain(&config.public_endpoint),
            parts_in_flight: self.parts_in_flight.clone(),
            ..config
        }
    }
}

/// Tries to read and write a bucket.
pub(crate) async fn probe(configuration: &StorageConfiguration, url: &ObjectUrl) -> Result<(), BucketError> {
    let buckets = Buckets::new(configuration, &mut Registry::default());
    let config = buckets.config(configuration, url);
    // Nothing is staged in it: the store wants one.
    let staging = std::env::temp_dir().join(format!("entrepot-probe-{}", std::process::id()));
    let open = |source| BucketError::Open { url: url.clone(), source: Box::new(source) };
    let store = ObjectStore::open(&config, &staging, buckets.metrics).map_err(open)?;
    let probed =
        store.probe().await.map_err(|source| BucketError::Probe { url: url.clone(), source: Box::new(source) });
    let _ = std::fs::remove_dir_all(&staging);
    probed
}

fn s3(base: ObjectStoreConfig, bucket: &str, s3: &S3Configuration) -> ObjectStoreConfig {
    let keys = s3.credentials.clone();
    let config = transferred(base, &s3.transfer);
    let addressed = |endpoint: &Option<String>| {
        let endpoint = endpoint.as_ref()?;
        // The host of a bucket is below that of the endpoint.
        Some(if s3.is_path_style { endpoint.clone() } else { endpoint.replacen("://", &format!("://{bucket}."), 1) })
    };
    ObjectStoreConfig {
        endpoint: addressed(&s3.endpoint),
        public_endpoint: addressed(&s3.public_endpoint),
        region: Some(s3.region.clone()),
        access_key_id: keys.as_ref().map(|keys| keys.access_key_id.clone()),
        secret_access_key: keys.as_ref().map(|keys| keys.secret_access_key.clone()),
        session_token: keys.and_then(|keys| keys.session_token),
        address_style: if s3.is_path_style { AddressStyle::Path } else { AddressStyle::VirtualHost },
        ca: s3.ca.clone(),
        checksum: match s3.checksum {
            ObjectChecksum::None => None,
            ObjectChecksum::Sha256 => Some(Checksum::Sha256),
        },
        conditional_put: s3.has_conditional_put,
        part_growth: if s3.region == REGION_OF_EQUAL_PARTS {
            PartGrowth::Equal { blob_size_max: config.part_size.saturating_mul(PART_COUNT_MAX.into()) }
        } else {
            config.part_growth
        },
        ..config
    }
}

fn gcs(base: ObjectStoreConfig, gcs: &GcsConfiguration) -> ObjectStoreConfig {
    ObjectStoreConfig {
        endpoint: gcs.endpoint.clone(),
        service_account_key: gcs.credentials.clone(),
        ..transferred(base, &gcs.transfer)
    }
}

fn azure(base: ObjectStoreConfig, azure: &AzureConfiguration) -> ObjectStoreConfig {
    ObjectStoreConfig {
        endpoint: azure.endpoint.clone(),
        access_key_id: Some(azure.account.clone()),
        secret_access_key: azure.access_key.clone(),
        ..transferred(base, &azure.transfer)
    }
}

fn transferred(base: ObjectStoreConfig, transfer: &TransferConfiguration) -> ObjectStoreConfig {
    let timeouts = Timeouts { answer: transfer.timeout, silence: transfer.timeout, ..base.timeouts };
    ObjectStoreConfig { timeouts, retry_for: transfer.retry_for, part_size: transfer.part_size, ..base }
}
