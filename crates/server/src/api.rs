//! The registry API as a router: parse the route, check what it needs, do it, answer.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use entrepot_registry::Registry;

use crate::access_log::RequestFacts;
use crate::handlers::{Call, handle};
use crate::metrics::RouteLabel;
use crate::query::Query;
use crate::route::Route;

/// The registry API at `/v2/`. Everything else is answered with 404, so merge further routes before using it.
pub fn api(registry: Arc<Registry>) -> Router {
    // A repository's name has slashes: no router of segments can match it, `Route::parse` does.
    Router::new().fallback(answer).with_state(registry)
}

async fn answer(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let is_head = head.method == http::Method::HEAD;
    let route = match Route::parse(&head.method, head.uri.path()) {
        Ok(route) => route,
        Err(error) => return crate::error::ErrorResponse::from(error).into_response(is_head),
    };
    let label = RouteLabel(route.label());
    let mut facts = RequestFacts {
        repository: route.repository().map(ToString::to_string),
        reference: route.subject(),
        ..RequestFacts::default()
    };
    let call = Call { registry, method: head.method, query: Query::parse(head.uri.query()), headers: head.headers };
    let mut response = match handle(call, route, body, &mut facts).await {
        Ok(response) => response,
        Err(error) => error.into_response(is_head),
    };
    response.extensions_mut().insert(label);
    response.extensions_mut().insert(facts);
    response
}
