//! The fake, with a client of S3 that knows nothing of it.

use std::time::{Duration, UNIX_EPOCH};

use futures_util::TryStreamExt as _;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload as _, ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload,
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::client::client;
use super::*;

async fn read(client: &AmazonS3, key: &str) -> object_store::Result<Bytes> {
    client.get(&Path::from(key)).await?.bytes().await
}

/// The whole answer to a GET of a client that signs nothing.
async fn ask(s3: &FakeS3, path: &str) -> String {
    let mut connection = tokio::net::TcpStream::connect(s3.address()).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: s3\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn objects_are_put_read_listed_copied_and_deleted() {
    let s3 = FakeS3::start().await;
    let bucket = s3.bucket();
    let client = client(&bucket);
    for key in ["a/1", "a/2", "a/b/3 & more", "c"] {
        client.put(&Path::from(key), PutPayload::from(format!("content of {key}"))).await.expect("it is put");
    }
    assert_eq!(read(&client, "a/b/3 & more").await.expect("it is there"), "content of a/b/3 & more");
    let range = GetOptions { range: Some(GetRange::Suffix(3)), ..GetOptions::default() };
    let part = client.get_opts(&Path::from("a/1"), range).await.expect("it is there");
    assert_eq!(part.range, 11..14);
    assert_eq!(part.bytes().await.expect("it is read"), "a/1");
    assert_eq!(client.head(&Path::from("c")).await.expect("it is there").size, 12);
    assert!(matches!(client.head(&Path::from("d")).await, Err(Error::NotFound { .. })));

    s3.set_page_max(2);
    let listed: Vec<_> =
        client.list(None).map_ok(|object| object.location.to_string()).try_collect().await.expect("a list");
    assert_eq!(listed, ["a/1", "a/2", "a/b/3 & more", "c"]);
    assert_eq!(s3.count(|seen| seen.is(S3Operation::ListObjectsV2)), 2, "pages");
    let level = client.list_with_delimiter(Some(&Path::from("a"))).await.expect("a list");
    assert_eq!(level.common_prefixes, [Path::from("a/b")]);
    assert_eq!(level.objects.len(), 2);

    client.copy(&Path::from("c"), &Path::from("copy")).await.expect("it is copied");
    assert_eq!(read(&client, "copy").await.expect("it is there"), "content of c");
    let keys = ["a/1", "a/b/3 & more", "missing"].map(|key| Ok(Path::from(key)));
    let deleted = client.delete_stream(Box::pin(futures_util::stream::iter(keys)));
    assert_eq!(deleted.try_collect::<Vec<_>>().await.expect("they are deleted").len(), 3);
    client.delete(&Path::from("c")).await.expect("it is deleted");
    assert_eq!(s3.keys(&bucket), ["a/2", "copy"]);
}

#[tokio::test]
async fn a_conditional_put_writes_once() {
    let s3 = FakeS3::start().await;
    let bucket = s3.bucket();
    let (client, key) = (client(&bucket), Path::from("once"));
    client.put_opts(&key, "first".into(), PutMode::Create.into()).await.expect("nothing is there");
    let second = client.put_opts(&key, "second".into(), PutMode::Create.into()).await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(s3.object(&bucket, "once").expect("it is there"), "first");
    assert_eq!(s3.count(S3Seen::is_create), 2);
}

#[tokio::test]
async fn an_upload_in_parts_is_seen_while_open_and_becomes_an_object() {
    let s3 = FakeS3::start().await;
    let bucket = s3.bucket();
    s3.set_part_bytes_min(4);
    let (client, key) = (client(&bucket), Path::from("large"));
    let mut upload = client.put_multipart(&key).await.expect("it begins");
    upload.put_part("part one, ".into()).await.expect("a part");
    upload.put_part("two".into()).await.expect("a part");
    let open = s3.uploads(&bucket);
    assert_eq!((open[0].key.as_str(), &open[0].parts[..]), ("large", &[(1, 10), (2, 3)][..]));
    upload.complete().await.expect("it is completed");
    assert_eq!(s3.object(&bucket, "large").expect("it is there"), "part one, two");
    assert_eq!(s3.uploads(&bucket), []);

    let mut upload = client.put_multipart(&key).await.expect("it begins");
    upload.put_part("one".into()).await.expect("a part");
    upload.put_part("two".into()).await.expect("a part");
    let error = upload.complete().await.expect_err("the first part is too small");
    assert!(error.to_string().contains("EntityTooSmall"), "{error}");
    upload.abort().await.expect("it is aborted");
    assert_eq!(s3.uploads(&bucket), []);
}

#[tokio::test]
async fn a_presigned_url_is_honoured() {
    let s3 = FakeS3::start().await;
    let bucket = s3.bucket();
    s3.put(&bucket, "some/blob", "content");
    let url = client(&bucket).signed_url(http::Method::GET, &Path::from("some/blob"), Duration::from_mins(1)).await;
    let url = url.expect("a signature");
    let path = format!("{}?{}", url.path(), url.query().expect("it is signed"));
    let answer = ask(&s3, &path).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\ncontent"), "{answer}");
    assert!(s3.requests()[0].is_presigned());
}

#[tokio::test]
async fn what_was_asked_to_fail_fails_and_is_honest_again_afterwards() {
    let s3 = FakeS3::start().await;
    let bucket = s3.bucket();
    let (client, key) = (client(&bucket), Path::from("key"));

    s3.when(|seen| seen.is(S3Operation::PutObject)).times(2).refuse(FakeS3::slow_down());
    client.put(&key, "one".into()).await.expect("the third try");
    assert_eq!(s3.count(|seen| seen.is(S3Operation::PutObject)), 3);

    s3.when(|seen| seen.is(S3Operation::PutObject)).once().forget();
    client.put(&key, "forgotten".into()).await.expect("a lie");
    assert_eq!(read(&client, "key").await.expect("it is there"), "one");

    let before = s3.snapshot();
    s3.put(&bucket, "late", "late");
    s3.when(|seen| seen.is(S3Operation::HeadObject)).once().stale(&before);
    assert!(matches!(client.head(&Path::from("late")).await, Err(Error::NotFound { .. })), "it lags behind");
    client.head(&Path::from("late")).await.expect("it has caught up");

    s3.when(|seen| seen.is(S3Operation::CopyObject)).reply(|_| FakeS3::error(200, "InternalError"));
    client.copy(&key, &Path::from("copy")).await.expect_err("an error in a 200");
    s3.heal();

    s3.when(|seen| seen.is(S3Operation::PutObject)).once().lose_reply();
    client.put_opts(&Path::from("lost"), "lost".into(), PutMode::Create.into()).await.expect_err("it was there");
    assert_eq!(s3.object(&bucket, "lost").expect("the first try wrote it"), "lost");

    s3.when(|seen| seen.is(S3Operation::PutObject)).times(9).cut_request_after(2);
    client.put(&Path::from("cut"), "cut".into()).await.expect_err("it is cut each time");
    assert_eq!(s3.object(&bucket, "cut"), None);
}

#[tokio::test]
async fn a_request_waits_at_a_gate_and_a_stopped_server_comes_back() {
    let s3 = FakeS3::start().await;
    let bucket = s3.bucket();
    let (client, key) = (client(&bucket), Path::from("key"));
    let gate = Gate::new();
    s3.when(S3Seen::is_any).once().held_at(&gate).reply(|honest| honest);
    let (put, ()) = tokio::join!(client.put(&key, "held".into()), async {
        gate.reached_by(1).await;
        assert_eq!(s3.object(&bucket, "key"), None);
        gate.open();
    });
    put.expect("it goes on");
    s3.stop().await;
    client.get(&key).await.expect_err("nobody listens");
    s3.restart().await;
    assert_eq!(read(&client, "key").await.expect("it is there"), "held");
}

#[tokio::test]
async fn open_uploads_and_their_parts_are_listed_by_pages() {
    let s3 = FakeS3::start().await;
    let bucket = s3.bucket();
    s3.set_page_max(2);
    s3.set_now(UNIX_EPOCH + Duration::from_hours(1));
    let client = client(&bucket);
    for key in ["a/one", "a/two", "b/three", "b/three"] {
        let mut upload = client.put_multipart(&Path::from(key)).await.expect("it begins");
        for part in ["1", "2", "3"] {
            upload.put_part(part.into()).await.expect("a part");
        }
    }
    let list = |query: &str| format!("/{}?uploads&{query}", bucket.name);
    let first = ask(&s3, &list("prefix=")).await;
    assert_eq!(xml::texts(&first, "Key"), ["a/one", "a/two"]);
    assert_eq!(xml::texts(&first, "Initiated")[0], "1970-01-01T01:00:00.000Z");
    let (key, id) = (xml::texts(&first, "NextKeyMarker"), xml::texts(&first, "NextUploadIdMarker"));
    let second = ask(&s3, &list(&format!("key-marker={}&upload-id-marker={}", key[0], id[0]))).await;
    assert_eq!(xml::texts(&second, "Key"), ["b/three", "b/three"]);
    assert_eq!(xml::texts(&second, "IsTruncated"), ["false"]);
    assert_eq!(xml::texts(&ask(&s3, &list("prefix=a/&key-marker=a/one")).await, "Key"), ["a/two"]);

    let parts = |marker: &str| format!("/{}/a/two?uploadId={}&part-number-marker={marker}", bucket.name, id[0]);
    let (first, second) = (ask(&s3, &parts("0")).await, ask(&s3, &parts("2")).await);
    assert_eq!((xml::texts(&first, "PartNumber").len(), xml::texts(&second, "PartNumber").len()), (2, 1));
    assert_eq!(xml::texts(&first, "NextPartNumberMarker"), ["2"]);
}
