//! One accepted connection: the handshake where there is TLS, then the protocol that was agreed on, until the client, a deadline
//! or a shutdown ends it.
//!
//! HTTP/2 belongs to TLS; its preface on a plain socket closes the connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::answerer::Answerer;
use crate::gathered_records::GatheredRecords;
use crate::handshake::shake_hands;
use crate::metrics::ConnectionMetrics;
use crate::sendfile::SendfileSocket;
use crate::tls::Tls;
use crate::write_guard::WriteGuard;
use crate::{http1_connection, http2_connection, limits};

/// The limits of one connection and of all connections of a listener together. `Default` is what we recommend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections served at once. At the limit a small reserve of further ones still gets answers to health checks and
    /// 503 to everything else; beyond that, clients wait to be accepted.
    pub connections_max: usize,
    /// Time for the whole handshake of TLS.
    pub handshake_timeout: Duration,
    /// Time for a whole request head, from its first byte (or from the connection, for the first one).
    pub head_timeout: Duration,
    /// Time that a connection may be silent between two requests.
    pub idle_timeout: Duration,
    /// Time that a client may be waited for while it sends less than a kibibyte of a request body.
    pub body_stall_timeout: Duration,
    /// Time without any progress after which a client that does not read is cut off.
    pub write_stall_timeout: Duration,
    /// Time without any progress after which a response over HTTP/2 is given up that its client opens no window for.
    pub stream_stall_timeout: Duration,
    /// Time that open requests get to finish after a shutdown was asked for.
    pub shutdown_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: limits::CONNECTIONS_MAX,
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
            head_timeout: limits::HEAD_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            body_stall_timeout: limits::BODY_STALL_TIMEOUT,
            write_stall_timeout: limits::WRITE_STALL_TIMEOUT,
            stream_stall_timeout: limits::STREAM_STALL_TIMEOUT,
            shutdown_timeout: limits::SHUTDOWN_TIMEOUT,
        }
    }
}

/// What the connection knows about a request; every request of a listener has it among its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the socket: the client, or the proxy in front of us.
    pub address: SocketAddr,
    /// The connection came in over the limit: only health checks are answered.
    pub over_limit: bool,
    /// The head announced both `Content-Length` and `Transfer-Encoding`.
    pub ambiguous_length: bool,
    /// The connection is one of TLS.
    pub is_encrypted: bool,
    /// The name in the client certificate that was verified in the handshake of TLS.
    pub certificate: Option<Arc<str>>,
}

impl Peer {
    /// The other end of a connection that has just been accepted.
    pub(crate) fn new(address: SocketAddr, over_limit: bool) -> Self {
        Self { address, over_limit, ambiguous_length: false, is_encrypted: false, certificate: None }
    }

    /// The time that its first request may take.
    pub(crate) fn head_timeout(&self, limits: &ConnectionLimits) -> Duration {
        if self.over_limit { limits::RESERVE_HEAD_TIMEOUT.min(limits.head_timeout) } else { limits.head_timeout }
    }
}

/// How a connection is told to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// Finish the request at hand, take no other.
    pub(crate) finish: CancellationToken,
    /// Stop where you are.
    pub(crate) cut: CancellationToken,
}

/// Serves requests of one connection until it ends.
pub(crate) async fn serve_connection(
    stream: TcpStream,
    tls: Option<&Tls>,
    answerer: Answerer,
    mut peer: Peer,
    limits: &ConnectionLimits,
    metrics: &ConnectionMetrics,
    ending: Ending,
) {
    let Some(tls) = tls else {
        let socket = SendfileSocket::new(stream, metrics.clone());
        let outbox = socket.outbox().clone();
        let stream = WriteGuard::new(socket, limits.write_stall_timeout);
        return http1_connection::serve(stream, Some(outbox), answerer, peer, limits, ending).await;
    };
    // In boxes of their own, or each plain connection, idle ones as well, would hold the room for them: 6 KiB of 7.5. The first is
    // given back when the handshake is over.
    let handshake = Box::pin(shake_hands(stream, tls, &peer, limits, metrics));
    let encrypted = tokio::select! {
        encrypted = handshake => encrypted,
        // Nothing was asked yet.
        () = ending.finish.cancelled() => None,
    };
    let Some(encrypted) = encrypted else { return };
    peer.is_encrypted = true;
    peer.certificate = encrypted.certificate;
    if encrypted.is_http2 {
        let stream = GatheredRecords::new(encrypted.stream);
        Box::pin(http2_connection::serve(stream, encrypted.backlog, answerer, peer, limits, ending)).await;
    } else {
        Box::pin(http1_connection::serve(encrypted.stream, None, answerer, peer, limits, ending)).await;
    }
}
