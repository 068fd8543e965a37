//! Names that lead to other registries, those that must not lead anywhere, and what may not travel with a request.

use entrepot_testkit::{Auth, FakeUpstream, Image, Seen};
use entrepot_upstream::{Lookup, UpstreamConfig};
use reqwest::StatusCode;
use serde_json::Value;

use super::{NAME, Port, REPOSITORY};
use crate::support::{Running, Setup};

async fn refusal(registry: &Running, name: &str) -> (StatusCode, String) {
    let response = registry.client.get(registry.url(&format!("/v2/{name}/manifests/1"))).send().await.unwrap();
    let status = response.status();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    (status, body["errors"][0]["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn names_that_are_no_registry_are_refused_with_what_to_do() {
    let registry = Running::start().await;
    for name in ["proxy/localhost/x", "proxy/team/app", "proxy/127.0.0.1/x", "proxy/10.0.0.1/x", "proxy/2130706433/x"] {
        let (status, message) = refusal(&registry, name).await;
        assert!(matches!(status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN), "{name}: {status}");
        assert!(message.contains("proxy.upstream") || message.contains("list"), "{name}: {message}");
    }
    let (status, message) = refusal(&registry, "proxy/ghcr.io").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(message.contains("proxy/<registry>/<repository>"), "{message}");
}

#[tokio::test]
async fn a_public_name_with_a_private_address_is_refused_before_a_connection() {
    // C1, C2: also when the address changes between two look-ups, and hides in an IPv6 form.
    let inside = FakeUpstream::start().await;
    let port = inside.address().port();
    let answers = ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "10.1.2.3", "::1", "0.0.0.0"];
    for answer in answers {
        let lookup = Lookup::by(move |_| Some(vec![(answer.parse::<std::net::IpAddr>().unwrap(), port).into()]));
        let registry = Running::with(Setup { lookup: Some(lookup), ..Setup::default() }).await;
        let (status, message) = refusal(&registry, "proxy/rebind.example/team/app").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}: {message}");
        assert!(message.contains("rebind.example"), "{answer}: {message}");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused() {
    // C3: a blob and a manifest, though the upstream itself is listed and private.
    let inside = FakeUpstream::start().await;
    let (port, image) = Port::with_image(&[10]).await;
    port.manifest("1").await;
    let target = inside.url();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{target}/secret");
        port.upstream.when(Seen::is_blob).once().reply(move |_| entrepot_testkit::Reply::redirect(status, &location));
        let response = port.get(port.blob_url(&image.layers[0].digest)).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{status}");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn credentials_go_to_their_upstream_and_nowhere_else() {
    // C5, C6: storage behind a redirect sees none, and our client's own never leave.
    let storage = FakeUpstream::start().await;
    let trusted = storage.address().to_string();
    let port = Port::with(|config| {
        config.username = Some("robot".into());
        config.password = Some("hidden".into());
        config.trusted_hosts = vec![trusted];
    })
    .await;
    port.upstream.set_auth(Auth::bearer("robot", "hidden"));
    let image = Image::new(7, &[1000]);
    image.load_into(&port.upstream, REPOSITORY, "1");
    image.load_into(&storage, REPOSITORY, "1");
    let target = storage.url();
    let path = format!("{target}/v2/{REPOSITORY}/blobs/{}", image.layers[0].digest);
    port.upstream
        .when(|seen| seen.is_blob() && seen.header("authorization").is_some())
        .reply(move |_| entrepot_testkit::Reply::redirect(307, &path));
    let ask = |url: String| port.registry.client.get(url).basic_auth("client", Some("secret")).send();
    assert_eq!(ask(port.manifest_url("1")).await.unwrap().status(), StatusCode::OK);
    let blob = ask(port.blob_url(&image.layers[0].digest)).await.unwrap();
    assert_eq!(blob.bytes().await.unwrap(), image.layers[0].bytes);
    assert!(storage.requests().iter().any(Seen::is_blob));
    assert!(
        storage.requests().iter().all(|seen| seen.header("authorization").is_none() && seen.header("cookie").is_none())
    );
    // base64 of "client:secret"
    let leaked = |seen: &Seen| seen.header("authorization").is_some_and(|value| value.contains("Y2xpZW50OnNlY3JldA"));
    assert_eq!(port.upstream.count(leaked), 0);
}

#[tokio::test]
async fn every_alias_of_an_upstream_shares_one_cache() {
    let upstream = FakeUpstream::start().await;
    let image = Image::new(7, &[1000]);
    image.load_into(&upstream, REPOSITORY, "1");
    let mut config = UpstreamConfig::new(NAME, upstream.url().parse().unwrap());
    config.aliases = vec!["other-name".into()];
    let registry = Running::with(Setup { upstreams: vec![config], ..Setup::default() }).await;
    let layer = &image.layers[0];
    for name in [NAME, "other-name"] {
        for path in ["manifests/1".to_owned(), format!("blobs/{}", layer.digest)] {
            let url = registry.url(&format!("/v2/proxy/{name}/{REPOSITORY}/{path}"));
            assert_eq!(registry.client.get(url).send().await.unwrap().status(), StatusCode::OK);
        }
    }
    assert_eq!(upstream.count(|seen| seen.is_get() && seen.is_blob()), 1);
}
