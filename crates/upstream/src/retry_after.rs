//! `Retry-After`, in the forms that registries send.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use crate::limits::RETRY_AFTER_MAX;

/// When to come back: whole seconds, at least 1; `None` when the answer does not say so in a readable way.
///
/// Seconds may be fractional or carry a unit (`985.86µs`, seen at ghcr.io). A date is measured from the `Date` of the same
/// answer, so that no clock is compared with ours.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = String::from_utf8_lossy(headers.get(RETRY_AFTER)?.as_bytes());
    let wait = from_number(text.trim()).or_else(|| from_date(text.trim(), headers))?;
    let seconds = wait.min(RETRY_AFTER_MAX).as_secs_f64().ceil().max(1.0);
    Some(Duration::from_secs_f64(seconds))
}

fn from_number(text: &str) -> Option<Duration> {
    let number_end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let factor = match unit.trim() {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "µs" | "us" => 1e-6,
        "ns" => 1e-9,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    // Too large for a duration is longer than anything that is believed.
    Some(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).unwrap_or(RETRY_AFTER_MAX))
}

fn from_date(text: &str, headers: &HeaderMap) -> Option<Duration> {
    let then = httpdate::parse_http_date(text).ok()?;
    let now = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_form_gives_whole_seconds_from_1_on() {
        let rows = [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("0", Some(1)),
            ("1.5", Some(2)),
            ("985.86µs", Some(1)),
            ("2m", Some(120)),
            ("99999999999999999999999999", Some(6 * 3600)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(1)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
