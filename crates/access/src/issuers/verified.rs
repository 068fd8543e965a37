//! Tokens that were verified a moment ago. A job of a CI system sends the same one with each of its requests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use entrepot_metadata::Timestamp;

use crate::limits::{PROVIDER_VERIFIED_MAX, VERIFIED_TIME_MAX};
use crate::principal::Principal;

/// The SHA-256 of a token: the token itself is not kept.
pub(super) type TokenHash = [u8; 32];

/// Whose tokens these are, by their hashes.
#[derive(Debug, Default)]
pub(super) struct Verified(Mutex<HashMap<TokenHash, Entry>>);

#[derive(Debug)]
struct Entry {
    principal: Principal,
    until: Timestamp,
}

impl Verified {
    /// Whose token it is, if that is still remembered.
    pub(super) fn get(&self, hash: &TokenHash, now: Timestamp) -> Option<Principal> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(hash).filter(|entry| entry.until > now).map(|entry| entry.principal.clone())
    }

    /// Remembers a token that ends at `ends_at`.
    pub(super) fn put(&self, hash: TokenHash, principal: &Principal, ends_at: Timestamp, now: Timestamp) {
        let until = ends_at.min(after(now, VERIFIED_TIME_MAX));
        if until <= now {
            return;
        }
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= PROVIDER_VERIFIED_MAX {
            entries.retain(|_, entry| entry.until > now);
        }
        if entries.len() >= PROVIDER_VERIFIED_MAX {
            let first = entries.iter().min_by_key(|(_, entry)| entry.until).map(|(hash, _)| *hash);
            first.map(|hash| entries.remove(&hash));
        }
        entries.insert(hash, Entry { principal: principal.clone(), until });
    }
}

fn after(now: Timestamp, duration: Duration) -> Timestamp {
    let milliseconds = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_milliseconds(now.milliseconds().saturating_add(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_milliseconds(milliseconds)
    }

    #[test]
    fn a_token_is_remembered_until_it_ends_and_no_longer_than_minutes() {
        let (verified, principal) = (Verified::default(), Principal::Robot("a".into()));
        verified.put([1; 32], &principal, at(10_000), at(0));
        assert_eq!(verified.get(&[1; 32], at(9_999)), Some(principal.clone()));
        assert_eq!(verified.get(&[1; 32], at(10_000)), None);
        assert_eq!(verified.get(&[2; 32], at(0)), None);
        verified.put([2; 32], &principal, at(i64::MAX), at(0));
        assert!(verified.get(&[2; 32], at(299_999)).is_some() && verified.get(&[2; 32], at(300_000)).is_none());
    }

    #[test]
    fn no_more_tokens_are_remembered_than_there_is_room_for() {
        let (verified, principal) = (Verified::default(), Principal::Anonymous);
        let hash = |number: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_le_bytes());
            hash
        };
        for number in 0..=PROVIDER_VERIFIED_MAX {
            verified.put(hash(number), &principal, at(1_000 + i64::try_from(number).unwrap()), at(0));
        }
        assert_eq!(verified.0.lock().unwrap().len(), PROVIDER_VERIFIED_MAX);
        assert_eq!(verified.get(&hash(0), at(0)), None, "the one that ends first went");
        assert!(verified.get(&hash(PROVIDER_VERIFIED_MAX), at(0)).is_some());
    }
}
