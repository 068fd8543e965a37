//! A caller: a principal, how it proved who it is, and what that proof limits it to.

use std::net::IpAddr;
use std::sync::Arc;

use entrepot_oci::{Patterns, RepositoryName};
use entrepot_upstream::CallerCredentials;

use crate::action::{Action, Actions};
use crate::principal::Principal;
use crate::rules::Target;
use crate::scope::Scopes;

/// How a caller has proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Not at all.
    None,
    /// A user and a password, or a token in its place, in `Authorization: Basic`.
    Basic,
    /// A token in `Authorization: Bearer`.
    Bearer,
    /// A client certificate.
    Certificate,
    /// The server's own socket, which the file system guards.
    Socket,
}

impl Scheme {
    /// The word in the log and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "basic",
            Self::Bearer => "bearer",
            Self::Certificate => "certificate",
            Self::Socket => "socket",
        }
    }
}

/// Somebody who asks for something.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// How it has proved that.
    pub scheme: Scheme,
    /// What its proof limits it to.
    pub bounds: Bounds,
    /// Its token has expired, and was good but for that: it may go on with an upload that it has begun, and nothing else.
    pub is_expired: bool,
    /// From where, for the log.
    pub address: Option<IpAddr>,
    /// The account at an upstream with `credentials = "caller"` that it came with.
    pub upstream_credentials: Option<CallerCredentials>,
}

impl Caller {
    /// Somebody who has not said who he is.
    pub const fn anonymous(address: Option<IpAddr>) -> Self {
        Self::new(Principal::Anonymous, Scheme::None, address)
    }

    /// Whoever can open the server's own socket.
    pub const fn operator() -> Self {
        Self::new(Principal::Operator, Scheme::Socket, None)
    }

    /// A principal without further limits.
    pub const fn new(principal: Principal, scheme: Scheme, address: Option<IpAddr>) -> Self {
        let bounds = Bounds { scopes: None, credential: None };
        Self { principal, scheme, bounds, is_expired: false, address, upstream_credentials: None }
    }
}

/// What a proof limits its holder to. Nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// The scopes of a token that this registry has signed.
    pub scopes: Option<Arc<Scopes>>,
    /// What a personal or robot token was made for.
    pub credential: Option<Arc<CredentialBounds>>,
}

impl Bounds {
    /// Whether they leave room for the action.
    pub fn allow(&self, action: Action, target: &Target) -> bool {
        let by_scopes = self.scopes.as_ref().is_none_or(|scopes| scopes.cover(action, target.canonical()));
        by_scopes && self.credential.as_ref().is_none_or(|bounds| bounds.allow(action, target))
    }
}

/// What a personal or robot token was made for.
#[derive(Clone, Debug)]
pub struct CredentialBounds {
    /// The public part of that token: what is issued for it falls with it.
    pub id: Arc<str>,
    /// The repositories; without patterns all.
    pub repositories: Patterns,
    /// The actions.
    pub actions: Actions,
}

impl CredentialBounds {
    fn allow(&self, action: Action, target: &Target) -> bool {
        let is_match = |name: &RepositoryName| self.repositories.matches(name.as_str());
        // What is about no repository is not narrowed by their names, except that administration is then that of all.
        let is_named = match target.names() {
            [] => action != Action::Admin || self.repositories.is_empty(),
            names => names.iter().any(is_match),
        };
        self.actions.contains(action) && is_named
    }
}
