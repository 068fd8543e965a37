//! The store over HTTP: the suite of all stores against servers that speak S3, and a scripted one for what goes wrong on the way.

mod fake;
mod servers;
mod wire;

use entrepot_blobs_object::{Metrics, ObjectStore, ObjectStoreConfig};
use entrepot_testkit::stores::Bucket;
use tempfile::TempDir;

/// How to get at a bucket of a test.
fn config(bucket: &Bucket) -> ObjectStoreConfig {
    let mut config = ObjectStoreConfig::new(format!("s3://{}/some/prefix", bucket.name));
    config.endpoint = Some(bucket.endpoint.clone());
    config.region = Some(bucket.region.clone());
    config.access_key_id = Some(bucket.access_key_id.clone());
    config.secret_access_key = Some(bucket.secret_access_key.clone().into());
    config.allow_http = true;
    config
}

/// A store in a bucket, with a staging folder of its own.
fn open(config: &ObjectStoreConfig) -> (ObjectStore, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = ObjectStore::open(config, folder.path(), Metrics::default()).expect("a store");
    (store, folder)
}
