//! Reading rows, and binding what is written.

use std::str::FromStr;

use bytes::Bytes;
use entrepot_metadata::{BlobLink, Error, ManifestRow, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::failure::corrupt;

/// The column of a row, which has the type of the schema. Another one is damage, or the schema of something else.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, Error> {
    row.try_get(index).map_err(|error| Error::Corrupt { what: error.to_string() })
}

/// The column of a row as the type that was written to it. `column` is its full name, for the message about damage.
pub(crate) fn parsed<T: FromStr>(row: &Row, index: usize, column: &str) -> Result<T, Error> {
    parse(get(row, index)?, column)
}

pub(crate) fn parse<T: FromStr>(text: &str, column: &str) -> Result<T, Error> {
    text.parse().map_err(|_| corrupt(column, text))
}

/// What clients may write freely, which is kept as bytes.
pub(crate) fn free_text(row: &Row, index: usize, column: &str) -> Result<String, Error> {
    let bytes: &[u8] = get(row, index)?;
    let text = std::str::from_utf8(bytes).map_err(|_| corrupt(column, &String::from_utf8_lossy(bytes)))?;
    Ok(text.to_owned())
}

pub(crate) fn time(row: &Row, index: usize) -> Result<Timestamp, Error> {
    Ok(Timestamp::from_milliseconds(get(row, index)?))
}

/// A size as the database stores integers. Bits are kept: what a descriptor claims may be beyond 2^63, and comes back exactly.
pub(crate) const fn stored_size(size: u64) -> i64 {
    size.cast_signed()
}

/// The size of a row, undoing [`stored_size`].
pub(crate) fn size(row: &Row, index: usize) -> Result<u64, Error> {
    Ok(get::<i64>(row, index)?.cast_unsigned())
}

/// A number of rows as the database takes it.
pub(crate) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The text that a page goes on after. Names, tags and digests are never empty, so everything comes after the empty text.
pub(crate) fn text_after(after: Option<&str>) -> &str {
    after.unwrap_or_default()
}

/// Digest, type and bytes, in this order.
pub(crate) fn manifest_row(row: &Row) -> Result<ManifestRow, Error> {
    Ok(ManifestRow {
        digest: parsed(row, 0, "manifests.digest")?,
        media_type: parsed(row, 1, "manifests.media_type")?,
        bytes: Bytes::copy_from_slice(get(row, 2)?),
    })
}

/// Digest and size, in this order.
pub(crate) fn blob_link(row: &Row, column: &str) -> Result<BlobLink, Error> {
    Ok(BlobLink { digest: parsed(row, 0, column)?, size: size(row, 1)? })
}
