//! The challenge: where a client gets the token that its request lacks.
//!
//! One challenge, always Bearer. Most clients look at the first one only, and those that know Basic alone send it without being asked.

use std::fmt;

use entrepot_access::Scope;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays readable in the value of a query parameter.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The path of the token service.
pub(crate) const TOKEN_PATH: &str = "/token";

/// What is wrong with what the client has sent. Without it some clients send the same token again for ever.
/// <https://www.rfc-editor.org/rfc/rfc6750#section-3.1>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChallengeError {
    /// The token is not good: expired, revoked, not of this service.
    InvalidToken,
    /// The token is good, and does not cover the request.
    InsufficientScope,
}

/// The value of `WWW-Authenticate`.
#[derive(Clone, Debug)]
pub(crate) struct Challenge<'c> {
    /// By which the client reaches this server: the realm has to be of the same host.
    pub(crate) base_url: &'c str,
    /// The registry that the client asks a mirror for: it wants tokens for that one's names, which the token service then knows to map.
    pub(crate) namespace: Option<&'c str>,
    /// The audience of tokens.
    pub(crate) service: &'c str,
    /// What the request needs.
    pub(crate) scopes: &'c [Scope],
    /// What is wrong with the token, if one was sent.
    pub(crate) error: Option<ChallengeError>,
}

impl fmt::Display for Challenge<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bearer realm=\"{}{TOKEN_PATH}", Quoted(self.base_url))?;
        if let Some(namespace) = self.namespace {
            write!(formatter, "?ns={}", utf8_percent_encode(namespace, QUERY_VALUE))?;
        }
        write!(formatter, "\",service=\"{}\"", Quoted(self.service))?;
        for (index, scope) in self.scopes.iter().enumerate() {
            let before = if index == 0 { ",scope=\"" } else { " " };
            write!(formatter, "{before}{scope}")?;
        }
        if !self.scopes.is_empty() {
            formatter.write_str("\"")?;
        }
        match self.error {
            None => Ok(()),
            Some(ChallengeError::InvalidToken) => formatter.write_str(",error=\"invalid_token\""),
            Some(ChallengeError::InsufficientScope) => formatter.write_str(",error=\"insufficient_scope\""),
        }
    }
}

/// A text as it stands between quotes. Hosts and services have nothing that would have to be escaped, so what would have to be, goes.
struct Quoted<'q>(&'q str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .split(|char: char| !char.is_ascii_graphic() || matches!(char, '"' | '\\'))
            .try_for_each(|part| formatter.write_str(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(namespace: Option<&str>, scopes: &[&str], error: Option<ChallengeError>) -> String {
        let scopes: Vec<Scope> = scopes.iter().map(|text| text.parse().unwrap()).collect();
        let base_url = "https://registry.example:5000";
        Challenge { base_url, namespace, service: "registry.example", scopes: &scopes, error }.to_string()
    }

    #[test]
    fn a_challenge_is_written_as_clients_read_it() {
        let begin = r#"Bearer realm="https://registry.example:5000/token",service="registry.example""#;
        assert_eq!(written(None, &[], None), begin);
        assert_eq!(
            written(None, &["repository:team/app:push,pull"], None),
            format!(r#"{begin},scope="repository:team/app:pull,push""#)
        );
        assert_eq!(
            written(None, &["repository:a:pull,push", "repository:b:pull"], Some(ChallengeError::InsufficientScope)),
            format!(r#"{begin},scope="repository:a:pull,push repository:b:pull",error="insufficient_scope""#)
        );
        assert_eq!(written(None, &[], Some(ChallengeError::InvalidToken)), format!(r#"{begin},error="invalid_token""#));
        assert_eq!(
            written(Some("registry.corp:5000"), &["registry:catalog:*"], None),
            r#"Bearer realm="https://registry.example:5000/token?ns=registry.corp%3A5000",service="registry.example",scope="registry:catalog:*""#
        );
    }

    #[test]
    fn nothing_that_a_client_writes_ends_the_quotes() {
        let hostile = "a\",realm=\"https://evil.example\\";
        let challenge = Challenge {
            base_url: hostile,
            namespace: Some("x\",error=\"y\r\n\u{e9}&z"),
            service: hostile,
            scopes: &[],
            error: None,
        };
        let text = challenge.to_string();
        assert_eq!(text.matches('"').count(), 4, "{text}");
        assert!(text.contains("?ns=x%22%2Cerror%3D%22y%0D%0A%C3%A9%26z\""), "{text}");
        assert!(http::HeaderValue::from_str(&text).is_ok());
    }
}
