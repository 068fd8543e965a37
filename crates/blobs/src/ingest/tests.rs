//! Ingests into stages that fail or wait.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use entrepot_oci::Algorithm;
use futures_util::stream;

use super::*;
use crate::limits::PIECE_BYTES;
use crate::{Content, WAITING_BYTES_MAX};

/// A stage in memory that asks before it takes anything.
pub(super) struct TestStage {
    staged: Arc<Staged>,
    may_append: Mutex<Box<MayAppend>>,
}

type MayAppend = dyn FnMut(Append<'_>) -> Result<(), Error> + Send;

/// What a stage is to take.
pub(super) struct Append<'a> {
    pub(super) offset: u64,
    pub(super) frames: &'a [Bytes],
}

#[derive(Debug, Default)]
struct Staged(Mutex<Vec<u8>>);

impl TestStage {
    pub(super) fn new(may_append: impl FnMut(Append<'_>) -> Result<(), Error> + Send + 'static) -> Self {
        Self { staged: Arc::default(), may_append: Mutex::new(Box::new(may_append)) }
    }
}

impl std::fmt::Debug for TestStage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TestStage").finish_non_exhaustive()
    }
}

impl Content for Staged {
    fn read_at(&self, _buffer: &mut [u8], _position: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[async_trait]
impl Stage for TestStage {
    fn content(&self) -> Arc<dyn Content> {
        Arc::clone(&self.staged) as Arc<dyn Content>
    }

    fn append(&self, offset: u64, frames: &[Bytes]) -> Result<(), Error> {
        self.may_append.lock().unwrap_or_else(PoisonError::into_inner)(Append { offset, frames })?;
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

fn ingest(stage: TestStage) -> (Ingest, Arc<Staged>) {
    let staged = Arc::clone(&stage.staged);
    (Ingest::new("test".parse().unwrap(), Arc::new(stage), 0, Algorithm::Sha256.hasher()), staged)
}

/// A source of `frames` that tells when the last one was taken: by then all but the first wait behind it.
fn telling(frames: Vec<Bytes>, tell: Sender<()>) -> impl Stream<Item = Result<Bytes, Error>> + Unpin + Send {
    let mut frames = frames.into_iter();
    stream::iter(std::iter::from_fn(move || {
        let frame = frames.next();
        if frame.is_none() {
            tell.send(()).unwrap();
        }
        frame.map(Ok)
    }))
}

fn content(length: usize) -> Bytes {
    (0..length).map(|index| index.to_le_bytes()[0] ^ index.to_le_bytes()[1]).collect()
}

const FAILED: Error = Error::Interrupted { operation: "write" };

#[tokio::test]
async fn nothing_is_written_behind_a_write_that_failed() {
    let (tell, told) = channel();
    let mut fails = true;
    let (mut ingest, staged) = ingest(TestStage::new(move |_| {
        if std::mem::take(&mut fails) {
            told.recv().unwrap();
            return Err(FAILED);
        }
        Ok(())
    }));
    let frames = ["one", "two", "three"].map(Bytes::from).to_vec();
    let failed = ingest.absorb(telling(frames, tell), u64::MAX).await;
    assert!(matches!(failed, Err(AbsorbError::Store(Error::Interrupted { .. }))), "{failed:?}");
    assert_eq!(ingest.offset(), 0);
    let again = stream::iter([Ok::<_, Error>(Bytes::from("onetwothree"))]);
    assert_eq!(ingest.absorb(again, u64::MAX).await.unwrap(), 11);
    ingest.commit(&Algorithm::Sha256.digest(b"onetwothree")).await.unwrap();
    assert_eq!(*staged.0.lock().unwrap(), b"onetwothree");
}

/// The pieces before are staged and hashed, whichever of them fails, and the transfer can go on behind them.
#[tokio::test]
async fn a_batch_that_fails_in_the_middle_is_staged_up_to_there() {
    let bytes = content(4 * PIECE_BYTES);
    for failing in 0..4 {
        let mut count = 0;
        let (mut ingest, staged) = ingest(TestStage::new(move |_| {
            count += 1;
            if count == failing + 1 { Err(FAILED) } else { Ok(()) }
        }));
        let growing = ingest.growing();
        // One frame is one batch, of four pieces.
        let failed = ingest.absorb(stream::iter([Ok::<_, Error>(bytes.clone())]), u64::MAX).await;
        assert!(matches!(failed, Err(AbsorbError::Store(Error::Interrupted { .. }))), "{failed:?}");
        assert_eq!((ingest.offset(), growing.received()), ((failing * PIECE_BYTES) as u64, ingest.offset()));
        let rest = bytes.slice(failing * PIECE_BYTES..);
        ingest.absorb(stream::iter([Ok::<_, Error>(rest)]), u64::MAX).await.unwrap();
        ingest.commit(&Algorithm::Sha256.digest(&bytes)).await.unwrap();
        assert_eq!(*staged.0.lock().unwrap(), bytes);
    }
}

#[tokio::test]
async fn what_comes_during_a_write_is_written_in_large_pieces() {
    let (tell, told) = channel();
    let (write, writes) = channel();
    let (mut ingest, staged) = ingest(TestStage::new(move |append| {
        if append.offset == 0 {
            told.recv().unwrap();
        }
        write.send(append.frames.iter().map(Bytes::len).collect::<Vec<_>>()).unwrap();
        Ok(())
    }));
    let bytes = content(10 + 2 * PIECE_BYTES + 500);
    let mut rest = bytes.clone();
    let mut frames = vec![rest.split_to(10)];
    while !rest.is_empty() {
        frames.push(rest.split_to(rest.len().min(1000)));
    }
    ingest.absorb(telling(frames, tell), u64::MAX).await.unwrap();
    assert_eq!(writes.try_iter().collect::<Vec<_>>(), [vec![10], vec![PIECE_BYTES], vec![PIECE_BYTES], vec![500]]);
    ingest.commit(&Algorithm::Sha256.digest(&bytes)).await.unwrap();
    assert_eq!(*staged.0.lock().unwrap(), bytes);
}

/// What was written and not hashed yet is held in memory as well: it may not grow without bound.
#[tokio::test]
async fn writing_waits_for_a_hash_that_is_far_behind() {
    let (mut ingest, staged) = ingest(TestStage::new(|_| Ok(())));
    let behind = content(PIECE_BYTES);
    let mut expected = Algorithm::Sha256.hasher();
    // A hash that does not move: the turn is taken, and nobody runs it.
    ingest.hashing.push(vec![behind.clone()]);
    let turn = ingest.hashing.turn().unwrap();
    for _ in 0..2 {
        ingest.hashing.push(vec![behind.clone()]);
    }
    for _ in 0..3 {
        expected.update(&behind);
    }
    let bytes = content(8 * PIECE_BYTES);
    expected.update(&bytes);
    let mut taken = 0;
    {
        let source = stream::iter(bytes.chunks(1000).map(|chunk| {
            taken += chunk.len();
            Ok::<_, Error>(Bytes::copy_from_slice(chunk))
        }));
        let mut absorb = Box::pin(ingest.absorb(source, u64::MAX));
        assert!(futures_util::FutureExt::now_or_never(&mut absorb).is_none(), "it waits");
    }
    assert!((WAITING_BYTES_MAX..WAITING_BYTES_MAX + 1000).contains(&taken), "{taken} bytes were taken meanwhile");
    assert_eq!((ingest.offset(), staged.0.lock().unwrap().len()), (0, 0));
    turn.run();
    ingest.absorb(stream::iter([Ok::<_, Error>(bytes.slice(taken..))]), u64::MAX).await.unwrap();
    assert_eq!(*staged.0.lock().unwrap(), bytes);
    ingest.commit(&expected.finish()).await.unwrap();
}
