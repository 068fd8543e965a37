//! The front on real sockets: what a client sees that is slow, hostile or merely unusual.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{ServeOutcome, serve};
use crate::client_view::ClientView;
use crate::connection::ConnectionLimits;
use crate::front::front;
use crate::health::Health;
use crate::limits::{HEAD_BYTES_MAX, HEADER_BYTES_MAX, TARGET_BYTES_MAX};
use crate::metrics::{ConnectionMetrics, Metrics};
use crate::request_body::BodyStalled;
use crate::request_id::RequestIds;
use crate::tls::Tls;

/// Long enough for any machine; reached only when a test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A timeout that a test waits for.
pub(super) const SHORT: Duration = Duration::from_millis(150);

pub(super) struct Server {
    pub(super) address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<ServeOutcome>,
    pub(super) metrics: ConnectionMetrics,
    /// One message for each endless body that was dropped.
    pub(super) dropped: mpsc::UnboundedReceiver<()>,
}

impl Server {
    async fn start(limits: ConnectionLimits) -> Self {
        Self::start_with(limits, None).await
    }

    pub(super) async fn start_with(limits: ConnectionLimits, tls: Option<Arc<Tls>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, dropped) = mpsc::unbounded_channel();
        let metrics = Metrics::new("0");
        let router = front(routes(tell).into(), Arc::new(RequestIds::new(1)), metrics.requests(), Arc::default());
        let shutdown = async {
            let _ = stopped.await;
        };
        let metrics = metrics.connections();
        let task = TaskTracker::new().spawn(serve(listener, tls, router, limits, metrics.clone(), shutdown));
        Self { address, stop, task, metrics, dropped }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.expect("a connection"))
    }

    /// Sends bytes on a connection of their own and returns everything that comes back until the server closes it.
    async fn answer_to(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.rest().await
    }

    pub(super) async fn stop(self) -> ServeOutcome {
        self.stop.send(()).expect("the server runs");
        tokio::time::timeout(PATIENCE, self.task).await.expect("an end").expect("no panic")
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("the server reads");
    }

    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.0.read_to_end(&mut bytes);
        tokio::time::timeout(PATIENCE, read).await.expect("the server closes").expect("without a reset");
        String::from_utf8(bytes).expect("text")
    }

    /// Reads until what was read ends in `end`.
    async fn until(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let byte = tokio::time::timeout(PATIENCE, self.0.read_u8()).await.expect("more").expect("no end");
            text.push(char::from(byte));
        }
        text
    }
}

fn routes(dropped: mpsc::UnboundedSender<()>) -> Router {
    Router::new()
        .route("/v2/", get(async || "{}"))
        .route("/v2/view", get(view))
        .route("/v2/blob", get(async || Bytes::from_static(b"twelve bytes")))
        .route("/v2/upload", put(upload))
        .route("/v2/refused", put(async || (StatusCode::PAYLOAD_TOO_LARGE, "too large")))
        .route("/v2/panic", get(async || -> Response { panic!("for a test") }))
        .route("/v2/broken", get(broken))
        .route("/v2/endless", get(async move || endless(dropped)))
        .merge(Health::new(async || Ok(())).router())
}

async fn view(request: Request) -> String {
    let view = request.extensions().get::<ClientView>().expect("a view");
    format!("{} {}", view.base_url, view.certificate.as_deref().unwrap_or("-"))
}

async fn upload(body: Body) -> Response {
    match body.collect().await {
        Ok(body) => (StatusCode::CREATED, format!("{} bytes", body.to_bytes().len())).into_response(),
        Err(error) if BodyStalled::find(&error).is_some() => StatusCode::REQUEST_TIMEOUT.into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

struct TellDrop(mpsc::UnboundedSender<()>);

impl Drop for TellDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn endless(dropped: mpsc::UnboundedSender<()>) -> Response {
    let frames = futures_util::stream::unfold(TellDrop(dropped), |tell| async {
        let frame = http_body::Frame::data(Bytes::from_static(&[b'x'; 16 * 1024]));
        Some((Ok::<_, std::convert::Infallible>(frame), tell))
    });
    Response::new(Body::new(StreamBody::new(frames)))
}

/// A hundred bytes that fail: at once, or behind as many as the query says.
async fn broken(request: Request) -> Response {
    let count = request.uri().query().map_or(0, |query| query.parse().expect("a number"));
    let frames = (0..count).map(|_| Ok(http_body::Frame::data(Bytes::from_static(b"x"))));
    let frames = frames.chain([Err(std::io::Error::other("for a test"))]);
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    ([(header::CONTENT_LENGTH, "100")], body).into_response()
}

pub(super) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("no answer")
}

#[tokio::test]
async fn requests_that_could_be_understood_in_two_ways_are_refused() {
    let server = Server::start(ConnectionLimits::default()).await;
    let rows = [
        ("GET /v2/ HTTP/1.1\r\n\r\n", "400"),
        ("GET /v2/ HTTP/1.0\r\n\r\n", "200"),
        ("GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("GET /v2/ HTTP/1.1\r\nHost:\r\n\r\n", "400"),
        ("GET /v2/ HTTP/1.1\r\nHost: user@a\r\n\r\n", "400"),
        ("GET /v2/ HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
        ("GET /v2/ HTTP/1.1\r\nHost: a:port\r\n\r\n", "400"),
        ("GET /v2/ HTTP/1.1\r\nHost: a:5000\r\n\r\n", "200"),
        ("GET /v2/ HTTP/1.1\r\nHost: [::1]:5000\r\n\r\n", "200"),
        ("GET http://a/v2/ HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        ("GET http://b/v2/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /v2/ HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
        ("GET /v2/ HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", "400"),
        ("PUT /v2/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"),
        ("PUT /v2/upload HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", "400"),
        ("PUT /v2/upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "400"),
        ("PUT /v2/upload HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        ("PUT /v2/upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", "400"),
        ("PUT /v2/upload HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\na", "415"),
        ("PUT /v2/upload HTTP/1.1\r\nHost: a\r\nContent-Encoding: identity\r\nContent-Length: 1\r\n\r\na", "201"),
    ];
    for (request, expected) in rows {
        let mut client = server.connect().await;
        client.send(request).await;
        client.0.shutdown().await.expect("the end of what we say");
        let answer = client.rest().await;
        assert_eq!(status(&answer), expected, "{request:?} was answered {answer:?}");
    }
    assert_eq!(server.stop().await, ServeOutcome { connections_cut: 0 });
}

#[tokio::test]
async fn two_lengths_end_the_connection_before_anything_can_be_smuggled() {
    let server = Server::start(ConnectionLimits::default()).await;
    let smuggled = "GET /v2/blob HTTP/1.1\r\nHost: a\r\n\r\n";
    for lengths in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    {
        let answer = server
            .answer_to(format!("PUT /v2/upload HTTP/1.1\r\nHost: a\r\n{lengths}\r\n\r\n0\r\n\r\n{smuggled}"))
            .await;
        assert_eq!(status(&answer), "400", "{answer}");
        assert!(answer.contains("Content-Length and Transfer-Encoding"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
    // Behind another request the bytes are no longer seen on their way in, but the connection ends as well.
    let answer = server
        .answer_to(format!(
            "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\nPUT /v2/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ))
        .await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 2, "{answer}");
    assert!(!answer.contains("twelve bytes"), "{answer}");
}

#[tokio::test]
async fn heads_without_measure_are_refused() {
    let server = Server::start(ConnectionLimits::default()).await;
    let value = "v".repeat(HEADER_BYTES_MAX + 1);
    let target = "t".repeat(TARGET_BYTES_MAX);
    let many = "X: v\r\n".repeat(100);
    let large = format!("X: {}\r\n", "v".repeat(HEADER_BYTES_MAX)).repeat(HEAD_BYTES_MAX / HEADER_BYTES_MAX);
    let endless = "v".repeat(HEAD_BYTES_MAX);
    let rows = [
        (format!("GET /v2/ HTTP/1.1\r\nHost: a\r\nX: {value}\r\nConnection: close\r\n\r\n"), "431"),
        (format!("GET /{target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), "414"),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "t".repeat(1000)), "404"),
        (format!("GET /v2/ HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431"),
        (format!("GET /v2/ HTTP/1.1\r\nHost: a\r\n{large}\r\n"), "431"),
        (format!("GET /v2/ HTTP/1.1\r\nHost: a\r\nX: {endless}"), "431"),
    ];
    for (request, expected) in rows {
        let mut client = server.connect().await;
        client.send(&request).await;
        let head = client.until("\r\n\r\n").await;
        assert_eq!(status(&head), expected, "{}… was answered {head}", &request[..60]);
    }
}

#[tokio::test]
async fn a_half_sent_head_is_closed_and_the_next_client_is_served() {
    let limits = ConnectionLimits { head_timeout: SHORT, ..ConnectionLimits::default() };
    let server = Server::start(limits).await;
    let started = Instant::now();
    let mut silent = server.connect().await;
    let mut half = server.connect().await;
    half.send("GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Half").await;
    assert_eq!((silent.rest().await, half.rest().await), (String::new(), String::new()));
    assert!(started.elapsed() >= SHORT);
    let answer = server.answer_to("GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&answer), "200");
}

#[tokio::test]
async fn a_connection_is_kept_between_requests_for_the_idle_time_only() {
    let limits = ConnectionLimits { head_timeout: PATIENCE, idle_timeout: SHORT, ..ConnectionLimits::default() };
    let server = Server::start(limits).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send("GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(status(&client.until("{}").await), "200");
    }
    assert_eq!(client.rest().await, "", "closed without a word");
}

#[tokio::test]
async fn requests_that_are_sent_ahead_are_answered_in_order() {
    let server = Server::start(ConnectionLimits::default()).await;
    let answer = server
        .answer_to(
            "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\nHEAD /v2/blob HTTP/1.1\r\nHost: a\r\n\r\n\
             PUT /v2/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
             GET /v2/blob HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
    let bodies: Vec<_> =
        answer.split("HTTP/1.1 ").skip(1).map(|one| one.split_once("\r\n\r\n").expect("a head")).collect();
    let seen: Vec<_> = bodies.iter().map(|(head, body)| (&head[..3], *body)).collect();
    assert_eq!(seen, [("200", "{}"), ("200", ""), ("201", "3 bytes"), ("200", "twelve bytes")]);
    assert!(bodies[1].0.contains("content-length: 12"), "HEAD tells the true length: {}", bodies[1].0);
}

#[tokio::test]
async fn every_registry_answer_is_marked_and_ids_are_ours() {
    let server = Server::start(ConnectionLimits::default()).await;
    for (path, is_registry) in
        [("/v2/", true), ("/v2/nothing", true), ("/v2", true), ("/healthz", false), ("/v22", false)]
    {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: evil\r\nConnection: close\r\n\r\n");
        let answer = server.answer_to(request).await;
        assert_eq!(answer.contains("docker-distribution-api-version: registry/2.0\r\n"), is_registry, "{answer}");
        assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
        assert!(answer.contains("x-request-id: 00000001-"), "{answer}");
        assert!(!answer.contains("evil"), "{answer}");
    }
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let server = Server::start(ConnectionLimits::default()).await;
    let mut client = server.connect().await;
    client.send("GET /v2/panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = client.until("\"}]}").await;
    assert_eq!(status(&answer), "500");
    assert!(answer.contains(r#""code":"UNKNOWN""#) && !answer.contains("for a test"), "{answer}");
    client.send("GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&client.rest().await), "200", "on the same connection");
}

#[tokio::test]
async fn a_body_that_stops_ends_in_a_typed_error() {
    let limits = ConnectionLimits { body_stall_timeout: SHORT, ..ConnectionLimits::default() };
    let server = Server::start(limits).await;
    let mut client = server.connect().await;
    client.send("PUT /v2/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc").await;
    let head = client.until("\r\n\r\n").await;
    assert_eq!(status(&head), "408");
}

#[tokio::test]
async fn what_comes_before_the_failure_of_a_body_arrives() {
    let server = Server::start(ConnectionLimits::default()).await;
    for count in [0, 1, 99] {
        // Sent ahead, so that the answer before it is still on its way when the body fails.
        let ahead = "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = server.answer_to(format!("{ahead}GET /v2/broken?{count} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let (before, answer) = answer.split_at(answer.rfind("HTTP/1.1 ").expect("an answer"));
        assert!(before.ends_with("{}"), "{before}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        assert!(status(head) == "200" && head.contains("content-length: 100"), "{head}");
        assert_eq!(body, "x".repeat(count));
    }
}

#[tokio::test]
async fn a_reader_that_stalls_frees_what_it_was_sent() {
    let limits = ConnectionLimits { write_stall_timeout: SHORT, ..ConnectionLimits::default() };
    let mut server = Server::start(limits).await;
    let mut client = server.connect().await;
    client.send("GET /v2/endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::timeout(PATIENCE, server.dropped.recv()).await.expect("in time").expect("the body is dropped");
    drop(client);
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let server = Server::start(ConnectionLimits::default()).await;
    let mut client = server.connect().await;
    let size = 16 * 1024 * 1024;
    client.send(format!("PUT /v2/refused HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")).await;
    let (mut reading, mut writing) = client.0.split();
    let sending = async {
        writing.write_all(&vec![0; size]).await.expect("the server goes on reading");
        writing.shutdown().await.expect("all was sent");
    };
    let mut answer = Vec::new();
    let (read, ()) = tokio::join!(reading.read_to_end(&mut answer), sending);
    read.expect("no reset");
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!(status(&answer), "413");
    assert!(
        answer.contains("connection: close\r\n"),
        "a client that is not told would send its next request: {answer}"
    );
}

#[tokio::test]
async fn a_body_of_unknown_length_that_was_read_to_its_end_leaves_the_connection_open() {
    let server = Server::start(ConnectionLimits::default()).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send("PUT /v2/upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        client.send("3\r\nabc\r\n0\r\n\r\n").await;
        let answer = client.until("3 bytes").await;
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn beyond_the_limit_only_health_checks_are_answered() {
    let limits = ConnectionLimits { connections_max: 1, ..ConnectionLimits::default() };
    let server = Server::start(limits).await;
    let mut first = server.connect().await;
    first.send("GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    first.until("{}").await;

    let refused = server.answer_to("GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(status(&refused), "503");
    assert!(refused.contains("retry-after: 1\r\n") && refused.contains(r#""code":"UNAVAILABLE""#), "{refused}");
    let health = server.answer_to("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(status(&health), "200");

    first.send("GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&first.rest().await), "200", "who was there first is served on");
    // The slot is free when the connection's task has ended, which is a moment after its socket was closed.
    let free = async {
        while status(&server.answer_to("GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await) != "200" {}
    };
    tokio::time::timeout(PATIENCE, free).await.expect("room again");
}

#[tokio::test]
async fn http_2_on_a_plain_socket_is_closed() {
    let server = Server::start(ConnectionLimits::default()).await;
    assert_eq!(server.answer_to("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, "");
}

#[tokio::test]
async fn shutdown_lets_go_of_idle_clients_and_waits_for_busy_ones() {
    let server = Server::start(ConnectionLimits::default()).await;
    let mut idle = server.connect().await;
    idle.send("GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    idle.until("{}").await;
    let mut busy = server.connect().await;
    busy.send("PUT /v2/upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    busy.until("100 Continue\r\n\r\n").await;

    let address = server.address;
    let stopping = TaskTracker::new().spawn(server.stop());
    assert_eq!(idle.rest().await, "");
    assert!(TcpStream::connect(address).await.is_err(), "nobody is let in any more");
    busy.send("abc").await;
    assert_eq!(status(&busy.rest().await), "201");
    assert_eq!(stopping.await.expect("no panic"), ServeOutcome { connections_cut: 0 });
}

#[tokio::test]
async fn shutdown_cuts_what_does_not_end_and_says_how_many() {
    let limits = ConnectionLimits { shutdown_timeout: SHORT, ..ConnectionLimits::default() };
    let mut server = Server::start(limits).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        client.send("GET /v2/endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.until("\r\n\r\n").await;
        clients.push(client);
    }
    let mut dropped = std::mem::replace(&mut server.dropped, mpsc::unbounded_channel().1);
    assert_eq!(server.stop().await, ServeOutcome { connections_cut: 2 });
    for _ in clients {
        dropped.recv().await.expect("the body is dropped");
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_sent_in_chunks_and_a_known_one_is_not() {
    let server = Server::start(ConnectionLimits::default()).await;
    let known = server.answer_to("GET /v2/blob HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(known.contains(&format!("{}: 12\r\n", header::CONTENT_LENGTH)), "{known}");
    let mut client = server.connect().await;
    client.send("GET /v2/endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.until("\r\n\r\n").await.contains("transfer-encoding: chunked\r\n"));
}
