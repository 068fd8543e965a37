//! One accepted connection: HTTP/1.1 until the client, a deadline or a shutdown ends it.
//!
//! HTTP/2 belongs to TLS; its preface on a plain socket closes the connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use crate::guarded_stream::{GuardedStream, Phase};
use crate::limits;
use crate::request_body::RequestBody;

/// The limits of one connection and of all connections of a listener together. `Default` is what we recommend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections served at once. At the limit a small reserve of further ones still gets answers to health checks and
    /// 503 to everything else; beyond that, clients wait to be accepted.
    pub connections_max: usize,
    /// Time for a whole request head, from its first byte (or from the connection, for the first one).
    pub head_timeout: Duration,
    /// Time that a connection may be silent between two requests.
    pub idle_timeout: Duration,
    /// Time that a client may be waited for while it sends less than a kibibyte of a request body.
    pub body_stall_timeout: Duration,
    /// Time without any progress after which a client that does not read is cut off.
    pub write_stall_timeout: Duration,
    /// Time that open requests get to finish after a shutdown was asked for.
    pub shutdown_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: limits::CONNECTIONS_MAX,
            head_timeout: limits::HEAD_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            body_stall_timeout: limits::BODY_STALL_TIMEOUT,
            write_stall_timeout: limits::WRITE_STALL_TIMEOUT,
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

/// How a connection is told to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// Finish the request at hand, take no other.
    pub(crate) finish: CancellationToken,
    /// Stop where you are.
    pub(crate) cut: CancellationToken,
}

/// Serves requests of one connection until it ends.
pub(crate) async fn serve_connection<I, S>(
    stream: I,
    service: S,
    address: SocketAddr,
    over_limit: bool,
    limits: &ConnectionLimits,
    ending: Ending,
) where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let phase = Arc::new(Phase::default());
    let head_timeout =
        if over_limit { limits::RESERVE_HEAD_TIMEOUT.min(limits.head_timeout) } else { limits.head_timeout };
    let stream = GuardedStream::new(stream, Arc::clone(&phase), head_timeout, limits.write_stall_timeout);
    let body_stall_timeout = limits.body_stall_timeout;
    let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
        let ambiguous_length = phase.begin_exchange();
        let peer = Peer { address, over_limit, ambiguous_length, is_encrypted: false, certificate: None };
        let mut request = request.map(|body| watched(body, &phase, body_stall_timeout));
        request.extensions_mut().insert(peer);
        let response = service.clone().oneshot(request);
        let phase = Arc::clone(&phase);
        async move {
            let mut response = response.await?;
            if phase.is_body_abandoned() {
                // The rest of the body is in the way of the next request: a client that is not told would send one.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| ExchangeBody { body, phase }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The guarded stream bounds a head that has begun; what is left for the library's timer is the silence before.
        .header_read_timeout(limits.idle_timeout)
        .max_header_size(limits::HEAD_BYTES_MAX)
        .keep_alive(!over_limit)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = ending.finish.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection => outcome,
                () = ending.cut.cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(client = %address, error = &error as &dyn std::error::Error, "connection ended early");
    }
}

fn watched(body: Incoming, phase: &Arc<Phase>, stall_timeout: Duration) -> Body {
    // Most requests have none: they need no watching and no allocation.
    if http_body::Body::is_end_stream(&body) {
        return Body::empty();
    }
    Body::new(RequestBody::new(body, Arc::clone(phase), stall_timeout))
}

/// A response body that tells the connection when the exchange is over. It changes nothing else: the size hint decides
/// between `Content-Length` and chunks, and is passed on exactly.
struct ExchangeBody {
    body: Body,
    phase: Arc<Phase>,
}

impl http_body::Body for ExchangeBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ExchangeBody {
    fn drop(&mut self) {
        self.phase.end_exchange();
    }
}
