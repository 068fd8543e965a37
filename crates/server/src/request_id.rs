//! The name of a request, which the client is told and the log has.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names one request of one process, as `6f1d03a9-2c`: which run of the process, and the how-manieth request of it.
///
/// It is not a secret, and it is never taken from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    run: u32,
    sequence: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}-{:x}", self.run, self.sequence)
    }
}

/// Where request ids come from: one for each listener or one for all, but never two for one log.
#[derive(Debug)]
pub struct RequestIds {
    run: u32,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids that begin with `run`, which should differ from one start of the process to the next.
    pub fn new(run: u32) -> Self {
        Self { run, next: AtomicU64::new(1) }
    }

    /// Ids that begin with a random number. It comes from the seed of the standard hash maps, which is all that is
    /// needed to tell two runs apart.
    pub fn random() -> Self {
        let seed = RandomState::new().hash_one(());
        Self::new(u32::try_from(seed >> u32::BITS).unwrap_or_default())
    }

    /// The id of the next request.
    pub fn next(&self) -> RequestId {
        RequestId { run: self.run, sequence: self.next.fetch_add(1, Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_within_a_run_and_between_runs() {
        let ids = RequestIds::new(0x6f1d_03a9);
        assert_eq!([ids.next(), ids.next()].map(|id| id.to_string()), ["6f1d03a9-1", "6f1d03a9-2"]);
        assert_ne!(RequestIds::random().next(), RequestIds::random().next());
    }
}
