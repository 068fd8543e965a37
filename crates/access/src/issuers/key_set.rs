//! The keys that an identity provider publishes.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::key::Key;
use super::tame;
use crate::jws::Algorithm;
use crate::limits::PROVIDER_KEYS_MAX;

/// Those keys of a JSON Web Key Set that signatures can be verified with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
    /// How many more there were than are used.
    pub(super) left_out: usize,
}

/// A document is no key set.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("it is not a set of keys")]
    Malformed(#[source] serde_json::Error),
    #[error("none of its keys is one that signatures of tokens are verified with")]
    Empty,
}

#[derive(Deserialize)]
struct WrittenKeySet {
    keys: Vec<Value>,
}

impl KeySet {
    pub(super) fn read(document: &[u8]) -> Result<Self, KeySetError> {
        let written: WrittenKeySet = serde_json::from_slice(document).map_err(KeySetError::Malformed)?;
        let mut keys: Vec<_> = written.keys.iter().filter_map(Key::read).map(Arc::new).collect();
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        let left_out = keys.len().saturating_sub(PROVIDER_KEYS_MAX);
        keys.truncate(PROVIDER_KEYS_MAX);
        Ok(Self { keys, left_out })
    }

    /// The key of this id for this algorithm. A token that names none can only be by the one key that is for its algorithm: among
    /// several nothing is tried out.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm));
        let Some(id) = id else {
            let key = fitting.next()?;
            return fitting.next().is_none().then(|| Arc::clone(key));
        };
        fitting.find(|key| key.id.as_deref() == Some(id)).cloned()
    }

    /// The ids, for the log.
    pub(super) fn ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.id.as_deref().map_or_else(|| "(none)".to_owned(), tame)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(id: &str) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
    }

    #[test]
    fn keys_that_cannot_be_used_are_left_out_and_a_set_without_any_is_none() {
        let document = json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }, 7, key("a"), key("b")] }).to_string();
        let keys = KeySet::read(document.as_bytes()).unwrap();
        assert_eq!(keys.ids(), ["a", "b"]);
        assert_eq!(keys.find(Some("b"), Algorithm::EdDsa).unwrap().id.as_deref(), Some("b"));
        assert!(keys.find(Some("b"), Algorithm::Es256).is_none() && keys.find(Some("c"), Algorithm::EdDsa).is_none());
        assert!(keys.find(None, Algorithm::EdDsa).is_none(), "which of the two it is would be a guess");
        for document in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#] {
            assert!(KeySet::read(document.as_bytes()).is_err(), "{document}");
        }
        let one = KeySet::read(json!({ "keys": [key("a")] }).to_string().as_bytes()).unwrap();
        assert!(one.find(None, Algorithm::EdDsa).is_some());
    }

    #[test]
    fn a7_no_more_keys_are_kept_than_there_is_room_for() {
        let keys: Vec<_> = (0..PROVIDER_KEYS_MAX + 5).map(|number| key(&number.to_string())).collect();
        let keys = KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        assert_eq!((keys.keys.len(), keys.left_out), (PROVIDER_KEYS_MAX, 5));
    }
}
