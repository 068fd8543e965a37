//! The `Range` of a request.

/// What a `Range` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing that is understood, so everything.
    Everything,
    /// From the first byte to the last one, inclusive.
    Part(u64, u64),
    /// Nothing that is there.
    Nothing,
}

/// Reads the value of a `Range` for content of so many bytes. Several ranges at once are no range, as S3 has it.
pub(super) fn parse(header: &str, length: usize) -> Wanted {
    let length = length as u64;
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Wanted::Everything;
    };
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last),
        (Ok(first), Err(_)) if last.is_empty() => (first, u64::MAX),
        (Err(_), Ok(0)) if first.is_empty() => return Wanted::Nothing,
        (Err(_), Ok(count)) if first.is_empty() => (length.saturating_sub(count), u64::MAX),
        _ => return Wanted::Everything,
    };
    if first >= length { Wanted::Nothing } else { Wanted::Part(first, last.min(length - 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_s3_reads_them() {
        let rows = [
            ("bytes=0-3", Wanted::Part(0, 3)),
            ("bytes=9-99", Wanted::Part(9, 9)),
            ("bytes=4-", Wanted::Part(4, 9)),
            ("bytes=-3", Wanted::Part(7, 9)),
            ("bytes=-30", Wanted::Part(0, 9)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=0-1,3-4", Wanted::Everything),
            ("bytes=3-2", Wanted::Everything),
            ("lines=1-2", Wanted::Everything),
        ];
        for (header, wanted) in rows {
            assert_eq!(parse(header, 10), wanted, "{header}");
        }
    }
}
