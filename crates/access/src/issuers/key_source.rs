//! The keys of one identity provider: how they come here, and how long they are believed in.
//!
//! Anybody can send a token that names a key that there is not, so what such tokens cost is bounded: however many callers want keys,
//! one of them fetches, and a key that is missing is looked for once a minute. And since keys hardly ever change, an outage of the
//! provider is none here for a day: only what needs a key that is not known has to wait for it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_upstream::Documents;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

use super::key::Key;
use super::key_set::{KeySet, KeySetError};
use super::metrics::IssuerMetrics;
use super::tame;
use crate::jws::Algorithm;
use crate::limits::{
    PROVIDER_BACK_OFF, PROVIDER_FORCED_FETCH_INTERVAL, PROVIDER_KEYS_AGE_MAX, PROVIDER_KEYS_MAX, PROVIDER_KEYS_REFRESH,
};

/// Where a provider is discovered, below its issuer. <https://openid.net/specs/openid-connect-discovery-1_0.html>
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// The keys of one provider.
#[derive(Debug)]
pub(super) struct KeySource {
    name: Arc<str>,
    issuer: Url,
    documents: Documents,
    metrics: IssuerMetrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// When somebody last had keys fetched because his was not among those held.
    forced_at: Option<Instant>,
    /// What the last fetch failed at; nothing when it did not.
    failure: Option<Failure>,
    /// A fetch that is under way: its sender is dropped when it is over.
    flight: Option<Flight>,
}

#[derive(Debug)]
struct Held {
    keys: KeySet,
    fetched_at: Instant,
}

#[derive(Debug)]
struct Failure {
    error: Arc<KeysUnavailable>,
    at: Instant,
}

type Flight = watch::Receiver<()>;

/// A key, the certainty that there is none, or the lack of it.
type Found = Result<Option<Arc<Key>>, Arc<KeysUnavailable>>;

/// What comes of a look at what is held.
enum Look {
    Found(Found),
    Wait(Flight),
}

/// Why the keys of a provider cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysUnavailable {
    #[error("its discovery document cannot be fetched")]
    Discovery(#[source] entrepot_upstream::Error),
    #[error("its discovery document is none: issuer and jwks_uri are expected in it")]
    NotDiscovery(#[source] serde_json::Error),
    #[error("its discovery document is that of another issuer, {found:?}; expected {expected}")]
    OtherIssuer { found: String, expected: Url },
    #[error("its jwks_uri {found:?} is neither at an https address nor at that of the issuer")]
    KeysElsewhere { found: String },
    #[error(
        "its keys are at {host}, whose address {address} is not public; list the host in trusted_hosts of the provider to allow it"
    )]
    KeysPrivate { host: String, address: IpAddr },
    #[error("its keys cannot be fetched")]
    Keys(#[source] entrepot_upstream::Error),
    #[error("its keys cannot be used")]
    KeySet(#[source] KeySetError),
    #[error("fetching its keys ended without a result")]
    Ended,
}

/// What of a discovery document counts.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl KeysUnavailable {
    /// What the fetch of the keys failed at. What to do about an address that is refused is another thing than for an upstream.
    fn of_keys(error: entrepot_upstream::Error) -> Self {
        match error {
            entrepot_upstream::Error::AddressRefused { host, address, .. } => Self::KeysPrivate { host, address },
            error => Self::Keys(error),
        }
    }
}

impl KeySource {
    pub(super) fn new(name: Arc<str>, issuer: Url, documents: Documents, metrics: IssuerMetrics) -> Self {
        Self { name, issuer, documents, metrics, state: Mutex::default() }
    }

    /// Whether the text is this issuer: its URL as it is configured. Of a URL without a path, the slash at the end is no part.
    pub(super) fn is_issuer(&self, text: &str) -> bool {
        let own = self.issuer.as_str();
        text == own || (self.issuer.path() == "/" && own.strip_suffix('/') == Some(text))
    }

    /// The key of this id for this algorithm, fetched if need be; `None` when the provider has no such key.
    pub(super) async fn key(self: &Arc<Self>, id: Option<&str>, algorithm: Algorithm) -> Found {
        let mut flight = match self.look(id, algorithm) {
            Look::Found(found) => return found,
            Look::Wait(flight) => flight,
        };
        // Nothing is ever sent: this ends with the fetch.
        let _ = flight.changed().await;
        let state = self.lock();
        match state.usable(Instant::now()).map(|held| held.keys.find(id, algorithm)) {
            Some(Some(key)) => Ok(Some(key)),
            Some(None) => state.missing(),
            None => Err(state.error()),
        }
    }

    fn look(self: &Arc<Self>, id: Option<&str>, algorithm: Algorithm) -> Look {
        let mut state = self.lock();
        let now = Instant::now();
        let held = state.usable(now).map(|held| (held.keys.find(id, algorithm), held.fetched_at));
        match (held, state.under_way()) {
            (Some((Some(key), fetched_at)), flight) => {
                if flight.is_none() && now - fetched_at >= PROVIDER_KEYS_REFRESH && state.may_retry(now) {
                    self.start(&mut state);
                }
                Look::Found(Ok(Some(key)))
            }
            (_, Some(flight)) => Look::Wait(flight),
            (Some((None, _)), None) if id.is_some() && state.may_force(now) => {
                state.forced_at = Some(now);
                Look::Wait(self.start(&mut state))
            }
            (Some((None, _)), None) => Look::Found(state.missing()),
            (None, None) if state.may_retry(now) => Look::Wait(self.start(&mut state)),
            (None, None) => Look::Found(Err(state.error())),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a fetch is over in seconds and writes nothing; it must not end with the one request among many that began it"
    )]
    fn start(self: &Arc<Self>, state: &mut State) -> Flight {
        let (over, flight) = watch::channel(());
        state.flight = Some(flight.clone());
        let source = Arc::clone(self);
        tokio::spawn(async move {
            let fetched = source.fetch().await;
            source.settle(fetched);
            drop(over);
        });
        flight
    }

    /// Asks the provider where its keys are, and for them. Nothing but its own two documents is ever fetched.
    async fn fetch(&self) -> Result<KeySet, KeysUnavailable> {
        let mut discovery = self.issuer.clone();
        discovery.set_path(&format!("{}{DISCOVERY_PATH}", self.issuer.path().trim_end_matches('/')));
        let document = self.documents.get(&discovery).await.map_err(KeysUnavailable::Discovery);
        let keys_url = document.and_then(|document| self.keys_url(&document));
        self.metrics.document(&self.name, "discovery", keys_url.is_ok());
        let document = self.documents.get(&keys_url?).await.map_err(KeysUnavailable::of_keys);
        let keys = document.and_then(|document| KeySet::read(&document).map_err(KeysUnavailable::KeySet));
        self.metrics.document(&self.name, "keys", keys.is_ok());
        keys
    }

    /// Where the keys are, by a discovery document.
    fn keys_url(&self, document: &[u8]) -> Result<Url, KeysUnavailable> {
        let Discovery { issuer, jwks_uri } = serde_json::from_slice(document).map_err(KeysUnavailable::NotDiscovery)?;
        if !self.is_issuer(&issuer) {
            return Err(KeysUnavailable::OtherIssuer { found: tame(&issuer), expected: self.issuer.clone() });
        }
        let url = jwks_uri.parse().ok().filter(|url| self.documents.may_get(url));
        url.ok_or_else(|| KeysUnavailable::KeysElsewhere { found: tame(&jwks_uri) })
    }

    /// Takes what a fetch has brought. What changes with it is in the log once, however many wait for it.
    fn settle(&self, fetched: Result<KeySet, KeysUnavailable>) {
        let mut state = self.lock();
        let now = Instant::now();
        state.flight = None;
        match fetched {
            Ok(keys) => {
                let before = state.held.replace(Held { keys, fetched_at: now }).map(|held| held.keys);
                let had_failed = state.failure.take().is_some();
                if let Some(held) = &state.held {
                    self.tell_of_keys(before.as_ref(), &held.keys, had_failed);
                }
            }
            Err(error) => {
                if state.failure.is_none() {
                    tracing::warn!(
                        issuer.name = %self.name, issuer.url = %self.issuer, keys_known = state.usable(now).is_some(),
                        error = &error as &dyn std::error::Error,
                        "an identity provider fails: keys that are known are good for a day, its other tokens cannot be verified"
                    );
                }
                state.failure = Some(Failure { error: Arc::new(error), at: now });
            }
        }
    }

    fn tell_of_keys(&self, before: Option<&KeySet>, keys: &KeySet, had_failed: bool) {
        if before.is_some() && had_failed {
            tracing::info!(issuer.name = %self.name, "an identity provider answers again");
        }
        if before == Some(keys) {
            return;
        }
        let ids = keys.ids().join(" ");
        match before {
            None => tracing::info!(issuer.name = %self.name, keys = ids, "the keys of an identity provider are known"),
            Some(before) => {
                let before = before.ids().join(" ");
                tracing::info!(issuer.name = %self.name, keys = ids, before, "an identity provider has changed its keys");
            }
        }
        if keys.left_out > 0 {
            tracing::warn!(
                issuer.name = %self.name, left_out = keys.left_out, limit = PROVIDER_KEYS_MAX,
                "an identity provider has more keys than are used: tokens that others of them have signed are refused"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The keys that are held, if they are not too old.
    fn usable(&self, now: Instant) -> Option<&Held> {
        self.held.as_ref().filter(|held| now - held.fetched_at < PROVIDER_KEYS_AGE_MAX)
    }

    /// The fetch that is under way, if one is.
    fn under_way(&self) -> Option<Flight> {
        self.flight.clone().filter(|flight| flight.has_changed().is_ok())
    }

    fn may_retry(&self, now: Instant) -> bool {
        self.failure.as_ref().is_none_or(|failure| now - failure.at >= PROVIDER_BACK_OFF)
    }

    fn may_force(&self, now: Instant) -> bool {
        self.forced_at.is_none_or(|at| now - at >= PROVIDER_FORCED_FETCH_INTERVAL)
    }

    /// What is said about a key that is not among those held: while the provider fails, that it is not known.
    fn missing(&self) -> Found {
        self.failure.as_ref().map_or(Ok(None), |failure| Err(Arc::clone(&failure.error)))
    }

    fn error(&self) -> Arc<KeysUnavailable> {
        let error = self.failure.as_ref().map(|failure| Arc::clone(&failure.error));
        error.unwrap_or_else(|| Arc::new(KeysUnavailable::Ended))
    }
}
