//! Asking the upstream now, whatever the windows say.

use std::sync::Arc;

use entrepot_oci::{Digest, TagOrDigest};

use super::Proxied;
use crate::memory::Subject;
use crate::repository::Kind;
use crate::{Error, Registry, Repository};

/// What a refresh found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// What was cached before; `None`: nothing.
    pub before: Option<Digest>,
    /// What the upstream has now, and the cache with it; `None`: the upstream does not have it. What becomes of a cached tag
    /// then, the freshness of the tag says.
    pub after: Option<Digest>,
}

impl Repository {
    /// Asks the upstream for a reference now, whatever the windows say, and forgets what is remembered of its refusals and lists for
    /// this repository. What is new is fetched. A digest that is cached is only asked about.
    ///
    /// # Errors
    /// [`Error::NotACache`] for a hosted repository, that an upstream which decides about its users gives nothing to whoever orders, and whatever the upstream does instead of answering.
    pub async fn refresh(&self, reference: &TagOrDigest) -> Result<Refreshed, Error> {
        match &self.kind {
            Kind::Proxied(proxied) => {
                self.authorize_order(proxied, Subject::Manifest(reference.clone())).await?;
                self.admission(proxied).reference(reference).await?;
                proxied.refresh(&self.registry, reference).await
            }
            Kind::Hosted => Err(Error::NotACache { name: self.name.clone() }),
        }
    }
}

impl Proxied {
    async fn refresh(&self, registry: &Arc<Registry>, reference: &TagOrDigest) -> Result<Refreshed, Error> {
        let metadata = &registry.cache.metadata;
        let before = match reference {
            TagOrDigest::Tag(tag) => metadata.tag(&self.cached_name, tag).await?.map(|row| row.digest),
            TagOrDigest::Digest(digest) => metadata.manifest(&self.cached_name, digest).await?.map(|row| row.digest),
        };
        let subject = Subject::Manifest(reference.clone());
        let asked = if let (TagOrDigest::Digest(digest), Some(_)) = (reference, &before) {
            self.forget_answers(registry);
            let head = self.remote.head_manifest(&self.upstream_name, reference, Some(digest)).await;
            let head = self.metrics.count_upstream(head).map_err(|error| self.error_of(error, &subject));
            head.map(|_head| digest.clone())
        } else {
            // An answer that was asked for before this order does not count, and must not undo what comes of it.
            registry.manifest_flights.ended(&self.question(subject)).await;
            self.forget_answers(registry);
            let (proxied, shared, reference) = (self.clone(), Arc::clone(registry), reference.clone());
            // A task of its own: who orders and leaves has ordered.
            let asking = registry.tasks.spawn(async move { proxied.ask(&shared, &reference).await });
            asking.await.map_err(|_| Error::Interrupted)?.map(|pulled| pulled.manifest.digest)
        };
        let after = match asked {
            Ok(digest) => Some(digest),
            Err(error) if matches!(error.root(), Error::ManifestUnknown { .. }) => None,
            Err(error) => return Err(error),
        };
        tracing::info!(
            repository.name = %self.name, %reference, remote.name = self.remote.name(),
            before = before.as_ref().map(tracing::field::display), after = after.as_ref().map(tracing::field::display),
            "refreshed"
        );
        Ok(Refreshed { before, after })
    }
}
