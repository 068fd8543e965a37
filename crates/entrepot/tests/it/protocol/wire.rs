//! Requests as bytes, for what no honest client sends, and bodies that a test feeds by hand.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::exchange::Answer;
use super::trial::Trial;

/// A connection that says exactly what it is told.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    method: Method,
    target: String,
}

impl Wire {
    /// Sends the head of a request: the target as it stands, a Host, and these lines.
    pub(super) async fn begin(trial: &Trial, method: &str, target: &str, lines: &[String]) -> Self {
        let mut stream = TcpStream::connect(trial.address).await.unwrap();
        let lines: String = lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{lines}\r\n", trial.address);
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { stream, method: method.parse().unwrap(), target: target.to_owned() }
    }

    /// A whole request with a body of these bytes.
    pub(super) async fn ask(trial: &Trial, method: &str, target: &str, body: &[u8]) -> Answer {
        let mut wire = Self::begin(trial, method, target, &[format!("Content-Length: {}", body.len())]).await;
        wire.send(body).await;
        wire.answer().await.unwrap()
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Says that nothing more will come.
    pub(super) async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Waits for the first bytes of the answer.
    pub(super) async fn receive_something(&mut self) {
        let mut buffer = [0; 1024];
        assert!(self.stream.read(&mut buffer).await.unwrap() > 0, "{} {} was not answered", self.method, self.target);
    }

    /// The answer; `None` when the connection ended without one.
    pub(super) async fn answer(mut self) -> Option<Answer> {
        let mut received = Vec::new();
        // What arrived before a reset counts.
        let _ = self.stream.read_to_end(&mut received).await;
        let head_length = received.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(received[..head_length].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let headers: HeaderMap = lines.map(header).collect();
        let body = Bytes::from(received).slice(head_length + 4..);
        Some(Answer::new(&self.method, &self.target, " (as bytes)", status, headers, body))
    }
}

fn header(line: &str) -> (HeaderName, HeaderValue) {
    let (name, value) = line.split_once(':').unwrap();
    (name.parse().unwrap(), HeaderValue::from_str(value.trim()).unwrap())
}

/// The end of a body that is fed by hand. Dropped, it ends the body well.
#[derive(Debug)]
pub(super) struct Feed(mpsc::UnboundedSender<io::Result<Bytes>>);

impl Feed {
    /// A body, and what feeds it.
    pub(super) fn new() -> (Self, reqwest::Body) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let pieces = stream::unfold(receiver, async |mut receiver: mpsc::UnboundedReceiver<_>| {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        (Self(sender), reqwest::Body::wrap_stream(pieces))
    }

    pub(super) fn send(&self, bytes: &Bytes) {
        let _ = self.0.send(Ok(bytes.clone()));
    }

    /// Breaks the request off, as a client that dies does.
    pub(super) fn break_off(self) {
        let _ = self.0.send(Err(io::ErrorKind::ConnectionAborted.into()));
    }
}
