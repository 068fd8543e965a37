//! A request and its answer, with what must be true of every answer of the registry, whatever was asked.

use std::fmt::{Display, Write as _};
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use bytes::Bytes;
use entrepot_oci::ErrorCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// Codes that Docker added to those of the specification. Clients that check the codes of a 400 know only the latter.
const DOCKER_CODES: &[&str] = &["UNKNOWN", "UNAVAILABLE", "RANGE_INVALID", "TAG_INVALID", "MANIFEST_UNVERIFIED"];

/// A request under construction. Awaiting it sends it.
#[derive(Debug)]
pub(super) struct Ask {
    request: RequestBuilder,
    method: Method,
    path: String,
    headers: String,
}

impl Ask {
    pub(super) fn new(request: RequestBuilder, method: Method, path: &str) -> Self {
        Self { request, method, path: path.to_owned(), headers: String::new() }
    }

    pub(super) fn header(mut self, name: &str, value: impl Display) -> Self {
        let value = value.to_string();
        let _ = write!(self.headers, " [{name}: {value}]");
        // As bytes that were checked here: a second header of a name is added, as clients do.
        let name: HeaderName = name.parse().unwrap();
        self.request = self.request.header(name, HeaderValue::from_str(&value).unwrap());
        self
    }

    pub(super) fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    /// A part of an upload that begins at byte `first`.
    pub(super) fn chunk(self, first: usize, bytes: &Bytes) -> Self {
        self.header("content-range", format!("{first}-{}", first + bytes.len() - 1)).body(bytes.clone())
    }

    /// Sends the request; it may break off, because its body does.
    pub(super) async fn attempt(self) -> Result<Answer, reqwest::Error> {
        let Self { request, method, path, headers } = self;
        let response = request.send().await?;
        let (status, answered) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?;
        Ok(Answer::new(&method, &path, &headers, status, answered, body))
    }
}

impl IntoFuture for Ask {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let line = format!("{} {}{}", self.method, self.path, self.headers);
            self.attempt().await.unwrap_or_else(|error| panic!("{line}\nwas not answered: {error:?}"))
        })
    }
}

/// What the registry answered. Its assertions return it, so that they can be chained, and fail with all of it.
#[derive(Debug)]
pub(super) struct Answer {
    asked: String,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// An answer that has passed [`Self::check`].
    pub(super) fn new(method: &Method, path: &str, sent: &str, status: u16, headers: HeaderMap, body: Bytes) -> Self {
        let answer = Self { asked: format!("{method} {path}{sent}"), status, headers, body };
        answer.check(*method == Method::HEAD, path);
        answer
    }

    /// What every answer has to be like.
    fn check(&self, is_head: bool, path: &str) {
        if path == "/v2" || path.starts_with("/v2/") {
            self.has("docker-distribution-api-version", "registry/2.0");
        }
        self.must(!(300..400).contains(&self.status) || self.status == 304, "the registry redirects nobody");
        self.must(self.try_header("content-encoding").is_none(), "content is never encoded");
        let has_length = self.try_header("content-length").is_some();
        self.must(has_length || matches!(self.status, 204 | 304), "every answer with a body says how long it is");
        if let Some(location) = self.try_header("location") {
            let is_plain = location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%');
            self.must(location.starts_with("/v2/") && is_plain, "locations are plain and relative to the root");
        }
        for warning in self.headers.get_all("warning") {
            let text = warning.to_str().unwrap_or_default();
            let quoted = text.strip_prefix("299 - \"").and_then(|text| text.strip_suffix('"'));
            self.must(quoted.is_some_and(|text| !text.contains(['"', '\\'])), "warnings have one form");
        }
        if is_head {
            self.must(self.body.is_empty(), "a HEAD is answered without a body");
        } else if self.status >= 400 {
            self.check_error();
        }
        if self.status == 405 {
            self.header("allow");
        }
        if self.status == 429 {
            self.must(self.header("retry-after").parse::<u64>().is_ok(), "Retry-After is in whole seconds");
        }
    }

    /// `{"errors":[{"code", "message"?, "detail"?}]}` with codes that clients know.
    fn check_error(&self) {
        self.has("content-type", "application/json");
        let body = self.json();
        let errors = body["errors"].as_array().unwrap_or_else(|| panic!("no list of errors\n{}", self.evidence()));
        self.must(!errors.is_empty() && body.as_object().is_some_and(|body| body.len() == 1), "an error has a body");
        for error in errors {
            let code = error["code"].as_str().unwrap_or_default();
            self.must(ErrorCode::ALL.iter().any(|known| known.as_str() == code), "the code is one of the list");
            self.must(self.status != 400 || !DOCKER_CODES.contains(&code), "the code of a 400 is the specification's");
            self.must(error["message"].is_string(), "an error says something to people");
            let known = ["code", "message", "detail"];
            let keys = error.as_object().into_iter().flat_map(|error| error.keys());
            self.must(keys.into_iter().all(|key| known.contains(&key.as_str())), "an error has no other fields");
        }
    }

    #[track_caller]
    pub(super) fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.evidence());
        self
    }

    /// A refusal with a code; a HEAD has none.
    #[track_caller]
    pub(super) fn refused(&self, status: u16, code: &str) -> &Self {
        self.expect(status);
        let body = self.json();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        assert!(errors.iter().all(|error| error["code"] == code), "not {code}\n{}", self.evidence());
        self
    }

    #[track_caller]
    pub(super) fn has(&self, name: &str, value: impl Display) -> &Self {
        assert_eq!(self.try_header(name), Some(value.to_string().as_str()), "{name}\n{}", self.evidence());
        self
    }

    #[track_caller]
    pub(super) fn lacks(&self, name: &str) -> &Self {
        assert_eq!(self.try_header(name), None, "{name}\n{}", self.evidence());
        self
    }

    #[track_caller]
    pub(super) fn is(&self, body: impl AsRef<[u8]>) -> &Self {
        // Not by `assert_eq`: nobody reads megabytes of numbers.
        assert!(self.body == body.as_ref(), "the body is another\n{}", self.evidence());
        self
    }

    /// The first value of a header, which must be there.
    #[track_caller]
    pub(super) fn header(&self, name: &str) -> &str {
        self.try_header(name).unwrap_or_else(|| panic!("no {name}\n{}", self.evidence()))
    }

    pub(super) fn try_header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Where an upload or content is, as path.
    #[track_caller]
    pub(super) fn location(&self) -> String {
        self.header("location").to_owned()
    }

    /// Where the link to the next page leads, when there is one.
    #[track_caller]
    pub(super) fn next_page(&self) -> Option<String> {
        let link = self.try_header("link")?;
        let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        self.must(target.is_some_and(|target| target.starts_with("/v2/")), "the link leads to a page of this server");
        target.map(ToOwned::to_owned)
    }

    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}\n{}", self.evidence()))
    }

    #[track_caller]
    pub(super) fn must(&self, is_so: bool, sentence: &str) {
        assert!(is_so, "not so: {sentence}\n{}", self.evidence());
    }

    /// The request and the answer, for people.
    pub(super) fn evidence(&self) -> String {
        let mut text = format!("{}\n{}", self.asked, self.status);
        for (name, value) in &self.headers {
            let _ = write!(text, "\n{name}: {}", value.to_str().unwrap_or("(not text)"));
        }
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(1000)]);
        let _ = write!(text, "\n({} bytes) {body}", self.body.len());
        text
    }
}
