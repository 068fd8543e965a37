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

/// The longest life of one fill, whoever waits for it. A stall ends it much earlier.
pub(crate) const FILL_DEADLINE: Duration = Duration::from_hours(6);

/// How many idle uploads one step of the sweep ends.
pub(crate) const SWEEP_BATCH: usize = 100;

/// Staged bytes that no upload session owns are swept when they are this old; a fill writes more often.
pub(crate) const ORPHAN_AGE: Duration = Duration::from_hours(24);

/// How often the uses of cached content that were noted are written. A crash loses as much.
pub(crate) const USE_INTERVAL: Duration = Duration::from_secs(5);

/// The most uses that wait to be written, each of other content; of what comes beyond, the use is lost and counted.
pub(crate) const USES_WAITING_MAX: usize = 100_000;

/// How often expired uploads and leftovers are looked for.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_hours(1);

/// How often it is looked whether something in the cache has to go, when no fill brings that up earlier.
pub(crate) const EVICTION_INTERVAL: Duration = Duration::from_mins(1);

/// How many entries one transaction evicts: other writes wait for it.
pub(crate) const EVICTION_BATCH: usize = 50;

/// How many entries a dry run looks at. It is one transaction, which has to know what would have gone before; a
/// larger eviction is told up to here.
pub(crate) const EVICTION_PREDICTED_MAX: usize = 100_000;

/// How many evicted entries a report names; it counts them all.
pub(crate) const EVICTED_NAMED_MAX: usize = 1000;

/// How many blobs without a holder are read from the metadata store at a time.
pub(crate) const UNHELD_BATCH: usize = 100;

/// Up to how many blobs without a holder are counted.
pub(crate) const UNHELD_COUNTED_MAX: usize = 1000;

/// How many blobs are removed at a time: enough for their transactions to share a commit.
pub(crate) const REMOVALS_AT_ONCE_MAX: usize = 8;

/// After so many removals that failed a run ends: it is not the one file then.
pub(crate) const REMOVAL_FAILURES_MAX: usize = 10;

/// The most pins that a list names.
pub(crate) const PINS_LISTED_MAX: usize = 1000;

/// How many manifests and blobs of an image are fetched at a time when it is fetched in advance.
pub(crate) const WARM_AT_ONCE_MAX: usize = 4;

/// The most manifests and blobs that are fetched in advance by one order; what is named beyond is told as a failure.
pub(crate) const WARM_CONTENT_MAX: usize = 20_000;

/// How many events of such an order wait for their reader; then the fetching waits for it too.
pub(crate) const WARM_EVENTS_WAITING_MAX: usize = 16;

/// After how many bytes the progress of a blob is told again.
pub(crate) const WARM_STEP_BYTES: u64 = 1024 * 1024;

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
