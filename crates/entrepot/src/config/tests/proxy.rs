//! `[proxy]` with the tables in it: freshness, limits, mirrors, certificates, rules.

use entrepot_registry::{Freshness, OnUpstream404, PolicyAction};
use entrepot_upstream::{CredentialHelper, Mirror};

use super::*;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";

const EVERYTHING: &str = r#"
[proxy]
tag_fresh_for = "5m"
stale_for = "7d"
on_upstream_404 = "forget"
root_mirror = "hub"
size_max = "500GiB"
size_high = "90%"
size_low = "60%"
unused_for = "90d"
orphan_fills_max = 0

[[proxy.upstream]]
name = "docker.io"
aliases = ["hub"]
mirrors = ["corp", "https://mirror.gcr.io", "http://mirror.corp:5000/docker/hub"]
requests_max = 16
tag_fresh_for = "forever"

[[proxy.upstream]]
name = "1234.dkr.ecr.eu-west-1.amazonaws.com"
credential_helper = ["docker-credential-ecr-login", "--quiet"]
credential_lifetime = "11h"
http_proxy = "http://robot:hunter2@proxy.corp:3128"

[[proxy.upstream]]
name = "corp"
url = "https://registry.corp:5000"
ca = "ca.pem"
client_certificate = "client.pem"
client_key = "client.key"
stale_for = "0s"
on_upstream_404 = "keep"

[[proxy.freshness]]
upstreams = ["docker.io"]
repositories = ["library/*"]
tags = ["[0-9]*.[0-9]*.[0-9]*"]
fresh_for = "forever"

[[proxy.freshness]]
stale_for = "1h"
on_upstream_404 = "keep"

[[proxy.rule]]
name = "only known types"
action = "allow"
log_only = true
media_types = ["application/vnd.oci.**"]

[[proxy.rule]]
name = "no-latest"
action = "deny"
upstreams = ["docker.io", "corp"]
repositories = ["org/**"]
tags = ["latest"]
larger_than = "10GiB"
younger_than = "3d"
"#;

fn folder_with(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [(FILE_NAME, text), ("ca.pem", CERTIFICATE), ("client.pem", CERTIFICATE), ("client.key", KEY)];
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    folder
}

#[test]
fn every_key_of_the_proxy_is_heeded() {
    let folder = folder_with(EVERYTHING);
    let configuration = load(folder.path(), None).expect("all of it is right");
    let ProxyConfiguration { upstreams, settings, .. } = &configuration.proxy;
    let hour = Duration::from_hours(1);
    let own = Freshness {
        fresh_for: Some(Duration::from_mins(5)),
        stale_for: Some(hour * 24 * 7),
        on_upstream_404: OnUpstream404::Forget,
    };
    assert_eq!(settings.freshness, own);
    let upstream_freshness = |name: &str| settings.upstream_freshness.get(name).copied();
    assert_eq!(upstream_freshness("docker.io"), Some(Freshness { fresh_for: None, ..own }));
    let corp = Freshness { stale_for: Some(Duration::ZERO), on_upstream_404: OnUpstream404::Keep, ..own };
    assert_eq!(upstream_freshness("corp"), Some(corp));
    assert_eq!(settings.upstream_freshness.len(), 2, "who says nothing is as the others");

    assert_eq!(upstreams[0].requests_max, 16);
    let url = |text: &str| Mirror::At(text.parse().expect("a URL"));
    let mirrors =
        [Mirror::Listed("corp".to_owned()), url("https://mirror.gcr.io"), url("http://mirror.corp:5000/docker/hub")];
    assert_eq!(upstreams[0].mirrors, mirrors);
    let command = vec!["docker-credential-ecr-login".to_owned(), "--quiet".to_owned()];
    assert_eq!(upstreams[1].credential_helper, Some(CredentialHelper { command, lifetime: hour * 11 }));
    let proxy = upstreams[1].http_proxy.as_ref().expect("a proxy");
    assert_eq!((proxy.username(), proxy.password(), proxy.port()), ("robot", Some("hunter2"), Some(3128)));
    assert_eq!(upstreams[2].ca.as_deref(), Some(CERTIFICATE.as_bytes()));
    let client = upstreams[2].client_certificate.as_ref().expect("a certificate");
    assert_eq!((client.certificate.as_slice(), client.key.expose_secret()), (CERTIFICATE.as_bytes(), KEY));

    let [versions, others] = settings.freshness_rules.as_slice() else { panic!("two exceptions") };
    assert!(versions.upstreams.matches("docker.io") && !versions.upstreams.matches("ghcr.io"));
    assert!(versions.repositories.matches("library/redis") && !versions.repositories.matches("org/app"));
    assert!(versions.tags.matches("7.2.1") && !versions.tags.matches("latest"));
    assert_eq!((versions.fresh_for, versions.stale_for, versions.on_upstream_404), (Some(None), None, None));
    let others = (others.fresh_for, others.stale_for, others.on_upstream_404);
    assert_eq!(others, (None, Some(Some(hour)), Some(OnUpstream404::Keep)));

    let [types, latest] = settings.rules.as_slice() else { panic!("two rules") };
    assert!(types.is_log_only && types.action == PolicyAction::Allow && types.upstreams.is_empty());
    assert!(types.media_types.matches("application/vnd.oci.image.manifest.v1+json"));
    assert!(!latest.is_log_only && latest.action == PolicyAction::Deny && latest.tags.matches("latest"));
    assert!(latest.upstreams.matches("corp") && latest.repositories.matches("org/a/b"));
    assert_eq!((latest.larger_than, latest.younger_than), (Some(10 << 30), Some(hour * 72)));
}

#[test]
fn what_is_shown_of_the_proxy_is_what_was_written_without_its_secrets() {
    let folder = folder_with(EVERYTHING);
    let shown = load(folder.path(), None).expect("all of it is right").describe();
    let start = shown.find("[proxy]").expect("the table");
    let end = shown.find("\n[telemetry]").expect("the table");
    let expected = EVERYTHING
        .trim_start()
        .replace("[proxy]\n", "[proxy]\nhosts = \"public\"\n")
        .replace("robot:hunter2", "***")
        .replace("name = \"docker.io\"\n", "name = \"docker.io\"\nurl = \"https://registry-1.docker.io\"\n")
        .replace("requests_max = 16\ntag_fresh_for = \"forever\"\n", "requests_max = 16\ntag_fresh_for = \"forever\"\nstale_for = \"7d\"\non_upstream_404 = \"forget\"\n")
        .replace("amazonaws.com\"\n", "amazonaws.com\"\nurl = \"https://1234.dkr.ecr.eu-west-1.amazonaws.com\"\n")
        .replace("3128\"\n", "3128\"\nrequests_max = 128\n")
        .replace("ca = \"ca.pem\"\nclient_certificate = \"client.pem\"\nclient_key = \"client.key\"\n", "# ca: 1 certificate\n# client_certificate: 1 certificate\nclient_key = \"***\"\nrequests_max = 128\ntag_fresh_for = \"5m\"\n")
        .replace("action = \"deny\"\n", "action = \"deny\"\nlog_only = false\n");
    assert_eq!(&shown[start..end], expected);
    assert!(!shown.contains("hunter2"), "{shown}");
    let configuration = load(folder.path(), None).expect("all of it is right");
    assert!(!format!("{:?}", configuration.proxy.upstreams[2]).contains("hunter2"));
}

/// An upstream with one more line.
fn upstream(line: &str) -> String {
    format!("[[proxy.upstream]]\nname = \"a\"\n{line}\n")
}

fn rule(line: &str) -> String {
    format!("[[proxy.rule]]\nname = \"r\"\naction = \"deny\"\n{line}\n")
}

fn is_refused_with(rows: &[(String, &str)]) {
    for (text, expected) in rows {
        let problems = refused(text);
        assert!(problems.contains(expected), "{text:?} gives {problems:?}, not {expected:?}");
        assert!(problems.starts_with("configuration.toml:"), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn a_value_of_the_proxy_that_is_not_allowed_is_refused_and_says_what_is() {
    let proxy = |line: &str| format!("[proxy]\n{line}\n");
    let freshness = |line: &str| format!("[[proxy.freshness]]\nfresh_for = \"1s\"\n{line}\n");
    is_refused_with(&[
        (
            proxy("tag_fresh_for = \"always\""),
            "2:17: `proxy.tag_fresh_for` is \"always\"; allowed: a duration, as in \"5m\", or \"forever\"",
        ),
        (proxy("stale_for = \"7\""), "2:13: `proxy.stale_for` is \"7\"; allowed: a duration"),
        (proxy("on_upstream_404 = \"drop\""), "`proxy.on_upstream_404` is \"drop\"; allowed: \"keep\" or \"forget\""),
        (proxy("size_max = \"0\""), "`proxy.size_max` is \"0\"; allowed: a size from \"1\" byte on"),
        (proxy("size_max = 5"), "`proxy.size_max` is the number 5; allowed: a size"),
        (proxy("size_high = \"0.95\""), "`proxy.size_high` is \"0.95\"; allowed: a part of `size_max`"),
        (proxy("size_high = \"101%\""), "`proxy.size_high` is \"101%\""),
        (proxy("size_low = \"100%\""), "`proxy.size_low` is \"100%\""),
        (proxy("unused_for = \"59s\""), "`proxy.unused_for` is \"59s\"; allowed: a duration from \"1m\" on"),
        (
            proxy("orphan_fills_max = -1"),
            "`proxy.orphan_fills_max` is the number -1; allowed: a whole number from 0 to 10000",
        ),
        (
            proxy("root_mirror = \"docker\""),
            "2:15: `proxy.root_mirror` is \"docker\", which is not the name of a listed upstream and not that of a public host",
        ),
        (proxy("root_mirror = \"10.0.0.7\""), "not that of a public host: add it as [[proxy.upstream]]"),
        (proxy("root_mirror = \"docker.io/library\""), "not that of a public host"),
        (
            proxy("hosts = \"listed\"\nroot_mirror = \"docker.io\""),
            "and `proxy.hosts` allows no other: add it as [[proxy.upstream]]",
        ),
        (freshness("tags = [\"[a\"]"), "3:9: `proxy.freshness.tags` cannot be read: \"[a\" is not a pattern"),
        (freshness("upstreams = [\"a\", \"{b\"]"), "3:19: `proxy.freshness.upstreams` cannot be read: \"{b\""),
        (freshness("repositories = [\"\"]"), "`proxy.freshness.repositories` is \"\"; allowed: a list of patterns"),
        (freshness("stale_for = \"x\""), "`proxy.freshness.stale_for` is \"x\""),
        (freshness("on_upstream_404 = \"x\""), "`proxy.freshness.on_upstream_404` is \"x\""),
        ("[[proxy.freshness]]\nfresh_for = \"x\"\n".to_owned(), "`proxy.freshness.fresh_for` is \"x\""),
        ("[[proxy.rule]]\naction = \"deny\"\n".to_owned(), "1:1: `proxy.rule.name` is missing"),
        (
            "[[proxy.rule]]\nname = \"r\"\n".to_owned(),
            "1:1: `proxy.rule.action` is missing; allowed: \"allow\" or \"deny\"",
        ),
        ("[[proxy.rule]]\nname = \"r\"\naction = \"drop\"".to_owned(), "`proxy.rule.action` is \"drop\""),
        (format!("[[proxy.rule]]\naction = \"deny\"\nname = \"{}\"", "x".repeat(101)), "`proxy.rule.name` is \"xxx"),
        ("[[proxy.rule]]\naction = \"deny\"\nname = \" \"".to_owned(), "`proxy.rule.name` is \" \""),
        (rule("log_only = \"yes\""), "4:12: `proxy.rule.log_only` is \"yes\"; allowed: true or false"),
        (rule("upstreams = [\"[a\"]"), "`proxy.rule.upstreams` cannot be read"),
        (rule("repositories = [\"[a\"]"), "`proxy.rule.repositories` cannot be read"),
        (rule("tags = [\"[a\"]"), "`proxy.rule.tags` cannot be read"),
        (rule("media_types = [\"[a\"]"), "`proxy.rule.media_types` cannot be read"),
        (rule("larger_than = \"big\""), "`proxy.rule.larger_than` is \"big\"; allowed: a size"),
        (rule("younger_than = \"0s\""), "`proxy.rule.younger_than` is \"0s\"; allowed: a duration from \"1s\" on"),
    ]);
}

#[test]
fn a_value_of_an_upstream_that_is_not_allowed_is_refused_and_says_what_is() {
    is_refused_with(&[
        (
            upstream("credential_helper = []"),
            "3:21: `proxy.upstream.credential_helper` is an empty list; allowed: a list with a program",
        ),
        (upstream("credential_helper = [\"\", \"x\"]"), "is a list without a program"),
        (
            upstream("credential_helper = \"ecr-login\""),
            "`proxy.upstream.credential_helper` is \"ecr-login\"; allowed: a list",
        ),
        (
            upstream("credential_helper = [\"x\"]\ncredential_lifetime = \"0s\""),
            "`proxy.upstream.credential_lifetime` is \"0s\"; allowed: a duration from \"1s\" on",
        ),
        (upstream("ca = \"/no\""), "`proxy.upstream.ca` names the file /no, which cannot be read"),
        (
            upstream("http_proxy = \"proxy.corp:hunter2\""),
            "`proxy.upstream.http_proxy` is something else; allowed: http://HOST:PORT",
        ),
        (upstream("http_proxy = \"socks5://u:hunter2@proxy.corp\""), "`proxy.upstream.http_proxy` is something else"),
        (upstream("http_proxy = \"https://proxy.corp:3128\""), "`proxy.upstream.http_proxy` is something else"),
        (upstream("http_proxy = \"http://proxy.corp/path\""), "`proxy.upstream.http_proxy` is something else"),
        (upstream("http_proxy = 5"), "`proxy.upstream.http_proxy` is a number"),
        (
            upstream("mirrors = [\"ftp://mirror\"]"),
            "3:12: `proxy.upstream.mirrors` is \"ftp://mirror\"; allowed: a list",
        ),
        (upstream("mirrors = [\"https://u:hunter2@mirror\"]"), "`proxy.upstream.mirrors` is a URL with a user in it"),
        (upstream("mirrors = [\"https://mirror/?x\"]"), "`proxy.upstream.mirrors` is \"https://mirror/?x\""),
        (upstream("mirrors = [\"https://mirror/Upper\"]"), "`proxy.upstream.mirrors` is \"https://mirror/Upper\""),
        (
            upstream("requests_max = 0"),
            "`proxy.upstream.requests_max` is the number 0; allowed: a whole number from 1 to 10000",
        ),
        (upstream("requests_max = 10001"), "`proxy.upstream.requests_max` is the number 10001"),
        (upstream("tag_fresh_for = \"x\""), "`proxy.upstream.tag_fresh_for` is \"x\""),
        (upstream("stale_for = \"x\""), "`proxy.upstream.stale_for` is \"x\""),
        (upstream("on_upstream_404 = \"x\""), "`proxy.upstream.on_upstream_404` is \"x\""),
    ]);
}

#[test]
fn values_of_the_proxy_that_cannot_be_together_are_refused() {
    let helper = |line: &str| upstream(&format!("{line}\ncredential_helper = [\"x\"]"));
    is_refused_with(&[
        (helper("password = \"hunter2\""), "4:21: `proxy.upstream.credential_helper` is written beside `password`"),
        (
            helper("username = \"u\"\npassword_env = \"TOKEN\""),
            "is written beside `username`: the helper gives the user and the password",
        ),
        (
            upstream("credential_lifetime = \"1h\""),
            "3:23: `proxy.upstream.credential_lifetime` needs `credential_helper` beside it",
        ),
        (upstream("mirrors = [\"a\"]"), "3:12: `proxy.upstream.mirrors` is \"a\", which is this upstream itself"),
        (upstream("mirrors = [\"alias\"]\naliases = [\"alias\"]"), "is \"alias\", which is this upstream itself"),
        (upstream("url = \"https://a.example\"\nmirrors = [\"https://a.example\"]"), "which is this upstream itself"),
        (
            upstream("mirrors = [\"b\"]"),
            "`proxy.upstream.mirrors` is \"b\", which is not the name of a listed upstream; allowed: a list",
        ),
        (
            "[proxy]\nsize_low = \"95%\"".to_owned(),
            "2:12: `proxy.size_low` is 95%, which is not below `proxy.size_high`, 95%",
        ),
        (
            "[proxy]\nsize_high = \"80%\"".to_owned(),
            "2:13: `proxy.size_low` is 85%, which is not below `proxy.size_high`, 80%",
        ),
        (
            "[[proxy.freshness]]\ntags = [\"a\"]".to_owned(),
            "1:1: `proxy.freshness` says nothing: write at least one of fresh_for",
        ),
        (
            format!("{}{}", rule(""), rule("")),
            "6:8: `proxy.rule.name` is \"r\", which is the name of the rule in line 2 too",
        ),
    ]);
    let files = [
        ("client_certificate = \"client.pem\"", "`proxy.upstream.client_certificate` needs `client_key` beside it"),
        ("client_key = \"client.key\"", "`proxy.upstream.client_key` needs `client_certificate` beside it"),
        ("ca = \"client.key\"", "which holds no certificate in PEM or is larger than 1048576 bytes"),
        ("client_certificate = \"client.pem\"\nclient_key = \"ca.pem\"", "which holds no private key in PEM"),
    ];
    for (line, expected) in files {
        let folder = folder_with(&upstream(line));
        let problems = load(folder.path(), None).expect_err(line).to_string();
        assert!(problems.contains(expected) && problems.lines().count() == 1, "{line:?} gives {problems:?}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn the_root_mirror_may_be_a_public_host_or_any_name_of_a_listed_upstream() {
    for text in [
        "[proxy]\nroot_mirror = \"docker.io\"",
        "[proxy]\nroot_mirror = \"ghcr.io\"",
        "[proxy]\nhosts = \"listed\"\nroot_mirror = \"a\"\n[[proxy.upstream]]\nname = \"a\"",
        "[proxy]\nhosts = \"listed\"\nroot_mirror = \"b\"\n[[proxy.upstream]]\nname = \"a\"\naliases = [\"b\"]",
        "[proxy]\nhosts = \"listed\"\nroot_mirror = \"docker.io\"\n[[proxy.upstream]]\nname = \"registry-1.docker.io\"",
    ] {
        assert!(read_text(text).expect(text).proxy.settings.root_mirror.is_some(), "{text}");
    }
}
