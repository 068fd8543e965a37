//! What happened on the way to an answer: the facts that every error carries.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use entrepot_oci::ErrorBody;
use http::Method;
use tokio::time::Instant;
use url::Url;

use crate::handshake::{HandshakeStep, Recorder};
use crate::limits::{REPORTED_CHARACTERS_MAX, REPORTED_MAX};

/// A URL that may be printed: without user-info, query and fragment, where secrets and signatures are.
#[derive(Clone, PartialEq, Eq)]
pub struct RedactedUrl(Box<str>);

impl RedactedUrl {
    /// The printable part of `url`.
    pub fn new(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Self(format!("{}://{host}{port}{}", url.scheme(), url.path()).into())
    }

    /// The printable text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedactedUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for RedactedUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An entry of the error body that an upstream sent, cut to a printable length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Its code, which need not be one of the specification.
    pub code: String,
    /// Its sentence.
    pub message: String,
}

/// A mirror that was asked in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its name.
    pub mirror: Arc<str>,
    /// Why it did not help.
    pub reason: String,
}

/// What happened on the way to an answer.
#[derive(Clone, Debug)]
pub struct History {
    /// The name of the upstream.
    pub remote: Arc<str>,
    /// The method of the last request.
    pub method: Method,
    /// Where the last request went, which after a redirect or for a token is not the upstream itself.
    pub url: RedactedUrl,
    /// The last answer, if there was one.
    pub status: Option<u16>,
    /// What the body of a refusal said, at most five entries.
    pub reported: Vec<Reported>,
    /// How many requests were sent in all, with those for tokens and those that were redirected.
    pub attempts: u32,
    /// The mirrors that were asked for the same in vain. `attempts` counts none of their requests.
    pub passed_over: Vec<PassedOver>,
    started: Instant,
    /// Kept for a handshake alone.
    recorder: Option<Recorder>,
}

impl History {
    pub(crate) fn new(remote: Arc<str>, method: Method, url: &Url) -> Self {
        let url = RedactedUrl::new(url);
        Self {
            remote,
            method,
            url,
            status: None,
            reported: Vec::new(),
            attempts: 0,
            passed_over: Vec::new(),
            started: Instant::now(),
            recorder: None,
        }
    }

    /// The same, with every step written down.
    pub(crate) fn recorded(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// How long it has been since the first request.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes that a request is about to leave for `url`.
    pub(crate) fn attempt(&mut self, method: &Method, url: &Url) {
        self.method = method.clone();
        self.url = RedactedUrl::new(url);
        self.status = None;
        self.attempts += 1;
        self.record(|| HandshakeStep::Asked { method: method.clone(), url: RedactedUrl::new(url), status: None });
    }

    /// Notes the status of what was just asked.
    pub(crate) fn got(&mut self, status: u16) {
        self.status = Some(status);
        if let Some(recorder) = &self.recorder {
            recorder.got(status);
        }
    }

    /// Writes a step down, if anybody wants to know.
    pub(crate) fn record(&self, step: impl FnOnce() -> HandshakeStep) {
        if let Some(recorder) = &self.recorder {
            recorder.push(step());
        }
    }

    /// Notes the answer that counts, when others were asked for after it.
    pub(crate) fn answered(&mut self, method: &Method, url: &Url, status: u16) {
        self.method = method.clone();
        self.url = RedactedUrl::new(url);
        self.status = Some(status);
    }

    /// Notes the entries of an error body; anything else than an error body has none.
    pub(crate) fn report(&mut self, body: &[u8]) {
        let Ok(body) = serde_json::from_slice::<ErrorBody>(body) else { return };
        let entries = body.errors.into_iter().take(REPORTED_MAX);
        self.reported =
            entries.map(|entry| Reported { code: tame(&entry.code), message: tame(&entry.message) }).collect();
    }
}

/// The beginning of a foreign text, without characters that could act on a terminal or a log.
pub(crate) fn tame(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(REPORTED_CHARACTERS_MAX).collect()
}

impl fmt::Display for History {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(formatter, "{} answered {status} to {} {}", self.remote, self.method, self.url)?,
            None => write!(formatter, "{}: {} {}", self.remote, self.method, self.url)?,
        }
        for Reported { code, message } in &self.reported {
            write!(formatter, " ({code}: {message})")?;
        }
        for PassedOver { mirror, reason } in &self.passed_over {
            write!(formatter, " [the mirror {mirror} did not help: {reason}]")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_url_has_no_user_and_no_query() {
        let url = Url::parse("https://user:secret@cdn.example:8443/v2/a/blobs/x?X-Signature=secret#secret").unwrap();
        assert_eq!(RedactedUrl::new(&url).to_string(), "https://cdn.example:8443/v2/a/blobs/x");
        assert!(!format!("{:?}", RedactedUrl::new(&url)).contains("secret"));
    }

    #[test]
    fn what_an_upstream_reports_is_bounded_and_tame() {
        let mut history = History::new("x".into(), Method::GET, &Url::parse("https://x.example/").unwrap());
        let entry = format!(r#"{{"code":"DENIED","message":"\u001b[2J{}"}}"#, "y".repeat(1000));
        history.report(format!(r#"{{"errors":[{}]}}"#, vec![entry; 20].join(",")).as_bytes());
        assert_eq!(history.reported.len(), REPORTED_MAX);
        assert!(history.reported[0].message.starts_with("[2J"));
        assert_eq!(history.reported[0].message.len(), REPORTED_CHARACTERS_MAX);
    }
}
