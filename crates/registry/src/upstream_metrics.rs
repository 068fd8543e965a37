//! How the listed upstreams are doing, read from them whenever the metrics are.
//!
//! The one label is the name of an upstream in the configuration: what clients name cannot add series.

use std::fmt;
use std::sync::Arc;

use entrepot_upstream::{Remote, RemoteState};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The series of the listed upstreams.
#[derive(Debug)]
pub(crate) struct UpstreamMetrics {
    remotes: Vec<Arc<Remote>>,
}

/// What one series says of an upstream; `None` leaves the upstream out.
enum Figure {
    Gauge(fn(&RemoteState) -> Option<u64>),
    Counter(fn(&RemoteState) -> u64),
}

const SERIES: [(&str, &str, Figure); 6] = [
    (
        "upstream_suspended_seconds",
        "How long the upstream will not be asked, 0 when it is",
        Figure::Gauge(|state| Some(state.suspended.map_or(0, |(left, _)| left.as_secs()))),
    ),
    (
        "upstream_suspensions",
        "Times that the upstream was suspended, for a 429 or for failing in a row",
        Figure::Counter(|state| state.suspensions),
    ),
    (
        "upstream_running",
        "Questions to the upstream under way, transfers included",
        Figure::Gauge(|state| u64::try_from(state.running).ok()),
    ),
    (
        "upstream_waiting",
        "Questions that wait for their turn at the upstream",
        Figure::Gauge(|state| u64::try_from(state.waiting).ok()),
    ),
    (
        "upstream_busy",
        "Questions that were refused because too many waited for the upstream",
        Figure::Counter(|state| state.turned_away),
    ),
    (
        "upstream_rate_limit_remaining",
        "Pulls that the upstream says are left in its window, where it tells",
        Figure::Gauge(|state| state.rate_limit.map(|told| told.remaining)),
    ),
];

impl UpstreamMetrics {
    pub(crate) const fn new(remotes: Vec<Arc<Remote>>) -> Self {
        Self { remotes }
    }
}

impl Collector for UpstreamMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let states: Vec<RemoteState> = self.remotes.iter().map(|remote| remote.state()).collect();
        for (name, help, figure) in &SERIES {
            let metric_type = match figure {
                Figure::Gauge(_) => MetricType::Gauge,
                Figure::Counter(_) => MetricType::Counter,
            };
            let mut series = encoder.encode_descriptor(name, help, None, metric_type)?;
            for state in &states {
                let label = [("upstream", &*state.name)];
                match figure {
                    Figure::Gauge(read) => {
                        let Some(value) = read(state) else { continue };
                        ConstGauge::new(value).encode(series.encode_family(&label)?)?;
                    }
                    Figure::Counter(read) => {
                        ConstCounter::new(read(state)).encode(series.encode_family(&label)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use entrepot_testkit::{FakeUpstream, Reply, Seen};
    use entrepot_upstream::{RemoteRepository, Remotes, RemotesConfig, UpstreamConfig};
    use prometheus_client::registry::Registry;

    use super::*;

    fn page(registry: &Registry) -> String {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, registry).unwrap();
        page
    }

    fn metrics_of(remotes: &Remotes) -> Registry {
        let mut registry = Registry::with_prefix("entrepot");
        registry.register_collector(Box::new(UpstreamMetrics::new(remotes.listed())));
        registry
    }

    #[tokio::test]
    async fn listed_upstreams_have_series_and_those_that_clients_name_have_none() {
        let fake = FakeUpstream::start().await;
        let config = UpstreamConfig::new("corp", fake.url().parse().unwrap());
        let remotes = Remotes::new(RemotesConfig { upstreams: vec![config], ..RemotesConfig::default() }).unwrap();
        let metrics = metrics_of(&remotes);
        remotes.resolve("named.example").unwrap();
        let idle = page(&metrics);
        assert!(idle.contains("entrepot_upstream_suspended_seconds{upstream=\"corp\"} 0\n"), "{idle}");
        assert!(idle.contains("entrepot_upstream_suspensions_total{upstream=\"corp\"} 0\n"), "{idle}");
        assert!(!idle.contains("named.example") && !idle.contains("remaining{"), "{idle}");

        fake.when(Seen::is_any).reply(|_| Reply::too_many_requests("30").header("ratelimit-remaining", "0;w=60"));
        let repository = RemoteRepository::from("team/app".parse::<entrepot_oci::RepositoryName>().unwrap());
        remotes.resolve("corp").unwrap().tags(&repository).await.unwrap_err();
        let suspended = page(&metrics);
        assert!(suspended.contains("entrepot_upstream_suspended_seconds{upstream=\"corp\"} 30\n"), "{suspended}");
        assert!(suspended.contains("entrepot_upstream_suspensions_total{upstream=\"corp\"} 1\n"), "{suspended}");
        assert!(suspended.contains("entrepot_upstream_rate_limit_remaining{upstream=\"corp\"} 0\n"), "{suspended}");
    }

    #[test]
    fn the_outcomes_of_questions_are_on_the_page() {
        let (metrics, mut registry) = (crate::Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let _answer = metrics.count_upstream(Ok(()));
        let page = page(&registry);
        assert!(page.contains("upstream_requests_total{outcome=\"Success\"} 1\n"), "{page}");
    }
}
