//! Referrers: the manifests that say they are about another one.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers>

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Annotations, Digest, MediaType, Tag};

/// The entry of one referrer in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// The type of the referring manifest.
    pub media_type: MediaType,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// `artifactType` of the manifest, or the type of its config; nothing for an index without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// All annotations of the manifest.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'static str,
    manifests: &'a [Referrer],
}

/// The image index that answers a request for referrers.
pub fn referrers_index(referrers: &[Referrer]) -> Bytes {
    let index = Index { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests: referrers };
    // Writing strings and numbers into memory has no way to fail.
    serde_json::to_vec(&index).map(Bytes::from).unwrap_or_default()
}

/// The tag under which clients keep the referrers of `subject` at registries without the referrers API:
/// the algorithm, `-`, and the first 64 digits.
pub fn referrers_tag(subject: &Digest) -> Option<Tag> {
    let digits = subject.hex().get(..64)?;
    format!("{}-{digits}", subject.algorithm()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    #[test]
    fn an_empty_list_is_a_whole_index() {
        let expected = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, MediaType::OCI_INDEX);
        assert_eq!(referrers_index(&[]), expected.as_bytes());
    }

    #[test]
    fn the_fallback_tag_is_cut_at_64_digits() {
        let tag = referrers_tag(&Algorithm::Sha512.digest(b"")).unwrap();
        assert_eq!(tag.as_str().len(), "sha512-".len() + 64);
    }
}
