//! What was found out about passwords, and what is being found out: so that a password costs one hash in some minutes, however many
//! requests come with it.
//!
//! Passwords are not kept. What is kept is a keyed hash of user, password and the hash that it was compared with; the key is made at
//! the start and never leaves the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use uuid::Uuid;

use super::hash::{Comparison, Hash};
use crate::limits::{VERIFIED_LIFETIME, VERIFIED_MAX};

/// Stands for a user, a password and the hash that they are compared with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair([u8; 32]);

/// Makes pairs.
pub(super) struct PairKey(hmac::Key);

impl PairKey {
    /// A key of 244 random bits.
    pub(super) fn random() -> Self {
        let bytes = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }

    pub(super) fn pair(&self, name: &str, password: &SecretString, hash: &Hash) -> Pair {
        let mut context = hmac::Context::with_key(&self.0);
        // With their lengths, so that nothing can move from one to the other.
        for part in [name.as_bytes(), password.expose_secret().as_bytes(), hash.as_bytes()] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut pair = [0; 32];
        pair.copy_from_slice(context.sign().as_ref());
        Pair(pair)
    }
}

/// The pairs that were found to be right, with when.
#[derive(Default)]
pub(super) struct Verified(Mutex<HashMap<Pair, Instant>>);

impl Verified {
    pub(super) fn contains(&self, pair: Pair) -> bool {
        self.pairs().get(&pair).is_some_and(|time| time.elapsed() < VERIFIED_LIFETIME)
    }

    pub(super) fn insert(&self, pair: Pair) {
        let mut pairs = self.pairs();
        if pairs.len() >= VERIFIED_MAX && !pairs.contains_key(&pair) {
            pairs.retain(|_, time| time.elapsed() < VERIFIED_LIFETIME);
            let oldest = pairs.iter().min_by_key(|(_, time)| **time).map(|(pair, _)| *pair);
            if let Some(oldest) = oldest.filter(|_| pairs.len() >= VERIFIED_MAX) {
                pairs.remove(&oldest);
            }
        }
        pairs.insert(pair, Instant::now());
    }

    pub(super) fn clear(&self) {
        self.pairs().clear();
    }

    fn pairs(&self) -> MutexGuard<'_, HashMap<Pair, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pairs that are being compared, so that the same one is compared once at a time.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Pair, Flight>>);

type Flight = Arc<OnceCell<Comparison>>;

impl Flights {
    /// A seat in the flight of this pair, which begins with it where there is none.
    pub(super) fn board(&self, pair: Pair) -> Seat<'_> {
        let flight = Arc::clone(self.flights().entry(pair).or_default());
        Seat { flights: self, pair, flight }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Pair, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for a pair; the last one who leaves ends its flight, also when he leaves early.
pub(super) struct Seat<'f> {
    flights: &'f Flights,
    pair: Pair,
    pub(super) flight: Flight,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut flights = self.flights.flights();
        // The map's and this one: more are handed out only under the lock that is held here.
        if Arc::strong_count(&self.flight) <= 2 {
            flights.remove(&self.pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(index: usize) -> Pair {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&index.to_be_bytes());
        Pair(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_verified_is_bounded_in_number_and_time() {
        let verified = Verified::default();
        verified.insert(pair(0));
        tokio::time::advance(VERIFIED_LIFETIME / 2).await;
        (1..=VERIFIED_MAX).for_each(|index| verified.insert(pair(index)));
        assert!(!verified.contains(pair(0)) && verified.contains(pair(1)) && verified.contains(pair(VERIFIED_MAX)));
        assert_eq!(verified.pairs().len(), VERIFIED_MAX);
        tokio::time::advance(VERIFIED_LIFETIME).await;
        assert!(!verified.contains(pair(1)));
        verified.insert(pair(0));
        assert_eq!(verified.pairs().len(), 1);
    }

    #[test]
    fn a_pair_is_its_user_its_password_its_hash_and_its_process() {
        let hash = |text: &str| Hash::parse(&bcrypt::hash(text, 4).unwrap()).unwrap();
        let (key, first, second) = (PairKey::random(), hash("a"), hash("a"));
        let password = |text: &str| SecretString::from(text.to_owned());
        let pair = key.pair("ab", &password("c"), &first);
        assert!(pair == key.pair("ab", &password("c"), &first));
        assert!(pair != key.pair("a", &password("bc"), &first));
        assert!(pair != key.pair("ab", &password("d"), &first));
        assert!(pair != key.pair("ab", &password("c"), &second));
        assert!(pair != PairKey::random().pair("ab", &password("c"), &first));
    }

    #[test]
    fn a_flight_ends_with_the_last_who_leaves() {
        let flights = Flights::default();
        let (first, second) = (flights.board(pair(1)), flights.board(pair(1)));
        assert!(Arc::ptr_eq(&first.flight, &second.flight));
        drop(first);
        assert_eq!(flights.flights().len(), 1);
        drop(second);
        assert!(flights.flights().is_empty());
    }
}
