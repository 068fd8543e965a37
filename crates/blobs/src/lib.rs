//! Content-addressed bytes: how a blob comes into a store, and how it is read.
//!
//! What is here: the [`BlobStore`] contract, the [`Ingest`] through which a blob is made, [`Whole`] for one that is small,
//! the [`Growing`] handle with which others read it meanwhile, the [`BlobReader`] of what is stored, a [`FilesystemStore`] in the layout of
//! the reference registry, and a [`MemoryStore`]. What is not here: who may read a blob, which repository holds it,
//! when it is garbage, and HTTP.
//!
//! The key decision: only what was verified becomes a blob. [`Ingest::commit`] verifies and publishes durably; the one
//! other way, [`BlobStore::put`], takes a type that cannot be made without verifying. An upload of a client and a fill from
//! another registry take the same path, and so do their readers.

mod adopt;
mod blocking;
mod buffers;
mod content;
mod error;
mod filesystem;
mod growing;
mod ingest;
mod limits;
mod memory;
mod read_cache;
mod reader;
mod region;
mod signed_url;
mod stage;
mod store;
mod stream;
#[cfg(feature = "suite")]
pub mod suite;
mod whole;

pub use adopt::adopt_copy;
pub use content::{Content, LocalFile, digest_of, rehash};
pub use error::Error;
pub use filesystem::{FilesystemStore, StagedFile, Staging};
pub use growing::{FollowError, Growing};
pub use ingest::{AbsorbError, CommitError, Ingest};
pub use limits::{REGION_BYTES_MAX, STAGE_ID_LENGTH_MAX, WAITING_BYTES_MAX, WHOLE_BYTES_MAX};
pub use memory::MemoryStore;
pub use read_cache::{Fetching, ReadCache, ReadCacheState};
pub use reader::BlobReader;
pub use region::{Piece, Region};
pub use signed_url::SignedUrl;
pub use stage::{Parked, Stage, StageId, StageIdError};
pub use store::{BlobStore, Staged};
pub use stream::{BlobStream, StreamError};
pub use whole::Whole;
