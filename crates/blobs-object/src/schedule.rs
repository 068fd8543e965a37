//! Which part of an upload ends where.
//!
//! The schedule of an upload is fixed when it begins, and travels with it: whoever takes it up cuts at the same places.

use crate::limits::{PART_BYTES_MAX, PART_COUNT_MAX};

/// The parts of one upload by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Bytes of the first part.
    pub(crate) first: u64,
    /// Whether later parts are larger.
    pub(crate) grows: bool,
}

/// Parts that are all as large as the first. With the default of 16 MiB that is 70 GiB of equal parts, so that a store that wants
/// them equal takes whatever is common.
const EQUAL_PARTS: u32 = 4500;

/// After so many more the parts double, eleven times in all.
const STEP_PARTS: u32 = 500;

impl Schedule {
    /// Equal parts of which [`PART_COUNT_MAX`] hold `size_max` bytes: at least `part_bytes` each, in whole MiB.
    pub(crate) fn equal(part_bytes: u64, size_max: u64) -> Self {
        let needed = size_max.div_ceil(u64::from(PART_COUNT_MAX)).next_multiple_of(1 << 20);
        Self { first: needed.clamp(part_bytes, PART_BYTES_MAX), grows: false }
    }

    /// Parts that begin at `part_bytes` and grow.
    pub(crate) const fn growing(part_bytes: u64) -> Self {
        Self { first: part_bytes, grows: true }
    }

    /// Bytes of the part `index`.
    pub(crate) fn size(self, index: u32) -> u64 {
        if !self.grows || index < EQUAL_PARTS {
            return self.first;
        }
        let doublings = (index - EQUAL_PARTS) / STEP_PARTS + 1;
        self.first.saturating_mul(1 << doublings.min(32)).min(PART_BYTES_MAX)
    }

    /// The position at which the part `index` begins.
    pub(crate) fn start(self, index: u32) -> u64 {
        let mut start = u64::from(index.min(EQUAL_PARTS)) * self.first;
        if !self.grows {
            return u64::from(index) * self.first;
        }
        let mut from = EQUAL_PARTS;
        while from < index {
            let count = (index - from).min(STEP_PARTS);
            start = start.saturating_add(u64::from(count).saturating_mul(self.size(from)));
            from += count;
        }
        start
    }

    /// The position behind the part `index`.
    pub(crate) fn end(self, index: u32) -> u64 {
        self.start(index).saturating_add(self.size(index))
    }

    /// How many parts are full when there are `bytes`.
    pub(crate) fn full(self, bytes: u64) -> u32 {
        if !self.grows || bytes < u64::from(EQUAL_PARTS) * self.first {
            return u32::try_from(bytes / self.first).unwrap_or(u32::MAX);
        }
        let mut full = EQUAL_PARTS;
        while full < PART_COUNT_MAX {
            let (start, size) = (self.start(full), self.size(full));
            let more = u32::try_from((bytes - start) / size).unwrap_or(u32::MAX).min(STEP_PARTS);
            full += more;
            if more < STEP_PARTS {
                break;
            }
        }
        full
    }

    /// The most bytes that an upload may have.
    pub(crate) fn size_max(self) -> u64 {
        self.start(PART_COUNT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{PART_BYTES_DEFAULT, PART_BYTES_MIN};

    #[test]
    fn ten_thousand_parts_hold_what_s3_takes_as_one_object() {
        for first in [PART_BYTES_MIN, PART_BYTES_DEFAULT, 64 << 20, 1 << 30] {
            let schedule = Schedule::growing(first);
            assert!(schedule.size_max() >= 5 << 40, "{first}: {}", schedule.size_max());
            assert!(schedule.size(PART_COUNT_MAX - 1) <= PART_BYTES_MAX);
        }
        assert_eq!(Schedule::growing(PART_BYTES_DEFAULT).start(EQUAL_PARTS), 4500 * (16 << 20));
    }

    #[test]
    fn equal_parts_hold_the_limit_that_they_were_made_for() {
        for size_max in [0, 1, 10 << 30, 156 << 30, 157 << 30, 5 << 40] {
            let schedule = Schedule::equal(PART_BYTES_DEFAULT, size_max);
            assert!(schedule.size_max() >= size_max, "{size_max}");
            assert!(schedule.first >= PART_BYTES_DEFAULT);
            assert_eq!(schedule.size(0), schedule.size(PART_COUNT_MAX - 1));
        }
        assert_eq!(Schedule::equal(PART_BYTES_DEFAULT, 10 << 30).first, PART_BYTES_DEFAULT);
    }

    #[test]
    fn each_part_begins_where_the_one_before_it_ends_and_is_full_there() {
        for schedule in [Schedule::growing(PART_BYTES_MIN), Schedule::equal(PART_BYTES_DEFAULT, 1 << 40)] {
            let mut position = 0;
            for index in 0..PART_COUNT_MAX {
                assert_eq!(schedule.start(index), position, "{schedule:?} {index}");
                position = schedule.end(index);
                assert_eq!(schedule.full(position), index + 1, "{schedule:?} {index}");
                assert_eq!(schedule.full(position - 1), index, "{schedule:?} {index}");
                assert_eq!(schedule.full(position + 1), index + 1, "{schedule:?} {index}");
                assert!(index == 0 || schedule.size(index) >= schedule.size(index - 1));
            }
        }
    }
}
