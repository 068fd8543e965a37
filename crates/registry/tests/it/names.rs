//! What a rule about access has to know of a name, and the names that are listed.

use std::sync::atomic::{AtomicUsize, Ordering};

use entrepot_metadata::BlobLink;
use entrepot_oci::{Algorithm, RepositoryName};
use entrepot_registry::{ImmutableTags, Limits, Named};
use entrepot_upstream::{Hosts, Mirror, RemotesConfig, UpstreamConfig};

use super::House;

fn upstream(name: &str, url: &str, aliases: &[&str]) -> UpstreamConfig {
    let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    UpstreamConfig { aliases, ..UpstreamConfig::new(name, url.parse().unwrap()) }
}

fn with_account(upstream: UpstreamConfig) -> UpstreamConfig {
    UpstreamConfig { username: Some("robot".to_owned()), password: Some("secret".into()), ..upstream }
}

fn house(hosts: Hosts, upstreams: Vec<UpstreamConfig>) -> House {
    let remotes = RemotesConfig { hosts, upstreams, ..RemotesConfig::default() };
    House::with(Limits::default(), ImmutableTags::default(), remotes)
}

fn named(house: &House, name: &str) -> Named {
    house.registry.named(&name.parse().unwrap())
}

/// Asserts that all of these are one repository, the first being the one spelling, and that nothing else is.
fn assert_one(house: &House, spellings: &[&str]) {
    for spelling in spellings {
        let found = named(house, spelling);
        assert_eq!(found.name.as_str(), spellings[0], "{spelling}");
        let mut all: Vec<String> = found.spellings.iter().map(RepositoryName::to_string).collect();
        all.push(found.name.to_string());
        all.sort_unstable();
        let mut expected = spellings.to_vec();
        expected.sort_unstable();
        assert_eq!(all, expected, "{spelling}");
    }
}

#[test]
fn b8_own_names_and_names_that_lead_nowhere_stand_for_themselves() {
    let house = house(Hosts::Listed, vec![upstream("corp", "https://registry.corp:5000", &[])]);
    for name in ["app", "team/app", "proxy", "proxyx/ghcr.io/app", "corp/app", "proxy/corp", "proxy/ghcr.io/app"] {
        let found = named(&house, name);
        let itself = Named { name: name.parse().unwrap(), spellings: vec![], is_private: false, judge: None };
        assert_eq!(found, itself);
    }
    for (authority, name) in [("ghcr.io", "app"), ("10.0.0.1", "app"), ("", "app")] {
        house.registry.name_behind(authority, &name.parse().unwrap()).unwrap_err();
    }
}

#[test]
fn b11_every_spelling_of_a_cached_name_is_one_name() {
    let listed = house(
        Hosts::Public,
        vec![
            upstream("corp", "https://Registry.Corp:5000", &["internal", "old.corp"]),
            upstream("ghcr.io", "https://ghcr.io", &["gh"]),
            // Two upstreams at one place share what is cached.
            upstream("two", "https://shared.test", &[]),
            upstream("one", "https://shared.test:443/", &["uno"]),
            upstream("plain", "http://shared.test", &[]),
        ],
    );
    assert_one(
        &listed,
        &[
            "proxy/corp/team/app",
            "proxy/internal/team/app",
            "proxy/old.corp/team/app",
            "proxy/registry.corp__5000/team/app",
        ],
    );
    assert_one(&listed, &["proxy/ghcr.io/library/a", "proxy/gh/library/a"]);
    assert_one(&listed, &["proxy/one/a", "proxy/shared.test/a", "proxy/two/a", "proxy/uno/a"]);
    // Another scheme is another place, and another host as well.
    assert_one(&listed, &["proxy/plain/a", "proxy/shared.test__80/a"]);
    assert_one(&listed, &["proxy/quay.io/a"]);
}

#[test]
fn b11_docker_hub_has_many_names_and_short_ones() {
    let hosts = ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
    let names = |first: &str, name: &str| {
        let others = hosts.iter().filter(|host| **host != first);
        std::iter::once(&first).chain(others).map(|host| format!("proxy/{host}/{name}")).collect::<Vec<_>>()
    };
    let unlisted = house(Hosts::Public, vec![]);
    let as_listed = house(Hosts::Listed, vec![upstream("hub", "https://docker.io", &[])]);
    let elsewhere = house(Hosts::Public, vec![upstream("docker.io", "https://mirror.corp", &[])]);
    for (house, first, more) in
        [(unlisted, "docker.io", None), (as_listed, "hub", None), (elsewhere, "docker.io", Some("mirror.corp"))]
    {
        let all = |name: &str| {
            let mut all = names(first, name);
            all.extend(more.map(|host| format!("proxy/{host}/{name}")));
            all
        };
        let redis = [all("library/redis"), all("redis")].concat();
        assert_one(&house, &redis.iter().map(String::as_str).collect::<Vec<_>>());
        let deep = all("team/app");
        assert_one(&house, &deep.iter().map(String::as_str).collect::<Vec<_>>());
        let deep = all("library/team/app");
        assert_one(&house, &deep.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn b11_a_place_that_is_docker_hub_by_one_name_only_shortens_by_that_one_only() {
    let upstreams =
        vec![upstream("docker.io", "https://mirror.corp", &[]), upstream("plain", "https://mirror.corp", &[])];
    let house = house(Hosts::Listed, upstreams);
    assert_eq!(named(&house, "proxy/docker.io/redis").name.as_str(), "proxy/docker.io/library/redis");
    assert_eq!(named(&house, "proxy/plain/library/redis").name.as_str(), "proxy/docker.io/library/redis");
    let short = named(&house, "proxy/plain/redis");
    assert_eq!(short.name.as_str(), "proxy/plain/redis");
    assert!(short.spellings.iter().all(|name| !name.as_str().starts_with("proxy/docker.io/")), "{short:?}");
    let whole = named(&house, "proxy/docker.io/redis");
    assert!(whole.spellings.iter().all(|name| name.as_str() != "proxy/plain/redis"), "{whole:?}");
}

#[test]
fn b11_doors_lead_to_the_one_name_whatever_case_and_port_they_are_written_with() {
    let upstreams =
        vec![upstream("corp", "https://registry.corp:5000", &["internal"]), upstream("gh", "https://ghcr.io", &[])];
    let house = house(Hosts::Public, upstreams);
    for (authority, name, expected) in [
        ("Registry.Corp:5000", "app", "proxy/corp/app"),
        ("INTERNAL", "app", "proxy/corp/app"),
        ("GHCR.IO", "team/app", "proxy/gh/team/app"),
        ("ghcr.io:443", "team/app", "proxy/gh/team/app"),
        ("Docker.IO", "redis", "proxy/docker.io/library/redis"),
        ("REGISTRY-1.docker.io:443", "library/redis", "proxy/docker.io/library/redis"),
        ("Quay.IO", "app", "proxy/quay.io/app"),
    ] {
        let behind = house.registry.name_behind(authority, &name.parse().unwrap()).unwrap();
        assert_eq!(house.registry.named(&behind).name.as_str(), expected, "{authority}");
    }
}

#[test]
fn names_that_are_too_long_by_their_one_spelling_have_another() {
    let house = house(Hosts::Listed, vec![upstream("a-rather-long-name", "https://long.test", &["l"])]);
    let long = "x".repeat(240);
    let found = named(&house, &format!("proxy/l/{long}"));
    assert_eq!(found.name.as_str(), format!("proxy/l/{long}"));
    assert_eq!(found.spellings, []);
    // As everything below `library` a name of one component that has no room for that is asked for as it is.
    let hub = self::house(Hosts::Public, vec![]);
    let longest = format!("proxy/docker.io/{}", "x".repeat(239));
    assert_eq!(named(&hub, &longest).name.as_str(), longest);
}

#[test]
fn b10_what_an_account_may_have_fetched_is_private_by_every_name_and_way() {
    let mirrored = |mirror: &str| UpstreamConfig {
        mirrors: vec![Mirror::Listed(mirror.to_owned())],
        ..upstream("behind", "https://behind.test", &[])
    };
    let rows = [
        (vec![upstream("a", "https://a.test", &["aa"])], "proxy/a/x", false),
        (vec![with_account(upstream("a", "https://a.test", &["aa"]))], "proxy/a/x", true),
        (vec![with_account(upstream("a", "https://a.test", &["aa"]))], "proxy/aa/x", true),
        (vec![with_account(upstream("a", "https://a.test", &["aa"]))], "proxy/a.test/x", true),
        (vec![with_account(upstream("a", "https://a.test", &["aa"]))], "proxy/b.test/x", false),
        // A mirror that is asked with an account may give what the upstream would not.
        (vec![mirrored("a"), with_account(upstream("a", "https://a.test", &[]))], "proxy/behind/x", true),
        (vec![mirrored("a"), with_account(upstream("a", "https://a.test", &[]))], "proxy/behind.test/x", true),
        (vec![mirrored("a"), upstream("a", "https://a.test", &[])], "proxy/behind/x", false),
        // Another upstream at the same place fills the same cache.
        (
            vec![
                mirrored("a"),
                upstream("again", "https://behind.test", &[]),
                with_account(upstream("a", "https://a.test", &[])),
            ],
            "proxy/again/x",
            true,
        ),
    ];
    for (number, (upstreams, name, is_private)) in rows.into_iter().enumerate() {
        let found = named(&house(Hosts::Public, upstreams), name);
        assert_eq!(found.is_private, is_private, "row {number}: {found:?}");
    }
}

fn blob() -> BlobLink {
    BlobLink { digest: Algorithm::Sha256.digest(b"a"), size: 1 }
}

#[tokio::test]
async fn a16_the_catalog_has_the_names_that_may_be_read_and_each_of_them() {
    let house = House::new(Limits::default());
    let group = |number: u32| if number.is_multiple_of(100) { "open" } else { "closed" };
    house.link((0..2500).map(|number| format!("{}/{number:04}", group(number))), &blob()).await;
    let asked = AtomicUsize::new(0);
    let is_open = |name: &RepositoryName| {
        asked.fetch_add(1, Ordering::Relaxed);
        name.as_str().starts_with("open/")
    };
    for limit in [1, 7, 25, 26, 10_000] {
        let (mut after, mut listed) = (None, Vec::new());
        loop {
            let page = house.registry.catalog(after, limit, &is_open).await.unwrap();
            assert!(page.entries.len() <= limit);
            listed.extend(page.entries);
            after = listed.last().cloned();
            if !page.has_more {
                break;
            }
        }
        assert_eq!(listed.len(), 25, "by {limit}");
    }
    asked.store(0, Ordering::Relaxed);
    let nothing = house.registry.catalog(None, 0, &is_open).await.unwrap();
    assert!(nothing.entries.is_empty() && !nothing.has_more && asked.load(Ordering::Relaxed) == 0);
    let nothing = house.registry.catalog(None, 100, &|_| false).await.unwrap();
    assert!(nothing.entries.is_empty() && !nothing.has_more);
    // Where everything may be read, a page costs what it holds.
    let page = house
        .registry
        .catalog(None, 10, &|_| {
            asked.fetch_add(1, Ordering::Relaxed);
            true
        })
        .await
        .unwrap();
    assert!(page.entries.len() == 10 && page.has_more && asked.load(Ordering::Relaxed) == 11);
}

#[tokio::test]
async fn a16_a_page_of_the_catalog_ends_early_and_never_at_a_name_that_must_not_be_read() {
    let house = House::new(Limits::default());
    let closed = (0..20_500).map(|number| format!("closed/{number:05}"));
    house.link(closed.chain(["a".to_owned(), "b".to_owned(), "z".to_owned()]), &blob()).await;
    let is_open = |name: &RepositoryName| !name.as_str().starts_with("closed/");
    let names = |page: &entrepot_registry::Listing<RepositoryName>| {
        page.entries.iter().map(RepositoryName::to_string).collect::<Vec<_>>()
    };
    let first = house.registry.catalog(None, 10, &is_open).await.unwrap();
    assert_eq!((names(&first).as_slice(), first.has_more), (["a", "b"].map(str::to_owned).as_slice(), true));
    // Nothing is found near there: it looks as far as it has to.
    let second = house.registry.catalog(first.entries.last().cloned(), 10, &is_open).await.unwrap();
    assert_eq!((names(&second).as_slice(), second.has_more), (["z".to_owned()].as_slice(), false));
}
