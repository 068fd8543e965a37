//! A fake identity provider: a real HTTP server with discovery and keys, and the tokens that it signs.
//!
//! It is honest like [`FakeUpstream`], and lies by the same rules: `issuer.when(Seen::is_discovery).reply(…)`.

mod signing;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::authority::{Authority, ClientCertificates};
use crate::fake::FakeUpstream;
use crate::reply::Reply;
use crate::rule::RuleBuilder;
use crate::seen::Seen;
use signing::Keys;

pub use signing::SigningAlgorithm;

/// How long a token is good for, unless its claims say otherwise.
const TOKEN_SECONDS: u64 = 300;

/// Where the keys are.
pub(crate) const KEYS_PATH: &str = "/keys";

/// Where discovery is.
pub(crate) const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// Where a token is to be had for the claims in the parameter `claims`, by those who cannot call [`FakeIssuer::mint`].
pub(crate) const MINT_PATH: &str = "/mint";

/// An identity provider that is honest until a rule makes it lie. It ends when it is dropped.
pub struct FakeIssuer {
    server: FakeUpstream,
    content: Arc<IssuerContent>,
}

/// What the server and the test share.
pub(crate) struct IssuerContent {
    url: String,
    keys: Mutex<Keys>,
}

impl FakeIssuer {
    /// Starts a provider on a loopback port.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Self {
        Self::of(FakeUpstream::start().await, None)
    }

    /// Starts a provider that speaks TLS with a certificate of `authority`, as [`FakeUpstream::start_tls`] does.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start_tls(authority: &Authority) -> Self {
        Self::of(FakeUpstream::start_tls(authority, ClientCertificates::NotAsked).await, None)
    }

    /// Starts a provider that listens on `address` and calls itself `url`, by which others may know it.
    ///
    /// # Panics
    /// When the port cannot be had.
    pub async fn start_at(address: SocketAddr, url: Option<String>) -> Self {
        Self::of(FakeUpstream::start_at(address).await, url)
    }

    fn of(server: FakeUpstream, url: Option<String>) -> Self {
        let url = url.unwrap_or_else(|| server.url());
        let content = Arc::new(IssuerContent { url, keys: Mutex::new(Keys::new(1)) });
        server.set_issuer(Arc::clone(&content));
        Self { server, content }
    }

    /// The issuer, as its tokens have it: its URL without a slash at the end.
    pub fn url(&self) -> &str {
        &self.content.url
    }

    /// The server, to be counted at, stopped and started again.
    pub const fn server(&self) -> &FakeUpstream {
        &self.server
    }

    /// Begins a rule, as [`FakeUpstream::when`] does.
    pub fn when(&self, matches: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> RuleBuilder<'_> {
        self.server.when(matches)
    }

    /// How often its keys were fetched.
    pub fn key_fetches(&self) -> usize {
        self.server.count(Seen::is_keys)
    }

    /// Has other keys with other ids from now on; those before are gone from what it publishes.
    pub fn rotate_keys(&self) {
        self.content.lock().rotate();
    }

    /// A token with these claims beside or instead of the ordinary ones: see [`Self::claims`].
    pub fn mint(&self, claims: &Value) -> String {
        self.mint_as(SigningAlgorithm::Rs256, claims)
    }

    /// The same, signed in another way.
    pub fn mint_as(&self, algorithm: SigningAlgorithm, claims: &Value) -> String {
        self.sign(algorithm, &self.header(algorithm), &self.claims(claims))
    }

    /// A token of this header and these claims, whatever they are, with a signature that is good.
    pub fn sign(&self, algorithm: SigningAlgorithm, header: &Value, claims: &Value) -> String {
        self.content.lock().token(algorithm, header, claims)
    }

    /// The header of an honest token.
    pub fn header(&self, algorithm: SigningAlgorithm) -> Value {
        self.content.lock().header(algorithm)
    }

    /// The claims of an honest token, good for five minutes from now: `iss`, `aud` (`entrepot`), `sub`, `iat`, `nbf` and `exp`. Those given
    /// come in their place; `null` takes one away.
    pub fn claims(&self, claims: &Value) -> Value {
        self.content.claims(claims)
    }

    /// What it publishes as its keys.
    pub fn keys(&self) -> Value {
        self.content.lock().published()
    }
}

impl fmt::Debug for FakeIssuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FakeIssuer").field("url", &self.content.url).finish_non_exhaustive()
    }
}

impl IssuerContent {
    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The honest reply to a request that is for the provider.
    pub(crate) fn reply(&self, seen: &Seen) -> Option<Reply> {
        let document = match seen.path.as_str() {
            DISCOVERY_PATH => json!({
                "issuer": self.url,
                "jwks_uri": format!("{}{KEYS_PATH}", self.url),
                "id_token_signing_alg_values_supported": ["RS256"],
            }),
            KEYS_PATH => self.lock().published(),
            MINT_PATH => {
                let given = seen.parameters("claims").pop().unwrap_or_else(|| "{}".to_owned());
                let Ok(given) = serde_json::from_str(&given) else { return Some(Reply::new(400)) };
                let (keys, claims) = (self.lock(), self.claims(&given));
                let algorithm = SigningAlgorithm::Rs256;
                return Some(Reply::content("text/plain", keys.token(algorithm, &keys.header(algorithm), &claims)));
            }
            _ => return None,
        };
        Some(Reply::json(&document))
    }

    fn claims(&self, given: &Value) -> Value {
        let now = now();
        let mut claims = json!({
            "iss": self.url, "aud": "entrepot", "sub": "somebody",
            "iat": now, "nbf": now, "exp": now + TOKEN_SECONDS,
        });
        if let (Some(claims), Some(given)) = (claims.as_object_mut(), given.as_object()) {
            claims.extend(given.clone());
            claims.retain(|_, value| !value.is_null());
        }
        claims
    }
}

#[expect(clippy::disallowed_methods, reason = "tokens for real clients are good from now on")]
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
