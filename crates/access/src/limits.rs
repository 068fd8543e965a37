//! Every limit of this crate, and what happens at it.

use std::time::Duration;

/// Bytes of a token of an identity provider. A longer one is not looked at: `TokenFault::Unknown`.
pub(crate) const PROVIDER_TOKEN_BYTES_MAX: usize = 16 * 1024;

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
pub(crate) const VERIFIED_TOKENS_MAX: usize = 4096;

/// How long a token is remembered as verified, if it does not end before: how late the end of a key is noticed.
pub(crate) const VERIFIED_TIME_MAX: Duration = Duration::from_mins(5);

/// Characters kept of what an identity provider wrote, in errors and the log. The rest is cut off.
pub(crate) const FOREIGN_CHARACTERS_MAX: usize = 200;
