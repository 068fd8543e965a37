//! One server for all tests, and stores in it.

use std::sync::LazyLock;
use std::time::Duration;

use entrepot_metadata_postgres::{PostgresConfig, PostgresStore};
use entrepot_testkit::stores::Postgres;
use secrecy::SecretString;

/// The server. Each store of the suite keeps its connections until its group of cases has ended.
pub(crate) static SERVER: LazyLock<Postgres> =
    LazyLock::new(|| Postgres::with().setting("max_connections", "600").start());

/// How to open a store, with limits that a test can wait for.
pub(crate) fn config(url: &str, schema: &str) -> PostgresConfig {
    PostgresConfig {
        connections_max: 8,
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(20),
        ..PostgresConfig::new(SecretString::from(url), schema)
    }
}

/// A store in a new schema of a database.
pub(crate) async fn store(url: &str, schema: &str) -> PostgresStore {
    PostgresStore::open(&config(url, schema)).await.unwrap()
}
