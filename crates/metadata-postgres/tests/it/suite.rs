//! The suite, and that it leaves everything that is derived as it should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use entrepot_metadata::{MetadataStore, suite};

use crate::server::{SERVER, store};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_passes_and_leaves_sound_schemas() {
    let url = SERVER.database();
    let cases = AtomicUsize::new(0);
    suite::run(|case| {
        let url = url.clone();
        let number = cases.fetch_add(1, Ordering::Relaxed);
        async move {
            println!("case_{number} is {case}");
            Arc::new(store(&url, &format!("case_{number}")).await) as Arc<dyn MetadataStore>
        }
    })
    .await;
    let cases = cases.into_inner();
    assert!(cases > 90, "only {cases} cases");
    let database = url.rsplit('/').next().unwrap();
    for number in 0..cases {
        assert_sound(database, &format!("case_{number}"));
    }
}

/// What functions keep, and what it must be at any time.
const DERIVED: [(&str, &str); 3] = [
    (
        "SELECT repository, digest, manifest, used_at, is_pinned FROM entries",
        "SELECT repository, digest, manifest, used_at, is_pinned FROM manifest_entries \
         UNION ALL SELECT repository, digest, manifest, used_at, is_pinned FROM blob_entries",
    ),
    (
        "SELECT coalesce(sum(bytes), 0), coalesce(sum(blobs), 0), coalesce(sum(manifests), 0) FROM totals_changes",
        "SELECT coalesce(sum(size), 0), count(*)::numeric, (SELECT count(*) FROM manifests)::numeric FROM blobs WHERE holders > 0",
    ),
    ("SELECT digest, holders FROM blobs WHERE holders > 0", "SELECT digest, count(*) FROM blob_links GROUP BY digest"),
];

/// Asserts that there is nothing wrong with a schema that nobody writes to.
pub(crate) fn assert_sound(database: &str, schema: &str) {
    let ask = |statement: &str| SERVER.query(database, &format!("SET search_path = {schema}; {statement}"));
    for (kept, derived) in DERIVED {
        for (one, other) in [(kept, derived), (derived, kept)] {
            let difference = ask(&format!("({one}) EXCEPT ALL ({other})"));
            assert_eq!(difference, "", "{schema} differs: {one} EXCEPT ALL {other}");
        }
    }
    let unused = "SELECT count(*) FROM manifest_contents WHERE id NOT IN (SELECT content FROM manifests)";
    assert_eq!(ask(unused), "0", "{schema} keeps the bytes of manifests that nobody holds");
    let lost = "SELECT count(*) FROM manifest_references WHERE manifest NOT IN (SELECT id FROM manifests)";
    assert_eq!(ask(lost), "0", "{schema} has references of nothing");
}
