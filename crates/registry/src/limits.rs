//! Every limit of the domain, and what happens at it.

use std::time::Duration;

/// The most tags that one push by digest may set; more are refused with 414.
pub const MANIFEST_TAGS_MAX: usize = 64;

/// The most missing or wrongly described references that the refusal of a manifest names: enough for every image there is.
pub(crate) const REFERENCES_NAMED_MAX: usize = 200;

/// The most names on one page of tags or repositories; a larger page is cut and a link leads on.
pub const PAGE_MAX: usize = 10_000;

/// How many names of repositories are read from the metadata store at a time, once the first were not enough for a page of the
/// catalog because the caller may not pull all of them.
pub(crate) const CATALOG_BATCH: usize = 1000;

/// How many names of repositories one page of the catalog is made from. Beyond, it ends with those that the caller may pull, and a link
/// leads on; it looks farther only for the first.
pub(crate) const CATALOG_LOOKED_AT_MAX: usize = 20_000;

/// How many names of repositories are looked at for the first one that the caller may pull. Beyond, the list ends with a warning.
pub(crate) const CATALOG_SEARCHED_MAX: usize = 1_000_000;

/// The most referrers on one page; a link leads on.
pub const REFERRERS_PAGE_MAX: usize = 1000;

/// The most bytes of referrers on one page, below the 4 MiB that clients read; a link leads on.
pub const REFERRERS_PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// How many referrers are read from the metadata store at a time.
pub(crate) const REFERRERS_BATCH: usize = 100;

/// How many cached tags are read from the metadata store at a time, at least, to be merged with those of an upstream.
pub(crate) const TAGS_BATCH: usize = 100;

/// How many repositories that hold a blob are tried for a mount without a source.
pub(crate) const MOUNT_SOURCES_MAX: usize = 8;

/// How many repositories that hold a blob are looked at for one that the caller may pull, where the first of them are not. Beyond, it
/// is as if there were none, and the client uploads. Few enough for nobody to see from the time that there were any.
pub(crate) const MOUNT_HOLDERS_MAX: usize = 256;

/// The most interrupted and just begun uploads that are known in memory, with their running hash; others hash their bytes again when
/// they go on.
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

/// How long a client waits for a cached tag or list to be confirmed before it is answered as it is, marked as stale. Counted from
/// when the upstream was asked: whoever joins later waits shorter.
pub(crate) const REVALIDATION_PATIENCE: Duration = Duration::from_secs(1);

/// How long a failed confirmation of something cached is taken to go on: nobody waits for the upstream again before that.
pub(crate) const FAILURE_MEMORY: Duration = Duration::from_secs(10);

/// How long an upstream's word that it has no such tag or manifest is repeated without asking again.
pub(crate) const NEGATIVE_MANIFEST: Duration = Duration::from_secs(30);

/// How long an upstream's word that there is no such repository, or that it is private, is repeated without asking again.
pub(crate) const NEGATIVE_REPOSITORY: Duration = Duration::from_mins(1);

/// How long an upstream's word that it has no such blob is repeated without asking again. Short: it may be on its way there.
pub(crate) const NEGATIVE_BLOB: Duration = Duration::from_secs(10);

/// Refusals of upstreams that are remembered, each up to a few kilobytes. Beyond, the oldest is forgotten, and asked for again.
pub(crate) const REFUSALS_MAX: usize = 4096;

/// Upstreams that are remembered as silent. Beyond, the oldest is forgotten, and waited for again.
pub(crate) const DOUBTS_MAX: usize = 1024;

/// How long an upstream's word is believed that somebody may pull from a repository of its, where it is asked with the account of the
/// caller. Then it is asked again before anything is answered, be it cached or not.
pub(crate) const PERMISSION_LIFETIME: Duration = Duration::from_mins(1);

/// Such words that are remembered. Beyond, the oldest is forgotten, and asked for again.
pub(crate) const PERMISSIONS_MAX: usize = 65_536;

/// How often somebody follows fills that others lead with their accounts at an upstream and that fail, before he is told to come back.
pub(crate) const FILL_JOINS_MAX: u32 = 3;

/// How long an upstream's list of tags or referrers is answered from without asking again.
pub(crate) const LIST_FRESH_FOR: Duration = Duration::from_mins(1);

/// Lists of tags, and as many of referrers, that are remembered. Beyond, the oldest is forgotten, and asked for again.
pub(crate) const LISTS_MAX: usize = 1024;

/// Bytes of all remembered lists of tags. Beyond, the oldest are forgotten. The longest list that an upstream may send fits.
pub(crate) const TAG_LISTS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of all remembered lists of referrers. Beyond, the oldest are forgotten; a list that is longer on its own is asked for
/// each time.
pub(crate) const REFERRER_LISTS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A budget is low when less than one part of so many is left of it: then fresh windows grow.
pub(crate) const BUDGET_LOW_PARTS: u64 = 5;

/// How many times its length a fresh window has when nothing is left of the budget.
pub(crate) const BUDGET_STRETCH_MAX: u64 = 10;

/// After how long a budget is taken to be full again when its upstream does not tell: the window of Docker Hub.
pub(crate) const BUDGET_WINDOW_DEFAULT: Duration = Duration::from_hours(6);

/// Parts of an index that an explanation looks at; of more it says nothing.
pub(crate) const EXPLAINED_CHILDREN_MAX: usize = 256;

/// Pins that an explanation looks through; a pin beyond is not told.
pub(crate) const EXPLAINED_PINS_MAX: usize = 10_000;

/// How many idle uploads one step of the sweep ends.
pub(crate) const SWEEP_BATCH: usize = 100;

/// Staged bytes that no upload session owns are swept when they are this old; a fill writes more often.
pub(crate) const ORPHAN_AGE: Duration = Duration::from_hours(24);

/// How old the staged bytes of an upload session must be that has ended, for the sweep to remove them: longer than a request goes on that has
/// lost its session without having noticed.
pub(crate) const LOST_SESSION_AGE: Duration = Duration::from_mins(1);

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

/// How long the other replicas wait for what one was doing when it dies.
pub const REPLICA_LASTS: Duration = Duration::from_secs(15);

/// The first wait before it is looked again whether another replica is done; it doubles up to [`REPLICA_POLL_MAX`].
pub(crate) const REPLICA_POLL_FIRST: Duration = Duration::from_millis(10);

/// The longest such wait.
pub(crate) const REPLICA_POLL_MAX: Duration = Duration::from_millis(500);

/// How long a question to an upstream waits for another replica that is asking the same; then it is asked all the same. A client waits
/// for this, and perhaps for the question after it.
pub(crate) const REPLICA_ASK_PATIENCE: Duration = Duration::from_secs(5);

/// How often other replicas are told what has become known of upstreams.
pub(crate) const NEWS_INTERVAL: Duration = Duration::from_secs(1);

/// How long what was told is kept for replicas that start later.
pub(crate) const NEWS_LASTS: Duration = Duration::from_hours(6);

/// Of how many upstreams a replica takes at its start what others have told.
pub(crate) const NEWS_REMOTES_MAX: usize = 1000;

/// How long each part of a readiness probe may take: less than whoever asks waits for all of them.
pub(crate) const PROBE_PATIENCE: Duration = Duration::from_millis(1500);
