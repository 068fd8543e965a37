//! HTTP/2 on real sockets: that it answers as HTTP/1 does, and what it costs a client to be slow or hostile.

use bytes::Bytes;
use entrepot_testkit::Authority;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::socket_tests::{PATIENCE, SHORT, Server};
use super::tls_tests::{Client, NAME, settings};
use super::*;

async fn server(authority: &Authority, limits: ConnectionLimits) -> Server {
    let tls = Tls::new(settings(&authority.server(&[NAME]))).expect("TLS");
    Server::start_with(limits, Some(tls)).await
}

async fn connect(server: &Server, authority: &Authority) -> TlsStream<TcpStream> {
    let stream = Client { protocols: &[b"h2", b"http/1.1"], ..Client::of(authority) }.connect(server).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream
}

/// A client that keeps to the protocol.
struct Polite {
    requests: SendRequest<Bytes>,
    connection: AbortOnDropHandle<Result<(), h2::Error>>,
}

impl Polite {
    async fn connect(server: &Server, authority: &Authority) -> Self {
        Self::with(server, authority, &h2::client::Builder::new()).await
    }

    async fn with(server: &Server, authority: &Authority, builder: &h2::client::Builder) -> Self {
        let stream = connect(server, authority).await;
        let (requests, connection) = builder.handshake(stream).await.expect("a preface");
        Self { requests, connection: AbortOnDropHandle::new(TaskTracker::new().spawn(connection)) }
    }

    async fn begin(&mut self, method: Method, path: &str, is_over: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let request = Request::builder().method(method).uri(format!("https://{NAME}{path}")).body(()).expect("legal");
        std::future::poll_fn(|context| self.requests.poll_ready(context)).await.expect("room for a request");
        self.requests.send_request(request, is_over).expect("a request")
    }

    async fn get(&mut self, path: &str) -> Response<RecvStream> {
        let (response, _) = self.begin(Method::GET, path, true).await;
        timeout(PATIENCE, response).await.expect("in time").expect("an answer")
    }

    async fn text(&mut self, path: &str) -> String {
        read(self.get(path).await).await.expect("a body")
    }

    /// Waits until the server has ended the connection. The client would do so by itself if it let go of its side.
    async fn end(self) -> Result<(), h2::Error> {
        let _requests = self.requests;
        timeout(PATIENCE, self.connection).await.expect("in time").expect("no panic")
    }
}

async fn read(response: Response<RecvStream>) -> Result<String, h2::Error> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = timeout(PATIENCE, body.data()).await.expect("in time") {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(String::from_utf8(bytes).expect("text"))
}

#[tokio::test]
async fn http_2_answers_what_http_1_answers() {
    let authority = Authority::new();
    let server = server(&authority, ConnectionLimits::default()).await;
    let mut client = Polite::connect(&server, &authority).await;
    assert_eq!(client.text("/v2/view").await, format!("https://{NAME} -"));

    let whole = client.get("/v2/blob").await;
    assert_eq!((whole.status().as_u16(), &whole.headers()[CONTENT_LENGTH]), (200, &"12".parse().unwrap()));
    assert_eq!(whole.headers()["x-content-type-options"], "nosniff");
    assert!(!whole.headers().contains_key("connection"));
    assert_eq!(read(whole).await.expect("a body"), "twelve bytes");

    let (head, _) = client.begin(Method::HEAD, "/v2/blob", true).await;
    let head = head.await.expect("an answer");
    assert_eq!((head.status().as_u16(), &head.headers()[CONTENT_LENGTH]), (200, &"12".parse().unwrap()));
    assert!(head.body().is_end_stream(), "HEAD has no body");

    let (response, mut body) = client.begin(Method::PUT, "/v2/upload", false).await;
    body.send_data(Bytes::from_static(b"abc"), false).expect("open");
    body.send_data(Bytes::from_static(b"defg"), true).expect("open");
    assert_eq!(read(response.await.expect("an answer")).await.expect("a body"), "7 bytes");

    assert_eq!(client.get("/v2/panic").await.status().as_u16(), 500);
    assert_eq!(client.text("/v2/").await, "{}", "on the same connection");
    drop(client);
    assert_eq!(server.stop().await, ServeOutcome { connections_cut: 0 });
}

#[tokio::test]
async fn a_host_is_that_of_the_target_or_one_header() {
    let authority = Authority::new();
    let server = server(&authority, ConnectionLimits::default()).await;
    let mut client = Polite::connect(&server, &authority).await;
    let rows: [(&str, &[&str], u16); 5] = [
        ("https://a/v2/", &[], 200),
        ("https://a/v2/", &["a"], 200),
        ("https://a/v2/", &["b"], 400),
        ("https://a/v2/", &["a", "a"], 400),
        ("https://user@a/v2/", &[], 400),
    ];
    for (target, hosts, expected) in rows {
        let mut request = Request::get(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        let (response, _) = client.requests.send_request(request.body(()).expect("legal"), true).expect("open");
        let status = response.await.map_or_else(|_| 400, |response| response.status().as_u16());
        assert_eq!(status, expected, "{target} with {hosts:?}");
    }
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let authority = Authority::new();
    let server = server(&authority, ConnectionLimits::default()).await;
    let mut client = Polite::connect(&server, &authority).await;
    let mut uploads = Vec::new();
    for _ in 0..50 {
        uploads.push(client.begin(Method::PUT, "/v2/upload", false).await);
    }
    assert_eq!(client.text("/v2/blob").await, "twelve bytes", "while fifty wait for their bodies");
    for (response, mut body) in uploads {
        body.send_data(Bytes::from_static(b"abc"), true).expect("open");
        assert_eq!(read(response.await.expect("an answer")).await.expect("a body"), "3 bytes");
    }
}

#[tokio::test]
async fn d11_no_more_than_so_many_requests_are_open_at_once() {
    let authority = Authority::new();
    let server = server(&authority, ConnectionLimits::default()).await;
    let mut client = Polite::connect(&server, &authority).await;
    assert_eq!(client.text("/v2/").await, "{}");
    assert_eq!(client.requests.current_max_send_streams(), 128);
}

#[tokio::test]
async fn a_response_that_is_not_taken_is_reset_and_the_others_go_on() {
    let authority = Authority::new();
    let limits = ConnectionLimits { stream_stall_timeout: SHORT, ..ConnectionLimits::default() };
    let mut server = server(&authority, limits).await;
    let mut client = Polite::connect(&server, &authority).await;
    let mut endless = client.get("/v2/endless").await.into_body();
    // The window of the stream fills, and is never opened again. That of the connection is.
    let started = Instant::now();
    let error = loop {
        match timeout(PATIENCE, endless.data()).await.expect("in time").expect("no good end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
    assert!(started.elapsed() >= SHORT);
    timeout(PATIENCE, server.dropped.recv()).await.expect("in time").expect("the body is dropped");
    drop(endless);
    assert_eq!(client.text("/v2/blob").await, "twelve bytes");
}

#[tokio::test]
async fn a_response_that_may_not_begin_is_reset() {
    let authority = Authority::new();
    let limits = ConnectionLimits { stream_stall_timeout: SHORT, ..ConnectionLimits::default() };
    let server = server(&authority, limits).await;
    let mut builder = h2::client::Builder::new();
    let mut client = Polite::with(&server, &authority, builder.initial_window_size(0)).await;
    let response = client.get("/v2/blob").await;
    let error = read(response).await.expect_err("no window, no body");
    assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
}

#[tokio::test]
async fn a_socket_that_is_not_read_ends_all_that_it_carries() {
    let authority = Authority::new();
    let limits = ConnectionLimits { write_stall_timeout: SHORT, ..ConnectionLimits::default() };
    let mut server = server(&authority, limits).await;
    let mut raw = Raw::connect(&server, &authority).await;
    // Windows without end: what stops the responses is the socket alone.
    raw.frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]).await;
    raw.frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes()).await;
    for stream in [1, 3, 5] {
        raw.request(stream, "/v2/endless", END_HEADERS | END_STREAM).await;
    }
    for _ in 0..3 {
        timeout(PATIENCE, server.dropped.recv()).await.expect("in time").expect("the body is dropped");
    }
}

#[tokio::test]
async fn a_body_that_stops_ends_in_a_typed_error_and_costs_its_own_request() {
    let authority = Authority::new();
    let limits = ConnectionLimits { body_stall_timeout: SHORT, ..ConnectionLimits::default() };
    let server = server(&authority, limits).await;
    let mut client = Polite::connect(&server, &authority).await;
    let (response, mut body) = client.begin(Method::PUT, "/v2/upload", false).await;
    body.send_data(Bytes::from_static(b"abc"), false).expect("open");
    let response = timeout(PATIENCE, response).await.expect("in time").expect("an answer");
    assert_eq!(response.status().as_u16(), 408);
    assert_eq!(client.text("/v2/blob").await, "twelve bytes");
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let authority = Authority::new();
    let server = server(&authority, ConnectionLimits::default()).await;
    let mut client = Polite::connect(&server, &authority).await;
    let (response, mut body) = client.begin(Method::PUT, "/v2/refused", false).await;
    body.send_data(Bytes::from(vec![7; 1 << 20]), false).expect("open");
    let response = timeout(PATIENCE, response).await.expect("in time").expect("an answer");
    assert_eq!(response.status().as_u16(), 413);
    assert_eq!(read(response).await.expect("whole"), "too large");
    // <https://www.rfc-editor.org/rfc/rfc9113#section-8.1>: then, and not before, it is told to stop.
    let reset = timeout(PATIENCE, std::future::poll_fn(|context| body.poll_reset(context))).await.expect("in time");
    assert_eq!(reset.expect("a reset"), Reason::NO_ERROR);
    assert_eq!(client.text("/v2/blob").await, "twelve bytes");
}

#[tokio::test]
async fn a_connection_without_requests_is_told_to_go() {
    let authority = Authority::new();
    let limits = ConnectionLimits { idle_timeout: SHORT, ..ConnectionLimits::default() };
    let server = server(&authority, limits).await;
    let mut client = Polite::connect(&server, &authority).await;
    assert_eq!(client.text("/v2/").await, "{}");
    client.end().await.expect("a clean end");
}

#[tokio::test]
async fn a_connection_that_never_asks_is_closed() {
    let authority = Authority::new();
    let limits = ConnectionLimits { head_timeout: SHORT, ..ConnectionLimits::default() };
    let server = server(&authority, limits).await;
    let mut silent = connect(&server, &authority).await;
    let mut half = Raw::connect(&server, &authority).await;
    half.request(1, "/v2/", END_STREAM).await;
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, silent.read_to_end(&mut bytes)).await.expect("closed");
    half.frames().await;
}

#[tokio::test]
async fn beyond_the_limit_one_health_check_is_answered() {
    let authority = Authority::new();
    let limits = ConnectionLimits { connections_max: 1, ..ConnectionLimits::default() };
    let server = server(&authority, limits).await;
    let mut first = Polite::connect(&server, &authority).await;
    assert_eq!(first.text("/v2/").await, "{}");
    for (path, expected) in [("/v2/", 503), ("/healthz", 200)] {
        let mut second = Polite::connect(&server, &authority).await;
        assert_eq!(second.get(path).await.status().as_u16(), expected);
        second.end().await.expect("a clean end");
    }
}

#[tokio::test]
async fn shutdown_lets_go_of_idle_clients_and_waits_for_busy_ones() {
    let authority = Authority::new();
    let server = server(&authority, ConnectionLimits::default()).await;
    let mut idle = Polite::connect(&server, &authority).await;
    assert_eq!(idle.text("/v2/").await, "{}");
    let mut busy = Polite::connect(&server, &authority).await;
    assert_eq!(busy.text("/v2/").await, "{}");
    let (response, mut body) = busy.begin(Method::PUT, "/v2/upload", false).await;
    body.send_data(Bytes::from_static(b"abc"), false).expect("open");
    // An answer on the same connection shows that the upload was seen.
    assert_eq!(busy.text("/v2/").await, "{}");

    let (stopped, stopping) = oneshot::channel();
    TaskTracker::new().spawn(async move { stopped.send(server.stop().await) });
    idle.end().await.expect("a clean end");
    body.send_data(Bytes::from_static(b"d"), true).expect("open");
    assert_eq!(read(response.await.expect("an answer")).await.expect("a body"), "4 bytes");
    busy.end().await.expect("a clean end");
    assert_eq!(stopping.await.expect("an end"), ServeOutcome { connections_cut: 0 });
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const ENHANCE_YOUR_CALM: u32 = 11;

/// A client that sends the frames that it likes.
struct Raw {
    stream: TlsStream<TcpStream>,
    /// What was not sent yet.
    pending: Vec<u8>,
}

impl Raw {
    async fn connect(server: &Server, authority: &Authority) -> Self {
        let mut raw = Self { stream: connect(server, authority).await, pending: Vec::new() };
        raw.pending.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.frame(SETTINGS, 0, 0, &[]).await;
        raw
    }

    fn queue(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
        self.pending.extend_from_slice(&length[1..]);
        self.pending.extend_from_slice(&[kind, flags]);
        self.pending.extend_from_slice(&stream.to_be_bytes());
        self.pending.extend_from_slice(payload);
    }

    /// Sends what is queued. `false`: nobody listens any more.
    async fn flush(&mut self) -> bool {
        let pending = std::mem::take(&mut self.pending);
        timeout(PATIENCE, self.stream.write_all(&pending)).await.is_ok_and(|outcome| outcome.is_ok())
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.queue(kind, flags, stream, payload);
        self.flush().await
    }

    async fn request(&mut self, stream: u32, path: &str, flags: u8) -> bool {
        self.frame(HEADERS, flags, stream, &block("GET", path)).await
    }

    /// Kinds and payloads of all frames until the server ends the connection.
    async fn frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut bytes = Vec::new();
        // A reset at the end takes nothing back of what was read before.
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut bytes)).await.expect("the server ends the connection");
        let mut frames = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((head, behind)) = rest.split_at_checked(9) {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            let Some((payload, behind)) = behind.split_at_checked(length) else { break };
            frames.push((head[3], payload.to_vec()));
            rest = behind;
        }
        frames
    }
}

/// Reason of the last `GOAWAY`.
fn reason(frames: &[(u8, Vec<u8>)]) -> Option<u32> {
    let (_, payload) = frames.iter().rfind(|(kind, _)| *kind == GOAWAY)?;
    payload.get(4..8)?.try_into().ok().map(u32::from_be_bytes)
}

/// A head in the most simple form of HPACK: literals that are not remembered.
fn block(method: &str, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", method), (":scheme", "https"), (":authority", NAME), (":path", path)] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Another client is served at once, whatever the first one does.
async fn assert_serves(server: &Server, authority: &Authority) {
    let started = Instant::now();
    assert_eq!(Polite::connect(server, authority).await.text("/v2/blob").await, "twelve bytes");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn d11_requests_that_are_taken_back_at_once_end_the_connection() {
    let authority = Authority::new();
    let server = server(&authority, ConnectionLimits::default()).await;
    let mut raw = Raw::connect(&server, &authority).await;
    let head = block("GET", "/v2/endless");
    let mut asked = 0_u32;
    while asked < 100_000 {
        for stream in asked..asked + 1000 {
            raw.queue(HEADERS, END_HEADERS | END_STREAM, 2 * stream + 1, &head);
            raw.queue(RST_STREAM, 0, 2 * stream + 1, &8_u32.to_be_bytes());
        }
        asked += 1000;
        if !raw.flush().await {
            break;
        }
    }
    assert_eq!(reason(&raw.frames().await), Some(ENHANCE_YOUR_CALM));
    assert!(asked < 100_000, "it is stopped on the way");
    assert_serves(&server, &authority).await;
}

#[tokio::test]
async fn d11_a_head_without_end_ends_the_connection() {
    let authority = Authority::new();
    let server = server(&authority, ConnectionLimits::default()).await;
    let field = [&[0, 1, b'x', 127, 0x81, 0x7d][..], &[b'v'; 16_000]].concat();
    // Fragments of some size, and fragments of nothing.
    for fragment in [&field[..], &[0, 1, b'x', 1, b'v'], &[]] {
        let mut raw = Raw::connect(&server, &authority).await;
        raw.request(1, "/v2/", END_STREAM).await;
        let mut sent = 0;
        while sent < 100_000 {
            for _ in 0..100 {
                raw.queue(CONTINUATION, 0, 1, fragment);
            }
            sent += 100;
            if !raw.flush().await {
                break;
            }
        }
        let frames = raw.frames().await;
        assert!(reason(&frames).is_some_and(|reason| reason != 0), "{} bytes: {frames:?}", fragment.len());
        assert!(sent < 100_000, "it is stopped on the way");
        assert_serves(&server, &authority).await;
    }
}

#[tokio::test]
async fn d11_data_without_data_is_not_taken_for_ever() {
    let authority = Authority::new();
    let server = server(&authority, ConnectionLimits::default()).await;
    let mut raw = Raw::connect(&server, &authority).await;
    raw.frame(HEADERS, END_HEADERS, 1, &block("PUT", "/v2/upload")).await;
    for _ in 0..1000 {
        for _ in 0..100 {
            raw.queue(DATA, 0, 1, &[]);
        }
        if !raw.flush().await {
            break;
        }
    }
    assert_eq!(reason(&raw.frames().await), Some(ENHANCE_YOUR_CALM));
    assert_serves(&server, &authority).await;
}

#[tokio::test]
async fn d11_resets_of_the_server_that_a_client_provokes_end_the_connection() {
    let authority = Authority::new();
    let server = server(&authority, ConnectionLimits::default()).await;
    let mut raw = Raw::connect(&server, &authority).await;
    // A header that HTTP/2 does not know is an error of its stream.
    let head = [&block("GET", "/v2/")[..], b"\x00\x0aconnection\x05close"].concat();
    let mut asked = 0_u32;
    while asked < 100_000 {
        for stream in asked..asked + 1000 {
            raw.queue(HEADERS, END_HEADERS | END_STREAM, 2 * stream + 1, &head);
        }
        asked += 1000;
        if !raw.flush().await {
            break;
        }
    }
    assert_eq!(reason(&raw.frames().await), Some(ENHANCE_YOUR_CALM));
    assert!(asked < 100_000, "it is stopped on the way");
    assert_serves(&server, &authority).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let authority = Authority::new();
    let server = server(&authority, ConnectionLimits::default()).await;
    let mut client = Polite::connect(&server, &authority).await;
    let value = "v".repeat(crate::limits::HEADER_BYTES_MAX);
    let mut headers = HeaderMap::new();
    headers.insert("x-long", format!("{value}v").parse().unwrap());
    for count in 0..2_u32 {
        let mut request = Request::get(format!("https://{NAME}/v2/")).body(()).expect("legal");
        request.headers_mut().extend(headers.clone());
        let (response, _) = client.requests.send_request(request, true).expect("open");
        let response = timeout(PATIENCE, response).await.expect("in time").expect("an answer");
        assert_eq!(response.status().as_u16(), 431, "{count}");
        for index in 0..5 {
            headers
                .insert(http::HeaderName::from_bytes(format!("x-{index}").as_bytes()).unwrap(), value.parse().unwrap());
        }
    }
}
