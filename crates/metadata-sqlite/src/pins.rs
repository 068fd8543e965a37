//! What is kept, whatever room is needed.

use entrepot_metadata::{Pin, Timestamp};
use entrepot_oci::{RepositoryName, TagOrDigest};
use rusqlite::{Connection, Row};

use crate::failure::Failure;
use crate::query;

pub(crate) fn put(connection: &Connection, pin: &Pin) -> Result<(), Failure> {
    const SQL: &str = "INSERT INTO pins (repository, reference, pinned_at) VALUES (?1, ?2, ?3)
        ON CONFLICT (repository, reference) DO NOTHING";
    let reference = pin.reference.to_string();
    query::execute(connection, SQL, (pin.repository.as_str(), reference, pin.pinned_at.milliseconds()))?;
    Ok(())
}

pub(crate) fn delete(
    connection: &Connection,
    repository: &RepositoryName,
    reference: &TagOrDigest,
) -> Result<bool, Failure> {
    const SQL: &str = "DELETE FROM pins WHERE repository = ?1 AND reference = ?2";
    Ok(query::execute(connection, SQL, (repository.as_str(), reference.to_string()))? > 0)
}

pub(crate) fn list(connection: &Connection, limit: usize) -> Result<Vec<Pin>, Failure> {
    const SQL: &str = "SELECT repository, reference, pinned_at FROM pins
        WHERE repository > '' ORDER BY repository, reference LIMIT ?1";
    query::all(connection, SQL, [query::row_limit(limit)], |row| {
        Ok(Pin {
            repository: query::parsed(row, 0, "pins.repository")?,
            reference: reference(row, 1)?,
            pinned_at: Timestamp::from_milliseconds(row.get(2)?),
        })
    })
}

/// Everything that is pinned in the repository, whether it is here or not.
pub(crate) fn of_repository(connection: &Connection, repository: &RepositoryName) -> Result<Vec<TagOrDigest>, Failure> {
    const SQL: &str = "SELECT reference FROM pins WHERE repository = ?1 ORDER BY reference";
    query::all(connection, SQL, [repository.as_str()], |row| reference(row, 0))
}

/// The first of the references that is pinned.
pub(crate) fn first_of(
    connection: &Connection,
    repository: &RepositoryName,
    references: impl IntoIterator<Item = TagOrDigest>,
) -> Result<Option<TagOrDigest>, Failure> {
    const SQL: &str = "SELECT 1 FROM pins WHERE repository = ?1 AND reference = ?2";
    for reference in references {
        if query::first(connection, SQL, (repository.as_str(), reference.to_string()), |_| Ok(()))?.is_some() {
            return Ok(Some(reference));
        }
    }
    Ok(None)
}

fn reference(row: &Row<'_>, index: usize) -> Result<TagOrDigest, Failure> {
    let text: String = row.get(index)?;
    TagOrDigest::parse(&text).map_err(|_| Failure::corrupt("pins.reference", &text))
}
