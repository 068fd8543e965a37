//! The text of a token that this registry keeps: `entrepot_`, its id, `_`, its secret.
//!
//! Both parts are lower-case hexadecimal, so that nothing needs escaping anywhere, a double click selects all of it, and programs that
//! look for secrets in published code can know it.

use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::unavailable;
use crate::refusal::Refusal;

const PREFIX: &str = "entrepot_";
const ID_BYTES: usize = 12;
const SECRET_BYTES: usize = 32;

/// A text that has the form of such a token, whether there is one or not.
#[derive(Clone, Debug)]
pub(crate) struct CredentialText {
    id: String,
    secret: SecretString,
}

impl CredentialText {
    /// A new one.
    pub(super) fn random() -> Result<Self, Refusal> {
        let id = random_hex::<ID_BYTES>()?;
        let secret = random_hex::<SECRET_BYTES>()?.into();
        Ok(Self { id, secret })
    }

    /// Reads a text; `None` when it has another form, and so is something else.
    pub(crate) fn parse(text: &SecretString) -> Option<Self> {
        let (id, secret) = text.expose_secret().strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_it = id.len() == 2 * ID_BYTES && secret.len() == 2 * SECRET_BYTES && is_hex(id) && is_hex(secret);
        is_it.then(|| Self { id: id.to_owned(), secret: secret.into() })
    }

    /// The public part.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The whole.
    pub(super) fn whole(&self) -> SecretString {
        format!("{PREFIX}{}_{}", self.id, self.secret.expose_secret()).into()
    }

    /// What is kept of the secret part. It has 256 random bits: there is nothing to guess that a slow hash would slow down.
    pub(super) fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret.expose_secret()).into()
    }

    /// Whether this is kept of its secret part.
    pub(super) fn is_secret_of(&self, secret_hash: &[u8; 32]) -> bool {
        self.secret_hash().ct_eq(secret_hash).into()
    }
}

fn random_hex<const BYTES: usize>() -> Result<String, Refusal> {
    let mut bytes = [0; BYTES];
    let failed = |_| unavailable(entrepot_metadata::Error::Backend("the system has no random numbers".into()));
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_it_is_written_and_nothing_else_is() {
        let text = CredentialText::random().unwrap();
        let whole = text.whole();
        let whole = whole.expose_secret();
        assert_eq!(whole.len(), 9 + 24 + 1 + 64);
        let read = CredentialText::parse(&whole.into()).unwrap();
        assert_eq!(read.id(), text.id());
        assert!(read.is_secret_of(&text.secret_hash()));
        for other in [
            "",
            "entrepot_",
            &whole[1..],
            &whole[..97],
            &format!("{whole}0"),
            &whole.to_uppercase(),
            &whole.replacen('_', "-", 1),
        ] {
            assert!(CredentialText::parse(&other.into()).is_none(), "{other}");
        }
    }

    #[test]
    fn a10_a_secret_that_differs_anywhere_is_another_one() {
        let text = CredentialText::random().unwrap();
        let hash = text.secret_hash();
        for index in 0..32 {
            let mut other = hash;
            other[index] ^= 1;
            assert!(!text.is_secret_of(&other), "{index}");
        }
        assert!(!format!("{text:?}").contains(text.secret.expose_secret()));
        assert_ne!(CredentialText::random().unwrap().secret_hash(), hash);
    }
}
