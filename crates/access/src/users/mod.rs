//! The users file: who has which password, as a hash.
//!
//! A password is hashed once in some minutes, however many requests come with it, and on a pool that leaves the machine its cores. A
//! user who does not exist costs what one of those who do costs. The table is replaced as a whole: from then on no password is known
//! to be right that was so by the table before.

mod hash;
mod pool;
mod table;
mod text;
mod verified;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::SecretString;

pub use self::hash::{HashKind, PasswordError, hash_password};
pub use self::text::{ListedUser, UsersText};

use self::hash::{Comparison, Hash};
use self::pool::Pool;
use self::table::Table;
use self::verified::{Flights, PairKey, Verified};
use crate::principal::UserName;
use crate::refusal::Refusal;

/// The users with their passwords' hashes, to be replaced as a whole when the file changes.
pub struct Users {
    table: RwLock<Arc<Table>>,
    key: PairKey,
    verified: Verified,
    flights: Flights,
    pool: Pool,
}

/// Why a users file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("line {line} {problem}")]
pub struct UsersError {
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong with it. Never holds anything of the line but the user's name.
    pub problem: String,
}

impl Users {
    /// Reads the text of an htpasswd file: `name:hash` in each line, with hashes of bcrypt or argon2id.
    ///
    /// # Errors
    /// The first line that cannot be used.
    pub fn parse(text: &str) -> Result<Self, UsersError> {
        let users = Self::default();
        users.replace(text)?;
        Ok(users)
    }

    /// The bytes of a users file as its text.
    ///
    /// # Errors
    /// The first line that is no text.
    pub fn text_of(bytes: &[u8]) -> Result<&str, UsersError> {
        str::from_utf8(bytes).map_err(|error| {
            let before = bytes.iter().take(error.valid_up_to());
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            UsersError { line, problem: "has bytes that are no text in UTF-8".to_owned() }
        })
    }

    /// Takes the users of another text in place of these. Verified passwords are forgotten.
    ///
    /// # Errors
    /// As for [`Self::parse`]; then the users stay as they were.
    pub fn replace(&self, text: &str) -> Result<(), UsersError> {
        let table = Arc::new(Table::parse(text)?);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        self.verified.clear();
        Ok(())
    }

    /// How many users there are.
    pub fn count(&self) -> usize {
        self.table().len()
    }

    /// How many hashes were computed to check passwords.
    pub fn hashes(&self) -> u64 {
        self.pool.hashes()
    }

    /// The user of this name, if the password is his. Costs the same for a user that does not exist.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when too many passwords wait to be checked, [`Refusal::Unavailable`] when one cannot be. A wrong password is
    /// `None`.
    pub async fn verify(&self, name: &str, password: &SecretString) -> Result<Option<UserName>, Refusal> {
        let table = self.table();
        let found = find(&table, name);
        let Some(hash) = found.as_ref().map(|(_, hash)| hash).or_else(|| table.decoy(name)) else {
            // A file without users: there is nobody who could be told from somebody else.
            return Ok(None);
        };
        let pair = self.key.pair(name, password, hash);
        if let Some((user, _)) = &found
            && self.verified.contains(pair)
        {
            return Ok(Some(user.clone()));
        }
        let seat = self.flights.board(pair);
        let compare = || self.pool.compare(Arc::clone(hash), password.clone());
        let comparison = *seat.flight.get_or_try_init(compare).await?;
        match (comparison, found) {
            (Comparison::Same, Some((user, _))) => {
                self.verified.insert(pair);
                Ok(Some(user))
            }
            (Comparison::Longer, Some((user, _))) => {
                tracing::warn!(
                    %user,
                    "refused a password of which bcrypt knows only the first 72 bytes: they were right; set it again with `entrepot \
                     user passwd`, whose hashes know all of it"
                );
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// The user of this name, if this password was found to be his within the last minutes. Costs no more than a look-up.
    pub(crate) fn is_verified(&self, name: &str, password: &SecretString) -> Option<UserName> {
        let (user, hash) = find(&self.table(), name)?;
        self.verified.contains(self.key.pair(name, password, &hash)).then_some(user)
    }

    /// A hash of the user's password's hash, which changes with it; `None` when there is no such user (any more).
    pub fn fingerprint(&self, name: &UserName) -> Option<[u8; 32]> {
        self.table().hash(name).map(|hash| hash.fingerprint())
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn find(table: &Table, name: &str) -> Option<(UserName, Arc<Hash>)> {
    let name: UserName = name.parse().ok()?;
    let hash = Arc::clone(table.hash(&name)?);
    Some((name, hash))
}

impl Default for Users {
    /// Nobody.
    fn default() -> Self {
        Self {
            table: RwLock::default(),
            key: PairKey::random(),
            verified: Verified::default(),
            flights: Flights::default(),
            pool: Pool::new(),
        }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Users").field("count", &self.count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
