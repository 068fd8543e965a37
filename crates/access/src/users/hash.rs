//! One password's hash: which kinds are taken, what they may cost, and whether a password is the one.
//!
//! bcrypt looks at the first 72 bytes of a password only. A longer one is not let in by it: what is behind them would not matter, and
//! somebody who believes to have a long password would have a shorter one. When the 72 bytes are right, the log says what to do.

use std::fmt;
use std::str::FromStr;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::limits::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_MEMORY_KIB_MIN, ARGON2_WORK_KIB_MAX, BCRYPT_COST_MAX,
    BCRYPT_COST_MIN, BCRYPT_PASSWORD_BYTES_MAX, NEW_PASSWORD_BYTES_MAX,
};

/// What a new hash costs: 32 MiB and two passes, 50 to 100 ms of a core.
const NEW_MEMORY_KIB: u32 = 32 * 1024;
const NEW_PASSES: u32 = 2;

/// How a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// bcrypt, as `htpasswd -B` makes it.
    Bcrypt,
    /// argon2id, as this program makes it.
    Argon2id,
}

impl HashKind {
    /// The name of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bcrypt => "bcrypt",
            Self::Argon2id => "argon2id",
        }
    }
}

/// A hash of a kind that is taken, within its limits.
pub(super) struct Hash {
    text: Box<str>,
    kind: HashKind,
}

/// What comparing a password with a hash came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// It is the password.
    Same,
    /// It is not.
    Different,
    /// Its first bytes are, and the hash knows of no others.
    Longer,
}

/// A hash could not be computed; nothing is known about the password.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    #[error("bcrypt cannot be computed")]
    Bcrypt(#[source] bcrypt::BcryptError),
    #[error("argon2id cannot be computed")]
    Argon2id(#[source] argon2::password_hash::Error),
}

impl Hash {
    /// Takes a hash as it stands in a users file.
    ///
    /// # Errors
    /// What is wrong with it, in words that hold nothing of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let kind = match text.split('$').nth(1) {
            Some("2a" | "2b" | "2x" | "2y") if text.starts_with('$') => check_bcrypt(text)?,
            Some("argon2id") if text.starts_with('$') => check_argon2id(text)?,
            _ => return Err(format!("{}, and only bcrypt and argon2id are taken", what_else(text))),
        };
        Ok(Self { text: text.into(), kind })
    }

    pub(super) const fn kind(&self) -> HashKind {
        self.kind
    }

    pub(super) const fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Changes with the hash and does not tell it.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.as_bytes()).into()
    }

    /// Compares, which takes long and belongs on a thread that may be blocked.
    pub(super) fn compare(&self, password: &SecretString) -> Result<Comparison, HashError> {
        let password = password.expose_secret().as_bytes();
        match self.kind {
            HashKind::Bcrypt => match bcrypt::verify(password, &self.text).map_err(HashError::Bcrypt)? {
                false => Ok(Comparison::Different),
                true if password.len() > BCRYPT_PASSWORD_BYTES_MAX => Ok(Comparison::Longer),
                true => Ok(Comparison::Same),
            },
            HashKind::Argon2id => {
                let parsed = PasswordHash::new(&self.text).map_err(|error| HashError::Argon2id(error.into()))?;
                match Argon2::default().verify_password(password, &parsed) {
                    Ok(()) => Ok(Comparison::Same),
                    Err(argon2::password_hash::Error::PasswordInvalid) => Ok(Comparison::Different),
                    Err(error) => Err(HashError::Argon2id(error)),
                }
            }
        }
    }
}

impl fmt::Debug for Hash {
    /// Without the hash: whoever has it can guess in peace.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind.as_str())
    }
}

fn check_bcrypt(text: &str) -> Result<HashKind, String> {
    let is_shaped = text.is_ascii() && text.len() == 60 && text.as_bytes().get(6) == Some(&b'$');
    let cost = text.get(4..6).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let cost: u32 = match cost.map(str::parse) {
        Some(Ok(cost)) if is_shaped => cost,
        _ => return Err("a bcrypt hash that is cut off or changed: it has 60 characters of ASCII".to_owned()),
    };
    // Before the library looks at it, so that the cost is what is told.
    if !(BCRYPT_COST_MIN..=BCRYPT_COST_MAX).contains(&cost) {
        return Err(format!("bcrypt of cost {cost}, and {BCRYPT_COST_MIN} to {BCRYPT_COST_MAX} are taken"));
    }
    let changed = |_| "a bcrypt hash that was changed: it has a character that none has there".to_owned();
    bcrypt::HashParts::from_str(text).map(|_| HashKind::Bcrypt).map_err(changed)
}

fn check_argon2id(text: &str) -> Result<HashKind, String> {
    let changed =
        || "an argon2id hash that is cut off or changed: it looks like $argon2id$v=19$m=…,t=…,p=…$SALT$HASH".to_owned();
    let hash = PasswordHash::new(text).map_err(|_| changed())?;
    let has_parameters = hash.params.iter().all(|(name, _)| matches!(name.as_str(), "m" | "t" | "p"));
    if hash.version != Some(Version::V0x13.into()) || hash.salt.is_none() || hash.hash.is_none() || !has_parameters {
        return Err(changed());
    }
    let params = Params::try_from(&hash).map_err(|_| changed())?;
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    if !(ARGON2_MEMORY_KIB_MIN..=ARGON2_MEMORY_KIB_MAX).contains(&memory) {
        return Err(format!(
            "argon2id with a memory of {memory} KiB, and {ARGON2_MEMORY_KIB_MIN} to {ARGON2_MEMORY_KIB_MAX} are taken"
        ));
    }
    if u64::from(memory) * u64::from(passes) > ARGON2_WORK_KIB_MAX {
        return Err(format!(
            "argon2id with {passes} passes over {memory} KiB, and their product may be {ARGON2_WORK_KIB_MAX} at most"
        ));
    }
    if lanes > ARGON2_LANES_MAX {
        return Err(format!("argon2id with {lanes} lanes, and at most {ARGON2_LANES_MAX} are taken"));
    }
    Ok(HashKind::Argon2id)
}

/// What stands there instead, as far as its beginning tells.
const fn what_else(text: &str) -> &'static str {
    match text.as_bytes() {
        [b'$', b'a', b'p', b'r', b'1', b'$', ..] => "an MD5 hash of Apache ($apr1$)",
        [b'{', b'S', b'H', b'A', b'}', ..] => "a SHA-1 hash ({SHA})",
        [b'$', b'a', b'r', b'g', b'o', b'n', b'2', b'i' | b'd', b'$', ..] => "an argon2 hash of another variant",
        [b'$', b'1' | b'5' | b'6' | b'7' | b'y', b'$', ..] => "a hash of crypt",
        [] => "nothing",
        _ => "neither of the hashes that are taken, maybe one of crypt or the password itself",
    }
}

/// Why there cannot be such a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing at all.
    #[error("a password cannot be empty")]
    Empty,
    /// A line end, or something else that cannot be typed.
    #[error("a password cannot have control characters")]
    Control,
    /// Too long.
    #[error("a password cannot be longer than {NEW_PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    /// The system has no random numbers, or no memory.
    #[error("the password cannot be hashed: the system has no memory or no random numbers for it")]
    Hash,
}

/// The hash of a new password, as it belongs into a users file. Takes about a tenth of a second.
///
/// # Errors
/// [`PasswordError`] when there cannot be such a password.
pub fn hash_password(password: &SecretString) -> Result<String, PasswordError> {
    let password = password.expose_secret();
    match password {
        "" => return Err(PasswordError::Empty),
        password if password.contains(char::is_control) => return Err(PasswordError::Control),
        password if password.len() > NEW_PASSWORD_BYTES_MAX => return Err(PasswordError::TooLong),
        _ => {}
    }
    let params = Params::new(NEW_MEMORY_KIB, NEW_PASSES, 1, None).map_err(|_| PasswordError::Hash)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = argon2.hash_password(password.as_bytes()).map_err(|_| PasswordError::Hash)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    fn compare(hash: &str, password: &str) -> Comparison {
        Hash::parse(hash).unwrap().compare(&secret(password)).unwrap()
    }

    #[test]
    fn hashes_of_other_programs_are_understood() {
        let rows = [
            // The test vectors of crypt_blowfish, and one each of htpasswd and the argon2 program.
            ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
            ("$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
            ("$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
            ("$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
            ("$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a", "U*U*U"),
            ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"),
        ];
        for (hash, password) in rows {
            assert_eq!(compare(hash, password), Comparison::Same, "{hash}");
            assert_eq!(compare(hash, "another"), Comparison::Different, "{hash}");
        }
    }

    #[test]
    fn a12_a_password_that_bcrypt_would_cut_off_is_not_let_in() {
        let long = "x".repeat(72);
        let hash = bcrypt::hash(&long, 4).unwrap();
        assert_eq!(compare(&hash, &long), Comparison::Same);
        assert_eq!(compare(&hash, &format!("{long}y")), Comparison::Longer);
        assert_eq!(compare(&hash, &long[1..]), Comparison::Different);
    }

    #[test]
    fn a_new_password_is_hashed_with_argon2id_and_a_salt_of_its_own_however_long_it_is() {
        let long = secret(&"å".repeat(NEW_PASSWORD_BYTES_MAX / 2));
        let hashes = [hash_password(&long).unwrap(), hash_password(&long).unwrap()];
        assert_ne!(hashes[0], hashes[1]);
        for hash in hashes {
            let hash = Hash::parse(&hash).unwrap();
            assert_eq!(hash.kind(), HashKind::Argon2id);
            assert_eq!(hash.compare(&long).unwrap(), Comparison::Same);
            assert_eq!(hash.compare(&secret(&"å".repeat(36))).unwrap(), Comparison::Different);
        }
        let rows = [("", PasswordError::Empty), ("a\nb", PasswordError::Control)];
        for (password, error) in rows {
            assert_eq!(hash_password(&secret(password)), Err(error));
        }
        assert_eq!(hash_password(&secret(&"x".repeat(NEW_PASSWORD_BYTES_MAX + 1))), Err(PasswordError::TooLong));
    }
}
