//! Errors as HTTP tells them: one mapping, exhaustive, from what happened in the domain to status, code and text.
//!
//! The client gets a code, a sentence that says what happened to which name and what to do next, and the request id at its end, where
//! every client prints it; the log gets the whole chain under the same id, here, once.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use entrepot_access::Refusal;
use entrepot_oci::{
    Algorithm, ErrorBody, ErrorCode, ErrorEntry, ManifestError, RangeError, RepositoryName, upload_range,
};
use entrepot_registry::{Error, Registry};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::proof::ProofError;
use crate::request_body::BodyStalled;
use crate::request_id::RequestId;
use crate::respond::DOCKER_UPLOAD_UUID;
use crate::route::{DigestOf, RouteError};

/// When to come back after a failure of something behind us whose end nobody knows.
const RETRY_LATER: Duration = Duration::from_secs(10);

/// When to come back to a queue that is full.
const RETRY_SOON: Duration = Duration::from_secs(2);

/// The body of an error.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    errors: ErrorBody,
    #[serde(flatten)]
    fields: BTreeMap<&'static str, String>,
}

/// A failed request.
#[derive(Debug)]
pub struct ErrorResponse {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    /// Things for programs; each becomes an entry of its own with the same code and message.
    details: Vec<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Further fields of the body, beside `errors`.
    fields: Vec<(&'static str, String)>,
    /// For the log.
    cause: Option<Box<Error>>,
}

impl ErrorResponse {
    /// An error with the usual status of its code.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            code,
            message: message.into(),
            details: Vec::new(),
            headers: Vec::new(),
            fields: Vec::new(),
            cause: None,
        }
    }

    /// The same with another status.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with something for programs.
    pub(crate) fn with_detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// The same once for each of these digests.
    fn for_each_digest(self, digests: impl IntoIterator<Item = impl Serialize>) -> Self {
        digests.into_iter().fold(self, |response, digest| response.with_detail(json!({ "digest": digest })))
    }

    /// The same with a header. A value that cannot be one is left out.
    pub(crate) fn with_header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.push((name, value));
        }
        self
    }

    /// The same with the name of the upstream, where nothing else names it.
    pub(crate) fn naming(mut self, upstream: &str) -> Self {
        if !self.message.contains(upstream) {
            self.message = format!("{} (upstream {upstream})", self.message);
        }
        self
    }

    /// The same with what the client has to do about its credentials, where there is something. No cache keeps that.
    pub(crate) fn challenging(self, challenge: Option<String>) -> Self {
        let challenge = challenge.filter(|_| self.status == StatusCode::UNAUTHORIZED);
        let response = self.with_header(CACHE_CONTROL, "no-store");
        match challenge {
            Some(challenge) => response.with_header(WWW_AUTHENTICATE, challenge),
            None => response,
        }
    }

    /// The reason, if this says that somebody may not do what he wants.
    pub(crate) fn denial(&self) -> Option<&str> {
        (self.code == ErrorCode::DENIED).then_some(&self.message)
    }

    fn retry_after(self, wait: Duration) -> Self {
        // Whole seconds from 1 on: clients misread anything else.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with_header(RETRY_AFTER, seconds.max(1).to_string())
    }

    /// The same with the `error` by which clients of `OAuth2` understand it.
    pub(crate) fn with_oauth_error(mut self, error: &'static str) -> Self {
        self.fields.push(("error", error.to_owned()));
        self
    }

    /// The same with the text that clients of Docker's token service show.
    pub(crate) fn with_details_text(mut self, text: &str) -> Self {
        self.fields.push(("details", text.to_owned()));
        self
    }

    /// A range that the content does not have.
    pub(crate) fn unsatisfiable_range(error: RangeError, size: u64) -> Self {
        Self::new(ErrorCode::RANGE_INVALID, format!("{error}: the blob has {size} bytes"))
            .with_header(CONTENT_RANGE, format!("bytes */{size}"))
    }

    /// The answer, and its line in the log; without a body for a HEAD, whose status has to say everything.
    pub(crate) fn into_response(self, is_head: bool, id: Option<RequestId>) -> Response {
        if let Some(cause) = &self.cause {
            log(cause, self.status, id);
        }
        let message = match id {
            Some(id) => format!("{} (request {id})", self.message),
            None => self.message,
        };
        let entry = |detail| ErrorEntry { code: self.code.as_str().to_owned(), message: message.clone(), detail };
        let errors = match self.details {
            details if details.is_empty() => vec![entry(Value::Null)],
            details => details.into_iter().map(entry).collect(),
        };
        let document = Document { errors: ErrorBody { errors }, fields: self.fields.into_iter().collect() };
        // Strings and numbers into memory: there is no way to fail.
        let body = serde_json::to_vec(&document).map(Bytes::from).unwrap_or_default();
        let length = body.len();
        let mut response = Response::new(if is_head { Body::empty() } else { Body::from(body) });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.extend(self.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        response
    }
}

impl From<RouteError> for ErrorResponse {
    fn from(error: RouteError) -> Self {
        let message = error.to_string();
        match error {
            RouteError::UnknownPath => Self::new(ErrorCode::UNSUPPORTED, message).with_status(StatusCode::NOT_FOUND),
            RouteError::MethodNotAllowed { allowed } => {
                Self::new(ErrorCode::UNSUPPORTED, message).with_header(ALLOW, allowed)
            }
            RouteError::Name { .. } => Self::new(ErrorCode::NAME_INVALID, message),
            // What cannot exist is not there, to somebody who asks for it.
            RouteError::Digest { of: DigestOf::Pull("manifest"), .. } | RouteError::Tag { is_push: false, .. } => {
                Self::new(ErrorCode::MANIFEST_UNKNOWN, message)
            }
            RouteError::Digest { of: DigestOf::Pull(_), .. } => Self::new(ErrorCode::BLOB_UNKNOWN, message),
            RouteError::Digest { of: DigestOf::Other, .. } => Self::new(ErrorCode::DIGEST_INVALID, message),
            RouteError::Tag { is_push: true, .. } => Self::new(ErrorCode::MANIFEST_INVALID, message),
        }
    }
}

impl From<ManifestError> for ErrorResponse {
    fn from(error: ManifestError) -> Self {
        let response = Self::new(ErrorCode::MANIFEST_INVALID, error.to_string());
        match error {
            ManifestError::TooLarge { .. } => response.with_status(StatusCode::PAYLOAD_TOO_LARGE),
            _ => response,
        }
    }
}

/// Who has not proved who he is. That a wrong password and an unknown user are told alike is for `access` to see to.
impl From<&Refusal> for ErrorResponse {
    fn from(refusal: &Refusal) -> Self {
        let of = |code: ErrorCode| Self::new(code, refusal.to_string());
        match refusal {
            Refusal::WrongCredentials | Refusal::InvalidToken(_) => of(ErrorCode::UNAUTHORIZED),
            Refusal::TooManyAttempts { retry_after } => of(ErrorCode::TOOMANYREQUESTS).retry_after(*retry_after),
            Refusal::Busy => of(ErrorCode::UNAVAILABLE).retry_after(RETRY_SOON),
            Refusal::Unavailable { .. } => of(ErrorCode::UNAVAILABLE).retry_after(RETRY_LATER),
        }
    }
}

impl From<ProofError> for ErrorResponse {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Repeated => {
                Self::new(ErrorCode::UNSUPPORTED, error.to_string()).with_status(StatusCode::BAD_REQUEST)
            }
            ProofError::Malformed(_) | ProofError::UnknownScheme => {
                Self::new(ErrorCode::UNAUTHORIZED, error.to_string())
            }
        }
    }
}

impl From<Error> for ErrorResponse {
    fn from(error: Error) -> Self {
        let response = describe(error.root());
        Self { cause: Some(Box::new(error)), ..response }
    }
}

/// A failure is logged where it is answered: here.
fn log(error: &Error, status: StatusCode, id: Option<RequestId>) {
    let (status, cause) = (status.as_u16(), chain(error));
    let id = id.map(tracing::field::display);
    if status >= 500 {
        tracing::error!(request.id = id, status, error = cause, "a request failed");
    } else {
        tracing::debug!(request.id = id, status, error = cause, "a request was refused");
    }
}

/// The error with everything behind it, which a log in JSON would leave out of an error.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Errors that pass others through say the same as those.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

fn describe(error: &Error) -> ErrorResponse {
    let of = |code: ErrorCode| ErrorResponse::new(code, error.to_string());
    match error {
        Error::ProxyNameIncomplete { .. } | Error::OnlyForCallers { .. } => of(ErrorCode::NAME_UNKNOWN),
        Error::RepositoryUnknown { name } => unknown(error, ErrorCode::NAME_UNKNOWN, name),
        Error::ManifestUnknown { name, reference } => {
            unknown(error, ErrorCode::MANIFEST_UNKNOWN, name).with_detail(json!({ "reference": reference.to_string() }))
        }
        Error::BlobUnknown { name, digest } => {
            unknown(error, ErrorCode::BLOB_UNKNOWN, name).with_detail(json!({ "digest": digest }))
        }
        Error::UploadUnknown { .. } => of(ErrorCode::BLOB_UPLOAD_UNKNOWN),
        Error::UploadBusy { .. } => of(ErrorCode::BLOB_UPLOAD_INVALID).with_status(StatusCode::CONFLICT),
        Error::ChunkOutOfOrder { id, received, .. } => of(ErrorCode::BLOB_UPLOAD_INVALID)
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
            .with_header(RANGE, upload_range(*received))
            .with_header(DOCKER_UPLOAD_UUID, id.as_str()),
        Error::SizeMismatch { .. } => of(ErrorCode::SIZE_INVALID),
        Error::SourceBroken { source, .. } => describe_broken_source(error, source.as_ref()),
        Error::DigestMismatch { expected, actual } => {
            of(ErrorCode::DIGEST_INVALID).with_detail(json!({ "expected": expected, "actual": actual }))
        }
        Error::BlobTooLarge { .. } => of(ErrorCode::SIZE_INVALID).with_status(StatusCode::PAYLOAD_TOO_LARGE),
        Error::ManifestInvalid(ManifestError::TooLarge { .. }) => {
            of(ErrorCode::MANIFEST_INVALID).with_status(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Error::ManifestInvalid(_) => of(ErrorCode::MANIFEST_INVALID),
        Error::ReferencesMissing { digests, .. } => of(ErrorCode::MANIFEST_BLOB_UNKNOWN).for_each_digest(digests),
        Error::ReferencesOfWrongSize { digests, .. } => of(ErrorCode::MANIFEST_INVALID).for_each_digest(digests),
        Error::TagUnmovable { tag, .. } | Error::TagUncreatable { tag, .. } | Error::TagProtected { tag, .. } => {
            of(ErrorCode::DENIED).with_detail(json!({ "tag": tag }))
        }
        Error::MaybeProtected { .. } => of(ErrorCode::DENIED),
        Error::ConditionFailed => of(ErrorCode::MANIFEST_INVALID).with_status(StatusCode::PRECONDITION_FAILED),
        Error::TooManyUploads { .. } => of(ErrorCode::TOOMANYREQUESTS).retry_after(Duration::from_mins(1)),
        Error::ReadOnly { .. } => of(ErrorCode::UNSUPPORTED).with_header(ALLOW, "GET, HEAD"),
        Error::UpstreamUnknown { source, .. } => {
            ErrorResponse::new(ErrorCode::NAME_UNKNOWN, format!("{error}: {source}"))
        }
        Error::ProxyNameTooLong { .. } | Error::NotACache { .. } => of(ErrorCode::NAME_INVALID),
        Error::NotCached { .. } => of(ErrorCode::MANIFEST_UNKNOWN),
        Error::Pinned { .. } => of(ErrorCode::DENIED).with_status(StatusCode::CONFLICT),
        Error::PolicyDenied { rule, .. } => of(ErrorCode::DENIED).with_detail(json!({ "rule": rule })),
        Error::ProxyLoop { .. } => of(ErrorCode::UNAVAILABLE).with_status(StatusCode::LOOP_DETECTED),
        Error::Upstream { source, .. } => describe_upstream(source),
        Error::UpstreamSizeMismatch { .. } | Error::UpstreamDigestMismatch { .. } | Error::FillBroken { .. } => {
            of(ErrorCode::UNAVAILABLE).with_status(StatusCode::BAD_GATEWAY)
        }
        Error::ConfigUnreadable { .. } => of(ErrorCode::UNAVAILABLE).with_status(StatusCode::BAD_GATEWAY),
        Error::NoRoom { .. } => disk_full(),
        Error::BlobDamaged { .. } => of(ErrorCode::UNKNOWN),
        Error::Blobs(error) => describe_blobs(error),
        Error::Metadata(error) => describe_metadata(error),
        Error::BlobSizeUntold { .. } | Error::Interrupted => of(ErrorCode::UNAVAILABLE).retry_after(RETRY_LATER),
        // `root` has taken these off.
        Error::Shared(shared) => describe(shared.root()),
    }
}

/// The client's own body: too slow, or broken off. Where it is gone, nobody reads this.
fn describe_broken_source(error: &Error, source: &(dyn std::error::Error + Send + Sync + 'static)) -> ErrorResponse {
    let response = ErrorResponse::new(ErrorCode::SIZE_INVALID, format!("{error}: {source}"));
    match BodyStalled::find(source) {
        Some(_) => response.with_status(StatusCode::REQUEST_TIMEOUT),
        None => response,
    }
}

/// What is not there: here, or at the registry behind the name.
fn unknown(error: &Error, code: ErrorCode, name: &RepositoryName) -> ErrorResponse {
    let upstream = name.as_str().split('/').nth(1).filter(|_| Registry::is_proxied(name));
    let message = match upstream {
        Some(upstream) => format!("{error}: {upstream} says that it is not there; check the name and the tag"),
        None => error.to_string(),
    };
    ErrorResponse::new(code, message)
}

/// What an upstream did, as a client of ours may take it. Its challenge is never passed on: the client would answer it to us.
fn describe_upstream(error: &entrepot_upstream::Error) -> ErrorResponse {
    use entrepot_upstream::{ContentError, Error as Upstream, Suspension};
    let next = next_step(error);
    // The upstream's errors are written for people: they name it and what it did, and hold no secrets.
    let of = |code: ErrorCode, status: StatusCode| {
        let cause = innermost(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        ErrorResponse::new(code, format!("{error}{cause}; {next}")).with_status(status)
    };
    match error {
        // 451: unavailable for legal reasons.
        Upstream::Rejected { status: 451, .. } | Upstream::AddressRefused { .. } => {
            of(ErrorCode::DENIED, StatusCode::FORBIDDEN)
        }
        // Not there for anybody, however often it is asked for.
        Upstream::InvalidContent { reason: ContentError::Manifest(reason), .. }
            if matches!(**reason, ManifestError::Schema1) =>
        {
            of(ErrorCode::MANIFEST_UNKNOWN, StatusCode::NOT_FOUND)
        }
        Upstream::NotFound { .. } | Upstream::Rejected { .. } => of(ErrorCode::MANIFEST_UNKNOWN, StatusCode::NOT_FOUND),
        Upstream::Denied { .. } => of(ErrorCode::NAME_UNKNOWN, StatusCode::NOT_FOUND),
        Upstream::Unreachable { .. } if error.is_host_unknown() => of(ErrorCode::NAME_UNKNOWN, StatusCode::NOT_FOUND),
        Upstream::RateLimited { retry_after, .. }
        | Upstream::Suspended { retry_after, reason: Suspension::RateLimited, .. } => {
            of(ErrorCode::TOOMANYREQUESTS, StatusCode::TOO_MANY_REQUESTS).retry_after(*retry_after)
        }
        Upstream::Suspended { retry_after, reason: Suspension::Failing(_), .. } => {
            of(ErrorCode::UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE).retry_after(*retry_after)
        }
        Upstream::Busy { .. } => of(ErrorCode::UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE).retry_after(RETRY_LATER),
        Upstream::Unavailable { status: 503, retry_after, .. } => {
            of(ErrorCode::UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE).retry_after(retry_after.unwrap_or(RETRY_LATER))
        }
        // Another cache has found the circle, which is what every cache in it has to say.
        Upstream::Unavailable { status: 508, .. } => of(ErrorCode::UNAVAILABLE, StatusCode::LOOP_DETECTED),
        Upstream::Timeout { .. } => of(ErrorCode::UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT),
        Upstream::CredentialsRefused { .. }
        | Upstream::CredentialsUnavailable { .. }
        | Upstream::Unavailable { .. }
        | Upstream::Unreachable { .. }
        | Upstream::UntrustedRealm { .. }
        | Upstream::Interrupted { .. }
        | Upstream::TooManyRedirects { .. }
        | Upstream::BadRedirect { .. }
        | Upstream::DigestMismatch { .. }
        | Upstream::InvalidContent { .. }
        | Upstream::TooLarge { .. } => of(ErrorCode::UNAVAILABLE, StatusCode::BAD_GATEWAY),
    }
}

/// What somebody who reads of the failure can do about it.
fn next_step(error: &entrepot_upstream::Error) -> &'static str {
    use entrepot_upstream::Error as Upstream;
    match error {
        Upstream::NotFound { .. } => "check the name and the tag",
        Upstream::Denied { .. } => {
            "check the name; if it is private, the operator of this server has to configure an account for the upstream"
        }
        Upstream::CredentialsRefused { .. } | Upstream::CredentialsUnavailable { .. } => {
            "the operator of this server has to put the account of the upstream right"
        }
        Upstream::RateLimited { .. } | Upstream::Suspended { .. } | Upstream::Busy { .. } => {
            "try again then; an account at the upstream may be allowed more"
        }
        Upstream::Rejected { status: 451, .. } => "only the upstream can allow it",
        Upstream::Rejected { .. } => "check the name and the tag, and whether this is a registry of container images",
        Upstream::Unreachable { .. } if error.is_host_unknown() => "check the name of the registry",
        Upstream::Unavailable { status: 508, .. } => {
            "the upstreams of two caches lead to each other: point one of them at the registry itself"
        }
        Upstream::Unavailable { .. } | Upstream::Timeout { .. } | Upstream::Interrupted { .. } => {
            "try again; what is cached goes on being served"
        }
        Upstream::Unreachable { .. } => {
            "try again; if it stays so, check the address of the upstream and the network of this server"
        }
        Upstream::AddressRefused { .. } | Upstream::UntrustedRealm { .. } => {
            "that is for the operator of this server to decide"
        }
        Upstream::TooManyRedirects { .. } | Upstream::BadRedirect { .. } => {
            "check that the configured address is that of the registry itself"
        }
        Upstream::DigestMismatch { .. } | Upstream::InvalidContent { .. } | Upstream::TooLarge { .. } => {
            "nothing of it was kept: try again, and if it stays so, tell the upstream's operator"
        }
    }
}

/// The cause at the bottom, which says the most: `connection refused`, `certificate has expired`.
fn innermost(error: &entrepot_upstream::Error) -> Option<&dyn std::error::Error> {
    use std::error::Error as _;
    // What content is wrong with is said already.
    let has_cause = !matches!(error, entrepot_upstream::Error::InvalidContent { .. });
    let mut innermost = error.source().filter(|_| has_cause)?;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    Some(innermost)
}

/// A failing disk: which file it was is for the log, not for the client.
fn describe_blobs(error: &entrepot_blobs::Error) -> ErrorResponse {
    if error.is_full() {
        return disk_full();
    }
    if error.is_unavailable() {
        return ErrorResponse::new(ErrorCode::UNAVAILABLE, "the storage does not answer: try again")
            .retry_after(RETRY_LATER);
    }
    ErrorResponse::new(ErrorCode::UNKNOWN, "the storage failed; the server's log has the cause")
}

fn describe_metadata(error: &entrepot_metadata::Error) -> ErrorResponse {
    use entrepot_metadata::Error as Metadata;
    match error {
        Metadata::Full(_) => disk_full(),
        Metadata::Unavailable(_) => {
            ErrorResponse::new(ErrorCode::UNAVAILABLE, "the metadata store is busy: try again").retry_after(RETRY_LATER)
        }
        Metadata::TooManyUploads { .. } => ErrorResponse::new(ErrorCode::TOOMANYREQUESTS, error.to_string()),
        Metadata::TooLong { .. } | Metadata::Corrupt { .. } | Metadata::Backend(_) => {
            ErrorResponse::new(ErrorCode::UNKNOWN, "the metadata store failed; the server's log has the cause")
        }
    }
}

fn disk_full() -> ErrorResponse {
    ErrorResponse::new(
        ErrorCode::UNAVAILABLE,
        "the registry's disk is full: nothing was stored; ask its operator for room",
    )
    .with_status(StatusCode::INSUFFICIENT_STORAGE)
}

/// An upload that was started with an algorithm that cannot be.
pub(crate) fn unsupported_algorithm(text: &str) -> ErrorResponse {
    let supported: Vec<&str> = Algorithm::ALL.iter().map(|algorithm| algorithm.as_str()).collect();
    let message = format!("{text:?} is not a supported digest algorithm; supported are {}", supported.join(" and "));
    ErrorResponse::new(ErrorCode::DIGEST_INVALID, message)
}

/// A session's errors tell where it is, so that a client can resume from the answer alone.
pub(crate) fn with_location(mut response: ErrorResponse, location: &str) -> ErrorResponse {
    if response.status == StatusCode::RANGE_NOT_SATISFIABLE {
        response = response.with_header(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use http_body_util::BodyExt;

    use super::*;
    use crate::request_id::RequestIds;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_answer_and_the_log_have_the_id_of_the_request_and_the_log_alone_the_cause() {
        let written = Written::default();
        let writer = written.clone();
        let log = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(log);
        let id = RequestIds::new(7).next();
        let cause = entrepot_metadata::Error::Backend("the file /secret is gone".into());
        let response = ErrorResponse::from(Error::Metadata(cause)).into_response(false, Some(id));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            body.contains("the server's log has the cause (request 00000007-1)") && !body.contains("/secret"),
            "{body}"
        );
        let log = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains(r#""request.id":"00000007-1""#) && log.contains("/secret"), "{log}");
        assert_eq!(log.lines().count(), 1, "once: {log}");
    }

    #[test]
    fn b7_a_tag_that_may_not_be_pushed_or_deleted_is_denied_by_name() {
        let (name, tag): (RepositoryName, entrepot_oci::Tag) = ("team/app".parse().unwrap(), "v1".parse().unwrap());
        let errors = [
            Error::TagUnmovable { name: name.clone(), tag: tag.clone() },
            Error::TagUncreatable { name: name.clone(), tag: tag.clone() },
            Error::TagProtected { name: name.clone(), tag },
        ];
        for error in errors {
            let response = ErrorResponse::from(error);
            assert_eq!((response.status, response.code), (StatusCode::FORBIDDEN, ErrorCode::DENIED), "{response:?}");
            assert_eq!(response.details, [json!({ "tag": "v1" })]);
            assert!(response.message.contains("the tag v1 of team/app"), "{response:?}");
        }
        let response = ErrorResponse::from(Error::MaybeProtected { name, subject: "sha256:0".to_owned() });
        assert_eq!((response.status, response.code), (StatusCode::FORBIDDEN, ErrorCode::DENIED), "{response:?}");
    }

    #[test]
    fn an_upstream_is_named_once() {
        let named = |message: &str| ErrorResponse::new(ErrorCode::UNAVAILABLE, message).naming("ghcr.io").message;
        assert_eq!(named("broke off"), "broke off (upstream ghcr.io)");
        assert_eq!(named("ghcr.io broke off"), "ghcr.io broke off");
    }
}
