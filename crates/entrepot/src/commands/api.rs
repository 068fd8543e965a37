//! The administration API, as the commands ask it: over HTTP when a server runs, and in this process when none does.
//!
//! Which of the two it is, is decided by the lock of the storage folders: who has it is the server. A command that gets it
//! puts the same router together that a server has, gives it the request without a socket, and lets go of everything
//! when it is done.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, LINK};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt;
use url::form_urlencoded;

use super::fields::tame;
use super::limits::{ANSWER_BYTES_MAX, ANSWER_PATIENCE, CLOSE_PATIENCE, CONNECT_PATIENCE, LINE_BYTES_MAX};
use crate::address::ServerUrl;
use crate::assemble::{AssembleError, Assembly, assemble};
use crate::config::Configuration;
use crate::serve::blueprint;

/// What stands before every path.
const PREFIX: &str = "/api/v1/";

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server of the configuration has a port that nobody knows.
    #[error(
        "the storage is in use by a server that chose its port itself: name its address with --server http://HOST:PORT"
    )]
    PortUnknown,
    /// Nobody answers, and yet somebody uses the storage.
    #[error(
        "the storage is in use, and no server answers at {url}: name the address of the one that runs with --server \
         http://HOST:PORT, or stop what uses the storage"
    )]
    InUseElsewhere {
        /// Where one was looked for.
        url: ServerUrl,
        /// Why there was no answer.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Nobody answers where the command line said.
    #[error(
        "no server answers at {url}: start it, or leave --server away to open the storage of the configuration here"
    )]
    NoAnswer {
        /// Where one was looked for.
        url: ServerUrl,
        /// Why there was no answer.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No head of an answer in time.
    #[error("no answer within {} minutes", waited.as_secs() / 60)]
    Silent {
        /// How long was waited.
        waited: Duration,
    },
    /// No server runs, and what it would be put together from cannot be used.
    #[error("no server runs, and the storage cannot be opened here")]
    Assemble(#[source] AssembleError),
    /// The question cannot be sent as it is.
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
    /// The server says no.
    #[error("refused with {status}: {reasons}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The codes and messages of the answer.
        reasons: String,
    },
    /// What answers is not this program, or an older one.
    #[error(
        "what answers does not know this command: it said {status} and nothing that an entrepot of this version says"
    )]
    NotTheApi {
        /// The status.
        status: StatusCode,
    },
    /// The answer broke off, or is larger than any answer.
    #[error("the answer cannot be read to its end")]
    Interrupted(#[source] Box<dyn Error + Send + Sync>),
    /// A line of the answer is longer than any line.
    #[error("the answer has a line of more than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// The answer is something else than this version understands.
    #[error("the answer is not what this version of the program understands")]
    Unreadable(#[source] serde_json::Error),
    /// A list that leads to the page that was just read.
    #[error("the list goes on with the page that was just read")]
    Circle,
}

/// Who is asked.
#[derive(Debug)]
pub(crate) enum Api {
    /// A server, over HTTP.
    Running { client: Client<HttpConnector, Body>, url: ServerUrl, is_named: bool },
    /// The same router, put together here.
    InProcess(Box<Assembly>),
}

/// An answer that is a success, as a whole.
#[derive(Debug)]
pub(crate) struct Answer {
    /// JSON, or nothing.
    pub(crate) body: Bytes,
    /// Where a list goes on: a path below `/api/v1/` with its query.
    pub(crate) next: Option<String>,
}

impl Answer {
    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.body.trim_ascii().is_empty()
    }

    /// What it says.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(ApiError::Unreadable)
    }
}

impl Api {
    /// Whoever uses the storage: the server that is named, the one of the configuration, or this process.
    pub(crate) async fn open(configuration: &Configuration, server: Option<&ServerUrl>) -> Result<Self, ApiError> {
        if let Some(url) = server {
            return Ok(Self::running(url.clone(), true));
        }
        let blueprint = blueprint(configuration).map_err(ApiError::Assemble)?;
        match assemble(blueprint).await {
            Ok(assembly) => Ok(Self::InProcess(Box::new(assembly))),
            Err(AssembleError::InUse { .. }) if configuration.server.listen.port() == 0 => Err(ApiError::PortUnknown),
            Err(AssembleError::InUse { .. }) => Ok(Self::running(ServerUrl::of(configuration.server.listen), false)),
            Err(error) => Err(ApiError::Assemble(error)),
        }
    }

    fn running(url: ServerUrl, is_named: bool) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        Self::Running { client: Client::builder(TokioExecutor::new()).build(connector), url, is_named }
    }

    /// The answer to a GET; `path` is below `/api/v1/`, with its query.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, ApiError> {
        let response = self.send(Method::GET, path, None).await?;
        let next = next_page(response.headers());
        Ok(Answer { body: whole(response).await?, next })
    }

    /// The answer to a POST of JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer, ApiError> {
        let response = self.send(Method::POST, path, Some(body)).await?;
        Ok(Answer { body: whole(response).await?, next: None })
    }

    /// The answer to a POST of JSON that comes in lines, as long as something happens.
    pub(crate) async fn post_for_lines(&self, path: &str, body: &Value) -> Result<Lines, ApiError> {
        let response = self.send(Method::POST, path, Some(body)).await?;
        Ok(Lines { body: response.into_body(), buffer: BytesMut::new(), is_ended: false })
    }

    /// Lets what was begun come to its end.
    pub(crate) async fn close(self) {
        if let Self::InProcess(assembly) = self
            && !assembly.tasks.stop(CLOSE_PATIENCE).await
        {
            tracing::warn!("some work did not end in time; what it left behind is swept at the next start");
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response, ApiError> {
        let url = match self {
            Self::Running { url, .. } => url.as_str(),
            Self::InProcess(_) => "",
        };
        let mut request = Request::builder().method(method).uri(format!("{url}{PREFIX}{path}"));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if matches!(self, Self::InProcess(_)) {
            request = request.header(HOST, "localhost");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.body(body).map_err(ApiError::Request)?;
        let silent = |_| ApiError::Silent { waited: ANSWER_PATIENCE };
        let response = tokio::time::timeout(ANSWER_PATIENCE, self.answer(request)).await.map_err(silent)??;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response, ApiError> {
        match self {
            Self::Running { client, url, is_named } => {
                let (url, is_named) = (url.clone(), *is_named);
                let failed = |source: hyper_util::client::legacy::Error| {
                    let source = source.into();
                    if is_named { ApiError::NoAnswer { url, source } } else { ApiError::InUseElsewhere { url, source } }
                };
                let answer = client.request(request).await.map_err(failed)?;
                Ok(answer.map(Body::new))
            }
            Self::InProcess(assembly) => {
                let router: Router = assembly.router.clone();
                router.oneshot(request).await.map_err(|never| match never {})
            }
        }
    }
}

/// An answer that comes in lines.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Body,
    buffer: BytesMut,
    is_ended: bool,
}

impl Lines {
    /// The next line that says something; `None` at the end.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ApiError> {
        loop {
            let end = self.buffer.iter().position(|byte| *byte == b'\n');
            let line = match end {
                Some(end) => self.buffer.split_to(end + 1),
                None if self.is_ended && self.buffer.is_empty() => return Ok(None),
                None if self.is_ended => self.buffer.split(),
                None if self.buffer.len() > LINE_BYTES_MAX => return Err(ApiError::LineTooLong),
                None => {
                    self.read().await?;
                    continue;
                }
            };
            if !line.trim_ascii().is_empty() {
                return serde_json::from_slice(&line).map(Some).map_err(ApiError::Unreadable);
            }
        }
    }

    async fn read(&mut self) -> Result<(), ApiError> {
        match self.body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    self.buffer.extend_from_slice(&bytes);
                }
            }
            Some(Err(error)) => return Err(ApiError::Interrupted(error.into())),
            None => self.is_ended = true,
        }
        Ok(())
    }
}

/// Parameters as a query.
pub(crate) fn query(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

async fn whole(response: Response) -> Result<Bytes, ApiError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(ApiError::Interrupted)
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<Reported>,
}

#[derive(Deserialize)]
struct Reported {
    code: String,
    message: String,
}

async fn refusal(response: Response) -> ApiError {
    let status = response.status();
    let body = match whole(response).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    let Ok(Refusal { errors }) = serde_json::from_slice(&body) else { return ApiError::NotTheApi { status } };
    let reasons: Vec<_> = errors.iter().map(|error| tame(&format!("{} ({})", error.message, error.code))).collect();
    ApiError::Refused { status, reasons: reasons.join("; ") }
}

/// The path and query of `rel="next"`, without what stands before every path.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok()).flat_map(|link| link.split(", "));
    let next = links.filter(|link| link.contains("rel=\"next\"")).find_map(|link| {
        let (_, rest) = link.split_once('<')?;
        rest.split_once('>').map(|(target, _)| target)
    })?;
    next.split_once(PREFIX).map(|(_, path)| path.to_owned())
}
