//! The handlers: what each route does with the domain, and how the outcome is answered.

mod blobs;
mod lists;
mod manifests;
mod uploads;

use axum::response::Response;
use entrepot_registry::{Actor, CacheStatus, Registry, Repository};
use http::{HeaderMap, Method, StatusCode, Uri};
use std::net::IpAddr;
use std::sync::Arc;

use crate::access_log::RequestFacts;
use crate::door::{Led, via};
use crate::error::ErrorResponse;
use crate::gate::Rights;
use crate::query::Query;
use crate::redirect::RedirectSettings;
use crate::respond::Answer;
use crate::route::{Access, Route};
use crate::sendfile::Outbox;

/// A parsed request without its body.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) registry: Arc<Registry>,
    /// Who asks.
    pub(crate) actor: Arc<Actor>,
    /// What he may.
    pub(crate) rights: Rights,
    pub(crate) method: Method,
    /// As it was sent: pages lead on through the door that the first one was asked for by.
    pub(crate) uri: Uri,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) led: Led,
    /// Where the connection, if it can, sends parts of files from.
    pub(crate) outbox: Option<Outbox>,
    /// Who is sent on to the object storage.
    pub(crate) redirects: Arc<RedirectSettings>,
    /// Where the client is, if that is known.
    pub(crate) address: Option<IpAddr>,
}

impl Call {
    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// What a handler answers, and what the log should know about it.
pub(crate) type Handled = Result<Response, ErrorResponse>;

/// Does what the route says.
pub(crate) async fn handle(call: Call, route: Route, body: axum::body::Body, facts: &mut RequestFacts) -> Handled {
    if let Access::Push(name) | Access::Delete(name) = route.access() {
        call.registry.check_writable(name)?;
    }
    let repository = match route.repository() {
        Some(name) => Some(call.registry.repository_for(name, &via(&call.headers), &call.actor)?),
        None => None,
    };
    facts.upstream = repository.as_ref().and_then(Repository::upstream).map(ToOwned::to_owned);
    // What is rarer than pulls is boxed: its futures are many times as large, and would be a part of every pull's.
    match (route, repository) {
        (Route::Base, _) => Ok(base(&call)),
        (Route::Catalog, _) => Box::pin(lists::catalog(&call)).await,
        (Route::Discover, _) => Ok(lists::discover(&call)),
        (Route::PullManifest(_, reference), Some(repository)) => {
            manifests::pull(&call, &repository, &reference, facts).await
        }
        (Route::PushManifest(_, reference), Some(repository)) => {
            Box::pin(manifests::push(&call, &repository, reference, body, facts)).await
        }
        (Route::DeleteManifest(_, reference), Some(repository)) => {
            Box::pin(repository.delete_manifest(&reference)).await?;
            Ok(Answer::new(StatusCode::ACCEPTED).empty())
        }
        (Route::PullBlob(_, digest), Some(repository)) => blobs::pull(&call, &repository, &digest, facts).await,
        (Route::DeleteBlob(_, digest), Some(repository)) => {
            Box::pin(repository.delete_blob(&digest)).await?;
            Ok(Answer::new(StatusCode::ACCEPTED).content_digest(&digest).empty())
        }
        (Route::StartUpload(_), Some(repository)) => Box::pin(uploads::start(&call, &repository, body, facts)).await,
        (Route::UploadStatus(_, id), Some(repository)) => Box::pin(uploads::status(&repository, &id)).await,
        (Route::AppendToUpload(_, id), Some(repository)) => {
            Box::pin(uploads::append(&call, &repository, &id, body)).await
        }
        (Route::FinishUpload(_, id), Some(repository)) => {
            Box::pin(uploads::finish(&call, &repository, &id, body, facts)).await
        }
        (Route::CancelUpload(_, id), Some(repository)) => Box::pin(uploads::cancel(&repository, &id)).await,
        (Route::Tags(_), Some(repository)) => Box::pin(lists::tags(&call, &repository)).await,
        (Route::Referrers(_, subject), Some(repository)) => {
            Box::pin(lists::referrers(&call, &repository, &subject)).await
        }
        // A route about a repository names it: `Route::repository` is exhaustive.
        (_, None) => Err(crate::route::RouteError::UnknownPath.into()),
    }
}

fn base(call: &Call) -> Response {
    Answer::new(StatusCode::OK).bytes("application/json", bytes::Bytes::from_static(b"{}"), call.is_head())
}

/// The cache status as the log has it; hosted content has none.
fn logged(cache: CacheStatus) -> Option<CacheStatus> {
    Some(cache).filter(|cache| *cache != CacheStatus::Own)
}
