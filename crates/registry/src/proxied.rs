//! The proxied repository: what happens on a local miss, and when a tag is to be believed.
//!
//! Content is kept under the upstream's own address (its *origin*), so that every name that leads to one registry shares one
//! entry, and none survives the name being pointed elsewhere.
//!
//! This file has what a pull begins and ends with. Manifests and the freshness of tags are in `manifests.rs`, blobs in `blobs.rs`, tags
//! and referrers in `lists.rs`, asking whatever the windows say in `refresh.rs`.

mod blobs;
mod lists;
mod manifests;
mod refresh;

use std::sync::Arc;
use std::time::Duration;

use entrepot_oci::{Digest, RepositoryName, TagOrDigest};
use entrepot_upstream::{Remote, RemoteRepository, Via};

pub(crate) use self::blobs::advance;
pub use self::refresh::Refreshed;
use crate::content::{CacheStatus, PulledBlob, PulledManifest};
use crate::limits::{FAILURE_MEMORY, REVALIDATION_PATIENCE};
use crate::memory::{Question, Refusal, Subject};
use crate::{Error, Metrics, Registry};

/// A repository of another registry.
#[derive(Clone, Debug)]
pub(crate) struct Proxied {
    /// As it was asked for, `proxy/…`.
    name: RepositoryName,
    /// Where it comes from, as whoever asks sees it.
    remote: Arc<Remote>,
    /// What it is called there.
    upstream_name: RemoteRepository,
    /// What it is called in the cache: its origin and its name there.
    cached_name: RepositoryName,
    /// Where questions to the upstream are counted.
    metrics: Arc<Metrics>,
}

impl Proxied {
    pub(crate) fn new(
        name: &RepositoryName,
        remote: Arc<Remote>,
        repository: &RepositoryName,
        via: Via,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let upstream_name = RemoteRepository { name: remote.repository(repository), via };
        let too_long = |_| Error::ProxyNameTooLong { name: name.clone() };
        let cached_name = upstream_name.name.below(remote.origin()).map_err(too_long)?;
        Ok(Self { name: name.clone(), remote, upstream_name, cached_name, metrics })
    }

    pub(crate) const fn name(&self) -> &RepositoryName {
        &self.name
    }

    pub(crate) const fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    pub(crate) const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What it is called at its upstream.
    pub(crate) const fn name_there(&self) -> &RepositoryName {
        &self.upstream_name.name
    }

    /// The same with the caches before it.
    pub(crate) const fn remote_repository(&self) -> &RemoteRepository {
        &self.upstream_name
    }

    /// What a reference is at the upstream now, by one HEAD; `None` when it is there and no digest is told.
    pub(crate) async fn there_now(&self, reference: &TagOrDigest) -> Result<Option<Digest>, Error> {
        let head = self.remote.head_manifest(&self.upstream_name, reference, None).await;
        let head = self.metrics.count_upstream(head);
        head.map(|head| head.digest).map_err(|error| self.error_of(error, &Subject::Manifest(reference.clone())))
    }

    pub(crate) const fn cached_name(&self) -> &RepositoryName {
        &self.cached_name
    }

    /// Pulls a manifest.
    pub(crate) async fn manifest(
        &self,
        registry: &Arc<Registry>,
        reference: &TagOrDigest,
    ) -> Result<PulledManifest, Error> {
        let pulled = match reference {
            TagOrDigest::Digest(digest) => self.manifest_by_digest(registry, digest).await?,
            TagOrDigest::Tag(tag) => self.manifest_by_tag(registry, tag).await?,
        };
        self.pulled(pulled.cache);
        Ok(pulled)
    }

    /// Pulls a blob.
    pub(crate) async fn blob(&self, registry: &Registry, digest: &Digest) -> Result<PulledBlob, Error> {
        let pulled = self.stored_or_filled(registry, digest).await?;
        self.pulled(pulled.cache);
        Ok(pulled)
    }

    /// The size of a blob.
    pub(crate) async fn blob_size(&self, registry: &Registry, digest: &Digest) -> Result<(u64, CacheStatus), Error> {
        self.known_or_asked_size(registry, digest).await
    }

    /// Every manifest and blob that is answered passes here.
    fn pulled(&self, cache: CacheStatus) {
        match cache {
            CacheStatus::Own | CacheStatus::Hit => self.metrics.cache_hits.inc(),
            CacheStatus::Miss => self.metrics.cache_misses.inc(),
            CacheStatus::Stale => self.metrics.cache_stale.inc(),
        };
    }

    /// Forgets what is remembered of the upstream's refusals and lists for this repository: the next question is asked again.
    pub(crate) fn forget_answers(&self, registry: &Arc<Registry>) {
        registry.memory.forget_repository(&self.cached_name);
        registry.tell_to_forget(&self.cached_name);
    }

    pub(crate) fn question(&self, subject: Subject) -> Question {
        Question { repository: self.cached_name.clone(), subject, caller: self.remote.caller() }
    }

    /// Repeats what the upstream refused a moment ago, when that is its word and not an outage.
    pub(crate) fn check_refused(&self, registry: &Registry, question: &Question) -> Result<(), Error> {
        let remembered = registry.memory.refusals.fresh(question, registry.clock.now());
        match remembered.filter(Refusal::is_definite) {
            Some(refusal) => {
                self.metrics.refusals_repeated.inc();
                Err(self.refused(refusal, &question.subject))
            }
            None => Ok(()),
        }
    }

    /// Remembers how a question to the upstream ended, for whoever asks it next.
    pub(crate) fn remember<T>(&self, registry: &Registry, question: &Question, outcome: &Result<T, Error>) {
        let (memory, now) = (&registry.memory, registry.clock.now());
        let refusal = match outcome {
            Ok(_) => {
                memory.refusals.forget(question);
                self.trust(registry);
                return;
            }
            Err(error) => Refusal::of(error, &self.name),
        };
        let Some(refusal) = refusal.filter(Refusal::was_asked) else { return };
        if refusal.is_silence() {
            self.doubt(registry);
        } else {
            self.trust(registry);
        }
        if let Some(lifetime) = refusal.lifetime(&question.subject) {
            memory.refusals.put(question.clone(), refusal, 0, lifetime, now);
        }
    }

    /// Notes that the upstream answers. Whatever failed while it did not is worth asking again.
    fn trust(&self, registry: &Registry) {
        let (memory, origin) = (&registry.memory, self.remote.origin().to_owned());
        if memory.doubts.last(&origin).is_some() {
            memory.doubts.forget(&origin);
            memory
                .refusals
                .forget_all(|question| question.repository.split_first().is_some_and(|(first, _)| first == origin));
        }
    }

    /// Notes that the upstream says nothing; `false` when that was known.
    fn doubt(&self, registry: &Registry) -> bool {
        let (doubts, now) = (&registry.memory.doubts, registry.clock.now());
        let origin = self.remote.origin().to_owned();
        let is_new = doubts.fresh(&origin, now).is_none();
        doubts.put(origin, (), 0, FAILURE_MEMORY, now);
        is_new
    }

    /// How long a client waits for the upstream when something cached can stand in: not at all while the upstream says nothing.
    /// It is asked nevertheless, and an answer that comes later is there for those who come later.
    fn patience(&self, registry: &Registry) -> Duration {
        let is_doubted = registry.memory.doubts.fresh(&self.remote.origin().to_owned(), registry.clock.now()).is_some();
        if is_doubted { Duration::ZERO } else { REVALIDATION_PATIENCE }
    }

    /// Gives up waiting for the upstream and has something cached stand in.
    fn lose_patience(&self, registry: &Registry) {
        if self.doubt(registry) {
            tracing::warn!(
                repository.name = %self.name, remote.name = self.remote.name(),
                "the upstream is slow to answer: what is cached is answered until it does"
            );
        }
    }

    /// The error that a refusal is to whoever asked for `subject`.
    pub(crate) fn refused(&self, refusal: Refusal, subject: &Subject) -> Error {
        let name = self.name.clone();
        match (refusal, subject) {
            (Refusal::Upstream(source), _) => Error::Upstream { name, source },
            (Refusal::NotFound, Subject::Manifest(reference)) => {
                Error::ManifestUnknown { name, reference: reference.clone() }
            }
            (Refusal::NotFound, Subject::Blob(digest)) => Error::BlobUnknown { name, digest: digest.clone() },
            (Refusal::NotFound, Subject::Tags | Subject::Referrers(_)) => Error::RepositoryUnknown { name },
        }
    }

    /// The error that an upstream's error is to whoever asked for `subject`.
    pub(crate) fn error_of(&self, error: entrepot_upstream::Error, subject: &Subject) -> Error {
        let refusal = match error {
            entrepot_upstream::Error::NotFound { .. } => Refusal::NotFound,
            other => Refusal::Upstream(Arc::new(other)),
        };
        self.refused(refusal, subject)
    }
}
