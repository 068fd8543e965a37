//! The clients of the three providers.

use std::sync::Arc;

use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use secrecy::ExposeSecret as _;

use crate::bucket::Bucket;
use crate::config::{AddressStyle, Checksum, ConfigError, ObjectStoreConfig, Provider, StorePlace};
use crate::metrics::Metrics;
use crate::traffic::Connector;

/// The bucket that `config` describes. Nothing is asked of it yet.
pub(crate) fn bucket(config: &ObjectStoreConfig, place: &StorePlace, metrics: &Metrics) -> Result<Bucket, ConfigError> {
    let connector = Connector::new(config.ca.as_deref(), config.timeouts, metrics.clone())?;
    let refused = |error: object_store::Error| ConfigError::Provider(error.to_string());
    let (identity, conditional_put) = (place.identity.clone(), config.conditional_put);
    Ok(match place.provider {
        Provider::S3 => {
            let client = |endpoint: Option<&String>| s3(config, place, &connector, endpoint).map_err(refused);
            let store = Arc::new(client(config.endpoint.as_ref())?);
            let signer: Arc<dyn Signer> = match &config.public_endpoint {
                Some(endpoint) => Arc::new(client(Some(endpoint))?),
                None => Arc::clone(&store) as Arc<dyn Signer>,
            };
            Bucket::new(store, Some(signer), identity, conditional_put)
        }
        Provider::Google => {
            let store = Arc::new(google(config, place, connector).map_err(refused)?);
            let signer = Arc::clone(&store) as Arc<dyn Signer>;
            Bucket::new(store, Some(signer), identity, conditional_put)
        }
        Provider::Azure => {
            let store = Arc::new(azure(config, place, connector).map_err(refused)?);
            let signer = Arc::clone(&store) as Arc<dyn Signer>;
            Bucket::new(store, Some(signer), identity, conditional_put)
        }
    })
}

fn s3(
    config: &ObjectStoreConfig,
    place: &StorePlace,
    connector: &Connector,
    endpoint: Option<&String>,
) -> object_store::Result<AmazonS3> {
    let (key, secret) = (&config.access_key_id, &config.secret_access_key);
    let builder = match (key, secret) {
        (Some(key), Some(secret)) => {
            AmazonS3Builder::new().with_access_key_id(key).with_secret_access_key(secret.expose_secret())
        }
        _ => AmazonS3Builder::from_env(),
    };
    let conditional = if config.conditional_put { S3ConditionalPut::ETagMatch } else { S3ConditionalPut::Disabled };
    let mut builder = builder
        .with_bucket_name(&place.bucket)
        .with_allow_http(config.allow_http)
        .with_virtual_hosted_style_request(config.address_style == AddressStyle::VirtualHost)
        .with_unsigned_payload(config.unsigned_payload)
        .with_conditional_put(conditional)
        // One request for each object is what every store understands.
        .with_disable_bulk_delete(true)
        .with_retry(retries(config))
        .with_client_options(options(config))
        .with_http_connector(connector.clone());
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &config.region {
        builder = builder.with_region(region);
    }
    if let Some(token) = &config.session_token {
        builder = builder.with_token(token.expose_secret());
    }
    match config.checksum {
        Some(Checksum::Sha256) => builder = builder.with_checksum_algorithm(object_store::aws::Checksum::SHA256),
        Some(Checksum::Crc64Nvme) => builder = builder.with_checksum_algorithm(object_store::aws::Checksum::CRC64NVME),
        None => {}
    }
    builder.build()
}

fn google(
    config: &ObjectStoreConfig,
    place: &StorePlace,
    connector: Connector,
) -> object_store::Result<object_store::gcp::GoogleCloudStorage> {
    let mut builder = match &config.service_account_key {
        Some(key) => GoogleCloudStorageBuilder::new().with_service_account_key(key.expose_secret()),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    builder
        .with_bucket_name(&place.bucket)
        .with_retry(retries(config))
        .with_client_options(options(config))
        .with_http_connector(connector)
        .build()
}

fn azure(
    config: &ObjectStoreConfig,
    place: &StorePlace,
    connector: Connector,
) -> object_store::Result<object_store::azure::MicrosoftAzure> {
    let mut builder = match (&config.access_key_id, &config.secret_access_key) {
        (Some(account), Some(key)) => {
            MicrosoftAzureBuilder::new().with_account(account).with_access_key(key.expose_secret())
        }
        (Some(account), None) => MicrosoftAzureBuilder::from_env().with_account(account),
        _ => MicrosoftAzureBuilder::from_env(),
    };
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    builder
        .with_container_name(&place.bucket)
        .with_allow_http(config.allow_http)
        .with_retry(retries(config))
        .with_client_options(options(config))
        .with_http_connector(connector)
        .build()
}

fn options(config: &ObjectStoreConfig) -> ClientOptions {
    ClientOptions::new().with_allow_http(config.allow_http)
}

fn retries(config: &ObjectStoreConfig) -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: config.retries_max, retry_timeout: config.retry_for }
}
