//! Tokens of identity providers.

use entrepot_metadata::SystemClock;
use entrepot_testkit::{FakeIssuer, Reply, Seen};
use entrepot_upstream::{Lookup, Timeouts};
use serde_json::json;

use super::*;
use crate::issuers::IssuerConfig;

/// An install that trusts a provider, whose users may pull from `team/**`.
async fn setup() -> (Install, FakeIssuer) {
    let issuer = FakeIssuer::start().await;
    let config = IssuerConfig {
        name: "ci".into(),
        issuer: issuer.url().parse().unwrap(),
        audience: "entrepot".into(),
        ca: None,
        trusted_hosts: Vec::new(),
        identities: Vec::new(),
    };
    // The provider goes by the clock of this machine.
    let clock = Arc::new(SystemClock);
    let issuers = Issuers::new(vec![config], Timeouts::default(), Lookup::default(), clock).unwrap();
    let ci = rule("ci", "oidc:ci:*", "team/**", Actions::parse("pull").unwrap());
    let rules = Rules::new(Anonymous::None, vec![], vec![ci]);
    (Install::knowing(issuers, CallerUpstreams::default(), rules).await, issuer)
}

#[tokio::test]
async fn a_token_of_a_provider_is_good_as_itself_as_a_password_and_for_a_token() {
    let (install, issuer) = setup().await;
    let token = issuer.mint(&json!({"sub": "app", "aud": "entrepot"}));
    let bearer = install.bearer(&token.as_str().into()).await.unwrap();
    let mut callers = vec![bearer];
    // Clients want a user; who it is is in the token.
    for user in ["oauth2", "alice", "nobody", ""] {
        callers.push(install.basic(user, &token).await.unwrap());
    }
    let signed = install.issue(&callers[1], &["repository:team/app:*"]).await;
    callers.push(install.bearer(&signed).await.unwrap());
    for caller in &callers {
        assert_eq!(caller.principal.to_string(), "oidc:ci:app");
        assert!(install.authority.decide(caller, Action::Pull, &target("team/app")).is_allowed());
        assert!(!install.authority.decide(caller, Action::Create, &target("team/app")).is_allowed());
        assert!(install.authority.issue_refresh_token(caller).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a6_a_token_of_a_provider_is_refused_as_one_and_never_tried_as_a_password() {
    let (install, issuer) = setup().await;
    let other = FakeIssuer::start().await;
    // The first keys of all fake providers are the same.
    other.rotate_keys();
    let past = entrepot_metadata::Clock::now(&SystemClock).milliseconds() / 1000 - 3600;
    let rows = [
        (issuer.mint(&json!({"sub": "app", "aud": "another"})), TokenFault::WrongAudience),
        (issuer.mint(&json!({"sub": "app", "aud": "entrepot", "exp": past})), TokenFault::Expired),
        (other.mint(&json!({"sub": "app", "aud": "entrepot", "iss": issuer.url()})), TokenFault::Unknown),
    ];
    for (token, expected) in rows {
        assert_eq!(fault(install.bearer(&token.as_str().into()).await), expected);
        assert_eq!(fault(install.basic("alice", &token).await), expected);
    }
    // One of a provider that is not known here is a text like any other.
    let stranger = other.mint(&json!({"sub": "app", "aud": "entrepot"}));
    assert_eq!(fault(install.bearer(&stranger.as_str().into()).await), TokenFault::Unknown);
    assert!(matches!(install.basic("alice", &stranger).await, Err(Refusal::WrongCredentials)));
}

#[tokio::test]
async fn a_provider_that_does_not_answer_has_refused_nobody() {
    let (install, issuer) = setup().await;
    issuer.when(Seen::is_any).reply(|_| Reply::new(503));
    let token = issuer.mint(&json!({"sub": "app", "aud": "entrepot"}));
    for result in [install.bearer(&token.as_str().into()).await, install.basic("oauth2", &token).await] {
        assert!(matches!(result, Err(Refusal::Unavailable { .. })), "{result:?}");
    }
}
