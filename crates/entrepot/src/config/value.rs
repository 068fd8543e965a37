//! Values that TOML has no type for: durations and sizes.

use std::time::Duration;

const SECONDS: &[(&str, u64)] = &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

const BYTES: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A duration such as `30s`, `5m`, `12h` or `7d`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    scaled(text, SECONDS).map(Duration::from_secs)
}

/// A number of bytes such as `10GiB`, `500MB` or `4096`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    scaled(text, BYTES)
}

/// A duration, or `forever`, which is `None`.
#[expect(clippy::option_option, reason = "the outer one is whether it can be read, the inner one is what it says")]
pub(crate) fn parse_lasting(text: &str) -> Option<Option<Duration>> {
    if text == "forever" { Some(None) } else { parse_duration(text).map(Some) }
}

/// A part of a whole in percent, such as `95%`.
pub(crate) fn parse_percent(text: &str) -> Option<u8> {
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|percent| *percent <= 100)
}

/// The duration as it would be written, `forever` for `None`.
pub(crate) fn show_lasting(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "forever".to_owned(), show_duration)
}

/// The duration as it would be written.
pub(crate) fn show_duration(duration: Duration) -> String {
    show_scaled(duration.as_secs(), SECONDS)
}

/// The size as it would be written.
pub(crate) fn show_size(bytes: u64) -> String {
    show_scaled(bytes, BYTES)
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

fn show_scaled(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, scale): &&(&str, u64)| amount >= *scale && amount.is_multiple_of(*scale);
    let (unit, scale) = units.iter().filter(fits).max_by_key(|(_, scale)| scale).unwrap_or(&units[0]);
    format!("{}{unit}", amount / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_number_and_one_unit() {
        let rows =
            [("0s", Some(0)), ("30s", Some(30)), ("5m", Some(300)), ("12h", Some(43_200)), ("7d", Some(604_800))];
        for (text, seconds) in rows {
            assert_eq!(parse_duration(text), seconds.map(Duration::from_secs), "{text}");
        }
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "+1s",
            "1.5h",
            "1h30m",
            "30 s",
            "30S",
            "1w",
            "99999999999999999999s",
            "213503982334602d",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        let rows =
            [("4096", 4096), ("1KiB", 1024), ("10GiB", 10 << 30), ("500MB", 500_000_000), ("2TB", 2_000_000_000_000)];
        for (text, bytes) in rows {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "GiB", "1 GiB", "1gib", "-1", "1.5GiB", "18446744073709551616", "99999999TiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn a_part_is_a_whole_number_of_percent_and_nothing_lasts_longer_than_forever() {
        for (text, percent) in [("0%", 0), ("85%", 85), ("100%", 100)] {
            assert_eq!(parse_percent(text), Some(percent), "{text}");
        }
        for text in ["", "%", "85", "85 %", "101%", "-1%", "+1%", "8.5%", "1000%"] {
            assert_eq!(parse_percent(text), None, "{text}");
        }
        for text in ["forever", "0s", "5m"] {
            assert_eq!(show_lasting(parse_lasting(text).expect("lasting")), text);
        }
        assert_eq!(parse_lasting("for ever"), None);
    }

    #[test]
    fn what_is_shown_can_be_written() {
        for text in ["0s", "59s", "90s", "5m", "36h", "7d"] {
            assert_eq!(show_duration(parse_duration(text).expect("a duration")), text);
        }
        for text in ["4097", "1KiB", "10GiB", "1500KB", "3TB"] {
            assert_eq!(parse_size(&show_size(parse_size(text).expect("a size"))), parse_size(text));
        }
        assert_eq!(show_size(10 << 30), "10GiB");
    }
}
