//! Every limit of this crate, and what happens at it.

/// Characters of a [`StageId`](crate::StageId). Longer ids are refused.
pub const STAGE_ID_LENGTH_MAX: usize = 64;

/// Bytes that wait in an [`Ingest`](crate::Ingest) while the batch before them is written. At the limit nothing more
/// is taken from the source until that batch is done, so an ingest holds about twice this, and what is being hashed.
pub const WAITING_BYTES_MAX: usize = 1 << 20;

/// Bytes of a [`Whole`](crate::Whole). What is larger goes through an [`Ingest`](crate::Ingest). So much is hashed in 20 to 200
/// microseconds, during which its thread of the runtime does nothing else.
pub const WHOLE_BYTES_MAX: u64 = 32 << 10;

/// Frames that wait in an ingest, so that a source of one-byte frames cannot fill the memory with their bookkeeping.
/// At the limit the ingest waits as for [`WAITING_BYTES_MAX`]. It is also the most that one vectored write may take.
pub(crate) const WAITING_FRAMES_MAX: usize = 1024;

/// Bytes that are written at once, and then hashed while they are still in the processor's cache. Larger batches are cut
/// into such pieces.
pub(crate) const PIECE_BYTES: usize = LARGE_BUFFER_BYTES;

/// Pieces that may wait to be hashed when the next batch is begun to be written; with more of them it waits as well. One
/// is enough: it is hashed in the time that the first piece of the batch takes to be written.
pub(crate) const PIECES_BEHIND_MAX: usize = 1;

/// Bytes of a growing file after which the kernel is asked to write them to the disk, so that the sync of a commit
/// finds little left to do.
pub(crate) const WRITE_BEHIND_BYTES: u64 = 8 << 20;

/// Bytes of a large buffer: for what comes from a disk, and for what is received.
pub(crate) const LARGE_BUFFER_BYTES: usize = 256 << 10;

/// Bytes of a medium read buffer, for what is in memory: as much as TLS encrypts and sends at once. More at a time was not faster,
/// and half of it was slower.
pub(crate) const MEDIUM_BUFFER_BYTES: usize = 64 << 10;

/// Medium read buffers in use in the whole process; beyond, as for [`LARGE_BUFFERS_MAX`].
pub(crate) const MEDIUM_BUFFERS_MAX: usize = 256;

/// Large buffers in use in the whole process. Beyond, reads go on through small buffers without read-ahead: slower, but
/// nobody waits for the buffer of a slow reader. What is received is then written in the memory that it was received in. Large and
/// medium ones together are never more than 48 MiB; how many small ones a slow reader makes wait for its socket is bounded by its
/// connection.
pub(crate) const LARGE_BUFFERS_MAX: usize = 128;

/// Buffers of each size that are kept for the next use when nobody has them. More are given back to the allocator.
pub(crate) const IDLE_BUFFERS_MAX: usize = 32;

/// Bytes of a small read buffer. Reads of no more than this never take a large one.
pub(crate) const SMALL_BUFFER_BYTES: usize = 32 << 10;

/// Bytes that are read at once to recompute the hash of what is staged, or to copy it to another file system.
pub(crate) const COPY_BYTES: usize = 256 << 10;

/// Bytes of a [`Region`](crate::Region). A larger part of a file leaves as several. Where one ends, the kernel sends a packet that is
/// not full: with a fourth of this a transfer took a tenth longer.
pub const REGION_BYTES_MAX: usize = 4 << 20;

/// Bytes between two looks at whether a part of a file is in memory. What the kernel reads, and what is written here, comes in runs
/// of about this length, and is forgotten in the order in which it came. A look touches a line of memory that nobody else does: at a
/// fourth of this distance all looks together took 7 % of the processor time of a transfer, now 2 %.
pub(crate) const RESIDENCE_STEP_BYTES: usize = 256 << 10;

/// Blobs that a read cache fetches at once. More wait, and clients read them from the store meanwhile.
pub(crate) const READ_CACHE_FETCHES_MAX: usize = 4;

/// Blobs that wait to be fetched for a read cache. Beyond, one that is wanted has to be wanted once more.
pub(crate) const READ_CACHE_WAITING_MAX: usize = 256;

/// The part of a read cache, one in so many, that a blob may take at most. Larger ones are not kept: they would push out all others.
pub(crate) const READ_CACHE_PART_MAX: u64 = 2;

/// Blobs that a read cache remembers to have been asked for once: about 100 bytes each. Beyond, the oldest is forgotten.
pub(crate) const ASKED_ONCE_MAX: usize = 16_384;
