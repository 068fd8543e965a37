//! Personal, robot and refresh tokens: opaque, kept as hashes in the metadata store.

use std::sync::Arc;

use entrepot_metadata::{Clock, CredentialKind, CredentialRow, MetadataStore, Timestamp};
use secrecy::SecretString;

use crate::principal::Principal;
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

/// The tokens that this registry keeps.
#[derive(Debug)]
pub struct StoredCredentials {}

impl StoredCredentials {
    /// The tokens in this store.
    pub fn new(_metadata: Arc<dyn MetadataStore>, _clock: Arc<dyn Clock>) -> Self {
        Self {}
    }

    /// Makes a token: its row, and the text that is shown this once and kept nowhere. `None` when its principal has one of this name.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when it cannot be stored.
    pub async fn create(&self, _credential: NewCredential) -> Result<Option<(CredentialRow, SecretString)>, Refusal> {
        todo!()
    }

    /// Tokens in the order of their ids, without refresh tokens, behind `after`; only those of `principal` where it is given.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn list(
        &self,
        _principal: Option<&Principal>,
        _after: Option<String>,
        _limit: usize,
    ) -> Result<Vec<CredentialRow>, Refusal> {
        todo!()
    }

    /// Ends the token of this id, at once; `false` when there is none.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn revoke(&self, _id: &str) -> Result<bool, Refusal> {
        todo!()
    }
}
