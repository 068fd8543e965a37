//! What is pulled again is answered from memory, and never older than what was acknowledged.

use entrepot_testkit::Image;
use reqwest::StatusCode;

use crate::support::{Running, push};

const TAG: &str = "/v2/team/app/manifests/latest";

async fn status(running: &Running, path: &str) -> StatusCode {
    running.client.get(running.url(path)).send().await.unwrap().status()
}

/// Pulls the tag, and everything that it names.
async fn pull(running: &Running, image: &Image) {
    let answer = running.client.get(running.url(TAG)).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), image.manifest.bytes);
    let by_digest = format!("/v2/team/app/manifests/{}", image.manifest.digest);
    assert_eq!(status(running, &by_digest).await, StatusCode::OK);
    for blob in image.blobs() {
        assert_eq!(status(running, &format!("/v2/team/app/blobs/{}", blob.digest)).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn pulls_are_answered_from_memory_and_see_every_push_and_deletion_at_once() {
    let running = Running::over_folders().await;
    let images = [Image::new(1, &[1000]), Image::new(2, &[2000])];
    for image in &images {
        push(&running, "team/app", "latest", image).await;
        pull(&running, image).await;
        let (hits, misses) = counted(&running).await;
        pull(&running, image).await;
        // The tag, the digest, the config and the layer.
        assert_eq!(counted(&running).await, (hits + 4, misses));
    }
    assert!(running.measured("metadata_registry_memory_bytes").await > 1000);
    for gone in [format!("/v2/team/app/blobs/{}", images[1].layers[0].digest), TAG.to_owned()] {
        assert_eq!(status(&running, &gone).await, StatusCode::OK);
        let answer = running.client.delete(running.url(&gone)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{gone}");
        assert_eq!(status(&running, &gone).await, StatusCode::NOT_FOUND, "{gone}");
    }
    assert!(running.measured("metadata_registry_commits_total").await > 0);
    assert!(
        running.measured("metadata_registry_writes_total").await
            >= running.measured("metadata_registry_commits_total").await
    );
    assert_eq!(running.measured("metadata_proxy_memory_hits_total").await, 0);
}

async fn counted(running: &Running) -> (u64, u64) {
    let hits = running.measured("metadata_registry_memory_hits_total").await;
    (hits, running.measured("metadata_registry_memory_misses_total").await)
}
