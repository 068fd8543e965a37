//! What one connection is going to send out of files.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use entrepot_blobs::{Piece, Region};

use super::placeholder::{self, PLACEHOLDER_BYTES};

/// The regions whose placeholders were given to the HTTP library and have not been sent, in order: shared by the bodies of a
/// connection, one after the other, and its socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox(Arc<Mutex<Promises>>);

#[derive(Debug, Default)]
struct Promises {
    waiting: VecDeque<Promise>,
    /// Where the next placeholder begins.
    next_offset: usize,
}

/// What is left of a placeholder, and of the region that it stands for: always equally long.
#[derive(Debug)]
struct Promise {
    offset: usize,
    region: Region,
}

/// What a socket is to write now.
#[derive(Debug)]
pub(super) enum Due {
    /// All slices, as they are.
    All,
    /// The first so many slices, as they are: a region follows.
    Ahead(usize),
    /// The region that the first slice stands for.
    Region(Region),
}

/// What is to be written is not what was promised.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Disagreement {
    /// A placeholder that is not the next one, or not all that is left of it.
    #[error("a placeholder of {length} bytes at {offset} stands for no part of a file that is to be sent next")]
    Unknown { offset: usize, length: usize },
    /// Somebody has taken a placeholder out of the answer, or has copied it.
    #[error("a part of a file is to be sent and its placeholder is missing")]
    Missing,
}

impl Outbox {
    /// What a body gives to the HTTP library for `piece`: bytes as they are, a placeholder for a region.
    pub(crate) fn enclose(&self, piece: Piece) -> Bytes {
        match piece {
            Piece::Bytes(bytes) => bytes,
            Piece::Region(region) => self.promises().promise(region),
        }
    }

    /// What to write of `slices`, which are all that the HTTP library has to write.
    pub(super) fn due(&self, slices: &[IoSlice<'_>]) -> Result<Due, Disagreement> {
        self.promises().due(slices)
    }

    /// Notes that the first `count` bytes of the region that was due are sent.
    pub(super) fn sent(&self, count: usize) {
        self.promises().sent(count);
    }

    fn promises(&self) -> MutexGuard<'_, Promises> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Promises {
    fn promise(&mut self, region: Region) -> Bytes {
        let length = region.length();
        if self.next_offset + length > PLACEHOLDER_BYTES {
            self.next_offset = 0;
        }
        let offset = self.next_offset;
        self.next_offset += length;
        self.waiting.push_back(Promise { offset, region });
        placeholder::slice(offset, length)
    }

    fn due(&self, slices: &[IoSlice<'_>]) -> Result<Due, Disagreement> {
        let mut promises = self.waiting.iter();
        let mut first = None;
        for (index, slice) in slices.iter().enumerate().filter(|(_, slice)| !slice.is_empty()) {
            let Some(offset) = placeholder::offset(slice) else { continue };
            let length = slice.len();
            let is_promised =
                promises.next().is_some_and(|promise| (promise.offset, promise.region.length()) == (offset, length));
            if !is_promised {
                return Err(Disagreement::Unknown { offset, length });
            }
            first.get_or_insert(index);
        }
        if promises.next().is_some() {
            return Err(Disagreement::Missing);
        }
        Ok(match (first, self.waiting.front()) {
            (Some(first), Some(promise)) if slices[..first].iter().all(|slice| slice.is_empty()) => {
                Due::Region(promise.region.clone())
            }
            (Some(first), _) => Due::Ahead(first),
            (None, _) => Due::All,
        })
    }

    fn sent(&mut self, count: usize) {
        let Some(promise) = self.waiting.front_mut() else { return };
        promise.offset += count;
        promise.region.advance(count);
        if promise.region.length() == 0 {
            self.waiting.pop_front();
        }
    }
}
