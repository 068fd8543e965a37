//! The server as a library, so that the binary and the tests put it together in the same way.

pub mod config;
pub mod telemetry;

mod assemble;
mod cli;
mod descriptors;
mod serve;
mod told;

pub use assemble::{AssembleError, Assembly, Blueprint, assemble};
pub use cli::{Command, CommandLine};
pub use serve::{ServeError, serve};
pub use told::told;
