//! The fake upstream itself: what a test holds in its hands.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, MediaType};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::arrivals::Arrivals;
use crate::auth::Auth;
use crate::authority::{Authority, ClientCertificates};
use crate::content::Content;
use crate::issuer::IssuerContent;
use crate::reply::Reply;
use crate::rule::{Rule, RuleBuilder, apply};
use crate::seen::Seen;
use crate::server::serve;

/// A registry on a loopback port that is honest until a rule makes it lie. It ends when it is dropped.
pub struct FakeUpstream {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// What the server and the test share.
pub(crate) struct Shared {
    state: Mutex<State>,
    arrivals: Arrivals<Seen>,
}

#[derive(Default)]
struct State {
    url: String,
    content: Content,
    rules: Vec<Rule>,
    auth: Auth,
    tokens: usize,
    oldest_token: usize,
    /// What it answers as an identity provider, if it is one.
    issuer: Option<Arc<IssuerContent>>,
}

impl FakeUpstream {
    /// Starts an empty registry that wants no authorisation.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Self {
        Self::start_with(any_port(), None).await
    }

    /// Starts an empty registry that speaks TLS, and does with certificates of clients what `clients` says. Its own is signed by
    /// `authority`, for `127.0.0.1`, `registry.example`, `auth.example` and `cdn.example`.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start_tls(authority: &Authority, clients: ClientCertificates<'_>) -> Self {
        Self::start_with(any_port(), Some(authority.acceptor(clients))).await
    }

    /// Starts an empty registry that listens on `address`.
    ///
    /// # Panics
    /// When the port cannot be had.
    pub async fn start_at(address: SocketAddr) -> Self {
        Self::start_with(address, None).await
    }

    async fn start_with(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), arrivals: Arrivals::default() });
        let (address, server) = serve(address, tls.clone(), Arc::clone(&shared)).await.expect("a port to listen on");
        let upstream = Self { address, tls, shared, server: Mutex::new(Some(server)) };
        upstream.shared.lock().url = upstream.url();
        upstream
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, or `https` likewise, without a slash at the end.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Stops listening and breaks every connection: the upstream cannot be reached.
    pub async fn stop(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            server.abort();
            // It was aborted: that it ended is all there is to know.
            let _ = server.await;
        }
    }

    /// Listens again, on the same port, with everything it had.
    ///
    /// # Panics
    /// When the port is taken.
    pub async fn restart(&self) {
        self.stop().await;
        let (_, server) =
            serve(self.address, self.tls.clone(), Arc::clone(&self.shared)).await.expect("the port is still free");
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }

    /// Adds a blob.
    pub fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Algorithm::Sha256.digest(&bytes);
        self.put_blob_as(repository, &digest, bytes);
        digest
    }

    /// Adds a blob under a digest that need not be its own.
    pub fn put_blob_as(&self, repository: &str, digest: &Digest, bytes: impl Into<Bytes>) {
        self.shared.lock().content.put_blob(repository, digest.clone(), bytes.into());
    }

    /// Adds a manifest.
    pub fn put_manifest(&self, repository: &str, media_type: &MediaType, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Algorithm::Sha256.digest(&bytes);
        self.put_manifest_as(repository, &digest, media_type, bytes);
        digest
    }

    /// Adds a manifest under a digest that need not be its own.
    pub fn put_manifest_as(&self, repository: &str, digest: &Digest, media_type: &MediaType, bytes: impl Into<Bytes>) {
        self.shared.lock().content.put_manifest(repository, digest.clone(), media_type.clone(), bytes.into());
    }

    /// Points a tag at a manifest.
    pub fn put_tag(&self, repository: &str, tag: &str, digest: &Digest) {
        self.shared.lock().content.put_tag(repository, tag, digest.clone());
    }

    /// Removes a tag; what it pointed at stays.
    pub fn remove_tag(&self, repository: &str, tag: &str) {
        self.shared.lock().content.remove_tag(repository, tag);
    }

    /// Removes a blob or manifest.
    pub fn remove(&self, repository: &str, digest: &Digest) {
        self.shared.lock().content.remove(repository, digest);
    }

    /// Wants authorisation from now on.
    pub fn set_auth(&self, auth: Auth) {
        self.shared.lock().auth = auth;
    }

    /// Accepts none of the tokens that were issued so far.
    pub fn revoke_tokens(&self) {
        let mut state = self.shared.lock();
        state.oldest_token = state.tokens;
    }

    /// Begins a rule for the requests that `matches` is true of, such as `Seen::is_blob`.
    pub fn when(&self, matches: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> RuleBuilder<'_> {
        RuleBuilder::new(self, matches)
    }

    /// Makes it honest again: drops every rule.
    pub fn heal(&self) {
        self.shared.lock().rules.clear();
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.arrivals.requests()
    }

    /// How many requests so far `matches` is true of.
    pub fn count(&self, matches: impl Fn(&Seen) -> bool) -> usize {
        self.shared.arrivals.count(matches)
    }

    /// How many connections were accepted so far, whether or not a request came over them.
    pub fn connections(&self) -> usize {
        self.shared.arrivals.connections()
    }

    /// Forgets the requests and connections so far.
    pub fn forget_requests(&self) {
        self.shared.arrivals.forget();
    }

    /// Waits until `matches` is true of a request, and returns the first such.
    ///
    /// # Panics
    /// When none comes for 20 seconds.
    pub async fn wait_for(&self, matches: impl Fn(&Seen) -> bool) -> Seen {
        self.shared.arrivals.wait_for(matches).await
    }

    /// Waits until `matches` is true of `count` requests.
    ///
    /// # Panics
    /// When they do not come for 20 seconds.
    pub async fn wait_for_count(&self, count: usize, matches: impl Fn(&Seen) -> bool) {
        self.shared.arrivals.wait_for_count(count, matches).await;
    }

    pub(crate) fn set_issuer(&self, issuer: Arc<IssuerContent>) {
        self.shared.lock().issuer = Some(issuer);
    }

    pub(crate) fn add_rule(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }
}

/// A loopback port that is free.
fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        if let Some(server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            server.abort();
        }
    }
}

impl fmt::Debug for FakeUpstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FakeUpstream").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A rule that panics fails its own test; the state is whole between its changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count_connection(&self) {
        self.arrivals.count_connection();
    }

    /// The reply to a request, which is recorded first.
    pub(crate) fn reply(&self, seen: &Seen) -> Reply {
        let reply = {
            let mut state = self.lock();
            self.arrivals.record(seen.clone());
            let honest = state.honest(seen);
            apply(&mut state.rules, seen, honest)
        };
        self.arrivals.tell();
        reply
    }
}

impl State {
    fn honest(&mut self, seen: &Seen) -> Reply {
        if let Some(reply) = self.issuer.as_ref().and_then(|issuer| issuer.reply(seen)) {
            return reply;
        }
        if seen.is_token() {
            self.tokens += 1;
            return self.auth.issue(seen, self.tokens - 1);
        }
        let refusal = self.auth.refuse(seen, &self.url, self.oldest_token);
        refusal.unwrap_or_else(|| self.content.reply(seen))
    }
}
