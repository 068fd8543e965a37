//! The name of a request, which the client is told and the log has.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

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

impl From<RequestId> for HeaderValue {
    /// The text of `Display`, by hand: every answer has it, and the machinery of formatting costs ten times as much.
    fn from(id: RequestId) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |number: u64, place: u32| DIGITS[(number >> (4 * place) & 15) as usize];
        let mut text = [b'-'; 8 + 1 + 16];
        for (place, byte) in (0..8).rev().zip(&mut text) {
            *byte = digit(id.run.into(), place);
        }
        let length = (u64::BITS - id.sequence.leading_zeros()).div_ceil(4).max(1);
        for (place, byte) in (0..length).rev().zip(&mut text[9..]) {
            *byte = digit(id.sequence, place);
        }
        let text = &text[..9 + length as usize];
        Self::from_bytes(text).unwrap_or(Self::from_static("-"))
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
        for sequence in [0, 1, 15, 16, 0x2c, u64::MAX] {
            let id = RequestId { run: 0x0f1d_03a9, sequence };
            assert_eq!(HeaderValue::from(id), id.to_string());
        }
        assert_ne!(RequestIds::random().next(), RequestIds::random().next());
    }
}
