//! `[metadata]`: the database.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn problem(text: &str, expected: &str) {
    let problems = refused(text);
    assert!(problems.contains(expected), "{text}\ngives {problems:?}, not {expected:?}");
    assert_eq!(problems.lines().count(), 1, "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

fn postgres(lines: &str) -> PostgresConfiguration {
    let configuration =
        read_text(&format!("[metadata]\n{lines}")).unwrap_or_else(|problems| panic!("{lines}\n{problems}"));
    configuration.metadata.postgres().expect(lines).clone()
}

fn hosts(url: &str) -> Vec<(String, u16)> {
    postgres(&format!("url = {url:?}")).hosts.into_iter().map(|PostgresHost { host, port }| (host, port)).collect()
}

#[test]
fn without_a_database_metadata_is_in_the_folders() {
    let configuration = read_text("").expect("the defaults");
    assert!(configuration.metadata.postgres().is_none());
    assert!(configuration.describe().contains("\n# metadata: SQLite inside each storage folder\n"));
}

#[test]
fn a_url_is_taken_apart_and_shown_without_its_password() {
    let configuration =
        read_text("metadata.url = \"postgresql://ro%40bot:hunter2%2F@db.corp/regis%20try?sslmode=require\"");
    let configuration = configuration.expect("it is whole");
    let database = configuration.metadata.postgres().expect("a database");
    assert_eq!((database.user.as_str(), database.database.as_str()), ("ro@bot", "regis try"));
    assert_eq!(database.password.as_ref().map(ExposeSecret::expose_secret), Some("hunter2/"));
    assert_eq!(database.tls, PostgresTls::Verified);
    let shown = configuration.describe();
    assert!(
        shown.contains(
            "url = \"postgres://ro%40bot@db.corp:5432/regis%20try?sslmode=verify-full\"\npassword = \"***\"\n"
        ),
        "{shown}"
    );
    assert!(!format!("{configuration:?}{shown}").contains("hunter2"));
}

#[test]
fn a_database_may_have_several_hosts_or_be_on_this_machine() {
    let row = |host: &str, port| (host.to_owned(), port);
    assert_eq!(hosts("postgres://u@h/d"), [row("h", 5432)]);
    assert_eq!(hosts("postgres://u@a:1,b.corp,c:65535/d"), [row("a", 1), row("b.corp", 5432), row("c", 65535)]);
    assert_eq!(hosts("postgres://u@10.0.0.7:6432/d"), [row("10.0.0.7", 6432)]);
    assert_eq!(hosts("postgres://u@[::1]:6432,[fd00::7]/d"), [row("::1", 6432), row("fd00::7", 5432)]);
    assert_eq!(hosts("postgres://u@%2Frun%2Fpostgresql/d"), [row("/run/postgresql", 5432)]);
    for url in ["postgres://u@a:1,b:5432/d", "postgres://u@[::1]:6432/d", "postgres://u@%2Frun%2Fpostgresql:5433/d"] {
        let shown = read_text(&format!("metadata.url = {url:?}")).expect(url).describe();
        assert!(shown.contains(&format!("url = \"{url}?sslmode=prefer\"\n")), "{url} is shown in\n{shown}");
    }
}

#[test]
fn tls_is_what_the_url_says_or_what_certificates_are_there_for() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\n").expect("a file");
    let read = |mode: &str, ca: &str| {
        let text = format!("[metadata]\nurl = \"postgres://u@h/d{mode}\"\n{ca}");
        std::fs::write(folder.path().join(FILE_NAME), text).expect("a file");
        load(folder.path(), None).map_err(|error| error.to_string())
    };
    let ca = "ca = \"ca.pem\"";
    let rows = [
        ("", "", PostgresTls::Prefer),
        ("?sslmode=disable", "", PostgresTls::Disable),
        ("?sslmode=prefer", "", PostgresTls::Prefer),
        ("?sslmode=require", "", PostgresTls::Verified),
        ("?sslmode=verify-full", ca, PostgresTls::Verified),
        ("", ca, PostgresTls::Verified),
    ];
    for (mode, ca, expected) in rows {
        let configuration = read(mode, ca).expect(mode);
        let database = configuration.metadata.postgres().expect("a database");
        assert_eq!((database.tls, database.ca.is_some()), (expected, !ca.is_empty()), "{mode} {ca}");
    }
    assert!(read("", ca).expect("it is whole").describe().contains("# ca: 1 certificate\n"));
    for mode in ["disable", "prefer"] {
        let problems = read(&format!("?sslmode={mode}"), ca).expect_err(mode);
        let expected = format!(
            "configuration.toml:3:6: `metadata.ca` is written beside sslmode={mode} in `metadata.url`, with which no certificate is \
             verified: write sslmode=verify-full"
        );
        assert_eq!(problems, expected);
    }
}

#[test]
fn a_url_that_is_none_is_refused_and_not_repeated() {
    let rows = [
        ("mysql://u:hunter2@h/d", "something else"),
        ("sqlite:hunter2", "something else"),
        ("", "something else"),
        ("postgres://h:1/hunter2", "a URL without a user"),
        ("postgres://:hunter2@h/d", "a URL without a user"),
        ("postgres://u:hunter2@h", "a URL without a database, or with more than its name"),
        ("postgres://u:hunter2@h/", "a URL without a database, or with more than its name"),
        ("postgres://u:hunter2@h/d/e", "a URL without a database, or with more than its name"),
        ("postgres://u:hunter2@/d", "a URL without a host, or with one that is none"),
        ("postgres://u:hunter2@a,,b/d", "a URL without a host, or with one that is none"),
        ("postgres://u:hunter2@a:0/d", "a URL without a host, or with one that is none"),
        ("postgres://u:hunter2@a:65536/d", "a URL without a host, or with one that is none"),
        ("postgres://u:hunter2@a:/d", "a URL without a host, or with one that is none"),
        ("postgres://u:hunter2@a b/d", "a URL without a host, or with one that is none"),
        ("postgres://u:hunter2@[::1/d", "a URL without a host, or with one that is none"),
        ("postgres://u:hunter2@[::1]x/d", "a URL without a host, or with one that is none"),
        ("postgres://u:hunter2@[fe80]/d", "a URL without a host, or with one that is none"),
        ("postgres://u:hunter2@h/d?sslmode=verify-ca", "a URL with an sslmode that is not known"),
        ("postgres://u:hunter2@h/d?sslmode=", "a URL with an sslmode that is not known"),
        ("postgres://u:hunter2@h/d?host=x", "a URL with a parameter other than sslmode"),
        ("postgres://u:hunter2@h/d?", "a URL with a parameter other than sslmode"),
        ("postgres://u:hunter2@h/d?sslmode=prefer&sslmode=disable", "a URL with a parameter other than sslmode"),
        ("postgres://u:hunter2%FF@h/d", "a URL with characters that are none"),
        ("postgres://u:hunter2%00@h/d", "a URL with characters that are none"),
    ];
    for (url, found) in rows {
        let expected =
            format!("configuration.toml:2:7: `metadata.url` is {found}; allowed: postgres://USER@HOST/DATABASE");
        problem(&format!("[metadata]\nurl = {url:?}"), &expected);
    }
    let hosts = vec!["a"; 17].join(",");
    problem(&format!("metadata.url = \"postgres://u@{hosts}/d\""), "is a URL with more than 16 hosts");
    problem("[metadata]\nurl = 5", "`metadata.url` is a number; allowed");
    problem(
        "[metadata]\nconnections_max = 5",
        "configuration.toml:1:1: `metadata.url` is missing; allowed: postgres://",
    );
    // Buckets have their metadata where the table says; that the table is wrong is told once.
    problem("registry_storage = \"s3://bucket\"\n[metadata]\nurl = \"x\"", "`metadata.url` is something else");
}

#[test]
fn the_password_has_one_place() {
    let password = |lines: &str| {
        let database = postgres(&format!("url = \"postgres://u@h/d\"\n{lines}"));
        database.password.map(|password| password.expose_secret().to_owned())
    };
    assert_eq!(password(""), None);
    assert_eq!(password("password = \"hunter2\""), Some("hunter2".to_owned()));
    assert_eq!(password("password_env = \"TOKEN\""), Some("from the environment".to_owned()));
    for key in ["password = \"x\"", "password_file = \"x\"", "password_env = \"TOKEN\""] {
        let name = key.split(' ').next().expect("a key");
        problem(
            &format!("[metadata]\nurl = \"postgres://u:hunter2@h/d\"\n{key}"),
            &format!(
                "configuration.toml:3:{}: `metadata.{name}` is written beside `url`: one of the two is enough",
                name.len() + 4
            ),
        );
    }
    let url = "[metadata]\nurl = \"postgres://u@h/d\"\n";
    problem(
        &format!("{url}password = \"hunter2\"\npassword_env = \"TOKEN\""),
        "`metadata.password_env` is written beside `password`",
    );
    problem(
        &format!("{url}password_file = \"/no\""),
        "`metadata.password_file` names the file /no, which cannot be read",
    );
    problem(&format!("{url}password_env = \"NONE\""), "`metadata.password_env` names the environment variable NONE");
    problem(&format!("{url}password = \"\""), "`metadata.password` is empty");
}

#[test]
fn limits_and_names_are_within_what_a_database_takes() {
    let url = "url = \"postgres://u@h/d\"\n";
    let default = postgres(url);
    assert_eq!(
        (default.connections_max, default.acquire_timeout, default.statement_timeout),
        (16, Duration::from_secs(5), Duration::from_secs(10))
    );
    assert_eq!(
        (default.registry_schema().as_str(), default.proxy_schema().as_str()),
        ("entrepot_registry", "entrepot_proxy")
    );
    let other = postgres(&format!(
        "{url}connections_max = 2\nacquire_timeout = \"1s\"\nstatement_timeout = \"1h\"\nschema_prefix = \"team_1\""
    ));
    assert_eq!(
        (other.connections_max, other.acquire_timeout, other.statement_timeout),
        (2, Duration::from_secs(1), Duration::from_hours(1))
    );
    assert_eq!(other.registry_schema(), "team_1_registry");
    for (line, expected) in [
        ("connections_max = 1", "`metadata.connections_max` is the number 1; allowed: a whole number from 2 to 1000"),
        ("connections_max = 1001", "`metadata.connections_max` is the number 1001; allowed"),
        ("acquire_timeout = \"0s\"", "`metadata.acquire_timeout` is \"0s\"; allowed: a duration from \"1s\" on"),
        ("statement_timeout = \"x\"", "`metadata.statement_timeout` is \"x\"; allowed: a duration from \"1s\" on"),
        ("schema_prefix = \"\"", "`metadata.schema_prefix` is \"\"; allowed: 1 to 50 lower-case letters"),
        ("schema_prefix = \"1a\"", "`metadata.schema_prefix` is \"1a\"; allowed"),
        ("schema_prefix = \"Team\"", "`metadata.schema_prefix` is \"Team\"; allowed"),
        ("schema_prefix = \"pg_x\"", "`metadata.schema_prefix` is \"pg_x\"; allowed"),
        ("schema_prefix = \"a;b\"", "`metadata.schema_prefix` is \"a;b\"; allowed"),
    ] {
        problem(&format!("[metadata]\n{url}{line}"), expected);
    }
    let long = "a".repeat(51);
    problem(&format!("[metadata]\n{url}schema_prefix = {long:?}"), "`metadata.schema_prefix` is");
}

#[test]
fn a_database_that_is_not_verified_is_warned_about_unless_it_is_here() {
    for (url, is_warned) in [
        ("postgres://u@db.corp/d", true),
        ("postgres://u@db.corp/d?sslmode=disable", true),
        ("postgres://u@127.0.0.1,db.corp/d", true),
        ("postgres://u@db.corp/d?sslmode=require", false),
        ("postgres://u@127.0.0.1,[::1],localhost/d", false),
        ("postgres://u@%2Frun%2Fpostgresql/d?sslmode=disable", false),
    ] {
        let warnings = read_text(&format!("metadata.url = {url:?}")).expect(url).warnings();
        let keys: Vec<_> = warnings.iter().map(|warning| warning.key).collect();
        assert_eq!(keys, vec!["metadata.url"; usize::from(is_warned)], "{url}");
    }
}

#[test]
fn a_secret_in_a_file_that_everybody_can_read_is_warned_about() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(FILE_NAME);
    std::fs::write(folder.path().join("secret"), "hunter2\n").expect("a file");
    let url = "metadata.url = \"postgres://u@localhost/d\"\n";
    let rows = [
        (url.to_owned(), None),
        (format!("{url}metadata.password = \"hunter2\""), Some("metadata.password")),
        ("metadata.url = \"postgres://u:hunter2@localhost/d\"".to_owned(), Some("metadata.url")),
        (format!("{url}metadata.password_file = \"secret\""), None),
        (
            "storage.s3.access_key_id = \"a\"\nstorage.s3.secret_access_key = \"hunter2\"".to_owned(),
            Some("storage.s3.secret_access_key"),
        ),
        ("[[proxy.upstream]]\nname = \"a\"\npassword = \"hunter2\"".to_owned(), Some("proxy.upstream.password")),
    ];
    for (text, key) in rows {
        std::fs::write(&path, &text).expect("a file");
        for mode in [0o600, 0o640, 0o644] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
            let warnings = load(folder.path(), None).expect(&text).warnings();
            let found: Vec<_> = warnings.iter().map(|warning| warning.key).collect();
            assert_eq!(found, Vec::from_iter(key.filter(|_| mode == 0o644)), "{text} {mode:o}");
            assert!(!format!("{warnings:?}").contains("hunter2"), "{warnings:?}");
        }
    }
}
