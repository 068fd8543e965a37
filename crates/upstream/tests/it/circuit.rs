//! When an upstream is not asked: after a 429, and after failures in a row.

use std::time::Duration;

use entrepot_testkit::{Auth, FakeUpstream, Gate, Image, Reply, Seen};
use entrepot_upstream::{BlobFrom, Error, Remote, RemotesConfig, Suspension, Timeouts, UpstreamConfig};
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::setup::{
    Lie, by_digest, later, listed, name, read, remote, remote_of, remote_with, repository, tag, trusting,
};

/// Failures in a row that open the circuit, and the first window in which one question is let through.
const FAILURES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(3);

async fn fake() -> (FakeUpstream, Image) {
    let (fake, image) = (FakeUpstream::start().await, Image::new(1, &[1000]));
    image.load_into(&fake, "team/app", "1");
    (fake, image)
}

async fn ask(remote: &Remote) -> Result<(), Error> {
    remote.get_manifest(&repository(), &tag("1")).await.map(drop)
}

/// One question of each kind.
async fn ask_everything(remote: &Remote, image: &Image) -> Vec<Error> {
    let (repository, layer) = (repository(), &image.layers[0].digest);
    let answers = [
        remote.head_manifest(&repository, &tag("1"), None).await.map(drop),
        remote.get_manifest(&repository, &by_digest(&image.manifest.digest)).await.map(drop),
        remote.head_blob(&repository, layer).await.map(drop),
        remote.get_blob(&repository, layer, BlobFrom::Start).await.map(drop),
        remote.tags(&repository).await.map(drop),
        remote.referrers(&repository, layer).await.map(drop),
        remote.handshake(&repository).await.outcome,
    ];
    answers.into_iter().map(Result::unwrap_err).collect()
}

fn is_suspended(error: &Error, seconds: u64, why: Suspension) -> bool {
    matches!(error, Error::Suspended { retry_after, reason, history }
        if retry_after.as_secs() == seconds && *reason == why && history.attempts == 0)
}

#[tokio::test]
async fn an_upstream_that_asks_for_patience_is_not_asked_before_the_time_that_it_named() {
    let rows: [(Lie, u64); 5] = [
        (Box::new(|_| Reply::too_many_requests("7")), 7),
        (Box::new(|_| Reply::too_many_requests("1.2")), 2),
        (Box::new(|_| Reply::too_many_requests("880.092µs")), 1),
        (
            Box::new(|_| {
                let reply = Reply::too_many_requests("Sun, 06 Nov 1994 08:51:07 GMT");
                reply.header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
            }),
            90,
        ),
        (Box::new(|_| Reply::too_many_requests("")), 60),
    ];
    for (lie, seconds) in rows {
        let (fake, image) = fake().await;
        let remote = remote(&fake);
        fake.when(Seen::is_any).once().reply(lie);
        let error = ask(&remote).await.unwrap_err();
        assert!(matches!(error, Error::RateLimited { retry_after, .. } if retry_after.as_secs() == seconds), "{error}");
        for error in ask_everything(&remote, &image).await {
            assert!(is_suspended(&error, seconds, Suspension::RateLimited), "{error}");
            assert!(error.is_temporary());
        }
        assert_eq!(fake.requests().len(), 1, "{seconds}: not one packet more");
        assert_eq!(remote.state().suspensions, 1);
        if seconds > 1 {
            later(Duration::from_secs(seconds - 1)).await;
            let error = ask(&remote).await.unwrap_err();
            assert!(is_suspended(&error, 1, Suspension::RateLimited), "{error}");
        }
        later(Duration::from_secs(1)).await;
        ask(&remote).await.unwrap();
        assert_eq!(remote.state().suspended, None);
    }
}

#[tokio::test]
async fn a_token_endpoint_that_asks_for_patience_has_it_too() {
    let (fake, _) = fake().await;
    fake.set_auth(Auth::anonymous_bearer());
    fake.when(Seen::is_token).once().reply(|_| Reply::too_many_requests("30"));
    let remote = remote(&fake);
    assert!(matches!(ask(&remote).await, Err(Error::RateLimited { .. })));
    let before = fake.requests().len();
    let error = ask(&remote).await.unwrap_err();
    assert!(is_suspended(&error, 30, Suspension::RateLimited), "{error}");
    assert_eq!(fake.requests().len(), before);
}

#[tokio::test]
async fn what_hosts_do_that_a_redirect_leads_to_does_not_suspend_the_registry() {
    let lies: [fn(Reply) -> Reply; 2] = [|_| Reply::too_many_requests("30"), |_| Reply::new(503)];
    for lie in lies {
        let ((fake, image), storage) = (fake().await, FakeUpstream::start().await);
        let location = format!("{}/object", storage.url());
        fake.when(Seen::is_blob).reply(move |_| Reply::redirect(307, &location));
        storage.when(Seen::is_any).reply(lie);
        let remote = remote_of(trusting(listed(&fake), &storage));
        for _ in 0..FAILURES * 2 {
            let error = remote.get_blob(&repository(), &image.layers[0].digest, BlobFrom::Start).await.unwrap_err();
            assert!(matches!(error, Error::RateLimited { .. } | Error::Unavailable { .. }), "{error}");
        }
        storage.stop().await;
        for _ in 0..FAILURES * 2 {
            let error = remote.get_blob(&repository(), &image.layers[0].digest, BlobFrom::Start).await.unwrap_err();
            assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        }
        ask(&remote).await.unwrap();
    }
}

#[tokio::test]
async fn the_token_endpoint_of_a_host_behind_a_redirect_does_not_suspend_the_registry() {
    let ((fake, image), storage) = (fake().await, FakeUpstream::start().await);
    let location = format!("{}/v2/mirror/blobs/{}", storage.url(), image.layers[0].digest);
    fake.when(Seen::is_blob).reply(move |_| Reply::redirect(307, &location));
    storage.set_auth(Auth::anonymous_bearer());
    storage.when(Seen::is_token).reply(|_| Reply::too_many_requests("30"));
    let remote = remote_of(trusting(listed(&fake), &storage));
    let error = remote.get_blob(&repository(), &image.layers[0].digest, BlobFrom::Start).await.unwrap_err();
    assert!(matches!(error, Error::RateLimited { .. }), "{error}");
    ask(&remote).await.unwrap();
}

/// Fails as often as it takes, and checks that the next question is not asked.
async fn fail_until_suspended(fake: &FakeUpstream, remote: &Remote, image: &Image) {
    for number in 0..FAILURES {
        let error = ask(remote).await.unwrap_err();
        assert!(!matches!(error, Error::Suspended { .. }), "{number}: {error}");
    }
    let before = fake.requests().len();
    for error in ask_everything(remote, image).await {
        assert!(is_suspended(&error, 3, Suspension::Failing(FAILURES)), "{error}");
    }
    assert_eq!(fake.requests().len(), before, "not one packet more");
}

#[tokio::test]
async fn an_upstream_that_fails_five_times_is_asked_once_in_a_window_until_it_is_back() {
    let lies: [Lie; 5] = [
        Box::new(|_| Reply::new(500)),
        Box::new(|_| Reply::new(503)),
        Box::new(|_| Reply::new(408)),
        Box::new(|_| Reply::page().status(504)),
        Box::new(|honest| honest.silent(&Gate::new())),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let (fake, image) = fake().await;
        let timeouts = Timeouts { first_byte: Duration::from_millis(100), ..Timeouts::default() };
        let config = RemotesConfig { upstreams: vec![listed(&fake)], timeouts, ..RemotesConfig::default() };
        let remote = remote_with(config);
        fake.when(Seen::is_any).reply(lie);
        fail_until_suspended(&fake, &remote, &image).await;
        for window in [WINDOW, WINDOW * 2, WINDOW * 4] {
            later(window.mul_f64(0.9)).await;
            assert!(matches!(ask(&remote).await, Err(Error::Suspended { .. })), "{number}");
            later(window.mul_f64(0.1)).await;
            fake.forget_requests();
            let errors = join_all((0..20).map(|_| ask(&remote))).await;
            assert_eq!(errors.iter().filter(|error| matches!(error, Err(Error::Suspended { .. }))).count(), 19);
            assert_eq!(fake.requests().len(), 1, "{number}: one probe");
        }
        fake.heal();
        later(WINDOW * 8).await;
        let answers = join_all((0..20).map(|_| ask(&remote))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{number}");
        assert!(join_all((0..20).map(|_| ask(&remote))).await.iter().all(Result::is_ok), "{number}");
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_connected_to_is_suspended_as_well() {
    let (fake, image) = fake().await;
    let remote = remote(&fake);
    fake.stop().await;
    fail_until_suspended(&fake, &remote, &image).await;
    fake.restart().await;
    later(WINDOW).await;
    ask(&remote).await.unwrap();
    ask(&remote).await.unwrap();
}

#[tokio::test]
async fn a_failing_token_endpoint_suspends_the_registry() {
    let (fake, _) = fake().await;
    fake.set_auth(Auth::anonymous_bearer());
    let remote = remote(&fake);
    remote.get_manifest(&name("team/other").into(), &tag("1")).await.unwrap_err();
    fake.when(Seen::is_token).reply(|_| Reply::new(500));
    for _ in 0..FAILURES {
        assert!(matches!(ask(&remote).await, Err(Error::Unavailable { .. })));
    }
    let error = ask(&remote).await.unwrap_err();
    assert!(is_suspended(&error, 3, Suspension::Failing(FAILURES)), "{error}");
}

#[tokio::test]
async fn a_failure_that_a_hundred_wait_for_is_one_failure() {
    let (fake, _) = fake().await;
    fake.set_auth(Auth::anonymous_bearer());
    let remote = remote(&fake);
    remote.get_manifest(&name("team/other").into(), &tag("1")).await.unwrap_err();
    fake.forget_requests();
    fake.when(Seen::is_token).once().reply(|_| Reply::new(500));
    let answers = join_all((0..60).map(|_| ask(&remote))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Unavailable { .. }))));
    assert_eq!(fake.count(Seen::is_token), 1);
    ask(&remote).await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_refuses_answers() {
    for status in [401, 403, 404, 400, 451] {
        let (fake, _) = fake().await;
        let remote = remote(&fake);
        for _ in 0..FAILURES {
            for _ in 1..FAILURES {
                fake.when(Seen::is_any).once().reply(|_| Reply::new(500));
                assert!(matches!(ask(&remote).await, Err(Error::Unavailable { .. })), "{status}");
            }
            fake.when(Seen::is_any).once().reply(move |_| Reply::new(status));
            let error = ask(&remote).await.unwrap_err();
            assert!(!error.is_temporary(), "{status}: {error}");
        }
    }
}

#[tokio::test]
async fn a_probe_that_is_given_up_makes_room_for_the_next() {
    let (fake, image) = fake().await;
    let remote = remote(&fake);
    fake.when(Seen::is_any).reply(|_| Reply::new(500));
    fail_until_suspended(&fake, &remote, &image).await;
    fake.heal();
    later(WINDOW).await;
    let gate = Gate::new();
    let held = gate.clone();
    fake.when(Seen::is_any).once().reply(move |honest| honest.silent(&held));
    tokio::select! {
        answer = ask(&remote) => panic!("the probe is held: {answer:?}"),
        () = gate.reached_by(1) => {}
    }
    ask(&remote).await.unwrap();
}

#[tokio::test]
async fn who_waits_for_a_turn_is_told_of_a_suspension_at_once() {
    let (fake, image) = fake().await;
    let remote = remote_of(UpstreamConfig { requests_max: 2, ..listed(&fake) });
    let (repository, digest) = (repository(), &image.layers[0].digest);
    let running = remote.get_blob(&repository, digest, BlobFrom::Start).await.unwrap();
    let mut waiting = Box::pin(remote.get_blob(&repository, digest, BlobFrom::Start));
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(remote.state().waiting, 1);
    fake.when(Seen::is_manifest).reply(|_| Reply::too_many_requests("30"));
    assert!(matches!(ask(&remote).await, Err(Error::RateLimited { .. })));
    let error = waiting.await.unwrap_err();
    assert!(is_suspended(&error, 30, Suspension::RateLimited), "{error}");
    assert_eq!(remote.state().waiting, 0);
    // What is under way goes on.
    assert_eq!(read(running.body).await.0, image.layers[0].bytes);
}
