//! Bytes that are here once, for what was pushed and what was fetched.

use entrepot_testkit::{Blob, Seen};
use reqwest::StatusCode;

use super::{NAME, Port, REPOSITORY};

const SIZE: usize = 50_000;

async fn push(port: &Port, blob: &Blob) {
    let url = port.registry.url(&format!("/v2/own/app/blobs/uploads/?digest={}", blob.digest));
    let pushed = port.registry.client.post(url).body(blob.bytes.clone()).send().await.unwrap();
    assert_eq!(pushed.status(), StatusCode::CREATED);
}

/// Where the bytes of a blob lie.
fn data(port: &Port, store: &str, blob: &Blob) -> std::path::PathBuf {
    let hex = blob.digest.hex();
    port.registry.folder().join(format!("{store}/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
}

#[tokio::test]
async fn a_pushed_blob_is_given_to_a_cached_repository_only_after_its_right_to_it_is_proven() {
    let blob = Blob::random(1, SIZE);
    // No manifest names it, and the upstream does not have it.
    let port = Port::open().await;
    push(&port, &blob).await;
    assert_eq!(port.get(port.blob_url(&blob.digest)).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(port.head(port.blob_url(&blob.digest)).await.status(), StatusCode::NOT_FOUND);
    // The upstream says that it is the repository's. One that cannot be asked has not said so.
    let port = Port::open().await;
    push(&port, &blob).await;
    port.upstream.put_blob(REPOSITORY, blob.bytes.clone());
    port.upstream.when(Seen::is_blob).reply(|_| entrepot_testkit::Reply::new(503));
    assert_eq!(port.get(port.blob_url(&blob.digest)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    port.upstream.heal();
    port.upstream.forget_requests();
    assert_eq!(port.blob(&blob.digest).await, blob.bytes);
    assert_eq!((port.blob_gets(), port.upstream.count(Seen::is_blob)), (0, 1));
}

#[tokio::test]
async fn a_shared_blob_lives_in_each_store_on_its_own() {
    let (port, image) = Port::with_image(&[SIZE, SIZE]).await;
    port.manifest("1").await;
    let (pushed, fetched) = (&image.layers[0], &image.layers[1]);
    push(&port, pushed).await;
    assert_eq!(port.blob(&pushed.digest).await, pushed.bytes);
    assert_eq!(port.blob_gets(), 0);
    port.blob(&fetched.digest).await;
    port.leftovers().await;
    let mount = format!("/v2/own/app/blobs/uploads/?mount={}&from=proxy/{NAME}/{REPOSITORY}", fetched.digest);
    let mounted = port.registry.client.post(port.registry.url(&mount)).send().await.unwrap();
    assert_eq!(mounted.status(), StatusCode::CREATED);
    // What one store loses the other keeps.
    std::fs::remove_file(data(&port, "registry", pushed)).unwrap();
    std::fs::remove_file(data(&port, "proxy", fetched)).unwrap();
    port.upstream.forget_requests();
    assert_eq!(port.blob(&pushed.digest).await, pushed.bytes);
    assert_eq!(port.blob_gets(), 0);
    let own = port.get(port.registry.url(&format!("/v2/own/app/blobs/{}", fetched.digest))).await;
    assert_eq!(own.bytes().await.unwrap(), fetched.bytes);
}

#[tokio::test]
async fn a_truncated_pushed_blob_is_fetched_and_never_adopted() {
    let (port, image) = Port::with_image(&[SIZE]).await;
    let unnamed = Blob::random(9, SIZE);
    port.upstream.put_blob(REPOSITORY, unnamed.bytes.clone());
    port.manifest("1").await;
    for blob in [&image.layers[0], &unnamed] {
        push(&port, blob).await;
        let file = data(&port, "registry", blob);
        std::fs::File::options().write(true).open(&file).unwrap().set_len(10).unwrap();
        assert_eq!(port.blob(&blob.digest).await, blob.bytes);
        port.leftovers().await;
        assert_eq!(std::fs::metadata(data(&port, "proxy", blob)).unwrap().len(), blob.size());
    }
    assert_eq!(port.blob_gets(), 2);
}

#[tokio::test]
async fn a_blob_that_the_cache_has_lost_or_damaged_is_not_mounted() {
    let (port, image) = Port::with_image(&[SIZE]).await;
    port.manifest("1").await;
    let layer = &image.layers[0];
    port.blob(&layer.digest).await;
    port.leftovers().await;
    let file = data(&port, "proxy", layer);
    std::fs::File::options().write(true).open(&file).unwrap().set_len(10).unwrap();
    for round in ["damaged", "lost"] {
        for from in [format!("&from=proxy/{NAME}/{REPOSITORY}"), String::new()] {
            let url = port.registry.url(&format!("/v2/own/app/blobs/uploads/?mount={}{from}", layer.digest));
            let answer = port.registry.client.post(url).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::ACCEPTED, "{round} {from}");
        }
        let own = port.get(port.registry.url(&format!("/v2/own/app/blobs/{}", layer.digest))).await;
        assert_eq!(own.status(), StatusCode::NOT_FOUND, "{round}");
        std::fs::remove_file(&file).unwrap_or_default();
    }
}
