//! The embedded store of metadata: one `SQLite` file, one writer with grouped commits, many readers.
//!
//! It is the [`entrepot_metadata::MetadataStore`] of a registry that runs as one process. The file is in write-ahead log mode,
//! so look-ups and writes are in nobody's way: look-ups run at once on the thread that asks (`readers`), writes go to one
//! thread that commits everything that waits for it with one sync of the disk (`writer`). A store whose file is its process's alone
//! remembers what pulls look up (`remembered`), between the commits that may change it (`changes`).
//!
//! The modules named after what they hold (`repositories`, `blobs`, `manifests`, `tags`, `uploads`, `entries`, `pins`, `credentials`,
//! `signing_keys`) or do (`push`, `protection`, `uses`, `eviction`) are plain functions from a connection and arguments to rows; transactions are none of their business.
//! Leases, notes, announcements and whose an upload is live in memory (`in_process`): they end with the process.

mod blobs;
mod changes;
mod credentials;
mod entries;
mod eviction;
mod export;
mod failure;
mod in_process;
mod limits;
mod manifests;
mod open;
mod pins;
mod protection;
mod push;
mod query;
mod readers;
mod remembered;
mod repositories;
mod schema;
mod signing_keys;
mod store;
mod tags;
mod totals;
mod uploads;
mod uses;
mod writer;

pub use open::OpenError;
pub use remembered::MemoryCounts;
pub use store::SqliteStore;
pub use writer::WriteCounts;
