//! The HTTP clients below everything: one for the upstream itself, one for what the operator trusts besides, and one whose
//! connections lead to public addresses alone.
//!
//! They share nothing, so that a connection opened to a listed private host is never found in the pool by a request that
//! must not go there, and a connection over which a client certificate was shown is never used for another host. Most
//! upstreams have the same; one with an authority, a certificate or a proxy of its own has its own. They follow no redirects,
//! decode nothing, keep no cookies and use no proxy but the one that is configured for the upstream.

use std::error::Error as StdError;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;
use reqwest::{Client, Proxy, Response};
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use crate::address::is_public;
use crate::config::{ConfigError, Lookup, Timeouts, UpstreamConfig};
use crate::error::{Error, Source};
use crate::history::{History, RedactedUrl};
use crate::limits::{IDLE_CONNECTIONS_MAX, IDLE_TIME_MAX};
use crate::reach::Destination;
use crate::resolver::{Guard, NotPublic, Resolver};
use crate::tls;

const USER_AGENT: &str = concat!("entrepot/", env!("CARGO_PKG_VERSION"));

/// What the connections of all upstreams are made from.
pub(crate) struct Foundation {
    timeouts: Timeouts,
    lookup: Lookup,
    roots: RootCertStore,
}

/// The clients of one upstream, or of all that have nothing special.
pub(crate) struct Connections {
    home: Client,
    trusted: Client,
    public: Client,
    proxy: Option<RedactedUrl>,
    timeouts: Timeouts,
}

impl Foundation {
    pub(crate) fn new(timeouts: Timeouts, lookup: Lookup) -> Self {
        Self { timeouts, lookup, roots: tls::system_roots() }
    }

    /// Connections for every upstream that needs none of its own.
    pub(crate) fn common(&self) -> Result<Connections, ConfigError> {
        self.connections(None, &tls::anonymous(self.roots.clone())?, None, Guard::None)
    }

    /// Connections for documents, which the authorities in `ca` are trusted for besides; `guard` is for what is listed.
    pub(crate) fn for_documents(&self, ca: Option<&[u8]>, guard: Guard) -> Result<Connections, ConfigError> {
        let roots = tls::extend(self.roots.clone(), ca).map_err(|problem| ConfigError::Authorities { problem })?;
        self.connections(None, &tls::anonymous(roots)?, None, guard)
    }

    /// Connections for `upstream` alone; `None` when it needs none of its own.
    pub(crate) fn own(&self, upstream: &UpstreamConfig) -> Result<Option<Connections>, ConfigError> {
        let UpstreamConfig { ca, client_certificate, http_proxy, .. } = upstream;
        if ca.is_none() && client_certificate.is_none() && http_proxy.is_none() {
            return Ok(None);
        }
        let roots = tls::roots_of(upstream, &self.roots)?;
        let identified = client_certificate.as_ref();
        let identified = identified.map(|shown| tls::identified(upstream, shown, roots.clone())).transpose()?;
        let proxy = http_proxy.as_ref().map(|url| forward_proxy(upstream, url)).transpose()?;
        self.connections(identified.as_ref(), &tls::anonymous(roots)?, proxy, Guard::None).map(Some)
    }

    fn connections(
        &self,
        identified: Option<&ClientConfig>,
        anonymous: &ClientConfig,
        proxy: Option<(Proxy, RedactedUrl)>,
        listed: Guard,
    ) -> Result<Connections, ConfigError> {
        let (proxy, proxy_url) = proxy.unzip();
        let client = |tls: &ClientConfig, guard: Guard| {
            // Behind a proxy the one name that is resolved here is the proxy's, which the operator has chosen.
            let guard = if proxy.is_none() { guard } else { Guard::None };
            let resolver = Resolver { guard, lookup: self.lookup.clone() };
            let builder = Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .dns_resolver(Arc::new(resolver))
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .no_proxy()
                .http1_only()
                .user_agent(USER_AGENT)
                .connect_timeout(self.timeouts.connect)
                .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
                .pool_idle_timeout(IDLE_TIME_MAX);
            let builder = proxy.iter().cloned().fold(builder, reqwest::ClientBuilder::proxy);
            builder.build().map_err(|error| ConfigError::Client(io::Error::other(error)))
        };
        let trusted = client(anonymous, listed)?;
        Ok(Connections {
            home: identified.map_or_else(|| Ok(trusted.clone()), |identified| client(identified, listed))?,
            trusted,
            public: client(anonymous, Guard::Public)?,
            proxy: proxy_url,
            timeouts: self.timeouts,
        })
    }
}

impl Connections {
    /// How long to wait for what.
    pub(crate) const fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Sends one request and waits for the head of its answer, whatever its status.
    pub(crate) async fn send(
        &self,
        (method, url): (&Method, &Url),
        headers: HeaderMap,
        destination: Destination,
        history: &mut History,
    ) -> Result<Response, Error> {
        self.exchange((method, url), headers, None, destination, history).await
    }

    /// The same for a POST of `form`.
    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        form: String,
        destination: Destination,
        history: &mut History,
    ) -> Result<Response, Error> {
        self.exchange((&Method::POST, url), headers, Some(form), destination, history).await
    }

    async fn exchange(
        &self,
        (method, url): (&Method, &Url),
        headers: HeaderMap,
        body: Option<String>,
        destination: Destination,
        history: &mut History,
    ) -> Result<Response, Error> {
        history.attempt(method, url);
        let client = match destination {
            Destination::Home => &self.home,
            Destination::Trusted => &self.trusted,
            Destination::Public => {
                // A literal address is connected to without asking the resolver.
                check_literal(url).map_err(|refused| address_refused(history, refused))?;
                &self.public
            }
        };
        let request = client.request(method.clone(), url.clone()).headers(headers);
        let request = if let Some(body) = body { request.body(body) } else { request };
        match tokio::time::timeout(self.timeouts.first_byte, request.send()).await {
            Ok(Ok(response)) => {
                if let (Some(proxy), StatusCode::PROXY_AUTHENTICATION_REQUIRED) = (&self.proxy, response.status()) {
                    let source: Source = Arc::new(ProxyRefused { proxy: proxy.clone() });
                    return Err(Error::Unreachable { history: Box::new(history.clone()), source });
                }
                history.got(response.status().as_u16());
                Ok(response)
            }
            Ok(Err(error)) => Err(self.failure(url, history, error)),
            Err(_) => Err(timed_out(history, self.timeouts.first_byte)),
        }
    }

    /// What went wrong before the head of an answer came.
    fn failure(&self, url: &Url, history: &History, error: reqwest::Error) -> Error {
        if let Some(refused) = cause::<NotPublic>(&error) {
            return address_refused(history, refused.clone());
        }
        let history = Box::new(history.clone());
        let (is_connect, tls) = (error.is_connect(), tls::failure_reason(&error));
        // The URL in the library's error has its query, where signatures are.
        let source: Source = Arc::new(error.without_url());
        if let Some(reason) = tls {
            let host = url.host_str().unwrap_or_default().to_owned();
            return Error::Unreachable { history, source: Arc::new(tls::TlsFailure { host, reason, source }) };
        }
        match &self.proxy {
            _ if !is_connect => Error::Interrupted { history, source },
            Some(proxy) => {
                let proxy = proxy.clone();
                Error::Unreachable { history, source: Arc::new(NotThroughProxy { proxy, source }) }
            }
            None => Error::Unreachable { history, source },
        }
    }
}

impl fmt::Debug for Connections {
    /// Clients show their proxies, and those their passwords.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connections").field("proxy", &self.proxy).finish_non_exhaustive()
    }
}

/// The HTTP proxy lets nothing through without an account.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP proxy {proxy} does not accept the account, or the lack of one, in http_proxy")]
struct ProxyRefused {
    proxy: RedactedUrl,
}

/// No connection through the HTTP proxy.
#[derive(Debug, thiserror::Error)]
#[error("there is no way through the HTTP proxy {proxy}")]
struct NotThroughProxy {
    proxy: RedactedUrl,
    #[source]
    source: Source,
}

/// The proxy at `url`, with its account apart, so that no URL that is printed has it.
fn forward_proxy(upstream: &UpstreamConfig, url: &Url) -> Result<(Proxy, RedactedUrl), ConfigError> {
    let refused = |problem| ConfigError::field(upstream, "http_proxy", problem);
    if url.scheme() != "http" {
        return Err(refused("is not an http URL: expected http://HOST:PORT, also for what is asked over https"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(refused("has more than a host, a port and an account"));
    }
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(std::borrow::Cow::into_owned).map_err(|_| refused("has an account that is not UTF-8"))
    };
    let (username, password) = (decoded(url.username())?, decoded(url.password().unwrap_or_default())?);
    let mut bare = url.clone();
    if bare.set_username("").is_err() || bare.set_password(None).is_err() {
        return Err(refused("has no host"));
    }
    let redacted = RedactedUrl::new(&bare);
    let proxy = Proxy::all(bare).map_err(|_| refused("is not the URL of a proxy"))?;
    let has_account = !username.is_empty() || !password.is_empty();
    Ok((if has_account { proxy.basic_auth(&username, &password) } else { proxy }, redacted))
}

pub(crate) fn check_literal(url: &Url) -> Result<(), NotPublic> {
    let address: IpAddr = match url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    if is_public(address) { Ok(()) } else { Err(NotPublic { host: address.to_string(), address }) }
}

fn address_refused(history: &History, NotPublic { host, address }: NotPublic) -> Error {
    Error::AddressRefused { history: Box::new(history.clone()), host, address }
}

pub(crate) fn timed_out(history: &History, waited: Duration) -> Error {
    Error::Timeout { history: Box::new(history.clone()), waited }
}

/// The first of the causes of an error, itself included, that is of a type.
pub(crate) fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
