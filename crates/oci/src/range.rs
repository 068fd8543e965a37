//! Ranges: of a blob that is read (RFC 9110 §14), and of a chunk that is uploaded (the specification's own form).

use std::fmt;

/// The most ranges that one request may ask for. More are refused, so that a header cannot order a huge answer.
const RANGES_MAX: usize = 64;

/// A non-empty run of bytes inside known content: `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    first: u64,
    last: u64,
}

impl ByteRange {
    /// The bytes from `first` to `last`, both included; `None` when `last` comes before `first`.
    pub const fn new(first: u64, last: u64) -> Option<Self> {
        if last < first { None } else { Some(Self { first, last }) }
    }

    /// The position of the first byte.
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The position of the last byte.
    pub const fn last(self) -> u64 {
        self.last
    }

    /// How many bytes it covers, at least 1.
    pub const fn length(self) -> u64 {
        self.last - self.first + 1
    }

    /// The value of a `Content-Range` header for this part of `total` bytes.
    pub fn content_range(self, total: u64) -> String {
        format!("bytes {}-{}/{total}", self.first, self.last)
    }
}

/// What a `Range` header asks of content of a known size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// All of it: no header, or a unit other than `bytes`, which RFC 9110 wants ignored.
    Whole,
    /// These parts, in the order asked; at least one. Parts outside of the content are left out.
    Parts(Vec<ByteRange>),
}

impl RangeRequest {
    /// Reads a `Range` header for content of `size` bytes.
    ///
    /// Conformance wants 416 where RFC 9110 would let a range that ends before it begins be ignored.
    ///
    /// # Errors
    /// [`RangeError::Unsatisfiable`] when no part lies inside the content or a part is malformed;
    /// [`RangeError::TooMany`] for more than 64 parts.
    pub fn parse(header: Option<&str>, size: u64) -> Result<Self, RangeError> {
        let Some((unit, list)) = header.and_then(|header| header.split_once('=')) else { return Ok(Self::Whole) };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Ok(Self::Whole);
        }
        if list.split(',').count() > RANGES_MAX {
            return Err(RangeError::TooMany);
        }
        let mut parts = Vec::new();
        for spec in list.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
            if let Some(part) = parse_spec(spec, size)? {
                parts.push(part);
            }
        }
        if parts.is_empty() { Err(RangeError::Unsatisfiable) } else { Ok(Self::Parts(parts)) }
    }
}

/// One `a-b`, `a-` or `-n`; `None` when it lies outside of the content.
fn parse_spec(spec: &str, size: u64) -> Result<Option<ByteRange>, RangeError> {
    let (first, last) = spec.split_once('-').ok_or(RangeError::Unsatisfiable)?;
    let number = |text: &str| {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RangeError::Unsatisfiable);
        }
        // A number too large for 64 bits lies behind every content there is.
        Ok(text.parse::<u64>().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        let length = number(last)?.min(size);
        return Ok(if length == 0 { None } else { ByteRange::new(size - length, size - 1) });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return Err(RangeError::Unsatisfiable);
    }
    Ok(if first >= size { None } else { ByteRange::new(first, last.min(size - 1)) })
}

/// The `Content-Range` of an uploaded chunk: `first-last`, without unit or total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRange(ByteRange);

impl ChunkRange {
    /// Reads the header.
    ///
    /// # Errors
    /// [`RangeError::Unsatisfiable`] for anything but two numbers in order. `bytes=` or `bytes ` in front and a
    /// `/total` behind are no part of the specification's form, but unambiguous: they are read over.
    pub fn parse(header: &str) -> Result<Self, RangeError> {
        let bare = header.trim();
        let bare = bare.strip_prefix("bytes").map_or(bare, |rest| rest.trim_start_matches(['=', ' ']));
        let bare = bare.split('/').next().unwrap_or_default();
        let (first, last) = bare.split_once('-').ok_or(RangeError::Unsatisfiable)?;
        let number = |text: &str| {
            if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
        };
        match (number(first), number(last)) {
            // A length of 2^64 cannot be: the last position is kept below it.
            (Some(first), Some(last)) if last < u64::MAX => {
                ByteRange::new(first, last).map(Self).ok_or(RangeError::Unsatisfiable)
            }
            _ => Err(RangeError::Unsatisfiable),
        }
    }

    /// The position of the chunk's first byte.
    pub const fn first(self) -> u64 {
        self.0.first
    }

    /// How many bytes the chunk has.
    pub const fn length(self) -> u64 {
        self.0.length()
    }
}

/// The `Range` header that tells how much of an upload has arrived: `0-<last byte>`.
///
/// An empty upload answers `0-0`, as "one byte" does; every client accepts the ambiguity, and none a `0--1`.
pub fn upload_range(received: u64) -> String {
    format!("0-{}", received.saturating_sub(1))
}

/// Why a range cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Malformed, or wholly outside of the content.
    #[error("the range is malformed or lies outside of the content")]
    Unsatisfiable,
    /// More parts than one answer may have.
    #[error("more than {RANGES_MAX} ranges in one request")]
    TooMany,
}

impl fmt::Display for ChunkRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.0.first, self.0.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_2048_bytes_as_conformance_asks_them() {
        let part = |first, last| Ok(RangeRequest::Parts(vec![ByteRange::new(first, last).unwrap()]));
        let rows = [
            (Some("bytes=500-1499"), part(500, 1499)),
            (Some("bytes=500-"), part(500, 2047)),
            (Some("bytes=-500"), part(1548, 2047)),
            (Some("bytes=2000-5000"), part(2000, 2047)),
            (Some("bytes=-5000"), part(0, 2047)),
            (Some("bytes=500-0"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=5000-10000"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=-0"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=x-1"), Err(RangeError::Unsatisfiable)),
            (Some("bytes=99999999999999999999999-"), Err(RangeError::Unsatisfiable)),
            (Some("lines=1-2"), Ok(RangeRequest::Whole)),
            (None, Ok(RangeRequest::Whole)),
        ];
        for (header, expected) in rows {
            assert_eq!(RangeRequest::parse(header, 2048), expected, "{header:?}");
        }
    }

    #[test]
    fn several_ranges_keep_their_order_and_lose_what_is_outside() {
        let parts = RangeRequest::parse(Some("bytes=10-19, 0-4,5000-6000"), 2048).unwrap();
        let expected = vec![ByteRange::new(10, 19).unwrap(), ByteRange::new(0, 4).unwrap()];
        assert_eq!(parts, RangeRequest::Parts(expected));
        let many = format!("bytes={}", vec!["0-1"; 65].join(","));
        assert_eq!(RangeRequest::parse(Some(&many), 2048), Err(RangeError::TooMany));
    }

    #[test]
    fn nothing_of_nothing_can_be_ranged() {
        assert_eq!(RangeRequest::parse(Some("bytes=0-"), 0), Err(RangeError::Unsatisfiable));
        assert_eq!(RangeRequest::parse(Some("bytes=-1"), 0), Err(RangeError::Unsatisfiable));
    }

    #[test]
    fn chunks_are_two_numbers_in_order() {
        let chunk = ChunkRange::parse("10-19").unwrap();
        assert_eq!((chunk.first(), chunk.length()), (10, 10));
        assert!(ChunkRange::parse("bytes 0-1/2").is_ok());
        for header in ["", "-", "1", "5-4", "a-b", "0-", "-3", "0-18446744073709551615"] {
            assert_eq!(ChunkRange::parse(header), Err(RangeError::Unsatisfiable), "{header:?}");
        }
    }

    #[test]
    fn an_empty_upload_is_0_to_0() {
        assert_eq!(upload_range(0), "0-0");
        assert_eq!(upload_range(1), "0-0");
        assert_eq!(upload_range(10), "0-9");
    }
}
