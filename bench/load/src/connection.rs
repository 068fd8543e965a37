//! One kept-alive HTTP/1.1 connection that waits for its answers: for pushes and lists, where the client has to know
//! what it was told.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::error::Error;

/// How much is read at once: large enough that calls do not count, small enough to stay in a core's cache.
const BUFFER_BYTES: usize = 256 * 1024;

/// A chunk as the Docker engine sends it.
const CHUNK_BYTES: usize = 32 * 1024;

/// A server that says nothing for this long has failed.
const SILENCE: Duration = Duration::from_mins(2);

/// A connection and its buffer.
pub(crate) struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
    /// The bytes of the buffer that were received and not used.
    unused: std::ops::Range<usize>,
    /// Where the bodies go while somebody wants them.
    kept: Option<Vec<u8>>,
}

/// What is sent.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a str,
    pub(crate) body: Body<'a>,
}

/// How a request's body is sent.
pub(crate) enum Body<'a> {
    None,
    Whole(&'a [u8]),
    Chunked(&'a [u8]),
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    /// Where the next page of a list is.
    pub(crate) next: Option<String>,
}

struct Head {
    status: u16,
    location: Option<String>,
    next: Option<String>,
    length: Option<u64>,
    is_chunked: bool,
}

impl Request<'_> {
    /// Fails when the answer has another status.
    pub(crate) fn expect(&self, connection: &mut Connection, expected: u16) -> Result<Answer, Error> {
        let answer = connection.exchange(self)?;
        if answer.status == expected {
            return Ok(answer);
        }
        Err(Error::Status { request: self.to_string(), found: answer.status, expected })
    }

    /// The same, with the body.
    pub(crate) fn expect_body(&self, connection: &mut Connection, expected: u16) -> Result<(Answer, Vec<u8>), Error> {
        connection.kept = Some(Vec::new());
        let answer = self.expect(connection, expected);
        let body = connection.kept.take().unwrap_or_default();
        answer.map(|answer| (answer, body))
    }
}

impl std::fmt::Display for Request<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}

impl Connection {
    pub(crate) fn open(address: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).map_err(Error::socket("connect"))?;
        stream.set_nodelay(true).map_err(Error::socket("set an option"))?;
        stream.set_read_timeout(Some(SILENCE)).map_err(Error::socket("set an option"))?;
        Ok(Self { stream, host: address.to_owned(), buffer: vec![0; BUFFER_BYTES], unused: 0..0, kept: None })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn exchange(&mut self, request: &Request<'_>) -> Result<Answer, Error> {
        self.send(request).map_err(Error::socket("send"))?;
        let head = self.head()?;
        let has_body = request.method != "HEAD" && head.status != 204 && head.status != 304;
        match (has_body, head.is_chunked, head.length) {
            (false, ..) => {}
            (true, true, _) => self.read_chunks()?,
            (true, false, Some(length)) => self.read(length)?,
            (true, false, None) => return Err(Error::Answer { what: "a body without a length" }),
        }
        Ok(Answer { status: head.status, location: head.location, next: head.next })
    }

    fn send(&mut self, request: &Request<'_>) -> io::Result<()> {
        let Request { method, path, headers, body } = request;
        let framing = match body {
            Body::None if matches!(*method, "GET" | "HEAD") => String::new(),
            Body::None => "Content-Length: 0\r\n".to_owned(),
            Body::Whole(bytes) => format!("Content-Length: {}\r\n", bytes.len()),
            Body::Chunked(_) => "Transfer-Encoding: chunked\r\n".to_owned(),
        };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}{framing}\r\n", self.host);
        match body {
            Body::None => self.stream.write_all(head.as_bytes()),
            Body::Whole(bytes) => {
                write_all(&mut self.stream, &mut [IoSlice::new(head.as_bytes()), IoSlice::new(bytes)])
            }
            Body::Chunked(bytes) => {
                self.stream.write_all(head.as_bytes())?;
                for chunk in bytes.chunks(CHUNK_BYTES) {
                    let size = format!("{:x}\r\n", chunk.len());
                    write_all(
                        &mut self.stream,
                        &mut [IoSlice::new(size.as_bytes()), IoSlice::new(chunk), IoSlice::new(b"\r\n")],
                    )?;
                }
                self.stream.write_all(b"0\r\n\r\n")
            }
        }
    }

    fn head(&mut self) -> Result<Head, Error> {
        let mut head = Head { status: 0, location: None, next: None, length: None, is_chunked: false };
        let first = self.line()?;
        head.status =
            first.get(9..12).and_then(|digits| digits.parse().ok()).ok_or(Error::Answer { what: "the status" })?;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(head);
            }
            let (name, value) = line.split_once(':').ok_or(Error::Answer { what: "a header" })?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                head.length = value.parse().ok();
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.is_chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("location") {
                head.location = Some(value.to_owned());
            } else if name.eq_ignore_ascii_case("link") {
                // `</v2/…>; rel="next"`: registries send no other link.
                head.next =
                    value.strip_prefix('<').and_then(|rest| rest.split_once('>')).map(|(path, _)| path.to_owned());
            }
        }
    }

    fn read_chunks(&mut self) -> Result<(), Error> {
        loop {
            let line = self.line()?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(|_| Error::Answer { what: "a chunk" })?;
            self.read(size)?;
            self.line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// Reads `length` bytes of a body.
    fn read(&mut self, mut length: u64) -> Result<(), Error> {
        loop {
            let usable = self.unused.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            if let Some(kept) = &mut self.kept {
                kept.extend_from_slice(&self.buffer[self.unused.start..][..usable]);
            }
            self.unused.start += usable;
            length -= usable as u64;
            if length == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// The bytes up to the next line end, without it.
    fn line(&mut self) -> Result<String, Error> {
        let mut line = Vec::new();
        loop {
            if self.unused.is_empty() {
                self.fill()?;
            }
            let received = &self.buffer[self.unused.clone()];
            let end = received.iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(&received[..end.unwrap_or(received.len())]);
            self.unused.start += end.map_or(received.len(), |end| end + 1);
            if end.is_some() {
                let text = String::from_utf8(line).map_err(|_| Error::Answer { what: "a line" })?;
                return Ok(text.trim_end_matches('\r').to_owned());
            }
        }
    }

    fn fill(&mut self) -> Result<(), Error> {
        let received = self.stream.read(&mut self.buffer).map_err(Error::socket("receive"))?;
        self.unused = 0..received;
        if received == 0 { Err(Error::Answer { what: "the connection ended in the middle" }) } else { Ok(()) }
    }
}

/// All parts together, so that a small request is one packet, and none of them is copied.
fn write_all(stream: &mut TcpStream, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !parts.is_empty() {
        let written = stream.write_vectored(parts)?;
        IoSlice::advance_slices(&mut parts, written);
    }
    Ok(())
}
