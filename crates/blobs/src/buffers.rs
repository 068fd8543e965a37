//! The large buffers of the whole process, for what is read and for what is received.
//!
//! Large content needs large buffers, and allocating one for each piece of it means that the kernel clears its pages
//! each time. So large buffers are lent: a [`Bytes`] made of one gives it back when its last clone is dropped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::limits::{
    IDLE_BUFFERS_MAX, LARGE_BUFFER_BYTES, LARGE_BUFFERS_MAX, MEDIUM_BUFFER_BYTES, MEDIUM_BUFFERS_MAX,
    SMALL_BUFFER_BYTES,
};

static LARGE: Pool = Pool::new();
static MEDIUM: Pool = Pool::of(MEDIUM_BUFFER_BYTES, MEDIUM_BUFFERS_MAX);

/// A buffer to read or to receive into, then to be sent or written.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// How many bytes at the front are content.
    filled: usize,
    /// Where it goes back to, when it is lent.
    pool: Option<&'static Pool>,
}

impl Buffer {
    /// A buffer for at most `wanted` bytes: as large as a large one, or smaller when less is wanted or too many large
    /// ones are lent.
    pub(crate) fn take(wanted: usize) -> Self {
        Self::take_from(&LARGE, wanted)
    }

    /// As [`Buffer::take`], and never larger than a medium one: for content that is copied where it is asked for.
    pub(crate) fn take_for_cached(wanted: usize) -> Self {
        Self::take_from(&MEDIUM, wanted)
    }

    /// A large buffer; `None` when too many are lent.
    pub(crate) fn take_large() -> Option<Self> {
        LARGE.lend().map(|bytes| Self { bytes, filled: LARGE_BUFFER_BYTES, pool: Some(&LARGE) })
    }

    fn take_from(pool: &'static Pool, wanted: usize) -> Self {
        if wanted > SMALL_BUFFER_BYTES
            && let Some(bytes) = pool.lend()
        {
            return Self { bytes, filled: wanted.min(pool.buffer_bytes), pool: Some(pool) };
        }
        let length = wanted.min(SMALL_BUFFER_BYTES);
        Self { bytes: vec![0; length], filled: length, pool: None }
    }

    /// The room for what is read.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.filled]
    }

    /// The first `filled` bytes of the room as content.
    pub(crate) fn freeze(mut self, filled: usize) -> Bytes {
        self.filled = self.filled.min(filled);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool {
            pool.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[derive(Debug)]
struct Pool {
    buffer_bytes: usize,
    lent_max: usize,
    idle: Mutex<Vec<Vec<u8>>>,
    lent: AtomicUsize,
}

impl Pool {
    /// Large buffers.
    const fn new() -> Self {
        Self::of(LARGE_BUFFER_BYTES, LARGE_BUFFERS_MAX)
    }

    const fn of(buffer_bytes: usize, lent_max: usize) -> Self {
        Self { buffer_bytes, lent_max, idle: Mutex::new(Vec::new()), lent: AtomicUsize::new(0) }
    }

    /// A buffer with whatever its last use left in it; `None` when as many as may be are lent.
    fn lend(&self) -> Option<Vec<u8>> {
        if self.lent.fetch_add(1, Ordering::Relaxed) >= self.lent_max {
            self.lent.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Some(idle.unwrap_or_else(|| vec![0; self.buffer_bytes]))
    }

    fn give_back(&self, bytes: Vec<u8>) {
        self.lent.fetch_sub(1, Ordering::Relaxed);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_BUFFERS_MAX {
            idle.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_comes_back_when_its_last_bytes_are_dropped() {
        static POOL: Pool = Pool::new();
        let mut buffer = Buffer::take_from(&POOL, usize::MAX);
        buffer.room()[..3].copy_from_slice(b"abc");
        let bytes = buffer.freeze(3);
        let tail = bytes.slice(1..);
        assert_eq!(bytes, "abc");
        drop(bytes);
        assert_eq!((POOL.lent.load(Ordering::Relaxed), POOL.idle.lock().unwrap().len()), (1, 0));
        assert_eq!(tail, "bc");
        drop(tail);
        assert_eq!((POOL.lent.load(Ordering::Relaxed), POOL.idle.lock().unwrap().len()), (0, 1));
        assert_eq!(Buffer::take_from(&POOL, usize::MAX).room().len(), LARGE_BUFFER_BYTES);
    }

    #[test]
    fn beyond_the_bound_buffers_are_small_and_idle_ones_are_few() {
        static POOL: Pool = Pool::new();
        let mut lent: Vec<Buffer> = (0..=LARGE_BUFFERS_MAX).map(|_| Buffer::take_from(&POOL, usize::MAX)).collect();
        assert_eq!(lent.pop().unwrap().room().len(), SMALL_BUFFER_BYTES);
        assert!(lent.iter_mut().all(|buffer| buffer.room().len() == LARGE_BUFFER_BYTES));
        drop(lent);
        assert_eq!(POOL.idle.lock().unwrap().len(), IDLE_BUFFERS_MAX);
        assert_eq!(POOL.lent.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_in_memory_takes_medium_buffers_and_small_ones_beyond_their_bound() {
        static POOL: Pool = Pool::of(MEDIUM_BUFFER_BYTES, 1);
        let mut first = Buffer::take_from(&POOL, usize::MAX);
        assert_eq!(first.room().len(), MEDIUM_BUFFER_BYTES);
        assert_eq!(Buffer::take_from(&POOL, usize::MAX).room().len(), SMALL_BUFFER_BYTES);
        drop(first);
        assert_eq!(Buffer::take_from(&POOL, usize::MAX).room().len(), MEDIUM_BUFFER_BYTES);
        const { assert!(LARGE_BUFFERS_MAX * LARGE_BUFFER_BYTES + MEDIUM_BUFFERS_MAX * MEDIUM_BUFFER_BYTES <= 48 << 20) };
    }

    #[test]
    fn small_reads_take_no_large_buffer() {
        static POOL: Pool = Pool::new();
        let mut buffer = Buffer::take_from(&POOL, 100);
        assert_eq!(buffer.room().len(), 100);
        assert_eq!(POOL.lent.load(Ordering::Relaxed), 0);
    }
}
