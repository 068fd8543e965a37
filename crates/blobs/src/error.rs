//! What can go wrong in a store.

use std::io;
use std::path::{Path, PathBuf};

use entrepot_oci::Digest;

use crate::{StageId, StreamError};

/// A failure of a store: never "not there", which the contract answers with `None` or `false`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system, or the quota on it, has no room left.
    #[error("no space left for {}", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
        /// The answer of the file system.
        source: io::Error,
    },
    /// The file system refused or failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried, as a verb with its object.
        operation: &'static str,
        /// Where it was tried.
        path: PathBuf,
        /// The answer of the file system.
        source: io::Error,
    },
    /// The staged bytes could not be read again, which takes up a stage or verifies it by another algorithm.
    #[error("cannot read what is staged as {stage}")]
    Unreadable {
        /// The stage.
        stage: StageId,
        /// The answer of the file system.
        source: io::Error,
    },
    /// The stage was discarded, or begun anew, by somebody else while an ingest held it.
    #[error("the stage {stage} was discarded meanwhile")]
    Discarded {
        /// The stage.
        stage: StageId,
    },
    /// The work was begun on the blocking pool and did not come to its end: the runtime shuts down, or it panicked.
    #[error("interrupted while trying to {operation}")]
    Interrupted {
        /// What was being done.
        operation: &'static str,
    },
    /// The store is reached over a network, and gave no usable answer: it is away, overloaded, or took too long. The same may
    /// succeed later, and what was asked for may have happened.
    #[error("cannot {operation} {key}: the store did not answer as it should")]
    Unavailable {
        /// What was tried, as a verb with its object.
        operation: &'static str,
        /// The key that it was tried on. It holds no secret.
        key: String,
        /// What came instead of an answer, without secrets.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is reached over a network, and refused in a way that will not change by itself: credentials, rights, a bucket that is
    /// not there, or an answer that makes no sense.
    #[error("cannot {operation} {key}: the store refused")]
    Refused {
        /// What was tried, as a verb with its object.
        operation: &'static str,
        /// The key that it was tried on. It holds no secret.
        key: String,
        /// The answer, without secrets.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The blob that was to be adopted could not be read from its store.
    #[error("cannot read {digest} from the store that it comes from")]
    Source {
        /// The blob.
        digest: Digest,
        /// Why its bytes did not come.
        source: StreamError,
    },
    /// The blob that was to be adopted is not what its digest says.
    #[error("the copy of {expected} in the store that it comes from is {actual}")]
    Corrupt {
        /// The blob that was asked for.
        expected: Digest,
        /// What was read.
        actual: Digest,
    },
}

impl Error {
    /// Whether room on the disk, and nothing else, is what was missing.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Whether a store that is reached over a network is away for now: what was tried may succeed later.
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// What the file system answered to `operation` on `path`.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
            _ => Self::Io { operation, path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_room_is_full() {
        let full = |kind| Error::io("write", Path::new("/blobs"), io::Error::from(kind)).is_full();
        assert!(full(io::ErrorKind::StorageFull));
        assert!(full(io::ErrorKind::QuotaExceeded));
        assert!(!full(io::ErrorKind::PermissionDenied));
        let denied = Error::io("write", Path::new("/blobs"), io::ErrorKind::PermissionDenied.into());
        assert_eq!(denied.to_string(), "cannot write /blobs");
    }
}
