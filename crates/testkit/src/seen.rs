//! A request as the fake upstream saw it.

use http::{HeaderMap, Method};

use crate::issuer::{DISCOVERY_PATH, KEYS_PATH};

/// A request as the fake upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The path, as it came.
    pub path: String,
    /// The query, or the form of a POST, as it came; empty when there was none.
    pub query: String,
    /// All headers.
    pub headers: HeaderMap,
    /// Whether the client showed a certificate when it connected.
    pub has_certificate: bool,
}

impl Seen {
    /// The value of a header, if it came and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether it is any request at all: the rule for everything.
    pub const fn is_any(&self) -> bool {
        true
    }

    /// Whether it is a GET.
    pub fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    /// Whether it is a HEAD.
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether it asks for a blob.
    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    /// Whether it asks for a manifest.
    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }

    /// Whether it asks for a page of tags.
    pub fn is_tags(&self) -> bool {
        self.path.ends_with("/tags/list")
    }

    /// Whether it asks for referrers.
    pub fn is_referrers(&self) -> bool {
        self.path.contains("/referrers/")
    }

    /// Whether it asks for a token.
    pub fn is_token(&self) -> bool {
        self.path == "/token"
    }

    /// Whether it asks an identity provider for its discovery document.
    pub fn is_discovery(&self) -> bool {
        self.path == DISCOVERY_PATH
    }

    /// Whether it asks an identity provider for its keys.
    pub fn is_keys(&self) -> bool {
        self.path == KEYS_PATH
    }

    /// Whether it is the question at `/v2/`.
    pub fn is_ping(&self) -> bool {
        self.path == "/v2/"
    }

    /// Whether it is a POST.
    pub fn is_post(&self) -> bool {
        self.method == Method::POST
    }

    /// The decoded values of a parameter of the query or form, in its order.
    pub fn parameters(&self, name: &str) -> Vec<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decode(value)).collect()
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.extend(u8::from_str_radix(&hex, 16));
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
