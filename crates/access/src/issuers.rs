//! Identity providers: whose tokens are believed, and who their claims say that somebody is.

use std::collections::BTreeMap;
use std::sync::Arc;

use entrepot_metadata::Clock;
use entrepot_upstream::{Lookup, Timeouts};
use secrecy::SecretString;
use url::Url;

use crate::principal::Principal;
use crate::refusal::{Refusal, TokenFault};

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
#[derive(Debug, Default)]
pub struct Issuers {}

/// Why identity providers cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the identity provider {name:?} {problem}")]
pub struct IssuersError {
    /// Its name.
    pub name: Arc<str>,
    /// What is wrong with it.
    pub problem: String,
}

impl Issuers {
    /// Sets up the providers. None of them is asked yet.
    ///
    /// # Errors
    /// What is wrong with the first one that cannot be used.
    pub fn new(
        _issuers: Vec<IssuerConfig>,
        _timeouts: Timeouts,
        _lookup: Lookup,
        _clock: Arc<dyn Clock>,
    ) -> Result<Self, IssuersError> {
        Ok(Self {})
    }

    /// Whether tokens with this `iss` are those of a provider that is trusted here.
    #[expect(clippy::unused_self, reason = "not built yet")]
    pub(crate) const fn knows(&self, _issuer: &str) -> bool {
        false
    }

    /// Who the holder of a provider's token is.
    ///
    /// # Errors
    /// [`Refusal::InvalidToken`] says what is wrong with it; [`Refusal::Unavailable`] when the provider's keys cannot be had.
    #[expect(clippy::unused_async, reason = "not built yet")]
    pub(crate) async fn verify(&self, _token: &SecretString) -> Result<Principal, Refusal> {
        Err(Refusal::InvalidToken(TokenFault::Unknown))
    }
}
