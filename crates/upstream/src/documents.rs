//! Small documents at addresses that are not registries, such as the keys of an identity provider.
//!
//! Who believes such a document believes whoever can choose where it comes from. So nothing leads anywhere: **no redirect is
//! followed**, and only the place that the operator lists, and the hosts that he trusts beside it, may have an address that is not public. The rest is as for upstreams:
//! the same connections, the same guard, the same errors.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use crate::answer::refusal;
use crate::body;
use crate::config::{ConfigError, Lookup, Timeouts};
use crate::connections::{Connections, Foundation, check_literal, timed_out};
use crate::error::{Error, RedirectError};
use crate::history::History;
use crate::limits::{FOREIGN_DOCUMENT_BYTES_MAX, FOREIGN_DOCUMENT_TIME_MAX};
use crate::reach::{Reach, TrustedHost};
use crate::resolver::Guard;

/// Fetches documents of one place, and of where it says that they are.
#[derive(Debug)]
pub struct Documents {
    name: Arc<str>,
    reach: Reach,
    connections: Connections,
}

impl Documents {
    /// For the documents of `home`, which the operator lists. An `http` one has to have private addresses. `ca` holds
    /// certificates of authorities in PEM that are trusted beside those of the system, wherever a document is; `trusted_hosts`, each
    /// `HOST` or `HOST:PORT`, may have private addresses as well; `name` is for messages.
    ///
    /// No document takes longer than five seconds, however long `timeouts` are.
    ///
    /// # Errors
    /// A URL, a trusted host or a `ca` that cannot be used.
    pub fn new(
        name: Arc<str>,
        home: Url,
        ca: Option<&[u8]>,
        trusted_hosts: &[String],
        timeouts: Timeouts,
        lookup: Lookup,
    ) -> Result<Self, ConfigError> {
        let refused = |problem| Err(ConfigError::Documents { problem });
        if home.host().is_none() || !home.username().is_empty() || home.password().is_some() {
            return refused("has a URL that is more or less than scheme, host, port and path");
        }
        if home.query().is_some() || home.fragment().is_some() {
            return refused("has a URL that has a query or a fragment");
        }
        let guard = match home.scheme() {
            "https" => Guard::None,
            "http" if !has_public_literal(&home) => Guard::Private,
            "http" => return refused("has a URL that is http, although its address is public: expected https"),
            _ => return refused("has a URL that is neither https nor http"),
        };
        let trusted: Option<Vec<_>> = trusted_hosts.iter().map(|entry| TrustedHost::parse(entry)).collect();
        let Some(trusted) = trusted else { return refused("has trusted hosts that are neither HOST nor HOST:PORT") };
        let timeouts = Timeouts {
            connect: timeouts.connect.min(FOREIGN_DOCUMENT_TIME_MAX),
            first_byte: timeouts.first_byte.min(FOREIGN_DOCUMENT_TIME_MAX),
            stall: timeouts.stall.min(FOREIGN_DOCUMENT_TIME_MAX),
            document: timeouts.document.min(FOREIGN_DOCUMENT_TIME_MAX),
        };
        let connections = Foundation::new(timeouts, lookup).for_documents(ca, guard)?;
        Ok(Self { name, reach: Reach::listed(home, trusted), connections })
    }

    /// Whether a document at `url` is asked for at all: over https, or where the operator's own URL has its scheme, host and port.
    pub fn may_get(&self, url: &Url) -> bool {
        let is_bare = url.username().is_empty() && url.password().is_none();
        is_bare && url.host().is_some() && (url.scheme() == "https" || self.reach.is_home(url))
    }

    /// The document at `url`, at most 256 KiB of it.
    ///
    /// # Errors
    /// Whatever came instead of it. A redirect is [`Error::BadRedirect`], and nothing is asked where it leads.
    pub async fn get(&self, url: &Url) -> Result<Bytes, Error> {
        let mut history = History::new(Arc::clone(&self.name), Method::GET, url);
        if !self.may_get(url) {
            return Err(Error::BadRedirect { history: Box::new(history), reason: RedirectError::Insecure });
        }
        let fetched = tokio::time::timeout(FOREIGN_DOCUMENT_TIME_MAX, self.fetch(url, &mut history)).await;
        fetched.unwrap_or_else(|_| Err(timed_out(&history, FOREIGN_DOCUMENT_TIME_MAX)))
    }

    async fn fetch(&self, url: &Url, history: &mut History) -> Result<Bytes, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let destination = self.reach.destination(url);
        let mut response = self.connections.send((&Method::GET, url), headers, destination, history).await?;
        if response.status().is_redirection() {
            return Err(Error::BadRedirect { history: Box::new(history.clone()), reason: RedirectError::NotFollowed });
        }
        if !response.status().is_success() {
            return Err(refusal(response, history.clone(), self.connections.timeouts()).await);
        }
        let time_max: Duration = self.connections.timeouts().document;
        body::document(&mut response, FOREIGN_DOCUMENT_BYTES_MAX, time_max, history).await
    }
}

/// Whether the host of `url` is an address, and a public one. A name is judged when it is resolved.
fn has_public_literal(url: &Url) -> bool {
    !matches!(url.host(), Some(url::Host::Domain(_))) && check_literal(url).is_ok()
}
