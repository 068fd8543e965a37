//! Everything has a limit: the constants of this crate, and what happens at each.

use std::time::Duration;

/// Redirects that one request follows. The next one is `Error::TooManyRedirects`.
pub(crate) const REDIRECTS_MAX: usize = 5;

/// Bytes read of the body of a refusal, for its error codes. A longer body counts as one without codes.
pub(crate) const ERROR_BODY_BYTES_MAX: usize = 16 * 1024;

/// Error entries kept of a refusal. The rest is left out.
pub(crate) const REPORTED_MAX: usize = 5;

/// Characters kept of a code or message that an upstream wrote. The rest is cut off.
pub(crate) const REPORTED_CHARACTERS_MAX: usize = 300;

/// How long the rest of an answer that nobody needs may take, so that its connection can be used again. Then the
/// connection is closed.
pub(crate) const RELEASE_TIME_MAX: Duration = Duration::from_millis(100);

/// Bytes of the answer of a token endpoint. More is `Error::TooLarge`.
pub(crate) const TOKEN_BODY_BYTES_MAX: usize = 128 * 1024;

/// The lifetime of a token whose endpoint names none.
pub(crate) const TOKEN_LIFETIME_DEFAULT: Duration = Duration::from_mins(1);

/// The longest that a token is used, whatever its endpoint says.
pub(crate) const TOKEN_LIFETIME_MAX: Duration = Duration::from_hours(1);

/// A token is given up this long before its end, or a tenth of its life when that is shorter.
pub(crate) const TOKEN_MARGIN_MAX: Duration = Duration::from_secs(15);

/// Tokens kept for one remote. Beyond, the one that would expire first goes.
pub(crate) const TOKENS_MAX: usize = 1024;

/// An expired token is out of memory this long after its end at the latest.
pub(crate) const TOKEN_SWEEP_INTERVAL_MAX: Duration = Duration::from_mins(1);

/// After refused credentials, how long the refusal is repeated without asking again: bad logins lock accounts.
pub(crate) const CREDENTIALS_BACK_OFF: Duration = Duration::from_mins(1);

/// Steps that a handshake tells. Further ones are left out; an ordinary one has about seven.
pub(crate) const HANDSHAKE_STEPS_MAX: usize = 32;

/// How long a credential helper may take. Then it is ended, and the account is `Error::CredentialsUnavailable`.
pub(crate) const HELPER_TIME_MAX: Duration = Duration::from_secs(15);

/// Bytes that a credential helper may write. More is `Error::CredentialsUnavailable`.
pub(crate) const HELPER_OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// How long the failure of a credential helper is repeated without running it again.
pub(crate) const HELPER_BACK_OFF: Duration = Duration::from_secs(10);

/// Mirrors of one upstream. One more is `ConfigError::Mirror`.
pub(crate) const MIRRORS_MAX: usize = 16;

/// How long a mirror is not asked after it sent other content than was asked for.
pub(crate) const MIRROR_DISTRUST: Duration = Duration::from_mins(5);

/// How long a mirror is not asked after it let somebody wait in vain or broke off in the middle of a blob.
pub(crate) const MIRROR_PAUSE: Duration = Duration::from_mins(1);

/// Bytes of one page of tags or referrers. More is `Error::TooLarge`.
pub(crate) const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Pages of one list. More is `Error::TooLarge`.
pub(crate) const PAGES_MAX: usize = 1000;

/// Tags asked for at once: the most that ECR allows.
pub(crate) const TAGS_PER_PAGE: usize = 1000;

/// Entries of one list. More is `Error::TooLarge`, since a list with holes would be a lie.
pub(crate) const ENTRIES_MAX: usize = 250_000;

/// What a 429 without a readable `Retry-After` is taken to say.
pub(crate) const RETRY_AFTER_DEFAULT: Duration = Duration::from_mins(1);

/// The longest `Retry-After` that is believed: the window of Docker Hub.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_hours(6);

/// Failures in a row after which a remote is not asked for a while.
pub(crate) const FAILURES_MAX: u32 = 5;

/// How long a failing remote is not asked at first. It doubles with each question that finds it still failing.
pub(crate) const FAILING_WINDOW_MIN: Duration = Duration::from_secs(3);

/// The longest that a failing remote is not asked: a remote that is back is noticed at the latest after this.
pub(crate) const FAILING_WINDOW_MAX: Duration = Duration::from_mins(1);

/// Questions of one kind that wait for their turn at one remote. The next one is `Error::Busy`.
pub(crate) const QUEUE_LENGTH_MAX: usize = 256;

/// How long a question waits for its turn, well below the 30 seconds after which clients and load balancers give up.
/// Then it is `Error::Busy`.
pub(crate) const QUEUE_TIME_MAX: Duration = Duration::from_secs(20);

/// The part of the turns, one in so many, that transfers of blobs leave to the other questions.
pub(crate) const TURNS_PER_KEPT_TURN: usize = 4;

/// How long a remote is believed about what is left of its budget when it names no window.
pub(crate) const RATE_LIMIT_WINDOW_DEFAULT: Duration = Duration::from_mins(1);

/// Remotes kept for hosts that no configuration lists. Beyond, the one used longest ago is forgotten.
pub(crate) const UNLISTED_REMOTES_MAX: usize = 256;

/// Bytes of a document that does not come from a registry. More is `Error::TooLarge`.
pub(crate) const FOREIGN_DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// How long such a document may take, the connection included. Then it is `Error::Timeout`.
pub(crate) const FOREIGN_DOCUMENT_TIME_MAX: Duration = Duration::from_secs(5);

/// Idle connections kept to one authority. Beyond, they are closed after their request.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = 16;

/// How long a connection is kept idle.
pub(crate) const IDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// Accounts of callers that are remembered for one upstream, each with its tokens. Beyond, the one used longest ago is forgotten,
/// and has to fetch its tokens again.
pub(crate) const CALLERS_MAX: usize = 1024;

/// How long the account of a caller is kept in memory after its last use.
pub(crate) const CALLER_IDLE_MAX: Duration = Duration::from_mins(5);

/// How often unused accounts of callers are looked for: one is out of memory this long after its time at the latest.
pub(crate) const CALLER_SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// News of remotes that wait for a listener that is slow. Beyond, the oldest are gone; the next ones say the same better.
pub(crate) const NEWS_WAITING_MAX: usize = 256;
