//! What a store keeps of credentials: never the secret of one, and the keys that tokens are signed with.

use std::fmt;

use crate::Timestamp;

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A token of a user, who made it for a program that works in his name.
    Personal,
    /// A token of its own, for a machine that is nobody.
    Robot,
    /// What a client keeps instead of a password, to get tokens for it.
    Refresh,
}

impl CredentialKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Personal, Self::Robot, Self::Refresh];

    /// The word in stores and lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::Robot => "robot",
            Self::Refresh => "refresh",
        }
    }

    /// The kind of this word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A credential that this registry has issued.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialRow {
    /// The public part of it: random, never used twice.
    pub id: String,
    /// The SHA-256 of the secret part, which has 256 random bits and is kept nowhere.
    pub secret_hash: [u8; 32],
    /// What it is for.
    pub kind: CredentialKind,
    /// Whose it is, as rules name principals.
    pub principal: String,
    /// What its owner calls it.
    pub name: String,
    /// The patterns of the repositories that it is good for; none: all that its principal may.
    pub repositories: Vec<String>,
    /// The actions that it is good for; none: all that its principal may.
    pub actions: Vec<String>,
    /// What it stands on, and falls with: a hash of the password that it was made from. `None`: it stands alone.
    pub basis: Option<[u8; 32]>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; `None`: when it is revoked.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to about a minute.
    pub used_at: Option<Timestamp>,
}

impl fmt::Debug for CredentialRow {
    /// Without the hash of its secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CredentialRow")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("principal", &self.principal)
            .field("name", &self.name)
            .field("repositories", &self.repositories)
            .field("actions", &self.actions)
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .field("used_at", &self.used_at)
            .finish_non_exhaustive()
    }
}

/// A key that tokens are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKeyRow {
    /// By what a token names it.
    pub id: String,
    /// The secret key, in whatever form its user has given it.
    pub secret: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl fmt::Debug for SigningKeyRow {
    /// Without the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SigningKeyRow")
            .field("id", &self.id)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}
