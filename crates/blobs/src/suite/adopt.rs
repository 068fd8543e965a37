//! Cases: blobs that come from another store.

use std::sync::Arc;

use super::{assert_absent, content, read, sha256, stored};
use crate::{BlobReader, BlobStore, Error, FilesystemStore, MemoryStore};

/// Adopts from `source` and checks that the two copies live and are deleted independently.
async fn adopt_from(store: &dyn BlobStore, source: &dyn BlobStore, name: &str) {
    let bytes = content(name, 300_000);
    let digest = stored(source, "adopted", &bytes).await;
    let reader = source.open(&digest).await.unwrap().unwrap();
    for _ in 0..2 {
        assert_eq!(store.adopt(&digest, &reader).await.unwrap(), 300_000);
        assert_eq!(read(store, &digest).await, bytes);
    }
    assert!(source.delete(&digest).await.unwrap());
    assert_eq!(read(store, &digest).await, bytes);
    // A reader outlives its blob, so its bytes can still be adopted.
    assert!(store.delete(&digest).await.unwrap());
    assert_eq!(store.adopt(&digest, &reader).await.unwrap(), 300_000);
    assert_eq!(read(store, &digest).await, bytes);
    assert!(store.delete(&digest).await.unwrap());
    stored(source, "adopted", &bytes).await;
    assert_absent(store, &digest).await;
    assert!(store.staged().await.unwrap().iter().all(|entry| !entry.stage.as_str().starts_with("adopt-")));
}

/// From a store that has no file to share.
pub async fn a_blob_from_memory_is_adopted(store: &dyn BlobStore) {
    adopt_from(store, &MemoryStore::new(), "from memory").await;
}

/// From a store whose file may be shared.
pub async fn a_blob_from_files_is_adopted(store: &dyn BlobStore) {
    let folder = tempfile::tempdir().unwrap();
    let source = FilesystemStore::open(folder.path().join("root"), folder.path().join("staging")).unwrap();
    adopt_from(store, &source, "from files").await;
}

/// What is copied is verified, whatever the other store believes.
pub async fn a_corrupt_blob_is_not_adopted(store: &dyn BlobStore) {
    let (bytes, wanted) = (content("corrupt source", 5000), sha256(b"what it is said to be"));
    let source = MemoryStore::new();
    let digest = stored(&source, "corrupt-source", &bytes).await;
    let reader = source.open(&digest).await.unwrap().unwrap();
    let refused = store.adopt(&wanted, &reader).await;
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    assert_absent(store, &wanted).await;
    assert_absent(store, &digest).await;
    let cut = BlobReader::new(6000, Arc::new(Bytes5000(bytes)));
    let refused = store.adopt(&wanted, &cut).await;
    assert!(matches!(refused, Err(Error::Source { .. })), "{refused:?}");
    assert_absent(store, &wanted).await;
}

/// Content that is shorter than its reader was told.
#[derive(Debug)]
struct Bytes5000(bytes::Bytes);

impl crate::Content for Bytes5000 {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> std::io::Result<usize> {
        let rest = usize::try_from(position).ok().and_then(|position| self.0.get(position..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
