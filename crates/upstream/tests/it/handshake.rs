//! A handshake step by step, and that nothing secret is told.

use std::time::Duration;

use entrepot_testkit::{Auth, FakeUpstream, Reply, Seen};
use entrepot_upstream::{Error, Handshake, HandshakeStep, Suspension};

use crate::setup::{is_authorized, remote, remote_of, repository, with_account};

async fn fake(auth: Auth) -> FakeUpstream {
    let fake = FakeUpstream::start().await;
    fake.set_auth(auth);
    fake
}

/// The steps as short texts, with the address of `fake` left out.
fn steps(fake: &FakeUpstream, handshake: &Handshake) -> Vec<String> {
    let short = |step: &HandshakeStep| match step {
        HandshakeStep::Asked { method, url, status } => {
            let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            format!("{method} {url} {status}")
        }
        HandshakeStep::ChallengedBasic => "basic".to_owned(),
        HandshakeStep::ChallengedBearer { realm, service, scope } => {
            let realm = realm.as_ref().map_or("-", |realm| realm.as_str());
            format!("bearer {realm} {} {}", service.as_deref().unwrap_or("-"), scope.as_deref().unwrap_or("-"))
        }
        HandshakeStep::TokenIssued { lifetime } => format!("token {}", lifetime.as_secs()),
        HandshakeStep::TokenKept => "kept".to_owned(),
    };
    handshake.steps.iter().map(|step| short(step).replace(&fake.url(), "")).collect()
}

#[tokio::test]
async fn an_open_upstream_is_asked_once() {
    let fake = fake(Auth::Open).await;
    let handshake = remote(&fake).handshake(&repository()).await;
    assert!(handshake.outcome.is_ok() && handshake.account.is_none());
    assert_eq!(steps(&fake, &handshake), ["GET /v2/ 200"]);
}

#[tokio::test]
async fn a_token_is_told_by_its_lifetime_and_asked_for_the_repository_whatever_the_ping_says() {
    let fake = fake(Auth::bearer("robot", "hidden")).await;
    let challenge =
        format!(r#"Bearer realm="{}/token?key=hidden",service="fake",scope="repository:user/image:pull""#, fake.url());
    fake.when(|seen| seen.is_ping() && !is_authorized(seen))
        .reply(move |honest| honest.header("www-authenticate", &challenge));
    let remote = remote_of(with_account(&fake));
    let handshake = remote.handshake(&repository()).await;
    assert!(handshake.outcome.is_ok(), "{handshake:?}");
    assert_eq!(handshake.account.as_deref(), Some("robot"));
    let challenged = "bearer /token fake repository:user/image:pull";
    let expected = ["GET /v2/ 401", challenged, "GET /token 200", "token 300", "GET /v2/ 200"];
    assert_eq!(steps(&fake, &handshake), expected);
    assert_eq!(fake.wait_for(Seen::is_token).await.parameters("scope"), ["repository:team/app:pull"]);
    assert!(!format!("{handshake:?}").contains("hidden"));
    let again = remote.handshake(&repository()).await;
    assert_eq!(steps(&fake, &again), ["GET /v2/ 401", challenged, "kept", "GET /v2/ 200"]);
    fake.revoke_tokens();
    remote.head_manifest(&repository(), &crate::setup::tag("1"), None).await.unwrap_err();
    assert!(remote.handshake(&repository()).await.outcome.is_ok());
}

#[tokio::test]
async fn an_account_is_shown_and_its_password_is_not() {
    let fake = fake(Auth::basic("robot", "hidden")).await;
    let handshake = remote_of(with_account(&fake)).handshake(&repository()).await;
    assert!(handshake.outcome.is_ok(), "{handshake:?}");
    assert_eq!(steps(&fake, &handshake), ["GET /v2/ 401", "basic", "GET /v2/ 200"]);
    assert!(!format!("{handshake:?}").contains("hidden"));
}

#[tokio::test]
async fn a_refused_account_is_told_with_the_step_that_refused_it() {
    for (auth, expected) in
        [(Auth::bearer("robot", "another"), "GET /token 401"), (Auth::basic("robot", "another"), "basic")]
    {
        let fake = fake(auth).await;
        let handshake = remote_of(with_account(&fake)).handshake(&repository()).await;
        assert!(matches!(handshake.outcome, Err(Error::CredentialsRefused { .. })), "{handshake:?}");
        assert_eq!(steps(&fake, &handshake).last().unwrap(), expected);
    }
}

#[tokio::test]
async fn what_an_upstream_fails_at_is_told() {
    let fake = fake(Auth::Open).await;
    fake.when(Seen::is_ping).reply(|_| Reply::redirect(301, "https://elsewhere.example/v2/"));
    let handshake = remote(&fake).handshake(&repository()).await;
    assert!(matches!(handshake.outcome, Err(Error::Rejected { status: 301, .. })), "{handshake:?}");
    fake.heal();
    let remote = remote(&fake);
    fake.when(Seen::is_ping).reply(|_| Reply::too_many_requests("30"));
    let handshake = remote.handshake(&repository()).await;
    assert!(handshake.outcome.is_err());
    let handshake = remote.handshake(&repository()).await;
    let half_a_minute = Duration::from_secs(30);
    assert!(
        matches!(handshake.outcome, Err(Error::Suspended { retry_after, reason: Suspension::RateLimited, .. })
            if retry_after == half_a_minute),
        "{handshake:?}"
    );
    assert!(handshake.steps.is_empty(), "nobody was asked");
    fake.stop().await;
    let handshake = crate::setup::remote(&fake).handshake(&repository()).await;
    assert!(matches!(handshake.outcome, Err(Error::Unreachable { .. })), "{handshake:?}");
    assert_eq!(steps(&fake, &handshake), ["GET /v2/ -"]);
}
