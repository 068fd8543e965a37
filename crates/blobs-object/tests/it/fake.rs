//! The suite against the scripted server, with the smallest parts that S3 allows: whatever is larger goes in parts.

use std::sync::LazyLock;

use entrepot_blobs_object::{Checksum, ObjectStore, PART_BYTES_MIN};
use entrepot_testkit::stores::FakeS3;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{config, open};

/// One server for all cases, which outlives the runtime of each.
static SERVER: LazyLock<(Runtime, FakeS3)> = LazyLock::new(|| {
    let start = || {
        let runtime = Runtime::new().expect("a runtime");
        let server = runtime.block_on(FakeS3::start());
        (runtime, server)
    };
    // Not within the runtime of the case that comes first.
    std::thread::spawn(start).join().expect("a server")
});

fn small_parts() -> (ObjectStore, TempDir) {
    let mut config = config(&SERVER.1.bucket());
    config.part_size = PART_BYTES_MIN;
    open(&config)
}

mod plain {
    use super::small_parts as store;

    entrepot_blobs::blob_store_suite!(store);
}

mod with_quirks {
    use super::*;

    /// Everything that can be chosen is chosen otherwise.
    fn store() -> (ObjectStore, TempDir) {
        let mut config = config(&SERVER.1.bucket());
        config.part_size = PART_BYTES_MIN;
        config.checksum = Some(Checksum::Crc64Nvme);
        config.conditional_put = false;
        config.unsigned_payload = true;
        open(&config)
    }

    entrepot_blobs::blob_store_suite!(store);
}
