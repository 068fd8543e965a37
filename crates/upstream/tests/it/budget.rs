//! What an upstream is asked at once, what it costs, and what it says is left.

use std::sync::Arc;
use std::time::Duration;

use entrepot_testkit::{Auth, FakeUpstream, Gate, Image, Reply, Seen};
use entrepot_upstream::{BlobFrom, BlobResponse, Error, Remote, UpstreamConfig};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::setup::{
    by_digest, is_authorized, later, listed, name, read, remote, remote_of, repository, tag, trusting, with_account,
};

/// How many may wait for their turn, and how long.
const QUEUE_LENGTH: usize = 256;
const QUEUE_TIME: Duration = Duration::from_secs(20);

async fn fake() -> (FakeUpstream, Image) {
    let (fake, image) = (FakeUpstream::start().await, Image::new(1, &[100_000]));
    image.load_into(&fake, "team/app", "1");
    (fake, image)
}

fn at_once(fake: &FakeUpstream, requests_max: usize) -> Arc<Remote> {
    remote_of(UpstreamConfig { requests_max, ..listed(fake) })
}

async fn blob(remote: &Remote, image: &Image) -> Result<BlobResponse, Error> {
    remote.get_blob(&repository(), &image.layers[0].digest, BlobFrom::Start).await
}

/// A question for a blob that has begun to wait.
fn waiting<'a>(remote: &'a Remote, image: &'a Image) -> BoxFuture<'a, Result<BlobResponse, Error>> {
    let mut question = blob(remote, image).boxed();
    assert!((&mut question).now_or_never().is_none());
    question
}

#[tokio::test]
async fn no_more_than_allowed_is_asked_at_once_and_short_questions_pass_by_long_transfers() {
    let (fake, image) = fake().await;
    let remote = at_once(&fake, 4);
    let gate = Gate::new();
    let held = gate.clone();
    fake.when(Seen::is_blob).reply(move |honest| honest.stall_after(1000, &held));
    let mut transfers: FuturesUnordered<_> = (0..10)
        .map(|_| async {
            let blob = blob(&remote, &image).await.unwrap();
            read(blob.body).await.0
        })
        .collect();
    let short = async {
        gate.reached_by(3).await;
        for _ in 0..3 {
            remote.head_manifest(&repository(), &tag("1"), None).await.unwrap();
            remote.tags(&repository()).await.unwrap();
        }
        let state = remote.state();
        assert_eq!((state.running, state.waiting, state.turned_away), (3, 7, 0));
        assert_eq!(fake.count(Seen::is_blob), 3);
        gate.open();
    };
    tokio::select! {
        biased;
        early = transfers.next() => panic!("{} bytes came through the gate", early.unwrap().len()),
        () = short => {}
    }
    let received: Vec<_> = transfers.collect().await;
    assert!(received.len() == 10 && received.iter().all(|bytes| *bytes == image.layers[0].bytes));
    let state = remote.state();
    assert_eq!((state.running, state.waiting), (0, 0));
}

#[tokio::test]
async fn a_transfer_has_its_turn_until_its_body_is_read_or_dropped() {
    let (fake, image) = fake().await;
    let remote = at_once(&fake, 1);
    let first = blob(&remote, &image).await.unwrap();
    let second = waiting(&remote, &image);
    assert_eq!(fake.count(Seen::is_blob), 1);
    assert_eq!(read(first.body).await.0, image.layers[0].bytes);
    let second = second.await.unwrap();
    let third = waiting(&remote, &image);
    drop(second);
    fake.when(Seen::is_blob).once().reply(|honest| honest.cut_after(10));
    let third = third.await.unwrap();
    let fourth = waiting(&remote, &image);
    let (mut body, mut broke) = (third.body, false);
    while let Some(piece) = body.next().await {
        broke |= piece.is_err();
    }
    assert!(broke);
    // Not dropped, but over.
    assert_eq!(read(fourth.await.unwrap().body).await.0, image.layers[0].bytes);
    drop(body);
}

#[tokio::test]
async fn one_turn_is_enough_for_every_question() {
    let ((fake, image), storage) = (fake().await, FakeUpstream::start().await);
    fake.set_auth(Auth::bearer("robot", "hidden"));
    for number in 0..4 {
        fake.put_tag("team/app", &format!("t{number}"), &image.manifest.digest);
    }
    storage.put_blob("team/app", image.layers[0].bytes.clone());
    let remote = remote_of(UpstreamConfig { requests_max: 1, ..trusting(with_account(&fake), &storage) });
    let digest = &image.layers[0].digest;
    // Several pages, a HEAD that is refused, referrers without an interface, and a redirect.
    fake.when(|seen| seen.is_tags() && !seen.query.contains("last")).reply(|honest| {
        if !honest.is_status(200) {
            return honest;
        }
        honest.header("link", "</v2/team/app/tags/list?last=t1>; rel=\"next\"")
    });
    fake.when(|seen| seen.is_head() && seen.is_blob()).reply(|_| Reply::new(405));
    fake.when(Seen::is_referrers).reply(|honest| if honest.is_status(401) { honest } else { Reply::new(404) });
    let answered = async {
        assert!(!remote.tags(&repository()).await.unwrap().is_empty());
        assert_eq!(fake.count(|seen| seen.is_tags() && is_authorized(seen)), 2);
        assert_eq!(remote.head_blob(&repository(), digest).await.unwrap(), Some(100_000));
        assert!(remote.referrers(&repository(), &image.manifest.digest).await.unwrap().is_empty());
        let location = format!("{}/v2/team/app/blobs/{digest}", storage.url());
        fake.when(|seen| seen.is_get() && seen.is_blob()).reply(move |_| Reply::redirect(307, &location));
        assert_eq!(read(blob(&remote, &image).await.unwrap().body).await.0, image.layers[0].bytes);
        remote.get_manifest(&repository(), &by_digest(&image.manifest.digest)).await.unwrap();
        remote.handshake(&repository()).await.outcome.unwrap();
    };
    answered.await;
    assert_eq!((remote.state().running, remote.state().turned_away), (0, 0));
}

#[tokio::test]
async fn a_queue_is_bounded_in_length_and_in_time_and_who_leaves_makes_room() {
    let (fake, image) = fake().await;
    let remote = at_once(&fake, 1);
    let running = blob(&remote, &image).await.unwrap();
    let mut queue: Vec<_> = (0..QUEUE_LENGTH).map(|_| waiting(&remote, &image)).collect();
    let error = blob(&remote, &image).await.unwrap_err();
    assert!(matches!(&error, Error::Busy { waiting: QUEUE_LENGTH, history } if history.attempts == 0), "{error}");
    assert!(error.is_temporary());
    queue.truncate(10);
    assert_eq!(remote.state().waiting, 10);
    later(QUEUE_TIME).await;
    for error in join_all(queue).await {
        assert!(matches!(error, Err(Error::Busy { .. })), "{error:?}");
    }
    let state = remote.state();
    assert_eq!((state.running, state.waiting, state.turned_away), (1, 0, 11));
    assert_eq!(fake.count(Seen::is_blob), 1, "nobody who waited was asked for");
    drop(running);
    blob(&remote, &image).await.unwrap();
}

#[tokio::test]
async fn a_warm_upstream_costs_no_401_even_when_its_tokens_have_expired() {
    let (fake, image) = fake().await;
    image.load_into(&fake, "team/other", "1");
    fake.set_auth(Auth::bearer("robot", "hidden"));
    let remote = remote_of(with_account(&fake));
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    fake.forget_requests();
    for _ in 0..3 {
        remote.get_manifest(&repository(), &tag("1")).await.unwrap();
        remote.get_manifest(&name("team/other").into(), &tag("1")).await.unwrap();
        later(Duration::from_mins(6)).await;
    }
    assert_eq!(fake.count(|seen| !is_authorized(seen)), 0);
    // Two tokens that live for five minutes, of which the first was there already.
    assert_eq!((fake.count(Seen::is_token), fake.count(Seen::is_manifest), fake.count(Seen::is_ping)), (5, 6, 0));
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_for_all_repositories() {
    let (fake, _) = fake().await;
    fake.set_auth(Auth::bearer("robot", "another"));
    let remote = remote_of(with_account(&fake));
    for number in 0..10 {
        let repository = name(&format!("team/app{number}")).into();
        let error = remote.get_manifest(&repository, &tag("1")).await.unwrap_err();
        assert!(matches!(error, Error::CredentialsRefused { .. }), "{error}");
    }
    assert_eq!(fake.count(Seen::is_token), 1);
    fake.set_auth(Auth::bearer("robot", "hidden"));
    later(Duration::from_secs(61)).await;
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
}

#[tokio::test]
async fn what_is_left_of_a_budget_is_told_while_its_window_lasts() {
    let (fake, _) = fake().await;
    let remote = remote(&fake);
    let ask = async || remote.head_manifest(&repository(), &tag("1"), None).await.map(drop);
    ask().await.unwrap();
    assert_eq!((remote.rate_limit(), remote.budget()), (None, None));
    fake.when(Seen::is_any)
        .times(2)
        .reply(|honest| honest.header("ratelimit-limit", "100;w=21600").header("ratelimit-remaining", "25;w=21600"));
    ask().await.unwrap();
    assert_eq!(remote.budget(), Some(0.25));
    assert_eq!(remote.state().rate_limit, remote.rate_limit());
    later(Duration::from_hours(5)).await;
    assert_eq!(remote.budget(), Some(0.25));
    later(Duration::from_hours(1)).await;
    assert_eq!((remote.rate_limit(), remote.budget()), (None, None));
    ask().await.unwrap();
    assert_eq!(remote.budget(), Some(0.25));
    // Whoever answers with 429 has nothing left, whatever he said before.
    fake.when(Seen::is_any).once().reply(|_| Reply::too_many_requests("60"));
    assert!(ask().await.is_err());
    assert_eq!(remote.budget(), Some(0.0));
    later(Duration::from_mins(1)).await;
    assert_eq!(remote.budget(), Some(0.25));
    fake.when(Seen::is_any)
        .once()
        .reply(|honest| honest.header("x-ratelimit-limit", "60").header("x-ratelimit-remaining", "30"));
    ask().await.unwrap();
    assert_eq!(remote.budget(), Some(0.5));
}

#[tokio::test]
async fn what_storage_behind_a_redirect_says_is_left_is_not_the_budget_of_the_registry() {
    let ((fake, image), storage) = (fake().await, FakeUpstream::start().await);
    let location = format!("{}/object", storage.url());
    fake.when(Seen::is_blob).reply(move |_| Reply::redirect(307, &location));
    storage.when(Seen::is_any).reply(|_| Reply::content("x/y", "z").header("ratelimit-remaining", "1"));
    let remote = remote_of(trusting(listed(&fake), &storage));
    blob(&remote, &image).await.unwrap();
    assert_eq!(remote.rate_limit(), None);
}
