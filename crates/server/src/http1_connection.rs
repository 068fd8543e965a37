//! HTTP/1.1 on a stream, plain or decrypted: one exchange after the other.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::answerer::Answerer;
use crate::connection::{ConnectionLimits, Ending, Peer};
use crate::guarded_stream::{GuardedStream, Phase};
use crate::limits::{ENCRYPTED_QUEUE_BYTES, HEAD_BYTES_MAX};
use crate::request_body::watched;
use crate::sendfile::Outbox;

/// Serves requests until the connection ends. With an outbox, which is that of the socket below, their answers may be parts of files.
pub(crate) async fn serve<I>(
    stream: I,
    outbox: Option<Outbox>,
    answerer: Answerer,
    peer: Peer,
    limits: &ConnectionLimits,
    ending: Ending,
) where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let phase = Arc::new(Phase::default());
    let stream = GuardedStream::new(stream, Arc::clone(&phase), peer.head_timeout(limits));
    let (address, over_limit, stall_timeout) = (peer.address, peer.over_limit, limits.body_stall_timeout);
    let is_encrypted = peer.is_encrypted;
    let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
        let ambiguous_length = phase.begin_exchange();
        let mut request = request.map(|body| watched(body, Some(Arc::clone(&phase)), stall_timeout));
        request.extensions_mut().insert(Peer { ambiguous_length, ..peer.clone() });
        if let Some(outbox) = &outbox {
            request.extensions_mut().insert(outbox.clone());
        }
        let response = answerer.answer(request);
        let phase = Arc::clone(&phase);
        async move {
            let mut response = response.await;
            if phase.is_body_abandoned() {
                // The rest of the body is in the way of the next request: a client that is not told would send one.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| ExchangeBody { body, phase, failure: None }))
        }
    });
    let mut builder = http1::Builder::new();
    if is_encrypted {
        builder.max_buf_size(ENCRYPTED_QUEUE_BYTES);
    }
    let connection = builder
        .timer(TokioTimer::new())
        // The guarded stream bounds a head that has begun; what is left for the library's timer is the silence before.
        .header_read_timeout(limits.idle_timeout)
        .max_header_size(HEAD_BYTES_MAX)
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

/// A response body that tells the connection when the exchange is over, and that fails only when all before it has left. It changes
/// nothing else: the size hint decides between `Content-Length` and chunks, and is passed on exactly.
struct ExchangeBody {
    body: Body,
    phase: Arc<Phase>,
    /// Why the body ends, while what it had before that is on its way.
    failure: Option<axum::Error>,
}

impl http_body::Body for ExchangeBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.failure.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Err(failure)) => {
                    self.failure = Some(failure);
                    self.phase.await_flush();
                }
                outcome => return Poll::Ready(outcome),
            }
        }
        if self.phase.is_flush_awaited() { Poll::Pending } else { Poll::Ready(self.failure.take().map(Err)) }
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
