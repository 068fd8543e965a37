//! What is around every request, whatever its route, in its order.
//!
//! One function and one future instead of a stack of layers: a layer boxes the rest of the way anew for each request, and so copies
//! the largest future of all handlers, which cost more than everything that is decided here. For the same reason the registry API is
//! asked without a router in between; what its paths are is told by their beginning.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use tower::ServiceExt;

use crate::access_log::{Exchange, Told};
use crate::answerer::Answerer;
use crate::api::Api;
use crate::client_view::ViewSettings;
use crate::door::is_registry_path;
use crate::hygiene;
use crate::metrics::RequestMetrics;
use crate::request_id::RequestIds;

/// Everything that can be asked: the registry API, where there is one, and a router for the rest.
#[derive(Clone, Debug)]
pub struct Routes {
    api: Option<Api>,
    others: Router,
}

impl Routes {
    /// The registry API, and `others` with routes of their own; what is none of either is answered by the API as well, as unknown.
    pub fn new(api: Api, others: Router) -> Self {
        let unknown = api.clone();
        let others = others.fallback(move |request: Request<Body>| async move {
            let (mut response, told) = unknown.answer(request).await;
            told.put_into(&mut response);
            response
        });
        Self { api: Some(api), others }
    }

    async fn answer(&self, request: Request<Body>, exchange: &mut Exchange) -> Response {
        match &self.api {
            Some(api) if is_registry_path(request.uri().path()) => {
                let (response, told) = api.answer(request).await;
                exchange.tell(told);
                response
            }
            _ => {
                let Ok(mut response) = self.others.clone().oneshot(request).await;
                exchange.tell(Told::taken_out_of(&mut response));
                response
            }
        }
    }
}

impl From<Router> for Routes {
    /// Of a router that has its routes and its fallback.
    fn from(others: Router) -> Self {
        Self { api: None, others }
    }
}

/// What belongs to every request, around the routes.
struct Front {
    routes: Routes,
    ids: Arc<RequestIds>,
    metrics: RequestMetrics,
    view: Arc<ViewSettings>,
}

/// Puts what belongs to every request around the routes.
pub fn front(routes: Routes, ids: Arc<RequestIds>, metrics: RequestMetrics, view: Arc<ViewSettings>) -> Answerer {
    let front = Arc::new(Front { routes, ids, metrics, view });
    Answerer::new(move |request| {
        let front = Arc::clone(&front);
        async move { front.answer(request).await }
    })
}

impl Front {
    /// The log is around the checks, so that refused requests have their line too, and the view before the log, which tells the client
    /// by it.
    async fn answer(&self, mut request: Request<Body>) -> Response {
        self.view.note(&mut request);
        let id = self.ids.next();
        request.extensions_mut().insert(id);
        let mut exchange = Exchange::begin(id, &mut request, self.metrics.clone());
        let response = hygiene::enforce(id, request, |request| self.routes.answer(request, &mut exchange)).await;
        exchange.answered(response)
    }
}
