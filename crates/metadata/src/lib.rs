//! Who has what: repositories, manifests, tags, blob membership and uploads.
//!
//! This crate is the contract ([`MetadataStore`]) and the suite that every store runs; the stores are crates of their
//! own. It knows no SQL driver, no blob store and no HTTP.

mod audience;
mod clock;
mod credentials;
mod error;
pub mod limits;
mod rows;
mod shared;
mod store;
#[cfg(feature = "suite")]
pub mod suite;

pub use audience::Audience;
pub use clock::{Clock, SystemClock};
pub use credentials::{CredentialKind, CredentialRow, SigningKeyRow};
pub use error::Error;
pub use rows::{
    BlobLink, Deletion, Entry, EntryKey, Evicted, Eviction, Forgotten, ManifestPush, ManifestRow, MissingOr, Page, Pin,
    ProtectedTags, PushOutcome, ReferenceCheck, TagCondition, TagRow, Timestamp, Totals, UploadId, UploadIdError,
    UploadRow, Use,
};
pub use shared::{Announcement, Lease, LeaseClaim, LeaseOutcome, UploadClaim, UploadProgress, UploadState};
pub use store::MetadataStore;
