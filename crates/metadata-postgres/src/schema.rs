//! The schema: which version a database has, and how it gets to this one.
//!
//! A row of `schema_versions` stands for each migration. Several processes may start at once: one migrates while the others wait, and
//! each migration and its row are one transaction, so an interrupted one has not happened.
//!
//! While replicas are replaced one after the other, the old program meets the schema of the new one. So a migration only adds what the old
//! program can do without, and says by `readable_from` which one that is; what nobody needs any more is taken away by a later one:
//! expand, then contract. A program that is older than that refuses to start.

use tokio_postgres::{Client, Transaction};

use crate::limits::MIGRATION_MAX;
use crate::open::OpenError;

/// A step of the schema. One that was released is never changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    pub(crate) sql: &'static str,
    /// The first version whose programs can use the schema after this step.
    pub(crate) readable_from: i32,
}

/// Every migration, in order.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("../migrations/0001_tables.sql"), readable_from: 1 },
    Migration { sql: include_str!("../migrations/0002_functions.sql"), readable_from: 2 },
];

/// The key of the lock under which schemas are changed; the second half of it is the schema's.
const LOCK: i32 = 0x456e_7472;

/// Brings the schema to this version, creating it where there is none. The connection is its user's alone, and at its end closed.
pub(crate) async fn migrate(client: &mut Client, schema: &str, migrations: &[Migration]) -> Result<(), OpenError> {
    let failed = |source| OpenError::Statement { schema: schema.to_owned(), source };
    let encoding: String = client.query_one("SHOW server_encoding", &[]).await.map_err(failed)?.get(0);
    if encoding != "UTF8" {
        return Err(OpenError::Encoding { found: encoding });
    }
    let known = i32::try_from(migrations.len()).unwrap_or(i32::MAX);
    loop {
        let transaction = client.transaction().await.map_err(failed)?;
        let limits =
            format!("SET LOCAL statement_timeout = {0}; SET LOCAL lock_timeout = {0}", MIGRATION_MAX.as_millis());
        transaction.batch_execute(&limits).await.map_err(failed)?;
        transaction
            .query_one("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&LOCK, &schema])
            .await
            .map_err(failed)?;
        let (found, readable_from) = match state(&transaction, schema).await.map_err(failed)? {
            State::Foreign => return Err(OpenError::Foreign { schema: schema.to_owned() }),
            State::Absent => {
                prepare(&transaction, schema).await.map_err(failed)?;
                (0, 0)
            }
            State::Version { found, readable_from } => (found, readable_from),
        };
        if found > known && readable_from > known {
            return Err(OpenError::NewerSchema { schema: schema.to_owned(), found, readable_from, known });
        }
        let next = usize::try_from(found).ok().and_then(|done| migrations.get(done));
        let Some(migration) = next else {
            if found > known {
                tracing::info!(
                    schema,
                    found,
                    known,
                    "the schema of the database is newer than this program, and serves it still"
                );
            }
            return transaction.commit().await.map_err(failed);
        };
        apply(&transaction, found + 1, migration).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        tracing::info!(schema, version = found + 1, "the schema of the database was brought to its next version");
    }
}

/// What a schema is, before anything is written to it.
enum State {
    /// There is none, or nothing in it.
    Absent,
    /// Ours, after so many migrations.
    Version { found: i32, readable_from: i32 },
    /// It belongs to something else.
    Foreign,
}

async fn state(transaction: &Transaction<'_>, schema: &str) -> Result<State, tokio_postgres::Error> {
    const OBJECTS: &str = "SELECT count(*) FILTER (WHERE relname = 'schema_versions'), count(*) FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = $1 AND relkind IN ('r', 'p', 'v', 'S')";
    let row = transaction.query_one(OBJECTS, &[&schema]).await?;
    match (row.get::<_, i64>(0), row.get::<_, i64>(1)) {
        (_, 0) => return Ok(State::Absent),
        (0, _) => return Ok(State::Foreign),
        _ => {}
    }
    let last = "SELECT version, readable_from FROM schema_versions ORDER BY version DESC LIMIT 1";
    let row = transaction.query_opt(last, &[]).await?;
    Ok(row.map_or(State::Version { found: 0, readable_from: 0 }, |row| State::Version {
        found: row.get(0),
        readable_from: row.get(1),
    }))
}

/// Creates the schema, when nobody has done that for us, and the table that every other one comes after.
async fn prepare(transaction: &Transaction<'_>, schema: &str) -> Result<(), tokio_postgres::Error> {
    let exists = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)";
    // Asked first: creating needs a right that a careful administrator may not have given, also when there is nothing to create.
    if !transaction.query_one(exists, &[&schema]).await?.get::<_, bool>(0) {
        transaction.batch_execute(&format!("CREATE SCHEMA {schema}")).await?;
    }
    let versions = "CREATE TABLE schema_versions (
        version integer PRIMARY KEY, readable_from integer NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
    )";
    transaction.batch_execute(versions).await
}

/// One migration with its row, as far as the commit.
async fn apply(
    transaction: &Transaction<'_>,
    version: i32,
    migration: &Migration,
) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(migration.sql).await?;
    let row = "INSERT INTO schema_versions (version, readable_from) VALUES ($1, $2)";
    transaction.execute(row, &[&version, &migration.readable_from]).await.map(|_| ())
}
