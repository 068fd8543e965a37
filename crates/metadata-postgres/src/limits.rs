//! Every limit of the store, in one place.

use std::time::Duration;

/// How long a connection may take to be made, with its handshake and the password, before another host is tried or the caller hears
/// that the database is not available.
pub(crate) const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// How much longer than the server's own limit a statement is waited for: the server's answer that it gave up is better than a guess.
pub(crate) const STATEMENT_GRACE: Duration = Duration::from_millis(500);

/// How often a write that met another one is tried again. What is beyond is told as unavailable.
pub(crate) const CONFLICTS_MAX: u32 = 10;

/// The pause before something is tried again: twice as long each time, and cut to a random part of it, so that those who met do not meet
/// again.
pub(crate) const PAUSE_FIRST: Duration = Duration::from_millis(10);

/// The longest of these pauses.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How long a statement may wait for the rows that other writes have locked, which are short. Beyond it is a conflict.
pub(crate) const LOCK_WAIT_MAX: Duration = Duration::from_secs(3);

/// How long a transaction of several statements may lie idle at the server before that ends it: its process is gone or hangs.
pub(crate) const IDLE_TRANSACTION_MAX: Duration = Duration::from_secs(30);

/// How long the schema may take to be brought to this version, with the wait for other processes that do it.
pub(crate) const MIGRATION_MAX: Duration = Duration::from_mins(30);

/// How often the connection for announcements is asked whether it is still there.
pub(crate) const LISTENER_PING_EVERY: Duration = Duration::from_secs(5);

/// How long that question may take; then the connection is lost, and who listens has missed something.
pub(crate) const LISTENER_PING_MAX: Duration = Duration::from_secs(3);

/// How often each process looks for what has run out, and makes one row of what the totals have changed by.
pub(crate) const UPKEEP_EVERY: Duration = Duration::from_secs(20);

/// The leases and notes that one such look deletes: a bounded amount of work, whatever has piled up.
pub(crate) const RUN_OUT_DELETED_MAX: i64 = 1000;

/// The manifests that one walk upwards visits, as for every store.
pub(crate) const WALKED_MANIFESTS_MAX: usize = 1000;

/// The characters of a damaged value that an error repeats.
pub(crate) const DAMAGE_QUOTED_MAX: usize = 100;

/// The greatest length of the name of a schema: PostgreSQL cuts names after 63 bytes.
pub(crate) const SCHEMA_NAME_MAX: usize = 48;
