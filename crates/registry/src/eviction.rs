//! Eviction: how the cache is kept within its limits, and how something is made to go at once.
//!
//! What goes is decided by the metadata store, in the order of last use, a batch of entries in each transaction; hosted
//! content is in another store and is never looked at. The bytes go after each batch, by `removal.rs`, which also has
//! what a crash leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use entrepot_metadata::{Evicted, Eviction, Forgotten, Timestamp};
use entrepot_oci::TagOrDigest;
use tokio::sync::Mutex;

use crate::cache::with_prefix;
use crate::limits::{EVICTED_NAMED_MAX, EVICTION_BATCH, EVICTION_PREDICTED_MAX};
use crate::removal::Removed;
use crate::{CacheLimits, Error, EvictedEntry, EvictionOrder, EvictionReport, Registry, Repository};

/// What evictions have in common.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    /// Held by the one that runs: two at a time would each free the room that is needed once.
    turn: Mutex<()>,
    /// Whether the last one could not free enough, which is told once.
    is_stuck: AtomicBool,
}

/// Why something went, as the log says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// It was not used for as long as the configuration, or the order, says.
    Unused,
    /// The room was needed.
    Size,
    /// It was named.
    Purge,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Size => "size",
            Self::Purge => "purge",
        }
    }
}

/// What an eviction is to reach.
#[derive(Clone, Copy, Debug)]
struct Goal {
    /// What was last used before this goes in any case.
    used_before: Option<Timestamp>,
    size: Option<SizeGoal>,
}

/// Above `high` bytes, entries go until there are at most `low`.
#[derive(Clone, Copy, Debug)]
struct SizeGoal {
    high: u64,
    low: u64,
}

impl SizeGoal {
    /// What the configuration says.
    fn of(limits: &CacheLimits) -> Option<Self> {
        let size_max = limits.size_max?;
        let part = |percent: u8| u64::try_from(u128::from(size_max) * u128::from(percent) / 100).unwrap_or(u64::MAX);
        let low = part(limits.low_percent);
        Some(Self { high: part(limits.high_percent).max(low), low })
    }

    /// How many of `bytes` have to go.
    const fn excess(self, bytes: u64) -> u64 {
        if bytes > self.high { bytes - self.low } else { 0 }
    }
}

impl Goal {
    /// What the order says, and where it says nothing what the configuration does.
    fn new(order: EvictionOrder, limits: &CacheLimits, now: Timestamp) -> Self {
        let before = |unused_for| now.before(unused_for);
        if order.down_to.is_none() && order.unused_for.is_none() {
            return Self { used_before: limits.unused_for.map(before), size: SizeGoal::of(limits) };
        }
        let size = order.down_to.map(|bytes| SizeGoal { high: bytes, low: bytes });
        Self { used_before: order.unused_for.map(before), size }
    }
}

impl Registry {
    /// Evicts by the limits of `order`, or of the configuration where it names none: first what was unused for too long, then,
    /// when there is still too much, what was used least recently. Nothing that is pinned, nothing hosted.
    ///
    /// A dry run says what would go if it began now; it looks at up to 100 000 entries. It goes on when the caller leaves.
    pub async fn evict_cache(self: &Arc<Self>, order: EvictionOrder) -> Result<EvictionReport, Error> {
        let registry = Arc::clone(self);
        self.tasks.spawn(async move { registry.evict(order).await }).await.map_err(|_| Error::Interrupted)?
    }

    /// Evicts by the limits of the configuration if the cache is above its high mark: cheap when it is not.
    pub(crate) async fn evict_when_full(self: &Arc<Self>) -> Result<(), Error> {
        let totals = self.measure_cache().await?;
        let is_full = SizeGoal::of(&self.settings.cache).is_some_and(|goal| goal.excess(totals.bytes) > 0);
        if is_full {
            self.evict_cache(EvictionOrder::default()).await?;
        }
        Ok(())
    }

    async fn evict(self: Arc<Self>, order: EvictionOrder) -> Result<EvictionReport, Error> {
        let _turn = self.evictions.turn.lock().await;
        let _turn_among = self.turn_among("eviction").await?;
        // What is used now must not look unused.
        self.write_uses().await?;
        let goal = Goal::new(order, &self.settings.cache, self.clock.now());
        if order.is_dry_run {
            return self.predict(goal).await;
        }
        let mut run = Run::default();
        // What an earlier run, or an earlier process, has left.
        run.removed(self.remove_unheld().await);
        if let Some(used_before) = goal.used_before {
            self.evict_oldest(used_before, u64::MAX, Reason::Unused, &mut run).await?;
        }
        if let Some(size) = goal.size {
            let excess = size.excess(self.measure_cache().await?.bytes);
            let left = self.evict_oldest(end_of_time(), excess, Reason::Size, &mut run).await?;
            self.tell_stuck(left);
        }
        self.measure_cache().await?;
        run.outcome()
    }

    /// Evicts until so many bytes have gone; returns how many of them could not.
    async fn evict_oldest(
        &self,
        used_before: Timestamp,
        bytes: u64,
        reason: Reason,
        run: &mut Run,
    ) -> Result<u64, Error> {
        let (count, freed) = (run.report.count, run.report.freed);
        let mut left = bytes;
        let outcome = loop {
            if left == 0 || self.tasks.is_stopping() {
                break Ok(left);
            }
            let batch = Eviction { used_before, bytes: left, entries_max: EVICTION_BATCH, is_dry_run: false };
            let evicted = match self.cache.metadata.evict(&batch).await {
                Ok(evicted) => evicted,
                Err(error) => break Err(error.into()),
            };
            let is_last = evicted.len() < EVICTION_BATCH;
            left = left.saturating_sub(freed_by(&evicted));
            run.report.take(evicted);
            run.removed(self.remove_unheld().await);
            if is_last {
                break Ok(left);
            }
        };
        // Also when it did not come to its end.
        self.tell_removed(run.report.count - count, run.report.freed - freed, reason);
        outcome
    }

    /// What [`Self::evict`] would do, by what the store would do in one transaction that is undone.
    ///
    /// The entries that were unused for too long are the first of those that would have to go for the room, so where room
    /// is needed beyond them, that list has them all.
    async fn predict(&self, goal: Goal) -> Result<EvictionReport, Error> {
        let bytes = self.measure_cache().await?.bytes;
        let attempt =
            |used_before, bytes| Eviction { used_before, bytes, entries_max: EVICTION_PREDICTED_MAX, is_dry_run: true };
        let mut evicted = match goal.used_before {
            Some(used_before) => self.cache.metadata.evict(&attempt(used_before, u64::MAX)).await?,
            None => Vec::new(),
        };
        let by_age = freed_by(&evicted);
        let excess = goal.size.map_or(0, |size| size.excess(bytes.saturating_sub(by_age)));
        if excess > 0 {
            evicted = self.cache.metadata.evict(&attempt(end_of_time(), excess.saturating_add(by_age))).await?;
        }
        let mut report = EvictionReport { freed: freed_by(&evicted), ..EvictionReport::default() };
        report.take(evicted);
        Ok(report)
    }

    fn tell_removed(&self, entries: u64, bytes: u64, reason: Reason) {
        self.metrics.evictions.inc_by(entries);
        if entries > 0 {
            tracing::info!(entries, bytes, reason = reason.as_str(), "evicted from the cache");
        }
    }

    fn tell_stuck(&self, left: u64) {
        let is_stuck = left > 0 && !self.tasks.is_stopping();
        if !self.evictions.is_stuck.swap(is_stuck, Ordering::Relaxed) && is_stuck {
            tracing::warn!(
                bytes = left,
                "the cache is larger than it may be and everything left in it is pinned: unpin some, or give it more room"
            );
        }
    }
}

impl Repository {
    /// Forgets a tag or manifest of a cached repository, or everything of it, and frees the bytes that nobody else holds. It goes on
    /// when the caller leaves.
    ///
    /// # Errors
    /// [`Error::NotACache`] for a hosted repository, [`Error::NotCached`] when there is nothing of it, [`Error::Pinned`] when some
    /// of it is pinned: nothing has gone then.
    pub async fn purge(&self, reference: Option<&TagOrDigest>) -> Result<EvictionReport, Error> {
        self.cached()?;
        let (repository, reference) = (self.clone(), reference.cloned());
        let purging = async move { repository.forget(reference.as_ref()).await };
        self.registry.tasks.spawn(purging).await.map_err(|_| Error::Interrupted)?
    }

    async fn forget(&self, reference: Option<&TagOrDigest>) -> Result<EvictionReport, Error> {
        let registry = &self.registry;
        let _turn = registry.evictions.turn.lock().await;
        match registry.cache.metadata.forget(self.cached()?.cached_name(), reference).await? {
            Forgotten::Nothing => {
                let subject = reference.map_or_else(|| "its content".to_owned(), ToString::to_string);
                Err(Error::NotCached { name: self.name.clone(), subject })
            }
            Forgotten::Pinned(reference) => Err(Error::Pinned { name: self.name.clone(), reference }),
            Forgotten::Entries(evicted) => {
                self.cached()?.forget_answers(registry);
                let mut run = Run::default();
                run.report.take(evicted);
                run.removed(registry.remove_unheld().await);
                registry.tell_removed(run.report.count, run.report.freed, Reason::Purge);
                registry.measure_cache().await?;
                run.outcome()
            }
        }
    }
}

/// How far a run has come.
#[derive(Debug, Default)]
struct Run {
    report: EvictionReport,
    /// The first blob that could not be removed: no reason to end the run, and one not to call it a success.
    failure: Option<Error>,
}

impl Run {
    fn removed(&mut self, removed: Removed) {
        self.report.freed += removed.bytes;
        self.failure = self.failure.take().or(removed.failure);
    }

    fn outcome(self) -> Result<EvictionReport, Error> {
        self.failure.map_or(Ok(self.report), Err)
    }
}

impl EvictionReport {
    /// Counts entries, and names as many as a report does.
    fn take(&mut self, evicted: Vec<Evicted>) {
        self.count += evicted.len() as u64;
        let room = EVICTED_NAMED_MAX.saturating_sub(self.entries.len());
        self.entries.extend(evicted.into_iter().take(room).map(EvictedEntry::from));
    }
}

impl From<Evicted> for EvictedEntry {
    fn from(evicted: Evicted) -> Self {
        let Evicted { repository, digest, tags, freed, used_at } = evicted;
        Self { name: with_prefix(&repository), digest, tags, freed, used_at }
    }
}

fn freed_by(evicted: &[Evicted]) -> u64 {
    evicted.iter().map(|entry| entry.freed).sum()
}

/// Later than anything was used.
const fn end_of_time() -> Timestamp {
    Timestamp::from_milliseconds(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_marks_are_parts_of_the_size_and_an_order_replaces_them() {
        let limits = CacheLimits { size_max: Some(1000), high_percent: 90, low_percent: 80, ..CacheLimits::default() };
        let marks = SizeGoal::of(&limits).unwrap();
        assert_eq!((marks.excess(900), marks.excess(901)), (0, 101));
        let largest = SizeGoal::of(&CacheLimits { size_max: Some(u64::MAX), ..limits }).unwrap();
        assert!(largest.high < u64::MAX && largest.high > largest.low);

        let now = Timestamp::from_milliseconds(10_000);
        let limits = CacheLimits { unused_for: Some(Duration::from_secs(1)), ..limits };
        let by_age = EvictionOrder { unused_for: Some(Duration::from_secs(2)), ..EvictionOrder::default() };
        let goal = Goal::new(by_age, &limits, now);
        assert_eq!(goal.used_before, Some(Timestamp::from_milliseconds(8000)));
        assert!(goal.size.is_none(), "an order for the age is none for the size");
        let by_size = Goal::new(EvictionOrder { down_to: Some(500), ..EvictionOrder::default() }, &limits, now);
        assert_eq!(by_size.size.unwrap().excess(501), 1);
        assert!(by_size.used_before.is_none());
        let by_limits = Goal::new(EvictionOrder::default(), &limits, now);
        assert_eq!(by_limits.used_before, Some(Timestamp::from_milliseconds(9000)));
    }
}
