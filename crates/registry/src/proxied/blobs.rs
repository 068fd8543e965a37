//! Blobs: stored, on their way, or a part straight from the upstream.

use bytes::{Buf, Bytes};
use entrepot_oci::{ByteRange, Digest};
use entrepot_upstream::BlobFrom;
use futures_util::{Stream, StreamExt, TryStreamExt};

use super::Proxied;
use crate::content::{BlobContent, CacheStatus, ContentStream, PulledBlob};
use crate::fill::FillRequest;
use crate::memory::Subject;
use crate::{Error, Registry, SourceError};

impl Proxied {
    pub(super) async fn stored_or_filled(&self, registry: &Registry, digest: &Digest) -> Result<PulledBlob, Error> {
        let store = &registry.cache;
        if let Some(link) = store.metadata.blob(&self.cached_name, digest).await?
            && let Some(reader) = store.blobs.open(digest).await?
            && reader.size() == link.size
        {
            let content = BlobContent::Stored(reader);
            return Ok(PulledBlob { digest: link.digest, size: link.size, cache: CacheStatus::Hit, content });
        }
        let question = self.question(Subject::Blob(digest.clone()));
        self.check_refused(registry, &question)?;
        let request = FillRequest {
            digest: digest.clone(),
            described_size: store.metadata.referenced_size(&self.cached_name, digest).await?,
            proxied: self.clone(),
        };
        let filled = registry.fills.join(request).await;
        self.remember(registry, &question, &filled);
        let (size, content) = filled?;
        Ok(PulledBlob { digest: digest.clone(), size, cache: CacheStatus::Miss, content })
    }

    pub(super) async fn known_or_asked_size(
        &self,
        registry: &Registry,
        digest: &Digest,
    ) -> Result<(u64, CacheStatus), Error> {
        let store = &registry.cache;
        if let Some(link) = store.metadata.blob(&self.cached_name, digest).await?
            && store.blobs.size(digest).await? == Some(link.size)
        {
            return Ok((link.size, CacheStatus::Hit));
        }
        if let Some(size) = store.metadata.referenced_size(&self.cached_name, digest).await? {
            return Ok((size, CacheStatus::Hit));
        }
        let question = self.question(Subject::Blob(digest.clone()));
        self.check_refused(registry, &question)?;
        let size = self.told_blob_size(digest).await;
        let size = size.map_err(|error| self.blob_error(error, digest));
        self.remember(registry, &question, &size);
        match size? {
            Some(size) => Ok((size, CacheStatus::Miss)),
            // The upstream keeps the size to itself: only a whole blob has a length.
            None => Ok((self.stored_or_filled(registry, digest).await?.size, CacheStatus::Miss)),
        }
    }

    /// Asks the upstream for whatever it has of the blob from `from` on.
    pub(crate) async fn ask_for_blob(
        &self,
        digest: &Digest,
        from: BlobFrom,
    ) -> Result<entrepot_upstream::BlobResponse, entrepot_upstream::Error> {
        self.metrics.count_upstream(self.remote.get_blob(&self.upstream_name, digest, from).await)
    }

    /// The size of a blob as the upstream tells it, in bytes; `None` when it is there and its size is not told.
    pub(crate) async fn told_blob_size(&self, digest: &Digest) -> Result<Option<u64>, entrepot_upstream::Error> {
        self.metrics.count_upstream(self.remote.head_blob(&self.upstream_name, digest).await)
    }

    /// Whether the upstream serves the blob under this repository: without that, bytes that came through another one are not its own.
    pub(crate) async fn confirm_blob(&self, digest: &Digest) -> Result<(), Error> {
        self.told_blob_size(digest).await.map(|_size| ()).map_err(|error| self.blob_error(error, digest))
    }

    /// A range straight from the upstream. A part cannot be verified; the whole, which is being filled meanwhile, is.
    pub(crate) async fn stream_range(&self, digest: &Digest, range: ByteRange) -> Result<ContentStream, Error> {
        let response = self.ask_for_blob(digest, BlobFrom::Range(range)).await;
        let response = response.map_err(|error| self.blob_error(error, digest))?;
        let skipped = range.first().saturating_sub(response.first);
        Ok(exactly(response.body.map_err(Into::into).boxed(), skipped, range.length()).boxed())
    }

    pub(crate) fn blob_error(&self, error: entrepot_upstream::Error, digest: &Digest) -> Error {
        self.error_of(error, &Subject::Blob(digest.clone()))
    }
}

/// Leaves out the first `skipped` bytes and passes on exactly `length`: fewer end with an error, more are not read.
fn exactly<S>(source: S, skipped: u64, length: u64) -> impl Stream<Item = Result<Bytes, SourceError>> + Send
where
    S: Stream<Item = Result<Bytes, SourceError>> + Unpin + Send,
{
    futures_util::stream::try_unfold((source, skipped, length), |(mut source, mut skipped, missing)| async move {
        if missing == 0 {
            return Ok(None);
        }
        loop {
            let Some(mut piece) = source.try_next().await? else {
                return Err(format!("the upstream's answer ended {missing} bytes early").into());
            };
            skipped -= advance(&mut piece, skipped);
            piece.truncate(usize::try_from(missing).unwrap_or(usize::MAX));
            if !piece.is_empty() {
                let missing = missing - piece.len() as u64;
                return Ok(Some((piece, (source, skipped, missing))));
            }
        }
    })
}

/// Cuts up to `count` bytes off the front, and says how many that were.
pub(crate) fn advance(piece: &mut Bytes, count: u64) -> u64 {
    let cut = usize::try_from(count).unwrap_or(usize::MAX).min(piece.len());
    piece.advance(cut);
    cut as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passed_on(pieces: &'static [&'static str], skipped: u64, length: u64) -> Result<String, String> {
        let source = futures_util::stream::iter(pieces).map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let pieces: Vec<Bytes> =
            exactly(source, skipped, length).try_collect().await.map_err(|error| error.to_string())?;
        Ok(pieces.iter().map(|piece| String::from_utf8_lossy(piece)).collect())
    }

    #[tokio::test]
    async fn a_range_is_passed_on_to_the_byte() {
        assert_eq!(passed_on(&["abc", "def", "ghi"], 0, 4).await, Ok("abcd".into()));
        assert_eq!(passed_on(&["abc", "def", "ghi"], 4, 3).await, Ok("efg".into()));
        assert_eq!(passed_on(&["abc"], 1, 2).await, Ok("bc".into()));
        assert!(passed_on(&["abc"], 1, 3).await.unwrap_err().contains("1 bytes early"));
    }
}
