//! Every limit of this crate, and what happens at it.

use std::time::Duration;

/// How long an upstream's word is believed that somebody has an account there, or has none. Then it is asked again.
pub(crate) const UPSTREAM_LOGIN_LIFETIME: Duration = Duration::from_mins(1);

/// Accounts that such a word is remembered of. Beyond, the oldest is forgotten, and asked about again.
pub(crate) const UPSTREAM_LOGINS_MAX: usize = 4096;
