//! Which commits are under way and how many there were, for those who remember what they have read.
//!
//! Repositories share a few hundred counters, by their names. Before a commit the writer counts it as begun for the repositories that it
//! may change, and behind it as ended, before anybody is answered. So who has read while nothing was under way, and finds later that
//! nothing has begun since, knows what the database would say at that moment without asking it. A repository that shares its
//! counter with another one is only asked for more often than it had to be. One more counter is for the whole database.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use entrepot_oci::RepositoryName;

/// The counters: 4 KiB, and so few names share one that a push hardly ever has others read anew.
const COUNTERS: usize = 256;

/// What a write may change of manifests, tags and links of blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// None of them: uploads, uses, pins, credentials and keys.
    Nothing,
    /// Those of one repository.
    Of(RepositoryName),
    /// Those of any.
    Anything,
}

/// The commits that were begun and have ended.
#[derive(Debug)]
pub(crate) struct Commits {
    names: RandomState,
    counters: Box<[Counter]>,
    all: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Counter {
    /// How many commits there were, unless one is under way.
    fn still(&self) -> Option<u64> {
        // In this order: what has ended by the first look is all that had begun by the second one.
        let ended = self.ended.load(Ordering::SeqCst);
        let begun = self.begun.load(Ordering::SeqCst);
        (ended == begun).then_some(begun)
    }
}

/// A moment at which no commit was under way for a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Still {
    counter: usize,
    begun: u64,
}

impl Default for Commits {
    fn default() -> Self {
        let counters = (0..COUNTERS).map(|_| Counter::default()).collect();
        Self { names: RandomState::new(), counters, all: Counter::default() }
    }
}

impl Commits {
    /// Notes that a commit follows which carries these changes. Until [`end`](Self::end) nobody can tell which state he would read.
    pub(crate) fn begin<'a>(&self, changes: impl IntoIterator<Item = &'a Changes>) {
        self.each(changes, |counter| _ = counter.begun.fetch_add(1, Ordering::SeqCst));
    }

    /// Notes that the commit is there for every reader, or that there will be none.
    pub(crate) fn end<'a>(&self, changes: impl IntoIterator<Item = &'a Changes>) {
        self.each(changes, |counter| _ = counter.ended.fetch_add(1, Ordering::SeqCst));
    }

    /// This moment, unless a commit is under way that may change the repository. What is read from now on is not older.
    pub(crate) fn still(&self, repository: &str) -> Option<Still> {
        let counter = self.counter(repository);
        self.counters[counter].still().map(|begun| Still { counter, begun })
    }

    /// The state of the whole database, unless it is about to change: two that are equal are the same one.
    pub(crate) fn state(&self) -> Option<u64> {
        self.all.still()
    }

    /// Whether the repository is as it was at that moment: no commit that may change it has begun since.
    pub(crate) fn is_still(&self, moment: Still) -> bool {
        self.counters[moment.counter].begun.load(Ordering::SeqCst) == moment.begun
    }

    fn each<'a>(&self, changes: impl IntoIterator<Item = &'a Changes>, count: impl Fn(&Counter)) {
        count(&self.all);
        for change in changes {
            match change {
                Changes::Nothing => {}
                Changes::Of(repository) => count(&self.counters[self.counter(repository.as_str())]),
                Changes::Anything => self.counters.iter().for_each(&count),
            }
        }
    }

    fn counter(&self, repository: &str) -> usize {
        usize::try_from(self.names.hash_one(repository) % COUNTERS as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_still_while_a_commit_is_under_way_and_nothing_is_as_it_was_after_it() {
        let commits = Commits::default();
        let (app, other): (RepositoryName, RepositoryName) =
            ("team/app".parse().unwrap(), "team/other".parse().unwrap());
        for change in [Changes::Of(app.clone()), Changes::Anything] {
            let before = commits.still(app.as_str()).unwrap();
            assert!(commits.is_still(before));
            // Two of the same repository in one commit are two.
            let group = [change.clone(), Changes::Nothing, change];
            commits.begin(&group);
            assert!(!commits.is_still(before));
            assert_eq!(commits.still(app.as_str()), None);
            commits.end(&group);
            assert!(!commits.is_still(before));
            assert!(commits.is_still(commits.still(app.as_str()).unwrap()));
        }
        let (moment, state) = (commits.still(other.as_str()).unwrap(), commits.state().unwrap());
        commits.begin(&[Changes::Nothing]);
        assert!(commits.is_still(moment));
        assert_eq!(commits.state(), None);
        commits.end(&[Changes::Nothing]);
        assert_ne!(commits.state(), Some(state), "other rows have changed");
        let apart = (0..).map(|number| format!("team/{number}").parse::<RepositoryName>().unwrap());
        let apart = apart.into_iter().find(|name| commits.counter(name.as_str()) != moment.counter).unwrap();
        commits.begin(&[Changes::Of(apart)]);
        assert!(commits.is_still(moment), "a push elsewhere");
    }
}
