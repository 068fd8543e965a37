//! The operator's API at `/api/v1/`: what is in the cache, and what should be.
//!
//! JSON in and out; refusals have the same body as those of the registry API. The command line speaks it, to a server that
//! runs, or to this same router where none does.

mod explained;
mod order;
mod route;
mod tokens;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use entrepot_access::{Authority, Target};
use entrepot_oci::{ImageReference, RepositoryName};
use entrepot_registry::{CachedEntryKey, EvictionOrder, Registry, Repository};
use entrepot_upstream::Via;
use futures_util::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde_json::json;

use self::order::{EntriesPage, Evict, Named, Warm};
pub use self::route::AdminRoute;
use crate::access_log::RequestFacts;
use crate::door::name_behind;
use crate::error::ErrorResponse;
use crate::gate::{Need, Visitor, target};
use crate::handlers::Handled;
use crate::limits::ADMIN_PAGE_MAX;
use crate::metrics::RouteLabel;
use crate::query::Query;
use crate::request_id::RequestId;
use crate::respond::Answer;
use crate::route::Subject;

const JSON: &str = "application/json";

/// One JSON document a line.
const JSON_LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// The administrative API and nothing else: to be merged into a router with a fallback.
pub fn admin_router(registry: Arc<Registry>, authority: Arc<Authority>) -> Router {
    Router::new().route("/api/v1/{*rest}", any(answer)).with_state((registry, authority))
}

/// An administrative request on its way.
struct Order {
    registry: Arc<Registry>,
    /// Who gives it. What it is about is often said in its body only, so that every order asks for its right by itself, in
    /// [`Order::ask`], once it is parsed and before anything of it is done.
    visitor: Arc<Visitor>,
    authority: Arc<Authority>,
    head: Parts,
    query: Query,
    facts: RequestFacts,
}

/// Every administrative request passes here: it is known who gives it, and parsed, before anything of it is done.
async fn answer(State((registry, authority)): State<(Arc<Registry>, Arc<Authority>)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    let id = head.extensions.get::<RequestId>().copied();
    let route = match AdminRoute::parse(&head.method, head.uri.path()) {
        Ok(route) => route,
        Err(error) => return ErrorResponse::from(error).into_response(is_head, id),
    };
    let mut facts = RequestFacts::default();
    let outcome = enter((registry, authority), head, route, body, &mut facts).await;
    let mut response = outcome.unwrap_or_else(|error| error.into_response(is_head, id));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(RouteLabel(route.label()));
    response.extensions_mut().insert(facts);
    response
}

async fn enter(
    (registry, authority): (Arc<Registry>, Arc<Authority>),
    head: Parts,
    route: AdminRoute,
    body: Body,
    facts: &mut RequestFacts,
) -> Handled {
    let parts = (Arc::clone(&registry), Arc::clone(&authority));
    let visitor = Visitor::arrive(parts, &head, None, None, facts).await?;
    let query = Query::parse(head.uri.query());
    let mut order = Order { registry, authority, visitor, head, query, facts: std::mem::take(facts) };
    let outcome = order.carry_out(route, body).await;
    *facts = order.facts;
    outcome
}

impl Order {
    async fn carry_out(&mut self, route: AdminRoute, body: Body) -> Handled {
        order::check_query(&self.query, route.parameters())?;
        match route {
            AdminRoute::Stats => {
                self.ask(Target::registry())?;
                Ok(self.document(&view::stats(&self.registry.cache_stats().await?)))
            }
            AdminRoute::Entries => self.entries().await,
            AdminRoute::Pins => {
                self.ask(Target::registry())?;
                Ok(self.document(&view::pins(&self.registry.cache_pins().await?)))
            }
            AdminRoute::Pin => {
                let (repository, image) = self.named(body).await?;
                let reference = image.reference_or_latest();
                repository.pin(&reference).await?;
                Ok(self.document(&view::pinned(repository.name(), &reference.to_string(), true, None)))
            }
            AdminRoute::Unpin => {
                let (repository, image) = self.named(body).await?;
                let reference = image.reference_or_latest();
                let was_pinned = repository.unpin(&reference).await?;
                Ok(self.document(&view::pinned(repository.name(), &reference.to_string(), false, Some(was_pinned))))
            }
            AdminRoute::Evict => {
                self.ask(Target::registry())?;
                let order: EvictionOrder = order::read::<Evict>(&self.head.headers, body).await?.into();
                let report = self.registry.evict_cache(order).await?;
                Ok(self.document(&view::report(&report, order.is_dry_run)))
            }
            AdminRoute::Purge => {
                let (repository, image) = self.named(body).await?;
                let report = repository.purge(image.reference()).await?;
                Ok(self.document(&view::report(&report, false)))
            }
            AdminRoute::Refresh => {
                let (repository, image) = self.named(body).await?;
                let reference = image.reference_or_latest();
                let refreshed = repository.refresh(&reference).await?;
                Ok(self.document(&view::refreshed(repository.name(), &reference.to_string(), &refreshed)))
            }
            AdminRoute::Warm => self.warm(body).await,
            AdminRoute::Explain => self.explain().await,
            AdminRoute::Tokens => self.tokens().await,
            AdminRoute::CreateToken => self.create_token(body).await,
            AdminRoute::RevokeToken => self.revoke_token(body).await,
        }
    }

    /// Asks whether whoever gives the order may give it about this.
    fn ask(&mut self, target: Target) -> Result<(), ErrorResponse> {
        self.visitor.ask(&Need::to_administrate(target), &mut self.facts).map(|_| ())
    }

    /// Asks the same about a repository of the cache, and finds its name. Which registries there are to be named is only for those who
    /// may.
    fn ask_about(&mut self, image: &ImageReference) -> Result<RepositoryName, ErrorResponse> {
        self.facts.reference = image.reference().cloned().map(Subject::Manifest);
        let name = name_behind(&self.registry, image.registry(), image.repository());
        self.facts.repository = Some(name.clone());
        self.ask(target(&self.registry, &name))?;
        Ok(self.registry.name_behind(image.registry(), image.repository())?)
    }

    async fn entries(&mut self) -> Handled {
        let text = self.query.first("repository");
        let name = if let Some(image) = text.map(order::image).transpose()? {
            Some(self.ask_about(&image)?)
        } else {
            self.ask(Target::registry())?;
            None
        };
        let page = EntriesPage::of(&self.query)?;
        let listing = self.registry.cache_entries(name.as_ref(), page.after, page.limit).await?;
        let mut answer = Answer::new(StatusCode::OK);
        if let Some(last) = listing.entries.last().filter(|_| listing.has_more) {
            let last = order::cursor(&CachedEntryKey { name: last.name.clone(), digest: last.digest.clone() });
            let mut parameters = vec![("last", last.as_str())];
            parameters.extend(["n", "repository"].into_iter().filter_map(|key| Some((key, self.query.first(key)?))));
            answer = answer.next(self.head.uri.path(), &parameters);
        }
        let bytes = Bytes::from(view::entries(&listing.entries).to_string());
        Ok(answer.bytes(JSON, bytes, self.head.method == Method::HEAD))
    }

    /// Says what a pull of a reference would do, and why. The reference may also be one of your own: then it has no registry.
    async fn explain(&mut self) -> Handled {
        let text = self.query.first("reference").unwrap_or_default().to_owned();
        let (repository, reference) = if let Some((name, reference)) = order::own(&text) {
            self.ask(target(&self.registry, &name))?;
            (self.registry.repository_for(&name, &Via::default(), &self.visitor.actor())?, reference)
        } else {
            let image = order::image(&text)?;
            (self.repository(&image)?, image.reference_or_latest())
        };
        let explanation = repository.explain(&reference).await?;
        Ok(self.document(&explained::Document::of(&explanation)))
    }

    /// Fetches an image and tells how far it is. A client that hangs up ends it.
    async fn warm(&mut self, body: Body) -> Handled {
        let order: Warm = order::read(&self.head.headers, body).await?;
        let platforms = order.platforms()?;
        let image = order::image(&order.reference)?;
        let repository = self.repository(&image)?;
        let events = repository.warm(image.reference_or_latest(), platforms);
        let mut response = Response::new(Body::from_stream(events.map(|event| view::warm_line(&event))));
        response.headers_mut().insert(CONTENT_TYPE, JSON_LINES);
        Ok(response)
    }

    async fn tokens(&mut self) -> Handled {
        self.ask(Target::registry())?;
        let credentials = tokens::stored(self.authority.credentials())?;
        let after = self.query.first("last").map(ToOwned::to_owned);
        let mut rows =
            credentials.list(None, after, ADMIN_PAGE_MAX + 1).await.map_err(|refusal| ErrorResponse::from(&refusal))?;
        let has_more = rows.len() > ADMIN_PAGE_MAX;
        rows.truncate(ADMIN_PAGE_MAX);
        let mut answer = Answer::new(StatusCode::OK);
        if let Some(last) = rows.last().filter(|_| has_more) {
            answer = answer.next(self.head.uri.path(), &[("last", &last.id)]);
        }
        let bytes = Bytes::from(tokens::tokens(&rows).to_string());
        Ok(answer.bytes(JSON, bytes, self.head.method == Method::HEAD))
    }

    async fn create_token(&mut self, body: Body) -> Handled {
        self.ask(Target::registry())?;
        let credentials = tokens::stored(self.authority.credentials())?;
        let order: tokens::Create = order::read(&self.head.headers, body).await?;
        let credential = order.credential(self.registry.now())?;
        let name = credential.name.clone();
        match credentials.create(credential).await? {
            Some((row, token)) => Ok(self.document(&tokens::created(&row, &token))),
            None => Err(tokens::taken(&name)),
        }
    }

    async fn revoke_token(&mut self, body: Body) -> Handled {
        self.ask(Target::registry())?;
        let credentials = tokens::stored(self.authority.credentials())?;
        let order: tokens::Revoke = order::read(&self.head.headers, body).await?;
        let was_there = credentials.revoke(&order.id).await.map_err(|refusal| ErrorResponse::from(&refusal))?;
        Ok(self.document(&json!({ "id": order.id, "was_there": was_there })))
    }

    /// What a body with a reference names.
    async fn named(&mut self, body: Body) -> Result<(Repository, ImageReference), ErrorResponse> {
        let named: Named = order::read(&self.head.headers, body).await?;
        let image = order::image(&named.reference)?;
        Ok((self.repository(&image)?, image))
    }

    fn repository(&mut self, image: &ImageReference) -> Result<Repository, ErrorResponse> {
        let name = self.ask_about(image)?;
        let repository = self.registry.repository_for(&name, &Via::default(), &self.visitor.actor())?;
        self.facts.upstream = repository.upstream().map(ToOwned::to_owned);
        Ok(repository)
    }

    fn document(&self, document: &impl Serialize) -> Response {
        // Texts and numbers into memory: there is no way to fail.
        let bytes = serde_json::to_vec(document).map(Bytes::from).unwrap_or_default();
        Answer::new(StatusCode::OK).bytes(JSON, bytes, self.head.method == Method::HEAD)
    }
}
