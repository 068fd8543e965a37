//! Leases, announcements and notes. What runs out is judged by the clock of the server.

use std::time::Duration;

use entrepot_metadata::limits::NOTE_BYTES_MAX;
use entrepot_metadata::{Audience, Error, Lease, LeaseClaim, LeaseOutcome};

use crate::connections::{Connections, Parameters, Repeat};
use crate::failure::corrupt;
use crate::limits::RUN_OUT_DELETED_MAX;
use crate::listener::payload;
use crate::rows::{get, row_limit};
use crate::uploads::seconds;

/// Takes a lease. Made again it is renewed, so a lost answer does no harm.
pub(crate) async fn claim_lease(
    connections: &Connections,
    claim: &LeaseClaim,
    lasts: Duration,
) -> Result<LeaseOutcome, Error> {
    // The number is drawn anew when the row is locked, so that it follows that of whoever had it last. The second part tells who has it, as
    // it was when the statement began.
    const SQL: &str = "WITH held AS (
            INSERT INTO leases (name, holder, note, fence, expires_at)
            VALUES ($1, $2, $3, nextval('lease_fences'), clock_timestamp() + $4 * interval '1 second')
            ON CONFLICT (name) DO UPDATE SET
                fence = CASE WHEN leases.holder = excluded.holder THEN leases.fence ELSE nextval('lease_fences') END,
                holder = excluded.holder, note = excluded.note,
                expires_at = clock_timestamp() + $4 * interval '1 second'
            WHERE leases.holder = excluded.holder OR leases.expires_at <= clock_timestamp()
            RETURNING fence
        )
        SELECT fence, NULL, NULL, NULL FROM held
        UNION ALL
        SELECT NULL, holder, note, extract(epoch FROM expires_at - clock_timestamp())::float8 FROM leases
        WHERE name = $1 AND NOT EXISTS (SELECT 1 FROM held)";
    Error::check_length("the note of a lease", claim.note.len(), NOTE_BYTES_MAX)?;
    let parameters: Parameters<'_> = &[&claim.name, &claim.holder, &claim.note, &seconds(lasts)];
    let answer = connections.send(Repeat::Yes, SQL, parameters).await?;
    let Some(row) = answer.rows.first() else {
        // Somebody took it between the beginning of the statement and the lock on it: who that is, is seen by the next.
        let lease = lease(connections, &claim.name).await?;
        let (holder, note, remaining) =
            lease.map(|lease| (lease.holder, lease.note, lease.remaining)).unwrap_or_default();
        return Ok(LeaseOutcome::Taken { holder, note, remaining });
    };
    match get::<Option<i64>>(row, 0)? {
        Some(fence) => Ok(LeaseOutcome::Held { fence: fence.cast_unsigned() }),
        None => Ok(LeaseOutcome::Taken {
            holder: get(row, 1)?,
            note: get(row, 2)?,
            remaining: Duration::try_from_secs_f64(get::<Option<f64>>(row, 3)?.unwrap_or_default()).unwrap_or_default(),
        }),
    }
}

/// Ends a lease, whose row stays for its number. When the answer was lost, one that nobody or another has was ended.
pub(crate) async fn release_lease(connections: &Connections, name: &str, holder: &str) -> Result<bool, Error> {
    const SQL: &str = "UPDATE leases SET holder = '', note = '', expires_at = clock_timestamp()
        WHERE name = $1 AND holder = $2 AND expires_at > clock_timestamp() RETURNING name";
    let answer = connections.send(Repeat::Yes, SQL, &[&name, &holder]).await?;
    Ok(!answer.rows.is_empty() || answer.is_repeated)
}

pub(crate) async fn lease(connections: &Connections, name: &str) -> Result<Option<Lease>, Error> {
    const SQL: &str = "SELECT holder, note, fence, extract(epoch FROM expires_at - clock_timestamp())::float8
        FROM leases WHERE name = $1 AND expires_at > clock_timestamp()";
    let Some(row) = connections.row(SQL, &[&name]).await? else { return Ok(None) };
    Ok(Some(Lease {
        name: name.to_owned(),
        holder: get(&row, 0)?,
        note: get(&row, 1)?,
        fence: get::<i64>(&row, 2)?.cast_unsigned(),
        remaining: Duration::try_from_secs_f64(get(&row, 3)?).unwrap_or_default(),
    }))
}

/// Says something. When the answer was lost it is said again: who hears it twice does what he does once more.
pub(crate) async fn announce(connections: &Connections, schema: &str, topic: &str, text: &str) -> Result<(), Error> {
    const SQL: &str = "SELECT pg_notify($1, $2)";
    Audience::check(topic, text)?;
    connections.send(Repeat::Yes, SQL, &[&schema, &payload(topic, text)]).await.map(|_| ())
}

pub(crate) async fn set_note(connections: &Connections, key: &str, value: &str, lasts: Duration) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO notes (key, value, expires_at)
        VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second')
        ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
    Error::check_length("a note", value.len(), NOTE_BYTES_MAX)?;
    connections.send(Repeat::Yes, SQL, &[&key, &value, &seconds(lasts)]).await.map(|_| ())
}

pub(crate) async fn note(connections: &Connections, key: &str) -> Result<Option<String>, Error> {
    const SQL: &str = "SELECT value FROM notes WHERE key = $1 AND expires_at > clock_timestamp()";
    connections.row(SQL, &[&key]).await?.map(|row| get(&row, 0)).transpose()
}

pub(crate) async fn notes(
    connections: &Connections,
    prefix: &str,
    limit: usize,
) -> Result<Vec<(String, String)>, Error> {
    const SQL: &str = "SELECT key, value FROM notes
        WHERE key >= $1 AND starts_with(key, $1) AND expires_at > clock_timestamp() ORDER BY key LIMIT $2";
    let rows = connections.rows(SQL, &[&prefix, &row_limit(limit)]).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

/// Deletes some of what has run out, and makes one row of what the totals have changed by. A lease is kept for a day: nobody's claim is
/// on its way for so long, and a new row would have a number that follows.
pub(crate) async fn upkeep(connections: &Connections) -> Result<(), Error> {
    const NOTES: &str = "DELETE FROM notes WHERE key IN (
            SELECT key FROM notes WHERE expires_at <= clock_timestamp() LIMIT $1 FOR UPDATE SKIP LOCKED
        )";
    const LEASES: &str = "DELETE FROM leases WHERE name IN (
            SELECT name FROM leases WHERE expires_at <= clock_timestamp() - interval '1 day'
            LIMIT $1 FOR UPDATE SKIP LOCKED
        )";
    connections.send(Repeat::Yes, NOTES, &[&RUN_OUT_DELETED_MAX]).await?;
    connections.send(Repeat::Yes, LEASES, &[&RUN_OUT_DELETED_MAX]).await?;
    connections.send(Repeat::Yes, "SELECT gather_totals()", &[]).await.map(|_| ())
}

/// Whether the server answers and takes writes.
pub(crate) async fn probe(connections: &Connections) -> Result<(), Error> {
    const SQL: &str = "SELECT pg_is_in_recovery() FROM repositories UNION ALL SELECT pg_is_in_recovery() LIMIT 1";
    let row = connections.row(SQL, &[]).await?;
    match row.map(|row| get::<bool>(&row, 0)).transpose()? {
        Some(false) => Ok(()),
        Some(true) => Err(Error::Unavailable("the database server only reads".into())),
        None => Err(corrupt("pg_is_in_recovery()", "no answer")),
    }
}
