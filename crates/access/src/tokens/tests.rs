//! Tokens that were forged, changed, grown old or made for somebody else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entrepot_metadata::SigningKeyRow;
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::limits::{REPLACED_KEY_GRACE, SIGNING_KEY_AGE_MAX, SIGNING_KEYS_READ_INTERVAL};
use crate::testing::{Log, SERVICE, TestClock, TestStore, scopes};

struct Setup {
    tokens: Tokens,
    store: Arc<TestStore>,
    clock: Arc<TestClock>,
    _folder: TempDir,
}

impl Setup {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, clock) = (Arc::new(TestStore::open(folder.path())), TestClock::new());
        let tokens = open(&store, &clock).await.unwrap();
        Self { tokens, store, clock, _folder: folder }
    }

    /// The key that signs, as an attacker would like to have it.
    async fn key(&self) -> SigningKeyRow {
        self.store.signing_keys().await.unwrap().remove(0)
    }

    fn now(&self) -> i64 {
        seconds(self.clock.now())
    }

    /// The claims of a token that is good, for tests to spoil.
    fn claims(&self) -> Value {
        let now = self.now();
        json!({
            "iss": SERVICE, "aud": SERVICE, "sub": "oidc:ci:app", "exp": now + 300, "nbf": now, "iat": now, "jti": "1",
            "access": [{"type": "repository", "name": "team/app", "actions": ["pull"]}],
        })
    }

    async fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": "EdDSA", "kid": self.key().await.id})
    }

    async fn verify(&self, text: String) -> Result<bool, String> {
        match self.tokens.verify(&text.into()).await {
            Ok((_, is_expired)) => Ok(is_expired),
            Err(Refusal::InvalidToken(fault)) => Err(format!("{fault:?}")),
            Err(other) => Err(other.to_string()),
        }
    }

    /// Signs claims with the real key.
    async fn signed(&self, claims: &str) -> String {
        let key = self.key().await;
        join(&self.header().await.to_string(), claims, &key.secret)
    }
}

async fn open(store: &Arc<TestStore>, clock: &Arc<TestClock>) -> Result<Tokens, Error> {
    Tokens::open(store.clone(), clock.clone(), SERVICE.to_owned(), Duration::from_mins(5)).await
}

fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// A token put together by hand.
fn join(header: &str, claims: &str, secret: &[u8]) -> String {
    let message = unsigned(header, claims);
    let signature = Ed25519KeyPair::from_pkcs8(secret).unwrap().sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn unknown() -> Result<bool, String> {
    Err("Unknown".to_owned())
}

#[tokio::test]
async fn a1_a_key_that_the_token_brings_along_is_not_looked_at() {
    let setup = Setup::new().await;
    let attacker = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    let public = Ed25519KeyPair::from_pkcs8(attacker.as_ref()).unwrap().public_key().as_ref().to_vec();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public), "use": "sig"});
    let (claims, header) = (setup.claims().to_string(), setup.header().await);
    let rows = [
        json!({}),
        json!({"jwk": jwk}),
        json!({"jku": "https://attacker.example/keys"}),
        json!({"x5u": "https://attacker.example/key.pem"}),
        json!({"jwk": jwk, "kid": "another"}),
        json!({"jwk": jwk, "kid": null}),
    ];
    for row in rows {
        let mut header = header.clone();
        header.as_object_mut().unwrap().extend(row.as_object().unwrap().clone());
        let text = join(&header.to_string(), &claims, attacker.as_ref());
        assert_eq!(setup.verify(text).await, unknown(), "{row}");
    }
    // The same with the real key is good, whatever else the header says; but for what has to be understood.
    let key = setup.key().await;
    let mut header = setup.header().await;
    header["jku"] = json!("https://attacker.example/keys");
    assert_eq!(setup.verify(join(&header.to_string(), &claims, &key.secret)).await, Ok(false));
    header["crit"] = json!(["b64"]);
    assert_eq!(setup.verify(join(&header.to_string(), &claims, &key.secret)).await, unknown());
}

#[tokio::test]
async fn a1_no_algorithm_but_ours_is_taken() {
    let setup = Setup::new().await;
    let (claims, key) = (setup.claims().to_string(), setup.key().await);
    let public = Ed25519KeyPair::from_pkcs8(&key.secret).unwrap().public_key().as_ref().to_vec();
    for algorithm in ["none", "None", "NONE", "", "EdDsa", "ES256", "RS256", "HS256", "Ed25519"] {
        let header = json!({"typ": "JWT", "alg": algorithm, "kid": key.id}).to_string();
        let message = unsigned(&header, &claims);
        assert_eq!(setup.verify(format!("{message}.")).await, unknown(), "{algorithm}");
        assert_eq!(setup.verify(join(&header, &claims, &key.secret)).await, unknown(), "{algorithm}");
    }
    // Whoever verifies by the header takes the public key for a shared secret.
    for secret in [&public[..], URL_SAFE_NO_PAD.encode(&public).as_bytes()] {
        for algorithm in ["HS256", "EdDSA"] {
            let header = json!({"typ": "JWT", "alg": algorithm, "kid": key.id}).to_string();
            let message = unsigned(&header, &claims);
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
            let text = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
            assert_eq!(setup.verify(text).await, unknown(), "{algorithm}");
        }
    }
    let header = setup.header().await.to_string();
    assert_eq!(setup.verify(format!("{}.", unsigned(&header, &claims))).await, unknown());
}

#[tokio::test]
async fn a1_a_token_that_was_changed_anywhere_is_not_one() {
    let setup = Setup::new().await;
    let text = setup.signed(&setup.claims().to_string()).await;
    for index in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        let changed = setup.verify(String::from_utf8(bytes).unwrap()).await;
        assert!(changed.is_err(), "{index}");
    }
    assert_eq!(setup.verify(text).await, Ok(false));
}

#[tokio::test]
async fn a2_a_claim_that_is_missing_or_of_another_type_is_never_absent() {
    let setup = Setup::new().await;
    let good = setup.claims();
    for claim in ["iss", "aud", "sub", "exp", "nbf", "iat", "jti"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(claim);
        assert_eq!(setup.verify(setup.signed(&claims.to_string()).await).await, unknown(), "without {claim}");
    }
    let rows = [
        ("exp", json!("never")),
        ("exp", json!("9999999999")),
        ("exp", json!(null)),
        ("exp", json!(1.5)),
        ("exp", json!([9_999_999_999_i64])),
        ("exp", json!(u64::MAX)),
        ("exp", json!(-1)),
        ("exp", json!(true)),
        ("nbf", json!("9999999999")),
        ("nbf", json!(null)),
        ("nbf", json!(-1)),
        ("nbf", json!(1.0)),
        ("nbf", json!(u64::MAX)),
        ("iat", json!("now")),
        ("iat", json!(-1)),
        ("iat", json!(1.5)),
        ("iat", json!(null)),
        ("iss", json!([SERVICE])),
        ("aud", json!({"0": SERVICE})),
        ("aud", json!(null)),
        ("sub", json!(["oidc:ci:app"])),
        ("sub", json!("")),
        ("sub", json!("operator:")),
        ("sub", json!("robot:ci")),
        ("sub", json!("alice")),
        ("sub", json!("upstream:ghcr.io:octocat")),
        ("jti", json!(7)),
        ("access", json!("repository:team/app:pull")),
        ("access", json!([{"type": "repository", "name": "../up", "actions": ["pull"]}])),
        ("access", json!(null)),
        ("basis", json!(null)),
        ("credential", json!(null)),
        ("upstream", json!(null)),
        ("basis", json!("AAAAAAAAAAAAAAAAAAAAAA")),
        ("credential", json!("0")),
        ("upstream", json!("AAAA")),
    ];
    for (claim, value) in rows {
        let mut claims = good.clone();
        claims[claim] = value.clone();
        assert_eq!(setup.verify(setup.signed(&claims.to_string()).await).await, unknown(), "{claim} {value}");
    }
    let text = good.to_string();
    let exp = format!("\"exp\":{}", setup.now() + 300);
    for number in ["1e400", "-1e400", "1E3", "99999999999999999999999999"] {
        let claims = text.replace(&exp, &format!("\"exp\":{number}"));
        assert_ne!(claims, text);
        assert_eq!(setup.verify(setup.signed(&claims).await).await, unknown(), "{number}");
    }
    let twice = text.replace(&exp, &format!("{exp},\"exp\":9999999999"));
    assert_eq!(setup.verify(setup.signed(&twice).await).await, unknown(), "exp twice");
    for claims in ["", "[]", "null", "{", "\"text\""] {
        assert_eq!(setup.verify(setup.signed(claims).await).await, unknown(), "{claims}");
    }
    assert_eq!(setup.verify(setup.signed(&text).await).await, Ok(false));
}

#[tokio::test]
async fn a6_a_token_for_another_service_is_refused() {
    let setup = Setup::new().await;
    let with = |claim: &str, value: Value| {
        let mut claims = setup.claims();
        claims[claim] = value;
        claims.to_string()
    };
    let rows = [
        ("aud", json!("other.example"), Err("WrongAudience".to_owned())),
        ("aud", json!(["other.example", "third.example"]), Err("WrongAudience".to_owned())),
        ("aud", json!([]), Err("WrongAudience".to_owned())),
        ("aud", json!(format!("{SERVICE}.attacker.example")), Err("WrongAudience".to_owned())),
        ("aud", json!(SERVICE.to_uppercase()), Err("WrongAudience".to_owned())),
        ("iss", json!("other.example"), unknown()),
        ("iss", json!(""), unknown()),
        ("aud", json!(["other.example", SERVICE]), Ok(false)),
        ("aud", json!([SERVICE]), Ok(false)),
    ];
    for (claim, value, expected) in rows {
        let text = setup.signed(&with(claim, value.clone())).await;
        assert_eq!(setup.verify(text).await, expected, "{claim} {value}");
    }
}

#[tokio::test]
async fn a8_a_text_that_is_too_long_or_has_other_parts_is_not_looked_into() {
    let setup = Setup::new().await;
    let good = setup.signed(&setup.claims().to_string()).await;
    let long = json!({"padding": "x".repeat(TOKEN_BYTES_MAX)});
    let rows = [
        ".".repeat(TOKEN_BYTES_MAX),
        ".".repeat(1024 * 1024),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.x"),
        good.replacen('.', "", 1),
        "..".to_owned(),
        String::new(),
        setup.signed(&long.to_string()).await,
    ];
    for text in rows {
        let start = text.chars().take(20).collect::<String>();
        assert_eq!(setup.verify(text).await, unknown(), "{start}");
    }
    let reads = setup.store.key_reads();
    assert_eq!(setup.verify(good).await, Ok(false));
    assert_eq!(setup.store.key_reads(), reads);
}

#[tokio::test]
async fn a_token_is_good_for_a_minute_more_and_for_uploads_for_hours() {
    let setup = Setup::new().await;
    let text = setup.signed(&setup.claims().to_string()).await;
    let minutes = Duration::from_mins;
    // Asked again and again, so that each but the first answer is about a token that is remembered.
    let rows = [
        (Duration::ZERO, Ok(false)),
        (minutes(5), Ok(false)),
        (minutes(1), Ok(false)),
        (Duration::from_secs(1), Ok(true)),
        (Duration::from_secs(12 * 3600 - 61), Ok(true)),
        (Duration::from_secs(1), Err("Expired".to_owned())),
    ];
    for (later, expected) in rows {
        setup.clock.advance(later);
        assert_eq!(setup.verify(text.clone()).await, expected, "{later:?}");
    }
    let fresh = Setup::new().await;
    let text = fresh.signed(&fresh.claims().to_string()).await;
    for (earlier, expected) in [(60, Ok(false)), (1, unknown())] {
        fresh.clock.go_back(Duration::from_secs(earlier));
        assert_eq!(fresh.verify(text.clone()).await, expected, "{earlier}");
    }
}

#[tokio::test]
async fn a3_the_start_tries_out_what_it_will_do_and_says_so() {
    let log = Log::begin();
    let setup = Setup::new().await;
    let line = "signed a token and verified it";
    assert!(log.text().lines().any(|logged| logged.contains(line) && logged.starts_with("INFO")), "{}", log.text());
    // A key that cannot sign is known at the start.
    let newest = setup.key().await;
    let broken = SigningKeyRow { id: "broken".to_owned(), secret: vec![1, 2, 3], created_at: setup.clock.now() };
    assert!(setup.store.add_signing_key(&broken, Some(&newest.id)).await.unwrap());
    assert!(matches!(open(&setup.store, &setup.clock).await, Err(Error::Corrupt { .. })));
    // And so is one that stands under the name of another.
    assert!(setup.store.delete_signing_key("broken").await.unwrap());
    let swapped = SigningKeyRow { id: "swapped".to_owned(), ..newest.clone() };
    assert!(setup.store.add_signing_key(&swapped, Some(&newest.id)).await.unwrap());
    assert!(matches!(open(&setup.store, &setup.clock).await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn a13_each_install_makes_its_own_key_and_its_replicas_share_it() {
    let (one, two) = (Setup::new().await, Setup::new().await);
    assert_ne!(one.key().await.secret, two.key().await.secret);
    let text = one.signed(&one.claims().to_string()).await;
    assert_eq!(two.verify(text.clone()).await, unknown());
    let replica = open(&one.store, &one.clock).await.unwrap();
    assert!(replica.verify(&text.into()).await.is_ok());

    let folder = tempfile::tempdir().unwrap();
    let (store, clock) = (Arc::new(TestStore::open(folder.path())), TestClock::new());
    let (a, b, c) = tokio::join!(open(&store, &clock), open(&store, &clock), open(&store, &clock));
    assert_eq!(store.signing_keys().await.unwrap().len(), 1, "of three that start at once one makes it");
    let signed = a.unwrap().sign(&nobody(), scopes(&[])).unwrap();
    assert!(b.unwrap().verify(&signed.token).await.is_ok() && c.unwrap().verify(&signed.token).await.is_ok());
}

fn nobody() -> Subject<'static> {
    Subject { principal: &Principal::Anonymous, fingerprint: None, credential: None, upstream_credentials: None }
}

#[tokio::test(start_paused = true)]
async fn keys_are_replaced_after_months_and_verify_for_a_day_more() {
    let setup = Setup::new().await;
    let replica = open(&setup.store, &setup.clock).await.unwrap();
    let first = setup.key().await.id;
    setup.clock.advance(SIGNING_KEY_AGE_MAX);
    setup.tokens.keep_up().await.unwrap();
    assert_eq!(setup.key().await.id, first, "not a moment too early");
    setup.clock.advance(Duration::from_secs(1));
    let old = setup.tokens.sign(&nobody(), scopes(&[])).unwrap().token;
    setup.tokens.keep_up().await.unwrap();
    assert_ne!(setup.key().await.id, first);
    let new = setup.tokens.sign(&nobody(), scopes(&[])).unwrap().token;
    assert_ne!(kid(&old), kid(&new));
    for token in [&old, &new] {
        assert!(setup.tokens.verify(token).await.is_ok());
        assert!(replica.verify(token).await.is_ok(), "it reads the keys again for one that it does not know");
    }
    setup.clock.advance(REPLACED_KEY_GRACE + Duration::from_secs(1));
    setup.tokens.keep_up().await.unwrap();
    assert_eq!(setup.store.signing_keys().await.unwrap().len(), 1);
    // What is remembered of a token does not outlive its key.
    setup.clock.go_back(REPLACED_KEY_GRACE);
    assert!(matches!(setup.tokens.verify(&old).await, Err(Refusal::InvalidToken(TokenFault::Unknown))));
}

fn kid(token: &SecretString) -> Option<String> {
    Jws::parse(token.expose_secret()).unwrap().header.kid
}

#[tokio::test(start_paused = true)]
async fn a_thousand_made_up_keys_are_looked_for_once() {
    let setup = Setup::new().await;
    let (claims, key) = (setup.claims().to_string(), setup.key().await);
    let made_up = |number: usize| {
        let header = json!({"typ": "JWT", "alg": "EdDSA", "kid": format!("made-up-{number}")}).to_string();
        join(&header, &claims, &key.secret)
    };
    let before = setup.store.key_reads();
    for number in 0..1000 {
        assert_eq!(setup.verify(made_up(number)).await, unknown());
    }
    assert_eq!(setup.store.key_reads() - before, 1);
    tokio::time::advance(SIGNING_KEYS_READ_INTERVAL).await;
    assert_eq!(setup.verify(made_up(0)).await, unknown());
    assert_eq!(setup.store.key_reads() - before, 2);

    // A store that does not answer has not said that there is no such key.
    tokio::time::advance(SIGNING_KEYS_READ_INTERVAL).await;
    setup.store.set_down(true);
    for number in 0..10 {
        let refused = setup.tokens.verify(&made_up(number).into()).await;
        assert!(matches!(refused, Err(Refusal::Unavailable { .. })), "{refused:?}");
    }
    assert_eq!(setup.store.key_reads() - before, 3);
    // Tokens with keys that are known need no store.
    assert_eq!(setup.verify(setup_signed(&claims, &key)).await, Ok(false));
}

fn setup_signed(claims: &str, key: &SigningKeyRow) -> String {
    join(&json!({"typ": "JWT", "alg": "EdDSA", "kid": key.id}).to_string(), claims, &key.secret)
}

#[tokio::test]
async fn an_account_at_an_upstream_travels_sealed() {
    let setup = Setup::new().await;
    let principal: Principal = "upstream:ghcr.io:octocat".parse().unwrap();
    let account =
        CallerCredentials { upstream: "ghcr.io".into(), user: "octocat".to_owned(), password: "pass-w0rd".into() };
    let subject = Subject { principal: &principal, upstream_credentials: Some(&account), ..nobody() };
    let signed = setup.tokens.sign(&subject, scopes(&["repository:proxy/ghcr.io/a:pull"])).unwrap();
    let claims = signed.token.expose_secret().split('.').nth(1).unwrap();
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let sealed = serde_json::from_str::<Value>(&claims).unwrap()["upstream"].as_str().unwrap().to_owned();
    for text in [claims, String::from_utf8_lossy(&URL_SAFE_NO_PAD.decode(&sealed).unwrap()).into_owned()] {
        assert!(!text.contains("pass-w0rd"), "{text}");
    }
    let (token, _) = setup.tokens.verify(&signed.token).await.unwrap();
    let opened = token.upstream_credentials.clone().unwrap();
    assert_eq!((&*opened.upstream, opened.user.as_str()), ("ghcr.io", "octocat"));
    assert_eq!(opened.password.expose_secret(), "pass-w0rd");
    assert!(!format!("{token:?}").contains("pass-w0rd"));
    // In another token it does not open.
    let mut other = setup.claims();
    other["sub"] = json!(principal.to_string());
    other["upstream"] = json!(sealed);
    assert_eq!(setup.verify(setup.signed(&other.to_string()).await).await, unknown());
}

#[tokio::test]
async fn a_token_stays_short_enough_for_a_header_and_says_what_it_covers() {
    let setup = Setup::new().await;
    let many: Vec<String> =
        (0..100).map(|number| format!("repository:{}/{number}:pull,push", "a".repeat(200))).collect();
    let many = scopes(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let password = "p".repeat(crate::limits::UPSTREAM_PASSWORD_BYTES_MAX);
    let account =
        CallerCredentials { upstream: "ghcr.io".into(), user: "octocat".to_owned(), password: password.into() };
    for (principal, account) in [("oidc:ci:app", None), ("upstream:ghcr.io:octocat", Some(&account))] {
        let principal = principal.parse().unwrap();
        let subject = Subject { principal: &principal, upstream_credentials: account, ..nobody() };
        let signed = setup.tokens.sign(&subject, many.clone()).unwrap();
        assert!(signed.token.expose_secret().len() <= ISSUED_TOKEN_BYTES_MAX);
        assert!(!signed.scopes.is_empty() && signed.scopes.len() < many.len());
        let (token, _) = setup.tokens.verify(&signed.token).await.unwrap();
        assert_eq!(*token.scopes, signed.scopes);
    }
}
