//! The database refuses, hangs, is cut off, restarts: an outage in bounded time, nothing lost, nothing done twice, and recovery alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use entrepot_metadata::{
    Announcement, BlobLink, Deletion, Error, Eviction, LeaseClaim, LeaseOutcome, ManifestPush, MetadataStore,
    ProtectedTags, PushOutcome, ReferenceCheck, TagCondition, Timestamp, UploadId, UploadRow, UploadState,
};
use entrepot_metadata_postgres::{PostgresConfig, PostgresStore};
use entrepot_oci::{Algorithm, Manifest, MediaType, RepositoryName, Tag};
use entrepot_testkit::stores::{CutMoment, CutProxy, Postgres};
use futures_util::StreamExt as _;
use tokio::task::JoinSet;

use crate::server::{SERVER, config};

const NOW: Timestamp = Timestamp::from_milliseconds(1_700_000_000_000);
const ACQUIRE: Duration = Duration::from_millis(1500);
const STATEMENT: Duration = Duration::from_secs(1);
/// What a call may take: both limits, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(8);
const LONG: Duration = Duration::from_hours(1);

fn app() -> RepositoryName {
    "team/app".parse().unwrap()
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

fn blob(text: &str) -> BlobLink {
    BlobLink { digest: Algorithm::Sha256.digest(text.as_bytes()), size: text.len() as u64 }
}

fn push(number: u32, tags: &[&str], condition: TagCondition) -> ManifestPush {
    let text = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"number":"{number}"}}}}"#);
    let media_type = MediaType::OCI_INDEX.parse().unwrap();
    let manifest = Manifest::parse(Bytes::from(text), Some(&media_type)).unwrap();
    ManifestPush {
        repository: app(),
        digest: manifest.digest(Algorithm::Sha256),
        manifest,
        tags: tags.iter().map(|name| tag(name)).collect(),
        references: ReferenceCheck::Required,
        unmovable: Vec::new(),
        may_create_tags: true,
        condition,
        now: NOW,
    }
}

/// A store behind a proxy that can be an outage, in a database of its own.
struct Behind {
    proxy: CutProxy,
    store: Arc<PostgresStore>,
}

impl Behind {
    async fn start(server: &Postgres) -> Self {
        let proxy = CutProxy::start(([127, 0, 0, 1], server.port()).into()).await;
        let url = server.database().replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
        let config = PostgresConfig {
            connections_max: 4,
            acquire_timeout: ACQUIRE,
            statement_timeout: STATEMENT,
            ..config(&url, "entrepot")
        };
        let store = Arc::new(PostgresStore::open(&config).await.unwrap());
        Self { proxy, store }
    }

    /// A look-up and a write, both of which must say that the store is unavailable, and soon.
    async fn assert_unavailable(&self) {
        let started = Instant::now();
        let name = app();
        let (latest, blob) = (tag("latest"), blob("x"));
        let (read, written) = tokio::join!(self.store.tag(&name, &latest), self.store.link_blob(&name, &blob, NOW));
        assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
        assert!(matches!(written, Err(Error::Unavailable(_))), "{written:?}");
        assert!(matches!(self.store.probe().await, Err(Error::Unavailable(_))));
        assert!(started.elapsed() < BOUND * 2, "{:?}", started.elapsed());
    }

    /// Many calls at once succeed again, over no more connections than there may be.
    async fn assert_well(&self) {
        let mut callers = JoinSet::new();
        for number in 0..32 {
            let store = Arc::clone(&self.store);
            callers.spawn(async move {
                let blob = blob(&number.to_string());
                store.link_blob(&app(), &blob, NOW).await.unwrap();
                assert_eq!(store.blob(&app(), &blob.digest).await.unwrap(), Some(blob));
            });
        }
        callers.join_all().await;
        self.store.probe().await.unwrap();
        assert!(self.store.metrics().connections.get() <= 4);
        assert_eq!(self.store.metrics().waiting.get(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_an_outage_and_ends_with_it() {
    let behind = Behind::start(&SERVER).await;
    behind.assert_well().await;
    behind.proxy.refuse().await;
    behind.assert_unavailable().await;
    behind.proxy.heal().await;
    behind.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_hangs_is_an_outage_and_ends_with_it() {
    let behind = Behind::start(&SERVER).await;
    behind.assert_well().await;
    behind.proxy.hang();
    behind.assert_unavailable().await;
    behind.proxy.heal().await;
    behind.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_were_cut_while_idle_are_not_noticed() {
    let behind = Behind::start(&SERVER).await;
    for _ in 0..3 {
        behind.assert_well().await;
        behind.proxy.cut();
        behind.assert_well().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_or_is_killed_is_waited_for() {
    let server = Postgres::start();
    let behind = Behind::start(&server).await;
    behind.assert_well().await;
    server.restart();
    behind.assert_well().await;
    server.kill();
    behind.assert_unavailable().await;
    server.restart();
    behind.assert_well().await;
}

/// What is cut, and what the answer must be whether or not the server has heard it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_whose_answer_was_lost_are_answered_by_what_happened() {
    for moment in [CutMoment::BeforeRequest, CutMoment::BeforeAnswer] {
        let behind = Behind::start(&SERVER).await;
        let (proxy, store) = (&behind.proxy, &*behind.store);
        let name = app();
        // Statements are prepared, so that what is bound is what is cut at.
        store.push_manifest(push(0, &["first"], TagCondition::None)).await.unwrap();
        let mut cuts = 0;
        let mut cut = |pattern: &str| {
            proxy.cut_at(pattern.as_bytes(), moment);
            cuts += 1;
        };

        // A push that must be the first: made twice, it would be refused because of itself.
        let once = push(1, &["once-only"], TagCondition::Absent);
        cut("once-only");
        assert_eq!(store.push_manifest(once.clone()).await.unwrap(), PushOutcome::Stored);
        assert_eq!(store.tag(&name, &tag("once-only")).await.unwrap().unwrap().digest, once.digest);
        let again = push(2, &["once-only"], TagCondition::Absent);
        assert_eq!(store.push_manifest(again).await.unwrap(), PushOutcome::ConditionFailed);

        cut("once-only");
        let deletion = store.delete_tag(&name, &tag("once-only"), &ProtectedTags::default()).await.unwrap();
        assert_eq!(deletion, Deletion::Done { tags: Vec::new() });
        assert_eq!(store.tag(&name, &tag("once-only")).await.unwrap(), None);

        let held = blob("held");
        cut(held.digest.as_str());
        store.link_blob(&name, &held, NOW).await.unwrap();
        cut(held.digest.as_str());
        let deletion = store.unlink_blob(&name, &held.digest, &ProtectedTags::by(|_| false)).await.unwrap();
        assert_eq!(deletion, Deletion::Done { tags: Vec::new() });
        assert_eq!(store.unheld_blobs(9).await.unwrap(), std::slice::from_ref(&held));

        let id = UploadId::from_random(7);
        let row = UploadRow {
            id: id.clone(),
            repository: name.clone(),
            owner: String::new(),
            algorithm: Algorithm::Sha256,
            touched_at: NOW,
        };
        cut(id.as_str());
        store.create_upload(&row, 1).await.unwrap();
        cut("a-writer");
        assert!(store.claim_upload(&id, "a-writer", LONG).await.unwrap().is_some());
        cut("a-writer");
        let state = UploadState { received: 5, state: Bytes::from_static(b"state") };
        assert!(store.release_upload(&id, "a-writer", Some(state), NOW).await.unwrap());
        store.claim_upload(&id, "a-writer", LONG).await.unwrap();
        cut("a-writer");
        assert!(store.finish_upload(&id, Some("a-writer"), &name, &held, NOW).await.unwrap());
        assert_eq!(store.upload(&id).await.unwrap(), None);

        let claim = LeaseClaim { name: "a-lease".into(), holder: "one".into(), note: String::new() };
        cut("a-lease");
        assert!(matches!(store.claim_lease(&claim, LONG).await.unwrap(), LeaseOutcome::Held { .. }));
        cut("a-lease");
        assert!(store.release_lease("a-lease", "one").await.unwrap());

        proxy.wait_for_cuts(cuts).await;
        behind.assert_well().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_cut_in_its_commit_is_looked_for() {
    for moment in [CutMoment::BeforeRequest, CutMoment::BeforeAnswer] {
        let behind = Behind::start(&SERVER).await;
        let store = &*behind.store;
        let pushed = push(1, &["latest"], TagCondition::None);
        store.push_manifest(pushed.clone()).await.unwrap();
        behind.proxy.cut_at(b"COMMIT", moment);
        // Rules make it a transaction of several statements.
        let deletion = store.delete_manifest(&app(), &pushed.digest, &ProtectedTags::by(|_| false)).await.unwrap();
        behind.proxy.wait_for_cuts(1).await;
        // Which tags went is known only where it was done again.
        let tags = if moment == CutMoment::BeforeRequest { vec![tag("latest")] } else { Vec::new() };
        assert_eq!(deletion, Deletion::Done { tags });
        assert_eq!(store.manifest(&app(), &pushed.digest).await.unwrap(), None);
        behind.assert_well().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eviction_whose_answer_was_lost_is_not_made_again() {
    let behind = Behind::start(&SERVER).await;
    let store = &*behind.store;
    for text in ["one", "two"] {
        store.link_blob(&app(), &blob(text), NOW).await.unwrap();
    }
    let one = Eviction {
        used_before: Timestamp::from_milliseconds(i64::MAX),
        bytes: u64::MAX,
        entries_max: 1,
        is_dry_run: false,
    };
    assert_eq!(store.evict(&Eviction { is_dry_run: true, ..one }).await.unwrap().len(), 1);
    // The statement is prepared: what is cut at is the time that is bound to it.
    behind.proxy.cut_at(&i64::MAX.to_be_bytes(), CutMoment::BeforeAnswer);
    let evicted = store.evict(&one).await;
    assert!(matches!(evicted, Err(Error::Unavailable(_))), "{evicted:?}");
    behind.proxy.wait_for_cuts(1).await;
    assert_eq!(store.unheld_blobs(9).await.unwrap().len(), 1, "it happened once");
    behind.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcements_that_may_have_been_missed_are_told() {
    let behind = Behind::start(&SERVER).await;
    let mut heard = behind.store.announcements();
    behind.proxy.cut();
    // Once when it is lost, and once when everything is heard again.
    assert_eq!(heard.next().await, Some(Announcement::Missed));
    assert_eq!(heard.next().await, Some(Announcement::Missed));
    behind.store.announce("a topic", "after").await.unwrap();
    let said = Announcement::Said { topic: "a topic".to_owned(), text: "after".to_owned() };
    assert_eq!(heard.next().await, Some(said.clone()));
    // A connection that is silent is lost as well.
    behind.proxy.hang();
    assert_eq!(heard.next().await, Some(Announcement::Missed));
    behind.proxy.heal().await;
    assert_eq!(heard.next().await, Some(Announcement::Missed));
    behind.store.announce("a topic", "after").await.unwrap();
    assert_eq!(heard.next().await, Some(said));
    assert_eq!(behind.store.metrics().listening.get(), 1);
}
