//! The limits of reading a configuration.

/// Bytes of a configuration file; a larger one is refused, it cannot be meant.
pub(crate) const CONFIGURATION_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of a file that holds a password; a larger one is refused, it cannot be meant.
pub(crate) const PASSWORD_BYTES_MAX: u64 = 64 * 1024;

/// Characters of a value that an error repeats; the rest is left out.
pub(crate) const REPEATED_VALUE_MAX: usize = 80;

/// Bytes of a file with certificates or a key; a larger one is refused, it cannot be meant.
pub(crate) const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// Characters of the name of a rule: refusals repeat it.
pub(crate) const RULE_NAME_MAX: usize = 100;

/// The largest number that can be written for requests to one upstream at once, or for fetches that nobody waits for.
pub(crate) const AT_ONCE_MAX: i64 = 10_000;

/// Bytes of what an identity is called: the longest name of a principal.
pub(crate) const PRINCIPAL_BYTES_MAX: usize = 255;

/// Bytes of the users file: some ten thousand users. A larger one is refused, it cannot be meant.
pub(crate) const USERS_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
