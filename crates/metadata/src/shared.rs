//! What the processes that share a store tell each other: who does what now, whose an upload is, what has changed.

use std::time::Duration;

use bytes::Bytes;

use crate::UploadRow;

/// An order for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseClaim {
    /// What it is about. Like every text here it has no NUL in it.
    pub name: String,
    /// The id of the process that asks, never used by another one.
    pub holder: String,
    /// What the others may read of the holder, its internal address for instance.
    pub note: String,
}

/// What became of a [`LeaseClaim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// It is the holder's, and was before or is from now on.
    Held {
        /// Grows whenever the lease changes hands, also after it was released or ran out: who holds it with a smaller number holds it no
        /// longer.
        fence: u64,
    },
    /// Another holder has it.
    Taken {
        /// Who that is.
        holder: String,
        /// What he wants others to know.
        note: String,
        /// How long he will have it, unless he renews it.
        remaining: Duration,
    },
}

/// A lease that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is about.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// What he wants others to know.
    pub note: String,
    /// See [`LeaseOutcome::Held`].
    pub fence: u64,
    /// How long he will have it, unless he renews it.
    pub remaining: Duration,
}

/// How far an upload is, as whoever wrote to it last has left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadState {
    /// How many bytes were received, and are where another process finds them.
    pub received: u64,
    /// What a writer needs to go on: the state of the running hash, the parts that are stored. At most
    /// [`UPLOAD_STATE_BYTES_MAX`](crate::limits::UPLOAD_STATE_BYTES_MAX); a store does not look into it.
    pub state: Bytes,
}

/// What became of the order to write to an upload session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadClaim {
    /// Another writer has it.
    Busy,
    /// It is this writer's, with what the last one has left, if there was one.
    Taken(UploadRow, Option<UploadState>),
}

/// How far an upload session is, for who only asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadProgress {
    /// The session.
    pub row: UploadRow,
    /// How many bytes were received when a writer last let go of it; 0 before the first did.
    pub received: u64,
    /// Whether a writer has it now, so that there may be more.
    pub is_claimed: bool,
}

/// What is said to every process of a store, the one that says it included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// Somebody has said this.
    Said {
        /// What it is about.
        topic: String,
        /// What he said.
        text: String,
    },
    /// Anything may have been said: the connection on which it would have come was lost, or is there again, or the listener was too slow.
    Missed,
}
