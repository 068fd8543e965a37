//! Through which caches a question came, so that caches in front of each other notice a circle.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use entrepot_oci::RepositoryName;

/// The name of the header that carries a [`Via`]. Only the upstream itself is told, never where a redirect leads.
pub const VIA_HEADER: &str = "entrepot-via";

/// Caches that a question may come through; one more is taken for a circle.
pub const VIA_CACHES_MAX: usize = 8;

/// The caches that a question came through, the first one first, each by the id of its process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via(Arc<[Box<str>]>);

/// A text is no list of caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of at most {VIA_CACHES_MAX} caches")]
pub struct ViaError;

impl Via {
    /// Whether `cache` is among them.
    pub fn contains(&self, cache: &str) -> bool {
        self.0.iter().any(|id| **id == *cache)
    }

    /// Whether nobody more may be added.
    pub fn is_full(&self) -> bool {
        self.0.len() >= VIA_CACHES_MAX
    }

    /// The same with one more at the end.
    #[must_use]
    pub fn through(&self, cache: &str) -> Self {
        Self(self.0.iter().cloned().chain([cache.into()]).collect())
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Via {
    type Err = ViaError;

    fn from_str(text: &str) -> Result<Self, ViaError> {
        let ids: Vec<Box<str>> = text.split(',').map(|id| id.trim().into()).collect();
        let is_id = |id: &str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if ids.len() > VIA_CACHES_MAX || !ids.iter().all(|id| is_id(id)) {
            return Err(ViaError);
        }
        Ok(Self(ids.into()))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join(", "))
    }
}

/// A repository as a remote calls it, and through whom it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRepository {
    /// Its name there.
    pub name: RepositoryName,
    /// The caches before the remote, this one included.
    pub via: Via,
}

impl From<RepositoryName> for RemoteRepository {
    fn from(name: RepositoryName) -> Self {
        Self { name, via: Via::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_bounded() {
        let via = Via::default().through("a1").through("b2");
        assert_eq!(via.to_string(), "a1, b2");
        assert_eq!("a1,b2".parse(), Ok(via.clone()));
        assert!(via.contains("b2") && !via.contains("b"));
        let full = (0..VIA_CACHES_MAX).fold(Via::default(), |via, number| via.through(&number.to_string()));
        assert!(full.is_full());
        assert_eq!(full.through("x").to_string().parse::<Via>(), Err(ViaError));
        for text in ["", "a b", "a,,b", "é"] {
            assert_eq!(text.parse::<Via>(), Err(ViaError), "{text}");
        }
    }
}
