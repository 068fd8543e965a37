//! Authorities, client certificates and proxies belong to one upstream (threats B12 and C5).

use std::error::Error as StdError;
use std::sync::Arc;

use entrepot_testkit::{Auth, Authority, ClientCertificates, FakeProxy, FakeUpstream, Image, Reply, Seen};
use entrepot_upstream::{
    BlobFrom, ClientCertificate, ConfigError, Error, Remote, Remotes, RemotesConfig, UpstreamConfig,
};

use crate::setup::{NAME, by_digest, is_authorized, listed, read, remote_of, repository, tag, trusting, with_account};

const NOT_ASKED: ClientCertificates<'static> = ClientCertificates::NotAsked;

async fn over_tls(authority: &Authority, clients: ClientCertificates<'_>) -> (FakeUpstream, Image) {
    let (fake, image) = (FakeUpstream::start_tls(authority, clients).await, Image::new(1, &[100_000]));
    image.load_into(&fake, "team/app", "1");
    (fake, image)
}

fn recognising(upstream: UpstreamConfig, authority: &Authority) -> UpstreamConfig {
    UpstreamConfig { ca: Some(authority.pem().into_bytes()), ..upstream }
}

fn showing(upstream: UpstreamConfig, authority: &Authority) -> UpstreamConfig {
    let shown = authority.client();
    let client_certificate =
        Some(ClientCertificate { certificate: shown.certificate.into_bytes(), key: shown.key.into() });
    UpstreamConfig { client_certificate, ..upstream }
}

fn through(upstream: UpstreamConfig, proxy: &FakeProxy, account: &str) -> UpstreamConfig {
    let url = format!("http://{account}{}", proxy.address());
    UpstreamConfig { http_proxy: Some(url.parse().unwrap()), ..upstream }
}

/// The error and everything behind it, as people read it and as logs may show it.
fn told(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

async fn refusal(remote: &Remote) -> Error {
    remote.get_manifest(&repository(), &tag("1")).await.unwrap_err()
}

#[tokio::test]
async fn b12_an_authority_is_trusted_for_its_upstream_alone() {
    let authority = Authority::new();
    let (fake, image) = over_tls(&authority, NOT_ASKED).await;
    let (other, _) = over_tls(&authority, NOT_ASKED).await;
    let upstreams =
        vec![recognising(listed(&fake), &authority), UpstreamConfig { name: "other".into(), ..listed(&other) }];
    let remotes = Remotes::new(RemotesConfig { upstreams, ..RemotesConfig::default() }).unwrap();
    let fetched = remotes.resolve(NAME).unwrap().get_manifest(&repository(), &tag("1")).await.unwrap();
    assert_eq!(fetched.digest, image.manifest.digest);
    let error = refusal(&remotes.resolve("other").unwrap()).await;
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_temporary(), "{error:?}");
    assert!(told(&error).contains("its certificate is not trusted"), "{}", told(&error));
    assert_eq!(other.requests().len(), 0);
}

#[tokio::test]
async fn b12_a_certificate_of_another_authority_or_for_another_host_is_refused_in_words() {
    let (authority, another) = (Authority::new(), Authority::new());
    let (fake, _) = over_tls(&authority, NOT_ASKED).await;
    let mut upstream = recognising(listed(&fake), &authority);
    upstream.url = format!("https://localhost:{}", fake.address().port()).parse().unwrap();
    for (upstream, words) in [
        (recognising(listed(&fake), &another), "no authority that is known here"),
        (upstream, "it is for another host"),
    ] {
        let error = refusal(&remote_of(upstream)).await;
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert!(told(&error).contains(words), "{}", told(&error));
    }
    assert_eq!(fake.requests().len(), 0);
}

#[tokio::test]
async fn b12_a_realm_without_tls_gets_no_account_of_an_upstream_with_it() {
    let authority = Authority::new();
    let (fake, _) = over_tls(&authority, NOT_ASKED).await;
    let issuer = FakeUpstream::start().await;
    fake.set_auth(Auth::Bearer { realm: Some(format!("{}/token", issuer.url())), account: None });
    let error = refusal(&remote_of(trusting(recognising(with_account(&fake), &authority), &issuer))).await;
    assert!(matches!(error, Error::UntrustedRealm { .. }), "{error}");
    assert_eq!(issuer.connections(), 0);
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_the_upstream_that_wants_one() {
    let authority = Authority::new();
    let (fake, _) = over_tls(&authority, ClientCertificates::Demanded(&authority)).await;
    let remote = remote_of(showing(recognising(listed(&fake), &authority), &authority));
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    assert!(remote.has_credentials() && fake.requests().iter().all(|seen| seen.has_certificate));
    let error = refusal(&remote_of(recognising(listed(&fake), &authority))).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(told(&error).contains("it wants a client_certificate"), "{}", told(&error));
}

#[tokio::test]
async fn c5_a_client_certificate_is_shown_to_no_redirect_target_and_no_realm_elsewhere() {
    let authority = Authority::new();
    let asked = ClientCertificates::Asked(&authority);
    let ((fake, image), (storage, _)) = (over_tls(&authority, asked).await, over_tls(&authority, asked).await);
    fake.set_auth(Auth::Bearer { realm: Some(format!("{}/token", storage.url())), account: None });
    let location = format!("{}/v2/team/app/blobs/{}", storage.url(), image.layers[0].digest);
    fake.when(|seen| seen.is_blob() && is_authorized(seen)).reply(move |_| Reply::redirect(307, &location));
    let remote = remote_of(trusting(showing(recognising(listed(&fake), &authority), &authority), &storage));
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    let blob = remote.get_blob(&repository(), &image.layers[0].digest, BlobFrom::Start).await.unwrap();
    assert_eq!(read(blob.body).await.0, image.layers[0].bytes);
    assert!(fake.requests().iter().all(|seen| seen.has_certificate));
    assert_eq!((storage.count(Seen::is_token), storage.count(Seen::is_blob)), (1, 1));
    assert_eq!(storage.count(|seen| seen.has_certificate), 0);
}

#[tokio::test]
async fn everything_of_an_upstream_goes_through_its_proxy_which_resolves_the_names() {
    let (proxy, authority) = (FakeProxy::start_wanting("robot", "p@ss word").await, Authority::new());
    let (fake, image) = over_tls(&authority, NOT_ASKED).await;
    proxy.route("registry.example:443", fake.address());
    // A realm and a redirect to names that no resolver here knows.
    proxy.route("auth.example:443", fake.address());
    proxy.route("cdn.example:443", fake.address());
    fake.set_auth(Auth::Bearer { realm: Some("https://auth.example/token".into()), account: None });
    let location = format!("https://cdn.example/v2/storage/blobs/{}", image.layers[0].digest);
    fake.put_blob("storage", image.layers[0].bytes.clone());
    fake.when(|seen| seen.path.starts_with("/v2/team/app/blobs") && is_authorized(seen))
        .reply(move |_| Reply::redirect(307, &location));
    let storage_blob = Reply::content("application/octet-stream", image.layers[0].bytes.clone());
    fake.when(|seen| seen.path.starts_with("/v2/storage/")).reply(move |_| storage_blob.clone());
    let upstream = UpstreamConfig::new(NAME, "https://registry.example".parse().unwrap());
    let remote = remote_of(through(recognising(upstream, &authority), &proxy, "robot:p%40ss%20word@"));
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    let blob = remote.get_blob(&repository(), &image.layers[0].digest, BlobFrom::Start).await.unwrap();
    assert_eq!(read(blob.body).await.0, image.layers[0].bytes);
    for authority in ["registry.example:443", "auth.example:443", "cdn.example:443"] {
        assert!(proxy.passed_on().iter().any(|passed| passed == authority), "{authority}: {:?}", proxy.passed_on());
    }
    assert_eq!(proxy.turned_away(), 0);
    // The account of the proxy is the proxy's alone.
    assert_eq!(fake.count(|seen| seen.header("proxy-authorization").is_some()), 0);
}

#[tokio::test]
async fn a_proxy_passes_on_what_is_asked_without_tls_too_and_the_guard_still_refuses_literals() {
    let (proxy, fake) = (FakeProxy::start().await, FakeUpstream::start().await);
    let image = Image::new(1, &[10]);
    image.load_into(&fake, "team/app", "1");
    proxy.route("registry.example:80", fake.address());
    let upstream = UpstreamConfig::new(NAME, "http://registry.example".parse().unwrap());
    let remote = remote_of(through(upstream, &proxy, ""));
    remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    assert_eq!(proxy.passed_on(), ["registry.example:80"]);
    let location = format!("{}/blob", fake.url());
    fake.when(Seen::is_blob).reply(move |_| Reply::redirect(307, &location));
    let error = remote.get_blob(&repository(), &image.layers[0].digest, BlobFrom::Start).await.unwrap_err();
    assert!(matches!(error, Error::AddressRefused { .. }), "{error}");
    assert_eq!(proxy.passed_on().len(), 2, "nothing was asked of the private address");
}

#[tokio::test]
async fn a_proxy_that_lets_nothing_through_is_named_and_its_password_is_not() {
    let (proxy, authority) = (FakeProxy::start_wanting("robot", "another").await, Authority::new());
    let (fake, _) = over_tls(&authority, NOT_ASKED).await;
    let plain = FakeUpstream::start().await;
    for upstream in [listed(&fake), listed(&plain)] {
        let upstream = through(upstream, &proxy, "robot:hidden@");
        assert!(!format!("{upstream:?}").contains("hidden"));
        let remote = remote_of(upstream);
        let error = refusal(&remote).await;
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        let text = format!("{} {remote:?}", told(&error));
        assert!(text.contains(&format!("http://{}", proxy.address())) && !text.contains("hidden"), "{text}");
    }
    assert_eq!((proxy.turned_away(), fake.connections(), plain.connections()), (2, 0, 0));
}

#[tokio::test]
async fn the_connections_of_an_upstream_with_an_authority_are_not_shared() {
    // Two names of one host: the second must not find the connection that the first may open.
    let authority = Authority::new();
    let (fake, image) = over_tls(&authority, NOT_ASKED).await;
    let other = UpstreamConfig { name: "other".into(), ..listed(&fake) };
    let upstreams = vec![recognising(listed(&fake), &authority), other];
    let remotes = Arc::new(Remotes::new(RemotesConfig { upstreams, ..RemotesConfig::default() }).unwrap());
    let digest = by_digest(&image.manifest.digest);
    remotes.resolve(NAME).unwrap().get_manifest(&repository(), &digest).await.unwrap();
    let error = remotes.resolve("other").unwrap().get_manifest(&repository(), &digest).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_at_the_start_with_the_upstream_and_the_field() {
    let (authority, fake) = (Authority::new(), FakeUpstream::start().await);
    let (one, another) = (authority.client(), authority.client());
    let certificate = |certificate: &str, key: &str| {
        let certificate = certificate.as_bytes().to_vec();
        Some(ClientCertificate { certificate, key: key.into() })
    };
    let proxy = |url: &str| Some(url.parse().unwrap());
    let base = || listed(&fake);
    let rows = [
        ("ca", UpstreamConfig { ca: Some(b"nonsense".to_vec()), ..base() }),
        ("ca", UpstreamConfig { ca: Some(one.key.clone().into_bytes()), ..base() }),
        ("ca", UpstreamConfig { ca: Some(one.certificate[..200].as_bytes().to_vec()), ..base() }),
        ("client_certificate", UpstreamConfig { client_certificate: certificate("", &one.key), ..base() }),
        ("client_certificate", UpstreamConfig { client_certificate: certificate(&one.certificate, "x"), ..base() }),
        (
            "client_certificate",
            UpstreamConfig { client_certificate: certificate(&one.certificate, &another.key), ..base() },
        ),
        ("http_proxy", UpstreamConfig { http_proxy: proxy("https://proxy.example"), ..base() }),
        ("http_proxy", UpstreamConfig { http_proxy: proxy("socks5://proxy.example"), ..base() }),
        ("http_proxy", UpstreamConfig { http_proxy: proxy("http://u:hidden@proxy.example/path"), ..base() }),
    ];
    for (number, (expected, upstream)) in rows.into_iter().enumerate() {
        let config = RemotesConfig { upstreams: vec![upstream], ..RemotesConfig::default() };
        let error = Remotes::new(config).unwrap_err();
        assert!(
            matches!(&error, ConfigError::Field { upstream, field, .. } if upstream == NAME && *field == expected),
            "row {number}: {error:?}"
        );
        assert!(!format!("{error} {error:?}").contains("hidden"));
    }
}
