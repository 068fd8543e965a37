//! What a store on object storage counts. No label is ever taken from a request of a client.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The series of one store.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Requests that were sent, each attempt counted, by what they asked and how they ended.
    requests: Family<RequestLabels, Counter>,
    /// Bytes of bodies that were sent.
    pub bytes_sent: Counter,
    /// Bytes of bodies that were received.
    pub bytes_received: Counter,
    /// Parts that are in memory on their way to the store.
    pub parts_in_flight: Gauge,
    /// Stages that were taken up from what another process, or this one before a restart, has kept.
    pub stages_taken_over: Counter,
    /// Stages and deleted blobs whose leftovers could not be removed at once: the sweep will.
    pub leftovers: Counter,
}

/// What a request asks of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Operation {
    Head,
    Get,
    Put,
    Copy,
    Delete,
    List,
    CreateMultipart,
    PutPart,
    CompleteMultipart,
    AbortMultipart,
    Other,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    /// As it should.
    Success,
    /// It is not there.
    NotFound,
    /// It is there already, or changes at this moment.
    Conflict,
    /// The store asks for patience.
    Throttled,
    /// The store refused.
    Refused,
    /// The store failed.
    Failed,
    /// No answer came, or not in time.
    Unreachable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: Operation,
    outcome: Outcome,
}

impl Metrics {
    pub(crate) fn count(&self, operation: Operation, outcome: Outcome) {
        self.requests.get_or_create(&RequestLabels { operation, outcome }).inc();
    }

    /// Registers every series below `registry`'s prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "requests",
            "Requests to the object store by operation and outcome, retries counted",
            self.requests.clone(),
        );
        registry.register("bytes_sent", "Bytes sent to the object store", self.bytes_sent.clone());
        registry.register("bytes_received", "Bytes received from the object store", self.bytes_received.clone());
        registry.register("parts_in_flight", "Parts in memory being uploaded", self.parts_in_flight.clone());
        registry.register(
            "stages_taken_over",
            "Stages taken up from what another process has kept",
            self.stages_taken_over.clone(),
        );
        registry.register("leftovers", "Leftovers left to the sweep", self.leftovers.clone());
    }
}
