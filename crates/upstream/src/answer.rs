//! An answer after authorisation and redirects, and what its status means.

use bytes::Bytes;
use entrepot_oci::{Digest, MediaType};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use reqwest::Response;

use crate::body;
use crate::config::Timeouts;
use crate::error::{ContentError, Error};
use crate::history::History;
use crate::limits::{ERROR_BODY_BYTES_MAX, RETRY_AFTER_DEFAULT};
use crate::retry_after::retry_after;
use crate::turns::Turn;

/// The header that names the content, <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// An answer, whatever its status, with its body still to come.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// `Docker-Content-Digest` of the first answer that had one: storage behind a redirect leaves it out.
    pub(crate) digest: Option<Digest>,
    pub(crate) history: History,
    /// Whether a password, rather than a token or nothing, was sent.
    pub(crate) had_password: bool,
    /// Kept while there is a body to read.
    pub(crate) turn: Option<Turn>,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The media type, if it is one.
    pub(crate) fn media_type(&self) -> Option<MediaType> {
        self.response.headers().get(CONTENT_TYPE)?.to_str().ok()?.parse().ok()
    }

    /// Whether it is a web page, which is content of no kind.
    pub(crate) fn is_page(&self) -> bool {
        self.media_type().is_some_and(|media_type| media_type.as_str() == "text/html")
    }

    /// The answer when it is a success, and otherwise what it means.
    pub(crate) async fn success(self, timeouts: &Timeouts) -> Result<Self, Error> {
        if self.status().is_success() { Ok(self) } else { Err(self.refusal(timeouts).await) }
    }

    /// What an answer that is no success means.
    pub(crate) async fn refusal(self, timeouts: &Timeouts) -> Error {
        let Self { response, history, had_password, .. } = self;
        match refusal(response, history, timeouts).await {
            Error::Denied { history } if had_password && history.status == Some(401) => {
                Error::CredentialsRefused { history }
            }
            error => error,
        }
    }

    /// The whole body of at most `size_max` bytes. Ends the turn of the question, so that the next page has one to wait for.
    pub(crate) async fn document(&mut self, size_max: usize, timeouts: &Timeouts) -> Result<Bytes, Error> {
        if self.is_page() {
            return Err(self.invalid(ContentError::WebPage));
        }
        let document = body::document(&mut self.response, size_max, timeouts.document, &self.history).await;
        self.turn = None;
        document
    }

    /// The error of an answer whose content is not what was asked for.
    pub(crate) fn invalid(&self, reason: ContentError) -> Error {
        Error::InvalidContent { history: Box::new(self.history.clone()), reason }
    }
}

/// What a refusal means, by its status, with what its body reports.
pub(crate) async fn refusal(mut response: Response, mut history: History, timeouts: &Timeouts) -> Error {
    // A body that cannot be read changes nothing about the refusal.
    if let Ok(body) = body::document(&mut response, ERROR_BODY_BYTES_MAX, timeouts.connect, &history).await {
        history.report(&body);
    }
    let history = Box::new(history);
    let wait = retry_after(response.headers());
    match response.status().as_u16() {
        404 => Error::NotFound { history },
        401 | 403 => Error::Denied { history },
        429 => Error::RateLimited { history, retry_after: wait.unwrap_or(RETRY_AFTER_DEFAULT) },
        status @ (408 | 500..) => Error::Unavailable { history, status, retry_after: wait },
        status => Error::Rejected { history, status },
    }
}

/// The digest that an answer announces, if it is one that can be verified.
pub(crate) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.trim().parse().ok()
}
