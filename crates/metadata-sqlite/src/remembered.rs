//! Manifests and links of blobs that were asked for lately, in memory, and given out only while the database would say the same.
//!
//! A look-up costs a fifth of the instructions of a small answer, and every thread that looks up takes the same mutex of SQLite. Only what
//! is there is remembered: that something is not there is always the database's word.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use entrepot_metadata::{BlobLink, Error, ManifestRow};
use entrepot_oci::RepositoryName;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::changes::{Commits, Still};
use crate::limits::{REMEMBERED_BYTES_MAX, REMEMBERED_ROW_BYTES_MAX};

/// What a row costs besides its texts: its places in the cache, and what shared texts have around them.
const ROW_BYTES: usize = 256;

/// The rows that are asked for on the way of every pull.
#[derive(Debug)]
pub(crate) struct Remembered {
    commits: Arc<Commits>,
    manifests: Rows<ManifestRow>,
    links: Rows<BlobLink>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How often a row was in memory, and how often it was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounts {
    /// Look-ups that the database was spared.
    pub hits: u64,
    /// Look-ups that were made, since nothing was remembered or a write had come in between.
    pub misses: u64,
    /// The bytes that what is remembered now takes, as near as that is known.
    pub bytes: u64,
}

/// A row, and when it was read.
#[derive(Clone, Debug)]
pub(crate) struct Row<T> {
    row: T,
    read: Still,
}

/// A tag or a digest in a repository. Only the latter has a colon, so that none is taken for the other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    repository: RepositoryName,
    reference: Box<str>,
}

/// The same, borrowed for a look-up.
struct Asked<'a>(&'a str, &'a str);

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Asked(self.repository.as_str(), &self.reference).hash(state);
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl Equivalent<Name> for Asked<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        self.1 == &*name.reference && self.0 == name.repository.as_str()
    }
}

/// The rows of one kind.
type Rows<T> = Cache<Name, Row<T>, ByBytes>;

/// What can be remembered.
pub(crate) trait Memorable: Clone {
    /// Where it is remembered.
    fn rows(remembered: &Remembered) -> &Rows<Self>;

    /// The bytes of it that differ from row to row.
    fn bytes(&self) -> usize;
}

impl Memorable for ManifestRow {
    fn rows(remembered: &Remembered) -> &Rows<Self> {
        &remembered.manifests
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl Memorable for BlobLink {
    fn rows(remembered: &Remembered) -> &Rows<Self> {
        &remembered.links
    }

    fn bytes(&self) -> usize {
        0
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ByBytes;

impl<T: Memorable> Weighter<Name, Row<T>> for ByBytes {
    fn weight(&self, name: &Name, row: &Row<T>) -> u64 {
        (ROW_BYTES + name.repository.as_str().len() + name.reference.len() + row.row.bytes()) as u64
    }
}

impl Remembered {
    /// Remembers what is read between the commits that are noted in `commits`.
    pub(crate) fn new(commits: Arc<Commits>) -> Self {
        // An estimate, by which tables are made: what is remembered is bounded by its bytes.
        let rows = REMEMBERED_BYTES_MAX / (4 * ROW_BYTES);
        Self {
            commits,
            manifests: Cache::with_weighter(rows, REMEMBERED_BYTES_MAX as u64, ByBytes),
            links: Cache::with_weighter(rows, REMEMBERED_BYTES_MAX as u64, ByBytes),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(crate) fn counts(&self) -> MemoryCounts {
        MemoryCounts {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes: self.manifests.weight() + self.links.weight(),
        }
    }

    /// The row that `reference`, a tag or a digest, names in the repository, read by `look_up` unless it is remembered.
    pub(crate) fn row<T: Memorable>(
        &self,
        repository: &RepositoryName,
        reference: &str,
        look_up: impl FnOnce() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let rows = T::rows(self);
        let remembered = rows.get(&Asked(repository.as_str(), reference));
        if let Some(remembered) = remembered.filter(|remembered| self.commits.is_still(remembered.read)) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(remembered.row));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        // Before the look-up: what a commit changes meanwhile is never taken for what was there before it.
        let still = self.commits.still(repository.as_str());
        let found = look_up()?;
        if let (Some(read), Some(row)) = (still, found.as_ref().filter(|row| row.bytes() <= REMEMBERED_ROW_BYTES_MAX)) {
            let name = Name { repository: repository.clone(), reference: reference.into() };
            rows.insert(name, Row { row: row.clone(), read });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bytes::Bytes;
    use entrepot_oci::{Algorithm, MediaType};

    use super::*;
    use crate::changes::Changes;

    fn app() -> RepositoryName {
        "team/app".parse().unwrap()
    }

    fn manifest(bytes: usize) -> ManifestRow {
        let bytes = Bytes::from(vec![b'a'; bytes]);
        let digest = Algorithm::Sha256.digest(&bytes);
        ManifestRow { digest, media_type: MediaType::OCI_INDEX.parse().unwrap(), bytes }
    }

    /// A memory, and how often the database behind it was asked.
    struct Asking {
        remembered: Remembered,
        asked: Cell<u64>,
    }

    impl Asking {
        fn new() -> Self {
            Self { remembered: Remembered::new(Arc::default()), asked: Cell::new(0) }
        }

        fn ask(&self, reference: &str, answer: &ManifestRow) -> ManifestRow {
            let look_up = || {
                self.asked.set(self.asked.get() + 1);
                Ok(Some(answer.clone()))
            };
            self.remembered.row(&app(), reference, look_up).unwrap().unwrap()
        }
    }

    #[test]
    fn a_row_is_read_once_until_a_commit_may_change_it() {
        let asking = Asking::new();
        let (old, new) = (manifest(3), manifest(4));
        assert_eq!(asking.ask("latest", &old), old);
        assert_eq!(asking.ask("latest", &new), old, "remembered");
        assert_eq!(asking.ask("other", &new), new);
        let change = [Changes::Of(app())];
        asking.remembered.commits.begin(&change);
        assert_eq!(asking.ask("latest", &new), new, "while a commit is under way the database is asked");
        assert_eq!(asking.ask("latest", &old), old, "and nothing is remembered");
        asking.remembered.commits.end(&change);
        assert_eq!(asking.ask("latest", &new), new);
        assert_eq!(asking.ask("latest", &old), new, "remembered again");
        assert_eq!(asking.asked.get(), 5);
        assert_eq!(asking.remembered.counts().hits, 2);
        assert_eq!(asking.remembered.counts().misses, 5);
    }

    #[test]
    fn what_was_read_before_a_commit_and_kept_after_it_is_not_given_out() {
        let asking = Asking::new();
        let (old, new) = (manifest(3), manifest(4));
        let change = [Changes::Of(app())];
        // The reader is slow: it has the old state, and a whole commit passes before it remembers that.
        let look_up = || {
            asking.remembered.commits.begin(&change);
            asking.remembered.commits.end(&change);
            Ok(Some(old.clone()))
        };
        assert_eq!(asking.remembered.row(&app(), "latest", look_up).unwrap(), Some(old.clone()));
        assert_eq!(asking.ask("latest", &new), new);
    }

    #[test]
    fn absence_and_failure_are_never_remembered() {
        let remembered = Remembered::new(Arc::default());
        assert_eq!(remembered.row::<ManifestRow>(&app(), "latest", || Ok(None)).unwrap(), None);
        let failed = remembered.row::<ManifestRow>(&app(), "latest", || Err(Error::Unavailable("busy".into())));
        assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
        let row = manifest(3);
        assert_eq!(remembered.row(&app(), "latest", || Ok(Some(row.clone()))).unwrap(), Some(row));
    }

    #[test]
    fn memory_is_bounded_and_large_rows_stay_out_of_it() {
        let asking = Asking::new();
        let large = manifest(REMEMBERED_ROW_BYTES_MAX + 1);
        asking.ask("large", &large);
        asking.ask("large", &large);
        assert_eq!(asking.asked.get(), 2);
        let row = manifest(REMEMBERED_ROW_BYTES_MAX);
        for number in 0..4 * REMEMBERED_BYTES_MAX / REMEMBERED_ROW_BYTES_MAX {
            asking.ask(&format!("v{number}"), &row);
        }
        let bytes = asking.remembered.counts().bytes;
        assert!(bytes <= REMEMBERED_BYTES_MAX as u64, "{bytes}");
        assert!(bytes > REMEMBERED_BYTES_MAX as u64 / 2, "{bytes}");
    }
}
