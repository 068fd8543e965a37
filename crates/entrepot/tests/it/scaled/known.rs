//! What a replica keeps by itself, and what it hears from the others.

use std::time::Duration;

use entrepot_testkit::{Blob, FakeUpstream, Image, Reply, Seen};
use entrepot_upstream::UpstreamConfig;
use reqwest::StatusCode;

use super::{Fleet, blob_path, get, push_blob, read};
use crate::shared::Shared;
use crate::support::{Running, Setup};

/// How long news may be on their way.
const NEWS: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pulled_again_comes_from_the_local_disk() {
    let shared = Shared::new().with("[storage.read_cache]\nfolder = \"kept\"\nsize_max = \"64MiB\"\n");
    let replica = Running::replica(Setup::default(), shared).await;
    let blob = Blob::random(1, 7_000_000);
    assert_eq!(push_blob(&replica, "team/app", &blob).await.status(), StatusCode::CREATED);
    let path = blob_path("team/app", &blob.digest);
    for _ in 0..2 {
        assert!(read(&replica, &path).await == blob.bytes);
    }
    let fetching = async {
        while replica.measured("read_cache_registry_fetched_total").await == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), fetching).await.expect("what is asked for twice is kept");
    assert_eq!(replica.measured("read_cache_registry_hits_total").await, 0);
    assert!(read(&replica, &path).await == blob.bytes);
    assert_eq!(replica.measured("read_cache_registry_hits_total").await, 1);
    assert_eq!(replica.measured("read_cache_registry_misses_total").await, 2);
    assert_eq!(replica.measured("read_cache_registry_bytes").await, blob.size());
    // Kept is not held back: who deletes it has it gone, and not from the memory of this disk.
    let deleted = replica.client.delete(replica.url(&path)).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    assert_eq!(get(&replica, &path).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_asks_one_replica_for_patience_is_left_alone_by_the_other_one() {
    let upstream = FakeUpstream::start().await;
    let setup = Setup {
        upstreams: vec![UpstreamConfig::new("upstream.test", upstream.url().parse().unwrap())],
        ..Setup::default()
    };
    let fleet = Fleet::over(&Shared::new(), 2, setup.clone()).await;
    let image = Image::new(1, &[1000]);
    image.load_into(&upstream, "team/app", "1");
    let suspended = "upstream_suspended_seconds{upstream=\"upstream.test\"}";
    assert_eq!(fleet[1].measured(suspended).await, 0);
    upstream.when(Seen::is_any).reply(|_| Reply::too_many_requests("120"));
    let path = "/v2/proxy/upstream.test/team/app/manifests/1";
    assert_eq!(get(&fleet[0], path).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let hearing = async {
        while fleet[1].measured(suspended).await == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(NEWS, hearing).await.expect("the other replica hears of it");
    assert!((90..=120).contains(&fleet[1].measured(suspended).await));
    upstream.forget_requests();
    let refused = get(&fleet[1], path).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(upstream.requests().len(), 0, "it is not asked again: {:?}", upstream.requests());
}
