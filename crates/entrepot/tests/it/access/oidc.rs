//! Tokens of identity providers over HTTP: where they are good, as whom, and how it is said that they are not.

use entrepot::AccessBlueprint;
use entrepot_access::{Anonymous, ClaimRule, IssuerConfig};
use entrepot_testkit::{FakeIssuer, Image, SigningAlgorithm};
use serde_json::{Value, json};

use super::setup::{Answer, House, SERVICE, With, blueprint, rule};
use crate::support::Setup;

const MANIFEST: &str = "/v2/team/app/manifests/1";

/// A registry that believes a provider, whose jobs of `org` may push to `team/**`, and an image there.
struct Works {
    house: House,
    issuer: FakeIssuer,
    image: Image,
}

impl Works {
    async fn build(anonymous: Anonymous) -> Self {
        let issuer = FakeIssuer::start().await;
        let jobs = ClaimRule {
            claims: [("repository".to_owned(), "*/*".to_owned())].into(),
            principal: "{repository}".to_owned(),
        };
        let config = IssuerConfig {
            name: "ci".into(),
            issuer: issuer.url().parse().unwrap(),
            audience: "entrepot".into(),
            ca: None,
            trusted_hosts: Vec::new(),
            identities: vec![jobs],
        };
        let rules = vec![rule("oidc:ci:org/**", &["team/**"], "pull,push"), rule("all", &[], "*")];
        let access = AccessBlueprint { issuers: vec![config], ..blueprint(anonymous, rules) };
        let house = House::with(Setup { access: Some(access), ..Setup::default() }).await;
        let image = Image::new(1, &[1000]);
        house.push("team/app", "1", &image, &With::User("all")).await;
        Self { house, issuer, image }
    }

    /// The token of a job of this repository of code.
    fn job(&self, repository: &str) -> String {
        self.issuer.mint(&json!({ "repository": repository }))
    }

    async fn pull(&self, with: &With) -> Answer {
        self.house.ask("GET", MANIFEST, with).await
    }

    async fn ask_for_token(&self, with: &With) -> Answer {
        let path = format!("/token?service={SERVICE}&scope=repository:team/app:pull,push");
        self.house.ask("GET", &path, with).await
    }
}

/// Tokens that are good for nothing, by what is wrong with them.
fn bad_tokens(issuer: &FakeIssuer) -> Vec<(&'static str, String)> {
    let with = |claims: Value| issuer.mint(&claims);
    let mut header = issuer.header(SigningAlgorithm::Rs256);
    header["kid"] = "unknown".into();
    let claims = issuer.claims(&json!({ "repository": "org/app" }));
    let expiry = claims["iat"].as_u64().unwrap() - 1000;
    vec![
        ("audience", with(json!({ "repository": "org/app", "aud": "another" }))),
        ("expired", with(json!({ "repository": "org/app", "exp": expiry }))),
        ("unknown key", issuer.sign(SigningAlgorithm::Rs256, &header, &claims)),
        ("nobody", with(json!({}))),
    ]
}

#[tokio::test]
async fn a_job_pushes_and_pulls_with_its_token_as_bearer_as_password_and_for_a_token() {
    let works = Works::build(Anonymous::None).await;
    let job = works.job("org/app");
    let exchanged = works.ask_for_token(&With::Basic("any", job.clone())).await;
    assert_eq!(exchanged.status, 200, "{}", exchanged.message());
    let token = exchanged.json()["token"].as_str().unwrap().to_owned();
    let ways =
        [With::Bearer(job.clone()), With::Basic("any", job.clone()), With::Basic("other", job), With::Bearer(token)];
    for (number, with) in ways.iter().enumerate() {
        works.house.push("team/app", &format!("new-{number}"), &works.image, with).await;
        assert_eq!(works.pull(with).await.body, works.image.manifest.bytes, "{number}");
    }
}

#[tokio::test]
async fn rules_are_by_the_provider_and_what_the_claims_say() {
    let works = Works::build(Anonymous::None).await;
    let (own, foreign) = (works.job("org/app"), works.job("evil/app"));
    for (job, path, status) in
        [(&own, MANIFEST, 200), (&own, "/v2/other/app/manifests/1", 403), (&foreign, MANIFEST, 403)]
    {
        for with in [With::Bearer(job.clone()), With::Basic("any", job.clone())] {
            assert_eq!(works.house.ask("GET", path, &with).await.status, status, "{path}");
        }
    }
    // He is somebody, so that he is given a token, and it is good for nothing.
    let exchanged = works.ask_for_token(&With::Basic("any", foreign)).await;
    assert_eq!(exchanged.status, 200, "{}", exchanged.message());
    let refused = works.pull(&With::Bearer(exchanged.json()["token"].as_str().unwrap().to_owned())).await;
    assert_eq!(refused.status, 401);
    assert!(refused.challenge().contains(r#"error="insufficient_scope""#), "{}", refused.challenge());
}

#[tokio::test]
async fn a6_a_token_for_another_or_of_nobody_is_refused_and_nobody_is_anonymous_with_it() {
    for anonymous in [Anonymous::None, Anonymous::Pull] {
        let works = Works::build(anonymous).await;
        for (what, token) in bad_tokens(&works.issuer) {
            let refused = works.pull(&With::Bearer(token.clone())).await;
            assert_eq!((refused.status, refused.code().as_str()), (401, "UNAUTHORIZED"), "{what}");
            assert!(refused.challenge().contains(r#"error="invalid_token""#), "{what}: {}", refused.challenge());
            let basic = With::Basic("any", token);
            assert_eq!(works.pull(&basic).await.status, 401, "{what}");
            assert_eq!(works.ask_for_token(&basic).await.status, 401, "{what}");
        }
        // Those refusals were no fault of the provider, nor do they stand in the way of whoever has a good one.
        assert_eq!(works.pull(&With::Bearer(works.job("org/app"))).await.status, 200);
    }
}

#[tokio::test]
async fn a7_a_provider_that_is_down_is_an_outage_and_neither_a_refusal_nor_nobody() {
    for anonymous in [Anonymous::None, Anonymous::Pull] {
        let works = Works::build(anonymous).await;
        let job = works.job("org/app");
        works.issuer.server().stop().await;
        for with in [With::Bearer(job.clone()), With::Basic("any", job.clone())] {
            let failed = works.pull(&with).await;
            assert_eq!((failed.status, failed.challenge()), (503, ""), "{}", failed.message());
            assert!(!failed.header("retry-after").is_empty());
        }
        assert_eq!(works.ask_for_token(&With::Basic("any", job)).await.status, 503);
        // Users do not need it.
        assert_eq!(works.pull(&With::User("all")).await.status, 200);
    }
}
