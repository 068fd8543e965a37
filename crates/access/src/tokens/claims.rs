//! What stands in a token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entrepot_upstream::CallerCredentials;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::cannot_sign;
use crate::jws::present;
use crate::refusal::Refusal;
use crate::scope::Scopes;
use crate::sealed::SealingKey;

/// The claims. A claim that is missing or of another type makes the whole token unreadable: none is ever taken for absent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) aud: Audience,
    pub(super) exp: u64,
    pub(super) nbf: u64,
    pub(super) iat: u64,
    pub(super) jti: String,
    #[serde(default)]
    pub(super) access: Scopes,
    /// Of a user who came with his password.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) basis: Option<String>,
    /// Of somebody who came with a personal or robot token: its id.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) credential: Option<String>,
    /// Of a user of an upstream: what he came with, sealed.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) upstream: Option<String>,
}

/// Whom a token is for: one service, or a list of them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    /// Whether it is for this service.
    pub(super) fn includes(&self, service: &str) -> bool {
        match self {
            Self::One(one) => one == service,
            Self::Many(several) => several.iter().any(|one| one == service),
        }
    }
}

pub(super) fn encode_basis(basis: [u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(basis)
}

pub(super) fn decode_basis(text: &str) -> Option<[u8; 16]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// An account at an upstream, as it is sealed.
#[derive(Serialize, Deserialize)]
struct Account {
    upstream: String,
    user: String,
    password: String,
}

/// Seals an account into the token of this id.
pub(super) fn seal(key: &SealingKey, credentials: &CallerCredentials, token_id: &str) -> Result<String, Refusal> {
    let CallerCredentials { upstream, user, password } = credentials;
    let (upstream, user) = (upstream.as_ref().to_owned(), user.clone());
    let account = Account { upstream, user, password: password.expose_secret().to_owned() };
    let text = serde_json::to_vec(&account).map_err(cannot_sign)?;
    key.seal(&text, token_id).ok_or_else(|| cannot_sign("there are no random numbers"))
}

/// The account that is sealed into the token of this id.
pub(super) fn open(key: &SealingKey, sealed: &str, token_id: &str) -> Option<CallerCredentials> {
    let Account { upstream, user, password } = serde_json::from_slice(&key.open(sealed, token_id)?).ok()?;
    Some(CallerCredentials { upstream: upstream.into(), user, password: password.into() })
}
