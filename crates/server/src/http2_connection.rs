//! HTTP/2 on a decrypted stream: many exchanges at once.
//!
//! The library frames, keeps the windows and bounds what a hostile client may make of them. What it lacks is time. A client
//! may open a window of nothing and leave, on a socket that is in the best of health. So here every exchange has its own watch
//! over the client's pace, and the connection one over silence:
//!
//! - a request body that does not come on ends in [`BodyStalled`](crate::BodyStalled), as over HTTP/1;
//! - a response of which no piece is taken for a time is reset, and the others go on;
//! - a socket that takes nothing is the affair of the `write_guard` below;
//! - a connection without a request is told to go, and then closed.
//!
//! All exchanges run in the task of their connection. When it ends, so do they.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::answerer::Answerer;
use crate::connection::{ConnectionLimits, Ending, Peer};
use crate::deadline::Deadline;
use crate::limits;
use crate::request_body::watched;
use crate::turn::Turns;
use crate::write_guard::Backlog;

tokio::task_local! {
    /// The pace of the exchange that is being polled. It is how a response finds the watch that was set over it: the library
    /// stands between the two.
    static PACE: Arc<Pace>;
}

/// Serves requests until the connection ends.
pub(crate) async fn serve<I>(
    stream: I,
    backlog: Backlog,
    answerer: Answerer,
    peer: Peer,
    limits: &ConnectionLimits,
    ending: Ending,
) where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (address, over_limit, stall_timeout) = (peer.address, peer.over_limit, limits.body_stall_timeout);
    let first_timeout = peer.head_timeout(limits);
    let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
        let is_head = request.method() == Method::HEAD;
        let mut request = request.map(|body| watched(body, None, stall_timeout));
        request.extensions_mut().insert(peer.clone());
        let response = answerer.answer(request);
        async move { Ok::<_, Infallible>(paced(response.await, is_head)) }
    });
    let newcomers = Newcomers { begun: Arc::default(), stall_timeout: limits.stream_stall_timeout };
    let connection = builder(newcomers.clone()).serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    let mut exchanges = Exchanges::new(newcomers, backlog, first_timeout);
    let (turns, mut is_ending) = (Turns::default(), false);
    loop {
        let step = tokio::select! {
            biased;
            () = ending.cut.cancelled() => return,
            () = ending.finish.cancelled(), if !is_ending => Step::End,
            step = std::future::poll_fn(|context| {
                turns.poll(context, |context| exchanges.poll(context, connection.as_mut()))
            }) => step,
        };
        match step {
            Step::Ended(Ok(())) => return,
            Step::Ended(Err(error)) => {
                tracing::debug!(client = %address, error = &error as &dyn std::error::Error, "connection ended early");
                return;
            }
            Step::Begun if over_limit && !is_ending => {}
            Step::Begun => {
                exchanges.silence_max = if is_ending { limits::LINGER_TIMEOUT } else { limits.idle_timeout };
                continue;
            }
            // It has never asked for anything, or was told to go and does not.
            Step::Silent if is_ending || !exchanges.has_begun => return,
            Step::Silent | Step::End => {}
        }
        is_ending = true;
        exchanges.silence_max = limits::LINGER_TIMEOUT;
        exchanges.silence.disarm();
        connection.as_mut().graceful_shutdown();
    }
}

fn builder(newcomers: Newcomers) -> http2::Builder<Newcomers> {
    let mut builder = http2::Builder::new(newcomers);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS_MAX)
        .max_pending_accept_reset_streams(limits::STREAMS_TAKEN_BACK_MAX)
        .max_local_error_reset_streams(limits::STREAM_ERRORS_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_send_buf_size(limits::STREAM_SEND_BUFFER)
        .keep_alive_interval(limits::PING_INTERVAL)
        .keep_alive_timeout(limits::PING_TIMEOUT);
    builder
}

/// As for HTTP/1.
#[expect(clippy::cast_possible_truncation, reason = "64 KiB")]
const HEADER_LIST_MAX: u32 = limits::HEAD_BYTES_MAX as u32;

/// What has become of a connection.
enum Step {
    /// It is over.
    Ended(hyper::Result<()>),
    /// Requests have come in.
    Begun,
    /// It has been without a request for too long.
    Silent,
    /// It has to be ended.
    End,
}

/// Where the library leaves the exchanges that it begins, until the connection takes them up.
#[derive(Clone)]
struct Newcomers {
    begun: Arc<Mutex<Vec<Exchange>>>,
    stall_timeout: Duration,
}

impl Newcomers {
    fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Newcomers {
    fn execute(&self, exchange: F) {
        let pace = Arc::<Pace>::default();
        let exchange = Exchange {
            inner: Box::pin(PACE.scope(Arc::clone(&pace), exchange)),
            pace,
            pieces: 0,
            deadline: Deadline::default(),
            stall_timeout: self.stall_timeout,
        };
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
    }
}

/// The open exchanges of a connection, and how long it has been without any.
struct Exchanges {
    newcomers: Newcomers,
    running: FuturesUnordered<Exchange>,
    has_begun: bool,
    backlog: Backlog,
    silence_max: Duration,
    silence: Deadline,
}

impl Exchanges {
    fn new(newcomers: Newcomers, backlog: Backlog, silence_max: Duration) -> Self {
        let (running, silence) = (FuturesUnordered::new(), Deadline::default());
        Self { newcomers, running, has_begun: false, backlog, silence_max, silence }
    }

    /// Moves the connection and everything on it forward.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    ) -> Poll<Step> {
        if let Poll::Ready(outcome) = connection.poll(context) {
            return Poll::Ready(Step::Ended(outcome));
        }
        let begun = self.newcomers.take();
        if !begun.is_empty() {
            self.has_begun = true;
            self.silence.disarm();
            self.running.extend(begun);
            return Poll::Ready(Step::Begun);
        }
        // What they have to send wakes the connection.
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(context) {}
        // What is still on its way to the client is no silence either.
        if !self.running.is_empty() || self.backlog.is_there() {
            self.silence.disarm();
            return Poll::Pending;
        }
        if !self.silence.is_armed() {
            self.silence.arm(self.silence_max);
        }
        ready!(self.silence.poll_passed(context));
        self.silence.disarm();
        Poll::Ready(Step::Silent)
    }
}

/// One request and its answer, until the last byte was handed over to the connection.
struct Exchange {
    inner: Pin<Box<dyn Future<Output = ()> + Send>>,
    pace: Arc<Pace>,
    /// The piece that the client was waited for when the deadline was set.
    pieces: u64,
    deadline: Deadline,
    stall_timeout: Duration,
}

impl Future for Exchange {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.inner.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(pieces) = self.pace.awaited_piece() else {
            self.deadline.disarm();
            return Poll::Pending;
        };
        if !self.deadline.is_armed() || pieces != self.pieces {
            self.pieces = pieces;
            let stall_timeout = self.stall_timeout;
            self.deadline.arm(stall_timeout);
        }
        ready!(self.deadline.poll_passed(context));
        // Who drops an exchange resets its stream.
        tracing::debug!("the client takes nothing of a response, which ends here");
        Poll::Ready(())
    }
}

/// Who is waited for in an exchange: the client, to take the piece that it was given last, or ourselves.
#[derive(Debug, Default)]
struct Pace {
    is_awaited: AtomicBool,
    pieces: AtomicU64,
}

impl Pace {
    /// A piece of the response was handed out.
    fn handed_out(&self) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
        self.is_awaited.store(true, Ordering::Relaxed);
    }

    /// The next one is asked for: the client has room for it.
    fn taken(&self) {
        self.is_awaited.store(false, Ordering::Relaxed);
    }

    /// The number of the piece that the client does not take.
    fn awaited_piece(&self) -> Option<u64> {
        self.is_awaited.load(Ordering::Relaxed).then(|| self.pieces.load(Ordering::Relaxed))
    }
}

/// The response as the library sends it. Its head is what it would be over HTTP/1: the length is told wherever it is known, and
/// `HEAD` has no body.
fn paced(response: Response<Body>, is_head: bool) -> Response<PacedBody> {
    let pace = PACE.try_with(Arc::clone).unwrap_or_default();
    let (mut head, body) = response.into_parts();
    let has_no_length = head.status.is_informational()
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || head.headers.contains_key(CONTENT_LENGTH);
    // Of an empty body to HEAD nobody knows whether it stands for an empty one.
    let length = body.size_hint().exact().filter(|length| !has_no_length && (*length > 0 || !is_head));
    if let Some(length) = length {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    let body = if is_head { Body::empty() } else { body };
    Response::from_parts(head, PacedBody { body, rest: Bytes::new(), failure: None, pace })
}

/// A response body in pieces that a client takes at once or not at all, and that tells when one was taken.
struct PacedBody {
    body: Body,
    rest: Bytes,
    /// Why the body ends, while the connection has its turn: a stream that is reset takes with it what has not left, its head first.
    failure: Option<axum::Error>,
    pace: Arc<Pace>,
}

impl http_body::Body for PacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.pace.taken();
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(failure)) => {
                    self.failure = Some(failure);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(limits::STREAM_PIECE);
        let piece = self.rest.split_to(length);
        self.pace.handed_out();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    /// Exact before the first piece, which is when it is asked for.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
