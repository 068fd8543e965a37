//! Is the process alive, and should it get requests?
//!
//! `/healthz` says that the process answers, and nothing about what it depends on: whoever restarts us when it fails would
//! not bring a database back. `/readyz` asks what the process depends on, and is what a load balancer should look at.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::limits::READINESS_TIMEOUT;

/// Where liveness is asked for.
pub(crate) const LIVENESS_PATH: &str = "/healthz";

/// Where readiness is asked for.
pub(crate) const READINESS_PATH: &str = "/readyz";

/// Whether a path is one of the two that are answered even when there is no room for anything else.
pub(crate) fn is_health_path(path: &str) -> bool {
    path == LIVENESS_PATH || path == READINESS_PATH
}

/// Something that the server depends on and that does not work now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// What it is, as the configuration calls it: `registry_storage`.
    pub what: String,
    /// What happened when it was tried. Everyone who can reach the server can read it.
    pub why: String,
}

type Verdict = Pin<Box<dyn Future<Output = Result<(), Vec<NotReady>>> + Send>>;

/// The state of the process as health checks see it. Clones share it.
#[derive(Clone)]
pub struct Health {
    probe: Arc<dyn Fn() -> Verdict + Send + Sync>,
    stopping: Arc<AtomicBool>,
}

impl Health {
    /// Readiness is what `probe` says; it is asked at every check, and given two seconds.
    pub fn new<P, F>(probe: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Vec<NotReady>>> + Send + 'static,
    {
        Self { probe: Arc::new(move || Box::pin(probe())), stopping: Arc::default() }
    }

    /// From now on the process is not ready: it is shutting down and should get no new requests.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// A router that answers the two paths.
    pub fn router(&self) -> Router {
        Router::new()
            .route(LIVENESS_PATH, get(async || answer(StatusCode::OK, "text/plain", "ok\n".to_owned())))
            .route(READINESS_PATH, get(readiness))
            .with_state(self.clone())
    }

    async fn verdict(&self) -> Result<(), Vec<NotReady>> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(vec![not_ready("server", "shutting down")]);
        }
        let verdict = tokio::time::timeout(READINESS_TIMEOUT, (self.probe)()).await;
        verdict.unwrap_or_else(|_| {
            let why = format!("no answer within {} seconds", READINESS_TIMEOUT.as_secs());
            Err(vec![not_ready("probe", &why)])
        })
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Health").field("stopping", &self.stopping).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    not_ready: Vec<NotReady>,
}

async fn readiness(State(health): State<Health>) -> Response {
    let not_ready = health.verdict().await.err().unwrap_or_default();
    let status = if not_ready.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let readiness = Readiness { ready: not_ready.is_empty(), not_ready };
    let body = serde_json::to_string(&readiness).expect("strings and a boolean can always be written");
    answer(status, "application/json", body)
}

fn not_ready(what: &str, why: &str) -> NotReady {
    NotReady { what: what.to_owned(), why: why.to_owned() }
}

fn answer(status: StatusCode, media_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn get(health: &Health, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = health.router().oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn a_process_whose_dependencies_work_is_alive_and_ready() {
        let health = Health::new(async || Ok(()));
        assert_eq!(get(&health, "/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(get(&health, "/readyz").await, (200, r#"{"ready":true,"not_ready":[]}"#.to_owned()));
    }

    #[tokio::test]
    async fn readiness_names_what_does_not_work_and_liveness_does_not_care() {
        let health = Health::new(async || Err(vec![not_ready("registry_storage", "read-only file system")]));
        let body = r#"{"ready":false,"not_ready":[{"what":"registry_storage","why":"read-only file system"}]}"#;
        assert_eq!(get(&health, "/readyz").await, (503, body.to_owned()));
        assert_eq!(get(&health, "/healthz").await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_not_ready_after_two_seconds() {
        let health = Health::new(std::future::pending::<Result<(), Vec<NotReady>>>);
        let (status, body) = get(&health, "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains(r#"{"what":"probe","why":"no answer within 2 seconds"}"#), "{body}");
    }

    #[tokio::test]
    async fn a_process_that_shuts_down_is_alive_but_not_ready() {
        let health = Health::new(async || Ok(()));
        health.stop();
        let (status, body) = get(&health, "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains("shutting down"), "{body}");
        assert_eq!(get(&health, "/healthz").await.0, 200);
    }
}
