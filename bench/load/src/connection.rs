//! One kept-alive HTTP/1.1 connection that reads answers without keeping them.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

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
    pub(crate) body_bytes: u64,
    /// From the request to the first byte of the body, or to the end of the head when there is no body.
    pub(crate) first_byte: Duration,
}

struct Head {
    status: u16,
    location: Option<String>,
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
        Ok(Self { stream, host: address.to_owned(), buffer: vec![0; BUFFER_BYTES], unused: 0..0 })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn exchange(&mut self, request: &Request<'_>) -> Result<Answer, Error> {
        let begun = Instant::now();
        self.send(request).map_err(Error::socket("send"))?;
        let head = self.head()?;
        let has_body = request.method != "HEAD" && head.status != 204 && head.status != 304;
        if has_body && self.unused.is_empty() && (head.is_chunked || head.length.is_some_and(|length| length > 0)) {
            self.fill()?;
        }
        let first_byte = begun.elapsed();
        let body_bytes = match (has_body, head.is_chunked, head.length) {
            (false, ..) => 0,
            (true, true, _) => self.skip_chunks()?,
            (true, false, Some(length)) => self.skip(length).map(|()| length)?,
            (true, false, None) => return Err(Error::Answer { what: "a body without a length" }),
        };
        Ok(Answer { status: head.status, location: head.location, body_bytes, first_byte })
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
            Body::Whole(bytes) => write_both(&mut self.stream, head.as_bytes(), bytes),
            Body::Chunked(bytes) => {
                self.stream.write_all(head.as_bytes())?;
                for chunk in bytes.chunks(CHUNK_BYTES) {
                    let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
                    self.stream.write_all(&framed)?;
                }
                self.stream.write_all(b"0\r\n\r\n")
            }
        }
    }

    fn head(&mut self) -> Result<Head, Error> {
        let mut head = Head { status: 0, location: None, length: None, is_chunked: false };
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
            }
        }
    }

    fn skip_chunks(&mut self) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let line = self.line()?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(|_| Error::Answer { what: "a chunk" })?;
            self.skip(size)?;
            total += size;
            self.line()?;
            if size == 0 {
                return Ok(total);
            }
        }
    }

    /// Reads over `length` bytes.
    fn skip(&mut self, mut length: u64) -> Result<(), Error> {
        loop {
            let usable = self.unused.len().min(usize::try_from(length).unwrap_or(usize::MAX));
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

/// Head and body together, so that a small request is one packet.
fn write_both(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let written = stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])?;
    if let Some(rest) = head.get(written..) {
        stream.write_all(rest)?;
    }
    stream.write_all(&body[written.saturating_sub(head.len())..])
}
