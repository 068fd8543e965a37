//! The stream under an HTTP/1 connection, plain or decrypted, with the care that the HTTP library does not take.
//!
//! - A request head that has begun must be complete within a time; the library's own head timeout also covers the
//!   silence between requests, for which clients deserve longer.
//! - A connection that is closed while its client still sends (an upload that was refused, a head that is too large) is
//!   read and discarded for a moment: closing it at once would reset it, and the client would never see the answer.
//! - A response body that fails does so only when all before it has left. The library drops what it has gathered when it learns of a
//!   failure: the client would see neither the head of its answer nor the bytes that were right, and could not go on behind them.
//!
//! That the client takes what is written is watched further down, in `write_guard`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::deadline::Deadline;
use crate::head_scan::HeadScan;
use crate::limits::LINGER_TIMEOUT;

const NEW: u8 = 0;
const IN_HEAD: u8 = 1;
const IN_EXCHANGE: u8 = 2;
const BETWEEN_REQUESTS: u8 = 3;

/// What a connection is doing, shared between the socket, which sees bytes, and the service, which sees requests.
///
/// Both run in the task of the connection; the atomics are for `Sync`, not for ordering.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    current: AtomicU8,
    ambiguous: AtomicBool,
    body_abandoned: AtomicBool,
    flush_awaited: AtomicBool,
}

impl Phase {
    /// A head is complete: the exchange has begun. Tells whether the head announced two lengths.
    pub(crate) fn begin_exchange(&self) -> bool {
        self.current.store(IN_EXCHANGE, Ordering::Relaxed);
        self.body_abandoned.store(false, Ordering::Relaxed);
        self.ambiguous.swap(false, Ordering::Relaxed)
    }

    /// The response has been handed to the socket or given up.
    pub(crate) fn end_exchange(&self) {
        self.current.store(BETWEEN_REQUESTS, Ordering::Relaxed);
    }

    /// The body of a request was dropped before its end: the client may still be sending it.
    pub(crate) fn abandon_body(&self) {
        self.body_abandoned.store(true, Ordering::Relaxed);
    }

    /// Whether a part of the request's body was left unread: then the connection ends with the answer.
    pub(crate) fn is_body_abandoned(&self) -> bool {
        self.body_abandoned.load(Ordering::Relaxed)
    }

    /// Something is to happen as soon as all that was written has left: whoever asked is woken then.
    pub(crate) fn await_flush(&self) {
        self.flush_awaited.store(true, Ordering::Relaxed);
    }

    /// Whether all that was written before [`await_flush`](Self::await_flush) has not left yet.
    pub(crate) fn is_flush_awaited(&self) -> bool {
        self.flush_awaited.load(Ordering::Relaxed)
    }

    /// Whether the client may be in the middle of sending something that nobody will read.
    fn client_is_sending(&self) -> bool {
        self.is_body_abandoned() || self.current() == IN_HEAD
    }

    fn current(&self) -> u8 {
        self.current.load(Ordering::Relaxed)
    }
}

/// A stream whose peer must finish the heads that it begins.
#[derive(Debug)]
pub(crate) struct GuardedStream<S> {
    stream: S,
    phase: Arc<Phase>,
    scan: HeadScan,
    head_timeout: Duration,
    head_deadline: Deadline,
    linger_deadline: Deadline,
}

impl<S> GuardedStream<S> {
    /// Guards a new connection: the time for its first head starts now.
    pub(crate) fn new(stream: S, phase: Arc<Phase>, head_timeout: Duration) -> Self {
        let mut head_deadline = Deadline::default();
        head_deadline.arm(head_timeout);
        Self {
            stream,
            phase,
            scan: HeadScan::default(),
            head_timeout,
            head_deadline,
            linger_deadline: Deadline::default(),
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        let phase = self.phase.current();
        // Bodies, and heads that were sent ahead of an answer: the library bounds and judges those by itself.
        if phase == IN_EXCHANGE || bytes.is_empty() {
            return;
        }
        if phase == BETWEEN_REQUESTS {
            self.scan = HeadScan::default();
            self.head_deadline.arm(self.head_timeout);
        }
        self.phase.current.store(IN_HEAD, Ordering::Relaxed);
        self.scan.feed(bytes);
        self.phase.ambiguous.store(self.scan.is_ambiguous(), Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        match &outcome {
            Poll::Ready(Ok(())) => self.received(&buffer.filled()[before..]),
            Poll::Pending if matches!(self.phase.current(), NEW | IN_HEAD) => {
                let passed = self.head_deadline.poll_passed(context);
                return passed.map(|()| Err(timed_out("the request head is not complete")));
            }
            _ => {}
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> GuardedStream<S> {
    /// Reads and forgets until the client has nothing more to say, or the time for it is over.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.linger_deadline.is_armed() {
            self.linger_deadline.arm(LINGER_TIMEOUT);
        }
        let mut bytes = [0; 4096];
        while self.linger_deadline.poll_passed(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            let outcome = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            if outcome.is_err() || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if self.phase.is_flush_awaited() {
            self.phase.flush_awaited.store(false, Ordering::Relaxed);
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        if self.phase.client_is_sending() {
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;
    use tokio_util::task::TaskTracker;

    use super::*;

    const HEAD: Duration = Duration::from_secs(30);

    fn guarded() -> (GuardedStream<DuplexStream>, DuplexStream, Arc<Phase>) {
        let phase = Arc::new(Phase::default());
        let (near, far) = duplex(64);
        (GuardedStream::new(near, Arc::clone(&phase), HEAD), far, phase)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_is_cut_at_its_deadline() {
        let (mut stream, mut far, _) = guarded();
        let started = Instant::now();
        let client = TaskTracker::new().spawn(async move {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let error = loop {
            match stream.read(&mut [0; 8]).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), HEAD);
        drop(stream);
        client.await.expect("the client ends");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_between_requests_is_not_a_slow_head() {
        let (mut stream, mut far, phase) = guarded();
        far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("room");
        assert_eq!(stream.read(&mut [0; 64]).await.expect("the head"), 18);
        phase.begin_exchange();
        phase.end_exchange();
        let silence = tokio::time::timeout(HEAD * 10, stream.read(&mut [0; 8])).await;
        assert!(silence.is_err(), "the socket waits as long as it is asked to");

        far.write_all(b"G").await.expect("room");
        assert_eq!(stream.read(&mut [0; 8]).await.expect("the next head begins"), 1);
        let started = Instant::now();
        let error = stream.read(&mut [0; 8]).await.expect_err("and must go on");
        assert_eq!((error.kind(), started.elapsed()), (io::ErrorKind::TimedOut, HEAD));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_still_sending_is_heard_out_for_a_moment() {
        let (mut stream, mut far, phase) = guarded();
        phase.begin_exchange();
        let started = Instant::now();
        stream.shutdown().await.expect("a clean end");
        assert_eq!(started.elapsed(), Duration::ZERO, "nothing was left unread");

        phase.abandon_body();
        let client = TaskTracker::new().spawn(async move {
            let mut sent = 0;
            while far.write_all(&[0; 16]).await.is_ok() {
                sent += 16;
                tokio::time::sleep(Duration::from_millis(900)).await;
            }
            sent
        });
        stream.shutdown().await.expect("a clean end");
        assert_eq!(started.elapsed(), LINGER_TIMEOUT);
        drop(stream);
        assert_eq!(client.await.expect("the client ends"), 6 * 16);
    }

    #[tokio::test]
    async fn two_lengths_are_reported_for_their_request_only() {
        let (mut stream, mut far, phase) = guarded();
        let mut buffer = [0; 64];
        far.write_all(b"\nContent-Length:1\nTransfer-Encoding:a\n\n").await.expect("room");
        let _ = stream.read(&mut buffer).await.expect("bytes");
        assert!(!phase.begin_exchange(), "the first line is the start line, whatever it says");
        phase.end_exchange();
        far.write_all(b"PUT / HTTP/1.1\nContent-Length:1\nTransfer-Encoding:a\n\n").await.expect("room");
        let _ = stream.read(&mut buffer).await.expect("bytes");
        assert!(phase.begin_exchange());
        phase.end_exchange();
        far.write_all(b"PUT / HTTP/1.1\nContent-Length:1\n\n").await.expect("room");
        let _ = stream.read(&mut buffer).await.expect("bytes");
        assert!(!phase.begin_exchange());
    }
}
