//! The keys that tokens are signed with.
//!
//! They are made here, kept in the metadata store, and so shared by everybody who uses that store. The newest one signs, all of
//! them verify. A key is only ever found by its id among these: what else the header of a token says about keys is not looked at.

use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entrepot_metadata::{Clock, Error, MetadataStore, SigningKeyRow};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::jws::{self, Algorithm, Jws, PublicKey};
use crate::limits::{FIRST_KEY_ATTEMPTS_MAX, REPLACED_KEY_GRACE, SIGNING_KEY_AGE_MAX, SIGNING_KEYS_READ_INTERVAL};
use crate::refusal::Refusal;
use crate::sealed::SealingKey;

/// The one algorithm. A token that names another one is not even looked at with a key.
pub(crate) const ALGORITHM: Algorithm = Algorithm::EdDsa;

/// A key that signs and verifies.
#[derive(Debug)]
pub(crate) struct SigningKey {
    /// The `kid` of its tokens: the thumbprint of the public key by [RFC 7638](https://www.rfc-editor.org/rfc/rfc7638).
    pub(crate) id: Arc<str>,
    /// Both halves; what is printed of them is the public one.
    pair: Ed25519KeyPair,
    public: PublicKey,
    /// What a client may carry and not read is sealed with this.
    pub(crate) seals: SealingKey,
    row: SigningKeyRow,
}

impl SigningKey {
    fn make(clock: &dyn Clock) -> Result<SigningKeyRow, Error> {
        let failed = |_| Error::Backend("the system has no random numbers for a signing key".into());
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
        let mut row = SigningKeyRow { id: String::new(), secret: document.as_ref().to_vec(), created_at: clock.now() };
        row.id = thumbprint(pair(&row)?.public_key().as_ref());
        Ok(row)
    }

    fn read(row: SigningKeyRow) -> Result<Self, Error> {
        let pair = pair(&row)?;
        let public = pair.public_key().as_ref();
        let seals = SealingKey::of_signing_key(&row.secret).filter(|_| thumbprint(public) == row.id);
        let Some(seals) = seals else {
            return Err(Error::Corrupt { what: format!("the signing key {:?} is another one", row.id) });
        };
        Ok(Self { id: row.id.as_str().into(), public: PublicKey::Ed25519(public.to_vec()), pair, seals, row })
    }

    /// Signs claims.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, serde_json::Error> {
        jws::sign(&self.pair, &self.id, claims)
    }

    /// Whether a text is signed by this key.
    pub(crate) fn has_signed(&self, jws: &Jws<'_>) -> bool {
        jws.is_signed_by(&self.public, ALGORITHM)
    }
}

fn pair(row: &SigningKeyRow) -> Result<Ed25519KeyPair, Error> {
    Ed25519KeyPair::from_pkcs8(&row.secret)
        .map_err(|why| Error::Corrupt { what: format!("the signing key {:?} cannot be read: {why}", row.id) })
}

fn thumbprint(public: &[u8]) -> String {
    let key = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(public));
    URL_SAFE_NO_PAD.encode(Sha256::digest(key))
}

/// The keys of the store, as last read.
#[derive(Debug)]
pub(crate) struct SigningKeys {
    metadata: Arc<dyn MetadataStore>,
    clock: Arc<dyn Clock>,
    /// The newest first; never empty.
    known: RwLock<Arc<[Arc<SigningKey>]>>,
    /// When they were last read for a key that was not known, and whether that succeeded. Held while they are read.
    last_read: Mutex<Option<(Instant, bool)>>,
}

impl SigningKeys {
    /// Reads the keys of the store, and makes the first one where there is none.
    pub(crate) async fn open(metadata: Arc<dyn MetadataStore>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        for _ in 0..FIRST_KEY_ATTEMPTS_MAX {
            let known = read(&*metadata).await?;
            if !known.is_empty() {
                let known = RwLock::new(known.into());
                return Ok(Self { metadata, clock, known, last_read: Mutex::default() });
            }
            // Of several replicas that start at the same time one succeeds; the others read its key in the next round.
            if metadata.add_signing_key(&SigningKey::make(&*clock)?, None).await? {
                tracing::info!("made the first key that tokens are signed with");
            }
        }
        Err(Error::Corrupt { what: "a signing key was written and is not there".to_owned() })
    }

    /// The key that signs.
    pub(crate) fn newest(&self) -> Result<Arc<SigningKey>, Refusal> {
        self.known().first().map(Arc::clone).ok_or_else(|| unavailable("there is no signing key".into()))
    }

    /// The key of this id, among those that are known.
    pub(crate) fn known_key(&self, id: &str) -> Option<Arc<SigningKey>> {
        self.known().iter().find(|key| *key.id == *id).map(Arc::clone)
    }

    /// The key of this id. For one that is not known the store is asked again: another replica may have made it just now. However
    /// many ids are made up, it is asked once in some seconds.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when the store could not be asked: then nobody knows whether there is such a key.
    pub(crate) async fn key(&self, id: &str) -> Result<Option<Arc<SigningKey>>, Refusal> {
        if let Some(key) = self.known_key(id) {
            return Ok(Some(key));
        }
        let mut last_read = self.last_read.lock().await;
        if let Some((read_at, succeeded)) = *last_read
            && read_at.elapsed() < SIGNING_KEYS_READ_INTERVAL
        {
            let key = self.known_key(id);
            return if key.is_some() || succeeded {
                Ok(key)
            } else {
                Err(unavailable("the last attempt failed".into()))
            };
        }
        let read = self.read_again().await;
        *last_read = Some((Instant::now(), read.is_ok()));
        read.map_err(|error| unavailable(error.into()))?;
        Ok(self.known_key(id))
    }

    /// Reads the keys again, replaces the newest one when it is old, and ends those that were replaced long ago.
    pub(crate) async fn keep_up(&self) -> Result<(), Error> {
        self.read_again().await?;
        let (now, keys) = (self.clock.now(), self.known());
        if let Some(newest) = keys.first()
            && newest.row.created_at < now.before(SIGNING_KEY_AGE_MAX)
            && self.metadata.add_signing_key(&SigningKey::make(&*self.clock)?, Some(&newest.id)).await?
        {
            tracing::info!(replaced = &*newest.id, "made a new key that tokens are signed with");
        }
        for pair in keys.windows(2) {
            let [newer, older] = pair else { continue };
            if newer.row.created_at < now.before(REPLACED_KEY_GRACE)
                && self.metadata.delete_signing_key(&older.id).await?
            {
                tracing::info!(key = &*older.id, "ended a signing key that was replaced");
            }
        }
        self.read_again().await
    }

    async fn read_again(&self) -> Result<(), Error> {
        let known = read(&*self.metadata).await?;
        if known.is_empty() {
            return Err(Error::Corrupt { what: "the signing keys are gone".to_owned() });
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known.into();
        Ok(())
    }

    fn known(&self) -> Arc<[Arc<SigningKey>]> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn read(metadata: &dyn MetadataStore) -> Result<Vec<Arc<SigningKey>>, Error> {
    let rows = metadata.signing_keys().await?;
    rows.into_iter().map(|row| SigningKey::read(row).map(Arc::new)).collect()
}

fn unavailable(source: Box<dyn std::error::Error + Send + Sync>) -> Refusal {
    Refusal::Unavailable { what: "the store of signing keys".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_called_by_the_thumbprint_of_the_rfc() {
        // Appendix A.3 of RFC 8037.
        let public = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
