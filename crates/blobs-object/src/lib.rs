//! Blobs on object storage: S3 and what speaks it, Google Cloud Storage, Azure.
//!
//! What is here: an [`ObjectStore`] that keeps the contract of [`entrepot_blobs::BlobStore`], its [`ObjectStoreConfig`] and its
//! [`Metrics`]. What is not here: which repository holds a blob, who is redirected to a signed URL, and the database that a
//! [`Parked`](entrepot_blobs::Parked) goes into.
//!
//! The key decision: nothing is copied or renamed to become a blob. Content whose digest is known before it comes, or that fits into
//! one part, is uploaded to where the reference registry has it. What became a multipart upload before anybody knew its digest stays at
//! the key where it was begun, and a small *pointer*, written once, names it. Nothing is decided by a list.

mod bucket;
mod cleanup;
mod config;
mod connect;
mod content;
mod failure;
mod kept;
mod layout;
mod limits;
mod locations;
mod metrics;
mod parts_in_flight;
mod schedule;
mod stage;
mod stages;
mod store;
mod traffic;
mod uploading;

pub use config::{AddressStyle, Checksum, ConfigError, ObjectStoreConfig, PartGrowth, Timeouts};
pub use limits::{PART_BYTES_DEFAULT, PART_BYTES_MIN, PART_COUNT_MAX};
pub use metrics::Metrics;
pub use parts_in_flight::PartsInFlight;
pub use store::{ObjectStore, OpenError};

#[cfg(test)]
mod tests;
