//! How much there is. Triggers keep the one row in step with every write.

use entrepot_metadata::Totals;
use rusqlite::Connection;

use crate::failure::Failure;
use crate::query;

pub(crate) fn get(connection: &Connection) -> Result<Totals, Failure> {
    const SQL: &str = "SELECT bytes, blobs, manifests FROM totals WHERE id = 1";
    let totals = query::first(connection, SQL, [], |row| {
        Ok(Totals { bytes: query::size(row, 0)?, blobs: query::size(row, 1)?, manifests: query::size(row, 2)? })
    })?;
    totals.ok_or_else(|| Failure::corrupt("totals.id", "no row"))
}
