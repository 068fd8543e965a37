//! Schemas: two in one database, many processes that start at once, and versions that differ.

use std::sync::Arc;

use bytes::Bytes;
use entrepot_metadata::{
    Announcement, BlobLink, Error, ManifestPush, MetadataStore, Page, ProtectedTags, PushOutcome, ReferenceCheck,
    TagCondition, Timestamp,
};
use entrepot_metadata_postgres::{OpenError, PostgresConfig, PostgresStore};
use entrepot_oci::{Algorithm, Manifest, MediaType, RepositoryName, Tag};
use futures_util::StreamExt as _;
use tokio::task::JoinSet;

use crate::server::{SERVER, config, store};

const NOW: Timestamp = Timestamp::from_milliseconds(1_700_000_000_000);

fn app() -> RepositoryName {
    "team/app".parse().unwrap()
}

fn blob() -> BlobLink {
    BlobLink { digest: Algorithm::Sha256.digest(b"a"), size: 1 }
}

fn database(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schemas_of_one_database_know_nothing_of_each_other() {
    let url = SERVER.database();
    let (one, other) = (store(&url, "entrepot_registry").await, store(&url, "entrepot_proxy").await);
    let (mut heard, mut unheard) = (one.announcements(), other.announcements());
    one.link_blob(&app(), &blob(), NOW).await.unwrap();
    assert_eq!(other.blob(&app(), &blob().digest).await.unwrap(), None);
    assert!(!other.repository_exists(&app()).await.unwrap());
    one.announce("a topic", "for one").await.unwrap();
    other.announce("a topic", "for the other").await.unwrap();
    let said = |text: &str| Announcement::Said { topic: "a topic".to_owned(), text: text.to_owned() };
    assert_eq!(heard.next().await, Some(said("for one")));
    assert_eq!(unheard.next().await, Some(said("for the other")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_make_one_schema_and_share_it() {
    let url = Arc::new(SERVER.database());
    let mut starts = JoinSet::new();
    for _ in 0..8 {
        let url = Arc::clone(&url);
        starts.spawn(async move { store(&url, "entrepot").await });
    }
    let stores = starts.join_all().await;
    let mut heard: Vec<_> = stores.iter().map(PostgresStore::announcements).collect();
    stores[0].link_blob(&app(), &blob(), NOW).await.unwrap();
    stores[0].announce("linked", "a").await.unwrap();
    let said = Announcement::Said { topic: "linked".to_owned(), text: "a".to_owned() };
    for (store, heard) in stores.iter().zip(&mut heard) {
        assert_eq!(heard.next().await.as_ref(), Some(&said));
        assert_eq!(store.blob(&app(), &blob().digest).await.unwrap(), Some(blob()));
        assert!(store.is_shared());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_used_as_long_as_it_says_so_and_refused_otherwise() {
    let url = SERVER.database();
    drop(store(&url, "entrepot").await);
    let ask = |statement: &str| SERVER.query(database(&url), &format!("SET search_path = entrepot; {statement}"));
    let known: i32 = ask("SELECT max(version) FROM schema_versions").parse().unwrap();

    // One version ahead, by a step that this program can do without.
    ask(&format!("INSERT INTO schema_versions VALUES ({}, {known}, now())", known + 1));
    let older = store(&url, "entrepot").await;
    older.link_blob(&app(), &blob(), NOW).await.unwrap();
    drop(older);

    ask(&format!("INSERT INTO schema_versions VALUES ({}, {}, now())", known + 2, known + 1));
    let before = ask("SELECT * FROM schema_versions ORDER BY version");
    let error = PostgresStore::open(&config(&url, "entrepot")).await.unwrap_err();
    let OpenError::NewerSchema { found, readable_from, known: own, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*found, *readable_from, *own), (known + 2, known + 1, known));
    let text = error.to_string();
    for part in [format!("version {}", known + 2), format!("version {known}"), "start the later program".to_owned()] {
        assert!(text.contains(&part), "{text}");
    }
    assert_eq!(ask("SELECT * FROM schema_versions ORDER BY version"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_opened_is_said_without_secrets() {
    let url = SERVER.database();
    SERVER.query(database(&url), "CREATE SCHEMA theirs; CREATE TABLE theirs.things (a int)");
    let error = PostgresStore::open(&config(&url, "theirs")).await.unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    assert_eq!(SERVER.query(database(&url), "SELECT count(*) FROM pg_class WHERE relname = 'schema_versions'"), "0");

    let wrong = PostgresConfig { password: Some("wrong".into()), ..config(&url, "entrepot") };
    let error = PostgresStore::open(&wrong).await.unwrap_err();
    assert!(matches!(error, OpenError::Connect { .. }), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1") && !format!("{error:?}").contains(SERVER.password()), "{error:?}");

    // A server that offers no TLS to who insists on it.
    let insisting = config(&format!("{url}?sslmode=verify-full"), "entrepot");
    let error = PostgresStore::open(&insisting).await.unwrap_err();
    assert!(matches!(error, OpenError::Connect { .. }), "{error:?}");

    // One that is left as it was made for us, without the right to make schemas.
    SERVER
        .query(database(&url), "CREATE ROLE careful LOGIN PASSWORD 'x'; CREATE SCHEMA entrepot AUTHORIZATION careful");
    let careful = url.replace(url.split('@').next().unwrap(), "postgres://careful:x");
    store(&careful, "entrepot").await.link_blob(&app(), &blob(), NOW).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_told_and_never_taken_for_absence() {
    let url = SERVER.database();
    let store = store(&url, "entrepot").await;
    store.link_blob(&app(), &blob(), NOW).await.unwrap();
    let meddle = |statement: &str| SERVER.query(database(&url), &format!("SET search_path = entrepot; {statement}"));
    meddle("INSERT INTO repositories (name, created_at) VALUES ('No Name', 1)");
    let error = store.repositories(&Page { after: None, limit: 9 }).await.unwrap_err();
    assert!(matches!(&error, Error::Corrupt { what } if what == "repositories.name holds \"No Name\""), "{error:?}");
    // An entry that cannot go is damage, and no endless work.
    meddle("UPDATE entries SET manifest = 7");
    let error = store.forget(&app(), None).await.unwrap_err();
    assert!(matches!(&error, Error::Corrupt { what } if what.starts_with("entries.digest holds")), "{error:?}");
    assert_eq!(store.blob(&app(), &blob().digest).await.unwrap(), Some(blob()));
}

/// What a request costs: one way to the server, whatever it asks and whatever it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_one_statement_each() {
    let store = store(&SERVER.database(), "entrepot").await;
    let media_type = MediaType::OCI_INDEX.parse().unwrap();
    let bytes = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
    let manifest = Manifest::parse(bytes, Some(&media_type)).unwrap();
    let digest = manifest.digest(Algorithm::Sha256);
    let latest: Tag = "latest".parse().unwrap();
    let push = ManifestPush {
        repository: app(),
        digest: digest.clone(),
        manifest,
        tags: vec![latest.clone()],
        references: ReferenceCheck::Required,
        unmovable: vec![latest.clone()],
        may_create_tags: true,
        condition: TagCondition::Absent,
        now: NOW,
    };
    let (name, page) = (app(), Page { after: None, limit: 9 });
    let statements = || store.metrics().statements.get();
    let none = ProtectedTags::default();
    let before = statements();
    store.link_blob(&name, &blob(), NOW).await.unwrap();
    assert_eq!(store.push_manifest(push).await.unwrap(), PushOutcome::Stored);
    store.tagged_manifest(&name, &latest).await.unwrap().unwrap();
    store.manifest(&name, &digest).await.unwrap().unwrap();
    store.blob(&name, &blob().digest).await.unwrap().unwrap();
    store.tags(&name, &page).await.unwrap();
    store.delete_tag(&name, &latest, &none).await.unwrap();
    store.delete_manifest(&name, &digest, &none).await.unwrap();
    store.unlink_blob(&name, &blob().digest, &none).await.unwrap();
    assert_eq!(statements() - before, 9);
}
