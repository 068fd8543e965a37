//! Caches in front of each other: a chain works, a circle is noticed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use entrepot_registry::ProxySettings;
use entrepot_testkit::{FakeUpstream, Image};
use entrepot_upstream::{Lookup, UpstreamConfig};
use reqwest::StatusCode;
use serde_json::Value;

use super::{NAME, REPOSITORY};
use crate::support::{Running, Setup};

/// A registry whose root is a mirror of the one that `name` stands for.
async fn mirror_of(name: &'static str, places: &Arc<Mutex<Vec<(&'static str, SocketAddr)>>>) -> Running {
    let known = Arc::clone(places);
    let lookup = Lookup::by(move |host| {
        let known = known.lock().unwrap();
        known.iter().find(|(name, _)| *name == host).map(|(_, address)| vec![*address])
    });
    let config = UpstreamConfig::new(name, format!("http://{name}").parse().unwrap());
    let settings = ProxySettings { root_mirror: Some(name.to_owned()), ..ProxySettings::default() };
    Running::with(Setup { upstreams: vec![config], settings, lookup: Some(lookup), ..Setup::default() }).await
}

#[tokio::test]
async fn two_caches_that_ask_each_other_say_so_instead_of_asking_for_ever() {
    let places = Arc::default();
    let (one, other) = (mirror_of("other.test", &places).await, mirror_of("one.test", &places).await);
    places.lock().unwrap().extend([("one.test", one.address), ("other.test", other.address)]);
    for path in
        ["manifests/1".to_owned(), format!("blobs/{}", Image::new(7, &[10]).layers[0].digest), "tags/list".into()]
    {
        let response = one.client.get(one.url(&format!("/v2/{REPOSITORY}/{path}"))).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::LOOP_DETECTED, "{path}");
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(body["errors"][0]["code"], "UNAVAILABLE", "{path}");
        let message = body["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("other.test") && message.contains("lead"), "{path}: {message}");
    }
}

#[tokio::test]
async fn a_cache_behind_a_cache_is_a_chain() {
    let upstream = FakeUpstream::start().await;
    let image = Image::new(7, &[100_000]);
    image.load_into(&upstream, REPOSITORY, "1");
    let config = UpstreamConfig::new(NAME, upstream.url().parse().unwrap());
    let inner = Running::with(Setup { upstreams: vec![config], ..Setup::default() }).await;
    let config = UpstreamConfig::new("inner", inner.url("").parse().unwrap());
    let outer = Running::with(Setup { upstreams: vec![config], ..Setup::default() }).await;
    let layer = &image.layers[0];
    let name = format!("/v2/proxy/inner/proxy/{NAME}/{REPOSITORY}");
    let blob = outer.url(&format!("{name}/blobs/{}", layer.digest));
    // A cold HEAD goes all the way.
    let head = outer.client.head(&blob).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], layer.bytes.len().to_string().as_str());
    let manifest = outer.client.get(outer.url(&format!("{name}/manifests/1"))).send().await.unwrap();
    assert_eq!(manifest.bytes().await.unwrap(), image.manifest.bytes);
    assert_eq!(outer.client.get(&blob).send().await.unwrap().bytes().await.unwrap(), layer.bytes);
    let passed = upstream.requests();
    let lists: Vec<&str> = passed.iter().map(|seen| seen.header("entrepot-via").unwrap_or_default()).collect();
    assert!(lists.iter().all(|list| list.split(", ").count() == 2), "both caches have put their name down: {lists:?}");
    assert_eq!(upstream.count(|seen| seen.is_get() && seen.is_blob()), 1);
}

#[tokio::test]
async fn a_list_of_caches_that_cannot_be_read_ends_at_names_of_other_registries() {
    let upstream = FakeUpstream::start().await;
    let config = UpstreamConfig::new(NAME, upstream.url().parse().unwrap());
    let registry = Running::with(Setup { upstreams: vec![config], ..Setup::default() }).await;
    for via in ["", "a b", "1, 2, 3, 4, 5, 6, 7, 8", "1, 2, 3, 4, 5, 6, 7, 8, 9"] {
        let ask = |path: &str| registry.client.get(registry.url(path)).header("entrepot-via", via).send();
        let response = ask(&format!("/v2/proxy/{NAME}/{REPOSITORY}/manifests/1")).await.unwrap();
        assert_eq!(response.status(), StatusCode::LOOP_DETECTED, "{via:?}");
        assert_eq!(
            ask(&format!("/v2/{REPOSITORY}/manifests/1")).await.unwrap().status(),
            StatusCode::NOT_FOUND,
            "{via:?}"
        );
    }
    assert_eq!(upstream.connections(), 0);
}
