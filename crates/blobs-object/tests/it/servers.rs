//! The suite against servers of other people.

use std::sync::LazyLock;

use entrepot_blobs_object::{ObjectStore, PART_BYTES_MIN};
use entrepot_testkit::stores::{Bucket, Garage, S3sFs};
use tempfile::TempDir;

use super::{config, open};

fn small_parts(bucket: &Bucket) -> (ObjectStore, TempDir) {
    let mut config = config(bucket);
    config.part_size = PART_BYTES_MIN;
    open(&config)
}

mod garage {
    use super::*;

    static SERVER: LazyLock<Garage> = LazyLock::new(|| Garage::start(1));

    fn store() -> (ObjectStore, TempDir) {
        small_parts(&SERVER.bucket())
    }

    entrepot_blobs::blob_store_suite!(store);
}

mod s3s_fs {
    use super::*;

    static SERVER: LazyLock<S3sFs> = LazyLock::new(S3sFs::start);

    fn store() -> (ObjectStore, TempDir) {
        small_parts(&SERVER.bucket())
    }

    // Without the four cases that store what is named by SHA-512: this server keeps what it knows of an object in a file that is
    // named after the whole key, and no file has a name of so many letters.
    entrepot_blobs::blob_store_suite!(store, sha256 only);
}
