//! The internal listener: where other replicas read along what this one is fetching.
//!
//! It has one route, and answers nobody who does not show the ticket of a fill that runs. Tickets are made for one fill each, and told in the
//! metadata store, so whoever can read that may read the blob while it is on its way; nothing else is to be had here. It is for
//! a network of the replicas alone: what goes over it is not encrypted.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use entrepot_oci::Digest;
use entrepot_registry::{PeerError, PeerRequest, Registry, Ticket};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::net::TcpListener;

use crate::connection::ConnectionLimits;
use crate::limits::REPLICA_CONNECTIONS_MAX;
use crate::listener::{ServeOutcome, serve};
use crate::metrics::ConnectionMetrics;

/// The path of the blob `digest` from the byte `first` on, while it is being filled: `/replica/v1/fills/sha256:…/0`.
pub fn replica_path(digest: &Digest, first: u64) -> String {
    format!("/replica/v1/fills/{digest}/{first}")
}

/// The header with the size of the whole blob in bytes, if it is known.
pub const REPLICA_SIZE_HEADER: &str = "entrepot-blob-size";

/// Serves other replicas until `shutdown`, then lets them finish reading.
pub async fn serve_replicas(
    listener: TcpListener,
    registry: Arc<Registry>,
    shutdown: impl Future<Output = ()>,
) -> ServeOutcome {
    let limits = ConnectionLimits { connections_max: REPLICA_CONNECTIONS_MAX, ..ConnectionLimits::default() };
    // Its connections are not those of clients.
    serve(listener, None, replica_router(registry), limits, ConnectionMetrics::default(), shutdown).await
}

/// The one route, for [`serve_replicas`] and for tests.
pub fn replica_router(registry: Arc<Registry>) -> Router {
    Router::new().route("/replica/v1/fills/{digest}/{first}", get(read_along)).with_state(registry)
}

async fn read_along(
    State(registry): State<Arc<Registry>>,
    Path((digest, first)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let ticket = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let (Some(ticket), Ok(digest), Ok(first)) = (ticket, digest.parse(), first.parse()) else {
        return refused(StatusCode::UNAUTHORIZED, "replicas show the ticket of a fill\n");
    };
    let request = PeerRequest { digest, first, ticket: Ticket::shown(ticket) };
    match registry.read_along(&request).await {
        Ok(answer) => {
            let mut response = Response::new(Body::from_stream(answer.body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            if let Some(size) = answer.size {
                response.headers_mut().insert(REPLICA_SIZE_HEADER, size.into());
            }
            response
        }
        // Whoever shows a wrong ticket learns no more than whoever came too late.
        Err(PeerError::NotFilling | PeerError::Unreachable { .. }) => {
            refused(StatusCode::NOT_FOUND, "no such fill runs here\n")
        }
    }
}

fn refused(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
