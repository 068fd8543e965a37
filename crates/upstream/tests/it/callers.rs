//! An upstream that is asked with the account of whoever asks us (threats B10, B12 and C4 to C6).

use std::sync::Arc;
use std::time::Duration;

use entrepot_testkit::{Auth, FakeUpstream, Image, Reply, Seen, Users};
use entrepot_upstream::{
    BlobFrom, CallerCredentials, ConfigError, CredentialHelper, Error, Mirror, Remote, Remotes, RemotesConfig,
    UpstreamConfig, Wish,
};

use crate::setup::{NAME, is_authorized, later, listed, name, remote_of, repository, tag, trusting};

fn asked_as_caller(fake: &FakeUpstream) -> UpstreamConfig {
    UpstreamConfig { is_asked_as_caller: true, ..listed(fake) }
}

fn account(user: &str, password: &str) -> CallerCredentials {
    CallerCredentials { upstream: NAME.into(), user: user.to_owned(), password: password.into() }
}

fn of(remote: &Arc<Remote>, user: &str) -> Arc<Remote> {
    remote.for_caller(Some(&account(user, "secret")))
}

/// `team/app` is for alice, `team/other` for bob, and `team/public` for everybody.
fn users(none: Users) -> Users {
    none.user("alice", "secret", &["team/app"]).user("bob", "secret", &["team/other"]).public("team/public")
}

async fn fake(auth: Auth) -> FakeUpstream {
    let fake = FakeUpstream::start().await;
    for repository in ["team/app", "team/other", "team/public"] {
        Image::new(1, &[1000]).load_into(&fake, repository, "1");
    }
    fake.set_auth(auth);
    fake
}

fn schemes() -> [(&'static str, Users); 3] {
    let hiding = users(Users::with_basic()).refusing_with(404);
    [("basic", users(Users::with_basic())), ("hiding", hiding), ("tokens", users(Users::with_tokens()))]
}

async fn allows(remote: &Remote, repository: &str) -> bool {
    let (there, one) = (name(repository).into(), tag("1"));
    let is_allowed = remote.allows(&there, Wish::Manifest(&one)).await.unwrap();
    let layer = Image::new(1, &[1000]).layers[0].digest.clone();
    assert_eq!(remote.allows(&there, Wish::Blob(&layer)).await.unwrap(), is_allowed, "{repository}: its blob");
    assert_eq!(remote.allows(&there, Wish::Tags).await.unwrap(), is_allowed, "{repository}: its tags");
    assert_eq!(remote.get_manifest(&there, &one).await.is_ok(), is_allowed, "{repository}: to be fetched");
    is_allowed
}

#[tokio::test]
async fn b10_the_upstream_says_who_may_pull_what() {
    for (scheme, users) in schemes() {
        let fake = fake(Auth::Users(users)).await;
        let remote = remote_of(asked_as_caller(&fake));
        for (user, expected) in
            [("alice", [true, false, true]), ("bob", [false, true, true]), ("carol", [false, false, false])]
        {
            let view = of(&remote, user);
            for (repository, expected) in ["team/app", "team/other", "team/public"].into_iter().zip(expected) {
                assert_eq!(allows(&view, repository).await, expected, "{scheme}: {user} {repository}");
            }
            assert!(!allows(&view, "team/missing").await, "{scheme}: {user}");
        }
        let anonymous = remote.for_caller(None);
        assert!(!allows(&anonymous, "team/app").await && allows(&anonymous, "team/public").await, "{scheme}");
    }
}

#[tokio::test]
async fn b10_a_token_from_before_does_not_speak_for_who_lost_his_right() {
    let fake = fake(Auth::Users(users(Users::with_tokens()))).await;
    let remote = of(&remote_of(asked_as_caller(&fake)), "alice");
    let (there, one) = (repository(), tag("1"));
    assert!(remote.allows(&there, Wish::Manifest(&one)).await.unwrap());
    fake.set_auth(Auth::Users(Users::with_tokens().user("alice", "secret", &[])));
    assert!(remote.get_manifest(&there, &one).await.is_ok(), "the token is good at the upstream");
    assert!(!remote.allows(&there, Wish::Manifest(&one)).await.unwrap());
}

#[tokio::test]
async fn c6_what_is_given_to_one_account_is_never_sent_for_another() {
    let fake = fake(Auth::Users(users(Users::with_tokens()))).await;
    let remote = remote_of(asked_as_caller(&fake));
    let (alice, bob) = (of(&remote, "alice"), of(&remote, "bob"));
    let (there, one) = (repository(), tag("1"));
    alice.get_manifest(&there, &one).await.unwrap();
    let of_alice = fake.wait_for(|seen| seen.is_manifest() && is_authorized(seen)).await;
    let token = of_alice.header("authorization").unwrap().to_owned();
    fake.forget_requests();
    assert!(matches!(bob.get_manifest(&there, &one).await, Err(Error::Denied { .. })));
    assert!(remote.for_caller(None).get_manifest(&there, &one).await.is_err());
    let foreign = CallerCredentials { upstream: "another".into(), ..account("alice", "secret") };
    assert!(remote.for_caller(Some(&foreign)).get_manifest(&there, &one).await.is_err());
    assert!(fake.count(Seen::is_token) > 0);
    assert_eq!(fake.count(|seen| seen.header("authorization") == Some(&token)), 0);
    let basic = ["Basic Ym9iOnNlY3JldA=="];
    let sent = fake.requests().into_iter().filter(Seen::is_token).filter_map(|seen| {
        let header = seen.header("authorization")?;
        Some(header.to_owned())
    });
    assert!(sent.into_iter().all(|header| basic.contains(&header.as_str())), "bob's account, or nobody's");
}

#[tokio::test]
async fn a_login_is_told_from_a_wrong_password_and_both_from_an_outage() {
    for (scheme, users) in schemes() {
        let fake = fake(Auth::Users(users)).await;
        let remote = remote_of(asked_as_caller(&fake));
        for (user, password, expected) in [
            ("alice", "secret", true),
            ("bob", "secret", true),
            ("alice", "wrong", false),
            ("carol", "secret", false),
            ("alice", "", false),
            ("", "secret", false),
        ] {
            assert_eq!(remote.login_as(&account(user, password)).await.unwrap(), expected, "{scheme}: {user}");
        }
        let foreign = CallerCredentials { upstream: "another".into(), ..account("alice", "secret") };
        assert!(!remote.login_as(&foreign).await.unwrap());
        fake.when(Seen::is_any).reply(|_| Reply::new(500));
        assert!(matches!(remote.login_as(&account("alice", "secret")).await, Err(Error::Unavailable { .. })));
        fake.stop().await;
        assert!(matches!(remote.login_as(&account("alice", "secret")).await, Err(Error::Unreachable { .. })));
    }
}

#[tokio::test]
async fn a_remote_that_asks_nobody_for_an_account_knows_nobody() {
    let fake = fake(Auth::Open).await;
    let remote = remote_of(asked_as_caller(&fake));
    assert!(!remote.login_as(&account("alice", "secret")).await.unwrap());
    assert_eq!(fake.count(is_authorized), 0, "and is told no password");
    // Where `/v2/` is open and the rest is not, a password that is sent there would prove nothing.
    fake.set_auth(Auth::Users(users(Users::with_basic())));
    fake.when(Seen::is_ping).reply(|_| Reply::new(200));
    of(&remote, "alice").get_manifest(&repository(), &tag("1")).await.unwrap();
    assert!(!remote.login_as(&account("alice", "wrong")).await.unwrap());
}

#[tokio::test]
async fn a_wrong_password_is_nobody_elses_and_suspends_nothing() {
    for (scheme, users) in schemes() {
        let fake = fake(Auth::Users(users)).await;
        let remote = remote_of(asked_as_caller(&fake));
        let (there, one) = (repository(), tag("1"));
        for number in 0..20 {
            let wrong = account("alice", &format!("wrong{number}"));
            assert!(!remote.login_as(&wrong).await.unwrap(), "{scheme}");
            assert!(!remote.for_caller(Some(&wrong)).allows(&there, Wish::Manifest(&one)).await.unwrap(), "{scheme}");
        }
        assert_eq!(remote.state().suspended, None, "{scheme}");
        assert!(remote.login_as(&account("alice", "secret")).await.unwrap(), "{scheme}");
        assert!(of(&remote, "alice").allows(&there, Wish::Manifest(&one)).await.unwrap(), "{scheme}");
    }
}

#[tokio::test]
async fn the_patience_that_is_asked_of_one_account_is_not_asked_of_others_and_an_outage_is_everybodys() {
    let fake = fake(Auth::Users(users(Users::with_basic()))).await;
    let remote = remote_of(asked_as_caller(&fake));
    let (there, one) = (name("team/public").into(), tag("1"));
    let (alice, bob) = (of(&remote, "alice"), of(&remote, "bob"));
    let is_alice = |seen: &Seen| seen.header("authorization") == Some("Basic YWxpY2U6c2VjcmV0");
    fake.when(is_alice).reply(|_| Reply::too_many_requests("30"));
    assert!(matches!(alice.allows(&there, Wish::Manifest(&one)).await, Err(Error::RateLimited { .. })));
    let asked = fake.count(is_alice);
    assert!(matches!(alice.allows(&there, Wish::Manifest(&one)).await, Err(Error::Suspended { .. })));
    assert_eq!(fake.count(is_alice), asked, "she is left waiting");
    assert!(bob.allows(&there, Wish::Manifest(&one)).await.unwrap());
    assert_eq!(remote.state().suspended, None);
    later(Duration::from_secs(31)).await;
    fake.heal();
    assert!(alice.allows(&there, Wish::Manifest(&one)).await.unwrap());
    fake.when(Seen::is_any).reply(|_| Reply::new(500));
    for _ in 0..5 {
        bob.allows(&there, Wish::Manifest(&one)).await.unwrap_err();
    }
    assert!(matches!(alice.allows(&there, Wish::Manifest(&one)).await, Err(Error::Suspended { .. })));
}

#[tokio::test]
async fn a_login_page_is_no_permission() {
    let fake = fake(Auth::Open).await;
    fake.when(|seen| seen.is_manifest() || seen.is_tags()).reply(|_| Reply::page());
    let remote = remote_of(asked_as_caller(&fake)).for_caller(None);
    for wish in [Wish::Manifest(&tag("1")), Wish::Tags] {
        let allowed = remote.allows(&repository(), wish).await;
        assert!(matches!(allowed, Err(Error::InvalidContent { .. })), "{allowed:?}");
    }
}

#[tokio::test]
async fn where_head_is_refused_a_get_tells_what_may_be_pulled() {
    for status in [401, 403, 405] {
        let fake = fake(Auth::Users(users(Users::with_tokens()))).await;
        fake.when(|seen| seen.is_head() && is_authorized(seen)).reply(move |_| Reply::new(status));
        let remote = remote_of(asked_as_caller(&fake));
        let (there, one) = (repository(), tag("1"));
        assert!(of(&remote, "alice").allows(&there, Wish::Manifest(&one)).await.unwrap(), "{status}");
        let layer = Image::new(1, &[1000]).layers[0].digest.clone();
        assert!(of(&remote, "alice").allows(&there, Wish::Blob(&layer)).await.unwrap(), "{status}");
        assert!(!of(&remote, "bob").allows(&there, Wish::Manifest(&one)).await.unwrap(), "{status}");
    }
}

#[tokio::test]
async fn c4_a_realm_that_is_not_trusted_is_told_no_callers_password() {
    let (elsewhere, fake) = (FakeUpstream::start().await, fake(Auth::Open).await);
    fake.set_auth(Auth::Bearer { realm: Some(format!("{}/token", elsewhere.url())), account: None });
    let remote = remote_of(asked_as_caller(&fake));
    let alice = account("alice", "secret");
    assert!(matches!(remote.login_as(&alice).await, Err(Error::UntrustedRealm { .. })));
    let allowed = remote.for_caller(Some(&alice)).allows(&repository(), Wish::Tags).await;
    assert!(matches!(allowed, Err(Error::UntrustedRealm { .. })), "{allowed:?}");
    assert!(elsewhere.requests().is_empty());
    // Where the operator trusts it, it may.
    let remote = remote_of(trusting(asked_as_caller(&fake), &elsewhere));
    elsewhere.set_auth(Auth::bearer("alice", "secret"));
    assert!(remote.for_caller(Some(&alice)).allows(&repository(), Wish::Tags).await.is_ok());
    assert_eq!(elsewhere.count(is_authorized), 1);
}

#[tokio::test]
async fn c5_a_callers_account_does_not_follow_a_redirect() {
    let (elsewhere, fake) = (FakeUpstream::start().await, fake(Auth::Users(users(Users::with_basic()))).await);
    let layer = Image::new(1, &[1000]).layers[0].digest.clone();
    elsewhere.set_auth(Auth::basic("alice", "secret"));
    let target = format!("{}/v2/team/app/blobs/{layer}", elsewhere.url());
    fake.when(|seen| seen.is_blob() && is_authorized(seen)).reply(move |_| Reply::redirect(307, &target));
    let remote = of(&remote_of(trusting(asked_as_caller(&fake), &elsewhere)), "alice");
    assert!(remote.get_blob(&repository(), &layer, BlobFrom::Start).await.is_err());
    assert!(!remote.allows(&repository(), Wish::Blob(&layer)).await.unwrap());
    assert!(!elsewhere.requests().is_empty());
    assert_eq!(elsewhere.count(is_authorized), 0);
}

#[tokio::test]
async fn an_upstream_of_callers_has_no_account_certificate_or_mirror_of_its_own() {
    let fake = FakeUpstream::start().await;
    let plain = || asked_as_caller(&fake);
    let helper = CredentialHelper { command: vec!["true".into()], lifetime: Duration::from_mins(1) };
    let at = Mirror::At("https://mirror.example".parse().unwrap());
    let rows = [
        ("credentials", UpstreamConfig { password: Some("hidden".into()), ..plain() }),
        ("credentials", UpstreamConfig { credential_helper: Some(helper), ..plain() }),
        ("mirrors", UpstreamConfig { mirrors: vec![at], ..plain() }),
    ];
    for (expected, upstream) in rows {
        let refused = Remotes::new(RemotesConfig { upstreams: vec![upstream], ..RemotesConfig::default() });
        assert!(matches!(refused, Err(ConfigError::Field { field, .. }) if field == expected), "{expected}");
    }
    // One cache for both would serve what one of them fetched to the other's callers.
    let other = UpstreamConfig { name: "other".into(), ..listed(&fake) };
    let refused = Remotes::new(RemotesConfig { upstreams: vec![plain(), other], ..RemotesConfig::default() });
    assert!(matches!(refused, Err(ConfigError::CredentialsDiffer { .. })));
}
