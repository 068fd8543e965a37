//! URLs with which the bytes of a blob are read from where they are.

use std::fmt;

/// A URL that lets whoever holds it read one blob until it expires. It is as good as a password, and is not printed whole.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUrl(String);

impl SignedUrl {
    /// A URL whose query is its signature.
    pub const fn new(url: String) -> Self {
        Self(url)
    }

    /// The whole URL, to be given to the one who may read the blob.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.split_once('?').map_or(self.0.as_str(), |(shown, _)| shown);
        formatter.debug_tuple("SignedUrl").field(&format_args!("{shown}?…")).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_not_printed() {
        let url = SignedUrl::new("https://bucket.example/data?X-Amz-Signature=secret".to_owned());
        assert_eq!(format!("{url:?}"), "SignedUrl(https://bucket.example/data?…)");
    }
}
