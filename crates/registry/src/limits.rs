//! Every limit of the domain, and what happens at it.

use std::time::Duration;

/// The most tags that one push by digest may set; more are refused with 414.
pub const MANIFEST_TAGS_MAX: usize = 64;

/// The most missing or wrongly described references that the refusal of a manifest names: enough for every image there is.
pub(crate) const REFERENCES_NAMED_MAX: usize = 200;

/// The most names on one page of tags or repositories; a larger page is cut and a link leads on.
pub const PAGE_MAX: usize = 10_000;

/// The most referrers on one page; a link leads on.
pub const REFERRERS_PAGE_MAX: usize = 1000;

/// The most bytes of referrers on one page, below the 4 MiB that clients read; a link leads on.
pub const REFERRERS_PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// How many referrers are read from the metadata store at a time.
pub(crate) const REFERRERS_BATCH: usize = 100;

/// How many repositories that hold a blob are tried for a mount without a source.
pub(crate) const MOUNT_SOURCES_MAX: usize = 8;

/// The most interrupted uploads whose running hash is kept in memory; others hash their bytes again when they go on.
pub(crate) const PARKED_UPLOADS_MAX: usize = 4096;

/// How far behind the wanted byte a fill may be for a range to wait for it. Farther ranges are asked of the upstream.
pub(crate) const RANGE_NEAR_BYTES: u64 = 8 * 1024 * 1024;

/// How often a fill asks its upstream again without having received a byte in between.
pub(crate) const FILL_TRIES_MAX: u32 = 4;

/// The wait before the second try of a fill; it doubles with each further one.
pub(crate) const FILL_BACKOFF: Duration = Duration::from_millis(200);

/// The longest time that an upstream may ask to be left alone in the middle of a blob; beyond, the fill ends. Together with
/// the tries it stays below the five minutes after which containerd gives up a silent pull.
pub(crate) const RESUME_WAIT_MAX: Duration = Duration::from_mins(1);

/// How long a client waits for a blob whose size nobody tells, because only the whole has a length. Then it is told to come back,
/// while the fill goes on.
pub(crate) const UNSIZED_PATIENCE: Duration = Duration::from_secs(20);

/// How long a fill waits to be told the size of its blob, when the answer with the bytes did not; then it does without.
pub(crate) const SIZE_PATIENCE: Duration = Duration::from_secs(5);

/// How long fills are not tried after one found the disk full, and blobs pass through uncached at once.
pub(crate) const FULL_PAUSE: Duration = Duration::from_secs(10);

/// The longest life of one fill, whoever waits for it. A stall ends it much earlier.
pub(crate) const FILL_DEADLINE: Duration = Duration::from_hours(6);

/// The largest image configuration that is read for its date, in bytes; a larger one counts as having none.
pub(crate) const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The most dates of manifests that are remembered; beyond, all are forgotten and looked up again.
pub(crate) const DATES_MAX: usize = 4096;

/// How many manifests that name the same content are looked at to judge it. Beyond, none of the rest speaks for it.
pub(crate) const NAMING_MANIFESTS_MAX: usize = 64;

/// How many idle uploads one step of the sweep ends.
pub(crate) const SWEEP_BATCH: usize = 100;

/// Staged bytes that no upload session owns are swept when they are this old; a fill writes more often.
pub(crate) const ORPHAN_AGE: Duration = Duration::from_hours(24);

/// The limits that an operator sets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest blob, in bytes. A larger upload ends with 413 and is discarded, a larger fill with 502.
    pub blob_bytes_max: u64,
    /// The most unfinished uploads of one repository; one more is refused with 429.
    pub uploads_per_repository_max: usize,
    /// An upload that was not used for this long is ended by the sweep.
    pub upload_expiry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { blob_bytes_max: 1 << 40, uploads_per_repository_max: 1000, upload_expiry: Duration::from_hours(7 * 24) }
    }
}
