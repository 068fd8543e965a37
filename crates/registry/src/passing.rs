//! Blobs that pass through uncached, because the disk has no room: straight from the upstream to one client.
//!
//! Nothing is kept, so nothing is shared: each client has a transfer of its own, from the byte that it needs. One that reads from the first
//! byte on gets the last piece once the whole has been verified; one that had its beginning from the cache's staged bytes gets
//! exactly as many bytes as there should be, and verifies the digest itself, as every client does.

use std::sync::Arc;

use bytes::Bytes;
use entrepot_blobs::StreamError;
use entrepot_oci::{ByteRange, Digest, Hasher};
use futures_core::stream::{BoxStream, Stream};
use futures_util::{StreamExt, TryStreamExt};

use crate::content::{ContentStream, Delivered};
use crate::fill::Follower;
use crate::proxied::Proxied;
use crate::transfer::Transfer;
use crate::{Error, SourceError};

/// A blob that is asked of the upstream for each client on its own.
#[derive(Clone, Debug)]
pub(crate) struct Passing {
    pub(crate) proxied: Proxied,
    pub(crate) digest: Digest,
    /// Its size in bytes.
    pub(crate) size: u64,
}

impl Passing {
    /// The bytes of `range`, or all of them.
    ///
    /// # Errors
    /// When the upstream does not answer with them, or has another size for the blob.
    pub(crate) async fn stream(&self, range: Option<ByteRange>) -> Result<ContentStream, Error> {
        let (first, end) = range.map_or((0, self.size), |range| (range.first(), range.last().saturating_add(1)));
        self.stream_from(first, end).await
    }

    /// The bytes from `first` up to `end`.
    pub(crate) async fn stream_from(&self, first: u64, end: u64) -> Result<ContentStream, Error> {
        if first >= end {
            return Ok(futures_util::stream::empty().boxed());
        }
        let Self { proxied, digest, size } = self.clone();
        let mut transfer = Transfer::begin(proxied, digest.clone(), first, (end < size).then_some(end)).await?;
        if let Some(offered) = transfer.total().filter(|offered| *offered != size) {
            return Err(Error::UpstreamSizeMismatch { digest, offered, described: size });
        }
        transfer.ends_at(Some(end));
        let is_whole = first == 0 && end == size;
        let hasher = is_whole.then(|| digest.algorithm().hasher());
        let state = Passage { transfer, missing: end - first, hasher, digest };
        Ok(futures_util::stream::try_unfold(state, Passage::next).boxed())
    }
}

/// One client's transfer.
struct Passage {
    transfer: Transfer,
    missing: u64,
    /// The running hash, when all of the blob passes.
    hasher: Option<Hasher>,
    digest: Digest,
}

impl Passage {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, SourceError> {
        if self.missing == 0 {
            return Ok(None);
        }
        let Some(mut piece) = self.transfer.next().await? else {
            return Err(format!("the upstream's answer ended {} bytes early", self.missing).into());
        };
        piece.truncate(usize::try_from(self.missing).unwrap_or(usize::MAX));
        self.missing -= piece.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        // The last piece, and so the whole, is for verified content alone.
        if self.missing == 0
            && let Some(actual) = self.hasher.take().map(Hasher::finish)
            && actual != self.digest
        {
            self.transfer.distrust_mirrors();
            return Err(Error::UpstreamDigestMismatch { expected: self.digest, actual }.into());
        }
        Ok(Some((piece, self)))
    }
}

/// The bytes of a growing blob for one client, who is served on when it stops growing for want of room.
pub(crate) struct Following<T> {
    source: Source<T>,
    /// The position in the blob of the byte that comes next.
    position: u64,
    /// Where what was asked for ends.
    end: u64,
    passing: Passing,
    follower: Arc<Follower>,
}

enum Source<T> {
    Growing(BoxStream<'static, Result<T, StreamError>>),
    Straight(ContentStream),
}

impl<T: Delivered> Following<T> {
    /// The content of `range`, or all of it, which is what `growing` delivers for as long as it can.
    pub(crate) fn stream(
        growing: impl Stream<Item = Result<T, StreamError>> + Send + 'static,
        range: Option<ByteRange>,
        passing: Passing,
        follower: Arc<Follower>,
    ) -> ContentStream<T> {
        let (position, end) = range.map_or((0, passing.size), |range| (range.first(), range.last().saturating_add(1)));
        let source = Source::Growing(growing.boxed());
        let following = Self { source, position, end, passing, follower };
        futures_util::stream::try_unfold(following, Self::next).boxed()
    }

    async fn next(mut self) -> Result<Option<(T, Self)>, SourceError> {
        loop {
            let piece = match &mut self.source {
                Source::Straight(stream) => stream.try_next().await?.map(T::from),
                Source::Growing(stream) => match stream.try_next().await {
                    Ok(piece) => piece,
                    Err(error @ StreamError::Follow(_)) if !self.follower.is_passed_on().await => {
                        return Err(error.into());
                    }
                    Err(StreamError::Follow(_)) => {
                        self.source = Source::Straight(self.passing.stream_from(self.position, self.end).await?);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            let Some(piece) = piece else { return Ok(None) };
            self.position += piece.length();
            return Ok(Some((piece, self)));
        }
    }
}
