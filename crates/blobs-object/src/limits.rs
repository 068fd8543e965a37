//! Every limit of this crate, and what happens at it.

use std::time::Duration;

/// Parts of one upload: what S3 allows. Parts grow so that this many hold what S3 takes as one object; see [`PartGrowth`](crate::PartGrowth).
pub const PART_COUNT_MAX: u32 = 10_000;

/// Bytes of a part that no part but the last may be smaller than: what S3 demands. A smaller configuration is refused.
pub const PART_BYTES_MIN: u64 = 5 << 20;

/// Bytes of a part, unless it is configured otherwise.
pub const PART_BYTES_DEFAULT: u64 = 16 << 20;

/// Bytes of the largest part: what S3 allows. Parts grow no further.
pub(crate) const PART_BYTES_MAX: u64 = 5 << 30;

/// Bytes of a part that are read from the staged file at once.
pub(crate) const READ_BYTES: usize = 1 << 20;

/// Bytes of a pointer, a marker, or an answer that is held whole. A larger one is not ours.
pub(crate) const SMALL_OBJECT_BYTES_MAX: u64 = 64 << 10;

/// Bytes of an object that the store copies in one request: what S3 allows. Larger ones are copied through this process.
pub(crate) const COPY_BYTES_MAX: u64 = 5 << 30;

/// Blobs whose place is remembered. Beyond, those that were not asked for lately are looked for anew.
pub(crate) const LOCATIONS_MAX: usize = 1 << 16;

/// How long the local copy of a parked stage is kept for its next request to come to this process. After that it is taken up from the
/// store, as it is elsewhere.
pub(crate) const LOCAL_COPY_KEPT_FOR: Duration = Duration::from_mins(10);

/// How often a pointer is tried to be written, when others write and remove it at the same time. Then the commit fails.
pub(crate) const POINTER_ATTEMPTS_MAX: u32 = 4;

/// The time between two such attempts.
pub(crate) const POINTER_PAUSE: Duration = Duration::from_millis(50);

/// How often a readiness probe writes, and not only reads.
pub(crate) const PROBE_WRITES_EVERY: Duration = Duration::from_mins(10);

/// Bytes in a second of which an upload is at least expected: what a request sends adds so much to the patience with its answer.
pub(crate) const SLOWEST_BYTES_PER_SECOND: u64 = 256 << 10;
