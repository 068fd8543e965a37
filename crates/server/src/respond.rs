//! Building answers: the headers that the specification and its clients want, each in one place.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use entrepot_oci::{Digest, RepositoryName};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LINK, LOCATION, WARNING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::conditional::entity_tag;

/// The digest of the content that an answer carries or names.
pub(crate) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The id of an upload session.
pub(crate) const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// The subject that a pushed manifest was listed under.
pub(crate) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// A tag that a push by digest set.
pub(crate) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// The registry that the client has asked a mirror for.
pub(crate) const OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
/// The filters that a list of referrers went through.
pub(crate) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// `Cache-Control` of what can never change.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("max-age=31536000, immutable");
/// `Cache-Control` of what may have changed at the next request.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// What stays readable in the value of a query parameter.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An answer under construction.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
}

impl Answer {
    pub(crate) fn new(status: StatusCode) -> Self {
        // Room for those of a pull and those that every answer gets.
        Self { status, headers: HeaderMap::with_capacity(10) }
    }

    /// Adds a header whose value is made of names, digests and numbers, which are always legal.
    pub(crate) fn header(self, name: HeaderName, value: impl AsRef<str>) -> Self {
        self.value(name, legal(HeaderValue::from_str(value.as_ref())))
    }

    fn value(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    pub(crate) fn content_digest(self, digest: &Digest) -> Self {
        self.header(DOCKER_CONTENT_DIGEST, digest.as_str())
    }

    /// The headers that let clients and caches keep the content: for ever under its digest, until asked again under a tag.
    pub(crate) fn cached(self, digest: &Digest, is_immutable: bool) -> Self {
        let cache_control = if is_immutable { IMMUTABLE } else { REVALIDATE };
        self.value(ETAG, legal(HeaderValue::try_from(entity_tag(digest)))).value(CACHE_CONTROL, cache_control)
    }

    /// Where the content or the session is, relative to the root: right behind any reverse proxy.
    pub(crate) fn location(self, path: impl AsRef<str>) -> Self {
        self.header(LOCATION, path)
    }

    /// A note for the user, in the one form that clients understand.
    pub(crate) fn warning(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.header(WARNING, warning_value(text)),
            None => self,
        }
    }

    /// The way to the next page.
    pub(crate) fn next(self, path: &str, parameters: &[(&str, &str)]) -> Self {
        let query: Vec<String> = parameters
            .iter()
            .map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, QUERY_VALUE)))
            .collect();
        self.header(LINK, format!("<{path}?{}>; rel=\"next\"", query.join("&")))
    }

    /// Ends with nothing.
    pub(crate) fn empty(self) -> Response {
        self.sized(0, Body::empty())
    }

    /// Ends with nothing and without a length, for the statuses that may not have one.
    pub(crate) fn bodiless(self) -> Response {
        self.finish(Body::new(Nothing))
    }

    /// Ends with these bytes, or only their length when the request was a HEAD.
    pub(crate) fn bytes(self, media_type: &str, bytes: Bytes, is_head: bool) -> Response {
        let length = bytes.len() as u64;
        let body = if is_head { Body::empty() } else { Body::from(bytes) };
        self.header(CONTENT_TYPE, media_type).sized(length, body)
    }

    /// Ends with a body of exactly `length` bytes; an empty one in its place answers a HEAD.
    pub(crate) fn sized(self, length: u64, body: Body) -> Response {
        self.value(CONTENT_LENGTH, length.into()).finish(body)
    }

    fn finish(self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

#[expect(clippy::expect_used, reason = "every value above is made of characters that a header may have")]
fn legal<E: std::fmt::Debug>(value: Result<HeaderValue, E>) -> HeaderValue {
    value.expect("names, digests, numbers and escaped texts are legal header values")
}

/// A body that is not there, and says no length either. A 204 may not have one and that of a 304 would be the length of
/// what is not sent (RFC 9110 §8.6); from an empty body of a known length the router makes a `Content-Length: 0` for HEAD.
#[derive(Debug)]
struct Nothing;

impl http_body::Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// The location of a blob.
pub(crate) fn blob_location(name: &RepositoryName, digest: &Digest) -> String {
    format!("/v2/{name}/blobs/{digest}")
}

/// `299 - "text"`, with whatever could end the quotes or the header left out.
fn warning_value(text: &str) -> String {
    let text: String =
        text.chars().map(|char| if char.is_ascii_graphic() || char == ' ' { char } else { '?' }).collect();
    let text: String = text.chars().filter(|char| !matches!(char, '"' | '\\')).take(1000).collect();
    format!("299 - \"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_has_one_form_whatever_its_text() {
        assert_eq!(warning_value("stale"), "299 - \"stale\"");
        assert_eq!(warning_value("a \"b\"\r\nc\\ ä"), "299 - \"a b??c ?\"");
        assert!(warning_value(&"x".repeat(10_000)).len() < 4096);
    }

    #[test]
    fn links_are_relative_and_escaped() {
        let response = Answer::new(StatusCode::OK).next("/v2/a/tags/list", &[("n", "2"), ("last", "x&y")]).empty();
        assert_eq!(response.headers()[LINK], "</v2/a/tags/list?n=2&last=x%26y>; rel=\"next\"");
    }
}
