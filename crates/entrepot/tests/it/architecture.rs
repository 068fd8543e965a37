//! The edges between crates, as ARCHITECTURE.md draws them: whoever adds one that is not there is told why it is not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a crate may depend on of ours, what it must not know of others, and why.
struct Rule {
    name: &'static str,
    ours: &'static [&'static str],
    banned: &'static [&'static str],
    reason: &'static str,
}

const HTTP_SERVERS: &[&str] = &["axum", "hyper", "hyper-util", "tower", "tower-http"];
const SQL: &[&str] = &["rusqlite", "libsqlite3-sys", "sqlx", "tokio-postgres"];

const RULES: &[Rule] = &[
    Rule {
        name: "oci",
        ours: &[],
        banned: &["tokio", "futures-util", "http", "reqwest", "rusqlite", "axum", "hyper"],
        reason: "the specification as types has no I/O and no async",
    },
    Rule {
        name: "blobs",
        ours: &["oci"],
        banned: &["http", "reqwest", "axum", "hyper", "rusqlite", "sqlx", "object_store"],
        reason: "bytes are stored without knowing HTTP, SQL or S3",
    },
    Rule {
        name: "blobs-object",
        ours: &["oci", "blobs"],
        banned: &["axum", "hyper", "rusqlite", "sqlx", "tokio-postgres"],
        reason: "a store knows its client and its contract",
    },
    Rule {
        name: "metadata",
        ours: &["oci"],
        banned: &["rusqlite", "sqlx", "axum", "hyper", "reqwest"],
        reason: "the contract knows no SQL driver, no HTTP and no blobs",
    },
    Rule {
        name: "metadata-sqlite",
        ours: &["oci", "metadata"],
        banned: &["axum", "hyper", "reqwest", "tokio-postgres", "sqlx"],
        reason: "a store knows its database and its contract",
    },
    Rule {
        name: "metadata-postgres",
        ours: &["oci", "metadata"],
        banned: &["axum", "hyper", "reqwest", "rusqlite", "sqlx"],
        reason: "a store knows its database and its contract",
    },
    Rule {
        name: "upstream",
        ours: &["oci"],
        banned: &["axum", "rusqlite", "sqlx"],
        reason: "the client of other registries keeps nothing and serves nothing",
    },
    Rule {
        name: "access",
        ours: &["oci", "metadata", "upstream"],
        banned: &["axum", "hyper", "http", "reqwest", "rusqlite", "sqlx"],
        reason: "who may do what is decided without HTTP and SQL",
    },
    Rule {
        name: "registry",
        ours: &["oci", "blobs", "metadata", "upstream"],
        banned: &["axum", "hyper", "http", "reqwest", "rusqlite", "sqlx", "object_store"],
        reason: "the domain never sees a header, a SQL statement or an HTTP client",
    },
    Rule {
        name: "server",
        ours: &["oci", "blobs", "metadata", "upstream", "access", "registry"],
        banned: &["rusqlite", "sqlx", "object_store", "reqwest"],
        reason: "HTTP is a skin: it knows the domain and no back end",
    },
    Rule {
        name: "entrepot",
        ours: &[
            "oci",
            "blobs",
            "blobs-object",
            "metadata",
            "metadata-sqlite",
            "metadata-postgres",
            "upstream",
            "access",
            "registry",
            "server",
        ],
        banned: &["rusqlite", "sqlx", "tokio-postgres", "reqwest", "object_store"],
        reason: "the binary names back ends, and leaves their drivers to them",
    },
    Rule {
        name: "testkit",
        ours: &["oci"],
        banned: &["axum", "rusqlite", "reqwest"],
        reason: "a fake upstream must not share the code it tests",
    },
];

#[test]
fn crates_depend_only_on_what_the_architecture_allows() {
    for rule in RULES {
        let dependencies = dependencies(rule.name, "dependencies");
        for ours in dependencies.iter().filter_map(|name| name.strip_prefix("entrepot-")) {
            assert!(rule.ours.contains(&ours), "{} must not depend on {ours}: {}", rule.name, rule.reason);
        }
        for banned in rule.banned {
            assert!(!dependencies.contains(*banned), "{} must not depend on {banned}: {}", rule.name, rule.reason);
        }
    }
}

#[test]
fn every_crate_has_a_rule() {
    let ruled: BTreeSet<String> = RULES.iter().map(|rule| rule.name.to_owned()).collect();
    let present: BTreeSet<String> =
        std::fs::read_dir(crates()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(ruled, present, "a crate without a rule can grow any edge");
}

#[test]
fn only_the_server_serves_http_and_only_stores_speak_sql() {
    let normal = |name: &str| dependencies(name, "dependencies");
    for rule in RULES {
        let serves = HTTP_SERVERS.iter().any(|library| normal(rule.name).contains(*library));
        let may_serve = matches!(rule.name, "server" | "entrepot" | "testkit");
        assert!(!serves || may_serve, "{} must not serve HTTP", rule.name);
        let speaks_sql = SQL.iter().any(|library| normal(rule.name).contains(*library));
        assert!(!speaks_sql || rule.name.starts_with("metadata-"), "{} must not speak SQL", rule.name);
        assert!(!normal(rule.name).contains("entrepot-testkit"), "{} must not ship the test kit", rule.name);
    }
}

/// Cargo only warns, and only whoever builds what is given away.
#[test]
fn whatever_is_made_fast_in_what_is_given_away_is_in_the_program() {
    let workspace = crates().parent().unwrap().to_owned();
    let locked = read(&workspace.join("Cargo.lock"));
    let locked: BTreeSet<&str> =
        locked["package"].as_array().unwrap().iter().map(|package| package["name"].as_str().unwrap()).collect();
    let fast = read(&workspace.join("Cargo.toml"))["profile"]["dist"]["package"].as_table().unwrap().clone();
    let gone: Vec<&String> = fast.keys().filter(|name| !locked.contains(name.as_str())).collect();
    assert!(gone.is_empty(), "Cargo.toml makes crates fast that nothing depends on any more: {gone:?}");
    assert!(fast.contains_key("entrepot-server") && fast.contains_key("hyper"), "the way of a request is made fast");
}

fn dependencies(name: &str, table: &str) -> BTreeSet<String> {
    let manifest = read(&crates().join(name).join("Cargo.toml"));
    let table = manifest.get(table).and_then(toml::Value::as_table).cloned().unwrap_or_default();
    table.keys().cloned().collect()
}

fn read(path: &Path) -> toml::Table {
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
