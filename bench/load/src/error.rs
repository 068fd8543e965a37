//! What ends a run. A run with a failure in it measures nothing, so there is no going on after one.

use std::io;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such command.
    #[error("{found:?} is no command: pull, push, images, tags or list")]
    Command { found: String },
    /// An option is missing or cannot be read.
    #[error("--{name} needs {wanted}")]
    Option { name: &'static str, wanted: &'static str },
    /// The socket failed.
    #[error("{doing}: {source}")]
    Socket { doing: &'static str, source: io::Error },
    /// The answer was not HTTP as this client knows it.
    #[error("an answer that cannot be read: {what}")]
    Answer { what: &'static str },
    /// The answer was not the one that the work is about.
    #[error("{request}: status {found}, expected {expected}")]
    Status { request: String, found: u16, expected: u16 },
    /// The same, where all requests are the same.
    #[error("the server answered {line:?}")]
    Refused { line: String },
    /// The bodies had another length.
    #[error("{request}: bodies of {found} bytes, expected {expected}")]
    Length { request: String, found: u64, expected: u64 },
    /// The list had another length.
    #[error("{found} tags listed, expected {expected}")]
    Tags { found: usize, expected: usize },
    /// The server's share of the processor could not be read.
    #[error("the processor time of process {pid}: {source}")]
    Processor { pid: u32, source: io::Error },
}

impl Error {
    /// Says what was being done when a socket failed.
    pub(crate) fn socket(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Socket { doing, source }
    }
}
