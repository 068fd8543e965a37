//! What the store counts. No label is ever taken from a request.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The series of one store. Registered by the binary, below a prefix of the store's own.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Connections that there are, in use or idle.
    pub connections: Gauge,
    /// Connections that nobody uses.
    pub connections_idle: Gauge,
    /// The most connections there may be.
    pub connections_max: Gauge,
    /// Requests that wait for a connection.
    pub waiting: Gauge,
    /// Statements that were sent.
    pub statements: Counter,
    /// Times that something was tried again.
    retries: Family<RetryLabels, Counter>,
    /// Calls that failed.
    failures: Family<FailureLabels, Counter>,
    /// Whether announcements are heard: 1, or 0 while the connection for them is lost.
    pub listening: Gauge,
    /// Times that the connection for announcements was lost.
    pub listener_losses: Counter,
}

/// Why something was tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Retry {
    /// It met another write.
    Conflict,
    /// The connection was lost, and with it the answer.
    Lost,
    /// The server did not take it, because it starts, stops or only reads.
    Refused,
    /// No connection could be made.
    Unreachable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    reason: Retry,
}

/// What a call failed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum FailureKind {
    /// The database could not be reached, or did not answer in time.
    Unavailable,
    /// Its disk is full.
    Full,
    /// It holds what nobody can have written.
    Corrupt,
    /// Anything else.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    kind: FailureKind,
}

impl Metrics {
    pub(crate) fn count_retry(&self, reason: Retry) {
        self.retries.get_or_create(&RetryLabels { reason }).inc();
    }

    pub(crate) fn count_failure(&self, error: &entrepot_metadata::Error) {
        use entrepot_metadata::Error;
        let kind = match error {
            Error::Unavailable(_) => FailureKind::Unavailable,
            Error::Full(_) => FailureKind::Full,
            Error::Corrupt { .. } => FailureKind::Corrupt,
            Error::Backend(_) => FailureKind::Other,
            // What a caller asks too much of is no failure of the store.
            Error::TooManyUploads { .. } | Error::TooLong { .. } => return,
        };
        self.failures.get_or_create(&FailureLabels { kind }).inc();
    }

    /// Registers every series below `registry`'s prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Connections to the database", self.connections.clone());
        registry.register("connections_idle", "Connections that nobody uses", self.connections_idle.clone());
        registry.register("connections_max", "The most connections there may be", self.connections_max.clone());
        registry.register("waiting", "Requests that wait for a connection", self.waiting.clone());
        registry.register("statements", "Statements sent to the database", self.statements.clone());
        registry.register("retries", "Times that something was tried again, by reason", self.retries.clone());
        registry.register("failures", "Calls that failed, by what they failed with", self.failures.clone());
        registry.register("listening", "Whether announcements of other replicas are heard", self.listening.clone());
        registry.register(
            "listener_losses",
            "Times that the connection for announcements was lost",
            self.listener_losses.clone(),
        );
    }
}
