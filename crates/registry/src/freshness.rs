//! How long a tag is believed.
//!
//! A digest is believed for ever. A tag is believed for its *fresh window* after the upstream last confirmed it: within it, it is
//! answered from the cache and nobody is asked. After it, the upstream is asked, and while it cannot be, the last answer
//! stands in, for as long as the operator allows. Everything here is a decision, nothing is done.

use std::time::Duration;

use entrepot_metadata::Timestamp;
use entrepot_oci::{RepositoryName, Tag};
use entrepot_upstream::RateLimit;

use crate::limits::{BUDGET_LOW_PARTS, BUDGET_STRETCH_MAX, BUDGET_WINDOW_DEFAULT};
use crate::{Freshness, ProxySettings};

/// What a cached tag is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is the answer; the upstream is not asked.
    Fresh,
    /// The upstream is asked, and as long as it does not say otherwise, the cached tag stands in.
    Due,
    /// The upstream is asked, and what it says is the answer, also when that is a failure.
    Expired,
}

/// What is left of an upstream's budget of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Requests that are left.
    remaining: u64,
    /// Requests in a whole window.
    limit: u64,
    /// How long the window is.
    window: Duration,
}

impl Budget {
    /// As an upstream told it; `None` where it tells too little to say whether little is left.
    pub(crate) fn told(rate_limit: RateLimit) -> Option<Self> {
        let limit = rate_limit.limit?;
        let window = rate_limit.window.unwrap_or(BUDGET_WINDOW_DEFAULT);
        Some(Self { remaining: rate_limit.remaining, limit, window })
    }
}

impl ProxySettings {
    /// How long the tags of an upstream are believed where no rule says otherwise.
    pub(crate) fn upstream_freshness(&self, upstream: &str) -> Freshness {
        self.upstream_freshness.get(upstream).copied().unwrap_or(self.freshness)
    }

    /// How long a tag is believed: as its upstream's are, with what the first rule says that matches all three names.
    ///
    /// `upstream` is the name of the remote, `repository` what the upstream calls it.
    pub fn freshness_of(&self, upstream: &str, repository: &RepositoryName, tag: &Tag) -> Freshness {
        let general = self.upstream_freshness(upstream);
        let rule = self.freshness_rules.iter().find(|rule| {
            rule.upstreams.matches(upstream)
                && rule.repositories.matches(repository.as_str())
                && rule.tags.matches(tag.as_str())
        });
        rule.map_or(general, |rule| Freshness {
            fresh_for: rule.fresh_for.unwrap_or(general.fresh_for),
            stale_for: rule.stale_for.unwrap_or(general.stale_for),
            on_upstream_404: rule.on_upstream_404.unwrap_or(general.on_upstream_404),
        })
    }
}

impl Freshness {
    /// What a tag is good for that the upstream confirmed at `confirmed_at`, with what is left of the upstream's budget.
    pub(crate) fn standing(&self, confirmed_at: Timestamp, now: Timestamp, budget: Option<Budget>) -> Standing {
        let Some(fresh_for) = self.fresh_for else { return Standing::Fresh };
        let window = stretched(fresh_for, budget);
        // Confirmed in the future: the clock was set back, and nothing is known but that asking is safe.
        if age(confirmed_at, now).is_some_and(|age| age < window) {
            return Standing::Fresh;
        }
        if self.may_stand_in(confirmed_at, now) { Standing::Due } else { Standing::Expired }
    }

    /// Whether what the upstream said at `confirmed_at` may still be used when it cannot be asked.
    ///
    /// A clock that is wrong by more than `stale_for`, in whichever direction, makes it unusable.
    pub(crate) fn may_stand_in(&self, confirmed_at: Timestamp, now: Timestamp) -> bool {
        let distance = Duration::from_millis(confirmed_at.milliseconds().abs_diff(now.milliseconds()));
        self.stale_for.is_none_or(|stale_for| distance <= stale_for)
    }
}

/// The time from `since` until `now`; `None` when `since` is in the future, because the clock was set back.
pub(crate) fn age(since: Timestamp, now: Timestamp) -> Option<Duration> {
    let milliseconds = now.milliseconds().checked_sub(since.milliseconds())?;
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}

/// The fresh window when the upstream's budget runs low, so that what is left of it goes to pulls of what is not here yet.
///
/// Nothing changes while at least a fifth of the budget is left. Below, the window grows in a straight line, to ten times its
/// length when nothing is left; but by no more than the window of the budget itself, after which the budget is full again.
/// A window of nothing stays one: who wants each pull to be confirmed gets that.
fn stretched(fresh_for: Duration, budget: Option<Budget>) -> Duration {
    let Some(Budget { remaining, limit, window }) = budget else { return fresh_for };
    let missing = limit.saturating_sub(remaining.saturating_mul(BUDGET_LOW_PARTS));
    if missing == 0 {
        return fresh_for;
    }
    // `missing` of `limit` is 0 at a fifth of the budget and 1 at its end.
    let most = fresh_for.as_millis().saturating_mul(u128::from(BUDGET_STRETCH_MAX - 1));
    let milliseconds = most.saturating_mul(u128::from(missing));
    let longer = Duration::from_millis(u64::try_from(milliseconds / u128::from(limit)).unwrap_or(u64::MAX));
    fresh_for.saturating_add(longer.min(window))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FreshnessRule, OnUpstream404, Patterns};

    const MINUTE: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);

    fn budget(remaining: u64, limit: u64) -> Budget {
        Budget { remaining, limit, window: 6 * HOUR }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_milliseconds(seconds * 1000)
    }

    #[test]
    fn a_tag_is_fresh_then_due_then_expired_whatever_the_clock_does() {
        use Standing::{Due, Expired, Fresh};
        let freshness = |fresh_for, stale_for| Freshness { fresh_for, stale_for, ..Freshness::default() };
        let bounded = freshness(Some(MINUTE), Some(HOUR));
        let unbounded = freshness(Some(MINUTE), None);
        let always_asked = freshness(Some(Duration::ZERO), None);
        let immutable = freshness(None, Some(HOUR));
        let never_stale = freshness(Some(MINUTE), Some(Duration::ZERO));
        let rows = [
            (bounded, 0, Fresh),
            (bounded, 59, Fresh),
            (bounded, 60, Due),
            (bounded, 3600, Due),
            (bounded, 3601, Expired),
            (unbounded, 1_000_000_000, Due),
            (always_asked, 0, Due),
            (immutable, 1_000_000_000, Fresh),
            (never_stale, 59, Fresh),
            (never_stale, 60, Expired),
            // The clock was set back by so much: never fresh, and not usable for longer than is said.
            (bounded, -1, Due),
            (bounded, -3600, Due),
            (bounded, -3601, Expired),
            (unbounded, -1_000_000_000, Due),
            (immutable, -1, Fresh),
        ];
        for (freshness, passed, expected) in rows {
            let standing = freshness.standing(at(2_000_000_000), at(2_000_000_000 + passed), None);
            assert_eq!(standing, expected, "{freshness:?} after {passed} s");
        }
    }

    #[test]
    fn the_first_rule_that_matches_says_what_it_says_and_leaves_the_rest() {
        let patterns = |text: &str| Patterns::new([text]).unwrap();
        let general =
            Freshness { fresh_for: Some(HOUR), on_upstream_404: OnUpstream404::Forget, ..Freshness::default() };
        let settings = ProxySettings {
            upstream_freshness: [("hub".to_owned(), general)].into(),
            freshness_rules: vec![
                FreshnessRule { tags: patterns("v*.*.*"), fresh_for: Some(None), ..FreshnessRule::default() },
                FreshnessRule {
                    upstreams: patterns("hub"),
                    repositories: patterns("library/*"),
                    stale_for: Some(Some(HOUR)),
                    on_upstream_404: Some(OnUpstream404::Keep),
                    ..FreshnessRule::default()
                },
            ],
            ..ProxySettings::default()
        };
        let of = |upstream, repository: &str, tag: &str| {
            settings.freshness_of(upstream, &repository.parse().unwrap(), &tag.parse().unwrap())
        };
        assert_eq!(of("other", "a/b", "latest"), Freshness::default());
        assert_eq!(of("other", "library/x", "latest"), Freshness::default());
        assert_eq!(of("hub", "a/b", "latest"), general);
        assert_eq!(of("hub", "library/x", "v1.2.3"), Freshness { fresh_for: None, ..general });
        let kept = Freshness { stale_for: Some(HOUR), on_upstream_404: OnUpstream404::Keep, ..general };
        assert_eq!(of("hub", "library/x", "latest"), kept);
    }

    #[test]
    fn a_window_grows_as_the_budget_ends() {
        assert_eq!(stretched(MINUTE, None), MINUTE);
        let rows = [
            (budget(100, 100), MINUTE, MINUTE),
            (budget(20, 100), MINUTE, MINUTE),
            (budget(10, 100), MINUTE, Duration::from_secs(330)),
            (budget(0, 100), MINUTE, 10 * MINUTE),
            (budget(0, 0), MINUTE, MINUTE),
            (budget(200, 100), MINUTE, MINUTE),
            (budget(0, 100), Duration::ZERO, Duration::ZERO),
            // No longer than until the budget is full again.
            (budget(0, 100), 24 * HOUR, 30 * HOUR),
            (budget(0, u64::MAX), Duration::MAX, Duration::MAX),
        ];
        for (budget, fresh_for, expected) in rows {
            assert_eq!(stretched(fresh_for, Some(budget)), expected, "{budget:?}");
        }
    }
}
