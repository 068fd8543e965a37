//! Why somebody is not let in, or not allowed.

use std::time::Duration;

/// Why nobody can be made of a proof. What a stranger learns from it is the same for a wrong password and an unknown user.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A user that is unknown, a password that is wrong, a token that was revoked.
    #[error("incorrect username or password")]
    WrongCredentials,
    /// A bearer token that is not good.
    #[error("the token is {0}")]
    InvalidToken(TokenFault),
    /// Too many wrong passwords from this address.
    #[error("too many failed logins from this address: try again in {} s", retry_after.as_secs().max(1))]
    TooManyAttempts {
        /// When to come again.
        retry_after: Duration,
    },
    /// More passwords are waiting to be checked than this machine can check.
    #[error("too many logins at this moment: try again in some seconds")]
    Busy,
    /// What has to be asked about it does not answer. Never taken for a wrong password.
    #[error("{what} cannot be asked whether the credentials are good: try again later")]
    Unavailable {
        /// What does not answer.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What is wrong with a bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not a token that is issued here or by a provider that is trusted here, or changed since.
    #[error("not one that this registry or a provider that it trusts has issued")]
    Unknown,
    /// It was good once.
    #[error("expired")]
    Expired,
    /// It will be good, if the clocks are right.
    #[error("not valid yet: the clock here or that of whoever issued it is wrong")]
    NotYetValid,
    /// It is for another service.
    #[error("for another service")]
    WrongAudience,
    /// It is good, but whoever it is for has lost the right to it: a user that was removed, a token that was revoked.
    #[error("revoked")]
    Revoked,
    /// Its claims match no rule that would say who it is.
    #[error("from a trusted provider, and its claims match none of the configured identities")]
    NobodyKnown,
}

/// Whether somebody may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// He may.
    Allowed {
        /// The name of the rule that says so, for the log.
        rule: std::sync::Arc<str>,
    },
    /// He may not.
    Denied(Denial),
}

impl Verdict {
    /// Whether he may.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No rule allows it.
    NoRule,
    /// A rule does, and his token does not cover it: another token may.
    OutsideToken,
    /// His token has expired.
    Expired,
}

impl Denial {
    /// The word in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRule => "no rule allows it",
            Self::OutsideToken => "not covered by the token",
            Self::Expired => "the token has expired",
        }
    }
}
