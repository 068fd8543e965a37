//! The running hash, on its way behind the writing.
//!
//! Hashing takes about twice as long as writing, so it has a thread of its own as soon as there is more than one piece
//! to take. The key decision: it takes what is written already, in order, and never what is not. So a write that fails
//! leaves nothing to be taken back, and the hash catches up with exactly the bytes that are staged.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use entrepot_oci::Hasher;
use tokio::sync::Notify;

use crate::limits::PIECES_BEHIND_MAX;

/// The running hash of an ingest, shared by those who write and those who hash. Clones are the same hash.
#[derive(Clone, Debug)]
pub(super) struct Hashing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Tells the one who waits, the ingest, that the hash has come closer to the writing, or got lost.
    advanced: Notify,
}

#[derive(Debug)]
struct State {
    hash: Hash,
    /// Pieces that were written, and that the hash has yet to take.
    behind: VecDeque<Vec<Bytes>>,
}

#[derive(Debug)]
enum Hash {
    Idle(Box<Hasher>),
    /// Somebody has the [`Turn`].
    Running,
    /// Whoever had the turn did not come to its end, or the hash was taken out.
    Lost,
}

impl Hashing {
    pub(super) fn new(hasher: Hasher) -> Self {
        let state = State { hash: Hash::Idle(Box::new(hasher)), behind: VecDeque::new() };
        Self(Arc::new(Shared { state: Mutex::new(state), advanced: Notify::new() }))
    }

    /// Adds a piece that was written. It is hashed by whoever has the turn, or by the next to have it.
    pub(super) fn push(&self, piece: Vec<Bytes>) {
        let mut state = self.state();
        // Nobody would ever take it.
        if !matches!(state.hash, Hash::Lost) {
            state.behind.push_back(piece);
        }
    }

    /// The turn to hash what was written; `None` when there is nothing to hash or somebody has it.
    pub(super) fn turn(&self) -> Option<Turn> {
        let mut state = self.state();
        if state.behind.is_empty() || !matches!(state.hash, Hash::Idle(_)) {
            return None;
        }
        let Hash::Idle(hasher) = std::mem::replace(&mut state.hash, Hash::Running) else { return None };
        Some(Turn { hashing: self.clone(), hasher: Some(hasher) })
    }

    /// Whether more should be written: not while the hash is far behind, since what it has yet to take is held in
    /// memory.
    pub(super) fn is_near(&self) -> bool {
        self.state().behind.len() <= PIECES_BEHIND_MAX
    }

    /// Waits until [`is_near`](Self::is_near). Cancelled, it can be called again.
    pub(super) async fn near(&self) {
        while !self.is_near() {
            self.0.advanced.notified().await;
        }
    }

    /// Waits until everything written was hashed, and takes the hash out; `None` when it is lost. Cancelled, it can be
    /// called again.
    pub(super) async fn take(&self) -> Option<Box<Hasher>> {
        loop {
            {
                let mut state = self.state();
                if !matches!(state.hash, Hash::Running) {
                    return match std::mem::replace(&mut state.hash, Hash::Lost) {
                        // Otherwise it would be the hash of less than is staged.
                        Hash::Idle(hasher) if state.behind.is_empty() => Some(hasher),
                        _ => None,
                    };
                }
            }
            self.0.advanced.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running hash in the hands of the one who runs it. Dropped before it has run, it is lost.
#[derive(Debug)]
pub(super) struct Turn {
    hashing: Hashing,
    /// There until it is given back.
    hasher: Option<Box<Hasher>>,
}

impl Turn {
    /// Hashes until everything written was taken. Computes for as long as more is written: for the blocking pool.
    pub(super) fn run(mut self) {
        while let Some(piece) = self.next() {
            if let Some(hasher) = &mut self.hasher {
                for frame in &piece {
                    hasher.update(frame);
                }
            }
        }
    }

    /// The next piece; or `None`, and the hash is given back, in one step, so that no piece is left between two turns.
    fn next(&mut self) -> Option<Vec<Bytes>> {
        let mut state = self.hashing.state();
        let piece = state.behind.pop_front();
        if piece.is_none()
            && let Some(hasher) = self.hasher.take()
        {
            state.hash = Hash::Idle(hasher);
        }
        let has_come_near = state.behind.len() == PIECES_BEHIND_MAX;
        drop(state);
        if has_come_near || piece.is_none() {
            self.hashing.0.advanced.notify_one();
        }
        piece
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.hasher.is_some() {
            let mut state = self.hashing.state();
            state.hash = Hash::Lost;
            state.behind.clear();
            drop(state);
            self.hashing.0.advanced.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use entrepot_oci::Algorithm;
    use futures_util::FutureExt as _;

    use super::*;

    fn piece(text: &'static str) -> Vec<Bytes> {
        vec![Bytes::from_static(text.as_bytes())]
    }

    #[tokio::test]
    async fn pieces_are_taken_in_order_by_one_at_a_time() {
        let hashing = Hashing::new(Algorithm::Sha256.hasher());
        assert!(hashing.turn().is_none(), "there is nothing to hash");
        hashing.push(piece("one"));
        let turn = hashing.turn().unwrap();
        hashing.push(piece("two"));
        assert!(hashing.turn().is_none(), "somebody has the turn");
        assert!(hashing.take().now_or_never().is_none(), "the hash has not taken everything");
        turn.run();
        hashing.push(piece("three"));
        hashing.turn().unwrap().run();
        assert_eq!(hashing.take().await.unwrap().finish(), Algorithm::Sha256.digest(b"onetwothree"));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_the_hash_is_near_and_when_it_is_lost() {
        let hashing = Hashing::new(Algorithm::Sha256.hasher());
        for _ in 0..=PIECES_BEHIND_MAX {
            hashing.push(piece("more"));
        }
        assert!(hashing.near().now_or_never().is_none());
        let turn = hashing.turn().unwrap();
        let running = tokio::task::spawn_blocking(|| turn.run());
        hashing.near().await;
        running.await.unwrap();
        for _ in 0..=PIECES_BEHIND_MAX {
            hashing.push(piece("more"));
        }
        let turn = hashing.turn().unwrap();
        let mut near = Box::pin(hashing.near());
        assert!((&mut near).now_or_never().is_none());
        drop(turn);
        near.await;
        assert!(hashing.take().await.is_none(), "a hash that was lost is not that of anything");
    }

    #[tokio::test]
    async fn a_hash_that_nobody_ran_is_not_the_hash_of_what_is_staged() {
        let hashing = Hashing::new(Algorithm::Sha256.hasher());
        hashing.push(piece("written, and then nobody hashed it"));
        assert!(hashing.take().await.is_none());
    }
}
