//! The bytes of a blob on their way out.
//!
//! What is in memory is read where it is asked for: the copy takes less time than the way to another thread and back, and what was
//! just copied is still in the cache of the processor that encrypts it. Other reads happen on the blocking pool, one buffer ahead of
//! whoever takes the bytes: while one buffer is being sent the next is being filled, and a disk that is slow for one blob stops no
//! other transfer.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::stream::{BoxStream, try_unfold};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::buffers::Buffer;
use crate::growing::{Progress, State};
use crate::limits::{REGION_BYTES_MAX, SMALL_BUFFER_BYTES};
use crate::{Content, FollowError, LocalFile, Piece, Region};

/// The bytes of a blob, or of a range of it, in order.
///
/// It ends without an error only when everything that was asked for was delivered. Dropped, it reads no further. As a stream of
/// [`Piece`]s it may have parts of files in it that nobody has read.
pub struct BlobStream<T = Bytes>(Pin<Box<dyn Stream<Item = Result<T, StreamError>> + Send>>);

impl<T> BlobStream<T> {
    /// A stream that follows the same rule.
    pub fn new(stream: impl Stream<Item = Result<T, StreamError>> + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }
}

impl<T> Stream for BlobStream<T> {
    type Item = Result<T, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl<T> fmt::Debug for BlobStream<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BlobStream").finish_non_exhaustive()
    }
}

/// Why the bytes of a blob end too early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The stored bytes could not be read.
    #[error("cannot read the stored bytes from position {position} on")]
    Read {
        /// The position of the first byte that could not be read.
        position: u64,
        /// The answer of the file system.
        source: io::Error,
    },
    /// There are fewer bytes than there should be.
    #[error("the content ends after {found} bytes instead of {expected}")]
    Truncated {
        /// The size of the content in bytes, or the end of the range that was asked for.
        expected: u64,
        /// How many bytes there are.
        found: u64,
    },
    /// There are more bytes than there should be.
    #[error("the content is longer than {expected} bytes")]
    Oversized {
        /// The size that the content should have, in bytes.
        expected: u64,
    },
    /// The content was still growing, and failed.
    #[error("the content did not arrive to its end")]
    Follow(#[from] FollowError),
    /// The read did not come to its end: the runtime shuts down, or the read panicked.
    #[error("interrupted while reading from position {position} on")]
    Interrupted {
        /// The position of the first byte that was not read.
        position: u64,
    },
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        Self::other(error)
    }
}

/// Up to where content may be read.
#[derive(Debug)]
pub(crate) enum Extent {
    /// All of it is here: `size` bytes, of which those before `end` were asked for.
    Known { size: u64, end: u64 },
    /// It grows: those before `end` were asked for, or all there will be.
    Growing { progress: watch::Receiver<Progress>, end: Option<u64> },
}

impl Extent {
    /// Waits until there is something to read at `position` and returns up to where; `None` when all was delivered.
    async fn wait(&mut self, position: u64) -> Result<Option<u64>, StreamError> {
        match self {
            Self::Known { size, end } => last_extent(position, *size, *end),
            Self::Growing { progress, end } => loop {
                let seen = progress.borrow_and_update().clone();
                match seen.state {
                    State::Failed(error) => return Err(error.into()),
                    State::Verified | State::Complete => {
                        return last_extent(position, seen.received, end.unwrap_or(seen.received));
                    }
                    State::Growing => {
                        let readable = end.map_or(seen.readable(), |end| end.min(seen.readable()));
                        if position < readable {
                            return Ok(Some(readable));
                        }
                    }
                }
                progress.changed().await.map_err(|_| FollowError::Abandoned)?;
            },
        }
    }

    /// Up to where there is something to read now.
    fn now(&self) -> u64 {
        match self {
            Self::Known { size, end } => *end.min(size),
            Self::Growing { progress, end } => {
                let readable = progress.borrow().readable();
                end.map_or(readable, |end| end.min(readable))
            }
        }
    }
}

/// [`Extent::wait`] for content that grows no more.
fn last_extent(position: u64, size: u64, end: u64) -> Result<Option<u64>, StreamError> {
    if position < size.min(end) {
        Ok(Some(size.min(end)))
    } else if end > size {
        Err(StreamError::Truncated { expected: end, found: size })
    } else {
        Ok(None)
    }
}

/// A transfer: where it is, and the read that runs ahead of it.
#[derive(Debug)]
pub(crate) struct Reading {
    content: Arc<dyn Content>,
    position: u64,
    extent: Extent,
    ahead: Option<Read>,
}

impl Reading {
    pub(crate) const fn new(content: Arc<dyn Content>, position: u64, extent: Extent) -> Self {
        Self { content, position, extent, ahead: None }
    }

    pub(crate) fn into_stream(self) -> BlobStream {
        match self.distant() {
            Some(distant) => BlobStream::new(try_unfold(distant, Distant::next)),
            None => BlobStream::new(try_unfold(self, Self::next)),
        }
    }

    /// All that is to be read, when it is all there and far away.
    fn distant(&self) -> Option<Distant> {
        let Extent::Known { size, end } = self.extent else { return None };
        let until = end.min(size);
        if self.position >= until {
            return None;
        }
        let bytes = Arc::clone(&self.content).stream(self.position, until)?;
        Some(Distant { bytes, position: self.position, size, end })
    }

    /// The regions of the file that the content is in, or its bytes where it is in none.
    pub(crate) fn into_pieces(self) -> BlobStream<Piece> {
        match Arc::clone(&self.content).local_file() {
            Some(file) => BlobStream::new(try_unfold((self, file), |(reading, file)| reading.next_region(file))),
            None => BlobStream::new(self.into_stream().map_ok(Piece::Bytes)),
        }
    }

    async fn next_region(
        mut self,
        file: Arc<LocalFile>,
    ) -> Result<Option<(Piece, (Self, Arc<LocalFile>))>, StreamError> {
        let Some(until) = self.extent.wait(self.position).await? else { return Ok(None) };
        let region = Region::new(Arc::clone(&file), self.position, self.wanted(until).min(REGION_BYTES_MAX));
        self.position += region.length() as u64;
        Ok(Some((Piece::Region(region), (self, file))))
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StreamError> {
        let position = self.position;
        let (bytes, was_cached) = match self.ahead.take() {
            Some(read) => (self.finish(read).await?, false),
            None => match self.extent.wait(position).await? {
                Some(until) => match self.read_cached(until) {
                    Some(bytes) => (bytes, true),
                    None => (self.finish(self.start(until)).await?, false),
                },
                None => return Ok(None),
            },
        };
        self.position += bytes.len() as u64;
        // A small buffer means that there is little to read or little memory left: neither wants a second buffer. What was in
        // memory does not either: the next bytes are there as well, or are found not to be.
        let until = self.extent.now();
        if !was_cached && bytes.len() > SMALL_BUFFER_BYTES && self.position < until {
            self.ahead = Some(self.start(until));
        }
        Ok(Some((bytes, self)))
    }

    /// How many bytes there are to read up to `until`.
    fn wanted(&self, until: u64) -> usize {
        usize::try_from(until - self.position).unwrap_or(usize::MAX)
    }

    /// Reads what there is, or the next piece of it, if it is in memory.
    fn read_cached(&self, until: u64) -> Option<Bytes> {
        let mut buffer = Buffer::take_for_cached(self.wanted(until));
        let filled = self.content.read_cached(buffer.room(), self.position)?;
        Some(buffer.freeze(filled))
    }

    /// Starts to read from the position on, at most up to `until`.
    fn start(&self, until: u64) -> Read {
        let (content, position, wanted) = (Arc::clone(&self.content), self.position, self.wanted(until));
        Read(spawn_blocking(move || {
            let mut buffer = Buffer::take(wanted);
            let filled = content.read_at(buffer.room(), position)?;
            Ok(buffer.freeze(filled))
        }))
    }

    /// Waits for a read from the position on. That there is nothing is an error: something was promised.
    async fn finish(&self, read: Read) -> Result<Bytes, StreamError> {
        let position = self.position;
        let bytes = read.await.ok_or(StreamError::Interrupted { position })?;
        let bytes = bytes.map_err(|source| StreamError::Read { position, source })?;
        if bytes.is_empty() {
            return Err(StreamError::Truncated { expected: self.extent.now(), found: position });
        }
        Ok(bytes)
    }
}

/// A transfer from far away, counted.
struct Distant {
    bytes: BoxStream<'static, io::Result<Bytes>>,
    position: u64,
    size: u64,
    end: u64,
}

impl Distant {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StreamError> {
        let (position, until) = (self.position, self.end.min(self.size));
        loop {
            match self.bytes.next().await {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) if bytes.len() as u64 > until - position => {
                    return Err(StreamError::Oversized { expected: until });
                }
                Some(Ok(bytes)) => {
                    self.position += bytes.len() as u64;
                    return Ok(Some((bytes, self)));
                }
                Some(Err(source)) => return Err(StreamError::Read { position, source }),
                None if position < until => {
                    return Err(StreamError::Truncated { expected: self.end, found: position });
                }
                // What was asked for may go on behind the end of the content.
                None => return last_extent(position, self.size, self.end).map(|_| None),
            }
        }
    }
}

/// A read on the blocking pool. Dropped before its turn has come, it is not done.
#[derive(Debug)]
struct Read(JoinHandle<io::Result<Bytes>>);

impl Future for Read {
    type Output = Option<io::Result<Bytes>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(context)).ok())
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use entrepot_oci::ByteRange;
    use futures_util::stream;

    use super::*;
    use crate::BlobReader;

    /// Content that is far away, and brings these frames whatever is asked for.
    #[derive(Debug)]
    struct Far(Vec<&'static str>);

    impl Content for Far {
        fn read_at(&self, _buffer: &mut [u8], _position: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn stream(self: Arc<Self>, _first: u64, _end: u64) -> Option<BoxStream<'static, io::Result<Bytes>>> {
            let frame = |frame: &&'static str| match *frame {
                "!" => Err(io::ErrorKind::ConnectionReset.into()),
                frame => Ok(Bytes::from(frame)),
            };
            Some(stream::iter(self.0.iter().map(frame).collect::<Vec<_>>()).boxed())
        }
    }

    async fn read(frames: &[&'static str], range: Option<ByteRange>) -> (String, Option<StreamError>) {
        let reader = BlobReader::new(6, Arc::new(Far(frames.to_vec())));
        let (mut text, mut failed) = (String::new(), None);
        let mut bytes = reader.stream(range);
        while let Some(bytes) = bytes.next().await {
            match bytes {
                Ok(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
                Err(error) => failed = Some(error),
            }
        }
        (text, failed)
    }

    #[tokio::test]
    async fn what_comes_from_far_away_is_counted() {
        let (text, failed) = read(&["abc", "", "def"], None).await;
        assert_eq!((text.as_str(), failed.is_none()), ("abcdef", true));
        let (text, failed) = read(&["bc"], ByteRange::new(1, 2)).await;
        assert_eq!((text.as_str(), failed.is_none()), ("bc", true));
        let (text, failed) = read(&["abc"], None).await;
        assert!(matches!(failed, Some(StreamError::Truncated { expected: 6, found: 3 })), "{text} {failed:?}");
        let (text, failed) = read(&["abc", "defg"], None).await;
        assert!(text == "abc" && matches!(failed, Some(StreamError::Oversized { expected: 6 })), "{text} {failed:?}");
        let (text, failed) = read(&["abcdef", "g"], None).await;
        assert!(text == "abcdef" && matches!(failed, Some(StreamError::Oversized { .. })), "{text} {failed:?}");
        let (text, failed) = read(&["abc", "!"], None).await;
        assert!(text == "abc" && matches!(failed, Some(StreamError::Read { position: 3, .. })), "{text} {failed:?}");
        let (text, failed) = read(&["ef"], ByteRange::new(4, 9)).await;
        assert!(
            text == "ef" && matches!(failed, Some(StreamError::Truncated { expected: 10, found: 6 })),
            "{failed:?}"
        );
        let (text, failed) = read(&["more"], ByteRange::new(6, 9)).await;
        assert!(text.is_empty() && matches!(failed, Some(StreamError::Truncated { .. })), "{text} {failed:?}");
    }

    #[tokio::test]
    async fn its_pieces_are_bytes() {
        let reader = BlobReader::new(6, Arc::new(Far(vec!["abc", "def"])));
        let pieces: Vec<_> = reader.pieces(None).map_ok(|piece| piece.length()).try_collect().await.unwrap();
        assert_eq!(pieces, [3, 3]);
    }
}
