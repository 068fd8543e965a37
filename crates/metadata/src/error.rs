//! What can go wrong in a store of metadata.

/// A failure of the store. Absence is never one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository has as many upload sessions as it may have.
    #[error("the repository has {open} unfinished uploads, as many as it may have")]
    TooManyUploads {
        /// How many there are.
        open: usize,
    },
    /// What was to be kept or told is longer than a store takes; nothing happened.
    #[error("{what} of {length} bytes is longer than the {length_max} that the metadata store takes")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The greatest length that would have been taken.
        length_max: usize,
    },
    /// The store is busy or cannot be reached; the same call may succeed later. Every outage becomes this, in bounded time.
    #[error("the metadata store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The disk under the store is full.
    #[error("no space is left for the metadata store")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store holds something that it can not have written.
    #[error("the metadata store is damaged: {what}")]
    Corrupt {
        /// What was found.
        what: String,
    },
    /// Any other failure of the back end.
    #[error("the metadata store failed")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Refuses what is longer than `length_max` bytes.
    pub const fn check_length(what: &'static str, length: usize, length_max: usize) -> Result<(), Self> {
        if length > length_max { Err(Self::TooLong { what, length, length_max }) } else { Ok(()) }
    }
}
