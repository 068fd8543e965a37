//! The authority: one object that knows who somebody is and what he may.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::Timestamp;
use secrecy::SecretString;
use tokio::time::Instant;

use crate::action::Action;
use crate::caller::{Caller, Scheme};
use crate::caller_upstreams::CallerUpstreams;
use crate::credentials::StoredCredentials;
use crate::issuers::Issuers;
use crate::limits::{CREDENTIAL_SWEEP_INTERVAL, UPKEEP_INTERVAL};
use crate::metrics::{Issued, Metrics};
use crate::principal::{Principal, UserName};
use crate::refusal::{Denial, Refusal, TokenFault, Verdict};
use crate::rules::{Anonymous, Rules, Target};
use crate::scope::Scopes;
use crate::throttle::Throttle;
use crate::tokens::{Signed, Subject, Tokens};
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
    /// What it covers: fewer than asked for where it would have become too long to be sent.
    pub scopes: Scopes,
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

/// What somebody is known by.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) users: Users,
    pub(crate) throttle: Throttle,
    pub(crate) credentials: StoredCredentials,
    pub(crate) tokens: Tokens,
    pub(crate) issuers: Issuers,
    pub(crate) upstreams: CallerUpstreams,
    pub(crate) metrics: Arc<Metrics>,
}

impl Authority {
    /// Everybody may everything, and nobody is asked who he is: what holds without an `[access]` table.
    pub fn open() -> Arc<Self> {
        Arc::new(Self { rules: Rules::new(Anonymous::Full, Vec::new(), Vec::new()), parts: None })
    }

    /// An authority of these parts.
    pub fn new(parts: AuthorityParts) -> Arc<Self> {
        let AuthorityParts { rules, users, credentials, tokens, issuers, upstreams, metrics } = parts;
        let throttle = Throttle::default();
        Arc::new(Self {
            rules,
            parts: Some(Parts { users, throttle, credentials, tokens, issuers, upstreams, metrics }),
        })
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
        let Some(parts) = &self.parts else { return Ok(Caller::anonymous(attempt.address)) };
        let scheme = match (&attempt.proof, &attempt.certificate) {
            (Proof::None, None) => return Ok(Caller::anonymous(attempt.address)),
            (Proof::None, Some(_)) => Scheme::Certificate,
            (Proof::Basic { .. }, _) => Scheme::Basic,
            (Proof::Bearer(_), _) => Scheme::Bearer,
        };
        let result = parts.log_in(attempt).await;
        parts.metrics.count_login(scheme, &result);
        result
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
    /// returns; to be ended with the process, and [`Self::write_uses`] after it.
    pub async fn keep_up(&self) {
        let Some(parts) = &self.parts else { return std::future::pending().await };
        tokio::join!(parts.keep_up(), parts.credentials.keep_listening());
    }

    /// Writes when tokens were used, as far as that is not written yet.
    pub async fn write_uses(&self) {
        if let Some(parts) = &self.parts {
            parts.write_uses().await;
        }
    }

    /// A token for the caller with these scopes, which the caller of this function has cut down to what is allowed.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when there is no key to sign it with, [`Refusal::InvalidToken`] for a caller with a token of this
    /// kind: it would outlive itself.
    #[expect(clippy::unused_async, reason = "a key that is kept elsewhere would have to be waited for")]
    pub async fn issue(&self, caller: &Caller, scopes: Scopes) -> Result<IssuedToken, Refusal> {
        let Some(parts) = &self.parts else { return Err(nobody_signs()) };
        if caller.bounds.scopes.is_some() || caller.is_expired || caller.principal == Principal::Operator {
            return Err(Refusal::InvalidToken(TokenFault::Unknown));
        }
        let credential = caller.bounds.credential.as_ref().map(|bounds| Arc::clone(&bounds.id));
        let fingerprint = match &caller.principal {
            Principal::User(name) if credential.is_none() => Some(parts.fingerprint(name)?),
            _ => None,
        };
        let subject = Subject {
            principal: &caller.principal,
            fingerprint,
            credential,
            upstream_credentials: caller.upstream_credentials.as_ref(),
        };
        let Signed { token, scopes, issued_at, lifetime } = parts.tokens.sign(&subject, scopes)?;
        parts.metrics.count_issued(Issued::Access);
        Ok(IssuedToken { token, scopes, lifetime, issued_at })
    }

    /// What a client may keep instead of its password; `None` for callers who have none that it could stand for.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when it cannot be stored.
    pub async fn issue_refresh_token(&self, caller: &Caller) -> Result<Option<SecretString>, Refusal> {
        let Some(parts) = &self.parts else { return Ok(None) };
        let is_by_password =
            caller.scheme == Scheme::Basic && caller.bounds.credential.is_none() && caller.bounds.scopes.is_none();
        let Principal::User(name) = &caller.principal else { return Ok(None) };
        if !is_by_password {
            return Ok(None);
        }
        let token = parts.credentials.create_refresh(name, parts.fingerprint(name)?).await?;
        parts.metrics.count_issued(Issued::Refresh);
        Ok(Some(token))
    }

    /// Whose refresh token this is.
    ///
    /// # Errors
    /// [`Refusal::WrongCredentials`] when it is nobody's, or not any more.
    pub async fn refresh(&self, token: &SecretString, address: Option<IpAddr>) -> Result<Caller, Refusal> {
        let Some(parts) = &self.parts else { return Err(Refusal::WrongCredentials) };
        let result = parts.refresh(token, address).await;
        parts.metrics.count_login(Scheme::Basic, &result);
        result
    }
}

impl Parts {
    async fn keep_up(&self) {
        let mut swept_at = Instant::now();
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            let is_sweep_due = swept_at.elapsed() >= CREDENTIAL_SWEEP_INTERVAL;
            if is_sweep_due {
                swept_at = Instant::now();
            }
            self.look_after(is_sweep_due).await;
        }
    }

    /// One round of what has to happen from time to time. What fails is repeated in the next one.
    async fn look_after(&self, is_sweep_due: bool) {
        self.write_uses().await;
        if let Err(error) = self.tokens.keep_up().await {
            log(&error, "the signing keys could not be looked after: that is repeated later");
        }
        if is_sweep_due {
            match self.credentials.sweep().await {
                Ok(swept) => tracing::debug!(swept, "swept tokens that had ended"),
                Err(error) => log(&error, "tokens that had ended could not be swept: that is repeated later"),
            }
        }
    }

    async fn write_uses(&self) {
        if let Err(error) = self.credentials.write_uses().await {
            log(&error, "uses of tokens could not be written and wait for the next time");
        }
    }

    /// What changes with the user's password.
    pub(crate) fn fingerprint(&self, name: &UserName) -> Result<[u8; 32], Refusal> {
        self.users.fingerprint(name).ok_or(Refusal::WrongCredentials)
    }
}

fn nobody_signs() -> Refusal {
    Refusal::Unavailable { what: "the signer of tokens".to_owned(), source: "there are no tokens here".into() }
}

fn log(error: &entrepot_metadata::Error, message: &str) {
    tracing::error!(error = error as &dyn std::error::Error, "{message}");
}

#[cfg(test)]
mod tests;
