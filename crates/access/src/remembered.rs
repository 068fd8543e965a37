//! A memory of limited size, for what can be found out again.
//!
//! Two generations: what is new or was asked for lately, and what was before that. When the first one is half of what may be
//! remembered, it becomes the second, and the second is forgotten. Every step costs the same, however much is remembered.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Remembers values by their keys.
pub(crate) struct Remembered<K, V> {
    generation_max: usize,
    generations: Mutex<Generations<K, V>>,
}

struct Generations<K, V> {
    recent: HashMap<K, V>,
    older: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    /// Remembers so many values at most.
    pub(crate) fn new(values_max: usize) -> Self {
        let generations = Generations { recent: HashMap::new(), older: HashMap::new() };
        Self { generation_max: (values_max / 2).max(1), generations: Mutex::new(generations) }
    }

    /// What is remembered.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut generations = self.lock();
        if let Some(value) = generations.recent.get(key) {
            return Some(value.clone());
        }
        let (key, value) = generations.older.remove_entry(key)?;
        self.keep(&mut generations, key, value.clone());
        Some(value)
    }

    /// Remembers a value in the place of an earlier one.
    pub(crate) fn insert(&self, key: K, value: V) {
        let mut generations = self.lock();
        generations.older.remove(&key);
        self.keep(&mut generations, key, value);
    }

    /// Forgets a value.
    pub(crate) fn remove(&self, key: &K) {
        let mut generations = self.lock();
        generations.recent.remove(key);
        generations.older.remove(key);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut generations = self.lock();
        generations.recent.clear();
        generations.older.clear();
    }

    fn keep(&self, generations: &mut Generations<K, V>, key: K, value: V) {
        if generations.recent.len() >= self.generation_max && !generations.recent.contains_key(&key) {
            generations.older = std::mem::take(&mut generations.recent);
        }
        generations.recent.insert(key, value);
    }

    fn lock(&self) -> MutexGuard<'_, Generations<K, V>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> fmt::Debug for Remembered<K, V> {
    /// Without what is remembered: it may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Remembered").field("generation_max", &self.generation_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let remembered = Remembered::new(10);
        remembered.insert(0, "asked for");
        for key in 1..1000 {
            remembered.insert(key, "new");
            assert_eq!(remembered.get(&0), Some("asked for"), "{key}");
        }
        let generations = remembered.lock();
        assert!(generations.recent.len() + generations.older.len() <= 10);
        drop(generations);
        assert_eq!(remembered.get(&1), None);
        remembered.insert(0, "changed");
        assert_eq!(remembered.get(&0), Some("changed"));
        remembered.remove(&0);
        assert_eq!(remembered.get(&0), None);
    }
}
