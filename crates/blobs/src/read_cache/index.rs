//! What the read cache holds, and which blob goes first when there is no room.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use entrepot_oci::Digest;

use crate::limits::{ASKED_ONCE_MAX, READ_CACHE_PART_MAX};

/// The blobs that are held, in the order of their last use, and those that were asked for once.
#[derive(Debug, Default)]
pub(super) struct Index {
    bytes_max: u64,
    bytes: u64,
    held: HashMap<Digest, Held>,
    by_use: BTreeMap<u64, Digest>,
    uses: u64,
    asked_once: AskedOnce,
}

#[derive(Debug)]
struct Held {
    size: u64,
    used: u64,
}

impl Index {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// How many bytes are held.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Notes a use of a blob that is held; `false` when it is not.
    pub(super) fn touch(&mut self, digest: &Digest) -> bool {
        self.uses += 1;
        let Some(held) = self.held.get_mut(digest) else { return false };
        self.by_use.remove(&held.used);
        held.used = self.uses;
        self.by_use.insert(self.uses, digest.clone());
        true
    }

    /// Notes that a blob was asked for that is not held; whether it is worth holding: it is not too large, and not asked for the first
    /// time.
    pub(super) fn ask(&mut self, digest: &Digest, size: u64) -> bool {
        size <= self.bytes_max / READ_CACHE_PART_MAX && self.asked_once.ask(digest)
    }

    /// Adds a blob, as the one that was used last, and returns those that have to go for it.
    pub(super) fn add(&mut self, digest: &Digest, size: u64) -> Vec<Digest> {
        if !self.touch(digest) {
            self.held.insert(digest.clone(), Held { size, used: self.uses });
            self.by_use.insert(self.uses, digest.clone());
            self.bytes += size;
        }
        let mut leaving = Vec::new();
        while self.bytes > self.bytes_max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.bytes -= self.held.remove(&oldest).map_or(0, |held| held.size);
            leaving.push(oldest);
        }
        leaving
    }

    /// Takes a blob out; `false` when it is not held.
    pub(super) fn remove(&mut self, digest: &Digest) -> bool {
        let Some(held) = self.held.remove(digest) else { return false };
        self.by_use.remove(&held.used);
        self.bytes -= held.size;
        true
    }
}

/// The blobs that were asked for once, the latest of them.
#[derive(Debug, Default)]
struct AskedOnce {
    known: HashSet<Digest>,
    order: VecDeque<Digest>,
}

impl AskedOnce {
    /// Whether it was asked for before. Then it is not known any more.
    fn ask(&mut self, digest: &Digest) -> bool {
        if self.known.remove(digest) {
            return true;
        }
        self.known.insert(digest.clone());
        self.order.push_back(digest.clone());
        if self.order.len() > ASKED_ONCE_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use entrepot_oci::Algorithm;

    use super::*;

    fn digest(number: usize) -> Digest {
        Algorithm::Sha256.digest(&number.to_le_bytes())
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut index = Index::new(100);
        assert_eq!([index.add(&digest(1), 40), index.add(&digest(2), 40)].concat(), []);
        assert!(index.touch(&digest(1)));
        assert_eq!(index.add(&digest(3), 40), [digest(2)]);
        assert_eq!(index.bytes(), 80);
        assert_eq!(index.add(&digest(3), 40), [], "a second time is only a use");
        assert_eq!(index.add(&digest(4), 90), [digest(1), digest(3)]);
        assert!(index.remove(&digest(4)) && !index.remove(&digest(4)) && !index.touch(&digest(4)));
        assert_eq!(index.bytes(), 0);
        assert_eq!(index.add(&digest(5), 101), [digest(5)], "what never fits does not stay");
    }

    #[test]
    fn a_blob_is_worth_holding_when_it_is_asked_for_again_and_leaves_room_for_others() {
        let mut index = Index::new(100);
        assert!(!index.ask(&digest(1), 10));
        assert!(index.ask(&digest(1), 10));
        assert!(!index.ask(&digest(2), 51) && !index.ask(&digest(2), 51), "it would take more than half");
        let mut index = Index::new(100);
        assert!(!index.ask(&digest(0), 1));
        for number in 1..=ASKED_ONCE_MAX {
            index.ask(&digest(number), 1);
        }
        assert!(!index.ask(&digest(0), 1), "that was too long ago");
        assert!(index.asked_once.order.len() <= ASKED_ONCE_MAX);
    }
}
