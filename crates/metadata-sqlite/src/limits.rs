//! Every limit of the store, in one place.

use std::time::Duration;

/// The writes that may wait for the writer. More wait in front of the queue, until their own deadline.
pub(crate) const QUEUE_LENGTH_MAX: usize = 1024;

/// The writes that share one commit. What is beyond goes into the next one; a longer group would make its first write
/// wait for work that is not its own.
pub(crate) const GROUP_LENGTH_MAX: usize = 256;

/// How long a write waits, in the queue and for another process's lock, before it fails as unavailable.
pub(crate) const WRITE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a look-up waits for a lock. Readers of a write-ahead log are in nobody's way; the exception is another process
/// that repairs or converts the file, and a thread of the runtime must not wait long for that.
pub(crate) const READ_WAIT_MAX: Duration = Duration::from_millis(100);

/// The idle readers that are kept. Look-ups run on the threads of the runtime, so there are hardly ever more readers
/// than threads; one that is beyond is closed after its look-up.
pub(crate) const IDLE_READERS_MAX: usize = 32;

/// The prepared statements that a connection keeps: more than the store has, so that none is prepared twice.
pub(crate) const STATEMENTS_MAX: usize = 128;

/// The manifests that one walk along references visits, up to indexes or down to children. Real images are far below; what an
/// upstream sends may name anything, and a write holds up all others.
pub(crate) const WALKED_MANIFESTS_MAX: usize = 1000;

/// The pages that may wait in the write-ahead log; then they are copied into the database between two groups of writes. Copying
/// fewer at a time, or whenever no write happens to wait, copies a page that many writes change again and again, and waits for the
/// disk each time.
pub(crate) const LOG_PAGES_MAX: i64 = 2048;

/// The bytes that the file of the write-ahead log keeps when it starts over: what a long reader made it grow is given back.
pub(crate) const LOG_BYTES_KEPT_MAX: i64 = 64 * 1024 * 1024;

/// How long the closing store waits for other processes before it leaves the log as it is, for the next start to read.
pub(crate) const CLOSE_WAIT_MAX: Duration = Duration::from_secs(1);

/// The characters of a damaged value that an error repeats.
pub(crate) const DAMAGE_QUOTED_MAX: usize = 100;

/// The leases, notes and claims that are kept in memory before those that have run out are looked for.
pub(crate) const RUN_OUT_KEPT_MIN: usize = 64;

/// The rows of a page on its way to another store.
pub(crate) const MOVED_ROWS_MAX: usize = 1000;

/// The bytes of manifests after which such a page ends.
pub(crate) const MOVED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The pages that are read before the other store has taken them.
pub(crate) const MOVED_PAGES_AHEAD: usize = 2;

/// The bytes of manifests that are remembered, and those of links of blobs: the images that are pulled most, some thousand of
/// them, and nothing that a small machine would miss.
pub(crate) const REMEMBERED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The bytes of a manifest beyond which it is read each time: one that is larger would drive many others out.
pub(crate) const REMEMBERED_ROW_BYTES_MAX: usize = 64 * 1024;
