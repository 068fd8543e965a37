//! When an image was made, as far as it says so itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use entrepot_metadata::Timestamp;
use entrepot_oci::Digest;

use crate::limits::DATES_MAX;

/// The annotation of manifests and indexes that has their date.
pub(crate) const CREATED_ANNOTATION: &str = "org.opencontainers.image.created";

/// What an image says about when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    /// Then.
    At(Timestamp),
    /// Nothing that can be read.
    Untold,
}

impl From<Option<Timestamp>> for Created {
    fn from(date: Option<Timestamp>) -> Self {
        date.map_or(Self::Untold, Self::At)
    }
}

/// The dates of manifests that were looked up before. Content never changes under its digest, so they stay true.
#[derive(Debug, Default)]
pub(crate) struct Dates(Mutex<HashMap<Digest, Created>>);

impl Dates {
    /// The date of a manifest, if it was looked up before.
    pub(crate) fn get(&self, manifest: &Digest) -> Option<Created> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(manifest).copied()
    }

    pub(crate) fn put(&self, manifest: Digest, created: Created) {
        let mut dates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if dates.len() >= DATES_MAX {
            dates.clear();
        }
        dates.insert(manifest, created);
    }
}

/// The date in an image's configuration; none when it has none that can be read.
pub(crate) fn date_of_config(config: &[u8]) -> Option<Timestamp> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    parse_date(config.get("created")?.as_str()?)
}

/// A date of RFC 3339, such as `2024-02-29T12:30:00.5+01:00`.
pub(crate) fn parse_date(text: &str) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let byte = |position: usize| text.as_bytes().get(position).map(u8::to_ascii_uppercase);
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !separators.iter().all(|(position, separator)| byte(*position) == Some(*separator)) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // 60 is a leap second.
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone = text.get(19..)?;
    // Fractions of a second decide nothing.
    let zone = match zone.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|character: char| character.is_ascii_digit()),
        None => zone,
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?;
    Some(Timestamp::from_milliseconds(seconds * 1000))
}

/// How many seconds a time zone (`Z`, `+01:00`) is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two_digits = |text: &str| (text.len() == 2).then(|| text.parse::<u8>().ok())?;
    Some(sign * (i64::from(two_digits(hours)?) * 3600 + i64::from(two_digits(minutes)?) * 60))
}

/// In the Gregorian calendar: years begin with March, so that the leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let days_before_month = (153 * ((month + 9) % 12) + 2) / 5;
    let days_of_years = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    days_of_years + days_before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_to_the_second() {
        let rows = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-02T00:00:01z", Some(86_401)),
            ("2000-02-29T00:00:00Z", Some(951_782_400)),
            ("2000-03-01T00:00:00Z", Some(951_868_800)),
            ("2024-06-05T14:30:15.123456789Z", Some(1_717_597_815)),
            ("2024-06-05T14:30:15+02:00", Some(1_717_590_615)),
            ("2024-06-05T14:30:15.5-00:30", Some(1_717_599_615)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800)),
            ("2024-06-05", None),
            ("2024-06-05 14:30:15Z", None),
            ("2024-13-05T14:30:15Z", None),
            ("2024-06-05T24:30:15Z", None),
            ("2024-06-05T14:30:15", None),
            ("2024-06-05T14:30:15+2", None),
            ("2024-06-05T14:30:15é", None),
            ("+024-06-05T14:30:15Z", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_date(text).map(|date| date.milliseconds() / 1000), expected, "{text}");
        }
    }

    #[test]
    fn only_a_configuration_with_a_date_has_one() {
        assert_eq!(date_of_config(br#"{"created":"1970-01-01T00:00:01Z"}"#), Some(Timestamp::from_milliseconds(1000)));
        for config in [&b"{}"[..], b"[]", b"not json", br#"{"created":null}"#, br#"{"created":5}"#] {
            assert_eq!(date_of_config(config), None);
        }
    }

    #[test]
    fn remembered_dates_are_bounded() {
        let dates = Dates::default();
        let digest = |number: usize| entrepot_oci::Algorithm::Sha256.digest(&number.to_le_bytes());
        for number in 0..=DATES_MAX {
            dates.put(digest(number), Created::Untold);
        }
        assert_eq!(dates.get(&digest(DATES_MAX)), Some(Created::Untold));
        assert_eq!(dates.get(&digest(0)), None);
    }
}
