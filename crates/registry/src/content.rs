//! What a pull or a list returns.

use std::sync::Arc;

use bytes::Bytes;
use entrepot_blobs::{BlobReader, Growing, Piece, StreamError};
use entrepot_metadata::ManifestRow;
use entrepot_oci::{ByteRange, Digest};
use futures_core::stream::{BoxStream, Stream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::Error;
use crate::fill::Follower;
use crate::limits::RANGE_NEAR_BYTES;
use crate::passing::{Following, Passing};

/// Where the answer to a pull came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheStatus {
    /// The repository is hosted: there is nothing to cache.
    Own,
    /// From the cache; an upstream may have confirmed it, but sent nothing.
    Hit,
    /// Fetched from the upstream for this request, or together with others that asked for it at the time.
    Miss,
    /// From the cache, because the upstream could not be asked.
    Stale,
}

impl CacheStatus {
    /// The word in the log and in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
        }
    }
}

/// A manifest as it is answered.
#[derive(Clone, Debug)]
pub struct PulledManifest {
    /// The manifest.
    pub manifest: ManifestRow,
    /// Where it came from.
    pub cache: CacheStatus,
    /// What the client's user should be told.
    pub warning: Option<String>,
}

/// A blob as it is answered.
#[derive(Debug)]
pub struct PulledBlob {
    /// Its name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where it came from.
    pub cache: CacheStatus,
    /// Its bytes.
    pub content: BlobContent,
}

/// The bytes of a blob: stored, or arriving.
#[derive(Debug)]
pub enum BlobContent {
    /// Verified and stored.
    Stored(BlobReader),
    /// Arriving from an upstream.
    Arriving(Box<Arriving>),
    /// To be passed on from an upstream without being kept, because there is no room for it.
    PassedOn(Box<PassedOn>),
}

/// A blob that is being filled while it is read.
#[derive(Debug)]
pub struct Arriving {
    pub(crate) growing: Growing,
    pub(crate) passing: Passing,
    pub(crate) follower: Arc<Follower>,
}

/// A blob that every client gets straight from the upstream.
#[derive(Debug)]
pub struct PassedOn(pub(crate) Passing);

/// A stream of what was asked for, in bytes or in pieces. It ends cleanly only when all of it was delivered.
pub type ContentStream<T = Bytes> = BoxStream<'static, Result<T, Box<dyn std::error::Error + Send + Sync>>>;

impl PulledBlob {
    /// Whether it is stored, and not on a disk of this machine.
    pub fn is_far_away(&self) -> bool {
        matches!(&self.content, BlobContent::Stored(reader) if reader.local_file().is_none())
    }

    /// The bytes of `range`, or all of them.
    ///
    /// A range of an arriving blob waits for the bytes when they are near; a far one is asked of the upstream on its own, while the
    /// fill goes on.
    pub async fn stream(&self, range: Option<ByteRange>) -> Result<ContentStream, Error> {
        match &self.content {
            BlobContent::Stored(reader) => Ok(boxed(reader.stream(range))),
            // Boxed: to ask an upstream takes a future many times as large as that of a pull of what is here.
            BlobContent::Arriving(arriving) => Box::pin(arriving.deliver(range, Growing::stream)).await,
            BlobContent::PassedOn(passed_on) => Box::pin(passed_on.0.stream(range)).await,
        }
    }

    /// The same for those who can send parts of files: what lies in a file, or is arriving in one, is not read.
    pub async fn pieces(&self, range: Option<ByteRange>) -> Result<ContentStream<Piece>, Error> {
        match &self.content {
            BlobContent::Stored(reader) => Ok(boxed(reader.pieces(range))),
            BlobContent::Arriving(arriving) => Box::pin(arriving.deliver(range, Growing::pieces)).await,
            BlobContent::PassedOn(passed_on) => {
                let stream = Box::pin(passed_on.0.stream(range)).await?;
                Ok(stream.map_ok(Piece::from).boxed())
            }
        }
    }
}

impl Arriving {
    /// The content of `range` from the growing file, as `read` has it, or from the upstream.
    async fn deliver<T, S>(
        &self,
        range: Option<ByteRange>,
        read: impl FnOnce(&Growing, Option<ByteRange>) -> S,
    ) -> Result<ContentStream<T>, Error>
    where
        T: Delivered,
        S: Stream<Item = Result<T, StreamError>> + Send + 'static,
    {
        let is_far = |range: &ByteRange| range.first() > self.growing.received().saturating_add(RANGE_NEAR_BYTES);
        let Passing { proxied, digest, .. } = &self.passing;
        // Whoever reads a part of it keeps the fill from being an orphan: the next part is wanted soon.
        let follower = Arc::clone(&self.follower);
        match range.filter(is_far) {
            Some(far) => Ok(followed(proxied.stream_range(digest, far).await?, follower)),
            None => Ok(Following::stream(read(&self.growing, range), range, self.passing.clone(), follower)),
        }
    }
}

/// What a stream delivers: [`Bytes`], or [`Piece`]s where parts of files will do.
pub(crate) trait Delivered: From<Bytes> + Send + 'static {
    /// How many bytes it stands for.
    fn length(&self) -> u64;
}

impl Delivered for Bytes {
    fn length(&self) -> u64 {
        self.len() as u64
    }
}

impl Delivered for Piece {
    fn length(&self) -> u64 {
        self.length()
    }
}

/// The same stream, which follows a fill for as long as it lives.
fn followed<T: Delivered>(stream: ContentStream, follower: Arc<Follower>) -> ContentStream<T> {
    let keep = move |bytes| {
        let _ = &follower;
        T::from(bytes)
    };
    stream.map_ok(keep).boxed()
}

fn boxed<T>(stream: impl Stream<Item = Result<T, StreamError>> + Send + 'static) -> ContentStream<T> {
    stream.map_err(Into::into).boxed()
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The entries, in order.
    pub entries: Vec<T>,
    /// Whether more follow.
    pub has_more: bool,
    /// What the client's user should be told.
    pub warning: Option<String>,
}

impl<T> Listing<T> {
    /// A page of `limit` out of a list that was read one entry farther, which tells whether more follow.
    pub(crate) fn from_overfull(mut entries: Vec<T>, limit: usize) -> Self {
        let has_more = entries.len() > limit;
        entries.truncate(limit);
        // Nothing follows a page of nothing: the specification wants no link then.
        Self { has_more: has_more && limit > 0, entries, warning: None }
    }
}
