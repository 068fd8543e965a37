//! Who may do what.
//!
//! Two questions, and nothing else: *who is this?* ([`Authority::authenticate`] makes a [`Caller`] of what a request proves) and *may
//! he?* ([`Authority::decide`] makes a [`Verdict`] of a caller, an [`Action`] and a [`Target`]). Both are asked in one place of the
//! server, before any handler. What the answer is depends on names and rules alone, never on what exists, so it cannot tell a
//! stranger what exists.
//!
//! Rules only allow. Whoever is allowed something by a token is allowed it by the rules of that very moment as well: a token narrows
//! what its principal may, and never widens it.
//!
//! This crate knows no HTTP server and no SQL.

mod action;
mod authority;
mod caller;
mod caller_upstreams;
mod credentials;
mod issuers;
mod jws;
mod limits;
mod login;
mod metrics;
mod principal;
mod refusal;
mod remembered;
mod rules;
mod scope;
mod sealed;
mod signing_keys;
#[cfg(test)]
mod testing;
mod throttle;
mod tokens;
mod users;

pub use action::{Action, Actions};
pub use authority::{Attempt, Authority, AuthorityParts, IssuedToken, Proof};
pub use caller::{Bounds, Caller, CredentialBounds, Scheme};
pub use caller_upstreams::CallerUpstreams;
pub use credentials::{CredentialError, NewCredential, StoredCredentials};
pub use issuers::{ClaimRule, IssuerConfig, IssuerMetrics, Issuers, IssuersError};
pub use limits::USERS_FILE_BYTES_MAX;
pub use metrics::Metrics;
pub use principal::{Principal, PrincipalError, UserName};
pub use refusal::{Denial, Refusal, TokenFault, Verdict};
pub use rules::{Anonymous, Group, PrincipalPattern, Rule, Rules, Target};
pub use scope::{ResourceKind, Scope, ScopeError, Scopes};
pub use tokens::Tokens;
pub use users::{HashKind, ListedUser, PasswordError, Users, UsersError, UsersText, hash_password};
