//! Every limit of this crate, and what happens at it.

use std::time::Duration;

/// Wrong passwords of one address within [`FAILURES_WINDOW`]; the next one is refused without a look at it.
pub(crate) const FAILURES_MAX: usize = 10;

/// How long a wrong password counts.
pub(crate) const FAILURES_WINDOW: Duration = Duration::from_mins(1);

/// Addresses with wrong passwords that are remembered; with one more, the one that has been quiet for longest is forgotten.
pub(crate) const THROTTLED_ADDRESSES_MAX: usize = 10_000;

/// Bytes of a users file; a longer one is refused.
pub const USERS_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Users in a users file; with one more it is refused.
pub(crate) const USERS_MAX: usize = 10_000;

/// The cheapest bcrypt there is; a hash that says less is none.
pub(crate) const BCRYPT_COST_MIN: u32 = 4;

/// The dearest bcrypt that is computed, about a second of one core; a dearer hash is refused with its file.
pub(crate) const BCRYPT_COST_MAX: u32 = 14;

/// Bytes of a password that bcrypt looks at; with a longer password nobody is let in by it.
pub(crate) const BCRYPT_PASSWORD_BYTES_MAX: usize = 72;

/// Memory of the weakest argon2id that is taken, in KiB; a hash with less is refused with its file.
pub(crate) const ARGON2_MEMORY_KIB_MIN: u32 = 1024;

/// Memory of the strongest argon2id that is computed, in KiB; a hash that wants more is refused with its file.
pub(crate) const ARGON2_MEMORY_KIB_MAX: u32 = 256 * 1024;

/// Memory times passes of the dearest argon2id that is computed, in KiB: about a second of one core. A hash that wants more is refused
/// with its file.
pub(crate) const ARGON2_WORK_KIB_MAX: u64 = 1024 * 1024;

/// Lanes of argon2id; a hash that wants more is refused with its file.
pub(crate) const ARGON2_LANES_MAX: u32 = 16;

/// Bytes of a new password; a longer one is refused.
pub(crate) const NEW_PASSWORD_BYTES_MAX: usize = 1024;

/// How long a password that was found to be right is known without another hash. Not longer because somebody uses it.
pub(crate) const VERIFIED_LIFETIME: Duration = Duration::from_mins(5);

/// Passwords that are known to be right; with one more, the one that was checked first is forgotten and costs a hash again.
pub(crate) const VERIFIED_MAX: usize = 10_000;

/// Passwords that wait for a core to be hashed; with one more, the login is refused as one too many.
pub(crate) const HASHES_WAITING_MAX: usize = 64;

/// How long a password waits for a core before the login is refused as one too many.
pub(crate) const HASH_PATIENCE: Duration = Duration::from_secs(10);
