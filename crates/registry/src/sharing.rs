//! Which bytes that are here already a cached repository gets without its upstream having sent them.
//!
//! A digest is no secret, and the operator of an upstream says of it what he likes: that a manifest there names a digest, or that a HEAD
//! finds it, proves nothing against whoever runs it. So bytes are given to another upstream's repository only where everybody may read
//! them anyway: those of public upstreams always, those that were pushed or fetched with an account only where nobody has to say who he
//! is. Otherwise the upstream is asked for all of them, and what it sent is verified and kept once.
//! Between the repositories of one private upstream they are shared once it has confirmed that the other one has them, too.

use std::collections::HashSet;
use std::sync::Arc;

use entrepot_oci::Digest;
use entrepot_upstream::Remotes;

use crate::Error;
use crate::limits::MOUNT_SOURCES_MAX;
use crate::proxied::Proxied;
use crate::registry::Store;

/// What may be shared between repositories.
#[derive(Debug)]
pub(crate) struct Sharing {
    /// Whether nobody has to say who he is.
    is_open: bool,
    /// The origins whose bytes are for their own repositories alone.
    private: HashSet<String>,
}

/// Which fills are one: those of a digest, but for one of a private origin, which is for nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FillKey {
    pub(crate) digest: Digest,
    private_origin: Option<String>,
}

impl FillKey {
    /// The origin whose repositories alone may have the bytes, if it is one.
    pub(crate) fn private_origin(&self) -> Option<&str> {
        self.private_origin.as_deref()
    }
}

impl Sharing {
    /// What upstreams that decide about their own users have is private also where nobody has to say who he is here.
    pub(crate) fn new(remotes: &Remotes, is_open: bool) -> Self {
        let listed = remotes.listed();
        let private = listed
            .iter()
            .filter(|remote| remote.is_asked_as_caller() || (!is_open && remotes.may_be_private(remote)))
            .map(|remote| remote.origin().to_owned());
        Self { is_open, private: private.collect() }
    }

    pub(crate) fn key(&self, digest: &Digest, proxied: &Proxied) -> FillKey {
        let private_origin = self.private.get(proxied.remote().origin()).cloned();
        FillKey { digest: digest.clone(), private_origin }
    }

    /// Every key that a fill of the digest may have.
    pub(crate) fn keys(&self, digest: &Digest) -> impl Iterator<Item = FillKey> {
        let origins = std::iter::once(None).chain(self.private.iter().cloned().map(Some));
        origins.map(|private_origin| FillKey { digest: digest.clone(), private_origin })
    }

    /// Where bytes for a cached repository may be taken from, that which is sooner had first.
    pub(crate) fn sources<'a>(&self, cache: &'a Store, own: &'a Store) -> impl Iterator<Item = &'a Store> {
        std::iter::once(cache).chain(self.is_open.then_some(own))
    }

    /// Whether the bytes of a blob in this source may be the repository's as well: some of those who hold it are public, or of its own
    /// upstream. What is nobody's any more may have been private.
    pub(crate) async fn allows(
        &self,
        source: &Store,
        cache: &Store,
        digest: &Digest,
        proxied: &Proxied,
    ) -> Result<bool, Error> {
        let is_own = !Arc::ptr_eq(&source.metadata, &cache.metadata);
        if self.is_open && (is_own || self.private.is_empty()) {
            return Ok(true);
        }
        let holders = source.metadata.blob_holders(digest, MOUNT_SOURCES_MAX).await?;
        let may_share = |origin: &str| origin == proxied.remote().origin() || !self.private.contains(origin);
        Ok(holders.iter().any(|(name, _)| name.split_first().is_some_and(|(origin, _)| may_share(origin))))
    }

    /// Whether bytes that are here for another repository are this one's because a manifest of it names them. Not of a private origin, where
    /// somebody who may push there may have pushed that manifest to get at the content of others: a layer that is had from elsewhere
    /// may be named without being there.
    pub(crate) fn is_proven(&self, described_size: Option<u64>, proxied: &Proxied) -> bool {
        described_size.is_some() && !self.private.contains(proxied.remote().origin())
    }
}
