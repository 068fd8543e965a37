//! Every limit of this crate, and what happens at it.

use std::time::Duration;

/// Wrong passwords of one address within [`FAILURES_WINDOW`]; the next one is refused without a look at it.
pub(crate) const FAILURES_MAX: usize = 10;

/// How long a wrong password counts.
pub(crate) const FAILURES_WINDOW: Duration = Duration::from_mins(1);

/// Addresses with wrong passwords that are remembered; with one more, the one that has been quiet for longest is forgotten.
pub(crate) const THROTTLED_ADDRESSES_MAX: usize = 10_000;

/// Bytes of a token, ours or an identity provider's; a longer one is refused before anything is read of it, and none is issued.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a token that is issued, so that it fits into the header lines of every proxy in between; what it is asked for beyond
/// that is left out of it, and its client is told so.
pub(crate) const ISSUED_TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The shortest life of a token: clients take every one for good for a minute. A shorter one is made this long.
pub(crate) const TOKEN_LIFETIME_MIN: Duration = Duration::from_mins(1);

/// The longest life of a token; a longer one is made this long.
pub(crate) const TOKEN_LIFETIME_MAX: Duration = Duration::from_hours(1);

/// How far the clocks of two replicas may be apart: a token is good for so much longer, and so much earlier.
pub(crate) const CLOCK_SKEW_MAX: Duration = Duration::from_mins(1);

/// How long after its end a token is still good for going on with an upload; then it is good for nothing.
pub(crate) const EXPIRED_TOKEN_GRACE: Duration = Duration::from_hours(12);

/// Tokens whose signature was verified and that are remembered; with more, those that were not seen for longest are verified again.
pub(crate) const VERIFIED_TOKENS_MAX: usize = 4096;

/// The age at which a signing key is replaced.
pub(crate) const SIGNING_KEY_AGE_MAX: Duration = Duration::from_hours(90 * 24);

/// How long a key that was replaced still verifies; longer than any token that it has signed is good for. Then it is deleted.
pub(crate) const REPLACED_KEY_GRACE: Duration = Duration::from_hours(24);

/// How often the signing keys are read again, at most, because a token names one that is not known; in between it is refused.
pub(crate) const SIGNING_KEYS_READ_INTERVAL: Duration = Duration::from_secs(3);

/// How often a first key is tried to be made, with replicas that make one at the same time; then the start fails.
pub(crate) const FIRST_KEY_ATTEMPTS_MAX: usize = 5;

/// Tokens of users and robots that are remembered; with more, those that were not seen for longest are looked up again.
pub(crate) const REMEMBERED_CREDENTIALS_MAX: usize = 4096;

/// How long a look-up of such a token is believed: one that another replica has revoked is good for so much longer.
pub(crate) const CREDENTIAL_BELIEVED: Duration = Duration::from_secs(2);

/// Tokens of one user or robot, and apart from these, his refresh tokens. No more can be made, until one is revoked; of refresh
/// tokens the one that has not been used for longest ends instead.
pub(crate) const CREDENTIALS_PER_PRINCIPAL_MAX: usize = 100;

/// Bytes of the name of a token; a longer one is refused.
pub(crate) const CREDENTIAL_NAME_BYTES_MAX: usize = 128;

/// Patterns of repositories of one token; more are refused.
pub(crate) const CREDENTIAL_PATTERNS_MAX: usize = 64;

/// Bytes of each of them; a longer one is refused.
pub(crate) const CREDENTIAL_PATTERN_BYTES_MAX: usize = 255;

/// How long a refresh token lives without being used; then it ends.
pub(crate) const REFRESH_TOKEN_UNUSED_MAX: Duration = Duration::from_hours(90 * 24);

/// Uses of tokens that wait to be written; further ones are lost, which makes their tokens look unused for a minute longer.
pub(crate) const USES_WAITING_MAX: usize = 10_000;

/// How often uses are written, and the signing keys looked after.
pub(crate) const UPKEEP_INTERVAL: Duration = Duration::from_mins(1);

/// How often what has ended is swept.
pub(crate) const CREDENTIAL_SWEEP_INTERVAL: Duration = Duration::from_hours(1);

/// Bytes of a password that an upstream is asked about: it has to fit into a token, sealed. A longer one is nobody's.
pub(crate) const UPSTREAM_PASSWORD_BYTES_MAX: usize = 3 * 1024;

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

/// How long an upstream's word is believed that somebody has an account there, or has none. Then it is asked again.
pub(crate) const UPSTREAM_LOGIN_LIFETIME: Duration = Duration::from_mins(1);

/// Accounts that such a word is remembered of. Beyond, the oldest is forgotten, and asked about again.
pub(crate) const UPSTREAM_LOGINS_MAX: usize = 4096;

/// How far the clock of an identity provider may be from ours. Beyond, its tokens are expired or not valid yet.
pub(crate) const PROVIDER_CLOCK_LEEWAY: Duration = Duration::from_mins(1);

/// Keys that are used of those an identity provider publishes. Further ones are left out, with a line in the log.
pub(crate) const PROVIDER_KEYS_MAX: usize = 100;

/// The age at which keys of an identity provider are fetched again, behind the back of a request that goes on with the old ones.
pub(crate) const PROVIDER_KEYS_REFRESH: Duration = Duration::from_hours(1);

/// How long keys are good for while their identity provider cannot be asked. Then its tokens are `Refusal::Unavailable`.
pub(crate) const PROVIDER_KEYS_AGE_MAX: Duration = Duration::from_hours(24);

/// How often the keys of an identity provider are fetched because somebody names one that is not among them. In between there is
/// no such key.
pub(crate) const PROVIDER_FORCED_FETCH_INTERVAL: Duration = Duration::from_mins(1);

/// How long an identity provider that failed is not asked again.
pub(crate) const PROVIDER_BACK_OFF: Duration = Duration::from_secs(10);

/// Tokens of identity providers that are remembered as verified. Beyond, the one that ends first is verified again when it comes.
pub(crate) const PROVIDER_VERIFIED_MAX: usize = 4096;

/// How long a token is remembered as verified, if it does not end before: how late the end of a key is noticed.
pub(crate) const VERIFIED_TIME_MAX: Duration = Duration::from_mins(5);

/// Characters kept of what an identity provider wrote, in errors and the log. The rest is cut off.
pub(crate) const FOREIGN_CHARACTERS_MAX: usize = 200;
