//! Challenges and tokens (threats C4 and C6).

use std::sync::Arc;

use entrepot_testkit::{Auth, FakeUpstream, Image, Reply, Seen};
use entrepot_upstream::{Error, Remotes, RemotesConfig, UpstreamConfig};
use futures_util::future::join_all;
use serde_json::json;

use crate::setup::{
    Expectation, Lie, is_authorized, listed, name, remote, remote_of, repository, tag, trusting, with_account,
};

/// A fake upstream with one image.
async fn fake(auth: Auth) -> FakeUpstream {
    let fake = FakeUpstream::start().await;
    Image::new(1, &[1000]).load_into(&fake, "team/app", "1");
    Image::new(1, &[1000]).load_into(&fake, "team/other", "1");
    fake.set_auth(auth);
    fake
}

/// Replaces the challenge of every 401.
fn challenge_with(fake: &FakeUpstream, challenge: String) {
    fake.when(|seen| !seen.is_token()).reply(move |honest| {
        if honest.is_status(401) { honest.header("www-authenticate", &challenge) } else { honest }
    });
}

#[tokio::test]
async fn a_token_is_fetched_once_per_repository_and_before_the_request_once_the_realm_is_known() {
    let fake = fake(Auth::anonymous_bearer()).await;
    let remote = remote(&fake);
    for _ in 0..3 {
        remote.get_manifest(&repository(), &tag("1")).await.unwrap();
        remote.get_manifest(&name("team/other").into(), &tag("1")).await.unwrap();
    }
    assert_eq!(fake.count(Seen::is_token), 2);
    assert_eq!(fake.count(|seen| seen.is_manifest() && !is_authorized(seen)), 1, "one challenge teaches the realm");
    let token = fake.wait_for(Seen::is_token).await;
    assert_eq!(token.parameters("service"), ["fake"]);
    assert_eq!(token.parameters("scope"), ["repository:team/app:pull"]);
    assert!(!is_authorized(&token));
}

#[tokio::test]
async fn a_hundred_requests_at_once_wait_for_one_token() {
    let fake = fake(Auth::anonymous_bearer()).await;
    let remote = remote(&fake);
    let digest = remote.head_manifest(&name("team/other").into(), &tag("1"), None).await.unwrap().digest;
    fake.forget_requests();
    let (repository, one) = (repository(), tag("1"));
    let heads = join_all((0..100).map(|_| remote.head_manifest(&repository, &one, None))).await;
    assert!(heads.into_iter().all(|head| head.unwrap().digest == digest));
    assert_eq!(fake.count(Seen::is_token), 1);
}

#[tokio::test]
async fn tokens_of_every_lifetime_are_used() {
    let bodies = [
        json!({ "expires_in": null }),
        json!({ "expires_in": 59 }),
        json!({ "expires_in": 0 }),
        json!({ "expires_in": 300, "issued_at": "2001-01-01T00:00:00Z" }),
        json!({ "expires_in": 300, "issued_at": "2101-01-01T00:00:00Z" }),
    ];
    for body in bodies {
        let fake = fake(Auth::anonymous_bearer()).await;
        let lasts = body["expires_in"] != 0;
        let fields = body.clone();
        fake.when(Seen::is_token).reply(move |honest| {
            let fields = fields.clone();
            honest.edit_json(|token| {
                token["access_token"] = token["token"].take();
                for (name, value) in fields.as_object().unwrap() {
                    token[name] = value.clone();
                }
            })
        });
        let remote = remote(&fake);
        for _ in 0..2 {
            remote.get_manifest(&repository(), &tag("1")).await.unwrap();
        }
        assert_eq!(fake.count(Seen::is_token), if lasts { 1 } else { 2 }, "{body}");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_fetched_again_once() {
    let fake = fake(Auth::anonymous_bearer()).await;
    let remote = remote(&fake);
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    fake.revoke_tokens();
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    assert_eq!(fake.count(Seen::is_token), 2);
}

#[tokio::test]
async fn a_second_401_is_final() {
    let fake = fake(Auth::anonymous_bearer()).await;
    let remote = remote(&fake);
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    let challenge = format!(
        r#"Bearer realm="{}/token",service="fake",scope="repository:team/app:pull",error="insufficient_scope""#,
        fake.url()
    );
    fake.when(Seen::is_manifest)
        .reply(move |_| Reply::error(401, "UNAUTHORIZED", "private").header("www-authenticate", &challenge));
    fake.forget_requests();
    let error = remote.get_manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert_eq!(error.history().reported[0].code, "UNAUTHORIZED");
    assert_eq!((fake.count(Seen::is_manifest), fake.count(Seen::is_token)), (2, 1));
}

#[tokio::test]
async fn challenges_are_met_in_all_their_forms() {
    let rows = [
        (r#"Bearer realm="REALM",service="x",scope="*",Basic realm="y""#, "x", "*"),
        (r#"bearer realm="REALM""#, "", "repository:team/app:pull"),
        (r#"Negotiate, Bearer service="x",realm="REALM",scope="aws""#, "x", "aws"),
    ];
    for (challenge, service, scope) in rows {
        let fake = fake(Auth::Open).await;
        let challenge = challenge.replace("REALM", &format!("{}/token?keep=me", fake.url()));
        let refusal = Reply::error(401, "UNAUTHORIZED", "no").header("www-authenticate", &challenge);
        fake.when(|seen| seen.is_manifest() && !is_authorized(seen)).reply(move |_| refusal.clone());
        let remote = remote(&fake);
        for _ in 0..2 {
            remote.get_manifest(&repository(), &tag("1")).await.unwrap();
        }
        let token = fake.wait_for(Seen::is_token).await;
        assert_eq!(token.parameters("keep"), ["me"]);
        assert_eq!(token.parameters("service").join(" "), service);
        assert_eq!(token.parameters("scope").join(" "), scope);
        assert_eq!(fake.count(Seen::is_token), 1, "{challenge}");
        assert_eq!(fake.count(Seen::is_manifest), 3, "{challenge}");
    }
}

#[tokio::test]
async fn a_401_without_a_challenge_is_explained_by_the_ping() {
    let fake = fake(Auth::anonymous_bearer()).await;
    fake.when(Seen::is_manifest).reply(|honest| honest.without("www-authenticate"));
    let remote = remote(&fake);
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    assert_eq!((fake.count(Seen::is_ping), fake.count(Seen::is_token)), (1, 1));
}

#[tokio::test]
async fn a_password_is_sent_without_being_asked_once_it_is_wanted() {
    let fake = fake(Auth::basic("robot", "hidden")).await;
    let remote = remote_of(with_account(&fake));
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    assert_eq!(fake.count(Seen::is_manifest), 2);
    assert_eq!(fake.count(|seen| seen.is_manifest() && is_authorized(seen)), 2);
}

#[tokio::test]
async fn an_account_is_used_for_tokens_and_named_in_the_request() {
    let fake = fake(Auth::bearer("robot", "hidden")).await;
    remote_of(with_account(&fake)).get_manifest(&repository(), &tag("1")).await.unwrap();
    let token = fake.wait_for(Seen::is_token).await;
    assert_eq!(token.parameters("account"), ["robot"]);
    assert!(is_authorized(&token));
}

#[tokio::test]
async fn refused_credentials_are_said_to_be_and_not_tried_again_at_once() {
    for auth in [Auth::bearer("robot", "another"), Auth::basic("robot", "another")] {
        let is_bearer = matches!(auth, Auth::Bearer { .. });
        let fake = fake(auth).await;
        let remote = remote_of(with_account(&fake));
        for _ in 0..5 {
            let error = remote.get_manifest(&repository(), &tag("1")).await.unwrap_err();
            assert!(matches!(error, Error::CredentialsRefused { .. }), "{error}");
            assert!(!format!("{error} {error:?}").contains("hidden"));
        }
        if is_bearer {
            assert_eq!(fake.count(Seen::is_token), 1);
        }
    }
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_the_anonymous_means_private_or_absent() {
    let fake = fake(Auth::bearer("robot", "hidden")).await;
    let error = remote(&fake).get_manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(error.history().url.as_str().ends_with("/token"));
}

#[tokio::test]
async fn what_a_token_endpoint_does_wrong_is_named() {
    let rows: [(Lie, Expectation); 6] = [
        (
            Box::new(|_| Reply::too_many_requests("7")),
            |error| matches!(error, Error::RateLimited { retry_after, .. } if retry_after.as_secs() == 7),
        ),
        (Box::new(|_| Reply::new(503)), |error| matches!(error, Error::Unavailable { status: 503, .. })),
        (Box::new(|_| Reply::new(404)), |error| matches!(error, Error::Rejected { status: 404, .. })),
        (Box::new(|_| Reply::page()), |error| matches!(error, Error::InvalidContent { .. })),
        (Box::new(|_| Reply::json(&json!({}))), |error| matches!(error, Error::InvalidContent { .. })),
        (Box::new(|_| Reply::json(&json!({ "token": "t".repeat(200_000) }))), |error| {
            matches!(error, Error::TooLarge { .. })
        }),
    ];
    for (number, (lie, is_expected)) in rows.into_iter().enumerate() {
        let fake = fake(Auth::anonymous_bearer()).await;
        fake.when(Seen::is_token).reply(lie);
        let error = remote(&fake).get_manifest(&repository(), &tag("1")).await.unwrap_err();
        assert!(is_expected(&error), "row {number}: {error:?}");
    }
}

#[tokio::test]
async fn c4_a_realm_elsewhere_never_sees_the_account() {
    for scheme in ["Basic, Bearer", "Bearer"] {
        let (fake, attacker) = (fake(Auth::anonymous_bearer()).await, FakeUpstream::start().await);
        challenge_with(&fake, format!(r#"{scheme} realm="{}/token",service="fake""#, attacker.url()));
        let error = remote_of(with_account(&fake)).get_manifest(&repository(), &tag("1")).await.unwrap_err();
        assert!(matches!(error, Error::UntrustedRealm { .. }), "{error}");
        assert_eq!(attacker.connections(), 0);
        assert_eq!(fake.count(is_authorized), 0);
    }
}

#[tokio::test]
async fn c4_a_realm_elsewhere_that_is_trusted_gets_the_account() {
    let issuer = fake(Auth::bearer("robot", "hidden")).await;
    let fake = fake(Auth::Bearer { realm: Some(format!("{}/token", issuer.url())), account: None }).await;
    let remote = remote_of(trusting(with_account(&fake), &issuer));
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    assert_eq!(issuer.count(is_authorized), 1);
}

#[tokio::test]
async fn c2_an_anonymous_realm_at_a_private_address_is_not_contacted() {
    let (fake, inside) = (fake(Auth::anonymous_bearer()).await, FakeUpstream::start().await);
    challenge_with(&fake, format!(r#"Bearer realm="{}/token""#, inside.url()));
    let error = remote(&fake).get_manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::AddressRefused { .. }), "{error}");
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn c4_a_token_endpoint_cannot_send_the_account_on() {
    let (fake, attacker) = (fake(Auth::bearer("robot", "hidden")).await, FakeUpstream::start().await);
    let location = format!("{}/token", attacker.url());
    fake.when(Seen::is_token).reply(move |_| Reply::redirect(307, &location));
    let remote = remote_of(trusting(with_account(&fake), &attacker));
    let error = remote.get_manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::Rejected { status: 307, .. }), "{error}");
    assert_eq!(attacker.connections(), 0);
}

#[tokio::test]
async fn c6_the_tokens_of_one_upstream_never_reach_another() {
    let (one, other) = (fake(Auth::bearer("robot", "hidden")).await, fake(Auth::anonymous_bearer()).await);
    let other_upstream = UpstreamConfig { name: "other".into(), ..listed(&other) };
    let config = RemotesConfig { upstreams: vec![with_account(&one), other_upstream], ..RemotesConfig::default() };
    let remotes = Arc::new(Remotes::new(config).unwrap());
    // Both issue tokens for one realm: even so each has its own.
    challenge_with(&other, format!(r#"Bearer realm="{}/token",service="fake""#, one.url()));
    remotes.resolve("fake").unwrap().get_manifest(&repository(), &tag("1")).await.unwrap();
    let error = remotes.resolve("other").unwrap().get_manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::AddressRefused { .. }), "{error}");
    assert_eq!(other.count(is_authorized), 0);
}
