//! `[access]`: what a file comes to, and what is said about one that nobody can have meant.

use entrepot_access::{Action, Anonymous, Principal, Target};

use super::*;

/// What stands below `[access]` with a group, a provider and an upstream that can be named.
fn with_names(text: &str) -> String {
    format!(
        "[access]\nanonymous = \"none\"\n[[access.group]]\nname = \"team\"\nmembers = [\"alice\"]\n[[access.oidc]]\nname = \"github\"\n\
         issuer = \"https://token.example\"\naudience = \"here\"\n[[proxy.upstream]]\nname = \"ghcr.io\"\ncredentials = \"caller\"\n\
         {text}"
    )
}

fn rule(principals: &str) -> String {
    with_names(&format!("[[access.rule]]\nprincipals = {principals}\nactions = [\"pull\"]"))
}

fn access(text: &str) -> AccessConfiguration {
    read_text(text).expect(text).access.expect("a table")
}

fn problem(text: &str, expected: &str) {
    let problems = refused(text);
    assert!(problems.contains(expected), "{text}\ngives {problems:?}, not {expected:?}");
    assert!(problems.starts_with("configuration.toml:"), "{problems}");
    assert_eq!(problems.lines().count(), 1, "{problems}");
}

const EVERYTHING: &str = "
[access]
anonymous = \"pull\"
users_file = \"/etc/entrepot/users\"
token_lifetime = \"10m\"
[[access.group]]
name = \"team\"
members = [\"alice\", \"robot:ci\"]
[[access.rule]]
name = \"team\"
principals = [\"group:team\", \"authenticated\", \"oidc:github:org/**\"]
repositories = [\"team/**\", \"proxy/ghcr.io/**\"]
actions = [\"pull\", \"push\"]
[[access.rule]]
principals = [\"bob\"]
actions = [\"*\"]
[[access.immutable]]
repositories = [\"team/**\"]
tags = [\"v*\"]
[[access.oidc]]
name = \"github\"
issuer = \"https://token.example/x/\"
audience = \"registry.corp\"
trusted_hosts = [\"10.0.0.1:6443\", \"keys.corp\"]
[[access.identity]]
oidc = \"github\"
claims = { repository = \"org/*\", \"/a/b\" = \"c\" }
principal = \"{repository}\"
[[proxy.upstream]]
name = \"ghcr.io\"
password = \"hunter2\"
";

const SHOWN: &str = "
[access]
anonymous = \"pull\"
# everybody may pull and list everything, except what is fetched from ghcr.io
users_file = \"/etc/entrepot/users\"
token_lifetime = \"10m\"

[[access.group]]
name = \"team\"
members = [\"alice\", \"robot:ci\"]

[[access.rule]]
name = \"team\"
principals = [\"group:team\", \"authenticated\", \"oidc:github:org/**\"]
repositories = [\"team/**\", \"proxy/ghcr.io/**\"]
actions = [\"pull\", \"push\"]
# team (alice, robot:ci), everybody who has said who he is and oidc:github:org/** may pull and push in team/** or proxy/ghcr.io/**

[[access.rule]]
name = \"rule 2 (line 14)\"
principals = [\"bob\"]
actions = [\"*\"]
# bob may do everything in any repository

[[access.immutable]]
repositories = [\"team/**\"]
tags = [\"v*\"]
# v* in team/** can be made once, and then it is neither moved nor deleted

[[access.oidc]]
name = \"github\"
issuer = \"https://token.example/x/\"
audience = \"registry.corp\"
trusted_hosts = [\"10.0.0.1:6443\", \"keys.corp\"]

[[access.identity]]
oidc = \"github\"
claims = { \"/a/b\" = \"c\", repository = \"org/*\" }
principal = \"{repository}\"
# whoever has such a token is oidc:github:{repository}
";

#[test]
fn everything_about_access_is_heeded_and_shown_with_its_meaning() {
    let configuration = read_text(EVERYTHING).expect("all of it is right");
    let shown = configuration.describe();
    assert!(shown.contains(SHOWN), "{shown}");
    assert!(!shown.contains("hunter2"));
    let access = configuration.access.expect("a table");
    assert_eq!(access.anonymous, Anonymous::Pull);
    assert_eq!(access.token_lifetime, Duration::from_mins(10));
    assert!(access.immutable.rules[0].tags.matches("v1") && !access.immutable.rules[0].tags.matches("latest"));
    let identity = &access.issuers[0].identities[0];
    assert_eq!((identity.claims["repository"].as_str(), identity.principal.as_str()), ("org/*", "{repository}"));
    let rules = access.rules();
    let allowed = |principal: &str, action, name: &str| {
        let principal: Principal = principal.parse().expect(principal);
        rules.allow(&principal, action, &Target::repository(name.parse().expect(name)).private())
    };
    assert_eq!(allowed("robot:ci", Action::Create, "team/app").as_deref(), Some("team"));
    assert_eq!(allowed("oidc:github:org/app", Action::Overwrite, "team/app").as_deref(), Some("team"));
    assert_eq!(allowed("bob", Action::Delete, "any").as_deref(), Some("rule 2 (line 14)"));
    assert_eq!(allowed("anonymous", Action::Pull, "proxy/ghcr.io/a"), None);
}

#[test]
fn without_the_table_there_is_none_and_with_it_nothing_is_allowed_that_is_not_written() {
    assert!(read_text("").expect("the defaults").access.is_none());
    for text in ["[access]", "[[access.rule]]\nprincipals = [\"alice\"]\nactions = [\"pull\"]"] {
        assert_eq!(access(text).anonymous, Anonymous::None, "{text}");
    }
    let defaults = access("[access]");
    assert_eq!((defaults.users_file.to_str(), defaults.token_lifetime.as_secs()), (Some("/srv/users.htpasswd"), 300));
}

#[test]
fn principals_that_nobody_can_be_are_refused() {
    for principals in [
        "[\"anyone\", \"authenticated\", \"group:team\", \"alice\", \"anonymous\"]",
        "[\"*@example.org\", \"robot:*\", \"oidc:github:**\", \"certificate:node 1\", \"upstream:ghcr.io:*\", \"{a,b}\"]",
    ] {
        read_text(&rule(principals)).expect(principals);
    }
    let rows = [
        ("", "`access.rule.principals` is \"\"; allowed: a list with any of \"anyone\""),
        ("a b", "`access.rule.principals` is \"a b\""),
        ("system", "`access.rule.principals` is \"system\""),
        ("operator:", "`access.rule.principals` is \"operator:\""),
        ("user:alice", "`access.rule.principals` is \"user:alice\""),
        ("r*:ci", "`access.rule.principals` is \"r*:ci\""),
        ("robot:", "`access.rule.principals` is \"robot:\""),
        ("oidc:github", "`access.rule.principals` is \"oidc:github\""),
        ("[a", "cannot be read: \"[a\" is not a pattern"),
        ("group:crew", "is \"group:crew\", and there is no [[access.group]] of this name; there are: team"),
        ("oidc:gitlab:a", "there is no [[access.oidc]] of the name \"gitlab\"; there are: github"),
        ("oidc:*:a", "there is no [[access.oidc]] of the name \"*\""),
        ("upstream:quay.io:a", "of the name \"quay.io\" with credentials = \"caller\"; there are: ghcr.io"),
    ];
    for (principal, expected) in rows {
        problem(&rule(&format!("[{principal:?}]")), expected);
    }
    problem(
        "[[access.group]]\nname = \"a\"\nmembers = [\"group:b\"]",
        "`access.group.members` is \"group:b\"; allowed",
    );
}

#[test]
fn rules_say_whom_and_what_and_never_nothing_by_mistake() {
    let rows = [
        ("actions = [\"pull\"]", "`access.rule.principals` is missing; allowed: a list"),
        ("principals = []\nactions = [\"pull\"]", "`access.rule.principals` is an empty list; allowed: a list"),
        ("principals = [\"bob\"]", "`access.rule.actions` is missing; allowed: a list with any of \"pull\""),
        ("principals = [\"bob\"]\nactions = []", "`access.rule.actions` is an empty list"),
        (
            "principals = [\"bob\"]\nactions = [\"read\"]",
            "`access.rule.actions` is \"read\"; allowed: a list with any of \"pull\"",
        ),
        (
            "principals = [\"bob\"]\nactions = [\"pull\"]\nrepositories = []",
            "`access.rule.repositories` is an empty list",
        ),
        (
            "principals = [\"bob\"]\nactions = [\"pull\"]\nrepositories = [\"Team/*\"]",
            "`access.rule.repositories` is \"Team/*\"",
        ),
        (
            "principals = [\"bob\"]\nactions = [\"pull\"]\nrepositories = [\"a:1\"]",
            "`access.rule.repositories` is \"a:1\"",
        ),
        (
            "principals = [\"bob\"]\nactions = [\"pull\"]\nrepositories = [\"/a\"]",
            "`access.rule.repositories` is \"/a\"",
        ),
        (
            "principals = [\"bob\"]\nactions = [\"pull\"]\nrepositories = [\"a/\"]",
            "`access.rule.repositories` is \"a/\"",
        ),
        ("principals = [\"bob\"]\nactions = [\"pull\"]\nrepositories = [\"[a\"]", "is not a pattern"),
        (
            "principals = [\"bob\"]\nactions = [\"pull\"]\nname = \"\"",
            "`access.rule.name` is \"\"; allowed: a text of 1 to 100",
        ),
        (
            "principals = [\"bob\"]\nactions = [\"pull\"]\nname = \"a\"\n[[access.rule]]\nname = \"a\"\nprincipals = [\"bob\"]\n\
             actions = [\"pull\"]",
            "configuration.toml:6:8: `access.rule.name` is \"a\", which is the name of the rule in line 4 too",
        ),
    ];
    for (text, expected) in rows {
        problem(&format!("[[access.rule]]\n{text}"), expected);
    }
}

#[test]
fn names_and_patterns_of_access_that_cannot_be_are_refused() {
    let rows = [
        (
            "[access]\ntoken_lifetime = \"59s\"",
            "`access.token_lifetime` is \"59s\"; allowed: a duration from \"1m\" to \"1h\"",
        ),
        ("[access]\ntoken_lifetime = \"61m\"", "`access.token_lifetime` is \"61m\""),
        ("[access]\nusers_file = \"\"", "`access.users_file` is \"\"; allowed: a path"),
        ("[[access.group]]\nmembers = [\"a\"]", "`access.group.name` is missing"),
        ("[[access.group]]\nname = \"authenticated\"", "`access.group.name` is \"authenticated\"; allowed"),
        ("[[access.group]]\nname = \"a b\"", "`access.group.name` is \"a b\"; allowed"),
        ("[[access.group]]\nname = \"a\"\n[[access.group]]\nname = \"a\"", "is the name of the group in line 2 too"),
        ("[[access.immutable]]\ntags = [\"a/b\"]", "`access.immutable.tags` is \"a/b\""),
        ("[[access.immutable]]\ntags = [\"[\"]", "is not a pattern"),
        ("[[access.immutable]]\nrepositories = [\"A\"]", "`access.immutable.repositories` is \"A\""),
    ];
    for (text, expected) in rows {
        problem(text, expected);
    }
    problem("[access]\nrule = 5", "`access.rule` is the number 5; allowed: a list of tables");
    problem("access = 5", "`access` is the number 5; allowed: a table");
}

#[test]
fn identity_providers_and_identities_are_whole() {
    let oidc = |issuer: &str| format!("[[access.oidc]]\nname = \"a\"\nissuer = \"{issuer}\"\naudience = \"here\"\n");
    for issuer in ["https://a", "https://a.b:8443/x/y", "http://127.0.0.1:5556", "http://localhost/x", "http://[::1]:1"]
    {
        read_text(&oidc(issuer)).expect(issuer);
    }
    for issuer in ["a", "http://a", "http://10.0.0.7", "https://a?b", "https://a#b", "ftp://a"] {
        problem(&oidc(issuer), &format!("`access.oidc.issuer` is \"{issuer}\"; allowed: https://HOST"));
    }
    problem(&oidc("https://u:hunter2@a"), "`access.oidc.issuer` is a URL with a user in it");
    problem(&(oidc("https://a") + &oidc("https://b")), "which is the name of the identity provider in line 2 too");
    problem(&(oidc("https://a") + "ca = \"/none\""), "`access.oidc.ca` names the file /none, which cannot be read");
    problem(&(oidc("https://a") + "trusted_hosts = [\"https://b\"]"), "`access.oidc.trusted_hosts` is \"https://b\"");
    problem("[[access.oidc]]\nname = \"a\"\nissuer = \"https://a\"", "`access.oidc.audience` is missing");
    problem("[[access.oidc]]\nname = \"a\"\naudience = \"b\"", "`access.oidc.issuer` is missing");
    problem("[[access.oidc]]\nissuer = \"https://a\"\naudience = \"b\"", "`access.oidc.name` is missing");

    let identity = |text: &str| format!("{}[[access.identity]]\n{text}", oidc("https://a"));
    for principal in ["{sub}", "ci", "{a}/{b}", "x{/a/b}y"] {
        let text = identity(&format!("oidc = \"a\"\nclaims = {{ a = \"b\" }}\nprincipal = {principal:?}"));
        read_text(&text).expect(principal);
    }
    let rows = [
        ("claims = { a = \"b\" }\nprincipal = \"p\"", "`access.identity.oidc` is missing"),
        (
            "oidc = \"b\"\nclaims = { a = \"b\" }\nprincipal = \"p\"",
            "`access.identity.oidc` is \"b\", and there is no [[access.oidc]] of the name \"b\"; there are: a",
        ),
        ("oidc = \"a\"\nprincipal = \"p\"", "`access.identity.claims` is missing; allowed: an inline table"),
        ("oidc = \"a\"\nclaims = {}\nprincipal = \"p\"", "`access.identity.claims` is an empty table"),
        (
            "oidc = \"a\"\nclaims = \"a\"\nprincipal = \"p\"",
            "`access.identity.claims` is \"a\"; allowed: an inline table",
        ),
        (
            "oidc = \"a\"\nclaims = { a = 1 }\nprincipal = \"p\"",
            "`access.identity.claims` is a table; allowed: an inline table",
        ),
        ("oidc = \"a\"\nclaims = { a = \"\" }\nprincipal = \"p\"", "`access.identity.claims` is \"\""),
        ("oidc = \"a\"\nclaims = { a = \"[\" }\nprincipal = \"p\"", "is not a pattern"),
        ("oidc = \"a\"\nclaims = { a = \"b\" }", "`access.identity.principal` is missing"),
        ("oidc = \"a\"\nclaims = { a = \"b\" }\nprincipal = \"{\"", "`access.identity.principal` is \"{\""),
        ("oidc = \"a\"\nclaims = { a = \"b\" }\nprincipal = \"a}\"", "`access.identity.principal` is \"a}\""),
        ("oidc = \"a\"\nclaims = { a = \"b\" }\nprincipal = \"{}\"", "`access.identity.principal` is \"{}\""),
        ("oidc = \"a\"\nclaims = { a = \"b\" }\nprincipal = \"{a{b}}\"", "`access.identity.principal` is"),
    ];
    for (text, expected) in rows {
        problem(&identity(text), expected);
    }
}

#[test]
fn b10_callers_come_with_their_own_account_where_they_say_who_they_are_and_the_server_has_none() {
    let upstream = "[[proxy.upstream]]\nname = \"a\"\ncredentials = \"caller\"\n";
    let read = read_text(&format!("access.anonymous = \"pull\"\n{upstream}")).expect("it is right");
    assert!(read.proxy.upstreams[0].is_asked_as_caller);
    assert!(read.describe().contains("credentials = \"caller\"\n"));
    assert!(read.describe().contains("except what is fetched from a\n"), "{}", read.describe());
    for access in ["", "access.anonymous = \"full\"\n"] {
        problem(&format!("{access}{upstream}"), "`proxy.upstream.credentials` needs callers who say who they are");
    }
    let access = "access.anonymous = \"none\"\n";
    for (line, other) in [
        ("username = \"u\"\npassword = \"hunter2\"", "username"),
        ("password = \"hunter2\"", "password"),
        ("password_env = \"TOKEN\"", "password_env"),
        ("credential_helper = [\"helper\"]", "credential_helper"),
    ] {
        let expected = format!("`proxy.upstream.credentials` is written beside `{other}`");
        problem(&format!("{access}{upstream}{line}"), &expected);
    }
    let wrong = upstream.replace("caller", "own");
    problem(&format!("{access}{wrong}"), "`proxy.upstream.credentials` is \"own\"; allowed: \"caller\"");
}

fn warned(text: &str) -> Vec<(&'static str, String)> {
    let warnings = read_text(text).expect(text).warnings();
    warnings.into_iter().map(|warning| (warning.key, warning.text)).collect()
}

#[test]
fn what_is_most_likely_not_meant_is_warned_about() {
    let rule = |principal: &str| {
        format!("[[access.rule]]\nname = \"r\"\nprincipals = [{principal:?}]\nactions = [\"pull\"]\n")
    };
    let account = "[[proxy.upstream]]\nname = \"a\"\npassword = \"hunter2\"\n";
    let everywhere = "server.listen = \"0.0.0.0:5000\"\n";
    let rows = [
        (format!("access.anonymous = \"full\"\n{account}"), "access.anonymous", "the server's account at a may"),
        ("[access]".to_owned(), "access.anonymous", "nobody may do anything"),
        (
            format!("{everywhere}{}", rule("anyone")),
            "server.listen",
            "passwords and tokens go over the network in clear",
        ),
        (
            format!("server.public_url = \"http://a\"\n{}", rule("anyone")),
            "server.listen",
            "passwords and tokens go over the network in clear",
        ),
        (rule("alice"), "access.rule", "\"r\" is for nobody: alice is not in access.users_file"),
        (rule("*"), "access.rule", "\"r\" is for nobody: * is not in access.users_file"),
        (rule("certificate:*"), "access.rule", "needs server.tls.client_ca"),
        (format!("[[access.group]]\nname = \"g\"\n{}", rule("group:g")), "access.rule", "the group g is empty"),
        (
            format!("server.trusted_proxies = [\"0.0.0.0/0\"]\n{}", rule("anyone")),
            "server.trusted_proxies",
            "0.0.0.0/0 is everybody",
        ),
    ];
    for (text, key, words) in rows {
        let warnings = warned(&text);
        assert!(matches!(&warnings[..], [(one, said)] if *one == key && said.contains(words)), "{text}\n{warnings:?}");
    }
    let silent = [
        String::new(),
        format!("access.anonymous = \"pull\"\n{account}"),
        "access.anonymous = \"full\"\n".to_owned() + everywhere,
        format!("server.public_url = \"https://a\"\n{everywhere}{}", rule("authenticated")),
        format!("server.trusted_proxies = [\"10.0.0.1\"]\n{everywhere}{}", rule("robot:ci")),
        rule("anonymous"),
    ];
    for text in silent {
        assert_eq!(warned(&text), [], "{text}");
    }
}

#[test]
fn the_users_file_is_looked_at_without_its_hashes() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let rule = "[[access.rule]]\nprincipals = [\"alice\"]\nactions = [\"pull\"]\n";
    std::fs::write(folder.path().join(FILE_NAME), rule).expect("a file");
    let users = folder.path().join("users.htpasswd");
    std::fs::write(&users, "alice:$2y$05$hash\n").expect("a file");
    let warnings = || load(folder.path(), None).expect("a configuration").warnings();
    for (mode, is_warned) in [(0o600, false), (0o400, false), (0o640, true), (0o602, true)] {
        std::fs::set_permissions(&users, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        let warnings = warnings();
        assert_eq!(warnings.iter().any(|warning| warning.key == "access.users_file"), is_warned, "{mode:o}");
        assert_eq!(warnings.len(), usize::from(is_warned), "{warnings:?}");
    }
}
