//! The socket that sends regions of files in the place of their placeholders.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use entrepot_blobs::{Content as _, Region};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_blocking};

use super::outbox::{Due, Outbox};
use crate::limits::{COLD_BYTES_MAX, COPIED_BYTES_MAX, RESIDENCE_TRUST, SENDFILE_BURST_BYTES};
use crate::metrics::ConnectionMetrics;

/// A TCP connection below the HTTP library.
#[derive(Debug)]
pub(crate) struct SendfileSocket {
    stream: TcpStream,
    outbox: Outbox,
    metrics: ConnectionMetrics,
    /// The read, on the blocking pool, of what is next and was not in memory.
    awaited: Option<JoinHandle<io::Result<()>>>,
    /// What is in memory of the region that is being sent.
    resident: Option<Resident>,
    /// Bytes sent out of files since others had their turn.
    burst: usize,
    /// Whether the kernel was found unable to send files from where they are.
    pub(super) copies: bool,
}

/// The beginning of what is left of a region, which was found in memory.
#[derive(Debug)]
struct Resident {
    length: usize,
    looked: Instant,
}

impl Resident {
    fn is_believed(&self) -> bool {
        self.looked.elapsed() < RESIDENCE_TRUST
    }

    /// What is left of it behind `count` bytes that were sent.
    fn behind(self, count: usize) -> Option<Self> {
        let length = self.length.checked_sub(count).filter(|length| *length > 0)?;
        Some(Self { length, ..self })
    }
}

impl SendfileSocket {
    pub(crate) fn new(stream: TcpStream, metrics: ConnectionMetrics) -> Self {
        Self { stream, outbox: Outbox::default(), metrics, awaited: None, resident: None, burst: 0, copies: false }
    }

    /// What the answers of this connection are to be put into.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Sends as much of `region` as the socket takes now, and at least a byte of it.
    fn poll_send(&mut self, context: &mut Context<'_>, region: &Region) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context));
        let outcome = loop {
            if self.stream.poll_write_ready(context)?.is_pending() {
                // Whoever waits for his client lets others have their turn.
                self.burst = 0;
                return Poll::Pending;
            }
            let length = ready!(self.poll_resident(context, region))?;
            if self.copies {
                break ready!(self.poll_copy(context, region));
            }
            let mut position = region.position();
            let send = || Ok(sendfile(&self.stream, region.file().file(), Some(&mut position), length)?);
            match self.stream.try_io(Interest::WRITABLE, send) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) if is_impossible(&error) => self.copies = true,
                outcome => break outcome,
            }
        };
        Poll::Ready(match outcome {
            Ok(0) => Err(unreadable(region, io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.outbox.sent(count);
                self.burst += count;
                self.resident = self.resident.take().and_then(|resident| resident.behind(count));
                if !self.copies {
                    self.metrics.sent_from_file(count);
                }
                Ok(count)
            }
            Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => Err(unreadable(region, error)),
            Err(error) => Err(error),
        })
    }

    /// Writes as much of `region` as the socket takes out of memory of ours, where the file system knows no other way. What does not
    /// leave at once is read again: it is in the page cache.
    fn poll_copy(&mut self, context: &mut Context<'_>, region: &Region) -> Poll<io::Result<usize>> {
        let mut buffer = vec![0; region.length().min(COPIED_BYTES_MAX)];
        match region.file().read_at(&mut buffer, region.position()) {
            Ok(0) => Poll::Ready(Ok(0)),
            Ok(count) => Pin::new(&mut self.stream).poll_write(context, &buffer[..count]),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Lets others have their turn after a burst: the socket of a fast client never makes this task wait.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.burst < SENDFILE_BURST_BYTES {
            return Poll::Ready(());
        }
        self.burst = 0;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sees to it that the beginning of `region` can be sent without waiting for a disk, and returns how much of it. What has to be read
    /// is read on the blocking pool: a thread of the runtime that waits for a disk holds up every other connection.
    ///
    /// The look misses a single page that is not in memory between many that are; then a thread waits for one page after all.
    fn poll_resident(&mut self, context: &mut Context<'_>, region: &Region) -> Poll<io::Result<usize>> {
        let (position, length) = (region.position(), region.length());
        if let Some(read) = &mut self.awaited {
            let outcome = ready!(Pin::new(read).poll(context));
            self.awaited = None;
            let outcome = outcome.unwrap_or_else(|_| Err(io::Error::other("interrupted while reading")));
            outcome.map_err(|error| unreadable(region, error))?;
            self.resident = Some(Resident { length: length.min(COLD_BYTES_MAX), looked: Instant::now() });
        }
        match &self.resident {
            Some(resident) if resident.is_believed() => return Poll::Ready(Ok(resident.length)),
            _ if region.file().is_resident(position, length) => {
                self.resident = Some(Resident { length, looked: Instant::now() });
                return Poll::Ready(Ok(length));
            }
            _ => {}
        }
        self.metrics.file_was_cold();
        let file = Arc::clone(region.file());
        self.awaited = Some(spawn_blocking(move || file.make_resident(position, length.min(COLD_BYTES_MAX))));
        self.poll_resident(context, region)
    }

    /// Writes bytes that a region follows: they may wait for it, to leave in one packet with its beginning.
    fn poll_send_ahead(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            let send = || Ok(sendmsg(&self.stream, slices, &mut SendAncillaryBuffer::default(), flags)?);
            match self.stream.try_io(Interest::WRITABLE, send) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

/// Whether the kernel cannot send files of this file system.
fn is_impossible(error: &io::Error) -> bool {
    let not_possible = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
    Errno::from_io_error(error).is_some_and(|error| not_possible.contains(&error))
}

/// The client sees its answer end early, which is all that it can be told by now.
fn unreadable(region: &Region, error: io::Error) -> io::Error {
    tracing::error!(
        file = %region.file().path().display(), position = region.position(), length = region.length(), %error,
        "a stored file cannot be sent to its end: look after the disk; what was cut short is to be pushed, or cached, again"
    );
    error
}

impl AsyncRead for SendfileSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for SendfileSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.outbox.due(slices).map_err(io::Error::other)? {
            Due::All => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
            Due::Ahead(count) => self.poll_send_ahead(context, &slices[..count]),
            Due::Region(region) => self.poll_send(context, &region),
        }
    }

    fn is_write_vectored(&self) -> bool {
        // Otherwise the HTTP library would copy what placeholders have in them.
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
