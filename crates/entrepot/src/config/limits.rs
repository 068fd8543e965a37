//! The limits of reading a configuration.

/// Bytes of a configuration file; a larger one is refused, it cannot be meant.
pub(crate) const CONFIGURATION_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of a file that holds a secret; a larger one is refused, it cannot be meant.
pub(crate) const SECRET_BYTES_MAX: u64 = 64 * 1024;

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

/// Bytes of the name of a bucket: those of Google are the longest, with dots in them.
pub(crate) const BUCKET_NAME_BYTES: std::ops::RangeInclusive<usize> = 3..=222;

/// Bytes of the prefix of a store in a bucket: what names come behind it fit into the 1,024 that stores take.
pub(crate) const OBJECT_PREFIX_BYTES_MAX: usize = 400;

/// Bytes of the parts of an upload that S3 takes, and Google as well.
pub(crate) const PART_BYTES: std::ops::RangeInclusive<u64> = 5 << 20..=5 << 30;

/// Bytes of the blocks of an upload: Azure takes 4,000 MiB.
pub(crate) const AZURE_PART_BYTES: std::ops::RangeInclusive<u64> = 5 << 20..=4000 << 20;

/// Parts that can be on their way at once.
pub(crate) const PARTS_IN_FLIGHT: std::ops::RangeInclusive<i64> = 1..=256;

/// Connections to the database that one process may have. One is held for notices, and one has to be left.
pub(crate) const DATABASE_CONNECTIONS: std::ops::RangeInclusive<i64> = 2..=1000;

/// Bytes of what the names of schemas begin with: `PostgreSQL` cuts names off after 63.
pub(crate) const SCHEMA_PREFIX_BYTES_MAX: usize = 50;

/// Hosts of one database.
pub(crate) const DATABASE_HOSTS_MAX: usize = 16;
