//! Personal, robot and refresh tokens: opaque, kept as hashes in the metadata store.
//!
//! What was looked up is believed for two seconds, so that a client that pulls many blobs costs one look-up. A token that is revoked
//! here ends at once but for a look-up that is under way. Other replicas are told of it, and one that was not reached forgets it within these
//! two seconds.

mod create;
mod text;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_metadata::{Announcement, Clock, CredentialKind, CredentialRow, Error, MetadataStore, Page, Timestamp};
use entrepot_oci::Patterns;
use futures_util::StreamExt as _;
use secrecy::SecretString;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::action::Actions;
use crate::caller::CredentialBounds;
use crate::limits::{
    CREDENTIAL_BELIEVED, CREDENTIALS_PER_PRINCIPAL_MAX, REFRESH_TOKEN_UNUSED_MAX, REMEMBERED_CREDENTIALS_MAX,
    USES_WAITING_MAX,
};
use crate::principal::{Principal, UserName};
use crate::refusal::{Refusal, TokenFault};
use crate::remembered::Remembered;
pub use create::{CredentialError, NewCredential};
pub(crate) use text::CredentialText;

/// What the announcement of a revoked token is about; its text is the id.
const REVOKED: &str = "revoked credential";

/// The tokens that this registry keeps.
#[derive(Debug)]
pub struct StoredCredentials {
    metadata: Arc<dyn MetadataStore>,
    clock: Arc<dyn Clock>,
    remembered: Remembered<String, (Arc<Credential>, Instant)>,
    /// When tokens were last used, as far as that is not written yet.
    uses: Mutex<HashMap<String, Timestamp>>,
}

/// A token of the store, understood.
#[derive(Debug)]
pub(crate) struct Credential {
    /// What it is for.
    pub(crate) kind: CredentialKind,
    /// Whose it is.
    pub(crate) principal: Principal,
    /// What it is limited to.
    pub(crate) bounds: Arc<CredentialBounds>,
    /// What it stands on.
    pub(crate) basis: Option<[u8; 32]>,
    secret_hash: [u8; 32],
    expires_at: Option<Timestamp>,
    last_sign_of_life: Timestamp,
}

impl StoredCredentials {
    /// The tokens in this store.
    pub fn new(metadata: Arc<dyn MetadataStore>, clock: Arc<dyn Clock>) -> Self {
        let remembered = Remembered::new(REMEMBERED_CREDENTIALS_MAX);
        Self { metadata, clock, remembered, uses: Mutex::default() }
    }

    /// Makes a token: its row, and the text that is shown this once and kept nowhere. `None` when its principal has one of this name.
    ///
    /// # Errors
    /// [`CredentialError`] says what about it cannot be, or that it cannot be stored.
    pub async fn create(
        &self,
        credential: NewCredential,
    ) -> Result<Option<(CredentialRow, SecretString)>, CredentialError> {
        let now = self.clock.now();
        credential.check(now)?;
        let principal = credential.principal.to_string();
        let others = self.of_principal(&principal).await?;
        if others.iter().filter(|row| row.kind != CredentialKind::Refresh).count() >= CREDENTIALS_PER_PRINCIPAL_MAX {
            return Err(CredentialError::TooMany { principal });
        }
        let (row, secret) = credential.into_row(now)?;
        let is_added = self.metadata.add_credential(&row).await.map_err(unavailable)?;
        Ok(is_added.then_some((row, secret)))
    }

    /// Tokens in the order of their ids, without refresh tokens, behind `after`; only those of `principal` where it is given.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn list(
        &self,
        principal: Option<&Principal>,
        mut after: Option<String>,
        limit: usize,
    ) -> Result<Vec<CredentialRow>, Refusal> {
        let principal = principal.map(ToString::to_string);
        let mut listed = Vec::new();
        while listed.len() < limit {
            let page = Page { after: after.take(), limit };
            let rows = self.metadata.credentials(principal.as_deref(), &page).await.map_err(unavailable)?;
            let is_last = rows.len() < limit;
            after = rows.last().map(|row| row.id.clone());
            listed.extend(rows.into_iter().filter(|row| row.kind != CredentialKind::Refresh));
            if is_last {
                break;
            }
        }
        listed.truncate(limit);
        Ok(listed)
    }

    /// Ends the token of this id, at once; `false` when there is none.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn revoke(&self, id: &str) -> Result<bool, Refusal> {
        let is_revoked = self.metadata.delete_credential(id).await.map_err(unavailable)?;
        self.remembered.remove(&id.to_owned());
        if let Err(error) = self.metadata.announce(REVOKED, id).await {
            tracing::warn!(
                credential = id,
                error = &error as &dyn std::error::Error,
                "other replicas could not be told of a revoked token: it may be good there for two seconds more"
            );
        }
        Ok(is_revoked)
    }

    /// Forgets what other replicas revoke, as soon as they say so. Never returns, unless the store ends.
    pub(crate) async fn keep_listening(&self) {
        let mut announcements = self.metadata.announcements();
        while let Some(announcement) = announcements.next().await {
            match announcement {
                Announcement::Said { topic, text } if topic == REVOKED => self.remembered.remove(&text),
                Announcement::Said { .. } => {}
                // Nothing is believed for longer than what was missed could have said.
                Announcement::Missed => self.remembered.clear(),
            }
        }
    }

    /// The token of this text, if it is good; its use is noted.
    ///
    /// # Errors
    /// [`Refusal::InvalidToken`] with the same fault for one that never was, one that was revoked and one with another secret.
    pub(crate) async fn verify(&self, text: &CredentialText) -> Result<Arc<Credential>, Refusal> {
        let credential = self.look_up(text.id()).await?;
        let credential = credential.filter(|credential| text.is_secret_of(&credential.secret_hash));
        let credential = credential.ok_or(Refusal::InvalidToken(TokenFault::Unknown))?;
        if !self.is_alive(&credential) {
            return Err(Refusal::InvalidToken(TokenFault::Expired));
        }
        self.note_use(text.id());
        Ok(credential)
    }

    /// The token of this id, if it is still good; its use is noted. Its secret was proven before.
    ///
    /// # Errors
    /// [`Refusal::InvalidToken`] when it is not.
    pub(crate) async fn standing(&self, id: &str) -> Result<Arc<Credential>, Refusal> {
        let credential = self.look_up(id).await?.filter(|credential| self.is_alive(credential));
        self.note_use(id);
        credential.ok_or(Refusal::InvalidToken(TokenFault::Revoked))
    }

    fn is_alive(&self, credential: &Credential) -> bool {
        let now = self.clock.now();
        let is_used = credential.kind != CredentialKind::Refresh
            || credential.last_sign_of_life >= now.before(REFRESH_TOKEN_UNUSED_MAX);
        is_used && credential.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    async fn look_up(&self, id: &str) -> Result<Option<Arc<Credential>>, Refusal> {
        let id = id.to_owned();
        let known = self.remembered.get(&id);
        if let Some((credential, read_at)) = &known
            && read_at.elapsed() < CREDENTIAL_BELIEVED
        {
            return Ok(Some(Arc::clone(credential)));
        }
        let read_at = Instant::now();
        let Some(row) = self.metadata.credential(&id).await.map_err(unavailable)? else {
            self.remembered.remove(&id);
            return Ok(None);
        };
        let bounds = known.map(|(credential, _)| Arc::clone(&credential.bounds));
        let credential = Arc::new(Credential::understand(&row, bounds).map_err(unavailable)?);
        self.remembered.insert(id, (Arc::clone(&credential), read_at));
        Ok(Some(credential))
    }

    /// Makes a refresh token for a user with the password of this fingerprint.
    pub(crate) async fn create_refresh(&self, user: &UserName, fingerprint: [u8; 32]) -> Result<SecretString, Refusal> {
        let rows = self.of_principal(user.as_str()).await?;
        let mut refresh: Vec<_> = rows.into_iter().filter(|row| row.kind == CredentialKind::Refresh).collect();
        refresh.sort_by_key(|row| row.used_at.unwrap_or(row.created_at));
        let too_many = (refresh.len() + 1).saturating_sub(CREDENTIALS_PER_PRINCIPAL_MAX);
        for row in refresh.iter().take(too_many) {
            tracing::debug!(credential = row.id, "ended the refresh token that was not used for longest");
            self.revoke(&row.id).await?;
        }
        let (row, secret) = create::refresh_row(user, fingerprint, self.clock.now())?;
        if !self.metadata.add_credential(&row).await.map_err(unavailable)? {
            return Err(unavailable(Error::Corrupt { what: "a random id was used twice".to_owned() }));
        }
        Ok(secret)
    }

    /// As many as somebody may have, of both kinds.
    async fn of_principal(&self, principal: &str) -> Result<Vec<CredentialRow>, Refusal> {
        // Replicas that add one at the same time may bring him somewhat above.
        let page = Page { after: None, limit: 4 * CREDENTIALS_PER_PRINCIPAL_MAX };
        self.metadata.credentials(Some(principal), &page).await.map_err(unavailable)
    }

    fn note_use(&self, id: &str) {
        let now = self.clock.now();
        keep_use(&mut self.waiting(), id.to_owned(), now);
    }

    /// Writes the uses that were noted. What cannot be written waits for the next time.
    pub(crate) async fn write_uses(&self) -> Result<(), Error> {
        let uses: Vec<_> = std::mem::take(&mut *self.waiting()).into_iter().collect();
        if uses.is_empty() {
            return Ok(());
        }
        let written = self.metadata.touch_credentials(uses.clone()).await;
        if written.is_err() {
            let mut waiting = self.waiting();
            for (id, at) in uses {
                keep_use(&mut waiting, id, at);
            }
        }
        written
    }

    /// Ends what has ended by itself.
    pub(crate) async fn sweep(&self) -> Result<u64, Error> {
        let now = self.clock.now();
        self.metadata.sweep_credentials(now.before(REFRESH_TOKEN_UNUSED_MAX), now).await
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep_use(waiting: &mut HashMap<String, Timestamp>, id: String, at: Timestamp) {
    if waiting.len() < USES_WAITING_MAX || waiting.contains_key(&id) {
        let latest = waiting.entry(id).or_insert(at);
        *latest = at.max(*latest);
    }
}

impl Credential {
    fn understand(row: &CredentialRow, bounds: Option<Arc<CredentialBounds>>) -> Result<Self, Error> {
        let damaged = |what: &str| Error::Corrupt { what: format!("the token {:?} has {what}", row.id) };
        let principal = row.principal.parse().map_err(|_| damaged("no principal"))?;
        let bounds = match bounds {
            // They never change: an id is never used twice.
            Some(bounds) => bounds,
            None => Arc::new(CredentialBounds {
                id: row.id.as_str().into(),
                repositories: Patterns::new(&row.repositories).map_err(|_| damaged("a pattern that is none"))?,
                actions: actions(&row.actions),
            }),
        };
        Ok(Self {
            kind: row.kind,
            principal,
            bounds,
            basis: row.basis,
            secret_hash: row.secret_hash,
            expires_at: row.expires_at,
            last_sign_of_life: row.used_at.map_or(row.created_at, |used_at| used_at.max(row.created_at)),
        })
    }

    /// Whether somebody who logs in with this token as his password may call himself so: the names of its owner, and those that
    /// stand for nobody.
    pub(crate) fn may_be_given_by(&self, user: &str) -> bool {
        let is_owner = match &self.principal {
            Principal::User(name) => name.as_str() == user,
            Principal::Robot(name) => **name == *user || user.strip_prefix("robot:") == Some(name),
            _ => false,
        };
        is_owner || matches!(user, "token" | "<token>" | "oauth2")
    }

    /// Whether it stands on the password of this fingerprint.
    pub(crate) fn stands_on(&self, fingerprint: &[u8; 32]) -> bool {
        self.basis.is_some_and(|basis| basis.ct_eq(fingerprint).into())
    }
}

/// The actions that words stand for. A word of a later version is none: what it would allow is not known here.
fn actions(words: &[String]) -> Actions {
    if words.is_empty() {
        return Actions::ALL;
    }
    words.iter().filter_map(|word| Actions::parse(word)).fold(Actions::NONE, Actions::union)
}

pub(crate) fn unavailable(source: Error) -> Refusal {
    Refusal::Unavailable { what: "the store of tokens".to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests;
