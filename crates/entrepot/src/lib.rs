//! The server as a library, so that the binary and the tests put it together in the same way.

pub mod config;
pub mod telemetry;

mod address;
mod assemble;
mod authority;
mod certificate;
mod cli;
mod commands;
mod database;
mod descriptors;
mod metadata_metrics;
mod object_storage;
mod peers;
mod read_cache_metrics;
mod redirects;
mod reload;
mod series;
mod serve;
mod socket;
mod stores;
mod told;

pub use address::{AddressError, ClientAddress, ServerUrl};
pub use assemble::{AssembleError, Assembly, Blueprint, assemble};
pub use authority::AccessBlueprint;
pub use certificate::CertificateError;
pub use cli::{
    ApiArguments, CacheCommand, ClientConfigArguments, ClientKind, Command, CommandLine, EvictArguments,
    MigrateArguments, NewPasswordArguments, NewTokenArguments, OneReference, TokenCommand, UserCommand, WarmArguments,
};
pub use commands::{
    ApiError, CommandError, MigrateError, Outcome, PromptError, Screen, UserError, UsersFileError, run,
};
pub use database::DatabaseError;
pub use object_storage::BucketError;
pub use redirects::redirects;
pub use serve::{ServeError, serve};
pub use stores::Places;
pub use told::told;
