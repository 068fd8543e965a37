//! The body of a request as it comes from the socket: one that must make progress.
//!
//! Only time spent waiting for the client counts. A handler that is busy with its disk for minutes does not turn a
//! fast client into a slow one.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::guarded_stream::Phase;
use crate::limits::BODY_BYTES_MIN;

/// The client was waited for too long; what it had sent until then is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client sent too little of the body in {} seconds, {received} bytes in all", waited.as_secs())]
pub struct BodyStalled {
    /// Bytes of the body that had arrived.
    pub received: u64,
    /// How long the client was waited for.
    pub waited: Duration,
}

impl BodyStalled {
    /// Finds out whether a failure to read a request body was this one.
    pub fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(stalled) = error.downcast_ref() {
                return Some(stalled);
            }
            cause = error.source();
        }
        None
    }
}

/// Why a request body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError<E: Error + 'static> {
    /// The client is too slow.
    #[error("request body stalled")]
    Stalled(#[source] BodyStalled),
    /// The connection or the framing failed.
    #[error("cannot read the request body")]
    Unreadable(#[source] E),
}

/// The body of a request as handlers get it.
pub(crate) fn watched(body: Incoming, phase: Option<Arc<Phase>>, stall_timeout: Duration) -> axum::body::Body {
    // Most requests have none: they need no watching and no allocation.
    if body.is_end_stream() {
        return axum::body::Body::empty();
    }
    axum::body::Body::new(RequestBody::new(body, phase, stall_timeout))
}

/// A body that ends in [`BodyStalled`] when its client is too slow, and tells the connection when it was dropped unread.
pub(crate) struct RequestBody<B: Body + Unpin> {
    body: B,
    /// Is told of a body that was left unread, where that is in the way of the next request: not over HTTP/2.
    phase: Option<Arc<Phase>>,
    received: u64,
    /// Bytes since the last time that the client had earned another timeout.
    window: u64,
    /// Time spent waiting for the bytes of the window, without the wait that is going on.
    waited: Duration,
    waiting_since: Option<Instant>,
    timeout: Duration,
    deadline: Deadline,
    /// The end was seen. A body of unknown length does not tell by itself that it is over.
    is_over: bool,
}

impl<B: Body + Unpin> RequestBody<B> {
    pub(crate) fn new(body: B, phase: Option<Arc<Phase>>, timeout: Duration) -> Self {
        Self {
            body,
            phase,
            received: 0,
            window: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            timeout,
            deadline: Deadline::default(),
            is_over: false,
        }
    }

    fn arrived(&mut self, bytes: u64) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        self.deadline.disarm();
        self.received += bytes;
        self.window += bytes;
        if self.window >= BODY_BYTES_MIN {
            self.window = 0;
            self.waited = Duration::ZERO;
        }
    }

    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<BodyStalled> {
        if self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
            self.deadline.arm(self.timeout.saturating_sub(self.waited));
        }
        let stalled = BodyStalled { received: self.received, waited: self.timeout };
        self.deadline.poll_passed(context).map(|()| stalled)
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    type Data = Bytes;
    type Error = RequestBodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.arrived(frame.data_ref().map_or(0, |data| data.len() as u64));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(RequestBodyError::Unreadable(error)))),
            Poll::Ready(None) => {
                self.is_over = true;
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_stalled(context).map(|stalled| Some(Err(RequestBodyError::Stalled(stalled)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body + Unpin> Drop for RequestBody<B> {
    fn drop(&mut self) {
        if let Some(phase) = self.phase.as_ref().filter(|_| !self.is_over && !self.body.is_end_stream()) {
            phase.abandon_body();
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;
    use tokio_util::task::TaskTracker;

    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    #[derive(Debug, thiserror::Error)]
    #[error("never")]
    struct Never;

    type Sender = mpsc::UnboundedSender<Bytes>;

    fn body() -> (Sender, RequestBody<impl Body<Data = Bytes, Error = Never> + Unpin>) {
        let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
        let frames = Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|bytes| (Ok(Frame::data(bytes)), receiver))
        }));
        (sender, RequestBody::new(StreamBody::new(frames), None, TIMEOUT))
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up_after_the_timeout() {
        let (_sender, mut body) = body();
        let started = Instant::now();
        let error = body.frame().await.expect("an end").expect_err("that is no good end");
        assert_eq!(started.elapsed(), TIMEOUT);
        assert_eq!(BodyStalled::find(&error), Some(&BodyStalled { received: 0, waited: TIMEOUT }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_is_not_progress() {
        let (sender, mut body) = body();
        TaskTracker::new().spawn(async move {
            for _ in 0..100 {
                let _ = sender.send(Bytes::from_static(b"x"));
                tokio::time::sleep(Duration::from_secs(7)).await;
            }
        });
        let started = Instant::now();
        let error = loop {
            match body.frame().await.expect("no end") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(started.elapsed(), TIMEOUT);
        assert_eq!(BodyStalled::find(&error).map(|stalled| stalled.received), Some(9));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_but_moving_goes_on_for_hours() {
        let (sender, mut body) = body();
        TaskTracker::new().spawn(async move {
            for _ in 0..200 {
                tokio::time::sleep(Duration::from_secs(59)).await;
                let _ = sender.send(Bytes::from_static(&[0; 1024]));
            }
        });
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame.expect("progress").into_data().expect("data").len();
        }
        assert_eq!(received, 200 * 1024);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_handler_does_not_count_against_its_client() {
        let (sender, mut body) = body();
        for _ in 0..5 {
            sender.send(Bytes::from_static(b"few")).expect("a reader");
            body.frame().await.expect("a frame").expect("data");
            tokio::time::sleep(TIMEOUT).await;
        }
        drop(sender);
        assert!(body.frame().await.is_none(), "the body ends well");
    }
}
