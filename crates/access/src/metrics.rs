//! What is counted.

/// Counters of logins, tokens and decisions.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// Makes them known under their names.
    pub fn register(&self, _registry: &mut prometheus_client::registry::Registry) {}
}
