//! The registry API: parse the route, ask at the gate, lead it to its repository, do it, answer.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use entrepot_access::Authority;
use entrepot_oci::RepositoryName;
use entrepot_registry::Registry;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, Method};

use crate::access_log::{RequestFacts, Told};
use crate::door::{Door, Led, own_host};
use crate::error::ErrorResponse;
use crate::gate::{Need, Rights, Visitor};
use crate::handlers::{Call, Handled, handle};
use crate::metrics::RouteLabel;
use crate::query::Query;
use crate::redirect::RedirectSettings;
use crate::request_id::RequestId;
use crate::respond::OCI_NAMESPACE;
use crate::route::Route;

/// The registry API at `/v2/` and `/proxy/<registry>/v2/`. Everything else is answered with 404. Cheap to clone.
///
/// No router: a repository's name has slashes, which none of segments can match, and `Route::parse` does.
#[derive(Clone, Debug)]
pub struct Api {
    registry: Arc<Registry>,
    authority: Arc<Authority>,
    redirects: Arc<RedirectSettings>,
}

/// The API of this registry, for those whom this authority lets.
pub const fn api(registry: Arc<Registry>, authority: Arc<Authority>, redirects: Arc<RedirectSettings>) -> Api {
    Api { registry, authority, redirects }
}

impl Api {
    /// Answers a request, and tells what the log should know.
    pub(crate) async fn answer(&self, request: Request) -> (Response, Told) {
        let (head, body) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        let id = head.extensions.get::<RequestId>().copied();
        let query = Query::parse(head.uri.query());
        let (door, path) = Door::of(head.uri.path(), &query, own_host(&head.uri, &head.headers));
        let route = match Route::parse(&head.method, path) {
            Ok(route) => route,
            Err(error) => return (ErrorResponse::from(error).into_response(is_head, id), Told::default()),
        };
        let label = RouteLabel(route.label());
        let (mut facts, mut led) = (RequestFacts::default(), Led::default());
        let outcome = enter(self, head, query, (&door, route), body, (&mut facts, &mut led)).await;
        let mut response = outcome.unwrap_or_else(|error| match &facts.upstream {
            Some(upstream) => error.naming(upstream).into_response(is_head, id),
            None => error.into_response(is_head, id),
        });
        if let Some(value) = led.namespace.and_then(|namespace| HeaderValue::from_str(&namespace).ok()) {
            response.headers_mut().insert(OCI_NAMESPACE, value);
        }
        (response, Told { route: Some(label), facts })
    }
}

async fn enter(
    api: &Api,
    head: Parts,
    query: Query,
    (door, mut route): (&Door, Route),
    body: Body,
    (facts, led): (&mut RequestFacts, &mut Led),
) -> Handled {
    let Api { registry, authority, redirects } = api;
    let name = door.name_of(&route, registry);
    facts.repository.clone_from(&name);
    facts.reference = route.subject();
    let need = Need::of(&route, name.as_ref(), mount_source(&route, &query).as_ref(), registry);
    let parts = (Arc::clone(registry), Arc::clone(authority));
    let visitor = Visitor::arrive(parts, &head, door.namespace(), Some(&need), facts).await?;
    let actions = visitor.ask(&need, facts)?;
    *led = door.lead(&mut route, registry, head.method == Method::HEAD).await?;
    if let Some(found) = route.repository().filter(|found| Some(*found) != name.as_ref()) {
        facts.repository = Some(found.clone());
        visitor.ask_mirrored(found, facts)?;
    }
    facts.door = led.label;
    let is_judged = route.repository().is_some_and(|name| registry.named(name).judge.is_some());
    let rights = Rights::new(Arc::clone(&visitor), actions);
    let (registry, actor, led) = (Arc::clone(registry), visitor.actor(), led.clone());
    let redirects = Arc::clone(redirects);
    let address = visitor.address();
    let Parts { method, uri, headers, extensions, .. } = head;
    let outbox = extensions.get().cloned();
    let call = Call { registry, actor, rights, method, uri, query, headers, led, outbox, redirects, address };
    let handled = handle(call, route, body, facts).await;
    match handled {
        Ok(response) if is_judged => Ok(judged(response)),
        Ok(response) if visitor.is_known() => Ok(private(response)),
        Ok(response) => Ok(response),
        Err(error) => {
            if let Some(reason) = error.denial() {
                visitor.was_denied(&need, facts.reference.as_ref(), reason);
            }
            Err(error)
        }
    }
}

/// The repository that a blob is to be mounted from, if the client names one.
fn mount_source(route: &Route, query: &Query) -> Option<RepositoryName> {
    let is_mount = matches!(route, Route::StartUpload(_)) && query.first("mount").is_some();
    query.first("from").filter(|_| is_mount)?.parse().ok()
}

/// What somebody may read because of who he is, no cache on the way may give to others.
fn private(mut response: Response) -> Response {
    let value = response.headers().get(CACHE_CONTROL).map(|value| [b"private, ", value.as_bytes()].concat());
    let value = value.and_then(|value| HeaderValue::from_bytes(&value).ok());
    response.headers_mut().insert(CACHE_CONTROL, value.unwrap_or(HeaderValue::from_static("private")));
    response
}

/// What an upstream lets somebody read, it may let him read no more a minute later: also his own cache has to ask again, and so has that
/// of somebody who has said nothing.
fn judged(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}
