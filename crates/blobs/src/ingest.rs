//! The one way to make a blob: bytes are staged, hashed and counted as they pass, and a commit verifies them.
//!
//! Three things go on side by side while a source is fast: the next batch is received ([`Ingest::absorb`]), the one
//! before it is written ([`batch`]), and what was written is hashed ([`hashing`]). Each byte is taken through once, in
//! order, and each stage waits for the one behind it, so that what is held in memory has a bound.

mod batch;
mod hashing;

use std::sync::Arc;

use bytes::Bytes;
use entrepot_oci::{Digest, Hasher};
use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use self::batch::{Waiting, write_batch};
use self::hashing::Hashing;
use crate::growing::{Progress, State};
use crate::{Error, FollowError, Growing, Parked, Stage, StageId, blocking};

/// A staged write on its way to be a blob.
///
/// Consumed by [`commit`](Self::commit), which makes the blob, or by [`park`](Self::park), which keeps the staged
/// bytes for later. Dropped, it discards them, and whoever reads the [`Growing`] content gets an error.
///
/// Each method may be cancelled by dropping its future. What a cancelled [`absorb`](Self::absorb) had taken from its
/// source is still staged by whatever is called next.
#[derive(Debug)]
pub struct Ingest {
    id: StageId,
    stage: Arc<dyn Stage>,
    waiting: Waiting,
    writing: Writing,
    hashing: Hashing,
    progress: Arc<watch::Sender<Progress>>,
    /// Whether the staged bytes are no longer this ingest's to discard.
    is_settled: bool,
}

/// What became of the batch before the one that waits.
#[derive(Debug)]
enum Writing {
    Idle,
    Running(JoinHandle<Result<(), Error>>),
    /// The job did not come to its end: nobody knows how much it wrote.
    Lost,
}

impl Ingest {
    /// An ingest into `stage`, for the store that owns it: `offset` bytes are there, and `hasher` has taken them.
    pub fn new(id: StageId, stage: Arc<dyn Stage>, offset: u64, hasher: Hasher) -> Self {
        let progress = Arc::new(watch::Sender::new(Progress { received: offset, state: State::Growing }));
        let hashing = Hashing::new(hasher);
        Self { id, stage, waiting: Waiting::default(), writing: Writing::Idle, hashing, progress, is_settled: false }
    }

    /// How many bytes are staged.
    pub fn offset(&self) -> u64 {
        self.progress.borrow().received
    }

    /// A handle with which others read the content while it grows.
    pub fn growing(&self) -> Growing {
        Growing::new(self.stage.content(), self.progress.subscribe())
    }

    /// Takes everything that `source` yields and returns how many bytes that was.
    ///
    /// Bytes are written in batches while the next are received: as soon as one batch is written, and the hash is not
    /// far behind, the next begins with whatever has come, so that a slow source is seen by followers at once and a
    /// fast one is written in large pieces. While [`WAITING_BYTES_MAX`](crate::WAITING_BYTES_MAX) wait, nothing is
    /// taken from the source.
    ///
    /// When it returns, with or without an error, everything received before is staged.
    ///
    /// # Errors
    /// [`AbsorbError::TooLarge`] when the whole stage would get larger than `limit` bytes.
    pub async fn absorb<S, E>(&mut self, mut source: S, limit: u64) -> Result<u64, AbsorbError<E>>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
    {
        self.drain().await.map_err(AbsorbError::Store)?;
        let before = self.offset();
        let mut total = before;
        let ended = loop {
            self.start();
            tokio::select! {
                biased;
                // First, so that a source which always has more cannot keep what it yielded from being written.
                done = self.advance(), if self.is_busy() => done.map_err(AbsorbError::Store)?,
                next = source.next(), if self.waiting.has_room() => match next {
                    Some(Ok(frame)) if frame.len() as u64 > limit.saturating_sub(total) => {
                        break Err(AbsorbError::TooLarge { limit });
                    }
                    Some(Ok(frame)) => {
                        total += frame.len() as u64;
                        self.receive(frame);
                    }
                    Some(Err(error)) => break Err(AbsorbError::Source(error)),
                    None => break Ok(()),
                },
            }
        };
        self.drain().await.map_err(AbsorbError::Store)?;
        ended.map(|()| total - before)
    }

    /// Verifies the staged bytes against `expected`, makes them a blob, and returns its size.
    ///
    /// The blob is durable when this returns, and followers are told. When the digest is of another algorithm than
    /// the running hash, the staged bytes are read again.
    ///
    /// # Errors
    /// [`CommitError::Mismatch`] when the bytes are others; they are discarded, as after every other error.
    pub async fn commit(mut self, expected: &Digest) -> Result<u64, CommitError> {
        match self.verify_and_publish(expected).await {
            Ok(size) => {
                self.is_settled = true;
                self.progress.send_modify(|progress| progress.state = State::Complete);
                Ok(size)
            }
            Err(error) => {
                self.give_up(FollowError::from(&error));
                Err(error)
            }
        }
    }

    /// Closes the stage and keeps its bytes for [`BlobStore::resume`](crate::BlobStore::resume). Followers get an
    /// error.
    pub async fn park(mut self) -> Result<Parked, Error> {
        let hasher = self.take_hasher().await?;
        let (stage, offset) = (Arc::clone(&self.stage), self.offset());
        let modified = blocking::run("park the stage", move || stage.settle(offset)).await?;
        let shared = self.stage.keep(offset).await?;
        self.is_settled = true;
        self.fail_followers(FollowError::Abandoned);
        Ok(Parked::new(self.id.clone(), offset, modified, *hasher, shared))
    }

    async fn verify_and_publish(&mut self, expected: &Digest) -> Result<u64, CommitError> {
        let hasher = self.take_hasher().await?;
        let size = self.offset();
        let actual = if hasher.algorithm() == expected.algorithm() {
            hasher.finish()
        } else {
            self.stage.digest(&self.id, expected, size).await?
        };
        if actual != *expected {
            return Err(CommitError::Mismatch { expected: expected.clone(), actual });
        }
        // Followers need not wait for the syncs.
        self.progress.send_modify(|progress| progress.state = State::Verified);
        self.stage.publish(expected, size).await?;
        Ok(size)
    }

    /// Whether something that was received is not staged yet.
    const fn is_busy(&self) -> bool {
        !matches!(self.writing, Writing::Idle) || !self.waiting.is_empty()
    }

    fn receive(&mut self, frame: Bytes) {
        if self.is_busy() {
            self.waiting.gather(frame);
        } else {
            // It is written at once.
            self.waiting.push(frame);
        }
    }

    /// Starts to write what waits, unless the batch before it is still being written or the hash is far behind.
    fn start(&mut self) {
        if self.waiting.is_empty() || !matches!(self.writing, Writing::Idle) || !self.hashing.is_near() {
            return;
        }
        let (stage, hashing, progress) = (Arc::clone(&self.stage), self.hashing.clone(), Arc::clone(&self.progress));
        let batch = self.waiting.take();
        self.writing =
            Writing::Running(spawn_blocking(move || write_batch(stage.as_ref(), batch, &hashing, &progress)));
    }

    /// Waits for what is in the way of the next batch: the one that is being written, or a hash that is far behind.
    /// Cancelled, it can be called again.
    async fn advance(&mut self) -> Result<(), Error> {
        let joined = match &mut self.writing {
            Writing::Idle => {
                self.hashing.near().await;
                return Ok(());
            }
            Writing::Running(job) => job.await,
            Writing::Lost => return Err(interrupted()),
        };
        let Ok(written) = joined else {
            self.writing = Writing::Lost;
            return Err(interrupted());
        };
        self.writing = Writing::Idle;
        if written.is_err() {
            // Behind a gap they would be other content.
            self.waiting = Waiting::default();
        }
        written
    }

    /// Stages everything that was received.
    async fn drain(&mut self) -> Result<(), Error> {
        self.start();
        while self.is_busy() {
            self.advance().await?;
            self.start();
        }
        Ok(())
    }

    /// The running hash of everything that was received. Without it the ingest can only be dropped.
    async fn take_hasher(&mut self) -> Result<Box<Hasher>, Error> {
        self.drain().await?;
        self.hashing.take().await.ok_or_else(interrupted)
    }

    /// Tells the followers why, and discards what is staged.
    fn give_up(&mut self, reason: FollowError) {
        self.is_settled = true;
        self.fail_followers(reason);
        if let Err(error) = self.stage.discard() {
            tracing::warn!(
                stage = %self.id,
                error = &error as &dyn std::error::Error,
                "a stage could not be discarded: it stays until it is swept"
            );
        }
    }

    fn fail_followers(&self, reason: FollowError) {
        self.progress.send_modify(|progress| progress.state = State::Failed(reason));
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.is_settled {
            self.give_up(FollowError::Abandoned);
        }
    }
}

const fn interrupted() -> Error {
    Error::Interrupted { operation: "write to the stage" }
}

/// Why a source was not taken to its end. What came before is staged.
#[derive(Debug, thiserror::Error)]
pub enum AbsorbError<E> {
    /// The source failed.
    #[error("the source failed")]
    Source(#[source] E),
    /// There are more bytes than the stage may have.
    #[error("more than {limit} bytes")]
    TooLarge {
        /// The most bytes that the stage may have.
        limit: u64,
    },
    /// The bytes could not be staged.
    #[error("the bytes could not be staged")]
    Store(#[source] Error),
}

/// Why no blob was made. What was staged is discarded.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The content is not what it was said to be.
    #[error("the content received for {expected} is {actual}")]
    Mismatch {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what was staged.
        actual: Digest,
    },
    /// The blob could not be stored.
    #[error("the blob could not be stored")]
    Store(#[from] Error),
}

impl From<&CommitError> for FollowError {
    fn from(error: &CommitError) -> Self {
        match error {
            CommitError::Mismatch { expected, actual } => {
                Self::Mismatch { expected: expected.clone(), actual: actual.clone() }
            }
            CommitError::Store(_) => Self::NotStored,
        }
    }
}

#[cfg(test)]
mod tests;
