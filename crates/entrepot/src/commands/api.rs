//! The administration API, as the commands ask it: over the server's socket when one runs, over the network when one is named, and in
//! this process otherwise.
//!
//! A server that runs answers at the socket in its `registry_storage` (with object storage in its `temporary_registry_storage`), and there whoever may open it is the operator. Where nobody
//! answers, the lock of the storage folders decides: a command that gets it puts the same router together that a server has, gives it
//! the request without a socket, and lets go of everything when it is done.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use entrepot_server::ClientView;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LINK};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::{Client, Error as LegacyError};
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::form_urlencoded;

use super::connector::Connector;
use super::fields::tame;
use super::limits::{ANSWER_BYTES_MAX, ANSWER_PATIENCE, CLOSE_PATIENCE, LINE_BYTES_MAX};
use crate::address::ServerUrl;
use crate::assemble::{AssembleError, Assembly, assemble};
use crate::config::{Configuration, TOKEN_VARIABLE};
use crate::serve::blueprint;
use crate::socket;

/// What stands before every path.
const PREFIX: &str = "/api/v1/";

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody answers at the socket, and yet somebody uses the storage.
    #[error(
        "the storage is in use, and no server answers at {}: another command may be using it, or a server starts or stops at this \
         moment: try again", path.display()
    )]
    InUse {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// The socket or the storage is somebody else's.
    #[error("{} may not be opened: run this as the user of the server", path.display())]
    NotTheOperator {
        /// What may not be opened.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server is there and takes no connection.
    #[error("the server does not answer at {}", path.display())]
    Socket {
        /// Where it should answer.
        path: PathBuf,
        /// Why there was no answer.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// What the environment says cannot be a token.
    #[error("the environment variable {TOKEN_VARIABLE} holds characters that are in no token")]
    NotAToken,
    /// TLS cannot be set up.
    #[error("TLS cannot be spoken here")]
    Tls(#[source] entrepot_upstream::ConfigError),
    /// The server wants to know who asks, or does not let him.
    #[error("refused with {status}: {reasons}; {}", proven(*has_token))]
    NotAllowed {
        /// The status.
        status: StatusCode,
        /// The codes and messages of the answer.
        reasons: String,
        /// A token was shown.
        has_token: bool,
    },
    /// Nobody answers where the command line said.
    #[error(
        "no server answers at {url}: start it, or leave --server away to ask the one of the configuration, or open its storage here"
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

fn proven(has_token: bool) -> String {
    if has_token {
        format!("the token in {TOKEN_VARIABLE} must be one for `admin`, of somebody whom a rule allows it")
    } else {
        format!(
            "set {TOKEN_VARIABLE} to a token for `admin`, or run this on the machine of the server without --server"
        )
    }
}

/// Who is asked.
#[derive(Debug)]
pub(crate) enum Api {
    /// The server that uses the storage, over its socket.
    Socket { client: Client<Connector, Body>, path: PathBuf },
    /// A server that was named, over the network.
    Named { client: Client<Connector, Body>, url: ServerUrl, token: Option<HeaderValue> },
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
            return Self::named(url, configuration.token.as_ref());
        }
        let (_, folder) = configuration.process_folder();
        let path = socket::path(folder);
        match socket::connect(folder).await {
            Ok(_) => {
                let client = Client::builder(TokioExecutor::new()).build(Connector::socket(folder));
                return Ok(Self::Socket { client, path });
            }
            Err(error) if is_nobody(&error) => {}
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ApiError::NotTheOperator { path, source });
            }
            Err(source) => return Err(ApiError::Socket { path, source: source.into() }),
        }
        match assemble(blueprint(configuration).map_err(ApiError::Assemble)?).await {
            Ok(assembly) => Ok(Self::InProcess(Box::new(assembly))),
            Err(AssembleError::InUse { .. }) => Err(ApiError::InUse { path }),
            Err(AssembleError::Folder { path, source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                Err(ApiError::NotTheOperator { path, source })
            }
            Err(error) => Err(ApiError::Assemble(error)),
        }
    }

    fn named(url: &ServerUrl, token: Option<&SecretString>) -> Result<Self, ApiError> {
        let tls =
            if url.is_https() { Some(entrepot_upstream::system_tls().map_err(ApiError::Tls)?.into()) } else { None };
        let client = Client::builder(TokioExecutor::new()).build(Connector::Network(tls));
        let token = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))?;
            value.set_sensitive(true);
            Ok::<_, http::header::InvalidHeaderValue>(value)
        });
        let token = token.transpose().map_err(|_| ApiError::NotAToken)?;
        if token.is_some() && url.is_in_clear() {
            tracing::warn!(%url, "the token of {TOKEN_VARIABLE} goes over the network in clear: use https");
        }
        Ok(Self::Named { client, url: url.clone(), token })
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
        let base = match self {
            Self::Named { url, .. } => url.as_str(),
            Self::Socket { .. } | Self::InProcess(_) => "http://localhost",
        };
        let mut request = Request::builder().method(method).uri(format!("{base}{PREFIX}{path}"));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Self::Named { token: Some(token), .. } = self {
            request = request.header(AUTHORIZATION, token);
        }
        if matches!(self, Self::InProcess(_)) {
            // Whoever can open the storage can do everything to it.
            request = request.header(HOST, "localhost").extension(ClientView::operator());
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.body(body).map_err(ApiError::Request)?;
        let silent = |_| ApiError::Silent { waited: ANSWER_PATIENCE };
        let response = tokio::time::timeout(ANSWER_PATIENCE, self.answer(request)).await.map_err(silent)??;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response, ApiError> {
        match self {
            Self::Socket { client, path } => {
                let failed = |source: LegacyError| ApiError::Socket { path: path.clone(), source: source.into() };
                Ok(client.request(request).await.map_err(failed)?.map(Body::new))
            }
            Self::Named { client, url, .. } => {
                let failed = |source: LegacyError| ApiError::NoAnswer { url: url.clone(), source: source.into() };
                Ok(client.request(request).await.map_err(failed)?.map(Body::new))
            }
            Self::InProcess(assembly) => Ok(assembly.answerer.answer(request).await),
        }
    }

    async fn refusal(&self, response: Response) -> ApiError {
        match (refusal(response).await, self) {
            (ApiError::Refused { status, reasons }, Self::Named { token, .. }) if is_about_who(status) => {
                ApiError::NotAllowed { status, reasons, has_token: token.is_some() }
            }
            (error, _) => error,
        }
    }
}

/// Whether the failure to connect says that no server runs.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::ConnectionRefused)
}

fn is_about_who(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;
    use crate::socket::OperatorSocket;

    #[tokio::test]
    async fn the_server_of_buckets_is_found_in_the_temporary_folder() {
        let folder = tempfile::tempdir().unwrap();
        let text = "registry_storage = \"s3://bucket/a\"\ntemporary_registry_storage = \"tmp\"\n\
                    metadata.url = \"postgres://u@localhost/d\"\n";
        std::fs::write(folder.path().join("configuration.toml"), text).unwrap();
        let surroundings = Surroundings { working_folder: folder.path(), environment: &|_| None };
        let configuration = Configuration::load(None, &surroundings).unwrap();
        let (_, process_folder) = configuration.process_folder();
        std::fs::create_dir(process_folder).unwrap();
        let _bound = OperatorSocket::bind(process_folder).unwrap();
        match Api::open(&configuration, None).await.unwrap() {
            Api::Socket { path, .. } => assert_eq!(path, folder.path().join("tmp/entrepot.socket")),
            other => panic!("{other:?}"),
        }
    }
}
