//! A request to a token endpoint, and what may come back. <https://distribution.github.io/distribution/spec/auth/token/>

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::Response;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::answer::refusal;
use crate::authorization::Credentials;
use crate::body;
use crate::circuit::Circuit;
use crate::connections::Connections;
use crate::error::{ContentError, Error};
use crate::handshake::HandshakeStep;
use crate::history::History;
use crate::limits::{TOKEN_BODY_BYTES_MAX, TOKEN_LIFETIME_DEFAULT};
use crate::reach::Destination;
use crate::token_cache::{Issued, Token, TokenKey};

/// What we are called by token endpoints that want to know.
const CLIENT_ID: &str = "entrepot";

/// Everything that a request for a token needs: it may be waited for by others than the one who began it.
pub(crate) struct TokenRequest {
    pub(crate) key: TokenKey,
    pub(crate) account: Option<Credentials>,
    pub(crate) destination: Destination,
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
        let mut response = match self.refresh().await? {
            Some(response) => response,
            None => self.get().await?,
        };
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

    async fn get(&mut self) -> Result<Response, Error> {
        let mut headers = headers();
        if let Some(account) = &self.account {
            headers.insert(AUTHORIZATION, account.header());
        }
        let url = self.url();
        let sent = self.connections.send((&Method::GET, &url), headers, self.destination, &mut self.history).await;
        self.note(sent)
    }

    /// Trades an identity token in; `None` when there is none, or the endpoint does not know how and is to be asked with GET.
    /// <https://distribution.github.io/distribution/spec/auth/oauth/>
    async fn refresh(&mut self) -> Result<Option<Response>, Error> {
        let Some(form) = self.form() else { return Ok(None) };
        let mut headers = headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let sent = self.connections.post(&self.key.realm, headers, form, self.destination, &mut self.history).await;
        let response = self.note(sent)?;
        if !matches!(response.status().as_u16(), 400 | 401 | 404 | 405) {
            return Ok(Some(response));
        }
        body::release(response).await;
        Ok(None)
    }

    /// What an identity token is traded in with, if there is one.
    fn form(&self) -> Option<String> {
        let token = self.account.as_ref()?.identity_token()?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", CLIENT_ID);
        form.extend_pairs(self.key.service.iter().map(|service| ("service", service)));
        form.extend_pairs(self.key.scope.iter().map(|scope| ("scope", scope)));
        Some(form.append_pair("refresh_token", token.expose_secret()).finish())
    }

    fn note(&self, sent: Result<Response, Error>) -> Result<Response, Error> {
        if let Some(circuit) = &self.circuit {
            circuit.note(&sent);
        }
        sent
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

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
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
