//! How long a tag is believed, and what it costs the upstream.

use entrepot_registry::{FreshnessRule, OnUpstream404, Patterns};
use entrepot_testkit::Gate;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_cost_nothing_within_a_window_and_one_head_after_it() {
    let (port, image) = Port::with_image().await;
    assert_eq!(port.pulled().await, (image.manifest.digest.clone(), CacheStatus::Miss));
    assert_eq!((port.heads(), port.gets()), (1, 1));
    port.clock.advance(59 * SECOND);
    let pulled = join_all((0..100).map(|_| port.pulled())).await;
    assert!(pulled.iter().all(|pulled| *pulled == (image.manifest.digest.clone(), CacheStatus::Hit)));
    assert_eq!((port.heads(), port.gets(), port.metrics.tags_believed.get()), (1, 1, 100));
    // The window is over: one HEAD for all, and the next window begins with its answer.
    port.clock.advance(SECOND);
    let pulled = join_all((0..100).map(|_| port.pulled())).await;
    assert!(pulled.iter().all(|pulled| *pulled == (image.manifest.digest.clone(), CacheStatus::Hit)));
    assert_eq!((port.heads(), port.gets()), (2, 1));
    port.clock.advance(59 * SECOND);
    port.pulled().await;
    assert_eq!((port.heads(), port.gets()), (2, 1));
}

#[tokio::test]
async fn a_tag_that_moves_is_followed_after_its_window_by_the_digest_that_was_named() {
    let (port, first) = Port::with_image().await;
    port.pulled().await;
    let second = Image::new(8, &[20]);
    second.load_into(&port.upstream, REPOSITORY, "1");
    assert_eq!(port.pulled().await.0, first.manifest.digest);
    port.clock.advance(MINUTE);
    port.upstream.forget_requests();
    assert_eq!(port.pulled().await, (second.manifest.digest.clone(), CacheStatus::Miss));
    let asked: Vec<String> = port.upstream.requests().iter().map(|seen| seen.path.clone()).collect();
    let path = |reference: &str| format!("/v2/{REPOSITORY}/manifests/{reference}");
    assert_eq!(asked, [path("1"), path(second.manifest.digest.as_str())]);
    assert_eq!(port.pulled().await, (second.manifest.digest, CacheStatus::Hit));
    // What was cached stays, by its digest, and costs nothing.
    port.upstream.forget_requests();
    assert_eq!(port.pull(first.manifest.digest.as_str()).await.unwrap().cache, CacheStatus::Hit);
    assert!(port.upstream.requests().is_empty());
}

#[tokio::test]
async fn an_upstream_is_told_what_is_known_and_its_304_confirms_it() {
    let (port, image) = Port::with_image().await;
    port.pulled().await;
    assert_eq!(port.upstream.requests()[0].header("if-none-match"), None);
    let quoted = format!("\"{}\"", image.manifest.digest);
    let known = quoted.clone();
    port.upstream
        .when(move |seen| seen.header("if-none-match") == Some(&known))
        .reply(|_| entrepot_testkit::Reply::new(304));
    port.clock.advance(MINUTE);
    port.upstream.forget_requests();
    assert_eq!(port.pulled().await, (image.manifest.digest.clone(), CacheStatus::Hit));
    assert_eq!(port.upstream.requests()[0].header("if-none-match"), Some(quoted.as_str()));
    port.clock.advance(59 * SECOND);
    port.pulled().await;
    assert_eq!((port.heads(), port.gets()), (1, 0), "the 304 began another window");
}

#[tokio::test]
async fn immutable_tags_are_asked_for_once_and_others_by_their_own_rules() {
    let rule = |tags: &str, fresh_for| FreshnessRule {
        tags: Patterns::new([tags]).unwrap(),
        fresh_for: Some(fresh_for),
        ..FreshnessRule::default()
    };
    let settings = ProxySettings {
        upstream_freshness: [(NAME.to_owned(), Freshness { fresh_for: Some(10 * MINUTE), ..Freshness::default() })]
            .into(),
        freshness_rules: vec![rule("v*", None), rule("edge", Some(Duration::ZERO))],
        ..ProxySettings::default()
    };
    let port = Port::open(settings).await;
    for tag in ["v1.2", "edge", "1"] {
        Image::new(7, &[10]).load_into(&port.upstream, REPOSITORY, tag);
        port.pull(tag).await.unwrap();
    }
    let heads = |tag: &'static str| port.upstream.count(|seen| seen.is_head() && seen.path.ends_with(tag));
    for (passed, expected) in [(Duration::ZERO, [1, 2, 1]), (9 * MINUTE, [1, 3, 1]), (MINUTE, [1, 4, 2])] {
        port.clock.advance(passed);
        for tag in ["v1.2", "edge", "1"] {
            port.pull(tag).await.unwrap();
        }
        assert_eq!(["v1.2", "edge", "/1"].map(heads), expected, "after {passed:?} more");
    }
    // Years later, and with the upstream gone, an immutable tag is not even stale.
    port.clock.advance(Duration::from_hours(100_000));
    port.upstream.stop().await;
    assert_eq!(port.pull("v1.2").await.unwrap().cache, CacheStatus::Hit);
}

#[tokio::test]
async fn a_clock_that_steps_back_makes_nothing_fresh() {
    let (port, image) =
        Port::with_image_and(Freshness { stale_for: Some(Duration::from_hours(1)), ..Freshness::default() }).await;
    port.pulled().await;
    port.clock.step_back(30 * MINUTE);
    assert_eq!(port.pulled().await, (image.manifest.digest.clone(), CacheStatus::Hit));
    assert_eq!(port.heads(), 2, "a tag from the future is asked for");
    port.pulled().await;
    assert_eq!(port.heads(), 2, "and confirmed in the present");
    port.upstream.stop().await;
    port.clock.step_back(30 * MINUTE);
    assert_eq!(port.pulled().await.1, CacheStatus::Stale);
    port.clock.step_back(Duration::from_hours(1));
    assert!(matches!(port.pull("1").await.unwrap_err().root(), Error::Upstream { .. }));
}

#[tokio::test]
async fn beyond_stale_for_the_failure_is_the_answer_and_the_upstream_is_believed_again_when_it_is_back() {
    let (port, image) =
        Port::with_image_and(Freshness { stale_for: Some(Duration::from_hours(1)), ..Freshness::default() }).await;
    port.pulled().await;
    port.upstream.stop().await;
    port.clock.advance(Duration::from_hours(1));
    assert_eq!(port.pulled().await.1, CacheStatus::Stale);
    port.clock.advance(SECOND);
    let refused = port.pull("1").await.unwrap_err();
    assert!(matches!(refused.root(), Error::Upstream { .. }), "{refused}");
    port.upstream.restart().await;
    assert_eq!(port.pulled().await, (image.manifest.digest, CacheStatus::Hit));
}

#[tokio::test]
async fn a_404_keeps_a_cached_tag_or_makes_it_forgotten_as_the_operator_says() {
    for on_upstream_404 in [OnUpstream404::Keep, OnUpstream404::Forget] {
        let (port, image) = Port::with_image_and(Freshness { on_upstream_404, ..Freshness::default() }).await;
        port.pulled().await;
        port.upstream.remove_tag(REPOSITORY, "1");
        assert_eq!(port.pulled().await.1, CacheStatus::Hit, "within the window nobody knows");
        port.clock.advance(MINUTE);
        for _ in 0..3 {
            match on_upstream_404 {
                OnUpstream404::Keep => {
                    let pulled = port.pull("1").await.unwrap();
                    assert_eq!((&pulled.manifest.digest, pulled.cache), (&image.manifest.digest, CacheStatus::Stale));
                    assert_eq!(pulled.warning.unwrap(), format!("stale: {NAME} no longer has this tag"));
                }
                OnUpstream404::Forget => {
                    let refused = port.pull("1").await.unwrap_err();
                    assert!(matches!(refused.root(), Error::ManifestUnknown { .. }), "{refused}");
                }
            }
        }
        assert_eq!(port.heads(), 2, "{on_upstream_404:?}: the 404 is repeated without asking again");
        assert_eq!(port.pull(image.manifest.digest.as_str()).await.unwrap().cache, CacheStatus::Hit);
        // Not even an upstream that is away brings a forgotten tag back.
        port.upstream.stop().await;
        port.clock.advance(MINUTE);
        assert_eq!(port.pull("1").await.is_ok(), on_upstream_404 == OnUpstream404::Keep);
    }
}

#[tokio::test]
async fn a_window_is_longer_while_the_budget_of_the_upstream_is_low() {
    let (port, _) = Port::with_image().await;
    port.upstream
        .when(|_| true)
        .reply(|honest| honest.header("ratelimit-limit", "100;w=21600").header("ratelimit-remaining", "0;w=21600"));
    port.pulled().await;
    port.clock.advance(599 * SECOND);
    assert_eq!(port.pulled().await.1, CacheStatus::Hit);
    assert_eq!(port.heads(), 1);
    port.clock.advance(SECOND);
    port.pulled().await;
    assert_eq!(port.heads(), 2);
}

#[tokio::test]
async fn in_front_of_a_black_hole_one_client_waits_a_second_and_nobody_else() {
    let (port, image) = Port::with_image().await;
    Image::new(8, &[10]).load_into(&port.upstream, REPOSITORY, "2");
    port.pulled().await;
    port.pull("2").await.unwrap();
    port.clock.advance(MINUTE);
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(|_| true).reply(move |honest| honest.silent(&held));
    let began = Instant::now();
    let pulled = port.pull("1").await.unwrap();
    let waited = began.elapsed();
    assert!(waited >= SECOND && waited < AT_ONCE, "{waited:?}");
    assert_eq!((pulled.manifest.digest, pulled.cache), (image.manifest.digest.clone(), CacheStatus::Stale));
    assert!(pulled.warning.unwrap().contains("has not answered yet"));
    // Neither for this tag nor for another of this upstream: a hundred of them in a fraction of the second that each would wait.
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(port.pulled().await.1, CacheStatus::Stale);
        assert_eq!(port.pull("2").await.unwrap().cache, CacheStatus::Stale);
    }
    let waited = began.elapsed();
    assert!(waited < SECOND, "{waited:?} for a hundred clients");
    port.upstream.wait_for_count(4, |seen| seen.is_head() && seen.is_manifest()).await;
    assert_eq!(port.heads(), 4, "one question for each tag is still under way");
    // The question goes on for everybody: its answer, which comes at last, begins a window.
    gate.open();
    port.repository().refresh(&TagOrDigest::parse("1").unwrap()).await.unwrap();
    assert_eq!(port.pulled().await, (image.manifest.digest, CacheStatus::Hit));
}
