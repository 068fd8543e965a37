//! The gate: every request to the registry API and to the operator's API passes here before a handler, and before any store is asked
//! anything.
//!
//! Two steps: [`authenticate`] makes a caller of what the request proves, and [`Visitor::ask`] asks the authority for what the request
//! [needs](Need). Whatever comes of both depends on names, rules and tokens alone. So to somebody who may not know, what is private and
//! what is missing look the same, to the last byte.

use std::net::IpAddr;
use std::sync::Arc;

use entrepot_access::{
    Action, Actions, Attempt, Authority, Caller, Denial, Refusal, ResourceKind, Scheme, Scope, Target, Verdict,
};
use entrepot_oci::{ErrorCode, RepositoryName};
use entrepot_registry::{Actor, Named, Registry};
use http::request::Parts;
use serde_json::{Value, json};

use crate::access_log::{Decision, RequestFacts};
use crate::audit::{Claim, Deed, Origin};
use crate::challenge::{Challenge, ChallengeError};
use crate::client_view::ClientView;
use crate::error::{ErrorResponse, chain};
use crate::proof::{ProofError, proof};
use crate::route::{Access, Route, Subject};

/// Why it is not known who sends a request.
#[derive(Debug)]
pub(crate) enum Unproven {
    /// The header cannot be read.
    Header(ProofError),
    /// It can, and is not good.
    Refused(Refusal),
}

impl Unproven {
    /// What the challenge says of what was sent. Of passwords it has no word.
    const fn challenge_error(&self) -> Option<ChallengeError> {
        match self {
            Self::Header(ProofError::Malformed(crate::proof::Expected::Bearer))
            | Self::Refused(Refusal::InvalidToken(_)) => Some(ChallengeError::InvalidToken),
            Self::Header(_) | Self::Refused(_) => None,
        }
    }
}

impl From<&Unproven> for ErrorResponse {
    fn from(unproven: &Unproven) -> Self {
        match unproven {
            Unproven::Header(error) => Self::from(*error),
            Unproven::Refused(refusal) => Self::from(refusal),
        }
    }
}

/// Who sends a request. A failure has its line in the audit log already.
pub(crate) async fn authenticate(authority: &Authority, head: &Parts, view: &ClientView) -> Result<Caller, Unproven> {
    if view.is_operator {
        return Ok(Caller::operator());
    }
    // Where nobody is known, nobody is asked: clients may send what they have for another server at this address.
    if authority.service().is_none() {
        return Ok(Caller::anonymous(view.address));
    }
    let origin = || Origin::of(head, view);
    let proof = proof(&head.headers).map_err(|error| {
        origin().login_failed(&Claim::unreadable(), &error.to_string());
        Unproven::Header(error)
    })?;
    let claim = Claim::of(&proof);
    let attempt = Attempt { address: view.address, certificate: view.certificate.clone(), proof };
    // Boxed: to log somebody in takes many steps, which are no part of the future of those who need not.
    Box::pin(authority.authenticate(attempt)).await.map_err(|refusal| {
        origin().login_failed(&claim, &chain(&refusal));
        Unproven::Refused(refusal)
    })
}

/// The challenge for these scopes; `None` where there is no token service. The namespace is the registry that a mirror is asked for.
pub(crate) fn challenge(
    authority: &Authority,
    view: &ClientView,
    namespace: Option<&str>,
    scopes: &[Scope],
    error: Option<ChallengeError>,
) -> Option<String> {
    let service = authority.service()?;
    let base_url = &view.base_url.to_string();
    Some(Challenge { base_url, namespace, service, scopes, error }.to_string())
}

/// What the rules are asked about a name.
pub(crate) fn target(registry: &Registry, name: &RepositoryName) -> Target {
    let Named { name, spellings, is_private, judge } = registry.named(name);
    let target = Target::repository(name).also_named(spellings);
    let target = if is_private { target.private() } else { target };
    match judge {
        Some(upstream) => target.judged_by(upstream),
        None => target,
    }
}

/// What a request needs, in the words of rules and of tokens.
#[derive(Debug)]
pub(crate) struct Need {
    /// Any of these is enough; none: to have said who one is.
    actions: Actions,
    /// The word for the log and the metrics.
    action: &'static str,
    target: Target,
    /// What a token has to be asked for, about the target.
    scoped: Actions,
    /// The repository that a token has to let its holder pull from as well.
    source: Option<RepositoryName>,
    /// It goes on with an upload that was begun with a token that was good then.
    goes_on: bool,
}

const PULL: Actions = Actions::of(&[Action::Pull]);
const PUSH: Actions = Actions::of(&[Action::Create, Action::Overwrite]);
const DELETE: Actions = Actions::of(&[Action::Delete]);
const CATALOG: Actions = Actions::of(&[Action::Catalog]);
const ADMIN: Actions = Actions::of(&[Action::Admin]);

impl Need {
    /// What a route needs. `name` is that of its repository, by whichever door; `source` that which a blob is to be mounted from.
    pub(crate) fn of(
        route: &Route,
        name: Option<&RepositoryName>,
        source: Option<&RepositoryName>,
        registry: &Registry,
    ) -> Self {
        let target = name.map_or(Target::registry(), |name| target(registry, name));
        let goes_on = matches!(
            route,
            Route::UploadStatus(..) | Route::AppendToUpload(..) | Route::FinishUpload(..) | Route::CancelUpload(..)
        );
        let (actions, action, scoped) = match route.access() {
            Access::None => (Actions::NONE, "enter", Actions::NONE),
            Access::Catalog => (CATALOG, "catalog", CATALOG),
            Access::Pull(_) => (PULL, "pull", PULL),
            // Clients get a token for both, and look before they upload.
            Access::Push(_) => (PUSH, "push", PULL.union(PUSH)),
            Access::Delete(_) => (DELETE, "delete", DELETE),
        };
        let source = source.map(|source| registry.named(source).name);
        Self { actions, action, target, scoped, source, goes_on }
    }

    /// To pull what a name that was asked for turned out to stand for.
    fn of_mirrored(name: &RepositoryName, registry: &Registry) -> Self {
        let target = target(registry, name);
        Self { actions: PULL, action: "pull", target, scoped: PULL, source: None, goes_on: false }
    }

    /// To do what the operator does with this.
    pub(crate) const fn to_administrate(target: Target) -> Self {
        Self { actions: ADMIN, action: "admin", target, scoped: Actions::NONE, source: None, goes_on: false }
    }

    /// What a token has to be asked for.
    fn scopes(&self) -> Vec<Scope> {
        let of_target = (!self.scoped.is_empty()).then(|| match self.target.canonical() {
            Some(name) => Scope::repository(name.clone(), self.scoped),
            None => Scope { resource: ResourceKind::Catalog, actions: self.scoped },
        });
        let of_source = self.source.iter().map(|source| Scope::repository(source.clone(), PULL));
        of_target.into_iter().chain(of_source).collect()
    }

    /// As the reference registry lists it.
    fn detail(&self) -> Value {
        let scopes = self.scopes();
        let entries = scopes.iter().flat_map(|scope| {
            let (kind, name) = match &scope.resource {
                ResourceKind::Repository(name) => ("repository", name.as_str()),
                ResourceKind::Catalog => ("registry", "catalog"),
            };
            let entry = move |word| json!({ "Type": kind, "Class": "", "Name": name, "Action": word });
            scope.words().into_iter().map(entry)
        });
        entries.collect()
    }

    fn described(&self) -> String {
        let verb = match self.action {
            "pull" => "pull from",
            "push" => "push to",
            "delete" => "delete from",
            "catalog" => return "list the repositories".to_owned(),
            "admin" => "administrate",
            _ => return "use this registry".to_owned(),
        };
        let name = self.target.canonical().map_or("the registry as a whole", RepositoryName::as_str);
        format!("{verb} {name}")
    }
}

/// Who sends a request, and by what his rights are decided.
#[derive(Debug)]
pub(crate) struct Visitor {
    authority: Arc<Authority>,
    registry: Arc<Registry>,
    view: ClientView,
    origin: Origin,
    caller: Caller,
    /// The registry that a mirror is asked for.
    namespace: Option<String>,
}

impl Visitor {
    /// Lets somebody in, whoever he is; the challenge for somebody who cannot be said to be anybody is for what the request needs.
    pub(crate) async fn arrive(
        (registry, authority): (Arc<Registry>, Arc<Authority>),
        head: &Parts,
        namespace: Option<&str>,
        need: Option<&Need>,
        facts: &mut RequestFacts,
    ) -> Result<Arc<Self>, ErrorResponse> {
        let view = ClientView::of(head);
        match authenticate(&authority, head, &view).await {
            Ok(caller) => {
                if !authority.is_open() {
                    facts.principal = Some(caller.principal.to_string());
                }
                let (origin, namespace) = (Origin::of(head, &view), namespace.map(ToOwned::to_owned));
                Ok(Arc::new(Self { authority, registry, view, origin, caller, namespace }))
            }
            Err(unproven) => {
                if let Unproven::Refused(refusal @ Refusal::Unavailable { .. }) = &unproven {
                    tracing::error!(error = chain(refusal), "it cannot be found out who sends a request");
                }
                let action = need.map_or("enter", |need| need.action);
                facts.decision = Some(Decision { action, outcome: "not authenticated" });
                let response = ErrorResponse::from(&unproven);
                let scopes = need.map(Need::scopes).unwrap_or_default();
                let challenge = challenge(&authority, &view, namespace, &scopes, unproven.challenge_error());
                Err(response.challenging(challenge))
            }
        }
    }

    /// Which of the actions that the request needs the visitor may; an error when none of them.
    pub(crate) fn ask(&self, need: &Need, facts: &mut RequestFacts) -> Result<Actions, ErrorResponse> {
        let is_forgiven = need.goes_on && self.caller.is_expired;
        let forgiven = is_forgiven.then(|| Caller { is_expired: false, ..self.caller.clone() });
        self.decide(forgiven.as_ref().unwrap_or(&self.caller), need, facts)
    }

    /// The same about what a name has turned out to stand for, which the client could not have asked a token for: the token was for the
    /// name that was asked for, and what counts here is what its holder may.
    pub(crate) fn ask_mirrored(&self, name: &RepositoryName, facts: &mut RequestFacts) -> Result<(), ErrorResponse> {
        self.decide(&self.subject(), &Need::of_mirrored(name, &self.registry), facts).map(|_| ())
    }

    /// Whether the visitor may pull from a repository, his token counted or not.
    pub(crate) fn may_pull(&self, name: &RepositoryName, is_token_counted: bool) -> bool {
        let target = target(&self.registry, name);
        if is_token_counted {
            self.authority.decide(&self.caller, Action::Pull, &target).is_allowed()
        } else {
            self.authority.decide(&self.subject(), Action::Pull, &target).is_allowed()
        }
    }

    /// As whom the domain knows him.
    pub(crate) fn actor(&self) -> Arc<Actor> {
        let name = if self.authority.is_open() { String::new() } else { self.caller.principal.to_string() };
        Arc::new(Actor { name, upstream_credentials: self.caller.upstream_credentials.clone() })
    }

    /// Where he is, if that is known.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.view.address
    }

    /// Whether what he is answered is for him, so that no cache on the way may give it to others.
    pub(crate) fn is_known(&self) -> bool {
        self.caller.scheme != Scheme::None
    }

    /// Notes that what the rules allow him was denied further on, because of what it is done with.
    pub(crate) fn was_denied(&self, need: &Need, reference: Option<&Subject>, reason: &str) {
        if !self.authority.is_open() {
            self.origin.denied(self.deed(need, reference), reason);
        }
    }

    /// The visitor without the limits of the scopes of his token.
    fn subject(&self) -> Caller {
        let mut subject = self.caller.clone();
        subject.bounds.scopes = None;
        subject
    }

    fn decide(&self, caller: &Caller, need: &Need, facts: &mut RequestFacts) -> Result<Actions, ErrorResponse> {
        if self.authority.is_open() {
            return Ok(need.actions);
        }
        let outcome = if need.actions.is_empty() { enter(caller) } else { self.weigh(caller, need) };
        let outcome_word = if outcome.is_ok() { "allowed" } else { "denied" };
        facts.decision = Some(Decision { action: need.action, outcome: outcome_word });
        let reference = facts.reference.clone();
        match outcome {
            Ok((actions, rule)) => {
                if !need.actions.is_empty() && need.actions != PULL {
                    self.origin.allowed(self.deed(need, reference.as_ref()), &rule);
                }
                facts.rule = Some(rule);
                Ok(actions)
            }
            Err(denial) => {
                self.origin.denied(self.deed(need, reference.as_ref()), denial.as_str());
                Err(self.denied(need, denial))
            }
        }
    }

    fn weigh(&self, caller: &Caller, need: &Need) -> Result<(Actions, Arc<str>), Denial> {
        let mut allowed = Vec::new();
        let mut first_rule = None;
        let mut reason = Denial::NoRule;
        for action in need.actions.iter() {
            match self.authority.decide(caller, action, &need.target) {
                Verdict::Allowed { rule } => {
                    allowed.push(action);
                    first_rule.get_or_insert(rule);
                }
                // That another token would do says more than that no rule would.
                Verdict::Denied(Denial::NoRule) => {}
                Verdict::Denied(denial) => reason = denial,
            }
        }
        first_rule.map(|rule| (Actions::of(&allowed), rule)).ok_or(reason)
    }

    /// Without credentials the client is asked for some. A token of ours can be exchanged for one that covers more. Everybody else has
    /// said who he is, and that is not enough.
    fn denied(&self, need: &Need, denial: Denial) -> ErrorResponse {
        let is_admin = need.actions == ADMIN;
        let is_token_of_ours = self.caller.scheme == Scheme::Bearer && self.caller.bounds.scopes.is_some();
        let what = need.described();
        let (error, message) = match (denial, self.caller.scheme) {
            (Denial::Expired, _) => {
                (Some(ChallengeError::InvalidToken), "the token has expired: get another one".to_owned())
            }
            (_, Scheme::None) => (None, format!("authentication required: log in to {what}")),
            _ if is_token_of_ours && !is_admin => {
                let message = format!("the token does not let you {what}: log in as somebody who may");
                (Some(ChallengeError::InsufficientScope), message)
            }
            _ => return self.forbidden(need, denial),
        };
        let challenge = challenge(&self.authority, &self.view, self.namespace.as_deref(), &need.scopes(), error);
        ErrorResponse::new(ErrorCode::UNAUTHORIZED, message).with_detail(need.detail()).challenging(challenge)
    }

    fn forbidden(&self, need: &Need, denial: Denial) -> ErrorResponse {
        let who = &self.caller.principal;
        let message = match denial {
            Denial::OutsideToken if need.actions == ADMIN => {
                format!(
                    "the token does not let {who} {}: come with user and password, or with a personal token",
                    need.described()
                )
            }
            Denial::OutsideToken => format!("{who} may not {}: the token was made for less", need.described()),
            Denial::NoRule | Denial::Expired => {
                format!("{who} may not {}: no rule of access allows it", need.described())
            }
        };
        ErrorResponse::new(ErrorCode::DENIED, message).with_detail(need.detail()).challenging(None)
    }

    fn deed<'d>(&'d self, need: &'d Need, reference: Option<&'d Subject>) -> Deed<'d> {
        let repository = need.target.canonical().map(RepositoryName::as_str);
        let reference = reference.map(Subject::as_str);
        Deed { caller: &self.caller, action: need.action, repository, reference }
    }
}

/// Whoever has said who he is may know that this is a registry, and so may the holder of a token for nobody: asking for one is how
/// clients find out whether they are let in.
fn enter(caller: &Caller) -> Result<(Actions, Arc<str>), Denial> {
    match caller.scheme {
        _ if caller.is_expired => Err(Denial::Expired),
        Scheme::None => Err(Denial::NoRule),
        Scheme::Basic | Scheme::Bearer | Scheme::Certificate | Scheme::Socket => {
            Ok((Actions::NONE, "authenticated".into()))
        }
    }
}

/// What the caller of a request may, as far as handlers have to know.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    /// To push under tags that do not exist.
    pub(crate) may_create_tags: bool,
    /// To push under tags that exist.
    pub(crate) may_move_tags: bool,
    visitor: Arc<Visitor>,
}

impl Rights {
    /// Those of a visitor who may do these things with the repository of the request.
    pub(crate) const fn new(visitor: Arc<Visitor>, actions: Actions) -> Self {
        Self {
            may_create_tags: actions.contains(Action::Create),
            may_move_tags: actions.contains(Action::Overwrite),
            visitor,
        }
    }

    /// To mount from a repository that the client names, for which it also has to have a token.
    pub(crate) fn may_mount_from(&self, name: &RepositoryName) -> bool {
        self.visitor.may_pull(name, true)
    }

    /// To know of a repository, whatever the token of this request is for.
    pub(crate) fn may_read(&self, name: &RepositoryName) -> bool {
        self.visitor.may_pull(name, false)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use entrepot_access::{Principal, TokenFault};
    use http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};

    use super::*;

    #[test]
    fn an_outage_is_told_as_one_and_never_as_a_wrong_password() {
        let outage = Refusal::Unavailable { what: "the provider github".into(), source: "no route to host".into() };
        let too_many = Refusal::TooManyAttempts { retry_after: Duration::from_millis(1500) };
        let invalid = Refusal::InvalidToken(TokenFault::Expired);
        let malformed = |expected| Unproven::Header(ProofError::Malformed(expected));
        let rows = [
            (Unproven::Refused(outage), 503, "10", None),
            (Unproven::Refused(Refusal::Busy), 503, "2", None),
            (Unproven::Refused(too_many), 429, "2", None),
            (Unproven::Refused(Refusal::WrongCredentials), 401, "", None),
            (Unproven::Refused(invalid), 401, "", Some(ChallengeError::InvalidToken)),
            (malformed(crate::proof::Expected::Basic), 401, "", None),
            (malformed(crate::proof::Expected::Bearer), 401, "", Some(ChallengeError::InvalidToken)),
            (Unproven::Header(ProofError::UnknownScheme), 401, "", None),
            (Unproven::Header(ProofError::Repeated), 400, "", None),
        ];
        for (unproven, status, retry_after, error) in rows {
            assert_eq!(unproven.challenge_error(), error, "{unproven:?}");
            let response = ErrorResponse::from(&unproven).challenging(Some("Bearer".into())).into_response(true, None);
            let header = |name| response.headers().get(name).map_or("", |value| value.to_str().unwrap());
            assert_eq!((response.status().as_u16(), header(RETRY_AFTER)), (status, retry_after), "{unproven:?}");
            // Only who can do something about it by other credentials is asked for them.
            assert_eq!(header(WWW_AUTHENTICATE).is_empty(), status != 401, "{unproven:?}");
            assert_eq!(header(CACHE_CONTROL), "no-store");
        }
    }

    #[tokio::test]
    async fn whoever_comes_by_the_servers_own_socket_is_the_operator() {
        let request = http::Request::builder().header(AUTHORIZATION, "Basic !").body(()).unwrap();
        let (head, ()) = request.into_parts();
        for is_operator in [true, false] {
            let view = ClientView { is_operator, ..ClientView::default() };
            let caller = authenticate(&Authority::open(), &head, &view).await.unwrap();
            assert_eq!(caller.principal == Principal::Operator, is_operator);
            assert_eq!(caller.principal.is_anonymous(), !is_operator);
        }
    }
}
