//! The database that replicas share: from what the configuration says of it to stores of metadata.

use std::sync::Arc;

use entrepot_metadata::MetadataStore;
use entrepot_metadata_postgres::{OpenError, PostgresConfig, PostgresStore};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prometheus_client::registry::Registry;
use secrecy::SecretString;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::config::PostgresConfiguration;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the schema {schema} of the database cannot be used")]
pub struct DatabaseError {
    /// The schema.
    schema: String,
    /// What is wrong.
    #[source]
    source: Box<OpenError>,
}

/// Opens the schema of one store, and registers what it counts below `name`.
pub(crate) async fn open(
    configuration: &PostgresConfiguration,
    schema: String,
    (name, registry): (&'static str, &mut Registry),
) -> Result<Arc<dyn MetadataStore>, DatabaseError> {
    let store = connect(configuration, schema).await?;
    store.metrics().register(registry.sub_registry_with_prefix("database").sub_registry_with_prefix(name));
    Ok(Arc::new(store))
}

/// The store in a schema, which is made when it is not there.
pub(crate) async fn connect(
    configuration: &PostgresConfiguration,
    schema: String,
) -> Result<PostgresStore, DatabaseError> {
    PostgresStore::open(&config(configuration, schema.clone()))
        .await
        .map_err(|source| DatabaseError { schema, source: Box::new(source) })
}

/// Tries to connect; nothing is made.
pub(crate) async fn probe(configuration: &PostgresConfiguration) -> Result<(), DatabaseError> {
    let schema = configuration.registry_schema();
    let probed = PostgresStore::probe_connection(&config(configuration, schema.clone())).await;
    probed.map_err(|source| DatabaseError { schema, source: Box::new(source) })
}

fn config(configuration: &PostgresConfiguration, schema: String) -> PostgresConfig {
    let authorities = configuration.ca.as_deref().unwrap_or_default();
    PostgresConfig {
        url: url(configuration),
        password: configuration.password.clone(),
        // The configuration has read them before.
        authorities: CertificateDer::pem_slice_iter(authorities).filter_map(Result::ok).collect(),
        // The limit is for both stores together.
        connections_max: (configuration.connections_max / 2).max(1),
        acquire_timeout: configuration.acquire_timeout,
        statement_timeout: configuration.statement_timeout,
        ..PostgresConfig::new(SecretString::from(""), schema)
    }
}

/// The URL without the password, which may have characters in it that are no part of one.
fn url(configuration: &PostgresConfiguration) -> SecretString {
    let PostgresConfiguration { hosts, user, database, tls, .. } = configuration;
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let (user, hosts, database) = (encoded(user), hosts.join(","), encoded(database));
    format!("postgres://{user}@{hosts}/{database}?sslmode={}", tls.as_str()).into()
}
