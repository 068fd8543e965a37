//! Replicas: several processes that serve the same stores.
//!
//! Everything that is acknowledged is in the stores, so replicas need not know of each other for that. What is in this folder keeps
//! them from doing the same thing twice, or at the same time:
//!
//! - [`lease`]: who does something now, by a lease in the metadata store that is renewed while it is done;
//! - [`filling`]: one replica fetches a blob, the others read along from it, and one of them goes on when it is gone;
//! - [`asking`]: one replica asks an upstream about a tag, and the others take what it was told;
//! - [`session`]: an upload session goes on at whichever replica its next request comes to, one at a time;
//! - [`turn`]: what has to be done once for all, such as eviction, is done by one of them;
//! - [`news`]: what one replica has learned of an upstream, and what has to be forgotten, reaches the others.
//!
//! The key decision: a lease only saves work. Whoever has lost one without noticing does harm to nobody, because what it goes on to write
//! is verified content under its own name, and every row that must not be written then is refused by the store, or looked at once more.

pub(crate) mod asking;
pub(crate) mod filling;
pub(crate) mod lease;
pub(crate) mod news;
mod peers;
pub(crate) mod session;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use entrepot_blobs::BlobStore;

pub use self::peers::{PeerAnswer, PeerError, PeerRequest, Peers, Ticket};

/// What a replica is made of, beside what every server is.
#[derive(Clone, Debug)]
pub struct ReplicaParts {
    /// Where other replicas reach this one's internal listener, as in `http://10.0.0.1:5101`. `None`: nowhere; they then wait for what
    /// this one fetches until it is stored.
    pub address: Option<Box<str>>,
    /// How other replicas are reached.
    pub peers: Arc<dyn Peers>,
    /// Where bytes are kept that are read along from another replica: on the local disk, until they are in the store.
    pub landing: Arc<dyn BlobStore>,
    /// How long the others wait for what this one was doing when it dies. It is renewed three times in that time, so a metadata store that
    /// is away for a third of it takes nothing from a replica that lives. [`REPLICA_LASTS`](crate::REPLICA_LASTS) is a good length.
    pub lasts: Duration,
}

/// This process as one of several.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) address: Option<Box<str>>,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) landing: Arc<dyn BlobStore>,
    pub(crate) leases: lease::Leases,
    pub(crate) lasts: Duration,
}
