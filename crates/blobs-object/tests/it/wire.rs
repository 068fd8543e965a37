//! What goes wrong between here and the store.

use std::time::{Duration, Instant};

use bytes::Bytes;
use entrepot_blobs::{BlobStore as _, CommitError, Error, Ingest, Parked};
use entrepot_blobs_object::{Metrics, ObjectStore, ObjectStoreConfig, PART_BYTES_MIN};
use entrepot_oci::{Algorithm, Digest};
use entrepot_testkit::Gate;
use entrepot_testkit::stores::{FakeS3, S3Operation};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{config, open};

/// Three parts, the last of which is small.
const LARGE: usize = 11 << 20;

fn content(length: usize) -> Bytes {
    (0..length).map(|index| index.to_le_bytes()[0] ^ index.to_le_bytes()[1] ^ index.to_le_bytes()[2]).collect()
}

async fn staged(store: &ObjectStore, stage: &str, bytes: &Bytes) -> Ingest {
    let mut ingest = store.begin(&stage.parse().unwrap(), Algorithm::Sha256).await.unwrap();
    absorb(&mut ingest, bytes).await;
    ingest
}

async fn absorb(ingest: &mut Ingest, bytes: &Bytes) {
    let frames: Vec<_> = bytes.chunks(1 << 20).map(|frame| Ok::<_, std::io::Error>(bytes.slice_ref(frame))).collect();
    ingest.absorb(stream::iter(frames), u64::MAX).await.unwrap();
}

async fn read(store: &ObjectStore, digest: &Digest) -> Vec<u8> {
    let reader = store.open(digest).await.unwrap().unwrap();
    let frames: Vec<_> = reader.stream(None).try_collect().await.unwrap();
    frames.concat()
}

/// A scripted server, and how to use a bucket of it.
async fn fake() -> (FakeS3, ObjectStoreConfig) {
    let server = FakeS3::start().await;
    let mut config = config(&server.bucket());
    config.part_size = PART_BYTES_MIN;
    (server, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_is_tried_again() {
    let (server, config) = fake().await;
    let (store, _folder) = open(&config);
    for operation in [
        S3Operation::CreateMultipartUpload,
        S3Operation::UploadPart,
        S3Operation::CompleteMultipartUpload,
        S3Operation::PutObject,
        S3Operation::GetObject,
        S3Operation::HeadObject,
    ] {
        server.when(move |seen| seen.is(operation)).once().refuse(FakeS3::slow_down());
        server.when(move |seen| seen.is(operation)).once().refuse(FakeS3::error(500, "InternalError"));
    }
    // The outcome of these is not known to whoever asked.
    for operation in [S3Operation::UploadPart, S3Operation::CompleteMultipartUpload, S3Operation::PutObject] {
        server.when(move |seen| seen.is(operation)).once().lose_reply();
    }
    let success = FakeS3::error(200, "InternalError");
    server.when(|seen| seen.is(S3Operation::CompleteMultipartUpload)).once().refuse(success);
    let bytes = content(LARGE);
    let digest = Algorithm::Sha256.digest(&bytes);
    staged(&store, "again", &bytes).await.commit(&digest).await.unwrap();
    assert_eq!(read(&store, &digest).await, bytes);
    store.drained().await;
    assert_eq!(store.staged().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_inside_a_success_is_a_failure() {
    for code in ["InternalError", "AccessDenied"] {
        let (server, mut config) = fake().await;
        config.retries_max = 1;
        let bucket_name = config.url.clone();
        let (store, _folder) = open(&config);
        let error = move || FakeS3::error(200, code);
        server.when(|seen| seen.is(S3Operation::CompleteMultipartUpload)).refuse(error());
        let bytes = content(LARGE);
        let digest = Algorithm::Sha256.digest(&bytes);
        let failed = staged(&store, "failing", &bytes).await.commit(&digest).await;
        assert!(matches!(failed, Err(CommitError::Store(_))), "{bucket_name}: {failed:?}");
        assert_eq!(store.size(&digest).await.unwrap(), None);
        store.drained().await;
        assert_eq!(store.staged().await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_in_bounded_time_and_without_secrets() {
    let (server, mut config) = fake().await;
    config.retries_max = 2;
    config.retry_for = Duration::from_secs(2);
    config.timeouts.answer = Duration::from_millis(300);
    let (store, _folder) = open(&config);
    let digest = Algorithm::Sha256.digest(b"x");
    let gate = Gate::new();
    server.when(|_| true).held_at(&gate).reply(|reply| reply);
    let began = Instant::now();
    let silent = store.size(&digest).await.unwrap_err();
    assert!(silent.is_unavailable(), "{silent:?}");
    assert!(store.probe().await.unwrap_err().is_unavailable());
    server.stop().await;
    let away = store.open(&digest).await.unwrap_err();
    assert!(away.is_unavailable(), "{away:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    gate.open();
    server.restart().await;
    server.heal();
    assert_eq!(store.size(&digest).await.unwrap(), None);
    server.when(|_| true).refuse(FakeS3::error(403, "SignatureDoesNotMatch"));
    let refused = store.size(&digest).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
    for error in [silent, away, refused] {
        let told = format!("{error:?}");
        assert!(!told.contains("a secret that nobody checks"), "{told}");
    }
}

/// The bucket is not there: nothing is known of what might be in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_bucket_nothing_is_absent() {
    let (_server, mut config) = fake().await;
    config.url = "s3://no-such-bucket/x".to_owned();
    let (store, _folder) = open(&config);
    let asked = store.size(&Algorithm::Sha256.digest(b"x")).await;
    assert!(matches!(asked, Err(Error::Refused { .. })), "{asked:?}");
    assert!(store.probe().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_breaks_off_goes_on_from_there() {
    let (server, config) = fake().await;
    let (store, _folder) = open(&config);
    let bytes = content(LARGE);
    let digest = Algorithm::Sha256.digest(&bytes);
    staged(&store, "broken", &bytes).await.commit(&digest).await.unwrap();
    let is_transfer =
        |seen: &entrepot_testkit::stores::S3Seen| seen.is(S3Operation::GetObject) && seen.header("range").is_some();
    server.when(is_transfer).times(2).reply(|reply| reply.cut_after(3 << 20));
    server.forget_requests();
    assert_eq!(read(&store, &digest).await, bytes);
    assert_eq!(server.count(is_transfer), 3);
}

/// Whatever the store does, a reader who comes to the end without an error has all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_cannot_go_on_ends_in_an_error() {
    let (server, mut config) = fake().await;
    config.retries_max = 1;
    let (store, _folder) = open(&config);
    let bytes = content(LARGE);
    let digest = Algorithm::Sha256.digest(&bytes);
    staged(&store, "broken", &bytes).await.commit(&digest).await.unwrap();
    let reader = store.open(&digest).await.unwrap().unwrap();
    server.when(|seen| seen.is(S3Operation::GetObject)).once().reply(|reply| reply.cut_after(3 << 20));
    server.when(|seen| seen.is(S3Operation::GetObject)).refuse(FakeS3::slow_down());
    let came: Vec<_> = reader.stream(None).collect().await;
    assert!(came.last().unwrap().is_err());
}

/// The signature is all that it takes, and only for as long as it lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_url_reads_the_blob_from_the_public_endpoint() {
    let (server, mut config) = fake().await;
    config.public_endpoint = Some(format!("http://localhost:{}", server.address().port()));
    let (store, _folder) = open(&config);
    for length in [700, LARGE] {
        let bytes = content(length);
        let digest = Algorithm::Sha256.digest(&bytes);
        assert!(store.signed_url(&digest, Duration::from_mins(5)).await.unwrap().is_none());
        staged(&store, "signed", &bytes).await.commit(&digest).await.unwrap();
        server.forget_requests();
        let url = store.signed_url(&digest, Duration::from_mins(5)).await.unwrap().unwrap();
        assert_eq!(server.requests().len(), 0, "it is known where the blob is");
        assert!(url.as_str().starts_with("http://localhost:") && url.as_str().contains("X-Amz-Expires=300"));
        let client = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(no_tls()).build().unwrap();
        let came = client.get(url.as_str()).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(came, bytes);
    }
}

/// A client of the tests speaks plain HTTP, and has to be given some TLS all the same.
fn no_tls() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

/// Nothing is asked of a provider when it is opened, and the two that have no server here sign as well.
#[tokio::test]
async fn every_provider_can_be_opened() {
    let mut config = ObjectStoreConfig::new("az://container/prefix");
    config.access_key_id = Some("account".to_owned());
    config.secret_access_key = Some("c2VjcmV0".to_owned().into());
    let (_store, _folder) = open(&config);
    config.access_key_id = None;
    let folder = tempfile::tempdir().unwrap();
    let refused = ObjectStore::open(&config, folder.path(), Metrics::default()).unwrap_err();
    assert!(refused.to_string().contains("refuses its configuration"), "{refused}");
    let (_store, _folder) = open(&ObjectStoreConfig::new("gs://bucket/prefix"));
    let (_store, _folder) = open(&ObjectStoreConfig::new("s3://bucket/prefix"));
}

/// Another process, with nothing but the row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_in_another_process() {
    let (server, config) = fake().await;
    let bucket_uploads = |config: &ObjectStoreConfig| {
        let name = config.url.split('/').nth(2).unwrap_or_default().to_owned();
        let bucket = entrepot_testkit::stores::Bucket {
            name,
            endpoint: String::new(),
            region: String::new(),
            access_key_id: String::new(),
            secret_access_key: String::new(),
        };
        server.uploads(&bucket).len()
    };
    let (here, there) = (open(&config), open(&config));
    let bytes = content(2 * LARGE);
    let digest = Algorithm::Sha512.digest(&bytes);
    let row = staged(&here.0, "session", &bytes.slice(..LARGE)).await.park().await.unwrap().encode().unwrap();
    let parked = Parked::decode(&row);
    let mut ingest = there.0.resume(&"session".parse().unwrap(), Algorithm::Sha256, parked).await.unwrap().unwrap();
    assert_eq!(bucket_uploads(&config), 1);
    absorb(&mut ingest, &bytes.slice(LARGE..)).await;
    ingest.commit(&digest).await.unwrap();
    assert_eq!(read(&here.0, &digest).await, bytes);
    here.0.discard(&"session".parse().unwrap()).await.unwrap();
    there.0.drained().await;
    assert_eq!(there.0.staged().await.unwrap(), []);
    assert_eq!(bucket_uploads(&config), 0);
}
