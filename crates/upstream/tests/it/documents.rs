//! Documents that do not come from registries: nothing leads anywhere (threat A7).

use std::net::SocketAddr;
use std::time::Duration;

use entrepot_testkit::{Authority, ClientCertificates, FakeUpstream, Gate, Reply, Seen};
use entrepot_upstream::{Documents, Error, Lookup, RedirectError, Timeouts};
use serde_json::json;
use url::Url;

fn documents_of(home: &str, ca: Option<&[u8]>, lookup: Lookup) -> Result<Documents, String> {
    let timeouts = Timeouts { first_byte: Duration::from_millis(500), ..Timeouts::default() };
    Documents::new("idp".into(), home.parse().unwrap(), ca, &[], timeouts, lookup).map_err(|error| error.to_string())
}

fn documents(fake: &FakeUpstream) -> Documents {
    documents_of(&fake.url(), None, Lookup::default()).unwrap()
}

fn at(fake: &FakeUpstream, path: &str) -> Url {
    format!("{}{path}", fake.url()).parse().unwrap()
}

async fn serving() -> FakeUpstream {
    let fake = FakeUpstream::start().await;
    fake.when(|seen| seen.path == "/keys").reply(|_| Reply::json(&json!({ "keys": [] })));
    fake
}

#[tokio::test]
async fn a_document_is_fetched_from_the_listed_place_although_its_address_is_private() {
    let fake = serving().await;
    assert_eq!(documents(&fake).get(&at(&fake, "/keys")).await.unwrap(), r#"{"keys":[]}"#);
    let error = documents(&fake).get(&at(&fake, "/absent")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a7_no_redirect_is_followed_wherever_it_leads() {
    let (fake, inside) = (FakeUpstream::start().await, serving().await);
    for location in [at(&inside, "/keys"), at(&fake, "/keys")] {
        for status in [301, 302, 303, 307, 308] {
            let location = location.to_string();
            fake.heal();
            fake.forget_requests();
            fake.when(Seen::is_any).reply(move |_| Reply::redirect(status, &location));
            let error = documents(&fake).get(&at(&fake, "/discovery")).await.unwrap_err();
            let is_it = matches!(&error, Error::BadRedirect { reason: RedirectError::NotFollowed, .. });
            assert!(is_it, "{status}: {error}");
            assert_eq!(fake.requests().len(), 1);
        }
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a7_only_the_listed_place_may_be_private_and_without_tls() {
    let (fake, inside) = (serving().await, serving().await);
    let documents = documents(&fake);
    let elsewhere = at(&inside, "/keys");
    let error = documents.get(&elsewhere).await.unwrap_err();
    assert!(matches!(error, Error::BadRedirect { reason: RedirectError::Insecure, .. }), "{error}");
    let mut secure = elsewhere.clone();
    secure.set_scheme("https").unwrap();
    let error = documents.get(&secure).await.unwrap_err();
    assert!(matches!(error, Error::AddressRefused { .. }), "{error}");
    let mut with_user = at(&fake, "/keys");
    with_user.set_username("user").unwrap();
    assert!(!documents.may_get(&with_user));
    assert!(!documents.may_get(&"file:///etc/passwd".parse().unwrap()));
    assert_eq!((fake.connections(), inside.connections()), (0, 0));
}

#[tokio::test]
async fn a7_a_name_without_tls_is_asked_at_private_addresses_alone() {
    let fake = serving().await;
    let url = format!("http://idp.example:{}/keys", fake.address().port());
    for (address, is_asked) in [("127.0.0.1:0", true), ("8.8.8.8:0", false)] {
        let address: SocketAddr = address.parse().unwrap();
        let lookup = Lookup::by(move |_| Some(vec![address]));
        let documents = documents_of(&url, None, lookup).unwrap();
        let answer = documents.get(&url.parse().unwrap()).await;
        assert_eq!(answer.is_ok(), is_asked, "{address}: {answer:?}");
        if let Err(error) = answer {
            assert!(format!("{error:?}").contains("NotPrivate"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a7_a_place_that_is_slow_silent_or_endless_is_given_up() {
    let fake = FakeUpstream::start().await;
    let gate = Gate::new();
    let silent = gate.clone();
    fake.when(Seen::is_any).once().reply(move |honest| honest.silent(&silent));
    let error = documents(&fake).get(&at(&fake, "/keys")).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    gate.open();
    fake.heal();
    fake.when(Seen::is_any).reply(|_| Reply::content("application/json", vec![b' '; 256 * 1024 + 1]).without_length());
    let error = documents(&fake).get(&at(&fake, "/keys")).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 262_144, .. }), "{error}");
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_beside_those_of_the_system() {
    let authority = Authority::new();
    let fake = FakeUpstream::start_tls(&authority, ClientCertificates::NotAsked).await;
    fake.when(Seen::is_any).reply(|_| Reply::json(&json!({})));
    let error = documents(&fake).get(&at(&fake, "/keys")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let pem = authority.pem().into_bytes();
    let trusting = documents_of(&fake.url(), Some(&pem), Lookup::default()).unwrap();
    assert_eq!(trusting.get(&at(&fake, "/keys")).await.unwrap(), "{}");
}

#[test]
fn what_cannot_be_a_place_of_documents_is_refused_at_once() {
    for (home, problem) in [
        ("http://8.8.8.8", "expected https"),
        ("http://[2606:4700::1111]:8080", "expected https"),
        ("ftp://idp.example", "neither https nor http"),
        ("https://user@idp.example", "more or less"),
        ("data:text/plain,x", "more or less"),
        ("https://idp.example/?tenant=1", "query"),
    ] {
        let refused = documents_of(home, None, Lookup::default()).unwrap_err();
        assert!(refused.contains(problem), "{home}: {refused}");
    }
    for home in ["http://127.0.0.1:1", "http://10.1.2.3/realms/a", "http://idp.corp", "https://8.8.8.8"] {
        documents_of(home, None, Lookup::default()).expect(home);
    }
    let refused = documents_of("https://idp.example", Some(b"no certificate"), Lookup::default()).unwrap_err();
    assert_eq!(refused, "has a ca that holds no certificate in PEM");
}
