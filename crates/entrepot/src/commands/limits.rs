//! The limits of the commands.

use std::time::Duration;

/// Bytes of an answer that is read as a whole; a larger one is none of ours.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one line of an answer that comes in lines.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;

/// How long connecting to a server may take: it is on this machine or near.
pub(crate) const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long the head of an answer may take: room may be made for many minutes before there is something to tell.
pub(crate) const ANSWER_PATIENCE: Duration = Duration::from_hours(1);

/// How long fills and writes may take to end when the folders were opened by the command itself.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// Entries of the cache that are asked for at a time.
pub(crate) const PAGE_ENTRIES: usize = 500;
