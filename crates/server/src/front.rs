//! The layers around the router, in their order.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};

use crate::access_log::{self, AccessLog};
use crate::client_view::{self, ViewSettings};
use crate::hygiene;
use crate::metrics::RequestMetrics;
use crate::request_id::RequestIds;

/// Puts the layers that every request passes around a router that has its routes and its fallback.
///
/// The log is around the checks, so that refused requests have their line too, and the view around the log, which tells the client by it.
pub fn front(router: Router, ids: Arc<RequestIds>, metrics: RequestMetrics, view: Arc<ViewSettings>) -> Router {
    router
        .layer(from_fn(hygiene::enforce))
        .layer(from_fn_with_state(AccessLog::new(ids, metrics), access_log::record))
        .layer(from_fn_with_state(view, client_view::note))
}
