//! The one way to make a blob: bytes are staged, hashed and counted as they pass, and a commit verifies them.

use std::sync::Arc;

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, Hasher};
use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::content::rehash;
use crate::growing::{Progress, State};
use crate::limits::{PIECE_BYTES, WAITING_BYTES_MAX, WAITING_FRAMES_MAX};
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
    work: Work,
    waiting: Waiting,
    progress: Arc<watch::Sender<Progress>>,
    /// Whether the staged bytes are no longer this ingest's to discard.
    is_settled: bool,
}

/// The running hash, and who has it.
#[derive(Debug)]
enum Work {
    Idle(Box<Hasher>),
    /// A batch is being written and hashed.
    Running(JoinHandle<(Box<Hasher>, Result<(), Error>)>),
    /// The job that had it did not come to its end.
    Lost,
}

/// Frames that were received while the batch before them was written.
#[derive(Debug, Default)]
struct Waiting {
    frames: Vec<Bytes>,
    bytes: usize,
}

impl Waiting {
    const fn has_room(&self) -> bool {
        self.bytes < WAITING_BYTES_MAX && self.frames.len() < WAITING_FRAMES_MAX
    }

    fn push(&mut self, mut frame: Bytes) {
        self.bytes += frame.len();
        while frame.len() > PIECE_BYTES {
            self.frames.push(frame.split_to(PIECE_BYTES));
        }
        if !frame.is_empty() {
            self.frames.push(frame);
        }
    }
}

impl Ingest {
    /// An ingest into `stage`, for the store that owns it: `offset` bytes are there, and `hasher` has taken them.
    pub fn new(id: StageId, stage: Arc<dyn Stage>, offset: u64, hasher: Hasher) -> Self {
        let progress = Arc::new(watch::Sender::new(Progress { received: offset, state: State::Growing }));
        let work = Work::Idle(Box::new(hasher));
        Self { id, stage, work, waiting: Waiting::default(), progress, is_settled: false }
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
    /// Bytes are written and hashed in batches while the next are received: as soon as one batch is done the next
    /// begins with whatever has come, so that a slow source is seen by followers at once and a fast one is written in
    /// large pieces. While [`WAITING_BYTES_MAX`] wait, nothing is taken from the source.
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
                done = self.finish_batch(), if self.is_running() => done.map_err(AbsorbError::Store)?,
                next = source.next(), if self.waiting.has_room() => match next {
                    Some(Ok(frame)) if frame.len() as u64 > limit.saturating_sub(total) => {
                        break Err(AbsorbError::TooLarge { limit });
                    }
                    Some(Ok(frame)) => {
                        total += frame.len() as u64;
                        self.waiting.push(frame);
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
        self.is_settled = true;
        self.fail_followers(FollowError::Abandoned);
        Ok(Parked::new(self.id.clone(), offset, modified, *hasher))
    }

    async fn verify_and_publish(&mut self, expected: &Digest) -> Result<u64, CommitError> {
        let hasher = self.take_hasher().await?;
        let size = self.offset();
        let actual = if hasher.algorithm() == expected.algorithm() {
            hasher.finish()
        } else {
            self.rehash(expected.algorithm(), size).await?
        };
        if actual != *expected {
            return Err(CommitError::Mismatch { expected: expected.clone(), actual });
        }
        // Followers need not wait for the syncs.
        self.progress.send_modify(|progress| progress.state = State::Verified);
        self.stage.publish(expected, size).await?;
        Ok(size)
    }

    /// The digest of the staged bytes in another algorithm than that of the running hash.
    async fn rehash(&self, algorithm: Algorithm, size: u64) -> Result<Digest, Error> {
        let (content, stage) = (self.stage.content(), self.id.clone());
        blocking::run("read the staged bytes again", move || {
            let hasher = rehash(content.as_ref(), size, algorithm);
            hasher.map(Hasher::finish).map_err(|source| Error::Unreadable { stage, source })
        })
        .await
    }

    const fn is_running(&self) -> bool {
        matches!(self.work, Work::Running(_))
    }

    /// Starts to write what waits, unless the batch before it is still being written.
    fn start(&mut self) {
        if self.waiting.frames.is_empty() || !matches!(self.work, Work::Idle(_)) {
            return;
        }
        if let Work::Idle(mut hasher) = std::mem::replace(&mut self.work, Work::Lost) {
            let (stage, progress) = (Arc::clone(&self.stage), Arc::clone(&self.progress));
            let batch = std::mem::take(&mut self.waiting).frames;
            self.work = Work::Running(spawn_blocking(move || {
                let written = write_batch(stage.as_ref(), &batch, &mut hasher, &progress);
                (hasher, written)
            }));
        }
    }

    /// Waits for the batch that is being written. Cancelled, it can be called again.
    async fn finish_batch(&mut self) -> Result<(), Error> {
        let Work::Running(job) = &mut self.work else { return Ok(()) };
        let joined = job.await;
        let Ok((hasher, written)) = joined else {
            self.work = Work::Lost;
            return Err(Error::Interrupted { operation: "write to the stage" });
        };
        self.work = Work::Idle(hasher);
        if written.is_err() {
            // Behind a gap they would be other content.
            self.waiting = Waiting::default();
        }
        written
    }

    /// Stages everything that was received.
    async fn drain(&mut self) -> Result<(), Error> {
        while self.is_running() || !self.waiting.frames.is_empty() {
            if matches!(self.work, Work::Lost) {
                return Err(Error::Interrupted { operation: "write to the stage" });
            }
            self.start();
            self.finish_batch().await?;
        }
        Ok(())
    }

    /// The running hash of everything that was received. Without it the ingest can only be dropped.
    async fn take_hasher(&mut self) -> Result<Box<Hasher>, Error> {
        self.drain().await?;
        match std::mem::replace(&mut self.work, Work::Lost) {
            Work::Idle(hasher) => Ok(hasher),
            Work::Running(_) | Work::Lost => Err(Error::Interrupted { operation: "write to the stage" }),
        }
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

/// Writes, hashes and shows `batch` piece by piece.
fn write_batch(
    stage: &dyn Stage,
    batch: &[Bytes],
    hasher: &mut Hasher,
    progress: &watch::Sender<Progress>,
) -> Result<(), Error> {
    let mut offset = progress.borrow().received;
    let mut rest = batch;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(piece_length(rest));
        stage.append(offset, piece)?;
        for frame in piece {
            hasher.update(frame);
            offset += frame.len() as u64;
        }
        progress.send_modify(|progress| progress.received = offset);
        rest = behind;
    }
    Ok(())
}

/// How many of the frames make up a piece: at least one, and no more than get to [`PIECE_BYTES`].
fn piece_length(frames: &[Bytes]) -> usize {
    let mut bytes = 0;
    let more = frames.iter().take_while(|frame| {
        bytes += frame.len();
        bytes <= PIECE_BYTES
    });
    more.count().max(1)
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
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, channel};
    use std::sync::{Mutex, PoisonError};
    use std::time::SystemTime;

    use async_trait::async_trait;
    use futures_util::stream;

    use super::*;
    use crate::Content;

    /// A stage in memory whose first write waits to be told, and fails.
    #[derive(Debug)]
    struct FailsOnce {
        staged: Arc<Staged>,
        fail_now: Mutex<Option<Receiver<()>>>,
    }

    #[derive(Debug, Default)]
    struct Staged(Mutex<Vec<u8>>);

    impl Content for Staged {
        fn read_at(&self, _buffer: &mut [u8], _position: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[async_trait]
    impl Stage for FailsOnce {
        fn content(&self) -> Arc<dyn Content> {
            Arc::clone(&self.staged) as Arc<dyn Content>
        }

        fn append(&self, offset: u64, frames: &[Bytes]) -> Result<(), Error> {
            if let Some(told) = self.fail_now.lock().unwrap_or_else(PoisonError::into_inner).take() {
                told.recv().unwrap();
                return Err(Error::Interrupted { operation: "write" });
            }
            let mut staged = self.staged.0.lock().unwrap();
            assert_eq!(staged.len() as u64, offset);
            staged.extend_from_slice(&frames.concat());
            Ok(())
        }

        fn settle(&self, _offset: u64) -> Result<SystemTime, Error> {
            Ok(SystemTime::UNIX_EPOCH)
        }

        async fn publish(&self, _digest: &Digest, _size: u64) -> Result<(), Error> {
            Ok(())
        }

        fn discard(&self) -> Result<(), Error> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn nothing_is_written_behind_a_write_that_failed() {
        let (tell, told) = channel();
        let staged = Arc::new(Staged::default());
        let stage = FailsOnce { staged: Arc::clone(&staged), fail_now: Mutex::new(Some(told)) };
        let mut ingest = Ingest::new("fails".parse().unwrap(), Arc::new(stage), 0, Algorithm::Sha256.hasher());
        let mut frames = ["one", "two", "three"].into_iter();
        let source = stream::iter(std::iter::from_fn(|| {
            let frame = frames.next();
            if frame.is_none() {
                // By now the others wait behind the one that is being written.
                tell.send(()).unwrap();
            }
            frame.map(|frame| Ok::<_, Error>(Bytes::from(frame)))
        }));
        let failed = ingest.absorb(source, u64::MAX).await;
        assert!(matches!(failed, Err(AbsorbError::Store(Error::Interrupted { .. }))), "{failed:?}");
        assert_eq!(ingest.offset(), 0);
        let again = stream::iter([Ok::<_, Error>(Bytes::from("onetwothree"))]);
        assert_eq!(ingest.absorb(again, u64::MAX).await.unwrap(), 11);
        ingest.commit(&Algorithm::Sha256.digest(b"onetwothree")).await.unwrap();
        assert_eq!(*staged.0.lock().unwrap(), b"onetwothree");
    }
}
