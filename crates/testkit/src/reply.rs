//! A reply: honest at first, and then what a test makes of it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use entrepot_oci::Digest;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use crate::gate::Gate;

const CONTENT_DIGEST: &str = "docker-content-digest";

/// A reply of the fake upstream. Each method makes it lie in one way, and they combine.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The whole content, of which a reply to a range has a part.
    whole: Bytes,
    pub(crate) delivery: Delivery,
}

/// How the bytes of a body leave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery {
    /// Nothing at all leaves before this is open.
    pub(crate) silence: Option<Gate>,
    /// The connection breaks after so many bytes.
    pub(crate) cut_after: Option<usize>,
    /// After so many bytes nothing more leaves before the gate is open.
    pub(crate) stall: Option<(usize, Gate)>,
    /// The largest piece, and the time before each.
    pub(crate) pace: Option<(usize, Duration)>,
    /// No length is announced.
    pub(crate) is_chunked: bool,
}

impl Reply {
    /// A reply of a status and nothing else.
    ///
    /// # Panics
    /// When `status` is not one.
    pub fn new(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        let body = Bytes::new();
        Self { status, headers: HeaderMap::new(), whole: body.clone(), body, delivery: Delivery::default() }
    }

    /// A 200 with a body.
    pub fn content(media_type: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { whole: body.clone(), body, ..Self::new(200) }.header("content-type", media_type)
    }

    /// A 200 with a JSON body.
    pub fn json(body: &Value) -> Self {
        Self::content("application/json", body.to_string())
    }

    /// A refusal with an error body of the specification.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
        Self::json(&body).status(status)
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::new(status).header(LOCATION.as_str(), location)
    }

    /// A web page, as captive portals send it.
    pub fn page() -> Self {
        Self::content("text/html; charset=utf-8", "<!DOCTYPE html><html><body>Please log in</body></html>")
    }

    /// A 429, with a `Retry-After` of this text unless it is empty.
    pub fn too_many_requests(retry_after: &str) -> Self {
        let reply = Self::error(429, "TOOMANYREQUESTS", "slow down");
        if retry_after.is_empty() { reply } else { reply.header(RETRY_AFTER.as_str(), retry_after) }
    }

    /// The status as it is now.
    pub fn is_status(&self, status: u16) -> bool {
        self.status == status
    }

    /// The body as it is now.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// With another status.
    ///
    /// # Panics
    /// When `status` is not one.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).expect("a status");
        self
    }

    /// With a header, in the place of others of its name.
    ///
    /// # Panics
    /// When it is not a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("the name of a header");
        self.headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).expect("the value of a header"));
        self
    }

    /// With one more header, beside others of its name.
    ///
    /// # Panics
    /// When it is not a header.
    #[must_use]
    pub fn another_header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("the name of a header");
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("the value of a header"));
        self
    }

    /// Without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// With another `Docker-Content-Digest`.
    #[must_use]
    pub fn announcing(self, digest: &Digest) -> Self {
        self.header(CONTENT_DIGEST, digest.as_str())
    }

    /// Without `Docker-Content-Digest`.
    #[must_use]
    pub fn without_digest(self) -> Self {
        self.without(CONTENT_DIGEST)
    }

    /// With another body, whose length is announced as it is.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.headers.remove(CONTENT_LENGTH);
        self
    }

    /// All of the content with a 200, whatever range was asked for.
    #[must_use]
    pub fn ignoring_range(mut self) -> Self {
        self.headers.remove(CONTENT_RANGE);
        let whole = self.whole.clone();
        self.with_body(whole).status(200)
    }

    /// With the byte at `position` of the body flipped.
    ///
    /// # Panics
    /// When the body ends before it.
    #[must_use]
    pub fn flip_byte(mut self, position: usize) -> Self {
        let mut body = BytesMut::from(&self.body[..]);
        body[position] ^= 0xff;
        self.body = body.freeze();
        self
    }

    /// With other bytes in the same number.
    #[must_use]
    pub fn wrong_bytes(mut self) -> Self {
        self.body = self.body.iter().map(|byte| !byte).collect();
        self
    }

    /// With `count` bytes less than announced, after which the connection is closed.
    #[must_use]
    pub fn short_by(self, count: usize) -> Self {
        let length = self.body.len().saturating_sub(count);
        self.cut_after(length)
    }

    /// With more bytes than the content has, and the length announced accordingly.
    #[must_use]
    pub fn followed_by(self, extra: &[u8]) -> Self {
        let body = [&self.body[..], extra].concat();
        self.with_body(body)
    }

    /// Without `Content-Length`.
    #[must_use]
    pub fn without_length(mut self) -> Self {
        self.headers.remove(CONTENT_LENGTH);
        self.delivery.is_chunked = true;
        self
    }

    /// The connection breaks after `count` bytes of the body.
    #[must_use]
    pub fn cut_after(mut self, count: usize) -> Self {
        self.delivery.cut_after = Some(count);
        self
    }

    /// Nothing leaves, not even the head, before `gate` is open.
    #[must_use]
    pub fn silent(mut self, gate: &Gate) -> Self {
        self.delivery.silence = Some(gate.clone());
        self
    }

    /// After `count` bytes of the body nothing more leaves before `gate` is open.
    #[must_use]
    pub fn stall_after(mut self, count: usize, gate: &Gate) -> Self {
        self.delivery.stall = Some((count, gate.clone()));
        self
    }

    /// The body leaves in pieces of at most `piece` bytes, `pause` before each: slow but moving.
    #[must_use]
    pub fn paced(mut self, piece: usize, pause: Duration) -> Self {
        self.delivery.pace = Some((piece, pause));
        self
    }

    /// With the JSON body changed by `edit`.
    ///
    /// # Panics
    /// When the body is not JSON.
    #[must_use]
    pub fn edit_json(self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut value = serde_json::from_slice(&self.body).expect("a JSON body");
        edit(&mut value);
        self.with_body(value.to_string())
    }

    /// The part of the content that a `Range` header asks for, as the honest server sends it.
    pub(crate) fn of_range(mut self, first: u64, last: u64) -> Self {
        let total = self.whole.len();
        let position = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX).min(total);
        self.body = self.whole.slice(position(first)..position(last + 1));
        self.status(206).header(CONTENT_RANGE.as_str(), &format!("bytes {first}-{last}/{total}"))
    }
}
