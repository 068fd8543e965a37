//! What the fake upstream wants to see before it answers, and the tokens that it issues.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::reply::Reply;
use crate::seen::Seen;
use crate::users::Users;

/// What the fake upstream wants to see before it answers.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Nothing.
    #[default]
    Open,
    /// A user and a password on every request.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A token for the scope of the request.
    Bearer {
        /// Where tokens are issued; its own `/token` when `None`.
        realm: Option<String>,
        /// The user and the password that the token endpoint wants, or the password as the refresh token of a form; everyone gets a token when `None`.
        account: Option<(String, String)>,
    },
    /// Users of its own, each with repositories that he may pull from.
    Users(Users),
}

impl Auth {
    /// Tokens for everyone.
    pub const fn anonymous_bearer() -> Self {
        Self::Bearer { realm: None, account: None }
    }

    /// Tokens for those who know the password.
    pub fn bearer(username: &str, password: &str) -> Self {
        Self::Bearer { realm: None, account: Some((username.to_owned(), password.to_owned())) }
    }

    /// A user and a password on every request.
    pub fn basic(username: &str, password: &str) -> Self {
        Self::Basic { username: username.to_owned(), password: password.to_owned() }
    }

    /// The refusal of a request that lacks what is wanted; `None` lets it through.
    pub(crate) fn refuse(&self, seen: &Seen, own_url: &str, oldest_token: usize) -> Option<Reply> {
        let challenge = match self {
            Self::Open => return None,
            Self::Users(users) => return users.refuse(seen, own_url),
            Self::Basic { username, password } => {
                if seen.header("authorization") == Some(&basic(username, password)) {
                    return None;
                }
                r#"Basic realm="fake""#.to_owned()
            }
            Self::Bearer { realm, .. } => {
                let scope = scope_of(seen);
                let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
                if token.is_some_and(|token| is_token_for(token, scope.as_deref(), oldest_token)) {
                    return None;
                }
                let realm = realm.clone().unwrap_or_else(|| format!("{own_url}/token"));
                let scope = scope.map(|scope| format!(r#",scope="{scope}""#)).unwrap_or_default();
                let error = token.map_or("", |_| r#",error="invalid_token""#);
                format!(r#"Bearer realm="{realm}",service="fake"{scope}{error}"#)
            }
        };
        let reply = Reply::error(401, "UNAUTHORIZED", "authentication required");
        Some(reply.header("www-authenticate", &challenge))
    }

    /// The answer of the token endpoint; `number` counts the tokens.
    pub(crate) fn issue(&self, seen: &Seen, number: usize) -> Reply {
        if let Self::Users(users) = self {
            return users.issue(seen, number);
        }
        if let Self::Bearer { account: Some((username, password)), .. } = self
            && seen.header("authorization") != Some(&basic(username, password))
            && !(seen.is_post() && seen.parameters("refresh_token") == [password.as_str()])
        {
            return Reply::error(401, "UNAUTHORIZED", "wrong user or password");
        }
        let scope = seen.parameters("scope").join(" ");
        let token = format!("{number}.{}", STANDARD.encode(scope));
        Reply::json(&json!({ "token": token, "expires_in": 300 }))
    }
}

pub(crate) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

/// Whether `token` was issued for `scope`, and not before the tokens were revoked.
fn is_token_for(token: &str, scope: Option<&str>, oldest: usize) -> bool {
    let Some((number, encoded)) = token.split_once('.') else { return false };
    let is_recent = number.parse::<usize>().is_ok_and(|number| number >= oldest);
    is_recent && scope.is_none_or(|scope| encoded == STANDARD.encode(scope))
}

/// The scope that a request needs; none for `/v2/`.
fn scope_of(seen: &Seen) -> Option<String> {
    repository_of(seen).map(pull_scope)
}

/// The scope that lets its holder pull from a repository.
pub(crate) fn pull_scope(repository: &str) -> String {
    format!("repository:{repository}:pull")
}

/// The repository that a request is about; none for `/v2/`.
pub(crate) fn repository_of(seen: &Seen) -> Option<&str> {
    let path = seen.path.strip_prefix("/v2/")?;
    let kinds = ["/manifests/", "/blobs/", "/tags/", "/referrers/"];
    let end = kinds.into_iter().filter_map(|kind| path.rfind(kind)).max()?;
    Some(&path[..end])
}
