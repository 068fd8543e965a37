//! The one way to the store: a client that waits no longer than it should, and counts.
//!
//! Retries are the crate's above it, so that each attempt is counted here and has its own patience. A request that sends much may
//! take longer; an answer may take as long as it likes as long as bytes keep coming.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, Sleep, sleep};

use crate::config::{ConfigError, Timeouts};
use crate::limits::SLOWEST_BYTES_PER_SECOND;
use crate::metrics::{Metrics, Operation, Outcome};

/// Makes the client that every part of the crate uses, that which asks for credentials too.
#[derive(Clone, Debug)]
pub(crate) struct Connector(Traffic);

impl Connector {
    pub(crate) fn new(ca: Option<&[u8]>, timeouts: Timeouts, metrics: Metrics) -> Result<Self, ConfigError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(ca)?)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .http1_only()
            .user_agent(concat!("entrepot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(timeouts.connect)
            .build()
            .map_err(|error| ConfigError::Client(io::Error::other(error)))?;
        Ok(Self(Traffic { client, timeouts, metrics }))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// TLS that recognises servers by the authorities of the system, or those that Mozilla trusts where it has none, and those in `ca`.
fn tls(ca: Option<&[u8]>) -> Result<ClientConfig, ConfigError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    if let Some(pem) = ca {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.map_err(|_| ConfigError::Authorities("is not PEM"))?;
        if certificates.is_empty() {
            return Err(ConfigError::Authorities("holds no certificate in PEM"));
        }
        for certificate in certificates {
            let added = roots.add(certificate);
            added.map_err(|_| ConfigError::Authorities("holds a certificate that is not one of an authority"))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(ConfigError::Tls)?.with_root_certificates(roots).with_no_client_auth())
}

#[derive(Clone, Debug)]
struct Traffic {
    client: reqwest::Client,
    timeouts: Timeouts,
    metrics: Metrics,
}

#[async_trait]
impl HttpService for Traffic {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let operation = operation_of(&request);
        let sent = request.body().content_length() as u64;
        self.metrics.bytes_sent.inc_by(sent);
        let patience = self.timeouts.answer + Duration::from_secs(sent / SLOWEST_BYTES_PER_SECOND);
        let answered = tokio::time::timeout(patience, HttpService::call(&self.client, request)).await;
        let answered = answered.unwrap_or_else(|_| Err(silent()));
        let outcome = answered.as_ref().map_or(Outcome::Unreachable, |answer| outcome_of(answer.status()));
        self.metrics.count(operation, outcome);
        let (parts, body) = answered?.into_parts();
        let silence = Box::pin(sleep(self.timeouts.silence));
        let body = Watched {
            body,
            silence,
            is_waiting: false,
            silence_max: self.timeouts.silence,
            metrics: self.metrics.clone(),
        };
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

fn silent() -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, io::Error::from(io::ErrorKind::TimedOut))
}

fn operation_of<B>(request: &http::Request<B>) -> Operation {
    let has = |name: &str| has_query(request.uri(), name);
    match *request.method() {
        Method::HEAD => Operation::Head,
        Method::GET if has("list-type") || has("comp") => Operation::List,
        Method::GET => Operation::Get,
        Method::PUT if has("partNumber") || has("blockid") => Operation::PutPart,
        Method::PUT if has("comp") => Operation::CompleteMultipart,
        Method::PUT if request.headers().keys().any(|name| name.as_str().ends_with("-copy-source")) => Operation::Copy,
        Method::PUT => Operation::Put,
        Method::POST if has("uploads") => Operation::CreateMultipart,
        Method::POST if has("uploadId") => Operation::CompleteMultipart,
        Method::DELETE if has("uploadId") => Operation::AbortMultipart,
        Method::DELETE => Operation::Delete,
        _ => Operation::Other,
    }
}

fn has_query(uri: &Uri, name: &str) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some(name)))
}

fn outcome_of(status: StatusCode) -> Outcome {
    match status {
        StatusCode::NOT_FOUND => Outcome::NotFound,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED | StatusCode::NOT_MODIFIED => Outcome::Conflict,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Outcome::Throttled,
        status if status.is_success() => Outcome::Success,
        status if status.is_server_error() => Outcome::Failed,
        _ => Outcome::Refused,
    }
}

/// The body of an answer, which fails when nothing of it comes for too long.
struct Watched {
    body: HttpResponseBody,
    silence: Pin<Box<Sleep>>,
    is_waiting: bool,
    silence_max: Duration,
    metrics: Metrics,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            if let Some(Ok(frame)) = &frame {
                this.metrics.bytes_received.inc_by(frame.data_ref().map_or(0, |bytes| bytes.len() as u64));
            }
            this.is_waiting = false;
            return Poll::Ready(frame);
        }
        // The clock runs from the moment that somebody asks: a reader who pauses is not a store that is silent.
        if !this.is_waiting {
            this.silence.as_mut().reset(Instant::now() + this.silence_max);
            this.is_waiting = true;
        }
        match this.silence.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(silent()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
