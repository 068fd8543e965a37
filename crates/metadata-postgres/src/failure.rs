//! Failures of the database: what they are to callers, and whether trying again helps.

use std::time::Duration;

use deadpool_postgres::PoolError;
use entrepot_metadata::Error;
use tokio_postgres::error::SqlState;

use crate::limits::DAMAGE_QUOTED_MAX;

/// What our functions raise when they find what they can not have written.
const DAMAGE: &str = "EN001";

/// What a failed attempt leaves.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nothing happened, because another write was in the way: trying again helps.
    Conflict(Error),
    /// Nothing happened, because this server does not take it now; another connection may lead to one that does.
    Refused(Error),
    /// Nobody knows whether it happened: the connection was lost before the answer.
    Lost(Error),
    /// Nothing happened, and trying again would end in the same way.
    Final(Error),
}

/// Why the database is not available, where no error of the driver says it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAvailable {
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("no connection was free or could be made within {0:?}")]
    NoConnection(Duration),
    #[error("the answer was lost with the connection, so that nobody knows whether it happened")]
    AnswerLost(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl NotAvailable {
    pub(crate) fn error(self) -> Error {
        Error::Unavailable(Box::new(self))
    }
}

/// A row holds `value`, which the store can not have written into `column`.
pub(crate) fn corrupt(column: &str, value: &str) -> Error {
    let quoted: String = value.chars().take(DAMAGE_QUOTED_MAX).collect();
    Error::Corrupt { what: format!("{column} holds {quoted:?}") }
}

/// What a failed statement leaves. `is_closed` is whether the connection went with it.
pub(crate) fn judge(error: tokio_postgres::Error, is_closed: bool) -> Verdict {
    let Some(code) = error.code().cloned() else {
        // Not from the server: the connection, or a value that is of another type than the column should be.
        return if is_closed || error.is_closed() || is_of_the_connection(&error) {
            Verdict::Lost(Error::Unavailable(Box::new(error)))
        } else {
            Verdict::Final(Error::Backend(Box::new(error)))
        };
    };
    match code {
        SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::LOCK_NOT_AVAILABLE
        // A row that was to be referred to was deleted meanwhile.
        | SqlState::FOREIGN_KEY_VIOLATION => Verdict::Conflict(Error::Unavailable(Box::new(error))),
        // Prepared before the schema was changed: a new connection prepares it anew.
        SqlState::FEATURE_NOT_SUPPORTED if error.to_string().contains("cached plan") => {
            Verdict::Refused(Error::Unavailable(Box::new(error)))
        }
        SqlState::READ_ONLY_SQL_TRANSACTION | SqlState::CANNOT_CONNECT_NOW | SqlState::TOO_MANY_CONNECTIONS => {
            Verdict::Refused(Error::Unavailable(Box::new(error)))
        }
        // The server ends the session, perhaps while it commits.
        SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => Verdict::Lost(Error::Unavailable(Box::new(error))),
        SqlState::QUERY_CANCELED | SqlState::OUT_OF_MEMORY | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => {
            Verdict::Final(Error::Unavailable(Box::new(error)))
        }
        SqlState::DISK_FULL => Verdict::Final(Error::Full(Box::new(error))),
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => {
            Verdict::Final(Error::Corrupt { what: error.to_string() })
        }
        code if code.code() == DAMAGE => {
            let what = error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
            Verdict::Final(Error::Corrupt { what })
        }
        code if code.code().starts_with("08") => Verdict::Lost(Error::Unavailable(Box::new(error))),
        _ => Verdict::Final(Error::Backend(Box::new(error))),
    }
}

fn is_of_the_connection(error: &tokio_postgres::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<std::io::Error>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// What a connection that could not be had is: nothing was sent, so that trying again does no harm. `true` when it may help.
pub(crate) fn not_connected(error: PoolError, waited: Duration) -> (Error, bool) {
    match error {
        PoolError::Timeout(_) => (NotAvailable::NoConnection(waited).error(), false),
        PoolError::Backend(error) => {
            // A wrong password or a missing database is not cured by waiting, and is told at once; it is an outage all the same.
            let is_refusal = error.code().is_some_and(|code| matches!(code.code().get(..2), Some("28" | "3D" | "42")));
            (Error::Unavailable(Box::new(error)), !is_refusal)
        }
        error => (Error::Unavailable(Box::new(error)), false),
    }
}
