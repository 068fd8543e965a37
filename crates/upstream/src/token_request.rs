//! A request to a token endpoint, and what may come back. <https://distribution.github.io/distribution/spec/auth/token/>

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::Response;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::answer::refusal;
use crate::authorization::Credentials;
use crate::body;
use crate::circuit::Circuit;
use crate::connections::Connections;
use crate::error::{ContentError, Error};
use crate::handshake::HandshakeStep;
use crate::history::History;
use crate::limits::{TOKEN_BODY_BYTES_MAX, TOKEN_LIFETIME_DEFAULT};
use crate::token_cache::{Issued, Token, TokenKey};

/// Everything that a request for a token needs: it may be waited for by others than the one who began it.
pub(crate) struct TokenRequest {
    pub(crate) key: TokenKey,
    pub(crate) account: Option<Credentials>,
    pub(crate) is_guarded: bool,
    pub(crate) connections: Arc<Connections>,
    pub(crate) history: History,
    /// Where it counts how this goes; `None` when it is not asked on behalf of the remote itself.
    pub(crate) circuit: Option<Arc<Circuit>>,
}

/// The fields of the answer that count. `issued_at` is not among them: it is by a clock that is not ours.
#[derive(Deserialize)]
struct TokenBody {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<Value>,
}

impl TokenRequest {
    /// Asks for the token. Redirects are not followed: an account goes where the realm says, and nowhere else.
    pub(crate) async fn send(mut self) -> Result<Issued, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(account) = &self.account {
            headers.insert(AUTHORIZATION, account.header());
        }
        let url = self.url();
        let sent = self.connections.send((&Method::GET, &url), headers, self.is_guarded, &mut self.history);
        let sent = sent.await;
        if let Some(circuit) = &self.circuit {
            circuit.note(&sent);
        }
        let mut response = sent?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let time_max = self.connections.timeouts().document;
        let body = body::document(&mut response, TOKEN_BODY_BYTES_MAX, time_max, &self.history).await?;
        let issued = read(&body);
        if let Ok(issued) = &issued {
            self.history.record(|| HandshakeStep::TokenIssued { lifetime: issued.lifetime });
        }
        issued.map_err(|reason| Error::InvalidContent { history: Box::new(self.history), reason })
    }

    fn url(&self) -> Url {
        let mut url = self.key.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(self.key.service.iter().map(|service| ("service", service)));
            // Several scopes of one challenge are parameters of their own.
            let scopes = self.key.scope.iter().flat_map(|scope| scope.split_whitespace());
            query.extend_pairs(scopes.map(|scope| ("scope", scope)));
            query.extend_pairs(self.account.iter().map(|account| ("account", &account.username)));
        }
        url
    }

    async fn refusal(self, response: Response) -> Error {
        match refusal(response, self.history, self.connections.timeouts()).await {
            Error::Denied { history } if self.account.is_some() => Error::CredentialsRefused { history },
            // No endpoint at the realm is not "no such image".
            Error::NotFound { history } => Error::Rejected { history, status: 404 },
            error => error,
        }
    }
}

fn read(body: &[u8]) -> Result<Issued, ContentError> {
    let body: TokenBody = serde_json::from_slice(body).map_err(|error| ContentError::Json(Arc::new(error)))?;
    let token = [body.token, body.access_token].into_iter().flatten().find(|token| !token.is_empty());
    let is_header = |token: &String| HeaderValue::from_str(token).is_ok();
    let token = token.filter(is_header).ok_or(ContentError::TokenMissing)?;
    Ok(Issued { token: Token::new(token), lifetime: lifetime(body.expires_in.as_ref()) })
}

/// Seconds, as a number or as a text; missing or unreadable is the default, below zero is none at all.
fn lifetime(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let Some(seconds) = seconds else { return TOKEN_LIFETIME_DEFAULT };
    if seconds <= 0.0 { Duration::ZERO } else { Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_registries_write_them() {
        let rows = [
            (r#"{"token":"a"}"#, Some(("a", 60))),
            (r#"{"access_token":"a","expires_in":300,"issued_at":"1970-01-01T00:00:00Z"}"#, Some(("a", 300))),
            (r#"{"token":"a","access_token":"a","expires_in":59}"#, Some(("a", 59))),
            (r#"{"token":"","access_token":"b","expires_in":"120"}"#, Some(("b", 120))),
            (r#"{"token":"a","expires_in":0}"#, Some(("a", 0))),
            (r#"{"token":"a","expires_in":-5}"#, Some(("a", 0))),
            (r#"{"token":"a","expires_in":null}"#, Some(("a", 60))),
            (r#"{"token":"a\nb"}"#, None),
            (r#"{"token":null}"#, None),
            ("{}", None),
            ("<html>", None),
        ];
        for (body, expected) in rows {
            let read = read(body.as_bytes()).ok().map(|issued| (issued.token.expose().to_owned(), issued.lifetime));
            let expected = expected.map(|(token, seconds)| (token.to_owned(), Duration::from_secs(seconds)));
            assert_eq!(read, expected, "{body}");
        }
    }
}
