//! Media types, and which of them are manifests.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest media type, in bytes: RFC 6838 allows 127 for each half.
const LENGTH_MAX: usize = 255;

/// A media type without parameters, such as `application/vnd.oci.image.index.v1+json`.
///
/// - two non-empty halves around one `/`, each of the characters that RFC 6838 §4.2 allows;
/// - parameters (`; charset=utf-8`) are cut off when it is parsed, as the distribution specification wants;
/// - at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaType(Arc<str>);

impl MediaType {
    /// `application/vnd.oci.image.manifest.v1+json`
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// `application/vnd.oci.image.index.v1+json`
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// `application/vnd.oci.artifact.manifest.v1+json`, withdrawn before 1.1 was released.
    pub const OCI_ARTIFACT: &'static str = "application/vnd.oci.artifact.manifest.v1+json";
    /// `application/vnd.docker.distribution.manifest.v2+json`
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    pub const DOCKER_LIST: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// `application/vnd.docker.distribution.manifest.v1+json`, schema 1: refused with a clear text.
    pub const DOCKER_SCHEMA1: &'static str = "application/vnd.docker.distribution.manifest.v1+json";
    /// `application/vnd.docker.distribution.manifest.v1+prettyjws`, schema 1 with signatures.
    pub const DOCKER_SCHEMA1_SIGNED: &'static str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// `application/octet-stream`
    pub const OCTET_STREAM: &'static str = "application/octet-stream";

    /// Those of nearly all content, which need no check.
    const KNOWN: [&'static str; 4] = [Self::OCI_MANIFEST, Self::DOCKER_MANIFEST, Self::OCI_INDEX, Self::DOCKER_LIST];

    /// The text, without parameters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which manifest this type announces, or `None` for every other content.
    pub fn manifest_kind(&self) -> Option<ManifestKind> {
        match self.as_str() {
            Self::OCI_MANIFEST | Self::DOCKER_MANIFEST => Some(ManifestKind::Image),
            Self::OCI_INDEX | Self::DOCKER_LIST => Some(ManifestKind::Index),
            Self::OCI_ARTIFACT => Some(ManifestKind::Artifact),
            _ => None,
        }
    }

    /// Whether this announces Docker's schema 1, which this registry refuses.
    pub fn is_schema1(&self) -> bool {
        matches!(self.as_str(), Self::DOCKER_SCHEMA1 | Self::DOCKER_SCHEMA1_SIGNED)
    }

    /// Whether layers of this type may never have been pushed: clients fetch them from their `urls`.
    pub fn is_non_distributable(&self) -> bool {
        self.as_str().starts_with("application/vnd.oci.image.layer.nondistributable.")
            || self.as_str().starts_with("application/vnd.docker.image.rootfs.foreign.")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        if Self::KNOWN.contains(&text) {
            return Ok(Self(text.into()));
        }
        let bare = text.split(';').next().unwrap_or_default().trim();
        let (kind, subtype) = bare.split_once('/').ok_or(MediaTypeError)?;
        if is_half(kind) && is_half(subtype) && bare.len() <= LENGTH_MAX {
            Ok(Self(bare.into()))
        } else {
            Err(MediaTypeError)
        }
    }
}

impl TryFrom<String> for MediaType {
    type Error = MediaTypeError;

    fn try_from(text: String) -> Result<Self, MediaTypeError> {
        text.parse()
    }
}

impl From<MediaType> for String {
    fn from(media_type: MediaType) -> Self {
        media_type.0.as_ref().to_owned()
    }
}

fn is_half(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
}

/// The text is not a media type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a media type: expected type/subtype as in RFC 6838, at most {LENGTH_MAX} bytes")]
pub struct MediaTypeError;

/// What a manifest is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    /// A config and layers.
    Image,
    /// A list of other manifests.
    Index,
    /// The withdrawn artifact manifest: a list of blobs.
    Artifact,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_cut_off() {
        let parsed: MediaType = "application/vnd.oci.image.index.v1+json; charset=utf-8".parse().unwrap();
        assert_eq!(parsed.as_str(), MediaType::OCI_INDEX);
    }

    #[test]
    fn what_is_not_a_media_type_is_refused() {
        for text in ["", "json", "application/", "/json", "a/b/c", "a/b c", "text/h\r\ntml"] {
            assert_eq!(text.parse::<MediaType>(), Err(MediaTypeError), "{text:?}");
        }
    }
}
