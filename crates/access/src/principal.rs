//! Who somebody is.
//!
//! How somebody is known is part of who he is: a user may have any name that a robot or an identity provider also gives, and is
//! never taken for them. Nothing inside the server is recognised by a name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Who a caller is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Somebody who has not said.
    Anonymous,
    /// A user of the users file, written `alice`.
    User(UserName),
    /// The holder of a robot's token, written `robot:deploy`.
    Robot(Arc<str>),
    /// Somebody whom an identity provider knows, written `oidc:github:org/app`.
    Oidc {
        /// The name of the provider in the configuration.
        issuer: Arc<str>,
        /// What its claims were mapped to.
        name: Arc<str>,
    },
    /// The holder of a client certificate, written `certificate:node-1`.
    Certificate(Arc<str>),
    /// Somebody whom an upstream with `credentials = "caller"` knows, written `upstream:ghcr.io:octocat`.
    Upstream {
        /// The name of the upstream in the configuration.
        upstream: Arc<str>,
        /// The user there.
        user: Arc<str>,
    },
    /// Whoever can open the server's own socket, which the file system guards. No rule names him; he may do everything.
    Operator,
}

impl Principal {
    /// Whether it is somebody who has not said who he is.
    pub const fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }
}

impl fmt::Display for Principal {
    /// As rules and the log have it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => formatter.write_str("anonymous"),
            Self::User(name) => name.fmt(formatter),
            Self::Robot(name) => write!(formatter, "robot:{name}"),
            Self::Oidc { issuer, name } => write!(formatter, "oidc:{issuer}:{name}"),
            Self::Certificate(name) => write!(formatter, "certificate:{name}"),
            Self::Upstream { upstream, user } => write!(formatter, "upstream:{upstream}:{user}"),
            Self::Operator => formatter.write_str("operator:"),
        }
    }
}

impl FromStr for Principal {
    type Err = PrincipalError;

    /// Reads what `Display` writes, except for the operator, whom nobody can name.
    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let Some((kind, rest)) = text.split_once(':') else {
            return if text == "anonymous" { Ok(Self::Anonymous) } else { text.parse().map(Self::User) };
        };
        let is_name = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
        let pair = |rest: &str| {
            let (first, second) = rest.split_once(':').filter(|(first, second)| is_name(first) && is_name(second))?;
            Some((first.into(), second.into()))
        };
        let principal = match kind {
            "robot" if is_name(rest) => Some(Self::Robot(rest.into())),
            "certificate" if is_name(rest) => Some(Self::Certificate(rest.into())),
            "oidc" => pair(rest).map(|(issuer, name)| Self::Oidc { issuer, name }),
            "upstream" => pair(rest).map(|(upstream, user)| Self::Upstream { upstream, user }),
            _ => None,
        };
        principal.ok_or(PrincipalError)
    }
}

/// Bytes of the longest name of a principal.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Names that mean something else where a user's could stand, or that look like somebody inside the server.
const RESERVED: &[&str] =
    &["anonymous", "anyone", "authenticated", "operator", "system", "token", "oauth2", "proxy", "gc", "root"];

/// The name of a user:
///
/// - 1 to 255 letters, digits, `.`, `_`, `-`, `@` and `+` of ASCII, beginning with a letter or digit;
/// - none of the names that could be taken for somebody else, such as `anonymous` or `system`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

impl UserName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'+');
        let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let is_name = begins_well && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_letter);
        let is_reserved = RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(text));
        if is_name && !is_reserved { Ok(Self(text.into())) } else { Err(PrincipalError) }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The text names no principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a name of a user (1 to 255 letters, digits, '.', '_', '-', '@' or '+', beginning with a letter or digit, and none that \
     is reserved such as anonymous or system), nor robot:…, oidc:…:…, certificate:… or upstream:…:…"
)]
pub struct PrincipalError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_read_as_they_are_written() {
        for text in [
            "anonymous",
            "alice",
            "a.b+c@example.org",
            "robot:ci",
            "oidc:github:org/app:ref",
            "certificate:node 1",
            "upstream:ghcr.io:octocat",
        ] {
            let principal: Principal = text.parse().expect(text);
            assert_eq!(principal.to_string(), text);
        }
    }

    #[test]
    fn names_that_could_be_taken_for_somebody_else_are_refused() {
        for text in [
            "",
            "system",
            "Proxy",
            "gc",
            "anyone",
            "authenticated",
            "operator:",
            "operator",
            "a b",
            "a:b",
            "robot:",
            "oidc:github",
            "oidc::x",
            ".a",
            "é",
            "group:x",
        ] {
            assert_eq!(text.parse::<Principal>(), Err(PrincipalError), "{text:?}");
        }
    }
}
