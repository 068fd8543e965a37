//! Pushing a small blob: received whole, then verified and stored in one step, without a stage.
//!
//! This is for bodies that say that they are small, of a push in one request or of a session into which nothing was written
//! before. Nothing of such a body is promised to be kept before all of it is there: when it breaks off, the client begins with the first byte
//! again, as it does with a large one. A part that is to be acknowledged (`PATCH`) is always staged.

use bytes::Bytes;
use entrepot_blobs::{WHOLE_BYTES_MAX, Whole};
use entrepot_metadata::BlobLink;
use entrepot_oci::Digest;
use futures_util::StreamExt as _;

use crate::registry::Store;
use crate::upload::{Chunk, Source, check_length, commit_error};
use crate::{Error, Repository};

impl Repository {
    /// The length of a body that can be received whole.
    pub(crate) fn whole_length(&self, chunk: Chunk) -> Option<u64> {
        let limit = WHOLE_BYTES_MAX.min(self.registry.limits.blob_bytes_max);
        chunk.length.filter(|length| chunk.range.is_none() && *length <= limit)
    }

    /// Receives a blob of `length` bytes and makes it durable. The row that says who holds it is the caller's to write.
    pub(crate) async fn receive_whole(
        &self,
        store: &Store,
        digest: Digest,
        length: u64,
        source: Source,
    ) -> Result<BlobLink, Error> {
        let frames = collect(source, length).await?;
        let content = Whole::verify(frames, &digest).map_err(commit_error)?;
        store.blobs.put(content).await?;
        Ok(BlobLink { digest, size: length })
    }
}

/// Every byte of `source`, which are as many as it said.
async fn collect(mut source: Source, length: u64) -> Result<Vec<Bytes>, Error> {
    let (mut frames, mut received) = (Vec::new(), 0);
    while let Some(frame) = source.next().await {
        let frame = frame.map_err(|source| Error::SourceBroken { received, source })?;
        received += frame.len() as u64;
        if received > length {
            break;
        }
        frames.push(frame);
    }
    check_length(Some(length), received)?;
    Ok(frames)
}
