//! Memory that stands for something else.

use std::sync::LazyLock;

use bytes::Bytes;
use entrepot_blobs::REGION_BYTES_MAX;

/// Bytes of the memory that placeholders are slices of. Several regions fit, so that those which follow each other begin at
/// different addresses.
pub(super) const PLACEHOLDER_BYTES: usize = 4 * REGION_BYTES_MAX;

/// Nothing is ever read from it or written to it, so it has addresses and no pages.
static PLACEHOLDER: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; PLACEHOLDER_BYTES]));

/// A placeholder of `length` bytes that begins at `offset`.
pub(super) fn slice(offset: usize, length: usize) -> Bytes {
    PLACEHOLDER.slice(offset..offset + length)
}

/// Where a slice begins, if it is a placeholder or what is left of one.
pub(super) fn offset(slice: &[u8]) -> Option<usize> {
    let offset = slice.as_ptr().addr().checked_sub(PLACEHOLDER.as_ptr().addr())?;
    (offset < PLACEHOLDER_BYTES).then_some(offset)
}
