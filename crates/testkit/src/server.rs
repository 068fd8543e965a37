//! The HTTP server below the fake upstream: connections, requests in, replies out.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::fake::Shared;
use crate::reply::{Delivery, Reply};
use crate::seen::Seen;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The largest piece of a body that leaves at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// The largest form that is read.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// Listens on `address`, and serves until the task is aborted; every connection ends with it.
pub(crate) async fn serve(
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    #[expect(clippy::disallowed_methods, reason = "the fake upstream holds the task and ends it")]
    let server = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            shared.count_connection();
            let (shared, tls) = (Arc::clone(&shared), tls.clone());
            connections.spawn(async move {
                let Some(tls) = tls else { return serve_connection(stream, false, shared).await };
                // A client that does not like the certificate leaves, which is what was wanted.
                if let Ok(stream) = tls.accept(stream).await {
                    let has_certificate = stream.get_ref().1.peer_certificates().is_some();
                    serve_connection(stream, has_certificate, shared).await;
                }
            });
            while connections.try_join_next().is_some() {}
        }
    });
    Ok((address, server))
}

async fn serve_connection<S>(stream: S, has_certificate: bool, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| respond(request, has_certificate, Arc::clone(&shared)));
    // A connection that a test breaks ends in an error here, which is what was wanted.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    request: Request<Incoming>,
    has_certificate: bool,
    shared: Arc<Shared>,
) -> Result<Response<Body>, Infallible> {
    let mut seen = Seen {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: request.headers().clone(),
        has_certificate,
    };
    if seen.is_post() {
        // A form that breaks off is as good as none.
        let form = Limited::new(request.into_body(), FORM_BYTES_MAX).collect().await;
        seen.query = form.map(|form| String::from_utf8_lossy(&form.to_bytes()).into_owned()).unwrap_or_default();
    }
    let is_head = seen.is_head();
    let reply = shared.reply(&seen);
    Ok(send(reply, is_head).await)
}

/// The response that a reply becomes, once nothing holds it back any more.
pub(crate) async fn send(mut reply: Reply, is_head: bool) -> Response<Body> {
    if let Some(gate) = &reply.delivery.silence {
        gate.pass().await;
    }
    if !reply.delivery.is_chunked && !reply.headers.contains_key(CONTENT_LENGTH) {
        reply.headers.insert(CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
    }
    let Reply { status, headers, body, delivery, .. } = reply;
    let body = if is_head {
        Full::new(Bytes::new()).map_err(io::Error::other).boxed_unsync()
    } else {
        deliver(body, delivery)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What leaves next.
struct Leaving {
    rest: Bytes,
    sent: usize,
    delivery: Delivery,
}

/// A body that leaves as `delivery` says.
fn deliver(body: Bytes, delivery: Delivery) -> Body {
    let leaving = Leaving { rest: body, sent: 0, delivery };
    let pieces = stream::unfold(Some(leaving), |leaving| async move {
        let mut leaving = leaving?;
        match leaving.next().await? {
            Ok(piece) => Some((Ok(Frame::data(piece)), Some(leaving))),
            Err(error) => Some((Err(error), None)),
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

impl Leaving {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.delivery.cut_after == Some(self.sent) {
            // A body that pauses is flushed: what was sent leaves before the connection breaks.
            tokio::task::yield_now().await;
            return Some(Err(io::Error::other("cut by the test")));
        }
        if self.delivery.stall.as_ref().is_some_and(|(after, _)| *after == self.sent)
            && let Some((_, gate)) = self.delivery.stall.take()
        {
            gate.pass().await;
        }
        if self.rest.is_empty() {
            return None;
        }
        let (piece_max, pause) = self.delivery.pace.unwrap_or((PIECE_BYTES_MAX, Duration::ZERO));
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let stops = [self.delivery.cut_after, self.delivery.stall.as_ref().map(|(after, _)| *after)];
        let until_stop = stops.into_iter().flatten().filter_map(|stop| stop.checked_sub(self.sent)).min();
        let length = piece_max.min(self.rest.len()).min(until_stop.unwrap_or(usize::MAX));
        self.sent += length;
        Some(Ok(self.rest.split_to(length)))
    }
}
