//! What a token may be made of.

use entrepot_metadata::{CredentialKind, CredentialRow, Timestamp};
use entrepot_oci::Patterns;
use secrecy::SecretString;

use super::CredentialText;
use crate::action::Actions;
use crate::limits::{
    CREDENTIAL_NAME_BYTES_MAX, CREDENTIAL_PATTERN_BYTES_MAX, CREDENTIAL_PATTERNS_MAX, CREDENTIALS_PER_PRINCIPAL_MAX,
};
use crate::principal::{Principal, UserName};
use crate::refusal::Refusal;

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// What it is for.
    pub kind: CredentialKind,
    /// Whose it is: a user for a personal one, [`Principal::Robot`] for that of a robot.
    pub principal: Principal,
    /// What its owner calls it.
    pub name: String,
    /// The patterns of the repositories that it is good for; none: all.
    pub repositories: Vec<String>,
    /// The actions that it is good for, as words of rules; none: all.
    pub actions: Vec<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// Why a token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// It cannot be as it was asked for.
    #[error("{problem}")]
    Unusable {
        /// What cannot be, and what can.
        problem: String,
    },
    /// Its principal has enough.
    #[error(
        "{principal} has {CREDENTIALS_PER_PRINCIPAL_MAX} tokens, as many as one may have: revoke one that is not used"
    )]
    TooMany {
        /// Whose it would have been.
        principal: String,
    },
    /// It cannot be stored.
    #[error(transparent)]
    Unavailable(#[from] Refusal),
}

impl NewCredential {
    /// Whether it can be made.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), CredentialError> {
        let unusable = |problem: String| Err(CredentialError::Unusable { problem });
        let owner = self.principal.to_string();
        let is_owner = match (self.kind, &self.principal) {
            (CredentialKind::Personal, Principal::User(_)) => true,
            (CredentialKind::Robot, Principal::Robot(_)) => owner.parse::<Principal>().is_ok(),
            _ => false,
        };
        if !is_owner {
            return unusable(format!(
                "a {} token cannot be that of {owner:?}: a personal one is a user's, a robot one that of robot:NAME",
                self.kind.as_str()
            ));
        }
        let is_name = !self.name.trim().is_empty() && !self.name.contains(char::is_control);
        if !is_name || self.name.len() > CREDENTIAL_NAME_BYTES_MAX {
            return unusable(format!(
                "{:?} is not a name for a token: one has 1 to {CREDENTIAL_NAME_BYTES_MAX} bytes without control characters",
                self.name.chars().take(CREDENTIAL_NAME_BYTES_MAX).collect::<String>()
            ));
        }
        if self.repositories.len() > CREDENTIAL_PATTERNS_MAX {
            return unusable(format!(
                "a token can have {CREDENTIAL_PATTERNS_MAX} patterns of repositories, and no more"
            ));
        }
        if self.repositories.iter().any(|pattern| pattern.is_empty() || pattern.len() > CREDENTIAL_PATTERN_BYTES_MAX) {
            return unusable(format!("a pattern of repositories has 1 to {CREDENTIAL_PATTERN_BYTES_MAX} bytes"));
        }
        if let Err(error) = Patterns::new(&self.repositories) {
            return unusable(error.to_string());
        }
        if let Some(word) = self.actions.iter().find(|word| Actions::parse(word).is_none()) {
            return unusable(format!(
                "{word:?} is not an action: there are pull, push, create, overwrite, delete, catalog, admin and *"
            ));
        }
        if self.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return unusable("the token would have ended already: name a time to come".to_owned());
        }
        Ok(())
    }

    /// Its row, and the text of it.
    pub(super) fn into_row(self, now: Timestamp) -> Result<(CredentialRow, SecretString), Refusal> {
        let Self { kind, principal, name, repositories, mut actions, expires_at } = self;
        actions.sort_unstable();
        actions.dedup();
        let text = CredentialText::random()?;
        let row = CredentialRow {
            id: text.id().to_owned(),
            secret_hash: text.secret_hash(),
            kind,
            principal: principal.to_string(),
            name,
            repositories,
            actions,
            basis: None,
            created_at: now,
            expires_at,
            used_at: None,
        };
        Ok((row, text.whole()))
    }
}

/// The row of a refresh token for a user with the password of this fingerprint, and the text of it.
pub(super) fn refresh_row(
    user: &UserName,
    fingerprint: [u8; 32],
    now: Timestamp,
) -> Result<(CredentialRow, SecretString), Refusal> {
    let refresh = NewCredential {
        kind: CredentialKind::Refresh,
        principal: Principal::User(user.clone()),
        name: String::new(),
        repositories: Vec::new(),
        actions: Vec::new(),
        expires_at: None,
    };
    let (mut row, text) = refresh.into_row(now)?;
    row.basis = Some(fingerprint);
    Ok((row, text))
}
