//! By which headers a registry tells what is left of its budget of pulls.
//!
//! Docker Hub writes `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`. Others leave the window out and
//! name in `ratelimit-reset` when it ends, or put `x-` before the names, as the programming interfaces of Docker Hub,
//! GitHub and GitLab do.

use std::time::Duration;

use http::HeaderMap;
use http::header::DATE;
use tokio::time::Instant;

use crate::limits::RATE_LIMIT_WINDOW_DEFAULT;

/// Seconds from which on a number is a time of day rather than a length: no window lasts for thirty years.
const UNIX_TIME_MIN: u64 = 1_000_000_000;

/// What an upstream said is left of its budget, with its last answer that said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Pulls that are left in the window.
    pub remaining: u64,
    /// Pulls in a whole window, if told.
    pub limit: Option<u64>,
    /// The length of the window, or of what was left of it; if told.
    pub window: Option<Duration>,
    /// When it was told.
    pub told: Instant,
}

impl RateLimit {
    /// The part that is left, from 0 to 1; `None` when something is left and it is not told of how much.
    pub fn left(&self) -> Option<f64> {
        if self.remaining == 0 {
            return Some(0.0);
        }
        let limit = self.limit.filter(|limit| *limit > 0)?;
        #[expect(clippy::cast_precision_loss, reason = "a budget is far below 2^52, and a fraction need not be exact")]
        let left = self.remaining as f64 / limit as f64;
        Some(left.min(1.0))
    }

    /// Whether the window that it is about need not be over yet.
    pub(crate) fn is_current(&self) -> bool {
        self.told.elapsed() < self.window.unwrap_or(RATE_LIMIT_WINDOW_DEFAULT)
    }

    /// Reads what an answer says; `None` where it says nothing, as for accounts without a limit.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        ["", "x-"].into_iter().find_map(|prefix| {
            let (remaining, window) = quantity(headers, &format!("{prefix}ratelimit-remaining"))?;
            let limit = quantity(headers, &format!("{prefix}ratelimit-limit"));
            let window = window.or(limit.and_then(|(_, window)| window));
            let window = window.or_else(|| until_reset(headers, &format!("{prefix}ratelimit-reset")));
            Some(Self { remaining, limit: limit.map(|(limit, _)| limit), window, told: Instant::now() })
        })
    }
}

/// A number and the window that it is counted in.
fn quantity(headers: &HeaderMap, name: &str) -> Option<(u64, Option<Duration>)> {
    let mut parts = headers.get(name)?.to_str().ok()?.split([';', ',']).map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok()).map(Duration::from_secs);
    Some((number, window))
}

/// How long the window still lasts: seconds, or a time of day, which is measured from the `Date` of the same answer, so that
/// no clock is compared with ours.
fn until_reset(headers: &HeaderMap, name: &str) -> Option<Duration> {
    let (seconds, _) = quantity(headers, name)?;
    if seconds < UNIX_TIME_MIN {
        return Some(Duration::from_secs(seconds));
    }
    let now = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let now = now.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(seconds).saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn read(headers: &[(&str, &str)]) -> Option<RateLimit> {
        let headers = headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
        RateLimit::read(&headers.collect())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_read_as_registries_write_it() {
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<(u64, Option<u64>, Option<u64>)>);
        let rows: [Row<'_>; 11] = [
            (
                &[("ratelimit-remaining", "76;w=21600"), ("ratelimit-limit", "100;w=21600")],
                Some((76, Some(100), Some(21600))),
            ),
            (&[("ratelimit-remaining", "0"), ("ratelimit-limit", "100;w=21600")], Some((0, Some(100), Some(21600)))),
            (&[("RateLimit-Remaining", "5")], Some((5, None, None))),
            (
                &[("ratelimit-remaining", "50"), ("ratelimit-limit", "100, 100;w=60"), ("ratelimit-reset", "30")],
                Some((50, Some(100), Some(60))),
            ),
            (&[("ratelimit-remaining", "9"), ("ratelimit-reset", "30")], Some((9, None, Some(30)))),
            (
                &[
                    ("x-ratelimit-limit", "60"),
                    ("x-ratelimit-remaining", "59"),
                    ("x-ratelimit-reset", "1700000060"),
                    ("date", "Tue, 14 Nov 2023 22:13:20 GMT"),
                ],
                Some((59, Some(60), Some(60))),
            ),
            (&[("x-ratelimit-remaining", "59"), ("x-ratelimit-reset", "1700000060")], Some((59, None, None))),
            (&[("x-ratelimit-remaining", "1"), ("ratelimit-remaining", "2")], Some((2, None, None))),
            (&[("ratelimit-remaining", "many"), ("ratelimit-limit", "100")], None),
            (&[("ratelimit-remaining", "-1")], None),
            (&[("ratelimit-limit", "100;w=21600")], None),
        ];
        for (headers, expected) in rows {
            let expected = expected.map(|(remaining, limit, window)| RateLimit {
                remaining,
                limit,
                window: window.map(Duration::from_secs),
                told: Instant::now(),
            });
            assert_eq!(read(headers), expected, "{headers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_is_believed_for_its_window_and_no_longer() {
        for (text, seconds) in [("5;w=100", 100), ("5", RATE_LIMIT_WINDOW_DEFAULT.as_secs())] {
            let told = read(&[("ratelimit-remaining", text)]).unwrap();
            tokio::time::advance(Duration::from_millis(seconds * 1000 - 1)).await;
            assert!(told.is_current(), "{text}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!told.is_current(), "{text}");
        }
    }

    #[test]
    fn the_part_that_is_left_is_between_0_and_1_or_unknown() {
        let rows = [
            (25, Some(100), Some(0.25)),
            (0, Some(100), Some(0.0)),
            (0, None, Some(0.0)),
            (200, Some(100), Some(1.0)),
            (5, None, None),
            (5, Some(0), None),
        ];
        for (remaining, limit, expected) in rows {
            let limit = RateLimit { remaining, limit, window: None, told: Instant::now() };
            assert_eq!(limit.left(), expected, "{limit:?}");
        }
    }
}
