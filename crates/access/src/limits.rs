//! Every limit of this crate, and what happens at it.

use std::time::Duration;

/// Wrong passwords of one address within [`FAILURES_WINDOW`]; the next one is refused without a look at it.
pub(crate) const FAILURES_MAX: usize = 10;

/// How long a wrong password counts.
pub(crate) const FAILURES_WINDOW: Duration = Duration::from_mins(1);

/// Addresses with wrong passwords that are remembered; with one more, the one that has been quiet for longest is forgotten.
pub(crate) const THROTTLED_ADDRESSES_MAX: usize = 10_000;
