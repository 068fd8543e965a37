//! How a blob of one store becomes a blob of another when the two cannot share the bytes.

use entrepot_oci::Digest;

use crate::{AbsorbError, BlobReader, BlobStore, CommitError, Error, StageId, StreamError};

/// Copies what `source` reads into `store`, verifies it, and returns its size: [`BlobStore::adopt`] for every store
/// that has nothing better.
pub async fn adopt_copy(store: &dyn BlobStore, digest: &Digest, source: &BlobReader) -> Result<u64, Error> {
    let mut ingest = store.begin_known(&StageId::unique("adopt"), digest).await?;
    let unreadable = |source| Error::Source { digest: digest.clone(), source };
    match ingest.absorb(source.stream(None), source.size()).await {
        Ok(_) => {}
        Err(AbsorbError::Source(error)) => return Err(unreadable(error)),
        Err(AbsorbError::TooLarge { limit }) => return Err(unreadable(StreamError::Oversized { expected: limit })),
        Err(AbsorbError::Store(error)) => return Err(error),
    }
    ingest.commit(digest).await.map_err(|error| match error {
        CommitError::Mismatch { expected, actual } => Error::Corrupt { expected, actual },
        CommitError::Store(error) => error,
    })
}
