//! The socket itself, whose peer must take what is written.
//!
//! A write that cannot go on because the client does not read fails after a time, so that a stalled reader does not hold a
//! blob, a buffer and a file for ever. It lies below TLS, which takes a few writes that the socket does not take any more, and
//! below HTTP/2, where many responses share one socket.
//!
//! Vectored writes are passed through: the HTTP library queues bodies without copying them only when the socket has them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::deadline::Deadline;

/// Whether a socket has more to write than its peer takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog(Arc<AtomicBool>);

impl Backlog {
    pub(crate) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A socket that fails when its peer takes nothing for too long.
#[derive(Debug)]
pub(crate) struct WriteGuard<S> {
    stream: S,
    timeout: Duration,
    deadline: Deadline,
    backlog: Backlog,
}

impl<S> WriteGuard<S> {
    pub(crate) fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, timeout, deadline: Deadline::default(), backlog: Backlog::default() }
    }

    /// A look at this socket from elsewhere in its task.
    pub(crate) fn backlog(&self) -> Backlog {
        self.backlog.clone()
    }

    /// Passes the outcome of a write on, unless it has been pending for too long.
    fn watch(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.backlog.0.store(outcome.is_pending(), Ordering::Relaxed);
        if outcome.is_ready() {
            self.deadline.disarm();
            return outcome;
        }
        if !self.deadline.is_armed() {
            self.deadline.arm(self.timeout);
        }
        let failure = || io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing");
        self.deadline.poll_passed(context).map(|()| Err(failure()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::guarded_stream::GuardedStream;

    const TIMEOUT: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_cut_and_a_slow_one_is_not() {
        let (near, mut far) = duplex(64);
        let mut stream = WriteGuard::new(near, TIMEOUT);
        let backlog = stream.backlog();
        let slow = TaskTracker::new().spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(59)).await;
                far.read_exact(&mut [0; 64]).await.expect("bytes");
            }
            far
        });
        stream.write_all(&[7; 5 * 64]).await.expect("a slow reader is served");
        assert!(!backlog.is_there());
        let _open = slow.await.expect("the slow reader ends");

        let started = Instant::now();
        let error = stream.write_all(&[7; 64]).await.expect_err("nobody reads");
        assert!(backlog.is_there());
        assert_eq!((error.kind(), started.elapsed()), (io::ErrorKind::TimedOut, TIMEOUT));
    }

    #[tokio::test]
    async fn a_guarded_socket_keeps_its_vectored_writes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let socket = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        let mut stream = GuardedStream::new(WriteGuard::new(socket, TIMEOUT), Arc::default(), TIMEOUT);
        assert!(stream.is_write_vectored());
        let (mut far, _) = listener.accept().await.expect("the other end");
        let slices = [IoSlice::new(b"head"), IoSlice::new(b" and body")];
        assert_eq!(stream.write_vectored(&slices).await.expect("room"), 13, "in one write");
        let mut received = [0; 13];
        far.read_exact(&mut received).await.expect("bytes");
        assert_eq!(&received, b"head and body");
    }
}
