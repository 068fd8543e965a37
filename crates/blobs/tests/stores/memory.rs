//! The store in memory.

use entrepot_blobs::MemoryStore;

fn store() -> (MemoryStore, ()) {
    (MemoryStore::new(), ())
}

entrepot_blobs::blob_store_suite!(store);
