//! Asking the upstream now, whatever the windows say.

use entrepot_oci::Algorithm;
use entrepot_registry::{OnUpstream404, Refreshed};
use entrepot_testkit::Gate;

use super::*;

impl Port {
    async fn refresh(&self, reference: &str) -> Result<Refreshed, Error> {
        self.repository().refresh(&TagOrDigest::parse(reference).unwrap()).await
    }
}

#[tokio::test]
async fn a_refresh_asks_within_the_window_and_says_what_changed() {
    let (port, first) = Port::with_image().await;
    let some = |image: &Image| Some(image.manifest.digest.clone());
    assert_eq!(port.refresh("1").await.unwrap(), Refreshed { before: None, after: some(&first) });
    assert_eq!(port.refresh("1").await.unwrap(), Refreshed { before: some(&first), after: some(&first) });
    assert_eq!((port.heads(), port.gets()), (2, 1));
    let second = Image::new(8, &[20]);
    second.load_into(&port.upstream, REPOSITORY, "1");
    assert_eq!(port.refresh("1").await.unwrap(), Refreshed { before: some(&first), after: some(&second) });
    assert_eq!(port.pulled().await, (second.manifest.digest.clone(), CacheStatus::Hit));
    assert_eq!((port.heads(), port.gets()), (3, 2));
}

#[tokio::test]
async fn a_refresh_of_a_digest_asks_whether_it_is_there_and_fetches_nothing_twice() {
    let (port, image) = Port::with_image().await;
    let digest = image.manifest.digest.clone();
    let found = port.refresh(digest.as_str()).await.unwrap();
    assert_eq!(found, Refreshed { before: None, after: Some(digest.clone()) });
    let found = port.refresh(digest.as_str()).await.unwrap();
    assert_eq!(found, Refreshed { before: Some(digest.clone()), after: Some(digest.clone()) });
    assert_eq!((port.heads(), port.gets()), (1, 1));
    port.upstream.remove(REPOSITORY, &digest);
    let gone = port.refresh(digest.as_str()).await.unwrap();
    assert_eq!(gone, Refreshed { before: Some(digest.clone()), after: None });
    assert_eq!(port.pull(digest.as_str()).await.unwrap().cache, CacheStatus::Hit);
}

#[tokio::test]
async fn a_refresh_of_what_is_gone_does_what_the_freshness_says() {
    for on_upstream_404 in [OnUpstream404::Keep, OnUpstream404::Forget] {
        let (port, image) = Port::with_image_and(Freshness { on_upstream_404, ..Freshness::default() }).await;
        port.pulled().await;
        port.upstream.remove_tag(REPOSITORY, "1");
        let gone = port.refresh("1").await.unwrap();
        assert_eq!(gone, Refreshed { before: Some(image.manifest.digest.clone()), after: None });
        assert_eq!(port.pull("1").await.is_ok(), on_upstream_404 == OnUpstream404::Keep);
    }
}

#[tokio::test]
async fn a_refresh_forgets_what_was_refused_and_listed() {
    let port = Port::open(ProxySettings::default()).await;
    let missing = Algorithm::Sha256.digest(b"missing");
    let repository = port.repository();
    Image::new(7, &[10]).load_into(&port.upstream, REPOSITORY, "1");
    port.tags().await.unwrap();
    port.pull("2").await.unwrap_err();
    repository.blob_size(&missing).await.unwrap_err();
    Image::new(8, &[20]).load_into(&port.upstream, REPOSITORY, "2");
    port.upstream.put_blob(REPOSITORY, "missing");
    assert_eq!(port.tags().await.unwrap().0, ["1"]);
    port.refresh("1").await.unwrap();
    assert_eq!(port.tags().await.unwrap().0, ["1", "2"]);
    port.pull("2").await.unwrap();
    repository.blob_size(&missing).await.unwrap();
}

#[tokio::test]
async fn a_refresh_does_not_take_an_answer_that_was_asked_for_before() {
    let (port, first) = Port::with_image().await;
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(Seen::is_head).once().reply(move |honest| honest.silent(&held));
    let second = Image::new(8, &[20]);
    let moving = async {
        gate.reached_by(1).await;
        second.load_into(&port.upstream, REPOSITORY, "1");
        let refreshing = port.refresh("1");
        let opening = async { gate.open() };
        tokio::join!(biased; refreshing, opening).0.unwrap()
    };
    let (pulled, refreshed) = tokio::join!(port.pull("1"), moving);
    assert_eq!(pulled.unwrap().manifest.digest, first.manifest.digest);
    assert_eq!(refreshed.after, Some(second.manifest.digest.clone()));
    assert_eq!(port.pulled().await, (second.manifest.digest, CacheStatus::Hit));
}

#[tokio::test]
async fn a_refresh_of_nothing_cached_and_of_an_upstream_that_is_away_is_an_error() {
    let (port, image) = Port::with_image().await;
    let hosted = port.registry.repository(&"team/app".parse().unwrap()).unwrap();
    let refused = hosted.refresh(&by_digest(&image.manifest.digest)).await;
    assert!(matches!(refused, Err(Error::NotACache { .. })), "{refused:?}");
    port.pulled().await;
    port.upstream.stop().await;
    assert!(matches!(port.refresh("1").await.unwrap_err().root(), Error::Upstream { .. }));
    // It was an order to ask, not one to forget.
    assert_eq!(port.pulled().await, (image.manifest.digest, CacheStatus::Hit));
}
