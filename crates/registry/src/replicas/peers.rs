//! How one replica reads what another is receiving: the contract. The binary has the client, `server` the listener.

use std::fmt;

use async_trait::async_trait;
use entrepot_oci::Digest;

use crate::Source;

/// Reaches other replicas.
#[async_trait]
pub trait Peers: Send + Sync + fmt::Debug + 'static {
    /// The blob that the replica at `address` is filling, as it grows.
    async fn follow(&self, address: &str, request: &PeerRequest) -> Result<PeerAnswer, PeerError>;
}

/// What is asked of another replica.
#[derive(Clone, Debug)]
pub struct PeerRequest {
    /// The blob.
    pub digest: Digest,
    /// The byte to begin with.
    pub first: u64,
    /// What the replica has left for those who may read along.
    pub ticket: Ticket,
}

/// What it answers.
pub struct PeerAnswer {
    /// The size of the whole blob in bytes, if it is known there.
    pub size: Option<u64>,
    /// The bytes from the one on that was asked for. They end without an error only behind the last one, and the last one comes only
    /// when all of them were verified.
    pub body: Source,
}

impl fmt::Debug for PeerAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PeerAnswer").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Why there is nothing to read along.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The replica is not filling this blob, or not any more.
    #[error("the replica is not filling this blob")]
    NotFilling,
    /// It did not answer.
    #[error("the replica at {address} could not be asked")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What whoever reads along shows: made for one fill, and told to those alone who can read the metadata store.
///
/// - 32 hexadecimal digits.
#[derive(Clone)]
pub struct Ticket(Box<str>);

impl Ticket {
    /// A new one, of 122 random bits.
    pub(crate) fn random() -> Self {
        Self(uuid::Uuid::new_v4().as_simple().to_string().into())
    }

    /// One that somebody shows.
    pub fn shown(text: &str) -> Self {
        Self(text.into())
    }

    /// As it is shown. A secret.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the two are the same. Takes as long for every other ticket of the same length.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let (one, other) = (self.0.as_bytes(), other.0.as_bytes());
        let difference = one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other));
        one.len() == other.len() && difference == 0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ticket(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_ticket_is_the_same() {
        let ticket = Ticket::random();
        assert!(ticket.is(&Ticket::shown(ticket.as_str())));
        for other in ["", &ticket.as_str()[1..], Ticket::random().as_str()] {
            assert!(!ticket.is(&Ticket::shown(other)), "{other}");
        }
        assert!(!format!("{ticket:?}").contains(ticket.as_str()));
    }
}
