//! The handshake of TLS, and what comes in its place.
//!
//! It runs in the task of its connection and in its slot, so that nobody who is slow at it, or silent, keeps others out. What is no
//! TLS ends without a word: scanners come by every day, and none of them reads the log. Only plain HTTP is answered, because
//! that is a person who has forgotten the `s`.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::client_name;
use crate::connection::{ConnectionLimits, Peer};
use crate::limits::{LINGER_TIMEOUT, RESERVE_HEAD_TIMEOUT};
use crate::metrics::ConnectionMetrics;
use crate::tls::{ALPN_HTTP2, Tls};
use crate::write_guard::{Backlog, WriteGuard};

/// The first byte of a client that speaks TLS: a record of the handshake.
const TLS_HANDSHAKE: u8 = 22;

/// What is told to a client that speaks HTTP to TLS.
const USE_HTTPS: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 62\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks TLS: write https:// in place of http:// here\n";

/// A connection whose handshake is over.
pub(crate) struct Encrypted {
    pub(crate) stream: TlsStream<WriteGuard<TcpStream>>,
    /// Of the socket below.
    pub(crate) backlog: Backlog,
    /// What was agreed on.
    pub(crate) is_http2: bool,
    /// The name in the certificate of the client, which was verified.
    pub(crate) certificate: Option<Arc<str>>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("the client speaks plain HTTP")]
    PlainHttp,
    #[error("the client left without a word")]
    Silent,
    #[error("what the client sends is not TLS")]
    Garbage,
    #[error("the handshake took too long")]
    TimedOut,
    #[error("the handshake failed")]
    Failed(#[source] io::Error),
}

/// Agrees with a client on a protocol. `None`: it is not to be agreed with, and has been dealt with.
pub(crate) async fn shake_hands(
    mut stream: TcpStream,
    tls: &Tls,
    peer: &Peer,
    limits: &ConnectionLimits,
    metrics: &ConnectionMetrics,
) -> Option<Encrypted> {
    let timeout = limits.handshake_timeout;
    let timeout = if peer.over_limit { timeout.min(RESERVE_HEAD_TIMEOUT) } else { timeout };
    let begun = tokio::time::timeout(timeout, async {
        match first_byte(&stream).await? {
            TLS_HANDSHAKE => {}
            byte if byte.is_ascii_alphabetic() => {
                use_https(&mut stream).await;
                return Err(HandshakeError::PlainHttp);
            }
            _ => return Err(HandshakeError::Garbage),
        }
        let stream = WriteGuard::new(stream, limits.write_stall_timeout);
        let backlog = stream.backlog();
        let stream = TlsAcceptor::from(tls.config()).accept(stream).await.map_err(HandshakeError::Failed)?;
        Ok(encrypted(stream, backlog))
    });
    let error = match begun.await.unwrap_or(Err(HandshakeError::TimedOut)) {
        Ok(encrypted) => return Some(encrypted),
        Err(error) => error,
    };
    tracing::debug!(client = %peer.address, error = &error as &dyn std::error::Error, "no TLS with this client");
    // Load balancers look whether somebody listens: that is no failure.
    if !matches!(error, HandshakeError::Silent) {
        metrics.handshake_failed();
    }
    None
}

fn encrypted(stream: TlsStream<WriteGuard<TcpStream>>, backlog: Backlog) -> Encrypted {
    let (_, session) = stream.get_ref();
    let is_http2 = session.alpn_protocol() == Some(ALPN_HTTP2);
    let certificate = session.peer_certificates().and_then(|chain| client_name(chain.first()?));
    Encrypted { stream, backlog, is_http2, certificate }
}

/// What the client begins with. It is left where it is.
async fn first_byte(stream: &TcpStream) -> Result<u8, HandshakeError> {
    let mut byte = [0];
    match stream.peek(&mut byte).await {
        Ok(0) => Err(HandshakeError::Silent),
        Ok(_) => Ok(byte[0]),
        Err(error) => Err(HandshakeError::Failed(error)),
    }
}

/// Tells a client of HTTP what to do. The rest of its request is read and forgotten for a moment: a connection that is closed
/// before is reset, and the answer lost.
async fn use_https(stream: &mut TcpStream) {
    let told = async {
        stream.write_all(USE_HTTPS.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // Whether it has heard us is its own business.
    let _ = tokio::time::timeout(LINGER_TIMEOUT, told).await;
}
