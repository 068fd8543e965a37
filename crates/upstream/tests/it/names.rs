//! Which host in a path is which registry (threat C1), and what a configuration may say.

use std::sync::Arc;

use entrepot_upstream::{ConfigError, Hosts, Remotes, RemotesConfig, ResolveError, UpstreamConfig};

use crate::setup::name;

fn upstream(name: &str, url: &str) -> UpstreamConfig {
    UpstreamConfig::new(name, url.parse().unwrap())
}

fn remotes(hosts: Hosts, upstreams: Vec<UpstreamConfig>) -> Result<Remotes, ConfigError> {
    Remotes::new(RemotesConfig { hosts, upstreams, ..RemotesConfig::default() })
}

#[test]
fn every_name_of_docker_hub_is_one_remote() {
    let listings = [
        vec![],
        vec![upstream("docker.io", "https://registry-1.docker.io")],
        vec![upstream("hub", "https://docker.io")],
        vec![upstream("hub", "https://index.docker.io/")],
    ];
    for upstreams in listings {
        let remotes = remotes(Hosts::Public, upstreams).unwrap();
        let hub = remotes.resolve("docker.io").unwrap();
        assert_eq!(hub.origin(), "registry-1.docker.io");
        for host in ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"] {
            assert!(Arc::ptr_eq(&hub, &remotes.resolve(host).unwrap()), "{host}");
        }
        assert_eq!(hub.repository(&name("redis")), name("library/redis"));
        assert_eq!(hub.repository(&name("library/redis")), name("library/redis"));
        assert_eq!(hub.repository(&name("org/app")), name("org/app"));
    }
}

#[test]
fn library_is_supplied_for_docker_hub_alone() {
    let remotes = remotes(Hosts::Public, vec![]).unwrap();
    assert_eq!(remotes.resolve("ghcr.io").unwrap().repository(&name("redis")), name("redis"));
}

#[test]
fn a_listed_upstream_is_found_by_its_name_its_aliases_and_its_authority() {
    let corp = UpstreamConfig { aliases: vec!["company".into()], ..upstream("corp", "https://registry.corp:5000") };
    let remotes = remotes(Hosts::Listed, vec![corp, upstream("ghcr", "https://ghcr.io")]).unwrap();
    let corp = remotes.resolve("corp").unwrap();
    assert_eq!((corp.name(), corp.origin()), ("corp", "registry.corp__5000"));
    for host in ["company", "registry.corp__5000"] {
        assert!(Arc::ptr_eq(&corp, &remotes.resolve(host).unwrap()), "{host}");
    }
    assert!(Arc::ptr_eq(&remotes.resolve("ghcr").unwrap(), &remotes.resolve("ghcr.io").unwrap()));
    assert_eq!(remotes.listed().len(), 2);
}

#[test]
fn an_authority_is_found_however_it_is_spelled() {
    let listed = vec![
        upstream("corp", "https://registry.corp:5000"),
        upstream("plain", "http://plain.corp"),
        upstream("six", "http://[::1]:5000"),
        upstream("odd.example", "https://elsewhere.example"),
    ];
    let remotes = remotes(Hosts::Public, listed).unwrap();
    let rows = [
        ("registry.corp:5000", "corp"),
        ("Registry.CORP:5000", "corp"),
        ("registry.corp__5000", "corp"),
        ("corp", "corp"),
        ("plain.corp", "plain"),
        ("plain.corp:80", "plain"),
        ("[::1]:5000", "six"),
        // What the operator calls an upstream comes before where it is.
        ("odd.example", "odd.example"),
        ("elsewhere.example:443", "odd.example"),
        ("docker.io", "docker.io"),
        ("Index.Docker.io", "docker.io"),
        ("registry-1.docker.io:443", "docker.io"),
        ("ghcr.io", "ghcr.io"),
        ("ghcr.io:443", "ghcr.io"),
    ];
    for (authority, name) in rows {
        let found = remotes.resolve_authority(authority);
        assert_eq!(found.map(|remote| remote.name().to_owned()).as_deref(), Ok(name), "{authority}");
    }
    // On another port it is another registry.
    assert_ne!(remotes.resolve_authority("registry.corp").unwrap().name(), "corp");
    let not_hosts = [
        "",
        "plain.corp:5000",
        "localhost:5000",
        "ghcr.io:5000",
        "127.0.0.1",
        "user@ghcr.io",
        "ghcr.io/x",
        "ghcr.io?",
        "ghcr.io#",
        "ghcr.io\\x",
        "%67hcr.io",
        "\0",
        "ghcr.io:x",
        "[::1",
        "a b",
    ];
    for authority in not_hosts {
        let refused = remotes.resolve_authority(authority);
        let host = authority.to_owned();
        assert_eq!(refused.unwrap_err(), ResolveError::NotAHost { host }, "{authority:?}");
    }
}

#[test]
fn c1_a_host_that_is_not_listed_is_refused_where_only_listed_ones_may_be_asked() {
    let remotes = remotes(Hosts::Listed, vec![upstream("ghcr", "https://ghcr.io")]).unwrap();
    for host in ["quay.io", "docker.io", "localhost", "127.0.0.1"] {
        assert_eq!(remotes.resolve(host).unwrap_err(), ResolveError::NotListed { host: host.to_owned() });
    }
}

#[test]
fn c1_only_names_of_public_hosts_are_hosts() {
    let remotes = remotes(Hosts::Public, vec![]).unwrap();
    for host in ["ghcr.io", "registry.k8s.io", "eu.gcr.io", "xn--bcher-kva.example", "a.b"] {
        assert_eq!(remotes.resolve(host).unwrap().origin(), host);
    }
    let too_long = format!("{}.io", "a".repeat(64));
    let refused = [
        "localhost",
        "app.localhost",
        "registry",
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0x7f.0.0.0x1",
        "10.0.0.1",
        "2130706433",
        "registry.corp__5000",
        "a_b.example",
        "a..b",
        "a.",
        ".a",
        "-a.example",
        "a-.example",
        "GHCR.io",
        "a b.c",
        "ghcr.io:443",
        "user@ghcr.io",
        "ghcr.io/x",
        "ghcr.io?x",
        "[::1]",
        "",
        "ä.example",
        &too_long,
    ];
    for host in refused {
        let expected = ResolveError::NotAHost { host: host.to_owned() };
        assert_eq!(remotes.resolve(host).unwrap_err(), expected, "{host:?}");
    }
}

#[test]
fn impossible_configurations_say_what_is_wrong() {
    let alias = |text: &str, upstream| UpstreamConfig { aliases: vec![text.to_owned()], ..upstream };
    let account = |upstream| UpstreamConfig { username: Some("robot".into()), password: Some("x".into()), ..upstream };
    let a = || upstream("a", "https://a.example");
    let rows = [
        (vec![a(), upstream("a", "https://b.example")], "more than one"),
        (vec![a(), alias("a", upstream("b", "https://b.example"))], "more than one"),
        (vec![alias("a", a())], "more than one"),
        (vec![upstream("hub", "https://docker.io"), upstream("docker.io", "https://mirror.example")], "more than one"),
        (vec![upstream("a", "https://a.example/v2/")], "path"),
        (vec![upstream("a", "https://a.example/?x=1")], "query"),
        (vec![upstream("a", "https://u:secret@a.example/")], "carries a user"),
        (vec![upstream("a", "ftp://a.example/")], "neither http nor https"),
        (vec![upstream("a", "https://a__b.example/")], "cannot stand in a path"),
        (vec![upstream("A", "https://a.example/")], "cannot stand in a path"),
        (vec![upstream("a/b", "https://a.example/")], "one component"),
        (vec![alias("a_", a())], "one component"),
        (vec![UpstreamConfig { username: Some("robot".into()), ..a() }], "no password"),
        (vec![UpstreamConfig { trusted_hosts: vec!["https://x.example".into()], ..a() }], "trusted host"),
        (vec![a(), account(upstream("b", "https://a.example"))], "different credentials"),
    ];
    for (upstreams, needle) in rows {
        let error = remotes(Hosts::Public, upstreams).expect_err(needle).to_string();
        assert!(error.contains(needle), "{error:?} does not say {needle:?}");
        assert!(!error.contains("secret"));
    }
}

#[test]
fn two_names_of_one_url_share_an_origin() {
    let remotes =
        remotes(Hosts::Public, vec![upstream("a", "https://x.example"), upstream("b", "https://x.example")]).unwrap();
    assert_eq!(remotes.resolve("a").unwrap().origin(), remotes.resolve("b").unwrap().origin());
}
