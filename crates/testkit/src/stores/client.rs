//! A client of S3 that knows nothing of this crate, for its tests.

use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};

use super::bucket::Bucket;

/// It tries three times.
pub(super) fn client(bucket: &Bucket) -> AmazonS3 {
    // Another test may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    AmazonS3Builder::new()
        .with_endpoint(&bucket.endpoint)
        .with_region(&bucket.region)
        .with_bucket_name(&bucket.name)
        .with_access_key_id(&bucket.access_key_id)
        .with_secret_access_key(&bucket.secret_access_key)
        .with_allow_http(true)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig { max_retries: 2, ..RetryConfig::default() })
        .build()
        .expect("a client")
}
