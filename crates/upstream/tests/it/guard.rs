//! Hosts that clients name are reached at public addresses alone (threat C2).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use entrepot_testkit::{FakeUpstream, Reply, Seen};
use entrepot_upstream::{Error, Lookup, Remotes, RemotesConfig};

use crate::setup::{NAME, listed, repository, tag};

/// Every name has these addresses.
fn resolving_to(addresses: &[SocketAddr]) -> Lookup {
    let addresses = addresses.to_vec();
    Lookup::by(move |_| Some(addresses.clone()))
}

#[tokio::test]
async fn c2_a_public_name_with_a_private_address_is_refused_without_a_connection() {
    let inside = FakeUpstream::start().await;
    let port = inside.address().port();
    let public: SocketAddr = "8.8.8.8:443".parse().unwrap();
    let answers = ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"];
    for answer in answers {
        let private: SocketAddr = format!("{answer}:{port}").parse().unwrap();
        for addresses in [vec![private], vec![public, private], vec![private, public]] {
            let lookup = resolving_to(&addresses);
            let remotes =
                Remotes::new(RemotesConfig { resolve_overrides: lookup, ..RemotesConfig::default() }).unwrap();
            let remote = remotes.resolve("registry.example").unwrap();
            let started = Instant::now();
            let error = remote.get_manifest(&repository(), &tag("1")).await.unwrap_err();
            assert!(
                matches!(&error, Error::AddressRefused { host, address, .. }
                    if host == "registry.example" && *address == private.ip()),
                "{error}"
            );
            assert!(started.elapsed() < Duration::from_secs(2));
        }
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn c2_a_redirect_to_a_name_with_a_private_address_is_refused_although_the_upstream_is_private() {
    let (fake, inside) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let location = format!("http://cdn.example:{}/blob", inside.address().port());
    fake.when(Seen::is_any).reply(move |_| Reply::redirect(307, &location));
    let config = RemotesConfig {
        upstreams: vec![listed(&fake)],
        resolve_overrides: resolving_to(&[inside.address()]),
        ..RemotesConfig::default()
    };
    let remote = Remotes::new(config).unwrap().resolve(NAME).unwrap();
    let error = remote.get_manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::AddressRefused { .. }), "{error}");
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_listed_name_and_a_trusted_one_may_have_private_addresses() {
    let (fake, storage) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let image = entrepot_testkit::Image::new(1, &[10]);
    image.load_into(&storage, "team/app", "1");
    let location = format!("http://cdn.corp:{}/v2/team/app/manifests/1", storage.address().port());
    fake.when(Seen::is_any).reply(move |_| Reply::redirect(307, &location));
    let mut upstream = listed(&fake);
    upstream.url = format!("http://registry.corp:{}", fake.address().port()).parse().unwrap();
    upstream.trusted_hosts = vec!["cdn.corp".into()];
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = RemotesConfig {
        upstreams: vec![upstream],
        resolve_overrides: resolving_to(&[loopback]),
        ..RemotesConfig::default()
    };
    let remote = Remotes::new(config).unwrap().resolve(NAME).unwrap();
    let fetched = remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    assert_eq!(fetched.digest, image.manifest.digest);
    // Another remote, to which the same host is nothing special, is not let in through an open connection.
    let other =
        Remotes::new(RemotesConfig { resolve_overrides: resolving_to(&[loopback]), ..RemotesConfig::default() });
    let error = other.unwrap().resolve("cdn.corp").unwrap().get_manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::AddressRefused { .. }), "{error}");
}
