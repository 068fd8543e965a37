//! Moments as S3 writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// A moment taken apart, in UTC.
struct Parts {
    year: u64,
    month: usize,
    day: u64,
    weekday: usize,
    hour: u64,
    minute: u64,
    second: u64,
    millisecond: u32,
}

impl Parts {
    fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (mut year, mut day) = (1970, days);
        while day >= days_of_year(year) {
            day -= days_of_year(year);
            year += 1;
        }
        let mut month = 0;
        while day >= days_of_month(year, month) {
            day -= days_of_month(year, month);
            month += 1;
        }
        let weekday = usize::try_from(days % 7).unwrap_or_default();
        let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
        Self { year, month, day: day + 1, weekday, hour, minute, second, millisecond: since.subsec_millis() }
    }
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_of_month(year: u64, month: usize) -> u64 {
    match month {
        1 if is_leap(year) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// As in XML: `2026-01-02T03:04:05.678Z`.
pub(super) fn in_xml(time: SystemTime) -> String {
    let Parts { year, month, day, hour, minute, second, millisecond, .. } = Parts::of(time);
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z", month + 1)
}

/// As in a header: `Fri, 02 Jan 2026 03:04:05 GMT`.
pub(super) fn in_header(time: SystemTime) -> String {
    let Parts { year, month, day, weekday, hour, minute, second, .. } = Parts::of(time);
    let (weekday, month) = (DAYS[weekday], MONTHS[month]);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_s3_writes_them() {
        let rows = [
            (0, "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_709_210_096, "2024-02-29T12:34:56.000Z", "Thu, 29 Feb 2024 12:34:56 GMT"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z", "Wed, 31 Dec 2025 23:59:59 GMT"),
        ];
        for (seconds, xml, header) in rows {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!((in_xml(time).as_str(), in_header(time).as_str()), (xml, header));
        }
    }
}
