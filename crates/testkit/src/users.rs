//! Users of the fake upstream, who may pull from some repositories and not from others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::auth::{basic, pull_scope, repository_of};
use crate::reply::Reply;
use crate::seen::Seen;

/// Users of the fake upstream. A token that one of them got is good for what it says until it expires, whatever becomes of the user:
/// nothing but the token is looked at.
#[derive(Clone, Debug)]
pub struct Users {
    has_tokens: bool,
    known: Vec<User>,
    public: Vec<String>,
    refusal: u16,
}

#[derive(Clone, Debug)]
struct User {
    header: String,
    repositories: Vec<String>,
}

impl Users {
    /// Nobody yet, who would come with a user and a password.
    pub const fn with_basic() -> Self {
        Self { has_tokens: false, known: Vec::new(), public: Vec::new(), refusal: 403 }
    }

    /// Nobody yet, who would get a token for it.
    pub fn with_tokens() -> Self {
        Self { has_tokens: true, ..Self::with_basic() }
    }

    /// With one more.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str, repositories: &[&str]) -> Self {
        let repositories = repositories.iter().map(ToString::to_string).collect();
        self.known.push(User { header: basic(name, password), repositories });
        self
    }

    /// With a repository for everybody.
    #[must_use]
    pub fn public(mut self, repository: &str) -> Self {
        self.public.push(repository.to_owned());
        self
    }

    /// With another status for users who lack the right; 403 unless it is set. Only without tokens.
    #[must_use]
    pub const fn refusing_with(mut self, status: u16) -> Self {
        self.refusal = status;
        self
    }

    /// The user that a request names; an error for a wrong password.
    fn user_of(&self, seen: &Seen) -> Result<Option<&User>, ()> {
        match seen.header("authorization") {
            Some(header) => self.known.iter().find(|user| user.header == header).map(Some).ok_or(()),
            None => Ok(None),
        }
    }

    fn may(&self, user: Option<&User>, repository: &str) -> bool {
        let of_user = user.map(|user| user.repositories.as_slice()).unwrap_or_default();
        of_user.iter().chain(&self.public).any(|allowed| allowed == repository)
    }

    pub(crate) fn refuse(&self, seen: &Seen, own_url: &str) -> Option<Reply> {
        let repository = repository_of(seen);
        if self.has_tokens {
            return refuse_token(seen, repository, own_url);
        }
        let unauthorized = || Reply::error(401, "UNAUTHORIZED", "authentication required");
        let unauthorized = || Some(unauthorized().header("www-authenticate", r#"Basic realm="fake""#));
        match (self.user_of(seen), repository) {
            (Ok(Some(_)), None) => None,
            (Ok(user), Some(repository)) if self.may(user, repository) => None,
            (Err(()) | Ok(None), _) => unauthorized(),
            (Ok(Some(_)), Some(_)) => Some(Reply::error(self.refusal, "DENIED", "you may not")),
        }
    }

    /// A token for what the user may of what he asks for, which may be nothing.
    pub(crate) fn issue(&self, seen: &Seen, number: usize) -> Reply {
        let Ok(user) = self.user_of(seen) else {
            return Reply::error(401, "UNAUTHORIZED", "wrong user or password");
        };
        let may = |scope: &String| {
            let name = scope.strip_prefix("repository:").and_then(|scope| scope.strip_suffix(":pull"));
            name.is_some_and(|name| self.may(user, name))
        };
        let granted: Vec<String> = seen.parameters("scope").into_iter().filter(may).collect();
        let token = format!("{number}.{}", STANDARD.encode(granted.join(" ")));
        Reply::json(&json!({ "token": token, "expires_in": 300 }))
    }
}

/// The refusal of a request without a token that says enough.
fn refuse_token(seen: &Seen, repository: Option<&str>, own_url: &str) -> Option<Reply> {
    let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let granted = token.and_then(|token| STANDARD.decode(token.split_once('.')?.1).ok());
    let granted = granted.and_then(|granted| String::from_utf8(granted).ok());
    let needed = repository.map(pull_scope);
    let is_enough = |granted: &String| match &needed {
        Some(needed) => granted.split(' ').any(|scope| scope == needed),
        None => true,
    };
    if granted.as_ref().is_some_and(is_enough) {
        return None;
    }
    let scope = needed.map(|scope| format!(r#",scope="{scope}""#)).unwrap_or_default();
    let error = token.map_or("", |_| r#",error="insufficient_scope""#);
    let challenge = format!(r#"Bearer realm="{own_url}/token",service="fake"{scope}{error}"#);
    let reply = Reply::error(401, "UNAUTHORIZED", "authentication required");
    Some(reply.header("www-authenticate", &challenge))
}
