//! One of many connections of a thread: sends a request and takes its answer as it comes, without ever waiting.
//!
//! A body is discarded inside of the kernel (`MSG_TRUNC`), where nothing is copied, so that reading costs the client next
//! to nothing and what is measured is the server; or it is read into memory, as clients do. Whoever wants to know whether
//! the bytes were right reads them once with a [`crate::connection`].

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::error::Error;

/// How much is received while the head is still to come: all of a small answer, and little of a large one, because it
/// is copied.
const HEAD_BYTES: usize = 16 * 1024;

/// How much is discarded at once. The kernel only wants to know that so much memory is there, and never touches it.
pub(crate) const SCRATCH_BYTES: usize = 8 * 1024 * 1024;

/// How much is read into memory at once.
const READ_BYTES: usize = 256 * 1024;

/// What becomes of the bodies of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// There are none: the method is HEAD.
    None,
    /// The kernel drops them.
    Discarded,
    /// They are copied into memory.
    Read,
}

/// A connection and how far its answer has come.
pub(crate) struct Channel {
    pub(crate) stream: TcpStream,
    /// The bytes of bodies that came so far.
    pub(crate) bytes: u64,
    begun: Instant,
    state: State,
    /// What has come of a head that came in parts.
    head: Vec<u8>,
}

enum State {
    Head,
    Body { left: u64, first_byte: Option<Duration> },
}

/// A complete answer.
pub(crate) struct Answered {
    pub(crate) whole: Duration,
    /// From the request to the first byte of the body, or to the end of the head when there is no body.
    pub(crate) first_byte: Duration,
}

impl Channel {
    pub(crate) fn open(address: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).map_err(Error::socket("connect"))?;
        stream.set_nodelay(true).map_err(Error::socket("set an option"))?;
        stream.set_nonblocking(true).map_err(Error::socket("set an option"))?;
        Ok(Self { stream, bytes: 0, begun: Instant::now(), state: State::Head, head: Vec::new() })
    }

    /// Sends a request, which is so small that the socket always has room for it.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<(), Error> {
        self.begun = Instant::now();
        self.state = State::Head;
        self.stream.write_all(request).map_err(Error::socket("send"))
    }

    /// Takes what has come, and says whether that was the last of the answer.
    pub(crate) fn receive(&mut self, scratch: &mut [u8], bodies: Bodies) -> Result<Option<Answered>, Error> {
        match self.state {
            State::Head => {
                let Some(count) = self.take(&mut scratch[..HEAD_BYTES], RecvFlags::DONTWAIT)? else { return Ok(None) };
                self.receive_head(&scratch[..count], bodies != Bodies::None)?;
            }
            State::Body { left, ref mut first_byte } => {
                let (most, flags) = match bodies {
                    Bodies::Read => (READ_BYTES, RecvFlags::DONTWAIT),
                    Bodies::None | Bodies::Discarded => (scratch.len(), RecvFlags::DONTWAIT | RecvFlags::TRUNC),
                };
                let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(most);
                first_byte.get_or_insert_with(|| self.begun.elapsed());
                let Some(count) = self.take(&mut scratch[..wanted], flags)? else { return Ok(None) };
                self.count(count as u64);
            }
        }
        match self.state {
            State::Body { left: 0, first_byte } => {
                let whole = self.begun.elapsed();
                Ok(Some(Answered { whole, first_byte: first_byte.unwrap_or(whole) }))
            }
            _ => Ok(None),
        }
    }

    fn take(&self, buffer: &mut [u8], flags: RecvFlags) -> Result<Option<usize>, Error> {
        match recv(&self.stream, buffer, flags) {
            Ok((_, 0)) => Err(Error::Answer { what: "the connection ended in the middle" }),
            Ok((_, count)) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(Error::socket("receive")(errno.into())),
        }
    }

    fn receive_head(&mut self, received: &[u8], wants_body: bool) -> Result<(), Error> {
        let (length, more) = if self.head.is_empty() {
            let Some(end) = end_of_head(received) else { return self.keep(received) };
            (length_of_body(&received[..end], wants_body)?, received.len() - end)
        } else {
            self.head.extend_from_slice(received);
            let Some(end) = end_of_head(&self.head) else { return Ok(()) };
            (length_of_body(&self.head[..end], wants_body)?, self.head.len() - end)
        };
        self.head.clear();
        self.state = State::Body { left: length, first_byte: (more > 0).then(|| self.begun.elapsed()) };
        self.count(more as u64);
        Ok(())
    }

    fn keep(&mut self, received: &[u8]) -> Result<(), Error> {
        if received.len() == HEAD_BYTES {
            return Err(Error::Answer { what: "a head that does not end" });
        }
        self.head.extend_from_slice(received);
        Ok(())
    }

    fn count(&mut self, count: u64) {
        self.bytes += count;
        if let State::Body { left, .. } = &mut self.state {
            *left = left.saturating_sub(count);
        }
    }
}

fn end_of_head(received: &[u8]) -> Option<usize> {
    received.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|start| start + 4)
}

/// What `Content-Length` says, once the status is known to be 200.
fn length_of_body(head: &[u8], wants_body: bool) -> Result<u64, Error> {
    let head = std::str::from_utf8(head).map_err(|_| Error::Answer { what: "a head" })?;
    if head.get(9..12) != Some("200") {
        let line = head.lines().next().unwrap_or_default();
        return Err(Error::Refused { line: line.to_owned() });
    }
    if !wants_body {
        return Ok(0);
    }
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or(Error::Answer { what: "a body without a length" })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_that_comes_in_parts_is_counted_whole() {
        for bodies in [Bodies::Discarded, Bodies::Read] {
            takes_parts(bodies);
        }
    }

    fn takes_parts(bodies: Bodies) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut channel = Channel::open(&listener.local_addr().unwrap().to_string()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        channel.send(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        peer.read_exact(&mut [0; 18]).unwrap();
        let mut scratch = vec![0; SCRATCH_BYTES];
        for part in ["HTTP/1.1 200 OK\r\nContent-Len", "gth: 7\r\n\r\nab", "cd", "efg"] {
            peer.write_all(part.as_bytes()).unwrap();
            // On loopback, what was written is there.
            let answered = channel.receive(&mut scratch, bodies).unwrap();
            assert_eq!(answered.is_some(), part == "efg", "{part}");
        }
        assert_eq!(channel.bytes, 7);
    }

    #[test]
    fn the_length_of_a_body_is_read_whatever_the_case_of_its_name() {
        let head = b"HTTP/1.1 200 OK\r\nServer: one\r\ncontent-LENGTH: 17\r\n\r\n";
        assert_eq!(end_of_head(head), Some(head.len()));
        assert_eq!(length_of_body(head, true).unwrap(), 17);
        assert_eq!(length_of_body(head, false).unwrap(), 0);
    }

    #[test]
    fn an_answer_that_is_no_success_measures_nothing() {
        assert!(matches!(length_of_body(b"HTTP/1.1 404 Not Found\r\n\r\n", true), Err(Error::Refused { .. })));
    }
}
