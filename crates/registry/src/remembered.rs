//! What is remembered for a while: in memory, and bounded in number and in bytes.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use entrepot_metadata::Timestamp;

use crate::freshness::age;

/// How much is remembered; beyond, what was put in first goes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The most entries.
    pub(crate) entries: usize,
    /// The most bytes, as those who put something in count them. What is larger on its own is not remembered.
    pub(crate) bytes: usize,
}

/// Answers by their question. Times are those of the caller's clock; one that steps back ends what it makes come from the future.
pub(crate) struct Remembered<Key, Value> {
    bounds: Bounds,
    entries: Mutex<Entries<Key, Value>>,
}

struct Entries<Key, Value> {
    by_key: HashMap<Key, Entry<Value>>,
    /// The keys in the order in which they were put in.
    by_number: BTreeMap<u64, Key>,
    last_number: u64,
    bytes: usize,
}

struct Entry<Value> {
    value: Value,
    size: usize,
    since: Timestamp,
    lifetime: Duration,
    number: u64,
}

impl<Key: Clone + Eq + Hash, Value: Clone> Remembered<Key, Value> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let entries = Entries { by_key: HashMap::new(), by_number: BTreeMap::new(), last_number: 0, bytes: 0 };
        Self { bounds, entries: Mutex::new(entries) }
    }

    /// What is remembered under `key`, unless its lifetime is over.
    pub(crate) fn fresh(&self, key: &Key, now: Timestamp) -> Option<Value> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.by_key.get(key)?;
        age(entry.since, now).is_some_and(|age| age < entry.lifetime).then(|| entry.value.clone())
    }

    /// What is remembered under `key`, also when its lifetime is over: it stays until room is needed.
    pub(crate) fn last(&self, key: &Key) -> Option<Value> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_key.get(key).map(|entry| entry.value.clone())
    }

    /// Remembers `value`, which takes `size` bytes, in the place of what was under `key`.
    pub(crate) fn put(&self, key: Key, value: Value, size: usize, lifetime: Duration, now: Timestamp) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(&key);
        if size > self.bounds.bytes {
            return;
        }
        while entries.by_key.len() >= self.bounds.entries || entries.bytes + size > self.bounds.bytes {
            let Some(oldest) = entries.by_number.first_key_value().map(|(_, key)| key.clone()) else { break };
            entries.remove(&oldest);
        }
        entries.last_number += 1;
        let number = entries.last_number;
        entries.bytes += size;
        entries.by_number.insert(number, key.clone());
        entries.by_key.insert(key, Entry { value, size, since: now, lifetime, number });
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Forgets everything under keys that `is_meant` is true of.
    pub(crate) fn forget_all(&self, is_meant: impl Fn(&Key) -> bool) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let meant: Vec<Key> = entries.by_key.keys().filter(|key| is_meant(key)).cloned().collect();
        for key in meant {
            entries.remove(&key);
        }
    }
}

impl<Key: Eq + Hash, Value> Entries<Key, Value> {
    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.by_key.remove(key) {
            self.by_number.remove(&entry.number);
            self.bytes -= entry.size;
        }
    }
}

impl<Key, Value> fmt::Debug for Remembered<Key, Value> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, bytes) = (entries.by_key.len(), entries.bytes);
        formatter.debug_struct("Remembered").field("entries", &count).field("bytes", &bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_milliseconds(seconds * 1000)
    }

    fn remembered(entries: usize, bytes: usize) -> Remembered<&'static str, u8> {
        Remembered::new(Bounds { entries, bytes })
    }

    #[test]
    fn what_is_remembered_ends_with_its_lifetime_and_with_a_clock_that_steps_back() {
        let remembered = remembered(10, 100);
        remembered.put("a", 1, 1, MINUTE, at(1000));
        for (now, expected) in [(1000, Some(1)), (1059, Some(1)), (1060, None), (5000, None), (999, None), (0, None)] {
            assert_eq!(remembered.fresh(&"a", at(now)), expected, "{now}");
            assert_eq!(remembered.last(&"a"), Some(1), "{now}");
        }
        remembered.put("a", 2, 1, MINUTE, at(0));
        assert_eq!(remembered.fresh(&"a", at(59)), Some(2));
        remembered.forget(&"a");
        assert_eq!(remembered.last(&"a"), None);
    }

    #[test]
    fn beyond_its_bounds_the_oldest_goes_and_what_is_too_large_is_not_kept() {
        let remembered = remembered(3, 10);
        for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
            remembered.put(key, value, 2, MINUTE, at(0));
        }
        // Put in again, `a` is the newest.
        remembered.put("a", 4, 2, MINUTE, at(0));
        remembered.put("d", 5, 2, MINUTE, at(0));
        assert_eq!(["a", "b", "c", "d"].map(|key| remembered.last(&key)), [Some(4), None, Some(3), Some(5)]);
        remembered.put("e", 6, 8, MINUTE, at(0));
        assert_eq!(["a", "c", "d", "e"].map(|key| remembered.last(&key)), [None, None, Some(5), Some(6)]);
        remembered.put("d", 7, 11, MINUTE, at(0));
        assert_eq!(["d", "e"].map(|key| remembered.last(&key)), [None, Some(6)]);
        remembered.forget_all(|key| *key == "e");
        assert_eq!(format!("{remembered:?}"), "Remembered { entries: 0, bytes: 0, .. }");
    }
}
