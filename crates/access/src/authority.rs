//! The authority: one object that knows who somebody is and what he may.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::Timestamp;
use secrecy::SecretString;

use crate::action::Action;
use crate::caller::Caller;
use crate::caller_upstreams::CallerUpstreams;
use crate::credentials::StoredCredentials;
use crate::issuers::Issuers;
use crate::metrics::Metrics;
use crate::refusal::{Denial, Refusal, Verdict};
use crate::rules::{Anonymous, Rules, Target};
use crate::scope::Scopes;
use crate::tokens::Tokens;
use crate::users::{Users, UsersError};

/// What a request proves.
#[derive(Debug)]
pub enum Proof {
    /// Nothing.
    None,
    /// `Authorization: Basic`. In the place of the password there may be a personal or robot token, or one of an identity provider.
    Basic {
        /// The user; what it is does not matter where the password is a token of a provider.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// `Authorization: Bearer`: a token that was issued here, a personal or robot token, or one of an identity provider.
    Bearer(SecretString),
}

/// A request that wants to be somebody's.
#[derive(Debug)]
pub struct Attempt {
    /// From where: what wrong passwords are counted by.
    pub address: Option<IpAddr>,
    /// The name in a client certificate that was verified.
    pub certificate: Option<Arc<str>>,
    /// What is proven. It counts before the certificate.
    pub proof: Proof,
}

/// What an [`Authority`] is made of.
#[derive(Debug)]
pub struct AuthorityParts {
    /// Who may do what.
    pub rules: Rules,
    /// The users with passwords.
    pub users: Users,
    /// Personal, robot and refresh tokens.
    pub credentials: StoredCredentials,
    /// The tokens of the token service.
    pub tokens: Tokens,
    /// The identity providers.
    pub issuers: Issuers,
    /// The upstreams that know their own users.
    pub upstreams: CallerUpstreams,
    /// Where to count.
    pub metrics: Arc<Metrics>,
}

/// A token as the token service answers it.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: SecretString,
    /// How long it is good for; at least a minute, which is what clients assume.
    pub lifetime: Duration,
    /// When it was made.
    pub issued_at: Timestamp,
}

/// Knows who somebody is and what he may.
#[derive(Debug)]
pub struct Authority {
    rules: Rules,
    /// Nothing where everybody may everything without saying who he is, because nobody has configured anything else.
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    users: Users,
    credentials: StoredCredentials,
    tokens: Tokens,
    issuers: Issuers,
    upstreams: CallerUpstreams,
    metrics: Arc<Metrics>,
}

impl Authority {
    /// Everybody may everything, and nobody is asked who he is: what holds without an `[access]` table.
    pub fn open() -> Arc<Self> {
        Arc::new(Self { rules: Rules::new(Anonymous::Full, Vec::new(), Vec::new()), parts: None })
    }

    /// An authority of these parts.
    pub fn new(parts: AuthorityParts) -> Arc<Self> {
        let AuthorityParts { rules, users, credentials, tokens, issuers, upstreams, metrics } = parts;
        Arc::new(Self { rules, parts: Some(Parts { users, credentials, tokens, issuers, upstreams, metrics }) })
    }

    /// Whether everybody may everything, so that nobody needs to be asked who he is.
    pub fn is_open(&self) -> bool {
        self.rules.are_open()
    }

    /// The id of this service: the audience of its tokens and the `service` of its challenges. `None` where there are no tokens.
    pub fn service(&self) -> Option<&str> {
        self.parts.as_ref().map(|parts| parts.tokens.service())
    }

    /// The tokens that this registry keeps, for the operator. `None` where there are none.
    pub fn credentials(&self) -> Option<&StoredCredentials> {
        self.parts.as_ref().map(|parts| &parts.credentials)
    }

    /// Takes the users of another text of the users file. Nothing happens where there are no users, because everybody may everything.
    ///
    /// # Errors
    /// The first line that cannot be used; then the users stay as they were.
    pub fn replace_users(&self, text: &str) -> Result<(), UsersError> {
        self.parts.as_ref().map_or(Ok(()), |parts| parts.users.replace(text))
    }

    /// Who somebody is.
    ///
    /// # Errors
    /// [`Refusal`]: somebody who proves badly who he is, is nobody, and is never taken for somebody who has not said it.
    pub async fn authenticate(&self, attempt: Attempt) -> Result<Caller, Refusal> {
        let Some(_parts) = &self.parts else { return Ok(Caller::anonymous(attempt.address)) };
        todo!()
    }

    /// Whether a caller may do something. Depends on names, rules and the caller's token alone.
    pub fn decide(&self, caller: &Caller, action: Action, target: &Target) -> Verdict {
        match self.rules.allow(&caller.principal, action, target) {
            _ if caller.is_expired => Verdict::Denied(Denial::Expired),
            None => Verdict::Denied(Denial::NoRule),
            Some(_) if !caller.bounds.allow(action, target) => Verdict::Denied(Denial::OutsideToken),
            Some(rule) => Verdict::Allowed { rule },
        }
    }

    /// What has to happen from time to time: uses of tokens are written, what ended is swept, keys are renewed and read again. Never
    /// returns; to be ended with the process.
    pub async fn keep_up(&self) {
        todo!()
    }

    /// A token for the caller with these scopes, which the caller of this function has cut down to what is allowed.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when there is no key to sign it with.
    pub async fn issue(&self, _caller: &Caller, _scopes: Scopes) -> Result<IssuedToken, Refusal> {
        todo!()
    }

    /// What a client may keep instead of its password; `None` for callers who have none that it could stand for.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when it cannot be stored.
    pub async fn issue_refresh_token(&self, _caller: &Caller) -> Result<Option<SecretString>, Refusal> {
        todo!()
    }

    /// Whose refresh token this is.
    ///
    /// # Errors
    /// [`Refusal::WrongCredentials`] when it is nobody's, or not any more.
    pub async fn refresh(&self, _token: &SecretString, _address: Option<IpAddr>) -> Result<Caller, Refusal> {
        todo!()
    }
}
