//! What every request must keep to, and what every answer carries, whatever the route.
//!
//! Requests are refused that two servers in a row could understand differently (no host, two hosts, two lengths), that
//! are absurd in size, or whose body is compressed. Refusals have the same error body as everything else. A handler that
//! panics costs its own request and nothing more.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::str::FromStr;

use axum::extract::Request;
use axum::response::Response;
use entrepot_oci::ErrorCode;
use futures_util::FutureExt;
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};

use crate::client_view::ClientView;
use crate::connection::Peer;
use crate::door::is_registry_path;
use crate::error::ErrorResponse;
use crate::health::is_health_path;
use crate::limits::{HEADER_BYTES_MAX, TARGET_BYTES_MAX};
use crate::request_id::RequestId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Why a request is not even routed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the server has as many connections as it may have, try again in a moment")]
    OverLimit,
    #[error("the request target is longer than {TARGET_BYTES_MAX} bytes")]
    TargetTooLong,
    #[error("the header {name} is longer than {HEADER_BYTES_MAX} bytes")]
    HeaderTooLong { name: HeaderName },
    #[error("the request has no Host header")]
    HostMissing,
    #[error("the request has more than one Host header")]
    HostRepeated,
    #[error("the Host header is not a host with an optional port")]
    HostInvalid,
    #[error("the Host header and the request target name different hosts")]
    HostContradicted,
    #[error("the request has both Content-Length and Transfer-Encoding")]
    AmbiguousLength,
    #[error("request bodies must be sent without Content-Encoding")]
    EncodedBody,
    #[error("a web page wants to change something here, which is for clients of registries and for the command line")]
    ForeignPage,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::OverLimit => StatusCode::SERVICE_UNAVAILABLE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeaderTooLong { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::EncodedBody => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ForeignPage => StatusCode::FORBIDDEN,
            Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::HostContradicted
            | Self::AmbiguousLength => StatusCode::BAD_REQUEST,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::OverLimit => ErrorCode::UNAVAILABLE,
            Self::ForeignPage => ErrorCode::DENIED,
            _ => ErrorCode::UNSUPPORTED,
        }
    }
}

/// Refuses what must not be routed, has the rest answered, and marks every answer.
pub(crate) async fn enforce<F>(id: RequestId, mut request: Request, answer: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let is_registry = is_registry_path(request.uri().path());
    request.headers_mut().remove(REQUEST_ID);
    let mut response = match check(&request) {
        Ok(()) => {
            let is_head = request.method() == Method::HEAD;
            // By reference: passed on by value, the largest future of a request would have its place twice in it.
            guarded(id, is_head, pin!(answer(request))).await
        }
        Err(refusal) => refused(&refusal, request.method() == Method::HEAD, Some(id)),
    };
    let headers = response.headers_mut();
    if is_registry {
        headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REQUEST_ID, id.into());
    response
}

fn check(request: &Request) -> Result<(), Refusal> {
    let peer = request.extensions().get::<Peer>();
    if peer.is_some_and(|peer| peer.ambiguous_length) {
        return Err(Refusal::AmbiguousLength);
    }
    if peer.is_some_and(|peer| peer.over_limit) && !is_health_path(request.uri().path()) {
        return Err(Refusal::OverLimit);
    }
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > TARGET_BYTES_MAX) {
        return Err(Refusal::TargetTooLong);
    }
    let too_long = request.headers().iter().find(|(_, value)| value.len() > HEADER_BYTES_MAX);
    if let Some((name, _)) = too_long {
        return Err(Refusal::HeaderTooLong { name: name.clone() });
    }
    check_host(request)?;
    check_origin(request)?;
    check_encoding(request)
}

/// A browser tells from which site the page is that sends something that could change anything. Registry clients are no pages. The name
/// in `Host` is no excuse: a page's own name can be made to lead to this server.
fn check_origin(request: &Request) -> Result<(), Refusal> {
    let is_pages = request.headers().contains_key(header::ORIGIN);
    if is_pages && !request.method().is_safe() { Err(Refusal::ForeignPage) } else { Ok(()) }
}

/// <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>: exactly one valid `Host`. HTTP/1.0, which some health checkers still
/// speak, knows no such header, and HTTP/2 has `:authority` in its place, which is the authority of the target here.
fn check_host(request: &Request) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        if let Some(target) = request.uri().authority().filter(|_| request.version() == Version::HTTP_2) {
            return authority(target.as_str()).map(|_| ()).ok_or(Refusal::HostInvalid);
        }
        let is_required = request.version() >= Version::HTTP_11;
        return if is_required { Err(Refusal::HostMissing) } else { Ok(()) };
    };
    if hosts.next().is_some() {
        return Err(Refusal::HostRepeated);
    }
    let host = host.to_str().map_err(|_| Refusal::HostInvalid)?;
    match request.uri().authority() {
        // What the view is made of was found good.
        None if seen_host(request) == Some(host) => Ok(()),
        None => authority(host).map(|_| ()).ok_or(Refusal::HostInvalid),
        Some(target) if *target == authority(host).ok_or(Refusal::HostInvalid)? => Ok(()),
        Some(_) => Err(Refusal::HostContradicted),
    }
}

/// The host as it was read for the view of the client.
fn seen_host(request: &Request) -> Option<&str> {
    request.extensions().get::<ClientView>()?.base_url.seen_host()
}

/// A host with an optional port, and nothing else that an authority may have.
pub(crate) fn authority(text: &str) -> Option<Authority> {
    let authority = Authority::from_str(text).ok()?;
    // Asked once: it looks for the host anew each time.
    let host = authority.host();
    let port_is_valid = match text.strip_prefix(host)? {
        "" => true,
        port => port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()),
    };
    (!host.is_empty() && port_is_valid).then_some(authority)
}

/// A compressed body could grow without bound, and its digest would not be that of the content.
fn check_encoding(request: &Request) -> Result<(), Refusal> {
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    let is_encoded = request.headers().get_all(header::CONTENT_ENCODING).iter().any(|value| !is_plain(value));
    if is_encoded && !http_body::Body::is_end_stream(request.body()) {
        return Err(Refusal::EncodedBody);
    }
    Ok(())
}

fn refused(refusal: &Refusal, is_head: bool, id: Option<RequestId>) -> Response {
    tracing::debug!(reason = %refusal, "request refused");
    let error = ErrorResponse::new(refusal.code(), refusal.to_string()).with_status(refusal.status());
    let mut response = error.into_response(is_head, id);
    if *refusal == Refusal::OverLimit {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The answer, or what is left to say after a panic.
async fn guarded(id: RequestId, is_head: bool, answer: Pin<&mut impl Future<Output = Response>>) -> Response {
    // Nothing of a request outlives its panic but what is shared, and that is behind locks which tell poisoned from sound.
    let outcome = AssertUnwindSafe(answer).catch_unwind().await;
    outcome.unwrap_or_else(|panic| {
        let cause = panic_message(panic.as_ref());
        tracing::error!(request.id = %id, cause, "a request handler panicked");
        ErrorResponse::new(ErrorCode::UNKNOWN, ErrorCode::UNKNOWN.meaning()).into_response(is_head, Some(id))
    })
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests;
