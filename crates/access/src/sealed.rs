//! What a client carries for us in a token and cannot read.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};

/// Keeps this key apart from any other that is derived of the same secret.
const SALT: &[u8] = b"entrepot sealed claims";
const PURPOSE: &[u8] = b"aes-256-gcm 1";

/// Seals with AES-256-GCM, under random nonces: two billion texts under one key keep clear of the bound for those, and a key is
/// replaced after some months.
pub(crate) struct SealingKey(LessSafeKey);

impl SealingKey {
    /// The key that belongs to a signing key: derived of it by HKDF, so that it needs no storage and no sharing of its own.
    /// `None` never happens: the length that is derived is that of the algorithm.
    pub(crate) fn of_signing_key(secret: &[u8]) -> Option<Self> {
        let derived = Salt::new(HKDF_SHA256, SALT).extract(secret);
        let key = derived.expand(&[PURPOSE], &AES_256_GCM).ok()?;
        Some(Self(LessSafeKey::new(UnboundKey::from(key))))
    }

    /// Seals a text; it opens only together with `context`. `None` when the system has no random numbers.
    pub(crate) fn seal(&self, text: &[u8], context: &str) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = text.to_vec();
        let aad = Aad::from(context.as_bytes());
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed with the same key and context.
    pub(crate) fn open(&self, sealed: &str, context: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut text = sealed.to_vec();
        let aad = Aad::from(context.as_bytes());
        let length = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

impl fmt::Debug for SealingKey {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealingKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_context_only() {
        let key = SealingKey::of_signing_key(b"one").unwrap();
        let sealed = key.seal(b"s3cret", "context").unwrap();
        assert_eq!(key.open(&sealed, "context").as_deref(), Some(&b"s3cret"[..]));
        assert_eq!(key.open(&sealed, "another"), None);
        assert_eq!(SealingKey::of_signing_key(b"two").unwrap().open(&sealed, "context"), None);
        assert_ne!(key.seal(b"s3cret", "context").unwrap(), sealed, "each is sealed under a nonce of its own");
        for text in ["", "AAAA", "not base64!", &sealed[1..], &sealed[..sealed.len() - 4]] {
            assert_eq!(key.open(text, "context"), None, "{text}");
        }
    }
}
