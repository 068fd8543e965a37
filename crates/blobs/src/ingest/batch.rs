//! What is received and not yet staged, and how it is staged.

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::hashing::Hashing;
use crate::buffers::Buffer;
use crate::growing::Progress;
use crate::limits::{PIECE_BYTES, WAITING_BYTES_MAX, WAITING_FRAMES_MAX};
use crate::{Error, Stage};

/// What was received while the batch before it was written.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    frames: Vec<Bytes>,
    /// Comes behind the frames.
    gathered: Option<Gathered>,
    bytes: usize,
}

impl Waiting {
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) const fn has_room(&self) -> bool {
        self.bytes < WAITING_BYTES_MAX && self.frames.len() < WAITING_FRAMES_MAX
    }

    /// Adds a frame as it is.
    pub(super) fn push(&mut self, mut frame: Bytes) {
        self.close_gathered();
        self.bytes += frame.len();
        while frame.len() > PIECE_BYTES {
            self.frames.push(frame.split_to(PIECE_BYTES));
        }
        if !frame.is_empty() {
            self.frames.push(frame);
        }
    }

    /// Copies a frame to a large buffer.
    ///
    /// That costs less than to keep it: whoever receives gets the memory of the frame back at once, still in the
    /// processor's cache, where it would have to be given new memory for the next one, which the kernel clears page by
    /// page. And small frames, chunks or records of TLS, become few and large writes.
    pub(super) fn gather(&mut self, mut frame: Bytes) {
        while !frame.is_empty() {
            let Some(mut gathered) = self.gathered.take().or_else(Gathered::new) else { return self.push(frame) };
            let taken = frame.split_to(frame.len().min(gathered.room().len()));
            gathered.add(&taken);
            self.bytes += taken.len();
            if gathered.room().is_empty() {
                self.frames.push(gathered.freeze());
            } else {
                self.gathered = Some(gathered);
            }
        }
    }

    /// All of it, as the next batch.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.close_gathered();
        std::mem::take(self).frames
    }

    fn close_gathered(&mut self) {
        if let Some(gathered) = self.gathered.take() {
            self.frames.push(gathered.freeze());
        }
    }
}

/// A large buffer on its way to be full.
#[derive(Debug)]
struct Gathered {
    buffer: Buffer,
    filled: usize,
}

impl Gathered {
    /// An empty one; `None` when too many are in use in the process.
    fn new() -> Option<Self> {
        Buffer::take_large().map(|buffer| Self { buffer, filled: 0 })
    }

    fn room(&mut self) -> &mut [u8] {
        &mut self.buffer.room()[self.filled..]
    }

    /// Adds bytes that there is room for.
    fn add(&mut self, bytes: &[u8]) {
        self.room()[..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    fn freeze(self) -> Bytes {
        self.buffer.freeze(self.filled)
    }
}

/// Writes `batch` piece by piece, has it hashed, and shows to followers what was written. For the blocking pool.
///
/// Each piece is hashed while the next is written. A batch of one piece is hashed here, unless somebody is hashing:
/// another thread would cost more than it could save.
pub(super) fn write_batch(
    stage: &dyn Stage,
    batch: Vec<Bytes>,
    hashing: &Hashing,
    progress: &watch::Sender<Progress>,
) -> Result<(), Error> {
    let mut offset = progress.borrow().received;
    let mut frames = batch.into_iter();
    let mut written = Ok(());
    while written.is_ok() && !frames.as_slice().is_empty() {
        let length = piece_length(frames.as_slice());
        let piece: Vec<Bytes> = frames.by_ref().take(length).collect();
        written = stage.append(offset, &piece);
        if written.is_ok() {
            offset += piece.iter().map(|frame| frame.len() as u64).sum::<u64>();
            hashing.push(piece);
            if !frames.as_slice().is_empty()
                && let Some(turn) = hashing.turn()
            {
                spawn_blocking(|| turn.run());
            }
        }
    }
    // Once for the whole batch, however many followers there are to be woken: a fast source makes large batches, and
    // what a slow one sent is a batch by itself.
    progress.send_modify(|progress| progress.received = offset);
    if let Some(turn) = hashing.turn() {
        turn.run();
    }
    written
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    use entrepot_oci::Algorithm;

    use super::*;
    use crate::growing::State;
    use crate::ingest::tests::{Append, TestStage};

    /// Memory that tells who gives it back.
    struct Watched(Vec<u8>, Sender<ThreadId>);

    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            let _ = self.1.send(thread::current().id());
        }
    }

    fn piece(byte: u8) -> (Bytes, Receiver<ThreadId>) {
        let (sender, receiver) = channel();
        (Bytes::from_owner(Watched(vec![byte; PIECE_BYTES], sender)), receiver)
    }

    fn new_progress() -> watch::Sender<Progress> {
        watch::Sender::new(Progress { received: 0, state: State::Growing })
    }

    #[tokio::test]
    async fn a_piece_is_hashed_while_the_next_is_written() {
        let ((one, one_is_hashed), (two, _)) = (piece(1), piece(2));
        let digest = Algorithm::Sha256.digest(&[&one[..], &two[..]].concat());
        let hashing = Hashing::new(Algorithm::Sha256.hasher());
        let stage = TestStage::new(move |append: Append<'_>| {
            if append.offset > 0 {
                let hashed = one_is_hashed.recv_timeout(Duration::from_secs(30)).expect("it is hashed meanwhile");
                assert_ne!(hashed, thread::current().id());
            }
            Ok(())
        });
        let hash = hashing.clone();
        let writing = move || write_batch(&stage, vec![one, two], &hash, &new_progress());
        spawn_blocking(writing).await.unwrap().unwrap();
        assert_eq!(hashing.take().await.unwrap().finish(), digest);
    }

    #[tokio::test]
    async fn followers_are_told_once_of_a_batch_and_not_before_it_is_written() {
        let progress = Arc::new(new_progress());
        let (hashing, told) = (Hashing::new(Algorithm::Sha256.hasher()), progress.subscribe());
        let seen = told.clone();
        let stage = TestStage::new(move |_: Append<'_>| {
            assert!(!seen.has_changed().unwrap());
            Ok(())
        });
        let batch = (0..3).map(|byte| piece(byte).0).collect();
        let writing = move || write_batch(&stage, batch, &hashing, &progress);
        spawn_blocking(writing).await.unwrap().unwrap();
        assert_eq!(told.borrow().received, 3 * PIECE_BYTES as u64);
    }

    #[test]
    fn what_is_gathered_comes_in_order_and_in_large_pieces() {
        let mut waiting = Waiting::default();
        let content: Vec<u8> =
            (0..PIECE_BYTES * 2).map(|index| index.to_le_bytes()[0] ^ index.to_le_bytes()[1]).collect();
        let mut rest = Bytes::from(content.clone());
        waiting.push(rest.split_to(10));
        for length in [1, 0, 30_000, PIECE_BYTES, 7] {
            waiting.gather(rest.split_to(length));
        }
        waiting.push(rest.split_to(5));
        waiting.gather(rest.split_to(100));
        let taken = waiting.take();
        let lengths: Vec<usize> = taken.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [10, PIECE_BYTES, 30_008, 5, 100]);
        assert_eq!(taken.concat(), content[..content.len() - rest.len()]);
        assert!(waiting.is_empty() && waiting.take().is_empty());
    }
}
