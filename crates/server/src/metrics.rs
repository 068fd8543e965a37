//! What the server counts, and the listener that tells.
//!
//! Every label is one of a fixed set of words of our own: a route template, a known method, a class of status. Names,
//! tags, paths and user agents come from outside and never become labels, so the page does not grow with what is asked.
//!
//! Each component is handed the struct of its own series; nothing is global.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use entrepot_registry::CacheStatus;
use http::{Method, Response, StatusCode, header};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::net::TcpListener;

use crate::access_log::Decision;
use crate::connection::ConnectionLimits;
use crate::limits::METRICS_CONNECTIONS_MAX;
use crate::listener::{ServeOutcome, serve};

/// The type that a page in the text format of `OpenMetrics` is announced as.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: from an answer out of memory to a large layer over a slow link.
const DURATION_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];

/// Every series of the process, by component.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections: ConnectionMetrics,
    requests: RequestMetrics,
}

impl Metrics {
    /// All series at zero, for a process of this version.
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::with_prefix("entrepot");
        let build = Info::new([("version", version.to_owned())]);
        registry.register("build", "What this process is", build);
        Self {
            connections: ConnectionMetrics::register(registry.sub_registry_with_prefix("http")),
            requests: RequestMetrics::register(&mut registry),
            registry,
        }
    }

    /// The place for series of further components.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// The series of the listener.
    pub fn connections(&self) -> ConnectionMetrics {
        self.connections.clone()
    }

    /// The series of the request log.
    pub fn requests(&self) -> RequestMetrics {
        self.requests.clone()
    }

    fn page(&self) -> Response<Body> {
        let mut page = String::new();
        if let Err(error) = text::encode(&mut page, &self.registry) {
            tracing::error!(%error, "cannot write the metrics page");
            return answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", String::new());
        }
        answer(StatusCode::OK, OPEN_METRICS, page)
    }
}

/// Connections of one listener.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    open: Gauge,
    refused: Counter,
    accept_failures: Counter,
    handshake_failures: Counter,
    sent_from_files: Counter,
    cold_files: Counter,
}

impl ConnectionMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("connections_open", "Connections that are open", metrics.open.clone());
        registry.register(
            "connections_refused",
            "Connections over the limit, which got no more than health checks",
            metrics.refused.clone(),
        );
        registry.register(
            "accept_failures",
            "Failures to accept a connection, as when file descriptors ran out",
            metrics.accept_failures.clone(),
        );
        registry.register(
            "tls_handshake_failures",
            "Connections that ended before TLS was agreed on",
            metrics.handshake_failures.clone(),
        );
        registry.register_with_unit(
            "sent_from_files",
            "Bytes of blobs that the kernel sent straight out of files",
            Unit::Bytes,
            metrics.sent_from_files.clone(),
        );
        registry.register(
            "cold_files",
            "Times that the next part of a blob was not in memory and was waited for",
            metrics.cold_files.clone(),
        );
        metrics
    }

    pub(crate) fn sent_from_file(&self, bytes: usize) {
        self.sent_from_files.inc_by(bytes as u64);
    }

    pub(crate) fn file_was_cold(&self) {
        self.cold_files.inc();
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    pub(crate) fn accept_failed(&self) {
        self.accept_failures.inc();
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshake_failures.inc();
    }

    #[cfg(test)]
    pub(crate) fn bytes_sent_from_files(&self) -> u64 {
        self.sent_from_files.get()
    }

    #[cfg(test)]
    pub(crate) fn cold_files(&self) -> u64 {
        self.cold_files.get()
    }

    #[cfg(test)]
    pub(crate) fn handshake_failures(&self) -> u64 {
        self.handshake_failures.get()
    }

    /// Counts a connection as open until the result is dropped.
    pub(crate) fn open(&self) -> OpenConnection {
        self.open.inc();
        OpenConnection(self.open.clone())
    }
}

/// A connection that is counted as open.
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The template of the route that answered, which a handler puts among the extensions of its response. Without one the
/// request counts under `unmatched`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteLabel(pub &'static str);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DoorLabels {
    door: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    action: &'static str,
    outcome: &'static str,
}

/// Requests and their answers. Each request has a clone, which is one count.
#[derive(Clone, Debug)]
pub struct RequestMetrics(Arc<RequestSeries>);

#[derive(Debug)]
struct RequestSeries {
    requests: Family<RequestLabels, Counter>,
    duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    sent: Counter,
    received: Counter,
    cache: Family<CacheLabels, Counter>,
    doors: Family<DoorLabels, Counter>,
    decisions: Family<DecisionLabels, Counter>,
}

/// What is counted about one request when its answer has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountedRequest<'r> {
    pub(crate) route: Option<RouteLabel>,
    pub(crate) method: &'r Method,
    /// `None`: the client left before there was a status.
    pub(crate) status: Option<StatusCode>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) duration: Duration,
    pub(crate) cache: Option<CacheStatus>,
    pub(crate) door: Option<&'static str>,
    pub(crate) decision: Option<Decision>,
}

impl RequestMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = RequestSeries {
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            sent: Counter::default(),
            received: Counter::default(),
            cache: Family::default(),
            doors: Family::default(),
            decisions: Family::default(),
        };
        registry.register(
            "access_decisions",
            "Decisions about what somebody may do, by action and outcome",
            metrics.decisions.clone(),
        );
        registry.register(
            "proxied_requests",
            "Requests for other registries' repositories, by the way they were spelled",
            metrics.doors.clone(),
        );
        registry.register("cache_answers", "Answers from or through the cache, by result", metrics.cache.clone());
        let registry = registry.sub_registry_with_prefix("http");
        registry.register("requests", "Requests by route, method and class of status", metrics.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from the request head to the end of the response body",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register_with_unit("sent", "Bytes of response bodies", Unit::Bytes, metrics.sent.clone());
        registry.register_with_unit("received", "Bytes of request bodies", Unit::Bytes, metrics.received.clone());
        Self(Arc::new(metrics))
    }

    pub(crate) fn count(&self, request: &CountedRequest<'_>) {
        let route = request.route.map_or("unmatched", |label| label.0);
        let labels =
            RequestLabels { route, method: method_label(request.method), status: status_label(request.status) };
        let series = &self.0;
        series.requests.get_or_create(&labels).inc();
        series.duration.get_or_create(&RouteLabels { route }).observe(request.duration.as_secs_f64());
        series.sent.inc_by(request.bytes_sent);
        series.received.inc_by(request.bytes_received);
        if let Some(status) = request.cache {
            series.cache.get_or_create(&CacheLabels { result: status.as_str() }).inc();
        }
        if let Some(door) = request.door {
            series.doors.get_or_create(&DoorLabels { door }).inc();
        }
        if let Some(Decision { action, outcome }) = request.decision {
            series.decisions.get_or_create(&DecisionLabels { action, outcome }).inc();
        }
    }
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status_label(status: Option<StatusCode>) -> &'static str {
    match status.map(|status| status.as_u16() / 100) {
        None => "none",
        Some(1) => "1xx",
        Some(2) => "2xx",
        Some(3) => "3xx",
        Some(4) => "4xx",
        Some(_) => "5xx",
    }
}

/// A router that answers `GET /metrics` and nothing else.
pub fn metrics_router(metrics: Arc<Metrics>) -> Router {
    let page = get(move || async move { metrics.page() });
    let nothing = || async { answer(StatusCode::NOT_FOUND, "text/plain", "the metrics are at /metrics\n".to_owned()) };
    Router::new().route("/metrics", page).fallback(nothing)
}

/// Serves [`metrics_router`] on a listener of its own until `shutdown` completes.
pub async fn serve_metrics(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()>,
) -> ServeOutcome {
    let limits = ConnectionLimits { connections_max: METRICS_CONNECTIONS_MAX, ..ConnectionLimits::default() };
    // Its own connections are not those that the page is about.
    serve(listener, None, metrics_router(metrics), limits, ConnectionMetrics::default(), shutdown).await
}

fn answer(status: StatusCode, media_type: &'static str, page: String) -> Response<Body> {
    let mut response = Response::new(Body::from(page));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use axum::routing::any;
    use http::Request;
    use http_body_util::BodyExt;

    use super::*;
    use crate::answerer::Answerer;
    use crate::front::front;
    use crate::request_id::RequestIds;

    async fn fetch(router: impl Into<Answerer>, method: Method, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "a");
        let request = request.body(Body::empty()).expect("a request");
        let response = router.into().answer(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn the_page_does_not_grow_with_what_is_asked() {
        let metrics = Arc::new(Metrics::new("1.2.3"));
        let inner = Router::new().route("/v2/{*rest}", any(async || ""));
        let router = front(inner.into(), Arc::new(RequestIds::new(1)), metrics.requests(), Arc::default());
        let page = metrics_router(Arc::clone(&metrics));
        let methods = ["GET", "PUT", "BREW", "X-1"].map(|method| method.parse::<Method>().expect("a method"));
        for method in &methods {
            fetch(router.clone(), method.clone(), "/v2/first").await;
        }
        let (_, before) = fetch(page.clone(), Method::GET, "/metrics").await;
        for index in 0..10_000_usize {
            let method = methods[index % methods.len()].clone();
            fetch(router.clone(), method, &format!("/v2/{:x}/manifests/{index}", index * 7919)).await;
        }
        let (_, after) = fetch(page, Method::GET, "/metrics").await;
        assert_eq!(before.lines().count(), after.lines().count());
        assert!(
            after.contains(r#"entrepot_http_requests_total{route="unmatched",method="other",status="2xx"} 5002"#),
            "{after}"
        );
    }

    #[tokio::test]
    async fn the_listener_tells_the_core_series_and_nothing_else() {
        let mut metrics = Metrics::new("1.2.3");
        let fills: Gauge = Gauge::default();
        fills.set(3);
        metrics.registry_mut().register("fills_running", "Fills", fills);
        let metrics = Arc::new(metrics);
        let connections = metrics.connections();
        let open = connections.open();
        connections.refused();
        let request = CountedRequest {
            route: Some(RouteLabel("blob")),
            method: &Method::GET,
            status: Some(StatusCode::OK),
            bytes_sent: 10,
            bytes_received: 5,
            duration: Duration::from_millis(3),
            cache: Some(CacheStatus::Stale),
            door: Some("root"),
            decision: Some(Decision { action: "pull", outcome: "allowed" }),
        };
        metrics.requests().count(&request);
        let router = metrics_router(metrics);
        let (status, page) = fetch(router.clone(), Method::GET, "/metrics").await;
        assert_eq!(status, 200);
        let expected = [
            r#"entrepot_build_info{version="1.2.3"} 1"#,
            r#"entrepot_http_requests_total{route="blob",method="GET",status="2xx"} 1"#,
            r#"entrepot_http_request_duration_seconds_bucket{le="0.005",route="blob"} 1"#,
            "entrepot_http_sent_bytes_total 10",
            "entrepot_http_received_bytes_total 5",
            r#"entrepot_cache_answers_total{result="stale"} 1"#,
            r#"entrepot_proxied_requests_total{door="root"} 1"#,
            r#"entrepot_access_decisions_total{action="pull",outcome="allowed"} 1"#,
            "entrepot_http_connections_open 1",
            "entrepot_http_connections_refused_total 1",
            "entrepot_http_tls_handshake_failures_total 0",
            "entrepot_fills_running 3",
            "# EOF",
        ];
        for line in expected {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        drop(open);
        let (_, page) = fetch(router.clone(), Method::GET, "/metrics").await;
        assert!(page.contains("entrepot_http_connections_open 0\n"), "{page}");
        assert_eq!(fetch(router.clone(), Method::POST, "/metrics").await.0, 405);
        assert_eq!(fetch(router, Method::GET, "/v2/").await.0, 404);
    }
}
