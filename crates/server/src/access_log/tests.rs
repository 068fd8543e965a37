//! One line a request, with what the operator wants to know, and safe against what a client writes.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::{get, put};
use http::HeaderValue;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;

use super::*;
use crate::answerer::Answerer;
use crate::client_view::ViewSettings;
use crate::front::front;
use crate::metrics::Metrics;
use crate::request_id::RequestIds;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The lines that were logged on this thread, as JSON.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn capture() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn parsed(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = std::str::from_utf8(&bytes).expect("text");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("one object a line"));
        lines.filter(|line: &Value| line["target"] == "access").collect()
    }
}

fn router() -> Answerer {
    let facts = RequestFacts {
        repository: Some("team/app".parse().expect("a name")),
        reference: Some(Subject::Upload("1.2".to_owned())),
        digest: Some(DIGEST.parse().expect("a digest")),
        cache: Some(CacheStatus::Hit),
        upstream: None,
        door: Some("namespace"),
        principal: Some("alice".to_owned()),
        rule: Some("team".into()),
        decision: None,
    };
    let manifest = async move || {
        let mut response = "twelve bytes".into_response();
        response.extensions_mut().insert(facts);
        response.extensions_mut().insert(RouteLabel("manifest"));
        response
    };
    let upload = async |body: Body| {
        let _ = body.collect().await;
        StatusCode::CREATED
    };
    let streamed = async || {
        let frame = Frame::data(Bytes::from_static(b"abc"));
        let frames = futures_util::stream::iter([Ok::<_, io::Error>(frame)]).chain_pending();
        let mut response = Response::new(Body::new(StreamBody::new(frames)));
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("3"));
        response
    };
    let router = Router::new()
        .route("/v2/team/app/manifests/1.2", get(manifest))
        .route("/v2/upload", put(upload))
        .route("/v2/streamed", get(streamed))
        .route("/v2/hang", get(std::future::pending::<()>));
    front(router.into(), Arc::new(RequestIds::new(7)), Metrics::new("0").requests(), Arc::default())
}

trait ChainPending: Sized {
    fn chain_pending(self) -> futures_util::stream::Chain<Self, futures_util::stream::Pending<Self::Item>>
    where
        Self: futures_util::Stream,
    {
        futures_util::StreamExt::chain(self, futures_util::stream::pending())
    }
}

impl<S: futures_util::Stream> ChainPending for S {}

fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "a")
}

async fn send(request: http::request::Builder, body: &'static str) -> Response {
    router().answer(request.body(Body::from(body)).expect("a request")).await
}

#[tokio::test]
async fn the_line_has_the_facts_and_comes_after_the_last_byte() {
    let (lines, _guard) = Lines::capture();
    let response = send(request(Method::GET, "/v2/team/app/manifests/1.2"), "").await;
    assert_eq!(lines.parsed(), [] as [Value; 0], "the body is still on its way");
    response.into_body().collect().await.expect("a body");
    let mut line = lines.parsed().pop().expect("a line");
    assert!(line["duration_ms"].take().is_u64());
    let expected = json!({
        "level": "INFO", "target": "access", "message": "answered", "request.id": "00000007-1", "method": "GET",
        "path": "/v2/team/app/manifests/1.2", "status": 200, "bytes_sent": 12, "bytes_received": 0,
        "duration_ms": null, "cache": "hit", "repository": "team/app", "reference": "1.2", "digest": DIGEST,
        "door": "namespace", "principal": "alice", "rule": "team",
    });
    assert_eq!(line, expected);
}

#[tokio::test]
async fn there_is_one_line_for_each_request_whatever_became_of_it() {
    let (lines, _guard) = Lines::capture();
    let upload = send(request(Method::PUT, "/v2/upload"), "four").await;
    drop(upload.into_body().collect().await);
    drop(send(request(Method::HEAD, "/v2/team/app/manifests/1.2"), "").await);
    drop(send(request(Method::GET, "/v2/nothing"), "").await.into_body().collect().await);
    drop(
        send(Request::builder().uri("/v2/no-host").version(http::Version::HTTP_11), "")
            .await
            .into_body()
            .collect()
            .await,
    );
    drop(send(request(Method::GET, "/v2/team/app/manifests/1.2"), "").await);
    let hanging = send(request(Method::GET, "/v2/hang"), "");
    assert!(futures_util::FutureExt::now_or_never(hanging).is_none());

    let seen: Vec<_> = lines
        .parsed()
        .iter()
        .map(|line| {
            let number = |name: &str| line[name].as_u64();
            let text = line["message"].as_str().unwrap_or_default().to_owned();
            (text, number("status"), number("bytes_sent"), number("bytes_received"))
        })
        .collect();
    let row = |text: &str, status, sent, received| (text.to_owned(), status, Some(sent), Some(received));
    assert_eq!(
        seen,
        [
            row("answered", Some(201), 0, 4),
            row("answered", Some(200), 0, 0),
            row("answered", Some(404), 0, 0),
            row("answered", Some(400), 99, 0),
            row("aborted", Some(200), 0, 0),
            row("aborted", None, 0, 0),
        ]
    );
}

#[tokio::test]
async fn a_body_that_was_read_to_its_announced_length_is_complete() {
    let (lines, _guard) = Lines::capture();
    let mut body = send(request(Method::GET, "/v2/streamed"), "").await.into_body();
    body.frame().await.expect("a frame").expect("data");
    drop(body);
    assert_eq!(lines.parsed()[0]["message"], "answered");
}

#[tokio::test]
async fn what_a_client_writes_cannot_make_a_line_or_a_terminal_command() {
    let (lines, _guard) = Lines::capture();
    let long = "x".repeat(LOGGED_USER_AGENT_MAX + 50);
    for agent in ["tab\tand \u{9b}31m", &long] {
        let agent = HeaderValue::from_bytes(agent.as_bytes()).expect("legal bytes");
        drop(send(request(Method::GET, "/v2/a").header(header::USER_AGENT, agent), "").await);
    }
    drop(send(request(Method::GET, "/v2/%0a%1b[31m"), "").await);
    let lines = lines.parsed();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["user_agent"], "tab\\u{9}and \\u{9b}31m");
    assert_eq!(lines[1]["user_agent"].as_str().map(str::len), Some(LOGGED_USER_AGENT_MAX));
    assert_eq!(lines[2]["path"], "/v2/%0a%1b[31m");
}

#[tokio::test]
async fn a14_the_client_is_the_socket_or_whom_a_trusted_proxy_names() {
    let (lines, _guard) = Lines::capture();
    let trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    let view = ViewSettings { trusted_proxies, ..ViewSettings::default() };
    let (ids, metrics) = (Arc::new(RequestIds::new(7)), Metrics::new("0").requests());
    let router = front(Router::new().into(), ids, metrics, Arc::new(view));
    for peer in ["10.0.0.1:5", "11.0.0.1:5"] {
        let peer = Peer::new(peer.parse().expect("an address"), false);
        let request = request(Method::GET, "/v2/").header("x-forwarded-for", "1.2.3.4").extension(peer);
        drop(router.answer(request.body(Body::empty()).expect("a request")).await);
    }
    let clients: Vec<_> = lines.parsed().iter().map(|line| line["client"].clone()).collect();
    assert_eq!(clients, ["1.2.3.4", "11.0.0.1:5"]);
}

#[test]
fn printable_text_is_left_alone_and_the_rest_is_escaped() {
    let rows = [
        ("docker/28.1 (linux)", "docker/28.1 (linux)"),
        ("a\nb", "a\\u{a}b"),
        ("\u{1b}[0m", "\\u{1b}[0m"),
        ("caf\u{e9}", "caf\u{e9}"),
        ("\u{202e}txt", "\\u{202e}txt"),
    ];
    for (text, expected) in rows {
        assert_eq!(printable(text, 100), expected);
    }
    assert_eq!(printable("abcdef", 3), "abc");
}
