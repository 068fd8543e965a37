//! Pushes whose requests come to different replicas, and what the others see of them.

use bytes::Bytes;
use entrepot_registry::Tasks;
use entrepot_testkit::{Blob, Image};
use futures_util::future::join_all;
use reqwest::{Response, StatusCode};
use tokio::sync::mpsc;

use super::{Fleet, blob_path, get, header, push, push_manifest, read};
use crate::support::Running;

const REPOSITORY: &str = "team/app";

async fn begin(replica: &Running) -> String {
    let url = replica.url(&format!("/v2/{REPOSITORY}/blobs/uploads/"));
    let begun = replica.client.post(url).send().await.unwrap();
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    header(&begun, "location").to_owned()
}

async fn patch(replica: &Running, location: &str, body: impl Into<reqwest::Body>) -> Response {
    replica.client.patch(replica.url(location)).body(body).send().await.unwrap()
}

async fn close(replica: &Running, location: &str, blob: &Blob, rest: Bytes) -> Response {
    let url = replica.url(&format!("{location}?digest={}", blob.digest));
    replica.client.put(url).body(rest).send().await.unwrap()
}

/// What every replica says of a session.
async fn statuses(fleet: &Fleet, location: &str) -> Vec<(u16, String)> {
    let asked = (0..fleet.count()).map(async |replica| {
        let status = get(&fleet[replica], location).await;
        (status.status().as_u16(), header(&status, "range").to_owned())
    });
    join_all(asked).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_at_any_replica_and_each_says_how_far_it_is() {
    let fleet = Fleet::start(3).await;
    // Smaller and larger than a part of the object storage, which has 5 MiB, and never at the boundary of one.
    let image = Image::new(1, &[15_000_001]);
    let layer = &image.layers[0];
    let location = begin(&fleet[0]).await;
    assert_eq!(statuses(&fleet, &location).await, vec![(204, "0-0".to_owned()); 3]);
    let mut first = 0;
    for (replica, end) in [(1, 1_000_003), (1, 12_345_678), (2, 12_345_679), (0, 14_000_000)] {
        let patched = patch(&fleet[replica], &location, layer.bytes.slice(first..end)).await;
        assert_eq!(patched.status(), StatusCode::ACCEPTED, "{replica} {end}");
        assert_eq!(statuses(&fleet, &location).await, vec![(204, format!("0-{}", end - 1)); 3]);
        first = end;
    }
    let closed = close(&fleet[2], &location, layer, layer.bytes.slice(first..)).await;
    assert_eq!(closed.status(), StatusCode::CREATED);
    assert!(statuses(&fleet, &location).await.iter().all(|(status, _)| *status == 404));
    let location = begin(&fleet[1]).await;
    let closed = close(&fleet[0], &location, &image.config, image.config.bytes.clone()).await;
    assert_eq!(closed.status(), StatusCode::CREATED);
    assert_eq!(push_manifest(&fleet[2], REPOSITORY, "1", &image).await.status(), StatusCode::CREATED);
    for replica in 0..3 {
        let bytes = read(&fleet[replica], &blob_path(REPOSITORY, &layer.digest)).await;
        assert!(bytes == layer.bytes, "the blob as replica {replica} reads it");
        let manifest = read(&fleet[replica], &format!("/v2/{REPOSITORY}/manifests/1")).await;
        assert_eq!(manifest, image.manifest.bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_requests_at_two_replicas_never_write_to_one_upload_at_once() {
    let fleet = Fleet::start(2).await;
    let blob = Blob::random(2, 12_000_000);
    let location = begin(&fleet[0]).await;
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let pieces = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (Ok::<_, std::io::Error>(piece), receiver))
    });
    let slow = {
        let (client, url) = (fleet[0].client.clone(), fleet[0].url(&location));
        let sending = async move { client.patch(url).body(reqwest::Body::wrap_stream(pieces)).send().await.unwrap() };
        Tasks::default().spawn(sending)
    };
    sender.send(blob.bytes.slice(..6_000_000)).unwrap();
    // Until the first replica says that it writes, the other one could come first.
    while header(&get(&fleet[0], &location).await, "range") == "0-0" {
        tokio::task::yield_now().await;
    }
    for replica in [1, 0] {
        let refused = patch(&fleet[replica], &location, "of another").await;
        assert_eq!(refused.status(), StatusCode::CONFLICT);
        let text = refused.text().await.unwrap();
        assert!(text.contains("BLOB_UPLOAD_INVALID") && text.contains("another request"), "{text}");
    }
    let refused = close(&fleet[1], &location, &blob, Bytes::new()).await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    sender.send(blob.bytes.slice(6_000_000..11_000_000)).unwrap();
    drop(sender);
    assert_eq!(slow.await.unwrap().status(), StatusCode::ACCEPTED);
    assert_eq!(statuses(&fleet, &location).await, vec![(204, "0-10999999".to_owned()); 2]);
    // Both want to end it: one does.
    let rest = blob.bytes.slice(11_000_000..);
    let closings = join_all([0, 1].map(|replica| close(&fleet[replica], &location, &blob, rest.clone()))).await;
    let mut closed: Vec<u16> = closings.iter().map(|response| response.status().as_u16()).collect();
    closed.sort_unstable();
    assert!(closed[0] == 201 && [404, 409].contains(&closed[1]), "{closed:?}");
    for replica in 0..2 {
        assert!(read(&fleet[replica], &blob_path(REPOSITORY, &blob.digest)).await == blob.bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_is_pushed_moved_or_deleted_at_one_replica_is_so_at_the_other_at_once() {
    let fleet = Fleet::start(2).await;
    let path = format!("/v2/{REPOSITORY}/manifests/1");
    let tags = format!("/v2/{REPOSITORY}/tags/list");
    assert_eq!(get(&fleet[1], &path).await.status(), StatusCode::NOT_FOUND);
    for round in 0..5 {
        let images = [Image::new(10 + 2 * round, &[1000]), Image::new(11 + 2 * round, &[1000])];
        for (replica, image) in images.iter().enumerate() {
            push(&fleet[replica], REPOSITORY, "1", image).await;
            assert_eq!(read(&fleet[1 - replica], &path).await, image.manifest.bytes);
            assert!(read(&fleet[1 - replica], &tags).await.ends_with(b"[\"1\"]}"));
        }
        let deleted = fleet[1].client.delete(fleet[1].url(&path)).send().await.unwrap();
        assert_eq!(deleted.status(), StatusCode::ACCEPTED);
        assert_eq!(get(&fleet[0], &path).await.status(), StatusCode::NOT_FOUND);
        assert!(read(&fleet[0], &tags).await.ends_with(b"[]}"));
    }
}
