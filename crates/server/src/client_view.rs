//! How the client sees this server, and where the client is: also behind reverse proxies.
//!
//! A proxy says in `X-Forwarded-*` what it was asked. Anybody can write these headers, so they are read only of proxies that
//! the configuration names; there are none by default. Headers that say *who* somebody is (`X-Remote-User` and its like) are
//! never read at all.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::Request;
use http::request::Parts;
use http::uri::Authority;
use http::{Extensions, HeaderMap, HeaderName, Uri};

use crate::connection::Peer;
use crate::door::own_host;
use crate::hygiene::authority;
use crate::network::Network;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The host of a client that named none: HTTP/1.0 need not.
const NO_HOST: &str = "localhost";

/// What the operator has said about the way between clients and this server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewSettings {
    /// The scheme, host and port by which clients reach this server, as `https://host[:port]`, whatever a request says.
    pub public_url: Option<String>,
    /// The proxies whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<Network>,
}

/// What is known of the way between a client and this server; every request has it among its extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientView {
    /// The client: the other end of the socket, or whom a trusted proxy names. `None` for the server's own socket.
    pub address: Option<IpAddr>,
    /// Scheme, host and port by which the client has reached this server, without a slash at the end.
    pub base_url: BaseUrl,
    /// The name in the client certificate, which was verified.
    pub certificate: Option<Arc<str>>,
    /// The request came in by the server's own socket, which the file system guards.
    pub is_operator: bool,
}

impl ClientView {
    /// What was noted, or what the request says to a server that was told nothing.
    pub(crate) fn of(head: &Parts) -> Self {
        head.extensions.get::<Self>().cloned().unwrap_or_else(|| ViewSettings::default().view(head))
    }
}

/// A scheme, a host and perhaps a port. Most requests are answered without any: it becomes text where one has to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseUrl {
    /// As it was told.
    Told(Arc<str>),
    /// As the client has it.
    Seen {
        /// `http` or `https`.
        scheme: &'static str,
        /// The host, with its port where the client has named one; `None`: it has named none that can be read.
        host: Option<Authority>,
    },
}

impl BaseUrl {
    /// The host, with its port, that was read from the request and found good.
    pub(crate) fn seen_host(&self) -> Option<&str> {
        match self {
            Self::Told(_) => None,
            Self::Seen { host, .. } => host.as_ref().map(Authority::as_str),
        }
    }
}

impl Default for BaseUrl {
    fn default() -> Self {
        Self::Told("".into())
    }
}

impl From<&str> for BaseUrl {
    fn from(text: &str) -> Self {
        Self::Told(text.into())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(text) => formatter.write_str(text),
            Self::Seen { scheme, host } => {
                write!(formatter, "{scheme}://{}", host.as_ref().map_or(NO_HOST, Authority::as_str))
            }
        }
    }
}

impl PartialEq<&str> for BaseUrl {
    fn eq(&self, text: &&str) -> bool {
        match self {
            Self::Told(told) => **told == **text,
            Self::Seen { scheme, host } => {
                let rest = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
                rest == Some(host.as_ref().map_or(NO_HOST, Authority::as_str))
            }
        }
    }
}

impl ViewSettings {
    /// Notes the [`ClientView`] of a request, for all that come after it.
    pub(crate) fn note(&self, request: &mut Request) {
        // Extensions come from our own listeners alone. That of the operator's socket knows better than any header.
        if request.extensions().get::<ClientView>().is_some_and(|view| view.is_operator) {
            return;
        }
        let view = self.seen(request.extensions(), request.uri(), request.headers());
        request.extensions_mut().insert(view);
    }

    fn view(&self, head: &Parts) -> ClientView {
        self.seen(&head.extensions, &head.uri, &head.headers)
    }

    fn seen(&self, extensions: &Extensions, uri: &Uri, headers: &HeaderMap) -> ClientView {
        let peer = extensions.get::<Peer>();
        let peer_address = peer.map(|peer| peer.address.ip().to_canonical());
        let is_forwarded = peer_address.is_some_and(|address| self.trusts(address));
        ClientView {
            address: peer_address.map(|address| self.client(address, headers)),
            base_url: self.base_url((uri, headers), peer.is_some_and(|peer| peer.is_encrypted), is_forwarded),
            certificate: peer.and_then(|peer| peer.certificate.clone()),
            is_operator: false,
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(address))
    }

    /// Each proxy adds on the right whom it was asked by. So the list is read from there, for as long as he who wrote an
    /// entry is trusted; what stands left of that is hearsay.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        for line in headers.get_all(FORWARDED_FOR).iter().rev() {
            // An entry that nobody can read ends the list: whoever it names, the last one that is known has let him in.
            let Ok(line) = line.to_str() else { return client };
            for entry in line.rsplit(',') {
                if !self.trusts(client) {
                    return client;
                }
                let Some(address) = forwarded_address(entry) else { return client };
                client = address;
            }
        }
        client
    }

    fn base_url(&self, (uri, headers): (&Uri, &HeaderMap), is_encrypted: bool, is_forwarded: bool) -> BaseUrl {
        if let Some(url) = &self.public_url {
            return url.trim_end_matches('/').into();
        }
        let scheme = if is_encrypted { "https" } else { "http" };
        let own = || own_host(uri, headers).and_then(authority);
        if !is_forwarded {
            return BaseUrl::Seen { scheme, host: own() };
        }
        let scheme = last_word(headers, &FORWARDED_PROTO).and_then(forwarded_scheme).unwrap_or(scheme);
        let host = last_word(headers, &FORWARDED_HOST).and_then(authority).or_else(own);
        BaseUrl::Seen { scheme, host }
    }
}

/// The end of a list: what the proxy next to us has said. What stands before it may be its client's.
fn last_word<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let line = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    line.rsplit(',').next().map(str::trim)
}

fn forwarded_scheme(word: &str) -> Option<&'static str> {
    ["https", "http"].into_iter().find(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// An address; some proxies write the port, too.
fn forwarded_address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address: IpAddr = entry.parse().ok().or_else(with_port).or_else(in_brackets)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests;
