//! What each refusal of an upstream is called (threat C11), and an upstream that goes away.

use std::time::Duration;

use entrepot_testkit::{FakeUpstream, Image, Reply, Seen};
use entrepot_upstream::{BlobFrom, Error, Remotes, RemotesConfig};

use crate::setup::{Expectation, remote, repository, tag};

#[tokio::test]
async fn c11_every_status_has_its_error() {
    let rows: [(u16, Expectation, bool); 15] = [
        (400, |error| matches!(error, Error::Rejected { status: 400, .. }), false),
        (401, |error| matches!(error, Error::Denied { .. }), false),
        (403, |error| matches!(error, Error::Denied { .. }), false),
        (404, |error| matches!(error, Error::NotFound { .. }), false),
        (406, |error| matches!(error, Error::Rejected { status: 406, .. }), false),
        (408, |error| matches!(error, Error::Unavailable { status: 408, .. }), true),
        (410, |error| matches!(error, Error::Rejected { status: 410, .. }), false),
        (429, |error| matches!(error, Error::RateLimited { .. }), true),
        (451, |error| matches!(error, Error::Rejected { status: 451, .. }), false),
        (500, |error| matches!(error, Error::Unavailable { status: 500, .. }), true),
        (502, |error| matches!(error, Error::Unavailable { status: 502, .. }), true),
        (503, |error| matches!(error, Error::Unavailable { status: 503, .. }), true),
        (504, |error| matches!(error, Error::Unavailable { status: 504, .. }), true),
        (300, |error| matches!(error, Error::Rejected { status: 300, .. }), false),
        (304, |error| matches!(error, Error::Rejected { status: 304, .. }), false),
    ];
    let fake = FakeUpstream::start().await;
    for (status, is_expected, is_temporary) in rows {
        // A new remote each time: what one refusal means does not depend on those before.
        let remote = remote(&fake);
        fake.when(Seen::is_manifest).once().reply(move |_| Reply::error(status, "CODE", "a sentence"));
        let error = remote.get_manifest(&repository(), &tag("1")).await.unwrap_err();
        assert!(is_expected(&error), "{status}: {error:?}");
        assert_eq!(error.is_temporary(), is_temporary, "{status}");
        assert_eq!(error.history().status, Some(status));
        if status != 304 {
            let text = error.to_string();
            let start = format!("fake answered {status} to GET {}/v2/team/app/manifests/1", fake.url());
            assert!(text.starts_with(&start) && text.contains("(CODE: a sentence)"), "{text}");
        }
    }
}

#[tokio::test]
async fn every_form_of_retry_after_is_understood() {
    let fake = FakeUpstream::start().await;
    for (text, seconds) in [("7", 7), ("0", 1), ("1.2", 2), ("985.86µs", 1), ("", 60), ("whenever", 60)] {
        fake.when(Seen::is_manifest).once().reply(move |_| Reply::too_many_requests(text));
        let error = remote(&fake).get_manifest(&repository(), &tag("1")).await.unwrap_err();
        let expected = Duration::from_secs(seconds);
        assert!(
            matches!(error, Error::RateLimited { retry_after, .. } if retry_after == expected),
            "{text:?}: {error}"
        );
    }
    fake.when(Seen::is_manifest).once().reply(|_| {
        let reply = Reply::too_many_requests("Sun, 06 Nov 1994 08:50:37 GMT");
        reply.header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
    });
    let error = remote(&fake).get_manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::RateLimited { retry_after, .. } if retry_after.as_secs() == 60), "{error}");
}

#[tokio::test]
async fn what_is_left_of_a_budget_is_remembered() {
    let (fake, image) = (FakeUpstream::start().await, Image::new(1, &[10]));
    image.load_into(&fake, "team/app", "1");
    let remote = remote(&fake);
    assert_eq!(remote.rate_limit(), None);
    fake.when(Seen::is_head)
        .reply(|honest| honest.header("ratelimit-limit", "100;w=21600").header("ratelimit-remaining", "76;w=21600"));
    remote.head_manifest(&repository(), &tag("1"), None).await.unwrap();
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    let told = remote.rate_limit().unwrap();
    assert_eq!((told.remaining, told.limit), (76, Some(100)));
}

#[tokio::test]
async fn the_bodies_of_foreign_refusals_are_neither_read_at_length_nor_shown() {
    let fake = FakeUpstream::start().await;
    let remote = remote(&fake);
    let long = format!(r#"{{"errors":[{{"code":"{}"}}]}}"#, "x".repeat(1_000_000));
    for body in ["<Error><Secret>x</Secret></Error>".to_owned(), "<html>no</html>".to_owned(), long] {
        fake.when(Seen::is_manifest).once().reply(move |_| Reply::new(500).with_body(body.clone()));
        let error = remote.get_manifest(&repository(), &tag("1")).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        assert!(error.history().reported.is_empty());
    }
}

#[tokio::test]
async fn r20_an_upstream_that_goes_away_is_unreachable_until_it_is_back() {
    let (fake, image) = (FakeUpstream::start().await, Image::new(1, &[10]));
    image.load_into(&fake, "team/app", "1");
    let remote = remote(&fake);
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    fake.stop().await;
    for _ in 0..2 {
        let error = remote.get_blob(&repository(), &image.layers[0].digest, BlobFrom::Start).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }) && error.is_temporary(), "{error:?}");
    }
    fake.restart().await;
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
}

#[tokio::test]
async fn b12_an_upstream_that_does_not_speak_tls_is_never_asked_without_it() {
    let fake = FakeUpstream::start().await;
    let mut upstream = crate::setup::listed(&fake);
    upstream.url = format!("https://{}", fake.address()).parse().unwrap();
    let config = RemotesConfig { upstreams: vec![upstream], ..RemotesConfig::default() };
    let remote = Remotes::new(config).unwrap().resolve(crate::setup::NAME).unwrap();
    let error = remote.get_manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(fake.requests().len(), 0);
}

#[tokio::test]
async fn nothing_but_get_and_head_is_ever_sent() {
    let (fake, image) = (FakeUpstream::start().await, Image::new(1, &[10]));
    image.load_into(&fake, "team/app", "1");
    fake.set_auth(entrepot_testkit::Auth::anonymous_bearer());
    let remote = remote(&fake);
    remote.head_manifest(&repository(), &tag("1"), None).await.unwrap();
    remote.tags(&repository()).await.unwrap();
    remote.referrers(&repository(), &image.manifest.digest).await.unwrap();
    remote.head_blob(&repository(), &image.layers[0].digest).await.unwrap();
    assert!(fake.requests().iter().all(|seen| seen.is_get() || seen.is_head()));
}
