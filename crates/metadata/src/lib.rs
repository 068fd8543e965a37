//! Who has what: repositories, manifests, tags, blob membership and uploads.
//!
//! This crate is the contract ([`MetadataStore`]) and the suite that every store runs; the stores are crates of their
//! own. It knows no SQL driver, no blob store and no HTTP.

mod error;
mod rows;
mod store;
#[cfg(feature = "suite")]
pub mod suite;

pub use error::Error;
pub use rows::{
    BlobLink, DeletedManifest, Entry, EntryKey, Evicted, Eviction, Forgotten, ManifestPush, ManifestRow, MissingOr,
    Page, Pin, PushOutcome, ReferenceCheck, TagCondition, TagRow, Timestamp, Totals, UploadId, UploadIdError,
    UploadRow, Use,
};
pub use store::MetadataStore;
