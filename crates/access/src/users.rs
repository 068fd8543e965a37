//! The users file: who has which password, as a hash.

use secrecy::SecretString;

use crate::principal::UserName;
use crate::refusal::Refusal;

/// The users with their passwords' hashes, to be replaced as a whole when the file changes.
#[derive(Debug, Default)]
pub struct Users {}

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
    pub fn parse(_text: &str) -> Result<Self, UsersError> {
        todo!()
    }

    /// Takes the users of another text in place of these. Verified passwords are forgotten.
    ///
    /// # Errors
    /// As for [`Self::parse`]; then the users stay as they were.
    pub fn replace(&self, _text: &str) -> Result<(), UsersError> {
        todo!()
    }

    /// The user of this name, if the password is his. Costs the same for a user that does not exist.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when too many passwords wait to be checked. A wrong password is `None`.
    pub async fn verify(&self, _name: &str, _password: &SecretString) -> Result<Option<UserName>, Refusal> {
        todo!()
    }

    /// The user of this name, if this password was found to be his within the last minutes. Costs no more than a look-up.
    pub(crate) fn is_verified(&self, _name: &str, _password: &SecretString) -> Option<UserName> {
        todo!()
    }

    /// A hash of the user's password's hash, which changes with it; `None` when there is no such user (any more).
    pub fn fingerprint(&self, _name: &UserName) -> Option<[u8; 32]> {
        todo!()
    }
}
