//! References as people write them: `docker.io/library/redis:7`.

use std::fmt;
use std::str::FromStr;

use crate::{DigestError, NameError, RepositoryName, Tag, TagError, TagOrDigest};

/// What stands before the names of other registries' repositories here.
const PROXY_PREFIX: &str = "proxy/";

/// An image or a repository of another registry, as people write it: `REGISTRY/REPOSITORY`, with `:TAG`, with `@DIGEST`, or with both.
///
/// - the registry is always there: without one it would have to be guessed whose `redis` is meant;
/// - it may be written as it is pulled here, `proxy/REGISTRY/…`, also behind this server's own address;
/// - with a tag and a digest the digest counts, as it does for every client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    registry: Box<str>,
    repository: RepositoryName,
    reference: Option<TagOrDigest>,
}

impl ImageReference {
    /// The registry as it was written: a host, with a port where there is one, or the name of a listed upstream.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository as it is called there.
    pub const fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// The tag or digest, if there is one.
    pub const fn reference(&self) -> Option<&TagOrDigest> {
        self.reference.as_ref()
    }

    /// The tag or digest; without one `latest`, as clients take it.
    pub fn reference_or_latest(&self) -> TagOrDigest {
        self.reference.clone().unwrap_or_else(|| TagOrDigest::Tag(Tag::latest()))
    }
}

impl FromStr for ImageReference {
    type Err = ImageReferenceError;

    fn from_str(text: &str) -> Result<Self, ImageReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(ImageReferenceError::Digest)?)),
            None => (text, None),
        };
        // A colon before the last slash is that of a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.parse().map_err(ImageReferenceError::Tag)?)),
            _ => (rest, None),
        };
        let (registry, repository) = split_registry(name).ok_or(ImageReferenceError::Registry)?;
        Ok(Self {
            registry: registry.into(),
            repository: repository.parse().map_err(ImageReferenceError::Name)?,
            reference: digest.map(TagOrDigest::Digest).or(tag.map(TagOrDigest::Tag)),
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if is_host(&self.registry) { "" } else { PROXY_PREFIX };
        write!(formatter, "{prefix}{}/{}", self.registry, self.repository)?;
        match &self.reference {
            Some(TagOrDigest::Tag(tag)) => write!(formatter, ":{tag}"),
            Some(TagOrDigest::Digest(digest)) => write!(formatter, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Registry and repository.
///
/// Behind `proxy/` the first component is a registry whatever it looks like, since a listed upstream may be called anything. Elsewhere
/// it has to look like a host: clients take `team/app` for a repository of Docker Hub, and others mean their own.
fn split_registry(name: &str) -> Option<(&str, &str)> {
    let (first, rest) = name.split_once('/')?;
    let proxied =
        name.strip_prefix(PROXY_PREFIX).or_else(|| rest.strip_prefix(PROXY_PREFIX).filter(|_| is_host(first)));
    match proxied {
        Some(proxied) => proxied.split_once('/').filter(|(registry, _)| !registry.is_empty()),
        None => is_host(first).then_some((first, rest)),
    }
}

/// What clients take for a host: it has a dot or a port, or is `localhost`.
fn is_host(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost"
}

/// Why a text is no reference to an image of another registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageReferenceError {
    /// It does not say which registry it is of.
    #[error("not REGISTRY/REPOSITORY[:TAG][@DIGEST]: the registry is missing, as in docker.io/library/redis:7")]
    Registry,
    /// The repository is malformed.
    #[error("the repository is {0}")]
    Name(#[source] NameError),
    /// The tag is malformed.
    #[error("the tag is {0}")]
    Tag(#[source] TagError),
    /// The digest is malformed.
    #[error("the digest is {0}")]
    Digest(#[source] DigestError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_read_however_they_are_written() {
        let by_digest = format!("@{DIGEST}");
        let rows = [
            ("docker.io/library/redis:7".to_owned(), ("docker.io", "library/redis", Some("7"))),
            ("proxy/docker.io/library/redis:7".to_owned(), ("docker.io", "library/redis", Some("7"))),
            ("localhost:5000/proxy/docker.io/redis:7".to_owned(), ("docker.io", "redis", Some("7"))),
            ("localhost/proxy/docker.io/redis".to_owned(), ("docker.io", "redis", None)),
            ("own.example/proxy/registry.corp:5000/a/b".to_owned(), ("registry.corp:5000", "a/b", None)),
            ("registry.corp:5000/a/b:1".to_owned(), ("registry.corp:5000", "a/b", Some("1"))),
            ("[::1]:5000/a".to_owned(), ("[::1]:5000", "a", None)),
            (format!("ghcr.io/org/app{by_digest}"), ("ghcr.io", "org/app", Some(DIGEST))),
            (format!("ghcr.io/org/app:1{by_digest}"), ("ghcr.io", "org/app", Some(DIGEST))),
            // The name of a listed upstream need not look like a host.
            ("proxy/corp/app:1".to_owned(), ("corp", "app", Some("1"))),
        ];
        for (text, (registry, repository, reference)) in rows {
            let parsed = text.parse::<ImageReference>().unwrap();
            assert_eq!((parsed.registry(), parsed.repository().as_str()), (registry, repository), "{text}");
            assert_eq!(parsed.reference().map(ToString::to_string).as_deref(), reference, "{text}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{text}");
        }
        let latest = "ghcr.io/app".parse::<ImageReference>().unwrap().reference_or_latest();
        assert_eq!(latest.to_string(), "latest");
    }

    #[test]
    fn what_is_no_reference_says_why() {
        let without_registry = [
            "",
            "redis",
            "redis:7",
            "team/app",
            "proxy/redis",
            "own.example/proxy/redis",
            "/redis",
            "proxy//x",
            "proxy/",
        ];
        for text in without_registry {
            assert_eq!(text.parse::<ImageReference>(), Err(ImageReferenceError::Registry), "{text:?}");
        }
        let parse = |text: &str| text.parse::<ImageReference>().unwrap_err();
        assert!(matches!(parse("ghcr.io/A"), ImageReferenceError::Name(_)));
        assert!(matches!(parse("ghcr.io/"), ImageReferenceError::Name(_)));
        assert!(matches!(parse("ghcr.io/a:"), ImageReferenceError::Tag(_)));
        assert!(matches!(parse("ghcr.io/a@sha256:1"), ImageReferenceError::Digest(_)));
        assert!(matches!(parse("ghcr.io/a:1@"), ImageReferenceError::Digest(_)));
    }
}
