//! The tokens of the token service: signed, short-lived, and never worth more than the rules say at the moment of their use.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::{Clock, MetadataStore};

/// Signs and checks tokens.
#[derive(Debug)]
pub struct Tokens {}

impl Tokens {
    /// Takes the signing keys out of the store, and makes the first one where there is none yet. Tries what it does once: signs and
    /// verifies.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn open(
        _metadata: Arc<dyn MetadataStore>,
        _clock: Arc<dyn Clock>,
        _service: String,
        _lifetime: Duration,
    ) -> Result<Self, entrepot_metadata::Error> {
        todo!()
    }

    /// The audience of the tokens, and the `service` of challenges.
    pub fn service(&self) -> &str {
        todo!()
    }
}
