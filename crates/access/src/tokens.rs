//! The tokens of the token service: signed, short-lived, and never worth more than the rules say at the moment of their use.
//!
//! What a token says is what its holder was when it was made. Whether he still is, [`crate::Authority`] asks at each use: a token
//! carries what is needed for that (`basis`, `credential`), and nothing of it can be read back into a secret.
//!
//! A token is a JWT. Its header chooses nothing but one of our own keys: there is one algorithm, and what else a header may say about
//! keys is not looked at.

mod claims;

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::{Clock, Error, MetadataStore, Timestamp};
use entrepot_upstream::CallerCredentials;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::jws::{Algorithm, Jws};
use crate::limits::{
    CLOCK_SKEW_MAX, EXPIRED_TOKEN_GRACE, ISSUED_TOKEN_BYTES_MAX, TOKEN_BYTES_MAX, TOKEN_LIFETIME_MAX,
    TOKEN_LIFETIME_MIN, VERIFIED_TOKENS_MAX,
};
use crate::principal::Principal;
use crate::refusal::{Refusal, TokenFault};
use crate::remembered::Remembered;
use crate::scope::Scopes;
use crate::signing_keys::{ALGORITHM, SigningKey, SigningKeys};
use claims::{Audience, Claims};

/// Signs and checks tokens.
#[derive(Debug)]
pub struct Tokens {
    keys: SigningKeys,
    clock: Arc<dyn Clock>,
    service: String,
    lifetime: Duration,
    /// Those whose signature was verified, by the hash of their text: every request of a client carries the same one.
    verified: Remembered<[u8; 32], Arc<Token>>,
}

/// Whom a token is for, and what he stands on.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// Who he is.
    pub(crate) principal: &'a Principal,
    /// Of a user who came with his password: what changes with it.
    pub(crate) fingerprint: Option<[u8; 32]>,
    /// Of somebody who came with a personal or robot token: its id.
    pub(crate) credential: Option<Arc<str>>,
    /// Of a user of an upstream: what he came with.
    pub(crate) upstream_credentials: Option<&'a CallerCredentials>,
}

/// A token that was signed here for this service. Whether it is good now is another question.
#[derive(Debug)]
pub(crate) struct Token {
    /// Whom it is for.
    pub(crate) principal: Principal,
    /// What it is limited to.
    pub(crate) scopes: Arc<Scopes>,
    /// What its holder has to be still.
    pub(crate) standing: Standing,
    /// The account at an upstream that it carries.
    pub(crate) upstream_credentials: Option<CallerCredentials>,
    id: String,
    key: Arc<str>,
    not_before: i64,
    expires_at: i64,
}

/// What a token stands on, and falls with.
#[derive(Debug)]
pub(crate) enum Standing {
    /// A user with the password of then.
    Password([u8; 16]),
    /// A personal or robot token.
    Credential(Arc<str>),
    /// Nothing that could be looked up.
    Alone,
}

/// A token with what it covers.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) token: SecretString,
    pub(crate) scopes: Scopes,
    pub(crate) issued_at: Timestamp,
    pub(crate) lifetime: Duration,
}

impl Tokens {
    /// Takes the signing keys out of the store, and makes the first one where there is none yet. Tries what it does once: signs and
    /// verifies.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn open(
        metadata: Arc<dyn MetadataStore>,
        clock: Arc<dyn Clock>,
        service: String,
        lifetime: Duration,
    ) -> Result<Self, Error> {
        let tokens = Self {
            keys: SigningKeys::open(metadata, Arc::clone(&clock)).await?,
            clock,
            service,
            lifetime: lifetime.clamp(TOKEN_LIFETIME_MIN, TOKEN_LIFETIME_MAX),
            verified: Remembered::new(VERIFIED_TOKENS_MAX),
        };
        tokens.try_out().await.map_err(|refusal| Error::Backend(Box::new(refusal)))?;
        Ok(tokens)
    }

    /// The audience of the tokens, and the `service` of challenges.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Signs a token and verifies it: what cannot do that shall be known at the start, not at the first login.
    async fn try_out(&self) -> Result<(), Refusal> {
        let nobody = Subject {
            principal: &Principal::Anonymous,
            fingerprint: None,
            credential: None,
            upstream_credentials: None,
        };
        let signed = self.sign(&nobody, Scopes::default())?;
        self.verify(&signed.token).await?;
        let key = self.keys.newest()?;
        tracing::info!(
            key = &*key.id,
            algorithm = ALGORITHM.as_str(),
            "signed a token and verified it: tokens can be issued"
        );
        Ok(())
    }

    /// Signs a token. It covers fewer scopes than asked for where it would become too long for a header.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when it cannot be signed.
    pub(crate) fn sign(&self, subject: &Subject<'_>, mut scopes: Scopes) -> Result<Signed, Refusal> {
        let key = self.keys.newest()?;
        let issued_at = self.clock.now();
        let id = Uuid::new_v4().simple().to_string();
        let upstream = subject.upstream_credentials.map(|credentials| claims::seal(&key.seals, credentials, &id));
        let now = u64::try_from(seconds(issued_at)).unwrap_or_default();
        let mut claims = Claims {
            iss: self.service.clone(),
            sub: subject.principal.to_string(),
            aud: Audience::One(self.service.clone()),
            exp: now.saturating_add(self.lifetime.as_secs()),
            nbf: now,
            iat: now,
            access: Scopes::default(),
            basis: subject.fingerprint.map(|fingerprint| claims::encode_basis(basis(&id, &fingerprint))),
            credential: subject.credential.as_deref().map(str::to_owned),
            upstream: upstream.transpose()?,
            jti: id,
        };
        loop {
            claims.access.clone_from(&scopes);
            let token = key.sign(&claims).map_err(cannot_sign)?;
            if token.len() <= ISSUED_TOKEN_BYTES_MAX || scopes.is_empty() {
                return Ok(Signed { token: token.into(), scopes, issued_at, lifetime: self.lifetime });
            }
            // Half of them at a time: a few rounds, however many there are.
            let fewer = scopes.len() / 2;
            tracing::warn!(
                scopes = scopes.len(),
                left = fewer,
                "a token with all that was asked for would be too long"
            );
            scopes = scopes.iter().take(fewer).cloned().collect();
        }
    }

    /// What a token says, and whether it has expired so lately that it is good for going on with an upload.
    ///
    /// # Errors
    /// [`Refusal::InvalidToken`] says what is wrong with it; [`Refusal::Unavailable`] when its key could not be looked for.
    pub(crate) async fn verify(&self, token: &SecretString) -> Result<(Arc<Token>, bool), Refusal> {
        let text = token.expose_secret();
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::InvalidToken(TokenFault::Unknown));
        }
        let hash: [u8; 32] = Sha256::digest(text).into();
        let known = self.verified.get(&hash).filter(|token| self.keys.known_key(&token.key).is_some());
        let token = if let Some(token) = known {
            token
        } else {
            let token = Arc::new(self.read(text).await?);
            self.verified.insert(hash, Arc::clone(&token));
            token
        };
        let is_expired = self.is_expired(&token)?;
        Ok((token, is_expired))
    }

    /// Whether it has ended. That is looked at each time, also for what is remembered.
    fn is_expired(&self, token: &Token) -> Result<bool, Refusal> {
        let (now, skew) = (seconds(self.clock.now()), whole_seconds(CLOCK_SKEW_MAX));
        let grace = whole_seconds(EXPIRED_TOKEN_GRACE);
        if token.not_before > now.saturating_add(skew) {
            return Err(Refusal::InvalidToken(TokenFault::Unknown));
        }
        if token.expires_at.saturating_add(grace) < now {
            return Err(Refusal::InvalidToken(TokenFault::Expired));
        }
        Ok(token.expires_at.saturating_add(skew) < now)
    }

    async fn read(&self, text: &str) -> Result<Token, Refusal> {
        let unknown = || Refusal::InvalidToken(TokenFault::Unknown);
        let jws = Jws::parse(text).ok_or_else(unknown)?;
        // Before the store is asked for a key of that name.
        if Algorithm::parse(&jws.header.alg) != Some(ALGORITHM) {
            return Err(unknown());
        }
        let key = self.keys.key(jws.header.kid.as_deref().unwrap_or_default()).await?.ok_or_else(unknown)?;
        if !key.has_signed(&jws) {
            return Err(unknown());
        }
        let claims: Claims = jws.payload().ok_or_else(unknown)?;
        if !claims.aud.includes(&self.service) {
            return Err(Refusal::InvalidToken(TokenFault::WrongAudience));
        }
        self.understand(claims, &key).ok_or_else(unknown)
    }

    fn understand(&self, claims: Claims, key: &SigningKey) -> Option<Token> {
        let principal: Principal = claims.sub.parse().ok().filter(|_| claims.iss == self.service)?;
        let standing = match (&principal, claims.credential, &claims.basis) {
            (Principal::User(_) | Principal::Robot(_), Some(id), None) => Standing::Credential(id.into()),
            (Principal::User(_), None, Some(basis)) => Standing::Password(claims::decode_basis(basis)?),
            (Principal::User(_) | Principal::Robot(_), _, _) | (_, Some(_), _) | (_, _, Some(_)) => return None,
            (_, None, None) => Standing::Alone,
        };
        let upstream_credentials = match (&principal, claims.upstream) {
            (Principal::Upstream { upstream, user }, Some(sealed)) => {
                let account = claims::open(&key.seals, &sealed, &claims.jti)?;
                let is_his = account.upstream == *upstream && account.user == **user;
                Some(is_his.then_some(account)?)
            }
            (Principal::Upstream { .. }, None) | (_, Some(_)) => return None,
            (_, None) => None,
        };
        Some(Token {
            principal,
            scopes: Arc::new(claims.access),
            standing,
            upstream_credentials,
            id: claims.jti,
            key: Arc::clone(&key.id),
            // What is later than a clock can show was not written here.
            not_before: i64::try_from(claims.nbf).ok()?,
            expires_at: i64::try_from(claims.exp).ok()?,
        })
    }

    /// Looks after the signing keys.
    pub(crate) async fn keep_up(&self) -> Result<(), Error> {
        self.keys.keep_up().await
    }
}

impl Token {
    /// Whether it was made for a user with the password of this fingerprint.
    pub(crate) fn stands_on(&self, claimed: &[u8; 16], fingerprint: &[u8; 32]) -> bool {
        claimed.ct_eq(&basis(&self.id, fingerprint)).into()
    }
}

/// What a token says about a password: enough to see that it is another one now, and different in each token, so that it tells
/// nobody anything else.
fn basis(token_id: &str, fingerprint: &[u8; 32]) -> [u8; 16] {
    let hash = Sha256::new().chain_update(token_id).chain_update(fingerprint).finalize();
    let mut basis = [0; 16];
    basis.copy_from_slice(&hash[..16]);
    basis
}

fn cannot_sign(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Refusal {
    Refusal::Unavailable { what: "the signer of tokens".to_owned(), source: why.into() }
}

const fn seconds(time: Timestamp) -> i64 {
    time.milliseconds().div_euclid(1000)
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
