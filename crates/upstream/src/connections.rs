//! The HTTP clients below everything: one whose connections lead to public addresses alone, one for what is listed.
//!
//! They share nothing, so that a connection opened to a listed private host is never found in the pool by a
//! request that must not go there. They follow no redirects, decode nothing, keep no cookies and use no proxy.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use reqwest::{Client, Response};
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use crate::address::is_public;
use crate::config::{ConfigError, Lookup, Timeouts};
use crate::error::{Error, Source};
use crate::history::History;
use crate::limits::{IDLE_CONNECTIONS_MAX, IDLE_TIME_MAX};
use crate::resolver::{NotPublic, Resolver};

const USER_AGENT: &str = concat!("entrepot/", env!("CARGO_PKG_VERSION"));

/// Both clients.
#[derive(Debug)]
pub(crate) struct Connections {
    guarded: Client,
    listed: Client,
    timeouts: Timeouts,
}

impl Connections {
    pub(crate) fn new(timeouts: Timeouts, lookup: &Lookup) -> Result<Self, ConfigError> {
        let tls = tls().map_err(ConfigError::Tls)?;
        let client = |is_guarded| {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .dns_resolver(Arc::new(Resolver { is_guarded, lookup: lookup.clone() }))
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .no_proxy()
                .http1_only()
                .user_agent(USER_AGENT)
                .connect_timeout(timeouts.connect)
                .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
                .pool_idle_timeout(IDLE_TIME_MAX)
                .build()
                .map_err(|error| ConfigError::Client(io::Error::other(error)))
        };
        Ok(Self { guarded: client(true)?, listed: client(false)?, timeouts })
    }

    /// How long to wait for what.
    pub(crate) const fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Sends one request and waits for the head of its answer, whatever its status.
    pub(crate) async fn send(
        &self,
        (method, url): (&Method, &Url),
        headers: HeaderMap,
        is_guarded: bool,
        history: &mut History,
    ) -> Result<Response, Error> {
        history.attempt(method, url);
        if is_guarded {
            // A literal address is connected to without asking the resolver.
            check_literal(url).map_err(|refused| address_refused(history, refused))?;
        }
        let client = if is_guarded { &self.guarded } else { &self.listed };
        let sending = client.request(method.clone(), url.clone()).headers(headers).send();
        match tokio::time::timeout(self.timeouts.first_byte, sending).await {
            Ok(Ok(response)) => {
                history.got(response.status().as_u16());
                Ok(response)
            }
            Ok(Err(error)) => Err(failure(history, error)),
            Err(_) => Err(timed_out(history, self.timeouts.first_byte)),
        }
    }
}

/// The roots of the system, or those that Mozilla trusts where the system has none.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn check_literal(url: &Url) -> Result<(), NotPublic> {
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

/// What went wrong before the head of an answer came.
fn failure(history: &History, error: reqwest::Error) -> Error {
    if let Some(refused) = cause::<NotPublic>(&error) {
        return address_refused(history, refused.clone());
    }
    let history = Box::new(history.clone());
    let is_connect = error.is_connect();
    // The URL in the library's error has its query, where signatures are.
    let source: Source = Arc::new(error.without_url());
    if is_connect { Error::Unreachable { history, source } } else { Error::Interrupted { history, source } }
}

fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
