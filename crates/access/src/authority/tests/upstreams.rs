//! Users of upstreams.

use entrepot_testkit::{Auth, FakeUpstream, Reply, Seen, Users as FakeUsers};
use entrepot_upstream::{Remotes, RemotesConfig, UpstreamConfig};

use super::*;

/// An install in front of an upstream that knows `octocat` with the password `octocat's`, and `alice` with `there`.
async fn setup() -> (Install, FakeUpstream) {
    let fake = FakeUpstream::start().await;
    let known = FakeUsers::with_basic().user("octocat", "octocat's", &[]).user("alice", "there", &[]);
    fake.set_auth(Auth::Users(known));
    let config = UpstreamConfig { is_asked_as_caller: true, ..UpstreamConfig::new("hub", fake.url().parse().unwrap()) };
    let remotes = Remotes::new(RemotesConfig { upstreams: vec![config], ..RemotesConfig::default() }).unwrap();
    let upstreams = CallerUpstreams::new(remotes.asked_as_caller().iter().cloned());
    let rules = Rules::new(Anonymous::None, vec![], vec![rule("all", "alice", "**", Actions::ALL)]);
    (Install::knowing(Issuers::default(), upstreams, rules).await, fake)
}

#[tokio::test]
async fn b10_whoever_has_an_account_at_an_upstream_is_its_user_and_nobody_here() {
    let (install, _fake) = setup().await;
    for user in ["octocat", "hub/octocat"] {
        let caller = install.basic(user, "octocat's").await.unwrap();
        assert_eq!(caller.principal.to_string(), "upstream:hub:octocat", "{user}");
        let judged = target("proxy/hub/a").judged_by("hub".into());
        let token = install.issue(&caller, &["repository:proxy/hub/a:pull"]).await;
        let bearer = install.bearer(&token).await.unwrap();
        for caller in [&caller, &bearer] {
            let account = caller.upstream_credentials.as_ref().unwrap();
            assert_eq!((&*account.upstream, account.user.as_str()), ("hub", "octocat"));
            assert_eq!(account.password.expose_secret(), "octocat's");
            assert!(install.authority.decide(caller, Action::Pull, &judged).is_allowed());
            assert!(!install.authority.decide(caller, Action::Pull, &target("team/app")).is_allowed());
            assert!(install.authority.issue_refresh_token(caller).await.unwrap().is_none());
        }
    }
    assert!(matches!(install.basic("octocat", "wrong").await, Err(Refusal::WrongCredentials)));
}

#[tokio::test]
async fn c6_an_upstream_is_told_no_password_that_is_ours() {
    let (install, fake) = setup().await;
    let alice = install.basic("alice", "alice's").await.unwrap();
    let (_, robots) = install.create(robot("ci")).await;
    let ours = install.issue(&alice, &[]).await;
    let cut_off = &robots.expose_secret()[..80];
    let rows = [
        ("alice", "there"),
        ("alice", "mistyped"),
        ("ci", robots.expose_secret()),
        ("alice", robots.expose_secret()),
        ("nobody", cut_off),
        ("nobody", ours.expose_secret()),
        ("", "x"),
    ];
    for (user, password) in rows {
        // The robot is let in, all others are not.
        assert_eq!(install.basic(user, password).await.is_ok(), user == "ci", "{user} {password}");
    }
    assert!(fake.requests().is_empty());
    assert!(install.basic("nobody", "x").await.is_err());
    assert!(!fake.requests().is_empty());
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_has_refused_nobody_and_slows_nobody_down() {
    let (install, fake) = setup().await;
    fake.when(Seen::is_any).reply(|_| Reply::new(503));
    for _ in 0..=crate::limits::FAILURES_MAX {
        let refused = install.basic("octocat", "octocat's").await;
        assert!(matches!(refused, Err(Refusal::Unavailable { .. })), "{refused:?}");
    }
    assert!(install.basic("alice", "alice's").await.is_ok());
}
