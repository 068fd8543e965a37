//! What is around every request, whatever its route, in its order.
//!
//! One service and one future instead of a stack of layers: a layer boxes the rest of the way anew for each request, and so copies
//! the largest future of all handlers, which cost more than everything that is decided here. For the same reason the registry API is
//! asked without a router in between; what its paths are is told by their beginning.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use tower::{Service, ServiceExt};

use crate::access_log::{Exchange, Told};
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

/// Answers requests, each with what belongs to every request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Front(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    routes: Routes,
    ids: Arc<RequestIds>,
    metrics: RequestMetrics,
    view: Arc<ViewSettings>,
}

/// Puts what belongs to every request around the routes.
pub fn front(
    routes: impl Into<Routes>,
    ids: Arc<RequestIds>,
    metrics: RequestMetrics,
    view: Arc<ViewSettings>,
) -> Front {
    Front(Arc::new(Shared { routes: routes.into(), ids, metrics, view }))
}

impl Shared {
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

impl Service<Request<Body>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { Ok(shared.answer(request).await) })
    }
}
