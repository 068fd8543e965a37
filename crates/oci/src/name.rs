//! Names of repositories and tags, and the last segment of a manifest's path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::{Digest, DigestError};

/// The longest repository name, in bytes. The specification sets no limit; clients cap it at 255.
pub const NAME_LENGTH_MAX: usize = 255;

/// The longest tag, in bytes, as the specification has it.
pub const TAG_LENGTH_MAX: usize = 128;

/// The name of a repository, such as `team/app`.
///
/// - one or more components joined by `/`, at most [`NAME_LENGTH_MAX`] bytes in all;
/// - a component is lower-case letters and digits, separated by one `.`, `_`, `__`, or a run of `-`;
/// - so no component begins with `_`, and none is `.` or `..`.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first component and the rest, where there is a rest.
    pub fn split_first(&self) -> Option<(&str, Self)> {
        let (first, rest) = self.0.split_once('/')?;
        Some((first, Self(rest.into())))
    }

    /// What follows the first component, where that is `component` and something follows.
    pub fn split_below(&self, component: &str) -> Option<Self> {
        self.behind(component).map(|rest| Self(rest.into()))
    }

    /// Whether the first component is `component` and something follows.
    pub fn is_below(&self, component: &str) -> bool {
        self.behind(component).is_some()
    }

    fn behind(&self, component: &str) -> Option<&str> {
        self.0.strip_prefix(component)?.strip_prefix('/')
    }

    /// The same name below `component`, which must itself be a legal name.
    pub fn below(&self, component: &str) -> Result<Self, NameError> {
        format!("{component}/{self}").parse()
    }

    /// Whether the name has a single component.
    pub fn is_single_component(&self) -> bool {
        !self.0.contains('/')
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > NAME_LENGTH_MAX {
            return Err(NameError::TooLong { length: text.len() });
        }
        if text.split('/').all(is_component) { Ok(Self(text.into())) } else { Err(NameError::Malformed) }
    }
}

impl Serialize for RepositoryName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl TryFrom<String> for RepositoryName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<RepositoryName> for String {
    fn from(name: RepositoryName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !is_alphanumeric(first) || !is_alphanumeric(last) {
        return false;
    }
    bytes
        .split(is_alphanumeric)
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-'))
}

/// Why a text is not the name of a repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The grammar of the specification is not met.
    #[error(
        "not a repository name: expected components of lower-case letters and digits, separated inside by one of \
         '.', '_', '__' or '-', and joined by '/'"
    )]
    Malformed,
    /// Longer than [`NAME_LENGTH_MAX`].
    #[error("repository name has {length} bytes, more than the {NAME_LENGTH_MAX} allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

/// A tag: a name that may move from one manifest to another.
///
/// - 1 to [`TAG_LENGTH_MAX`] bytes;
/// - letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`;
/// - case-sensitive, ordered by bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag that clients take where none is given.
    pub fn latest() -> Self {
        Self("latest".into())
    }

    /// The text of the tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let starts_well = text.bytes().next().is_some_and(is_word);
        let goes_on_well = text.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-');
        if starts_well && goes_on_well && text.len() <= TAG_LENGTH_MAX { Ok(Self(text.into())) } else { Err(TagError) }
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl TryFrom<String> for Tag {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, TagError> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0.as_ref().to_owned()
    }
}

/// The text is not a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tag: expected 1 to {TAG_LENGTH_MAX} letters, digits, '_', '.' or '-', not beginning with '.' or '-'")]
pub struct TagError;

/// What a manifest is asked by: the last segment of its path.
///
/// A segment with a colon is a digest and never a tag, even when it is not a good digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TagOrDigest {
    /// By a name that may move.
    Tag(Tag),
    /// By content.
    Digest(Digest),
}

impl TagOrDigest {
    /// Parses a segment.
    ///
    /// # Errors
    /// `Err(Some(_))` when it has a colon and is not a digest, `Err(None)` when it is not a tag.
    pub fn parse(text: &str) -> Result<Self, Option<DigestError>> {
        if text.contains(':') {
            return text.parse().map(Self::Digest).map_err(Some);
        }
        text.parse().map(Self::Tag).map_err(|TagError| None)
    }

    /// The tag, when it is one.
    pub const fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::Digest(_) => None,
        }
    }
}

impl fmt::Display for TagOrDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(formatter),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        let good = ["a", "library/redis", "a.b/c_d/e__f/g---h", "0/1", "blobs/uploads", "registry-1.docker.io/x"];
        let bad = [
            "", "/", "a/", "/a", "a//b", "A", "a/B", "a___b", "a..b", "a._b", ".a", "a.", "_a", "a/_b", "-a", "a-",
            "..", "a/../b", "a:b", "a b", "a%2fb", "ä", "a\0b", "a_-b", "a\\b",
        ];
        for name in good {
            assert!(name.parse::<RepositoryName>().is_ok(), "{name:?} is a name");
        }
        for name in bad {
            assert_eq!(name.parse::<RepositoryName>(), Err(NameError::Malformed), "{name:?} is not a name");
        }
    }

    #[test]
    fn names_end_at_255_bytes() {
        assert!("a".repeat(255).parse::<RepositoryName>().is_ok());
        assert_eq!("a".repeat(256).parse::<RepositoryName>(), Err(NameError::TooLong { length: 256 }));
    }

    #[test]
    fn tags_follow_the_grammar() {
        for tag in ["latest", "1.2.3-rc_1", "_x", "A", &"t".repeat(128)] {
            assert!(tag.parse::<Tag>().is_ok(), "{tag:?} is a tag");
        }
        for tag in ["", ".x", "-x", "a+b", "a:b", "a/b", "ü", &"t".repeat(129)] {
            assert!(tag.parse::<Tag>().is_err(), "{tag:?} is not a tag");
        }
    }

    #[test]
    fn a_colon_makes_a_digest_never_a_tag() {
        assert_eq!(TagOrDigest::parse("sha256:beef"), Err(Some(DigestError::Malformed)));
        assert!(matches!(TagOrDigest::parse("sha256"), Ok(TagOrDigest::Tag(_))));
        assert_eq!(TagOrDigest::parse("+"), Err(None));
    }
}
