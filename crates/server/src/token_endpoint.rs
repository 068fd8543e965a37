//! The token service, `/token`: a short-lived token for whoever proves who he is, limited to the scopes that he asks for and may have.
//!
//! GET is the distribution project's [token protocol](https://distribution.github.io/distribution/spec/auth/token/), POST its
//! [OAuth2 form](https://distribution.github.io/distribution/spec/auth/oauth/). Both are one thing: find out who it is, cut the scopes
//! down to what he may, sign. Fewer scopes than were asked for are no error here; the registry says no when the token is used.

mod answer;
mod asked;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use entrepot_access::{Attempt, Authority, Caller, Proof, Refusal, ResourceKind, Scope, Target, TokenFault};
use entrepot_oci::{ErrorCode, RepositoryName};
use entrepot_registry::Registry;
use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{Method, StatusCode};

use self::answer::{Granted, refused};
use self::asked::{Asked, Grant};
use crate::access_log::RequestFacts;
use crate::audit::{Claim, Origin};
use crate::body::read_bounded;
use crate::challenge::TOKEN_PATH;
use crate::client_view::ClientView;
use crate::error::{ErrorResponse, chain};
use crate::gate::target;
use crate::limits::TOKEN_FORM_BYTES_MAX;
use crate::metrics::RouteLabel;
use crate::proof::proof;
use crate::query::Query;
use crate::request_id::RequestId;

/// The token service and nothing else: to be merged into a router with a fallback.
pub fn token_router(registry: Arc<Registry>, authority: Arc<Authority>) -> Router {
    Router::new().route(TOKEN_PATH, any(answer)).with_state(TokenEndpoint { registry, authority })
}

#[derive(Clone, Debug)]
struct TokenEndpoint {
    registry: Arc<Registry>,
    authority: Arc<Authority>,
}

async fn answer(State(endpoint): State<TokenEndpoint>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    let id = head.extensions.get::<RequestId>().copied();
    let view = ClientView::of(&head);
    let mut facts = RequestFacts::default();
    let outcome = endpoint.answer(&head, body, &view, &mut facts).await;
    let mut response = outcome.unwrap_or_else(|error| error.into_response(is_head, id));
    response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(RouteLabel("token"));
    response.extensions_mut().insert(facts);
    response
}

impl TokenEndpoint {
    async fn answer(
        &self,
        head: &Parts,
        body: Body,
        view: &ClientView,
        facts: &mut RequestFacts,
    ) -> Result<Response, ErrorResponse> {
        let Some(service) = self.authority.service() else {
            let message = "there are no tokens here: everybody may do everything without one";
            return Err(ErrorResponse::new(ErrorCode::UNSUPPORTED, message).with_status(StatusCode::NOT_FOUND));
        };
        let query = Query::parse(head.uri.query());
        let asked = match head.method {
            Method::GET | Method::HEAD => Asked::by_get(&query)?,
            Method::POST => Asked::by_post(&query, &form(head, body).await?)?,
            _ => {
                let message = "a token is asked for with GET, or with POST of a form";
                return Err(ErrorResponse::new(ErrorCode::UNSUPPORTED, message)
                    .with_status(StatusCode::METHOD_NOT_ALLOWED)
                    .with_header(ALLOW, "GET, HEAD, POST"));
            }
        };
        asked.check_service(service)?;
        let (origin, mut claim) = (Origin::of(head, view), Claim::unreadable());
        let caller = self.caller(head, view, &asked, &mut claim).await.map_err(|refusal| {
            origin.login_failed(&claim, &chain(&refusal));
            refused(&refusal, &asked, view)
        })?;
        facts.principal = Some(caller.principal.to_string());
        // Whoever has lost his password along the way would seem to have logged in.
        if caller.principal.is_anonymous() && asked.scopes.is_empty() {
            return Err(answer::login_wanted(view));
        }
        self.grant(&caller, &asked, &origin).await.map_err(|refusal| refused(&refusal, &asked, view))
    }

    async fn caller(
        &self,
        head: &Parts,
        view: &ClientView,
        asked: &Asked,
        claim: &mut Claim,
    ) -> Result<Caller, Refusal> {
        if view.is_operator {
            return Ok(Caller::operator());
        }
        let proof = match &asked.grant {
            Grant::Refresh(token) => return self.authority.refresh(token, view.address).await,
            Grant::Password { user, password } => Proof::Basic { user: user.clone(), password: password.clone() },
            Grant::Header => proof(&head.headers).map_err(|_| Refusal::WrongCredentials)?,
        };
        *claim = Claim::of(&proof);
        if let (Proof::Basic { user, .. }, Some(account)) = (&proof, &asked.account)
            && user != account
        {
            return Err(Refusal::WrongCredentials);
        }
        let attempt = Attempt { address: view.address, certificate: view.certificate.clone(), proof };
        let caller = self.authority.authenticate(attempt).await?;
        // A token of this endpoint buys no other: it would never end, and a wider one would be a promotion.
        match caller.bounds.scopes {
            Some(_) if caller.is_expired => Err(Refusal::InvalidToken(TokenFault::Expired)),
            Some(_) => Err(Refusal::InvalidToken(TokenFault::WrongAudience)),
            None => Ok(caller),
        }
    }

    async fn grant(&self, caller: &Caller, asked: &Asked, origin: &Origin) -> Result<Response, Refusal> {
        let mut granted = Granted::default();
        for scope in asked.scopes.iter() {
            let mut actions = entrepot_access::Actions::NONE;
            for meant in self.meant(scope, asked.namespace.as_deref()) {
                let allowed = self.allowed(caller, &meant);
                actions = actions.union(allowed.actions);
                if !allowed.actions.is_empty() {
                    granted.scopes.add(allowed);
                }
            }
            if !actions.is_empty() {
                granted.as_asked.add(Scope { resource: scope.resource.clone(), actions });
            }
        }
        let scopes = std::mem::take(&mut granted.scopes);
        let refresh_token = match (asked.is_offline, &asked.grant) {
            (false, _) => None,
            (true, Grant::Refresh(token)) => Some(token.clone()),
            (true, _) => self.authority.issue_refresh_token(caller).await?,
        };
        origin.token_issued(caller, &asked.scopes, &scopes, asked.client_id.as_deref());
        let issued = self.authority.issue(caller, scopes).await?;
        Ok(granted.answer(&issued, refresh_token.as_ref(), asked))
    }

    /// What a scope may mean: the name itself, and what the same name is behind the door that the client has come by.
    ///
    /// Clients that pull through a mirror ask for a token by the name at the registry, and then pull with it by ours.
    fn meant(&self, scope: &Scope, namespace: Option<&str>) -> Vec<Scope> {
        let ResourceKind::Repository(name) = &scope.resource else { return vec![scope.clone()] };
        let canonical = |name: &RepositoryName| self.registry.named(name).name;
        let mut names = vec![canonical(name)];
        if !Registry::is_proxied(name) {
            let behind = namespace.and_then(|namespace| self.registry.name_behind(namespace, name).ok());
            let at_root = || self.registry.name_behind_root(name);
            names.extend(behind.or_else(at_root).as_ref().map(canonical));
        }
        names.into_iter().map(|name| Scope::repository(name, scope.actions)).collect()
    }

    /// The scope with the actions that the caller may.
    fn allowed(&self, caller: &Caller, scope: &Scope) -> Scope {
        let target = match &scope.resource {
            ResourceKind::Repository(name) => target(&self.registry, name),
            ResourceKind::Catalog => Target::registry(),
        };
        let allowed =
            scope.actions.iter().filter(|action| self.authority.decide(caller, *action, &target).is_allowed());
        let actions = allowed.fold(entrepot_access::Actions::NONE, |actions, action| {
            actions.union(entrepot_access::Actions::of(&[action]))
        });
        Scope { resource: scope.resource.clone(), actions }
    }
}

async fn form(head: &Parts, body: Body) -> Result<Query, ErrorResponse> {
    let is_form = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|text| {
        let essence = text.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    if !is_form {
        let message = "a token is asked for with a form: Content-Type: application/x-www-form-urlencoded";
        return Err(ErrorResponse::new(ErrorCode::UNSUPPORTED, message).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let too_large = |_| {
        let message = format!("the form is larger than {TOKEN_FORM_BYTES_MAX} bytes");
        ErrorResponse::new(ErrorCode::SIZE_INVALID, message).with_status(StatusCode::PAYLOAD_TOO_LARGE)
    };
    let bytes = read_bounded(body, TOKEN_FORM_BYTES_MAX, too_large).await?;
    Ok(Query::parse(Some(&String::from_utf8_lossy(&bytes))))
}
