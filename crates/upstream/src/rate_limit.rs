//! `ratelimit-limit` and `ratelimit-remaining`, by which Docker Hub tells what is left of its budget of pulls.

use std::time::Duration;

use http::HeaderMap;

/// What an upstream said is left of its budget, with its last answer that said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Pulls that are left in the window.
    pub remaining: u64,
    /// Pulls in a whole window, if told.
    pub limit: Option<u64>,
    /// The length of the window, if told.
    pub window: Option<Duration>,
}

impl RateLimit {
    /// Reads `76;w=21600`; `None` where the answer says nothing, as for accounts without a limit.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let (remaining, window) = quantity(headers, "ratelimit-remaining")?;
        let limit = quantity(headers, "ratelimit-limit");
        let window = window.or(limit.and_then(|(_, window)| window));
        Some(Self { remaining, limit: limit.map(|(limit, _)| limit), window })
    }
}

/// A number and the window that it is counted in.
fn quantity(headers: &HeaderMap, name: &str) -> Option<(u64, Option<Duration>)> {
    let mut parts = headers.get(name)?.to_str().ok()?.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok()).map(Duration::from_secs);
    Some((number, window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read_with_or_without_the_rest() {
        let window = Some(Duration::from_hours(6));
        let rows = [
            (Some("76;w=21600"), Some("100;w=21600"), Some(RateLimit { remaining: 76, limit: Some(100), window })),
            (Some("0"), Some("100;w=21600"), Some(RateLimit { remaining: 0, limit: Some(100), window })),
            (Some("5"), None, Some(RateLimit { remaining: 5, limit: None, window: None })),
            (Some("many"), Some("100"), None),
            (None, Some("100;w=21600"), None),
        ];
        for (remaining, limit, expected) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in [("ratelimit-remaining", remaining), ("ratelimit-limit", limit)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            assert_eq!(RateLimit::read(&headers), expected, "{remaining:?} of {limit:?}");
        }
    }
}
