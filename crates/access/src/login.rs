//! Logging in: what is made of each kind of proof.
//!
//! A proof that is not good ends in a refusal, never in somebody else and never in a stranger. A refusal of Basic is the same for an unknown
//! user, a wrong password and a token that was revoked; why it was refused is in the log.

use std::net::IpAddr;
use std::sync::Arc;

use entrepot_metadata::CredentialKind;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::authority::{Attempt, Parts, Proof};
use crate::caller::{Caller, Scheme};
use crate::credentials::{Credential, CredentialText};
use crate::jws::unverified_payload;
use crate::limits::UPSTREAM_PASSWORD_BYTES_MAX;
use crate::principal::{Principal, UserName};
use crate::refusal::{Refusal, TokenFault};
use crate::tokens::Standing;

impl Parts {
    /// Who somebody is who proves it in some way.
    pub(crate) async fn log_in(&self, attempt: Attempt) -> Result<Caller, Refusal> {
        let Attempt { address, certificate, proof } = attempt;
        match (proof, certificate) {
            (Proof::Basic { user, password }, _) => self.basic(&user, &password, address).await,
            (Proof::Bearer(token), _) => self.bearer(&token, address).await,
            (Proof::None, Some(name)) => by_certificate(&name, address),
            (Proof::None, None) => Ok(Caller::anonymous(address)),
        }
    }

    async fn basic(&self, user: &str, password: &SecretString, address: Option<IpAddr>) -> Result<Caller, Refusal> {
        if let Some(text) = CredentialText::parse(password) {
            let caller = self.by_credential(&text, Some(user), Scheme::Basic, address).await;
            return caller.map_err(|refusal| match refusal {
                Refusal::InvalidToken(_) => Refusal::WrongCredentials,
                refusal => refusal,
            });
        }
        match issuer(password) {
            Some(issuer) if self.issuers.knows(&issuer) => {
                let principal = self.issuers.verify(password).await?;
                Ok(Caller::new(principal, Scheme::Basic, address))
            }
            // One of our own is no password; and nobody else is told it in the belief that it might be one there.
            Some(issuer) if issuer == self.tokens.service() => Err(Refusal::WrongCredentials),
            _ => self.by_password(user, password, address).await,
        }
    }

    async fn bearer(&self, token: &SecretString, address: Option<IpAddr>) -> Result<Caller, Refusal> {
        if let Some(text) = CredentialText::parse(token) {
            return self.by_credential(&text, None, Scheme::Bearer, address).await;
        }
        // Whose it says that it is, is looked for only where somebody else could have made it: each request pays for that.
        let is_of_provider = || issuer(token).is_some_and(|issuer| self.issuers.knows(&issuer));
        if !self.issuers.is_empty() && is_of_provider() {
            let principal = self.issuers.verify(token).await?;
            return Ok(Caller::new(principal, Scheme::Bearer, address));
        }
        self.by_token(token, address).await
    }

    async fn by_password(
        &self,
        user: &str,
        password: &SecretString,
        address: Option<IpAddr>,
    ) -> Result<Caller, Refusal> {
        let of_user = |name| Caller::new(Principal::User(name), Scheme::Basic, address);
        if let Some(name) = self.users.is_verified(user, password) {
            return Ok(of_user(name));
        }
        self.throttle.check(address)?;
        // A user's own password that he mistyped is no business of any upstream.
        let is_user = user.parse::<UserName>().is_ok_and(|name| self.users.fingerprint(&name).is_some());
        let caller = if is_user || self.upstreams.is_empty() {
            let verified = self.users.verify(user, password).await;
            self.metrics.saw_hashes(self.users.hashes());
            verified?.map(of_user)
        } else {
            self.by_upstream(user, password, address).await?
        };
        caller.ok_or_else(|| {
            self.throttle.failed(address);
            tracing::debug!(?address, is_user, "refused a password");
            Refusal::WrongCredentials
        })
    }

    async fn by_upstream(
        &self,
        user: &str,
        password: &SecretString,
        address: Option<IpAddr>,
    ) -> Result<Option<Caller>, Refusal> {
        // What was meant to be one of our tokens and is cut off somewhere is still nothing for others.
        if password.expose_secret().len() > UPSTREAM_PASSWORD_BYTES_MAX || CredentialText::is_meant(password) {
            return Ok(None);
        }
        let Some(credentials) = self.upstreams.try_login(user, password).await? else { return Ok(None) };
        let principal =
            Principal::Upstream { upstream: Arc::clone(&credentials.upstream), user: credentials.user.as_str().into() };
        // A name that cannot be written cannot stand in a rule or a token either.
        if principal.to_string().parse() != Ok(principal.clone()) {
            return Ok(None);
        }
        let caller = Caller::new(principal, Scheme::Basic, address);
        Ok(Some(Caller { upstream_credentials: Some(credentials), ..caller }))
    }

    /// By a personal or robot token. `user` is who its holder says he is, where he has to say that.
    async fn by_credential(
        &self,
        text: &CredentialText,
        user: Option<&str>,
        scheme: Scheme,
        address: Option<IpAddr>,
    ) -> Result<Caller, Refusal> {
        let refused = |why: &str| {
            tracing::debug!(?address, credential = text.id(), "refused a token: {why}");
            Refusal::InvalidToken(TokenFault::Unknown)
        };
        let credential = self.credentials.verify(text).await.inspect_err(|refusal| {
            tracing::debug!(?address, credential = text.id(), "refused a token: {refusal}");
        })?;
        if credential.kind == CredentialKind::Refresh {
            return Err(refused("it is a refresh token"));
        }
        if user.is_some_and(|user| !credential.may_be_given_by(user)) {
            return Err(refused("it is somebody else's"));
        }
        if !self.has_owner(&credential) {
            return Err(refused("its user was removed"));
        }
        Ok(of_credential(&credential, scheme, address))
    }

    /// Whether its owner still is one. A robot is nobody apart from its token.
    fn has_owner(&self, credential: &Credential) -> bool {
        match &credential.principal {
            Principal::User(name) => self.users.fingerprint(name).is_some(),
            Principal::Robot(_) => true,
            _ => false,
        }
    }

    /// By a token that was issued here. What it says is looked up again: it is good for as long as that holds.
    async fn by_token(&self, text: &SecretString, address: Option<IpAddr>) -> Result<Caller, Refusal> {
        let revoked = || Refusal::InvalidToken(TokenFault::Revoked);
        let (token, is_expired) = self.tokens.verify(text).await?;
        let mut caller = match (&token.standing, &token.principal) {
            (Standing::Credential(id), principal) => {
                let credential = self.credentials.standing(id).await?;
                if credential.principal != *principal || !self.has_owner(&credential) {
                    return Err(revoked());
                }
                of_credential(&credential, Scheme::Bearer, address)
            }
            (Standing::Password(basis), Principal::User(name)) => {
                let fingerprint = self.users.fingerprint(name);
                if !fingerprint.is_some_and(|fingerprint| token.stands_on(basis, &fingerprint)) {
                    return Err(revoked());
                }
                Caller::new(token.principal.clone(), Scheme::Bearer, address)
            }
            (Standing::Password(_), _) => return Err(revoked()),
            (Standing::Alone, principal) => Caller::new(principal.clone(), Scheme::Bearer, address),
        };
        caller.bounds.scopes = Some(Arc::clone(&token.scopes));
        caller.upstream_credentials.clone_from(&token.upstream_credentials);
        caller.is_expired = is_expired;
        Ok(caller)
    }

    /// By a refresh token.
    pub(crate) async fn refresh(&self, token: &SecretString, address: Option<IpAddr>) -> Result<Caller, Refusal> {
        let text = CredentialText::parse(token).ok_or(Refusal::WrongCredentials)?;
        let refused = |why: &str| {
            tracing::debug!(?address, credential = text.id(), "refused a refresh token: {why}");
            Refusal::WrongCredentials
        };
        let credential = self.credentials.verify(&text).await.map_err(|refusal| match refusal {
            Refusal::InvalidToken(fault) => refused(&fault.to_string()),
            refusal => refusal,
        })?;
        let (CredentialKind::Refresh, Principal::User(name)) = (credential.kind, &credential.principal) else {
            return Err(refused("it is another kind of token"));
        };
        match self.users.fingerprint(name) {
            None => Err(refused("its user was removed")),
            Some(fingerprint) if !credential.stands_on(&fingerprint) => Err(refused("its user has another password")),
            Some(_) => Ok(Caller::new(credential.principal.clone(), Scheme::Basic, address)),
        }
    }
}

/// Who has issued a text, by what it says itself, if it is a token at all. Whether that is true is for the issuer's keys to say; this only
/// chooses which ones to ask.
fn issuer(token: &SecretString) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    unverified_payload::<Issuer>(token.expose_secret()).map(|claims| claims.iss)
}

fn of_credential(credential: &Credential, scheme: Scheme, address: Option<IpAddr>) -> Caller {
    let mut caller = Caller::new(credential.principal.clone(), scheme, address);
    caller.bounds.credential = Some(Arc::clone(&credential.bounds));
    caller
}

fn by_certificate(name: &str, address: Option<IpAddr>) -> Result<Caller, Refusal> {
    // Read as a rule would be, so that nobody is let in whom no rule could name.
    let principal = format!("certificate:{name}").parse::<Principal>().map_err(|_| {
        tracing::debug!(?address, "refused a certificate: its name is none of a principal");
        Refusal::WrongCredentials
    })?;
    Ok(Caller::new(principal, Scheme::Certificate, address))
}
