//! Records of TLS that leave together.
//!
//! The HTTP/2 library writes and flushes every frame on its own, and each write to the TLS library is sent at once: a system call
//! and a run through the network stack for every 16 KiB. Here a write is encrypted and queued where TLS queues its records anyway,
//! without another copy, and [`GATHERED_MAX`] of them leave in one write to the socket.
//!
//! So a flush is put off. It is noted and the task woken, and when the connection looks for something to read, which is the first
//! thing that it does in each of its rounds, what was left is sent. Nothing stays longer than until the task comes round again.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::limits::GATHERED_MAX;

/// A stream of TLS under an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct GatheredRecords<S> {
    tls: TlsStream<S>,
    /// Bytes that were written since the socket has taken everything.
    gathered: usize,
    is_flush_due: bool,
}

impl<S> GatheredRecords<S> {
    pub(crate) fn new(mut tls: TlsStream<S>) -> Self {
        // One write beyond the bound is taken whole, or it would be cut and leave a record of a few bytes.
        tls.get_mut().1.set_buffer_limit(Some(2 * GATHERED_MAX));
        Self { tls, gathered: 0, is_flush_due: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> GatheredRecords<S> {
    /// Sends all that was gathered.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.tls).poll_flush(context))?;
        self.gathered = 0;
        self.is_flush_due = false;
        Poll::Ready(Ok(()))
    }

    /// Queues what `write` gives to TLS, unless too much is waiting already.
    fn poll_queue(
        &mut self,
        context: &mut Context<'_>,
        mut write: impl FnMut(&mut dyn io::Write) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.gathered >= GATHERED_MAX {
                ready!(self.poll_send(context))?;
            }
            let written = write(&mut self.tls.get_mut().1.writer())?;
            self.gathered += written;
            if written > 0 {
                return Poll::Ready(Ok(written));
            }
            // What TLS has to say for itself fills the queue as well.
            ready!(self.poll_send(context))?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for GatheredRecords<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_flush_due
            && let Poll::Ready(Err(error)) = self.poll_send(context)
        {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GatheredRecords<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_queue(context, |tls| tls.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.poll_queue(context, |tls| tls.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered > 0 && !self.is_flush_due {
            self.is_flush_due = true;
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // With what was gathered, before the word that it is the end.
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
