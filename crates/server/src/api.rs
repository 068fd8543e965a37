//! The registry API as a router: parse the route, lead it to its repository, check what it needs, do it, answer.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use entrepot_access::Authority;
use entrepot_registry::Registry;
use http::HeaderValue;
use http::request::Parts;

use crate::access_log::RequestFacts;
use crate::door::{Door, Led, own_host};
use crate::error::ErrorResponse;
use crate::handlers::{Call, Handled, handle};
use crate::metrics::RouteLabel;
use crate::query::Query;
use crate::request_id::RequestId;
use crate::respond::OCI_NAMESPACE;
use crate::route::Route;

/// The registry API at `/v2/` and `/proxy/<registry>/v2/`. Everything else is answered with 404, so merge further routes before
/// using it.
pub fn api(registry: Arc<Registry>, _authority: Arc<Authority>) -> Router {
    // A repository's name has slashes: no router of segments can match it, `Route::parse` does.
    Router::new().fallback(answer).with_state(registry)
}

async fn answer(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let is_head = head.method == http::Method::HEAD;
    let id = head.extensions.get::<RequestId>().copied();
    let query = Query::parse(head.uri.query());
    let (door, path) = Door::of(head.uri.path(), &query, own_host(&head));
    let route = match Route::parse(&head.method, path) {
        Ok(route) => route,
        Err(error) => return ErrorResponse::from(error).into_response(is_head, id),
    };
    let label = RouteLabel(route.label());
    let (mut facts, mut led) = (RequestFacts::default(), Led::default());
    let outcome = enter(registry, head, query, (&door, route), body, (&mut facts, &mut led)).await;
    let mut response = outcome.unwrap_or_else(|error| match &facts.upstream {
        Some(upstream) => error.naming(upstream).into_response(is_head, id),
        None => error.into_response(is_head, id),
    });
    if let Some(value) = led.namespace.and_then(|namespace| HeaderValue::from_str(&namespace).ok()) {
        response.headers_mut().insert(OCI_NAMESPACE, value);
    }
    response.extensions_mut().insert(label);
    response.extensions_mut().insert(facts);
    response
}

async fn enter(
    registry: Arc<Registry>,
    head: Parts,
    query: Query,
    (door, mut route): (&Door, Route),
    body: Body,
    (facts, led): (&mut RequestFacts, &mut Led),
) -> Handled {
    facts.repository = route.repository().map(ToString::to_string);
    facts.reference = route.subject();
    *led = door.lead(&mut route, &registry, head.method == http::Method::HEAD).await?;
    facts.repository = route.repository().map(ToString::to_string);
    facts.door = led.label;
    let (path, led) = (head.uri.path().to_owned(), led.clone());
    let call = Call { registry, method: head.method, path, query, headers: head.headers, led };
    handle(call, route, body, facts).await
}
