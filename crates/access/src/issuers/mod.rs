//! Identity providers: whose tokens are believed, and who their claims say that somebody is.
//!
//! Nothing in a token decides how it is verified: its `iss` picks one of the configured providers and its `kid` one of the keys that
//! this provider publishes; everything else counts only after the signature. No address out of a token is ever asked.

mod claims;
mod identities;
mod jwt;
mod key;
mod key_set;
mod key_source;
mod metrics;
#[cfg(test)]
mod tests;
mod verified;

use std::collections::BTreeMap;
use std::sync::Arc;

use entrepot_metadata::{Clock, SystemClock, Timestamp};
use entrepot_upstream::{Documents, Lookup, Timeouts};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::jws::Algorithm;
use crate::limits::{FOREIGN_CHARACTERS_MAX, TOKEN_BYTES_MAX};
use crate::principal::{NAME_BYTES_MAX, Principal};
use crate::refusal::{Refusal, TokenFault};
use identities::Identities;
use jwt::Jwt;
use key_source::{KeySource, KeysUnavailable};
use metrics::TokenOutcome;
use verified::{TokenHash, Verified};

pub use metrics::IssuerMetrics;

/// An identity provider as the operator lists it.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// What it is called in principals: `oidc:NAME:…`.
    pub name: Arc<str>,
    /// The `iss` of its tokens, exactly; its discovery document is below it.
    pub issuer: Url,
    /// The `aud` that its tokens must have.
    pub audience: String,
    /// Certificates of authorities in PEM that are trusted beside those of the system.
    pub ca: Option<Vec<u8>>,
    /// Hosts, each `HOST` or `HOST:PORT`, at which its keys may be although they have private addresses.
    pub trusted_hosts: Vec<String>,
    /// Who somebody is, by his claims: the first that matches counts. None: whoever has a token is known by its `sub`.
    pub identities: Vec<ClaimRule>,
}

/// Who somebody with these claims is.
#[derive(Clone, Debug)]
pub struct ClaimRule {
    /// Patterns that claims have to match, by the name of the claim; a name that begins with `/` is a JSON pointer.
    pub claims: BTreeMap<String, String>,
    /// What he is called, with claims in braces: `{repository}`.
    pub principal: String,
}

/// The identity providers.
#[derive(Debug)]
pub struct Issuers {
    known: Vec<Issuer>,
    clock: Arc<dyn Clock>,
    verified: Verified,
    metrics: IssuerMetrics,
}

/// One of them.
#[derive(Debug)]
struct Issuer {
    name: Arc<str>,
    audience: String,
    identities: Identities,
    keys: Arc<KeySource>,
}

/// Why identity providers cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the identity provider {name:?} {problem}")]
pub struct IssuersError {
    /// Its name.
    pub name: Arc<str>,
    /// What is wrong with it.
    pub problem: String,
}

/// What came of a token that is not good.
enum Rejected {
    Because(TokenOutcome),
    Unavailable(Arc<KeysUnavailable>),
}

impl Issuers {
    /// Sets up the providers. None of them is asked yet.
    ///
    /// # Errors
    /// What is wrong with the first one that cannot be used.
    pub fn new(
        issuers: Vec<IssuerConfig>,
        timeouts: Timeouts,
        lookup: Lookup,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IssuersError> {
        check_distinct(&issuers)?;
        let metrics = IssuerMetrics::default();
        let counted = metrics.clone();
        let set_up = move |config| Issuer::new(config, timeouts, lookup.clone(), &counted);
        let known = issuers.into_iter().map(set_up).collect::<Result<_, _>>()?;
        Ok(Self { known, clock, verified: Verified::default(), metrics })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What is counted about them.
    pub const fn metrics(&self) -> &IssuerMetrics {
        &self.metrics
    }

    /// Whether a token with this `iss` is one for [`Self::verify`].
    pub(crate) fn knows(&self, issuer: &str) -> bool {
        self.known.iter().any(|known| known.keys.is_issuer(issuer))
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// [`Refusal::InvalidToken`] when it is nobody's, and [`Refusal::Unavailable`] when its provider cannot be asked for the key.
    pub(crate) async fn verify(&self, token: &SecretString) -> Result<Principal, Refusal> {
        let text = token.expose_secret();
        let unknown = Refusal::InvalidToken(TokenFault::Unknown);
        if text.len() > TOKEN_BYTES_MAX {
            return Err(unknown);
        }
        let (hash, now): (TokenHash, _) = (Sha256::digest(text.as_bytes()).into(), self.clock.now());
        if let Some(principal) = self.verified.get(&hash, now) {
            if let Principal::Oidc { issuer, .. } = &principal {
                self.metrics.token(issuer, TokenOutcome::Remembered);
            }
            return Ok(principal);
        }
        let Some(jwt) = Jwt::parse(text) else { return Err(unknown) };
        let issuer = jwt.issuer().and_then(|text| self.known.iter().find(|known| known.keys.is_issuer(text)));
        let Some(issuer) = issuer else { return Err(unknown) };
        match issuer.verify(&jwt, now).await {
            Ok((principal, ends_at)) => {
                self.metrics.token(&issuer.name, TokenOutcome::Accepted);
                self.verified.put(hash, &principal, ends_at, now);
                Ok(principal)
            }
            Err(Rejected::Because(outcome)) => {
                self.metrics.token(&issuer.name, outcome);
                tracing::debug!(issuer.name = %issuer.name, outcome = outcome.as_str(), "a token of an identity provider is refused");
                Err(Refusal::InvalidToken(outcome.fault()))
            }
            Err(Rejected::Unavailable(error)) => {
                self.metrics.token(&issuer.name, TokenOutcome::Unavailable);
                Err(Refusal::Unavailable {
                    what: format!("the identity provider {:?}", issuer.name),
                    source: Box::new(error),
                })
            }
        }
    }
}

impl Default for Issuers {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            clock: Arc::new(SystemClock),
            verified: Verified::default(),
            metrics: IssuerMetrics::default(),
        }
    }
}

impl Issuer {
    fn new(
        config: IssuerConfig,
        timeouts: Timeouts,
        lookup: Lookup,
        metrics: &IssuerMetrics,
    ) -> Result<Self, IssuersError> {
        let IssuerConfig { name, issuer, audience, ca, trusted_hosts, identities } = config;
        let refused = |problem: String| IssuersError { name: Arc::clone(&name), problem };
        let is_name = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && !name.contains(|character: char| character == ':' || character.is_control());
        if !is_name {
            return Err(refused(
                "has a name that cannot stand in a principal: expected 1 to 255 characters without a colon".into(),
            ));
        }
        if audience.is_empty() {
            return Err(refused("has no audience: tokens for others would be good here".into()));
        }
        let identities = Identities::new(&identities).map_err(refused)?;
        let documents =
            Documents::new(Arc::clone(&name), issuer.clone(), ca.as_deref(), &trusted_hosts, timeouts, lookup)
                .map_err(|error| refused(error.to_string()))?;
        let keys = Arc::new(KeySource::new(Arc::clone(&name), issuer, documents, metrics.clone()));
        Ok(Self { name, audience, identities, keys })
    }

    /// Whose token it is, and until when. The claims count for nothing before the signature has been verified.
    async fn verify(&self, jwt: &Jwt<'_>, now: Timestamp) -> Result<(Principal, Timestamp), Rejected> {
        let because = |outcome| Err(Rejected::Because(outcome));
        let Some(algorithm) = Algorithm::parse(&jwt.jws.header.alg) else {
            return because(TokenOutcome::UnknownAlgorithm);
        };
        let key = self.keys.key(jwt.jws.header.kid.as_deref(), algorithm).await.map_err(Rejected::Unavailable)?;
        let Some(key) = key else { return because(TokenOutcome::UnknownKey) };
        if !key.has_signed(&jwt.jws, algorithm) {
            return because(TokenOutcome::BadSignature);
        }
        let ends_at = claims::check(&jwt.claims, &self.audience, now).map_err(Rejected::Because)?;
        let Some(name) = self.identities.name(&jwt.claims) else {
            let subject = jwt.claims.get("sub").map(|subject| tame(&subject.to_string()));
            tracing::debug!(issuer.name = %self.name, subject, "a token of an identity provider is of nobody who is configured");
            return because(TokenOutcome::NobodyKnown);
        };
        Ok((Principal::Oidc { issuer: Arc::clone(&self.name), name: name.into() }, ends_at))
    }
}

/// Two names or issuers that are the same would make it a matter of luck who somebody is.
fn check_distinct(issuers: &[IssuerConfig]) -> Result<(), IssuersError> {
    for (index, config) in issuers.iter().enumerate() {
        let refused = |problem| Err(IssuersError { name: Arc::clone(&config.name), problem });
        for other in &issuers[..index] {
            if other.name == config.name {
                return refused("is there twice: names must differ".to_owned());
            }
            if other.issuer == config.issuer {
                return refused(format!("has the issuer of {:?}: a token would be good for either", other.name));
            }
        }
    }
    Ok(())
}

/// The beginning of a foreign text, without characters that could act on a terminal or a log.
fn tame(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(FOREIGN_CHARACTERS_MAX).collect()
}
