//! What an upstream says it does not have is repeated for a while; that it did not answer is not.

use entrepot_oci::{Algorithm, MediaType};
use entrepot_testkit::Reply;

use super::*;

#[tokio::test]
async fn a_404_is_repeated_for_a_while_and_then_asked_again() {
    let (port, image) = Port::with_image().await;
    let missing = Algorithm::Sha256.digest(b"missing");
    let asked = || port.upstream.requests().len();
    for (reference, seconds) in [("2", 30), (missing.as_str(), 30)] {
        port.upstream.forget_requests();
        let refused = port.pull(reference).await.unwrap_err();
        assert!(matches!(refused.root(), Error::ManifestUnknown { .. }), "{reference}: {refused}");
        let once = asked();
        port.clock.advance((seconds - 1) * SECOND);
        assert!(matches!(port.pull(reference).await.unwrap_err().root(), Error::ManifestUnknown { .. }));
        assert_eq!(asked(), once, "{reference}");
        port.clock.advance(SECOND);
        port.pull(reference).await.unwrap_err();
        assert_eq!(asked(), 2 * once, "{reference}");
    }
    // Of another repository nothing is known by that.
    let other = port.registry.repository(&format!("proxy/{NAME}/other/app").parse().unwrap()).unwrap();
    let before = asked();
    other.manifest(&TagOrDigest::parse("2").unwrap()).await.unwrap_err();
    assert!(asked() > before);
    // What has come meanwhile is had after the pause, or when something else brought it.
    image.load_into(&port.upstream, REPOSITORY, "2");
    port.clock.advance(MINUTE);
    port.pull("2").await.unwrap();
}

#[tokio::test]
async fn what_was_missing_by_digest_is_had_at_once_when_a_tag_brings_it() {
    let port = Port::open(ProxySettings::default()).await;
    let image = Image::new(7, &[10]);
    port.pull(image.manifest.digest.as_str()).await.unwrap_err();
    image.load_into(&port.upstream, REPOSITORY, "1");
    port.pull("1").await.unwrap();
    port.pull(image.manifest.digest.as_str()).await.unwrap();
}

#[tokio::test]
async fn a_missing_blob_is_repeated_for_ten_seconds_at_most() {
    let (port, _) = Port::with_image().await;
    let missing = Algorithm::Sha256.digest(b"missing");
    let repository = port.repository();
    let blobs = || port.upstream.count(Seen::is_blob);
    for _ in 0..3 {
        let refused = repository.blob(&missing).await.unwrap_err();
        assert!(matches!(refused.root(), Error::BlobUnknown { .. }), "{refused}");
        let refused = repository.blob_size(&missing).await.unwrap_err();
        assert!(matches!(refused.root(), Error::BlobUnknown { .. }), "{refused}");
    }
    assert_eq!(blobs(), 1);
    port.upstream.put_blob(REPOSITORY, "missing");
    port.clock.advance(10 * SECOND);
    assert_eq!(repository.blob_size(&missing).await.unwrap().0, 7);
    repository.blob(&missing).await.unwrap();
}

#[tokio::test]
async fn a_private_repository_is_not_asked_for_again_for_a_minute() {
    let (port, _) = Port::with_image().await;
    port.upstream.when(|_| true).reply(|_| Reply::error(403, "DENIED", "no"));
    port.pull("1").await.unwrap_err();
    let once = port.upstream.requests().len();
    port.clock.advance(59 * SECOND);
    assert!(matches!(port.pull("1").await.unwrap_err().root(), Error::Upstream { .. }));
    assert_eq!(port.upstream.requests().len(), once);
    port.upstream.heal();
    port.clock.advance(SECOND);
    port.pull("1").await.unwrap();
}

#[tokio::test]
async fn an_outage_is_not_remembered_against_what_is_not_cached() {
    let (port, image) = Port::with_image().await;
    port.upstream.when(|_| true).times(2).reply(|_| Reply::new(500));
    assert!(matches!(port.pull("1").await.unwrap_err().root(), Error::Upstream { .. }));
    assert!(matches!(port.tags().await.unwrap_err().root(), Error::Upstream { .. }));
    assert_eq!(port.pulled().await, (image.manifest.digest, CacheStatus::Miss));
    assert_eq!(port.tags().await.unwrap().0, ["1"]);
}

#[tokio::test]
async fn an_image_of_schema_1_is_refused_with_what_to_do_and_not_fetched_each_time() {
    let (port, _) = Port::with_image().await;
    port.upstream.when(Seen::is_manifest).reply(|honest| {
        honest
            .with_body(r#"{"schemaVersion":1,"fsLayers":[]}"#)
            .header("content-type", MediaType::DOCKER_SCHEMA1_SIGNED)
    });
    for _ in 0..3 {
        let refused = port.pull("1").await.unwrap_err();
        let Error::Upstream { source, .. } = refused.root() else { panic!("{refused}") };
        let text = source.to_string();
        assert!(text.contains("schema 1") && text.contains("rebuilt") && text.contains(NAME), "{text}");
    }
    assert_eq!(port.gets(), 1);
}

#[tokio::test]
async fn an_upstream_that_is_back_is_asked_again_about_everything_that_it_failed() {
    let (port, image) = Port::with_image().await;
    port.pulled().await;
    port.clock.advance(MINUTE);
    port.upstream.stop().await;
    assert_eq!(port.pull("1").await.unwrap().cache, CacheStatus::Stale);
    port.upstream.restart().await;
    // Remembered, until anything at all shows that the upstream answers.
    assert_eq!(port.pull("1").await.unwrap().cache, CacheStatus::Stale);
    assert!(matches!(port.pull("other").await.unwrap_err().root(), Error::ManifestUnknown { .. }));
    assert_eq!(port.pulled().await, (image.manifest.digest.clone(), CacheStatus::Hit));
}
