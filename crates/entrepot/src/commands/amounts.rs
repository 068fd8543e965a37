//! Sizes and ages for people.

const SIZE_UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

const AGE_UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];

/// A number of bytes in the largest unit that it fills, with one digit behind the point.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of a unit, in whole numbers: 1023.96 KiB are 1.0 MiB.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    for unit in SIZE_UNITS {
        if tenths < 10_240 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        tenths /= 1024;
    }
    format!("{}.{} EiB", tenths / 10, tenths % 10)
}

/// How long ago `then` was, in the largest unit that it fills; both in seconds since 1970.
pub(crate) fn age(now: i64, then: i64) -> String {
    let seconds = u64::try_from(now.saturating_sub(then)).unwrap_or(0);
    let (scale, unit) = AGE_UNITS.into_iter().find(|(scale, _)| seconds >= *scale).unwrap_or((1, "s"));
    format!("{}{unit}", seconds / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_largest_unit_that_they_fill() {
        let rows = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (3 << 40, "3.0 TiB"),
            (u64::MAX, "15.9 EiB"),
        ];
        for (bytes, shown) in rows {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn ages_have_the_largest_unit_that_they_fill_and_never_come_from_the_future() {
        let rows = [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86_400, "1d"), (864_000, "10d"), (-5, "0s")];
        for (seconds, shown) in rows {
            assert_eq!(age(1_000_000_000, 1_000_000_000 - seconds), shown);
        }
    }
}
