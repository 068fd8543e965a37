//! Against a real identity provider on loopback that can lie.

use std::error::Error as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entrepot_testkit::ClientCertificates::NotAsked;
use entrepot_testkit::{Authority, FakeIssuer, FakeUpstream, Gate, Reply, Seen, SigningAlgorithm};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use ring::hmac;
use serde_json::{Value, json};

use super::*;
use crate::testing::Log;

/// The clock of this machine, put forward by so many milliseconds.
#[derive(Debug, Default)]
struct ShiftedClock(AtomicI64);

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_milliseconds(SystemClock.now().milliseconds() + self.0.load(Ordering::SeqCst))
    }
}

fn config(issuer: &FakeIssuer) -> IssuerConfig {
    IssuerConfig {
        name: "ci".into(),
        issuer: issuer.url().parse().unwrap(),
        audience: "entrepot".into(),
        ca: None,
        trusted_hosts: Vec::new(),
        identities: Vec::new(),
    }
}

fn set_up(configs: Vec<IssuerConfig>, clock: Arc<dyn Clock>) -> Result<Issuers, IssuersError> {
    let timeouts = Timeouts { first_byte: Duration::from_secs(1), ..Timeouts::default() };
    Issuers::new(configs, timeouts, Lookup::default(), clock)
}

fn trusting(issuer: &FakeIssuer) -> Issuers {
    set_up(vec![config(issuer)], Arc::new(SystemClock)).unwrap()
}

async fn verify(issuers: &Issuers, token: String) -> Result<String, Refusal> {
    issuers.verify(&token.into()).await.map(|principal| principal.to_string())
}

/// What is wrong with a token that is refused.
async fn fault(issuers: &Issuers, token: String) -> TokenFault {
    match verify(issuers, token).await {
        Err(Refusal::InvalidToken(fault)) => fault,
        other => panic!("not refused as a token: {other:?}"),
    }
}

/// Why a provider cannot be asked, in words.
async fn outage(issuers: &Issuers, token: String) -> String {
    let Err(refusal @ Refusal::Unavailable { .. }) = verify(issuers, token).await else { panic!("no outage") };
    let (mut text, mut next) = (refusal.to_string(), refusal.source());
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

/// Lets time pass for everything but what is signed.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn tokens_of_every_algorithm_on_the_list_are_good_and_cost_one_fetch() {
    let issuer = FakeIssuer::start().await;
    let issuers = trusting(&issuer);
    for algorithm in SigningAlgorithm::ALL {
        let token = issuer.mint_as(algorithm, &json!({ "sub": algorithm.as_str() }));
        let name = verify(&issuers, token).await.map_err(|error| error.to_string());
        assert_eq!(name, Ok(format!("oidc:ci:{}", algorithm.as_str())));
    }
    assert_eq!(issuer.key_fetches(), 1);
    assert!(issuers.knows(issuer.url()) && issuers.knows(&format!("{}/", issuer.url())));
    assert!(!issuers.knows("https://other.example") && !issuers.knows("") && !issuers.is_empty());
}

#[tokio::test]
async fn a1_a_key_that_comes_with_the_token_is_not_looked_at() {
    let (issuer, attacker) = (FakeIssuer::start().await, FakeIssuer::start().await);
    attacker.rotate_keys();
    let issuers = trusting(&issuer);
    let claims = issuer.claims(&json!({}));
    let foreign_keys = attacker.keys();
    for (algorithm, key) in [(SigningAlgorithm::Rs256, 0), (SigningAlgorithm::Es256, 1), (SigningAlgorithm::EdDsa, 3)] {
        let honest = issuer.header(algorithm);
        let additions = [
            json!({}),
            json!({ "jwk": foreign_keys["keys"][key] }),
            json!({ "jku": format!("{}/keys", attacker.url()), "x5u": format!("{}/x", attacker.url()) }),
            json!({ "x5c": ["MIIB"] }),
            json!({ "kid": foreign_keys["keys"][key]["kid"], "jwk": foreign_keys["keys"][key] }),
        ];
        for addition in additions {
            let mut header = honest.clone();
            header.as_object_mut().unwrap().extend(addition.as_object().unwrap().clone());
            let forged = attacker.sign(algorithm, &header, &claims);
            assert_eq!(fault(&issuers, forged).await, TokenFault::Unknown, "{header}");
        }
    }
    assert_eq!(attacker.server().connections(), 0);
    let token = issuer.sign(SigningAlgorithm::Rs256, &issuer.header(SigningAlgorithm::Rs256), &claims);
    assert!(verify(&issuers, token).await.is_ok());
}

#[tokio::test]
async fn a1_no_signature_is_none_and_no_public_key_is_a_secret() {
    let issuer = FakeIssuer::start().await;
    let issuers = trusting(&issuer);
    let header = |name: &str| {
        let mut header = issuer.header(SigningAlgorithm::Rs256);
        header["alg"] = name.into();
        header
    };
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = part(&issuer.claims(&json!({})));
    for name in ["none", "None", "", "HS256", "RS256"] {
        let unsigned = format!("{}.{claims}.", part(&header(name)));
        assert_eq!(fault(&issuers, unsigned).await, TokenFault::Unknown, "{name}");
    }
    let modulus = issuer.keys()["keys"][0]["n"].as_str().unwrap().to_owned();
    for secret in [URL_SAFE_NO_PAD.decode(&modulus).unwrap(), modulus.into_bytes(), issuer.keys().to_string().into()] {
        let signed = format!("{}.{claims}", part(&header("HS256")));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert_eq!(fault(&issuers, forged).await, TokenFault::Unknown);
    }
    // A good signature of one algorithm is none of another, nor by a key of another kind.
    for name in ["PS256", "RS384", "ES256"] {
        let relabelled = issuer.sign(SigningAlgorithm::Rs256, &header(name), &issuer.claims(&json!({})));
        assert_eq!(fault(&issuers, relabelled).await, TokenFault::Unknown, "{name}");
    }
}

#[tokio::test]
async fn a2_validly_signed_tokens_with_claims_of_wrong_types_are_refused() {
    let issuer = FakeIssuer::start().await;
    let issuers = trusting(&issuer);
    for claims in [
        json!({ "exp": "never" }),
        json!({ "exp": null }),
        json!({ "nbf": "9999999999" }),
        json!({ "iat": [] }),
        json!({ "iat": null }),
        json!({ "aud": { "entrepot": true } }),
        json!({ "aud": null }),
        json!({ "iss": [issuer.url()] }),
        json!({ "iss": null }),
    ] {
        assert_eq!(fault(&issuers, issuer.mint(&claims)).await, TokenFault::Unknown, "{claims}");
    }
    let infinite = issuer.claims(&json!({})).to_string().replace(r#""exp":"#, r#""exp":1e400,"was":"#);
    let token = issuer.mint(&json!({}));
    let mut parts: Vec<&str> = token.split('.').collect();
    let infinite = URL_SAFE_NO_PAD.encode(infinite);
    parts[1] = &infinite;
    assert_eq!(fault(&issuers, parts.join(".")).await, TokenFault::Unknown);
}

#[tokio::test]
async fn a2_an_expired_token_and_one_that_is_not_valid_yet_are_refused() {
    let issuer = FakeIssuer::start().await;
    let clock = Arc::new(ShiftedClock::default());
    let issuers = set_up(vec![config(&issuer)], Arc::<ShiftedClock>::clone(&clock)).unwrap();
    let token = || issuer.mint(&json!({}));
    clock.0.store(-120_000, Ordering::SeqCst);
    assert_eq!(fault(&issuers, token()).await, TokenFault::NotYetValid);
    clock.0.store(0, Ordering::SeqCst);
    let good = token();
    assert!(verify(&issuers, good.clone()).await.is_ok());
    clock.0.store(370_000, Ordering::SeqCst);
    assert_eq!(fault(&issuers, good).await, TokenFault::Expired, "that it was good once is forgotten");
    assert_eq!(fault(&issuers, issuer.mint(&json!({ "exp": 1 }))).await, TokenFault::Expired);
}

#[tokio::test]
async fn a6_a_token_for_another_service_or_in_the_name_of_another_issuer_is_refused() {
    let (issuer, other, stranger) = (FakeIssuer::start().await, FakeIssuer::start().await, FakeIssuer::start().await);
    let second = IssuerConfig { name: "other".into(), ..config(&other) };
    other.rotate_keys();
    let issuers = set_up(vec![config(&issuer), second], Arc::new(SystemClock)).unwrap();
    for audience in [json!("other"), json!(["other", "entrepot.example"]), json!("ENTREPOT")] {
        let token = issuer.mint(&json!({ "aud": audience }));
        assert_eq!(fault(&issuers, token).await, TokenFault::WrongAudience, "{audience}");
    }
    let two = json!({ "aud": ["other", "entrepot"], "azp": "other" });
    assert_eq!(fault(&issuers, issuer.mint(&two)).await, TokenFault::WrongAudience);
    assert_eq!(
        verify(&issuers, issuer.mint(&json!({ "aud": ["other", "entrepot"] }))).await.unwrap(),
        "oidc:ci:somebody"
    );
    assert_eq!(verify(&issuers, other.mint(&json!({}))).await.unwrap(), "oidc:other:somebody");
    for issuer_named in
        [other.url().to_owned(), stranger.url().to_owned(), format!("{}/x", issuer.url()), String::new()]
    {
        let token = issuer.mint(&json!({ "iss": issuer_named }));
        assert_eq!(fault(&issuers, token).await, TokenFault::Unknown, "{issuer_named}");
    }
    assert_eq!(stranger.server().connections(), 0, "whoever is not configured is not asked");
}

#[tokio::test]
async fn a7_a_redirect_of_discovery_or_of_keys_leads_nowhere() {
    for is_redirected in [Seen::is_discovery, Seen::is_keys] {
        let (issuer, inside) = (FakeIssuer::start().await, FakeIssuer::start().await);
        let issuers = trusting(&issuer);
        let location = inside.server().url();
        issuer.when(is_redirected).reply(move |_| Reply::redirect(302, &format!("{location}/keys")));
        let told = outage(&issuers, issuer.mint(&json!({}))).await;
        assert!(told.contains("answered 302") && told.contains("none is followed"), "{told}");
        assert_eq!(inside.server().connections(), 0);
    }
}

#[tokio::test]
async fn a7_a_provider_that_lies_about_itself_is_an_outage_and_nobody_is_let_in() {
    type Lie = Box<dyn Fn(Reply) -> Reply + Send + Sync>;
    type Row = (fn(&Seen) -> bool, Lie, &'static str);
    let inside = FakeUpstream::start().await;
    let elsewhere = |scheme: &str| {
        let keys = format!("{scheme}://{}/keys", inside.address());
        Box::new(move |honest: Reply| honest.edit_json(|document| document["jwks_uri"] = keys.clone().into())) as Lie
    };
    let gate = Gate::new();
    let silent = gate.clone();
    let rows: Vec<Row> = vec![
        (
            Seen::is_discovery,
            Box::new(|honest| honest.edit_json(|it| it["issuer"] = "https://evil.example".into())),
            "evil",
        ),
        (Seen::is_discovery, Box::new(|honest| honest.edit_json(|it| it["issuer"] = 7.into())), "discovery"),
        (Seen::is_discovery, elsewhere("http"), "jwks_uri"),
        (Seen::is_discovery, elsewhere("https"), "list the host in trusted_hosts of the provider"),
        (Seen::is_discovery, Box::new(|_| Reply::page()), "discovery"),
        (Seen::is_discovery, Box::new(|_| Reply::new(500)), "500"),
        (Seen::is_discovery, Box::new(|_| Reply::new(404)), "404"),
        (Seen::is_discovery, Box::new(move |honest| honest.silent(&silent)), "nothing came"),
        (Seen::is_keys, Box::new(|_| Reply::json(&json!({ "keys": [] }))), "none of its keys"),
        (Seen::is_keys, Box::new(|_| Reply::content("application/json", vec![b'x'; 300 * 1024])), "larger"),
        (Seen::is_keys, Box::new(|honest| honest.cut_after(20)), "broke"),
    ];
    let issuer = FakeIssuer::start().await;
    for (matches, lie, expected) in rows {
        issuer.server().heal();
        issuer.when(matches).reply(lie);
        let issuers = trusting(&issuer);
        for _ in 0..2 {
            let told = outage(&issuers, issuer.mint(&json!({}))).await;
            assert!(told.contains(expected) && told.contains(r#"the identity provider "ci""#), "{expected}: {told}");
        }
    }
    gate.open();
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a7_a_thousand_unknown_key_ids_cost_two_fetches() {
    let issuer = FakeIssuer::start().await;
    let issuers = Arc::new(trusting(&issuer));
    let attempt = |number: usize| {
        let mut header = issuer.header(SigningAlgorithm::Es256);
        header["kid"] = format!("random-{number}").into();
        issuer.sign(SigningAlgorithm::Es256, &header, &issuer.claims(&json!({})))
    };
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let (issuers, token) = (Arc::clone(&issuers), attempt(number));
        tasks.spawn(async move { fault(&issuers, token).await });
    }
    while let Some(fault) = tasks.join_next().await {
        assert_eq!(fault.unwrap(), TokenFault::Unknown);
    }
    for number in 1000..1100 {
        assert_eq!(fault(&issuers, attempt(number)).await, TokenFault::Unknown);
    }
    assert_eq!(issuer.key_fetches(), 2);
    // Those who have a key are not kept waiting by it, and in a minute a key that is new is found.
    assert!(verify(&issuers, issuer.mint(&json!({}))).await.is_ok());
    issuer.rotate_keys();
    assert_eq!(fault(&issuers, issuer.mint(&json!({}))).await, TokenFault::Unknown);
    pass(Duration::from_secs(61)).await;
    assert!(verify(&issuers, issuer.mint(&json!({ "sub": "b" }))).await.is_ok());
    assert_eq!(issuer.key_fetches(), 3);
}

#[tokio::test]
async fn a7_whoever_comes_first_fetches_for_all() {
    let issuer = FakeIssuer::start().await;
    let (issuers, gate) = (Arc::new(trusting(&issuer)), Gate::new());
    let held = gate.clone();
    issuer.when(Seen::is_keys).reply(move |honest| honest.silent(&held));
    // Signing takes its time, and the fetch that is held has not much of it.
    let tokens: Vec<_> = (0..100).map(|number| issuer.mint(&json!({ "jti": number }))).collect();
    let mut tasks = tokio::task::JoinSet::new();
    let (patience, first) = (Arc::clone(&issuers), issuer.mint(&json!({ "sub": "first" })));
    let impatient = tasks.spawn(async move { verify(&patience, first).await });
    gate.reached_by(1).await;
    impatient.abort();
    assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
    for token in tokens {
        let issuers = Arc::clone(&issuers);
        tasks.spawn(async move { verify(&issuers, token).await });
    }
    tokio::task::yield_now().await;
    gate.open();
    while let Some(verified) = tasks.join_next().await {
        assert_eq!(verified.unwrap().unwrap(), "oidc:ci:somebody");
    }
    assert_eq!(issuer.key_fetches(), 1, "the first one left, and its fetch stayed");
}

#[tokio::test]
async fn rotated_keys_are_found_at_once_and_old_ones_are_over() {
    let issuer = FakeIssuer::start().await;
    let issuers = trusting(&issuer);
    assert!(verify(&issuers, issuer.mint(&json!({}))).await.is_ok());
    let old = issuer.mint(&json!({ "sub": "late" }));
    issuer.rotate_keys();
    assert_eq!(verify(&issuers, issuer.mint(&json!({ "sub": "new" }))).await.unwrap(), "oidc:ci:new");
    assert_eq!(issuer.key_fetches(), 2);
    assert_eq!(fault(&issuers, old).await, TokenFault::Unknown);
}

#[tokio::test]
async fn keys_are_renewed_behind_the_back_of_a_request() {
    let issuer = FakeIssuer::start().await;
    let (issuers, gate) = (trusting(&issuer), Gate::new());
    assert!(verify(&issuers, issuer.mint(&json!({}))).await.is_ok());
    pass(HOUR).await;
    let held = gate.clone();
    issuer.when(Seen::is_discovery).reply(move |honest| honest.silent(&held));
    assert!(verify(&issuers, issuer.mint(&json!({ "sub": "b" }))).await.is_ok(), "it does not wait for the fetch");
    gate.reached_by(1).await;
    assert!(verify(&issuers, issuer.mint(&json!({ "sub": "c" }))).await.is_ok());
    gate.open();
    issuer.server().wait_for_count(2, Seen::is_keys).await;
    assert_eq!(issuer.server().count(Seen::is_discovery), 2, "one fetch for both");
}

#[tokio::test]
async fn known_keys_outlive_their_provider_by_a_day_and_no_token_is_called_wrong_meanwhile() {
    let issuer = FakeIssuer::start().await;
    let issuers = trusting(&issuer);
    let token = |subject: &str| issuer.mint(&json!({ "sub": subject }));
    assert!(verify(&issuers, token("a")).await.is_ok());
    issuer.server().stop().await;
    assert!(verify(&issuers, token("b")).await.is_ok());
    let mut header = issuer.header(SigningAlgorithm::Rs256);
    header["kid"] = "new".into();
    let by_new_key = issuer.sign(SigningAlgorithm::Rs256, &header, &issuer.claims(&json!({})));
    assert!(outage(&issuers, by_new_key.clone()).await.contains("cannot be reached"));
    assert!(outage(&issuers, by_new_key.clone()).await.contains("cannot be reached"), "as well without another fetch");
    pass(HOUR * 23).await;
    assert!(verify(&issuers, token("c")).await.is_ok());
    pass(HOUR * 2).await;
    assert!(outage(&issuers, token("d")).await.contains("cannot be reached"));
    issuer.server().restart().await;
    pass(Duration::from_secs(11)).await;
    assert!(verify(&issuers, token("d")).await.is_ok());
    assert_eq!(fault(&issuers, by_new_key).await, TokenFault::Unknown, "now it is certain");
}

#[tokio::test]
async fn a_provider_that_was_never_reached_is_asked_again_when_it_is_there() {
    let issuer = FakeIssuer::start().await;
    let issuers = trusting(&issuer);
    issuer.server().stop().await;
    assert!(outage(&issuers, issuer.mint(&json!({}))).await.contains("cannot be reached"));
    issuer.server().restart().await;
    assert!(
        outage(&issuers, issuer.mint(&json!({}))).await.contains("cannot be reached"),
        "it is left in peace at first"
    );
    pass(Duration::from_secs(11)).await;
    assert_eq!(verify(&issuers, issuer.mint(&json!({}))).await.unwrap(), "oidc:ci:somebody");
}

#[tokio::test]
async fn a_token_that_comes_again_is_not_verified_again() {
    let issuer = FakeIssuer::start().await;
    let issuers = trusting(&issuer);
    let token = issuer.mint(&json!({}));
    for _ in 0..3 {
        assert_eq!(verify(&issuers, token.clone()).await.unwrap(), "oidc:ci:somebody");
    }
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let changed = format!("{signed}.{}", "A".repeat(signature.len()));
    assert_eq!(fault(&issuers, changed).await, TokenFault::Unknown);
    assert_eq!(fault(&issuers, issuer.mint(&json!({ "aud": "other" }))).await, TokenFault::WrongAudience);
    let (mut registry, mut page) = (Registry::default(), String::new());
    issuers.metrics().register(&mut registry);
    encode(&mut page, &registry).unwrap();
    for line in [
        r#"access_oidc_documents_total{issuer="ci",document="discovery",outcome="ok"} 1"#,
        r#"access_oidc_documents_total{issuer="ci",document="keys",outcome="ok"} 1"#,
        r#"access_oidc_tokens_total{issuer="ci",outcome="accepted"} 1"#,
        r#"access_oidc_tokens_total{issuer="ci",outcome="remembered"} 2"#,
        r#"access_oidc_tokens_total{issuer="ci",outcome="wrong_audience"} 1"#,
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
}

#[tokio::test]
async fn what_changes_with_a_provider_is_logged_once_and_never_a_token() {
    let log = Log::begin();
    let count = |words: &str| log.text().matches(words).count();
    let issuer = FakeIssuer::start().await;
    let issuers = trusting(&issuer);
    let mut tokens = Vec::new();
    let mut token = |subject: &str| {
        tokens.push(issuer.mint(&json!({ "sub": subject })));
        tokens.last().unwrap().clone()
    };
    assert!(verify(&issuers, token("a")).await.is_ok());
    assert!(verify(&issuers, token("b")).await.is_ok());
    assert_eq!(count("the keys of an identity provider are known"), 1);
    assert_eq!(count("rsa-1 p256-1 p384-1 ed25519-1"), 1);
    issuer.rotate_keys();
    assert!(verify(&issuers, token("c")).await.is_ok());
    assert_eq!(count("an identity provider has changed its keys"), 1);
    issuer.rotate_keys();
    issuer.server().stop().await;
    pass(Duration::from_secs(61)).await;
    for number in 0..3 {
        outage(&issuers, token(&number.to_string())).await;
        pass(Duration::from_secs(61)).await;
    }
    assert_eq!(count("an identity provider fails"), 1);
    issuer.server().restart().await;
    assert!(verify(&issuers, token("d")).await.is_ok());
    assert_eq!(count("an identity provider answers again"), 1);
    for token in &tokens {
        assert_eq!(count(token.rsplit('.').next().unwrap()), 0);
    }
}

#[tokio::test]
async fn a8_what_is_too_long_for_a_token_is_not_taken_apart() {
    let issuer = FakeIssuer::start().await;
    let issuers = trusting(&issuer);
    for token in [
        String::new(),
        "a.b".to_owned(),
        ".".repeat(1_000_000),
        format!("{}.x", issuer.mint(&json!({}))),
        issuer.mint(&json!({ "padding": "x".repeat(16 * 1024) })),
    ] {
        assert_eq!(fault(&issuers, token).await, TokenFault::Unknown);
    }
    assert_eq!(issuer.server().connections(), 0);
    assert!(verify(&issuers, issuer.mint(&json!({ "padding": "x".repeat(8 * 1024) }))).await.is_ok());
}

#[tokio::test]
async fn claims_say_who_it_is_and_whom_they_say_nothing_about_is_nobody() {
    let issuer = FakeIssuer::start().await;
    let rule = ClaimRule {
        claims: BTreeMap::from([("/kubernetes.io/namespace".to_owned(), "build-*".to_owned())]),
        principal: "{/kubernetes.io/namespace}/{/kubernetes.io/serviceaccount/name}".to_owned(),
    };
    let issuers =
        set_up(vec![IssuerConfig { identities: vec![rule], ..config(&issuer) }], Arc::new(SystemClock)).unwrap();
    let claims = |namespace: &str| json!({ "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": "kaniko" } } });
    assert_eq!(verify(&issuers, issuer.mint(&claims("build-1"))).await.unwrap(), "oidc:ci:build-1/kaniko");
    assert_eq!(fault(&issuers, issuer.mint(&claims("default"))).await, TokenFault::NobodyKnown);
    assert_eq!(fault(&issuers, issuer.mint(&claims("build-\n"))).await, TokenFault::NobodyKnown);
}

#[tokio::test]
async fn a_token_without_a_key_id_is_by_the_only_key_of_its_kind() {
    let issuer = FakeIssuer::start().await;
    let issuers = trusting(&issuer);
    let header = json!({ "alg": "EdDSA" });
    let token = issuer.sign(SigningAlgorithm::EdDsa, &header, &issuer.claims(&json!({})));
    assert_eq!(verify(&issuers, token).await.unwrap(), "oidc:ci:somebody");
}

#[tokio::test]
async fn a_provider_with_an_authority_of_its_own_is_believed_with_its_ca_alone() {
    let authority = Authority::new();
    let issuer = FakeIssuer::start_tls(&authority).await;
    let ca = Some(authority.pem().into_bytes());
    let with_ca = set_up(vec![IssuerConfig { ca, ..config(&issuer) }], Arc::new(SystemClock)).unwrap();
    assert_eq!(verify(&with_ca, issuer.mint(&json!({}))).await.unwrap(), "oidc:ci:somebody");
    assert!(outage(&trusting(&issuer), issuer.mint(&json!({}))).await.contains("not trusted"));
}

#[test]
fn what_is_configured_badly_is_told_by_name() {
    let good = || IssuerConfig {
        name: "ci".into(),
        issuer: "https://idp.example/realms/a".parse().unwrap(),
        audience: "entrepot".into(),
        ca: None,
        trusted_hosts: Vec::new(),
        identities: Vec::new(),
    };
    let identity = |claim: &str, principal: &str| {
        let claims = BTreeMap::from([(claim.to_owned(), "x".to_owned())]);
        vec![ClaimRule { claims, principal: principal.to_owned() }]
    };
    let rows = [
        (vec![IssuerConfig { audience: String::new(), ..good() }], "audience"),
        (vec![IssuerConfig { name: "".into(), ..good() }], "name"),
        (vec![IssuerConfig { name: "a:b".into(), ..good() }], "colon"),
        (vec![IssuerConfig { issuer: "http://8.8.8.8".parse().unwrap(), ..good() }], "expected https"),
        (vec![IssuerConfig { issuer: "ldap://idp.example".parse().unwrap(), ..good() }], "neither https nor http"),
        (vec![IssuerConfig { issuer: "https://idp.example/?a".parse().unwrap(), ..good() }], "query"),
        (vec![IssuerConfig { ca: Some(b"none".to_vec()), ..good() }], "ca"),
        (vec![IssuerConfig { trusted_hosts: vec!["https://a".into()], ..good() }], "trusted hosts"),
        (vec![IssuerConfig { identities: identity("a", "{a"), ..good() }], "not closed"),
        (vec![IssuerConfig { identities: identity("", "{a}"), ..good() }], "no name"),
        (vec![good(), IssuerConfig { issuer: "https://other.example".parse().unwrap(), ..good() }], "twice"),
        (vec![good(), IssuerConfig { name: "again".into(), ..good() }], "issuer of \"ci\""),
    ];
    for (configs, problem) in rows {
        let refused = set_up(configs, Arc::new(SystemClock)).unwrap_err().to_string();
        assert!(refused.starts_with("the identity provider ") && refused.contains(problem), "{problem}: {refused}");
    }
    assert!(set_up(vec![good()], Arc::new(SystemClock)).is_ok());
    assert!(Issuers::default().is_empty());
}

#[tokio::test]
async fn a7_keys_at_a_private_address_are_fetched_where_it_is_listed_and_else_not_asked_for() {
    let authority = Authority::new();
    let (issuer, inside) =
        (FakeIssuer::start_tls(&authority).await, FakeUpstream::start_tls(&authority, NotAsked).await);
    let keys = issuer.keys();
    inside.when(Seen::is_keys).reply(move |_| Reply::json(&keys));
    let elsewhere = format!("{}/keys", inside.url());
    issuer
        .when(Seen::is_discovery)
        .reply(move |honest| honest.edit_json(|it| it["jwks_uri"] = elsewhere.clone().into()));
    let listing = |trusted_hosts: Vec<String>| {
        let ca = Some(authority.pem().into_bytes());
        set_up(vec![IssuerConfig { ca, trusted_hosts, ..config(&issuer) }], Arc::new(SystemClock)).unwrap()
    };
    let host = inside.url().trim_start_matches("https://").to_owned();
    let (name, port) = host.rsplit_once(':').unwrap();
    let another_port = format!("{name}:{}", if port == "1" { 2 } else { 1 });
    for trusted in [vec![], vec![another_port]] {
        let told = outage(&listing(trusted), issuer.mint(&json!({}))).await;
        assert!(told.contains("trusted_hosts of the provider") && !told.contains("as an upstream"), "{told}");
        assert_eq!(inside.connections(), 0, "nothing was sent there");
    }
    // The provider's `ca` counts for what it trusts.
    for trusted in [host.clone(), name.to_owned()] {
        assert_eq!(verify(&listing(vec![trusted]), issuer.mint(&json!({}))).await.unwrap(), "oidc:ci:somebody");
    }
    assert_eq!((inside.count(Seen::is_keys), issuer.key_fetches()), (2, 0));
}

#[test]
fn a6_a_slash_at_the_end_of_an_issuer_with_a_path_counts() {
    for (configured, good, bad) in [
        ("https://idp.example", &["https://idp.example", "https://idp.example/"][..], "https://idp.example/a"),
        ("https://idp.example/", &["https://idp.example", "https://idp.example/"], "https://idp.example//"),
        ("https://idp.example/a", &["https://idp.example/a"], "https://idp.example/a/"),
        ("https://idp.example/a/", &["https://idp.example/a/"], "https://idp.example/a"),
    ] {
        let config = IssuerConfig {
            name: "ci".into(),
            issuer: configured.parse().unwrap(),
            audience: "entrepot".into(),
            ca: None,
            trusted_hosts: Vec::new(),
            identities: Vec::new(),
        };
        let issuers = set_up(vec![config], Arc::new(SystemClock)).unwrap();
        assert!(good.iter().all(|issuer| issuers.knows(issuer)) && !issuers.knows(bad), "{configured}");
    }
}
