//! Personal and robot tokens: made, listed and revoked by the operator.

use entrepot_access::{CredentialError, NewCredential, Principal, StoredCredentials, UserName};
use entrepot_metadata::{CredentialKind, CredentialRow, Timestamp};
use entrepot_oci::ErrorCode;
use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::view::seconds;
use crate::error::ErrorResponse;
use crate::limits::CREDENTIAL_LIFETIME_SECONDS_MAX;

/// `{"kind", "user", "name", "repositories", "actions", "expires_in_seconds"}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    /// `personal` or `robot`.
    kind: String,
    /// Whose it is, for a personal one.
    user: Option<String>,
    name: String,
    /// Patterns; without any it is good for all that its principal may.
    #[serde(default)]
    repositories: Vec<String>,
    /// Words of rules; without any it is good for all that its principal may.
    #[serde(default)]
    actions: Vec<String>,
    expires_in_seconds: Option<i64>,
}

/// `{"id"}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    pub(super) id: String,
}

impl Create {
    /// The token to be made. What of it cannot be is for `access` to say.
    ///
    /// # Errors
    /// When nobody's token is meant, or its life is none.
    pub(super) fn credential(self, now: Timestamp) -> Result<NewCredential, ErrorResponse> {
        let (kind, principal) = match (self.kind.as_str(), self.user) {
            ("personal", Some(user)) => (CredentialKind::Personal, Principal::User(user_name(&user)?)),
            ("personal", None) => return Err(refused("a personal token needs the user whose it is".to_owned())),
            ("robot", None) => (CredentialKind::Robot, Principal::Robot(self.name.as_str().into())),
            ("robot", Some(_)) => return Err(refused("a robot is no user: leave the user out".to_owned())),
            (kind, _) => return Err(refused(format!("{kind:?} is no kind of token: personal or robot"))),
        };
        let expires_at = match self.expires_in_seconds {
            None => None,
            Some(seconds @ 60..=CREDENTIAL_LIFETIME_SECONDS_MAX) => {
                Some(Timestamp::from_milliseconds(now.milliseconds().saturating_add(seconds * 1000)))
            }
            Some(_) => {
                let message =
                    format!("a token lives for 60 to {CREDENTIAL_LIFETIME_SECONDS_MAX} seconds, or until revoked");
                return Err(refused(message));
            }
        };
        let Self { name, repositories, actions, .. } = self;
        Ok(NewCredential { kind, principal, name, repositories, actions, expires_at })
    }
}

impl From<CredentialError> for ErrorResponse {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Unusable { problem } => refused(problem),
            CredentialError::TooMany { .. } => {
                Self::new(ErrorCode::DENIED, error.to_string()).with_status(StatusCode::CONFLICT)
            }
            CredentialError::Unavailable(refusal) => Self::from(&refusal),
        }
    }
}

/// A token with its text, which nobody can ever see again.
pub(super) fn created(row: &CredentialRow, token: &SecretString) -> Value {
    let mut view = token_of(row);
    view["token"] = token.expose_secret().into();
    view
}

/// What is known of tokens; never what they are.
pub(super) fn tokens(rows: &[CredentialRow]) -> Value {
    json!({ "tokens": rows.iter().map(token_of).collect::<Vec<_>>() })
}

/// Where there are no tokens, because everybody may everything.
pub(super) fn stored(credentials: Option<&StoredCredentials>) -> Result<&StoredCredentials, ErrorResponse> {
    credentials.ok_or_else(|| {
        let message =
            "there are no tokens here: everybody may do everything without one; write an [access] table first";
        ErrorResponse::new(ErrorCode::UNSUPPORTED, message).with_status(StatusCode::NOT_FOUND)
    })
}

/// Its principal has a token of this name.
pub(super) fn taken(name: &str) -> ErrorResponse {
    let message = format!("there is a token {name:?} of that owner already: revoke it first, or choose another name");
    ErrorResponse::new(ErrorCode::DENIED, message).with_status(StatusCode::CONFLICT)
}

fn token_of(row: &CredentialRow) -> Value {
    json!({
        "id": row.id,
        "kind": row.kind.as_str(),
        "principal": row.principal,
        "name": row.name,
        "repositories": row.repositories,
        "actions": row.actions,
        "created_at": seconds(row.created_at),
        "expires_at": row.expires_at.map(seconds),
        "used_at": row.used_at.map(seconds),
    })
}

fn user_name(text: &str) -> Result<UserName, ErrorResponse> {
    text.parse().map_err(|error| refused(format!("{text:?} is {error}")))
}

fn refused(message: String) -> ErrorResponse {
    ErrorResponse::new(ErrorCode::UNSUPPORTED, message).with_status(StatusCode::BAD_REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<NewCredential, ()> {
        let create: Create = serde_json::from_value(body).map_err(drop)?;
        create.credential(Timestamp::from_milliseconds(1_000)).map_err(drop)
    }

    #[test]
    fn a_token_is_somebodys_and_says_what_it_is_for() {
        let body = json!({ "kind": "personal", "user": "alice", "name": "laptop", "repositories": ["team/**"], "actions": ["pull", "push"], "expires_in_seconds": 60 });
        let made = read(body).unwrap();
        assert_eq!((made.principal.to_string().as_str(), made.kind), ("alice", CredentialKind::Personal));
        assert_eq!(made.expires_at, Some(Timestamp::from_milliseconds(61_000)));
        let made = read(json!({ "kind": "robot", "name": "deploy" })).unwrap();
        assert_eq!((made.principal.to_string().as_str(), made.expires_at), ("robot:deploy", None));
    }

    #[test]
    fn a18_what_no_token_can_be_is_refused_and_unknown_fields_are() {
        for body in [
            json!({ "kind": "personal", "name": "a" }),
            json!({ "kind": "robot", "user": "alice", "name": "a" }),
            json!({ "kind": "admin", "name": "a" }),
            json!({ "kind": "refresh", "name": "a" }),
            json!({ "kind": "personal", "user": "system", "name": "a" }),
            json!({ "kind": "robot", "name": "a", "expires_in_seconds": 0 }),
            json!({ "kind": "robot", "name": "a", "expires_in_seconds": i64::MAX }),
            json!({ "kind": "robot", "name": "a", "admin": true }),
        ] {
            assert!(read(body.clone()).is_err(), "{body}");
        }
    }
}
