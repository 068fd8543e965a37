//! One upstream registry: who it is, and what its questions are asked with. The questions are in the modules beside.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use entrepot_oci::RepositoryName;
use http::HeaderMap;
use url::{Host, Url};

use crate::account::Account;
use crate::authorization::{Credentials, Wanted};
use crate::caller::{CallerCredentials, CallerKey, Callers};
use crate::circuit::{Circuit, Suspended};
use crate::config::Timeouts;
use crate::connections::Connections;
use crate::error::Suspension;
use crate::mirrors::Place;
use crate::news::{Condition, Herald};
use crate::rate_limit::RateLimit;
use crate::reach::Reach;
use crate::token_cache::TokenCache;
use crate::turns::Turns;

/// The names of Docker Hub, which are one registry. The first is what it is called, the second serves the API.
pub(crate) const DOCKER_HUB: [&str; 4] =
    ["docker.io", "registry-1.docker.io", "index.docker.io", "registry.hub.docker.com"];

/// Where Docker Hub has what it calls by one component.
pub(crate) const HUB_LIBRARY: &str = "library";

/// A registry that content is pulled from.
///
/// Learns how it wants to be asked from its first challenge, keeps its tokens, and never holds content. Shared by
/// everyone who pulls from it.
pub struct Remote {
    name: Arc<str>,
    origin: String,
    is_docker_hub: bool,
    reach: Arc<Reach>,
    account: Account,
    has_certificate: bool,
    is_asked_as_caller: bool,
    /// The views of those who come with an account of theirs; `None` where nobody is asked for one, and in a view.
    callers: Option<Callers>,
    /// Whose view it is.
    caller: Option<CallerKey>,
    connections: Arc<Connections>,
    tokens: TokenCache,
    wanted: Arc<Mutex<Wanted>>,
    rate_limit: Mutex<Option<RateLimit>>,
    circuit: Arc<Circuit>,
    /// Tells others what is left of its budget; nobody, in a view.
    herald: Herald,
    turns: Arc<Turns>,
    /// Set once, when all remotes are there. Two that mirror each other keep each other in memory, which is where listed
    /// remotes stay anyway.
    mirrors: OnceLock<Vec<Arc<Place>>>,
}

/// What distinguishes one remote from another.
pub(crate) struct Identity {
    pub(crate) name: Arc<str>,
    pub(crate) origin: String,
    pub(crate) is_docker_hub: bool,
    pub(crate) reach: Reach,
    pub(crate) account: Account,
    /// Whether it may see a client certificate.
    pub(crate) has_certificate: bool,
    /// The views of callers, where it is asked with their accounts.
    pub(crate) callers: Option<Callers>,
    pub(crate) requests_max: usize,
}

/// How a remote is doing, for people and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteState {
    /// What it is called.
    pub name: Arc<str>,
    /// For how long it is not asked, and why; `None` when it is.
    pub suspended: Option<(Duration, Suspension)>,
    /// How often it was suspended since the start.
    pub suspensions: u64,
    /// Questions that are being asked, transfers included.
    pub running: usize,
    /// Questions that wait for their turn.
    pub waiting: usize,
    /// Questions that ended in [`Error::Busy`](crate::Error::Busy) since the start.
    pub turned_away: u64,
    /// What it last said is left of its budget.
    pub rate_limit: Option<RateLimit>,
}

impl Remote {
    pub(crate) fn new(identity: Identity, connections: Arc<Connections>, herald: Herald) -> Self {
        let Identity { name, origin, is_docker_hub, reach, account, has_certificate, callers, requests_max } = identity;
        let (tokens, wanted, rate_limit) = (TokenCache::default(), Arc::default(), Mutex::default());
        let circuit = Arc::new(Circuit::new(Arc::clone(&name), herald.clone()));
        let turns = Arc::new(Turns::new(requests_max));
        Self {
            name,
            origin,
            is_docker_hub,
            reach: Arc::new(reach),
            account,
            has_certificate,
            is_asked_as_caller: callers.is_some(),
            callers,
            caller: None,
            connections,
            tokens,
            wanted,
            rate_limit,
            circuit,
            herald,
            turns,
            mirrors: OnceLock::new(),
        }
    }

    /// This remote as somebody sees it who has an account there: with tokens and a budget of his own, over the same connections.
    /// When it keeps failing, it does so for everybody; the patience that it asks of one account is that account's.
    pub(crate) fn seen_by(&self, credentials: &CallerCredentials, caller: Option<CallerKey>) -> Self {
        let account = Credentials { username: credentials.user.clone(), password: credentials.password.clone() };
        Self {
            name: Arc::clone(&self.name),
            origin: self.origin.clone(),
            is_docker_hub: self.is_docker_hub,
            reach: Arc::clone(&self.reach),
            account: Account::Fixed(account),
            has_certificate: self.has_certificate,
            is_asked_as_caller: self.is_asked_as_caller,
            callers: None,
            caller,
            connections: Arc::clone(&self.connections),
            tokens: TokenCache::default(),
            wanted: Arc::clone(&self.wanted),
            rate_limit: Mutex::default(),
            circuit: Arc::new(Circuit::of_account(&self.circuit)),
            herald: Herald::new(),
            turns: Arc::clone(&self.turns),
            // None: a mirror does not know who may pull what.
            mirrors: OnceLock::new(),
        }
    }

    /// What its content is cached under: the authority of its URL as one component of a repository name, such as
    /// `registry-1.docker.io`, `registry.corp__5000` or `ip6__0-0-0-0-0-0-0-1__5000`.
    ///
    /// Names of one URL share it; a name that is given another URL changes it. A port is left out where it is that
    /// of https, and only there, so that http and https on one host differ.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Where it is: scheme, host and port.
    pub fn address(&self) -> String {
        self.reach.home().as_str().trim_end_matches('/').to_owned()
    }

    /// What people call it: the configured name, or the host of one that is not listed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether an account or a client certificate is configured, so that what is pulled may be private.
    pub const fn has_credentials(&self) -> bool {
        self.has_account() || self.has_certificate
    }

    /// Whether it is asked with the account of whoever asks us.
    pub const fn is_asked_as_caller(&self) -> bool {
        self.is_asked_as_caller
    }

    /// Whose account it is asked with, in a view of [`Self::for_caller`]; `None` where it is its own, or nobody's.
    pub const fn caller(&self) -> Option<CallerKey> {
        self.caller
    }

    pub(crate) const fn callers(&self) -> Option<&Callers> {
        self.callers.as_ref()
    }

    /// The names of its mirrors, in the order in which they are asked.
    pub fn mirror_names(&self) -> Vec<&str> {
        self.mirrors().iter().map(|mirror| mirror.name()).collect()
    }

    /// The repository that `name` means here: Docker Hub's names of one component are below `library/`.
    pub fn repository(&self, name: &RepositoryName) -> RepositoryName {
        if !self.is_docker_hub || !name.is_single_component() {
            return name.clone();
        }
        // A name too long to be put below `library` cannot exist there; asked as it is, it is not found.
        name.below(HUB_LIBRARY).unwrap_or_else(|_| name.clone())
    }

    /// What the remote last said is left of its budget of pulls; `None` when it never did, or so long ago that its window
    /// is over.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.rate_limit.lock().unwrap_or_else(PoisonError::into_inner).filter(RateLimit::is_current)
    }

    /// The part of its budget that is left, from 0 to 1: 0 while it refuses with 429, `None` when it does not tell.
    pub fn budget(&self) -> Option<f64> {
        match self.circuit.suspended() {
            Some(Suspended { reason: Suspension::RateLimited, .. }) => Some(0.0),
            _ => self.rate_limit()?.left(),
        }
    }

    /// How it is doing.
    pub fn state(&self) -> RemoteState {
        RemoteState {
            name: Arc::clone(&self.name),
            suspended: self.circuit.suspended().map(|suspended| (suspended.retry_after, suspended.reason)),
            suspensions: self.circuit.suspensions(),
            running: self.turns.running(),
            waiting: self.turns.waiting(),
            turned_away: self.turns.turned_away(),
            rate_limit: self.rate_limit(),
        }
    }

    /// Notes what an answer of the remote itself says of its budget.
    pub(crate) fn note_rate_limit(&self, headers: &HeaderMap) {
        if let Some(told) = RateLimit::read(headers) {
            self.herald.tell(&self.name, Condition::budget(&told));
            *self.rate_limit.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        }
    }

    /// Takes somebody's word for how the remote is.
    pub(crate) fn hear(&self, condition: &Condition) {
        match condition.rate_limit() {
            Some(told) => *self.rate_limit.lock().unwrap_or_else(PoisonError::into_inner) = Some(told),
            None => self.circuit.hear(condition),
        }
    }

    /// Whether it is Docker Hub, under whichever of its names.
    pub(crate) const fn is_docker_hub(&self) -> bool {
        self.is_docker_hub
    }

    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(crate) const fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) const fn has_account(&self) -> bool {
        !self.account.is_anonymous()
    }

    /// Whether an account is used to pull from it, here or at a mirror.
    pub(crate) fn may_be_private(&self) -> bool {
        self.has_credentials() || self.mirrors().iter().any(|mirror| mirror.has_credentials())
    }

    pub(crate) fn mirrors(&self) -> &[Arc<Place>] {
        self.mirrors.get().map_or(&[], Vec::as_slice)
    }

    /// Sets the mirrors, before anybody asks.
    pub(crate) fn set_mirrors(&self, mirrors: Vec<Arc<Place>>) {
        // They are set once: a second set would be one too late.
        let _ = self.mirrors.set(mirrors);
    }

    pub(crate) const fn tokens(&self) -> &TokenCache {
        &self.tokens
    }

    pub(crate) fn wanted_lock(&self) -> &Mutex<Wanted> {
        &self.wanted
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    pub(crate) const fn circuit(&self) -> &Arc<Circuit> {
        &self.circuit
    }

    pub(crate) fn shared_circuit(&self) -> Arc<Circuit> {
        Arc::clone(&self.circuit)
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    pub(crate) fn shared_connections(&self) -> Arc<Connections> {
        Arc::clone(&self.connections)
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        self.connections.timeouts()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Remote")
            .field("name", &self.name)
            .field("origin", &self.origin)
            .field("has_credentials", &self.has_credentials())
            .finish_non_exhaustive()
    }
}

/// The origin of `url`, or `None` when its host cannot be spelled as a component.
///
/// Unambiguous: `__` separates nothing but the port and the mark of an IPv6 address, which no host has inside.
pub(crate) fn origin(url: &Url) -> Option<String> {
    let host = match url.host()? {
        Host::Domain(host) if host.contains("__") => return None,
        Host::Domain(host) => host.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => format!("ip6__{}", address.segments().map(|segment| format!("{segment:x}")).join("-")),
    };
    let origin = match url.port_or_known_default()? {
        443 if url.scheme() == "https" => host,
        port => format!("{host}__{port}"),
    };
    let name: RepositoryName = origin.parse().ok()?;
    name.is_single_component().then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_one_legal_component_and_unambiguous() {
        let rows = [
            ("https://registry-1.docker.io", Some("registry-1.docker.io")),
            ("https://registry.corp:5000", Some("registry.corp__5000")),
            ("https://REGISTRY.corp:443/", Some("registry.corp")),
            ("http://registry.corp", Some("registry.corp__80")),
            ("http://registry.corp:443", Some("registry.corp__443")),
            ("http://127.0.0.1:5000", Some("127.0.0.1__5000")),
            ("http://[::1]:5000", Some("ip6__0-0-0-0-0-0-0-1__5000")),
            ("https://[2001:DB8::1]", Some("ip6__2001-db8-0-0-0-0-0-1")),
            ("https://xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("http://my_registry:5000", Some("my_registry__5000")),
            ("http://a__5000:5000", None),
            ("https://registry.corp.", None),
        ];
        for (url, expected) in rows {
            assert_eq!(origin(&url.parse().unwrap()).as_deref(), expected, "{url}");
        }
    }
}
