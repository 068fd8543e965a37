//! The shared store of metadata: one PostgreSQL database for any number of replicas.
//!
//! It is the [`entrepot_metadata::MetadataStore`] of a registry that runs as many processes. What a request asks is one statement, and
//! what it writes is one function of the schema (`migrations`), so each is one way to the server and one transaction.
//! `connections` sends them, tries again what may be tried again, and makes an outage of everything else in bounded time; `listener` hears
//! what other replicas announce; `schema` brings the database to this version.
//!
//! The modules named after what they hold (`content`, `uploads`, `access`, `sharing`) or do (`push`, `removal`) are functions from
//! connections and arguments to rows.

mod access;
mod config;
mod connections;
mod content;
mod failure;
mod import;
mod limits;
mod listener;
mod metrics;
mod open;
mod push;
mod removal;
mod rows;
mod schema;
mod sharing;
mod store;
mod tls;
mod uploads;

pub use config::PostgresConfig;
pub use metrics::Metrics;
pub use open::OpenError;
pub use store::PostgresStore;
