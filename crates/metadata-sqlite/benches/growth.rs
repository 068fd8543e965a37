//! What look-ups, pages and pushes cost in a store of 100, of 10,000 and of 1,000,000 tags, manifests, blobs, referrers and
//! repositories: the same, or somebody reads what he does not answer.
//!
//! A store is filled when the first of its lines is measured; the largest takes a minute of processor time and 2.5 GB in the temporary
//! folder. `cargo bench -p entrepot-metadata-sqlite --bench growth -- '/100$|/10000$'` leaves it out. `filling.sql` also fills the
//! database of a server that is not running, for measurements over HTTP.

use std::cell::{OnceCell, RefCell};
use std::path::Path;

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use entrepot_metadata::{
    ManifestPush, MetadataStore, MissingOr, Page, PushOutcome, ReferenceCheck, TagCondition, Timestamp,
};
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_oci::{Algorithm, Digest, Manifest, RepositoryName, Tag};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const COUNTS: [u32; 3] = [100, 10_000, 1_000_000];

/// The entries of a page.
const PAGE: usize = 100;

/// A store that was filled, and the end of whose tags, digests and names is drawn from the same numbers as by `filling.sql`.
struct Filled {
    store: SqliteStore,
    count: u32,
    drawn: u32,
    runtime: Runtime,
    _folder: TempDir,
}

impl Filled {
    fn new(count: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entrepot.sqlite");
        drop(SqliteStore::open(&path).unwrap());
        fill(&path, count);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { store: SqliteStore::open(&path).unwrap(), count, drawn: 0, runtime, _folder: folder }
    }

    /// One of the numbers up to the count, which are all met before any comes again, in no order.
    fn draw(&mut self) -> u32 {
        // 7,919 has no factor in common with a power of ten.
        self.drawn = (self.drawn + 7919) % self.count;
        self.drawn + 1
    }

    fn answer<T>(&self, look_up: impl Future<Output = T>) -> T {
        self.runtime.block_on(look_up)
    }
}

fn fill(path: &Path, count: u32) {
    let connection = Connection::open(path).unwrap();
    connection.execute("CREATE TEMP TABLE filling AS SELECT ?1 AS count", [count]).unwrap();
    connection.execute_batch(include_str!("filling.sql")).unwrap();
}

fn repository() -> RepositoryName {
    "growth/app".parse().unwrap()
}

fn tag(number: u32) -> Tag {
    format!("v{number:07}").parse().unwrap()
}

fn spread(number: u32, factor: u32) -> Digest {
    format!("sha256:{:08x}{number:056x}", number.wrapping_mul(factor)).parse().unwrap()
}

fn manifest(number: u32) -> Digest {
    spread(number, 2_654_435_761)
}

fn blob(number: u32) -> Digest {
    spread(number, 2_246_822_519)
}

/// One line of the report for each size of the store.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    stores: &[OnceCell<RefCell<Filled>>],
    name: &str,
    mut work: impl FnMut(&mut Filled),
) {
    for (store, count) in stores.iter().zip(COUNTS) {
        group.bench_function(BenchmarkId::new(name, count), |bencher| {
            let mut store = store.get_or_init(|| Filled::new(count).into()).borrow_mut();
            bencher.iter(|| work(&mut store));
        });
    }
}

fn growth(criterion: &mut Criterion) {
    let stores = COUNTS.map(|_| OnceCell::new());
    let name = repository();
    let mut group = criterion.benchmark_group("growth");
    measure(&mut group, &stores, "manifest by tag", |filled| {
        let tag = tag(filled.draw());
        assert!(filled.answer(filled.store.tagged_manifest(&name, &tag)).unwrap().is_some());
    });
    measure(&mut group, &stores, "manifest by digest", |filled| {
        let digest = manifest(filled.draw());
        assert!(filled.answer(filled.store.manifest(&name, &digest)).unwrap().is_some());
    });
    measure(&mut group, &stores, "blob", |filled| {
        let digest = blob(filled.draw());
        assert!(filled.answer(filled.store.blob(&name, &digest)).unwrap().is_some());
    });
    measure(&mut group, &stores, "page of tags", |filled| {
        // Of the smallest store as well, every page is a full one.
        let page = Page { after: Some(tag(filled.draw().min(filled.count - 100))), limit: PAGE };
        let MissingOr::Found(tags) = filled.answer(filled.store.tags(&name, &page)).unwrap() else { panic!("missing") };
        assert_eq!(tags.len(), PAGE);
    });
    measure(&mut group, &stores, "page of the catalog", |filled| {
        let number = filled.draw().min(filled.count - 100);
        let after = Some(format!("growth/repository-{number:07}").parse().unwrap());
        let names = filled.answer(filled.store.repositories(&Page { after, limit: PAGE })).unwrap();
        assert_eq!(names.len(), PAGE);
    });
    measure(&mut group, &stores, "page of referrers", |filled| {
        let subject = format!("sha256:{:064x}", 0).parse().unwrap();
        // A page from the first half is a full one; of the smallest store it is all of it.
        let number = if filled.count == COUNTS[0] { 0 } else { filled.draw().wrapping_mul(2_654_435_761) / 2 };
        let after = Some(format!("sha256:{number:08x}{:056x}", 0).parse().unwrap());
        let page = Page { after, limit: PAGE };
        let referrers = filled.answer(filled.store.referrers(&name, &subject, None, &page)).unwrap();
        assert_eq!(referrers.len(), PAGE);
    });
    let mut pushed = 0_u64;
    measure(&mut group, &stores, "push", |filled| {
        pushed += 1;
        let push = push_of(&name, pushed, &blob(filled.draw()));
        assert_eq!(filled.answer(filled.store.push_manifest(push)).unwrap(), PushOutcome::Stored);
    });
    group.finish();
}

/// An image that nobody has pushed before, of blobs that are there, under a tag of its own.
fn push_of(repository: &RepositoryName, number: u64, blob: &Digest) -> ManifestPush {
    let document = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","annotations":{{"n":"{number}"}},
        "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{blob}","size":4096}},"layers":[]}}"#
    );
    let digest = Algorithm::Sha256.digest(document.as_bytes());
    ManifestPush {
        repository: repository.clone(),
        digest,
        manifest: Manifest::parse(Bytes::from(document), None).unwrap(),
        tags: vec![format!("pushed-{number}").parse().unwrap()],
        references: ReferenceCheck::Required,
        unmovable: Vec::new(),
        may_create_tags: true,
        condition: TagCondition::None,
        now: Timestamp::from_milliseconds(0),
    }
}

criterion_group!(benches, growth);
criterion_main!(benches);
