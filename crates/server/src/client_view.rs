//! How the client sees this server, and where the client is: also behind reverse proxies.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;

use crate::connection::Peer;
use crate::door::own_host;

/// What is known of the way between a client and this server; every request has it among its extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientView {
    /// The client: the other end of the socket, or whom a trusted proxy names. `None` for the server's own socket.
    pub address: Option<IpAddr>,
    /// Scheme, host and port by which the client has reached this server, without a slash at the end.
    pub base_url: String,
    /// The name in the client certificate, which was verified.
    pub certificate: Option<Arc<str>>,
    /// The request came in by the server's own socket, which the file system guards.
    pub is_operator: bool,
}

impl ClientView {
    /// What a request says, for a server without trusted proxies and without a URL of its own.
    pub(crate) fn of(head: &Parts) -> Self {
        if let Some(view) = head.extensions.get::<Self>() {
            return view.clone();
        }
        let peer = head.extensions.get::<Peer>();
        Self {
            address: peer.map(|peer| peer.address.ip().to_canonical()),
            base_url: format!("http://{}", own_host(head).unwrap_or("localhost")),
            certificate: peer.and_then(|peer| peer.certificate.clone()),
            is_operator: false,
        }
    }
}
