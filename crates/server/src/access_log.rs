//! One line in the log, and one count in the metrics, for every request.
//!
//! The line is written when the response body has ended, or when the client was seen to be gone: only then are the
//! bytes and the time known. It is an event of target `access`; how it looks is the business of the subscriber. Text
//! that comes from the client is bounded and has its control characters escaped before it gets here.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use entrepot_oci::{Digest, RepositoryName};
use entrepot_registry::CacheStatus;
use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

use crate::client_view::ClientView;
use crate::connection::Peer;
use crate::limits::{LOGGED_PATH_MAX, LOGGED_USER_AGENT_MAX};
use crate::metrics::{CountedRequest, RequestMetrics, RouteLabel};
use crate::request_id::RequestId;
use crate::route::Subject;

/// What a handler knows about its request and the log should say; it goes among the extensions of the response. What is typed is
/// shared with the request, and becomes text when a line is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// The repository, as in the path or as the path was understood.
    pub repository: Option<RepositoryName>,
    /// What of the repository was asked for.
    pub reference: Option<Subject>,
    /// The digest that was answered.
    pub digest: Option<Digest>,
    /// What the cache had to do with it; nothing for hosted content.
    pub cache: Option<CacheStatus>,
    /// The name of the upstream behind the repository.
    pub upstream: Option<String>,
    /// How the client spelled that it wants another registry's content: `path`, `namespace`, `mirror` or `root`.
    pub door: Option<&'static str>,
    /// Who has asked; nothing where nobody is asked who he is.
    pub principal: Option<String>,
    /// The rule that lets him.
    pub rule: Option<Arc<str>>,
    /// What was decided about what he may.
    pub decision: Option<Decision>,
}

/// What is known of a request once it is answered, beside the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) route: Option<RouteLabel>,
    pub(crate) facts: RequestFacts,
}

impl Told {
    /// Among the extensions of a response, where a router is in between.
    pub(crate) fn put_into(self, response: &mut Response) {
        if let Some(route) = self.route {
            response.extensions_mut().insert(route);
        }
        response.extensions_mut().insert(self.facts);
    }

    pub(crate) fn taken_out_of(response: &mut Response) -> Self {
        let extensions = response.extensions_mut();
        Self { route: extensions.remove(), facts: extensions.remove().unwrap_or_default() }
    }
}

/// A decision, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The word for what somebody wanted to do.
    pub action: &'static str,
    /// The word for what came of it.
    pub outcome: &'static str,
}

/// Who asked.
#[derive(Debug)]
enum Client {
    /// The other end of the socket.
    Direct(SocketAddr),
    /// Whom a proxy names.
    Forwarded(IpAddr),
}

impl Client {
    /// Nothing for requests by the server's own socket.
    fn of(extensions: &Extensions) -> Option<Self> {
        let address = extensions.get::<ClientView>()?.address?;
        let peer = extensions.get::<Peer>().map(|peer| peer.address).filter(|peer| peer.ip().to_canonical() == address);
        Some(peer.map_or(Self::Forwarded(address), Self::Direct))
    }
}

impl fmt::Display for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(address) => address.fmt(formatter),
            Self::Forwarded(address) => address.fmt(formatter),
        }
    }
}

/// One request from its head to the end of its answer. Dropping it writes the line.
///
/// It keeps what the request was made of, which costs a count each, and no text: most lines are never written.
#[derive(Debug)]
pub(crate) struct Exchange {
    id: RequestId,
    started: Instant,
    client: Option<Client>,
    method: Method,
    uri: Uri,
    user_agent: Option<HeaderValue>,
    status: Option<StatusCode>,
    told: Told,
    sent: u64,
    /// The length that the client was told, if it was told one.
    announced: Option<u64>,
    /// The bytes of the request's body, where it has one.
    received: Option<Arc<AtomicU64>>,
    complete: bool,
    metrics: RequestMetrics,
}

impl Exchange {
    /// Begins the exchange of this request, whose body is counted from here on.
    pub(crate) fn begin(id: RequestId, request: &mut Request, metrics: RequestMetrics) -> Box<Self> {
        Box::new(Self {
            id,
            started: Instant::now(),
            client: Client::of(request.extensions()),
            method: request.method().clone(),
            uri: request.uri().clone(),
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
            status: None,
            told: Told::default(),
            sent: 0,
            announced: None,
            received: count_received(request.body_mut()),
            complete: false,
            metrics,
        })
    }

    /// What whoever answers knows about the request.
    pub(crate) fn tell(&mut self, told: Told) {
        self.told = told;
    }

    /// The answer, which ends the exchange with its last byte.
    pub(crate) fn answered(mut self: Box<Self>, response: Response) -> Response {
        self.answer(&response);
        response.map(|body| Body::new(SentBody { body, exchange: self }))
    }

    fn answer(&mut self, response: &Response) {
        self.status = Some(response.status());
        self.announced = content_length(response.headers()).or_else(|| response.body().size_hint().exact());
        // These have no body that could be cut short: nobody ever polls it.
        self.complete = self.method == Method::HEAD
            || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    }

    fn write_line(&self, bytes_received: u64, duration_ms: u64) {
        let outcome = if self.complete { "answered" } else { "aborted" };
        // The fields are made only where somebody wants the line.
        tracing::info!(
            target: "access",
            {
                request.id = %self.id,
                client = self.client.as_ref().map(tracing::field::display),
                method = self.method.as_str(),
                path = &*printable(self.uri.path(), LOGGED_PATH_MAX),
                status = self.status.map(|status| status.as_u16()),
                bytes_sent = self.sent,
                bytes_received,
                duration_ms,
                cache = self.told.facts.cache.map_or("-", CacheStatus::as_str),
                repository = self.told.facts.repository.as_ref().map(RepositoryName::as_str),
                reference = self.told.facts.reference.as_ref().map(|subject| shown(subject.as_str())),
                digest = self.told.facts.digest.as_ref().map(Digest::as_str),
                upstream = self.told.facts.upstream.as_deref().map(shown),
                door = self.told.facts.door,
                principal = self.told.facts.principal.as_deref().map(shown),
                rule = self.told.facts.rule.as_deref(),
                user_agent = self.user_agent.as_ref().map(readable),
            },
            "{outcome}"
        );
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let bytes_received = self.received.as_ref().map_or(0, |received| received.load(Ordering::Relaxed));
        self.metrics.count(&CountedRequest {
            route: self.told.route,
            method: &self.method,
            status: self.status,
            bytes_sent: self.sent,
            bytes_received,
            duration,
            cache: self.told.facts.cache,
            door: self.told.facts.door,
            decision: self.told.facts.decision,
        });
        self.write_line(bytes_received, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }
}

/// A response body that is counted, and that ends its exchange when it is dropped.
///
/// The size hint is passed on exactly: from it comes `Content-Length`.
struct SentBody {
    body: Body,
    exchange: Box<Exchange>,
}

impl http_body::Body for SentBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let outcome = Pin::new(&mut self.body).poll_frame(context);
        match &outcome {
            Poll::Ready(None) => self.exchange.complete = true,
            Poll::Ready(Some(Ok(frame))) => {
                self.exchange.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            _ => {}
        }
        outcome
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for SentBody {
    fn drop(&mut self) {
        // A body of known length is not polled again after its last byte.
        self.exchange.complete |= self.body.is_end_stream() || self.exchange.announced == Some(self.exchange.sent);
    }
}

/// Puts a counter around a request body, where there is one.
fn count_received(body: &mut Body) -> Option<Arc<AtomicU64>> {
    if body.is_end_stream() {
        return None;
    }
    let received = Arc::<AtomicU64>::default();
    let counted = ReceivedBody { body: std::mem::take(body), received: Arc::clone(&received) };
    *body = Body::new(counted);
    Some(received)
}

/// A request body that is counted.
struct ReceivedBody {
    body: Body,
    received: Arc<AtomicU64>,
}

impl http_body::Body for ReceivedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let outcome = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &outcome {
            self.received.fetch_add(frame.data_ref().map_or(0, |data| data.len() as u64), Ordering::Relaxed);
        }
        outcome
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The value of `User-Agent` as it is logged.
pub(crate) fn readable(user_agent: &HeaderValue) -> String {
    printable(&String::from_utf8_lossy(user_agent.as_bytes()), LOGGED_USER_AGENT_MAX).into_owned()
}

/// What may come from a client, as it is logged.
pub(crate) fn shown(text: &str) -> String {
    printable(text, LOGGED_PATH_MAX).into_owned()
}

/// The text with control and other unprintable characters escaped, cut after `length_max` characters.
pub(crate) fn printable(text: &str, length_max: usize) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if text.len() <= length_max && text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut printable = String::new();
    for character in text.chars().take(length_max) {
        if character.is_control() || !(character.is_alphanumeric() || character.is_ascii()) {
            printable.extend(character.escape_unicode());
        } else {
            printable.push(character);
        }
    }
    Cow::Owned(printable)
}

#[cfg(test)]
mod tests;
