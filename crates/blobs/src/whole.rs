//! Small content that is held whole in memory, and verified there, before any of it is stored.
//!
//! An [`Ingest`](crate::Ingest) stages what it receives as it comes, which is a job on the blocking pool for each of its
//! steps: begin, write, publish, close. For a few KiB the steps cost more than the bytes. [`Whole`] skips the stage: what
//! was verified in memory is written and published in one job. It is not for anything that somebody was promised to be
//! kept before it is whole.

use bytes::Bytes;
use entrepot_oci::Digest;

use crate::CommitError;

/// Verified content in memory, to be [put](crate::BlobStore::put) into a store.
///
/// - It has the digest that it says: there is no other way to make one than [`verify`](Self::verify).
#[derive(Clone, Debug)]
pub struct Whole {
    digest: Digest,
    frames: Vec<Bytes>,
    size: u64,
}

impl Whole {
    /// Takes `frames`, in this order, when they are what `expected` says. Hashes on the thread that asks, so it is for what
    /// is small: at most [`WHOLE_BYTES_MAX`](crate::WHOLE_BYTES_MAX).
    ///
    /// # Errors
    /// [`CommitError::Mismatch`] when they are not.
    pub fn verify(mut frames: Vec<Bytes>, expected: &Digest) -> Result<Self, CommitError> {
        // A write of nothing looks like a disk that takes nothing.
        frames.retain(|frame| !frame.is_empty());
        let mut hasher = expected.algorithm().hasher();
        for frame in &frames {
            hasher.update(frame);
        }
        let actual = hasher.finish();
        if actual != *expected {
            return Err(CommitError::Mismatch { expected: expected.clone(), actual });
        }
        let size = frames.iter().map(|frame| frame.len() as u64).sum();
        Ok(Self { digest: actual, frames, size })
    }

    /// What it is.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The content, in order.
    pub fn frames(&self) -> &[Bytes] {
        &self.frames
    }

    /// How many bytes that is.
    pub const fn size(&self) -> u64 {
        self.size
    }
}
