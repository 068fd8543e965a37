//! What has become known of a remote, for the other processes that ask it, and from them.
//!
//! One of several replicas that is told to be patient, or sees that little is left of a budget, tells the others: a remote is to be left alone by
//! all of them. Nothing depends on it arriving: whoever has not heard finds out by asking.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::RateLimit;
use crate::limits::{FAILING_WINDOW_MAX, NEWS_WAITING_MAX};

/// What has become known of a remote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// What the remote is called, as for [`Remotes::resolve`](crate::Remotes::resolve).
    pub remote: String,
    /// How it is.
    pub condition: Condition,
}

/// How a remote is. Lengths of time are in seconds from now on, so that no clocks are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// So much is left of its budget.
    Budget {
        /// Pulls that are left in the window.
        remaining: u64,
        /// Pulls in a whole window, if told.
        limit: Option<u64>,
        /// The length of the window, if told.
        window: Option<u64>,
    },
    /// It asked for patience, for so long.
    Patience(u64),
    /// It keeps failing, and is not asked for so long.
    Failing(u64),
    /// It answers again.
    Answering,
}

impl Condition {
    pub(crate) fn budget(told: &RateLimit) -> Self {
        Self::Budget {
            remaining: told.remaining,
            limit: told.limit,
            window: told.window.map(|window| window.as_secs()),
        }
    }

    /// The budget, as if it had just been told.
    pub(crate) fn rate_limit(&self) -> Option<RateLimit> {
        let Self::Budget { remaining, limit, window } = *self else { return None };
        Some(RateLimit { remaining, limit, window: window.map(Duration::from_secs), told: Instant::now() })
    }
}

/// So many seconds, as far as anybody would believe another replica: it may be of another version, or wrong.
pub(crate) fn believed(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(FAILING_WINDOW_MAX.max(Duration::from_hours(24)))
}

/// Tells what has become known. Clones tell the same listeners.
#[derive(Clone, Debug)]
pub(crate) struct Herald(broadcast::Sender<News>);

impl Herald {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(NEWS_WAITING_MAX))
    }

    /// What is told from now on. Whoever is slow to listen misses the oldest.
    pub(crate) fn listen(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }

    pub(crate) fn tell(&self, remote: &str, condition: Condition) {
        if self.0.receiver_count() > 0 {
            // Nobody listens any more: then there is nobody to be told.
            let _ = self.0.send(News { remote: remote.to_owned(), condition });
        }
    }
}
