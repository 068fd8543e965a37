//! Descriptors: how a manifest names other content.
//! <https://github.com/opencontainers/image-spec/blob/main/descriptor.md>

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, MediaType};

/// Annotations of a manifest or a descriptor, ordered so that they serialise the same way each time.
pub type Annotations = BTreeMap<String, String>;

/// The digest of a descriptor: one that can be verified, or one of an algorithm this registry does not know.
///
/// The image specification wants content with foreign algorithms to be passed on; it can be named, never stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DescriptorDigest {
    /// A digest of a supported algorithm.
    Known(Digest),
    /// Grammatical, but of another algorithm.
    Foreign(String),
}

impl DescriptorDigest {
    /// The digest, when its algorithm is supported.
    pub const fn known(&self) -> Option<&Digest> {
        match self {
            Self::Known(digest) => Some(digest),
            Self::Foreign(_) => None,
        }
    }
}

impl fmt::Display for DescriptorDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(digest) => digest.fmt(formatter),
            Self::Foreign(text) => formatter.write_str(text),
        }
    }
}

impl TryFrom<String> for DescriptorDigest {
    type Error = crate::DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.parse() {
            Ok(digest) => Ok(Self::Known(digest)),
            Err(crate::DigestError::Unsupported { .. }) => Ok(Self::Foreign(text)),
            Err(error @ crate::DigestError::Malformed) => Err(error),
        }
    }
}

impl From<DescriptorDigest> for String {
    fn from(digest: DescriptorDigest) -> Self {
        digest.to_string()
    }
}

/// The part of a descriptor that this registry reads. Other fields stay in the manifest's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The type of the content it names. Old manifests leave it out of a config or layer now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The name of the content.
    pub digest: DescriptorDigest,
    /// The size of the content in bytes.
    pub size: u64,
    /// Where else the content may be had. Data to clients, never fetched from here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free-form labels.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// What the named manifest is about, when it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}
