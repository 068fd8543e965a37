//! Content that is still being taken in, as its other readers see it.
//!
//! The one rule: the last byte received is held back until the digest has been verified. So whoever reads a corrupt
//! transfer sees it end too early, and never has all of it.

use std::sync::Arc;

use entrepot_oci::{ByteRange, Digest};
use tokio::sync::watch;

use crate::stream::{Extent, Reading};
use crate::{BlobStream, Content, Piece};

/// A handle on the growing content of an [`Ingest`](crate::Ingest). It does not keep the ingest alive.
#[derive(Clone, Debug)]
pub struct Growing {
    content: Arc<dyn Content>,
    progress: watch::Receiver<Progress>,
}

impl Growing {
    pub(crate) const fn new(content: Arc<dyn Content>, progress: watch::Receiver<Progress>) -> Self {
        Self { content, progress }
    }

    /// How many bytes are staged.
    pub fn received(&self) -> u64 {
        self.progress.borrow().received
    }

    /// How many bytes, from the first on, may be read now.
    pub fn readable(&self) -> u64 {
        self.progress.borrow().readable()
    }

    /// The content, or a range of it, as it grows.
    ///
    /// The stream ends only when the content was verified and every byte that was asked for was delivered. It does not
    /// wait for the blob to be durable: its reader was promised the right bytes, not that they stay. When the ingest fails,
    /// or turns out to end inside of the range, the stream ends in an error.
    pub fn stream(&self, range: Option<ByteRange>) -> BlobStream {
        self.reading(range).into_stream()
    }

    /// The content from `first` on as it grows, however long it will be.
    pub fn stream_from(&self, first: u64) -> BlobStream {
        let extent = Extent::Growing { progress: self.progress.clone(), end: None };
        Reading::new(Arc::clone(&self.content), first, extent).into_stream()
    }

    /// The same for those who can send parts of files: content that grows in a file is not read.
    pub fn pieces(&self, range: Option<ByteRange>) -> BlobStream<Piece> {
        self.reading(range).into_pieces()
    }

    fn reading(&self, range: Option<ByteRange>) -> Reading {
        let end = range.map(|range| range.last().saturating_add(1));
        let position = range.map_or(0, ByteRange::first);
        let extent = Extent::Growing { progress: self.progress.clone(), end };
        Reading::new(Arc::clone(&self.content), position, extent)
    }

    /// Waits until the byte at `offset` may be read.
    ///
    /// # Errors
    /// [`FollowError::Beyond`] when the content ended before it; the others when the ingest failed.
    pub async fn wait_for(&self, offset: u64) -> Result<(), FollowError> {
        let progress = self.wait(|progress| progress.readable() > offset || progress.is_complete()).await?;
        if progress.readable() > offset { Ok(()) } else { Err(FollowError::Beyond { size: progress.received }) }
    }

    /// Waits until the content is committed and returns its size in bytes.
    ///
    /// # Errors
    /// When the ingest failed.
    pub async fn finished(&self) -> Result<u64, FollowError> {
        self.wait(Progress::is_complete).await.map(|progress| progress.received)
    }

    async fn wait(&self, mut is_reached: impl FnMut(&Progress) -> bool) -> Result<Progress, FollowError> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| progress.failure().is_some() || is_reached(progress)).await;
        let reached = reached.map_err(|_| FollowError::Abandoned)?.clone();
        reached.failure().map_or(Ok(reached.clone()), |error| Err(error.clone()))
    }
}

/// How far an ingest has come.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) received: u64,
    pub(crate) state: State,
}

/// What became of an ingest.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Growing,
    /// Verified, and about to be published: `received` is the size.
    Verified,
    /// Verified and published.
    Complete,
    Failed(FollowError),
}

impl Progress {
    pub(crate) const fn readable(&self) -> u64 {
        match self.state {
            State::Verified | State::Complete => self.received,
            State::Growing | State::Failed(_) => self.received.saturating_sub(1),
        }
    }

    pub(crate) const fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    pub(crate) const fn failure(&self) -> Option<&FollowError> {
        match &self.state {
            State::Failed(error) => Some(error),
            State::Growing | State::Verified | State::Complete => None,
        }
    }
}

/// Why growing content cannot be read to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FollowError {
    /// The ingest was dropped or parked before it was committed.
    #[error("the transfer was given up")]
    Abandoned,
    /// What was received is not what was asked for.
    #[error("the content received for {expected} is {actual}")]
    Mismatch {
        /// The digest that was to be received.
        expected: Digest,
        /// The digest of what was received.
        actual: Digest,
    },
    /// What was received could not be stored. Whoever committed it knows why.
    #[error("the content received could not be stored")]
    NotStored,
    /// The content ended before the byte that was waited for.
    #[error("the content ends after {size} bytes")]
    Beyond {
        /// The size of the content in bytes.
        size: u64,
    },
}
