//! Manifests, and which one a tag stands for.
//!
//! A manifest by digest is believed for ever. A tag is answered from the cache within its fresh window. After it the upstream is asked once,
//! for everybody who asks at the time: a HEAD that says what is known, and a GET, by the digest that the HEAD named, only when
//! that is new. Who has something cached is not kept waiting for an upstream that does not answer.

use std::sync::Arc;

use entrepot_metadata::{Deletion, ManifestPush, ManifestRow, ProtectedTags, ReferenceCheck, TagCondition, Timestamp};
use entrepot_oci::{Digest, Tag, TagOrDigest};
use entrepot_upstream::FetchedManifest;

use super::Proxied;
use crate::content::{CacheStatus, PulledManifest};
use crate::freshness::{Budget, Standing};
use crate::memory::Subject;
use crate::{Error, Freshness, OnUpstream404, Registry};

/// What is cached of a tag.
struct CachedTag {
    manifest: ManifestRow,
    confirmed_at: Timestamp,
}

impl Proxied {
    pub(super) async fn manifest_by_digest(
        &self,
        registry: &Arc<Registry>,
        digest: &Digest,
    ) -> Result<PulledManifest, Error> {
        if let Some(manifest) = registry.cache.metadata.manifest(&self.cached_name, digest).await? {
            return Ok(PulledManifest { manifest, cache: CacheStatus::Hit, warning: None });
        }
        self.cold_manifest(registry, TagOrDigest::Digest(digest.clone())).await
    }

    pub(super) async fn manifest_by_tag(&self, registry: &Arc<Registry>, tag: &Tag) -> Result<PulledManifest, Error> {
        let Some(cached) = self.cached_tag(registry, tag).await? else {
            return self.cold_manifest(registry, TagOrDigest::Tag(tag.clone())).await;
        };
        match self.standing(registry, tag, &cached) {
            Standing::Fresh => {
                self.metrics.tags_believed.inc();
                Ok(PulledManifest { manifest: cached.manifest, cache: CacheStatus::Hit, warning: None })
            }
            Standing::Due => self.due_manifest(registry, tag, cached).await,
            Standing::Expired => self.cold_manifest(registry, TagOrDigest::Tag(tag.clone())).await,
        }
    }

    fn standing(&self, registry: &Registry, tag: &Tag, cached: &CachedTag) -> Standing {
        let budget = self.remote.rate_limit().and_then(Budget::told);
        self.freshness(registry, tag).standing(cached.confirmed_at, registry.clock.now(), budget)
    }

    pub(super) fn freshness(&self, registry: &Registry, tag: &Tag) -> Freshness {
        registry.settings.freshness_of(self.remote.name(), &self.upstream_name.name, tag)
    }

    async fn cached_tag(&self, registry: &Registry, tag: &Tag) -> Result<Option<CachedTag>, Error> {
        let metadata = &registry.cache.metadata;
        let Some(row) = metadata.tag(&self.cached_name, tag).await? else { return Ok(None) };
        // Gone in between: then nothing is cached.
        let manifest = metadata.manifest(&self.cached_name, &row.digest).await?;
        Ok(manifest.map(|manifest| CachedTag { manifest, confirmed_at: row.confirmed_at }))
    }

    /// A manifest that nothing cached can stand in for: the upstream's answer is waited for, and is the answer.
    async fn cold_manifest(&self, registry: &Arc<Registry>, reference: TagOrDigest) -> Result<PulledManifest, Error> {
        self.check_refused(registry, &self.question(Subject::Manifest(reference.clone())))?;
        self.ask_together(registry, &reference).await
    }

    /// Asks the upstream, together with whoever is asking it the same.
    async fn ask_together(&self, registry: &Arc<Registry>, reference: &TagOrDigest) -> Result<PulledManifest, Error> {
        let question = self.question(Subject::Manifest(reference.clone()));
        registry.manifest_flights.join(question, || self.flight(registry, reference)).await
    }

    fn flight(
        &self,
        registry: &Arc<Registry>,
        reference: &TagOrDigest,
    ) -> impl Future<Output = Result<PulledManifest, Error>> + Send + 'static {
        let (proxied, registry, reference) = (self.clone(), Arc::clone(registry), reference.clone());
        async move {
            // Whoever looked before the last flight landed, and is too late for it, need not ask what it was told.
            let landed = || proxied.landed_meanwhile(&registry, &reference);
            let ask = || proxied.ask(&registry, &reference);
            if proxied.remote.is_asked_as_caller() {
                // What one account is told is not for another, whichever replica it comes to.
                return match landed().await? {
                    Some(pulled) => Ok(pulled),
                    None => ask().await,
                };
            }
            let subject = format!("{} {reference}", proxied.cached_name);
            registry.ask_among(&subject, landed, ask).await
        }
    }

    /// What is cached by now and needs no question.
    async fn landed_meanwhile(
        &self,
        registry: &Registry,
        reference: &TagOrDigest,
    ) -> Result<Option<PulledManifest>, Error> {
        let manifest = match reference {
            TagOrDigest::Digest(digest) => registry.cache.metadata.manifest(&self.cached_name, digest).await?,
            TagOrDigest::Tag(tag) => {
                let cached = self.cached_tag(registry, tag).await?;
                cached
                    .filter(|cached| self.standing(registry, tag, cached) == Standing::Fresh)
                    .map(|cached| cached.manifest)
            }
        };
        Ok(manifest.map(|manifest| PulledManifest { manifest, cache: CacheStatus::Hit, warning: None }))
    }

    /// A cached tag whose window is over. What the upstream says within a moment counts, and otherwise the cached one stands in.
    async fn due_manifest(
        &self,
        registry: &Arc<Registry>,
        tag: &Tag,
        cached: CachedTag,
    ) -> Result<PulledManifest, Error> {
        let freshness = self.freshness(registry, tag);
        let reference = TagOrDigest::Tag(tag.clone());
        let question = self.question(Subject::Manifest(reference.clone()));
        if let Some(refusal) = registry.memory.refusals.fresh(&question, registry.clock.now()) {
            self.metrics.refusals_repeated.inc();
            return self.stand_in(cached, &freshness, self.refused(refusal, &question.subject));
        }
        let flight = || self.flight(registry, &reference);
        match registry.manifest_flights.join_within(question, self.patience(registry), flight).await {
            Some(Ok(pulled)) => Ok(pulled),
            Some(Err(error)) => self.stand_in(cached, &freshness, error),
            None => {
                self.lose_patience(registry);
                let reason = format!("{} has not answered yet, this is the last known answer", self.remote.name());
                Ok(cached.stale(&reason))
            }
        }
    }

    /// The cached tag in the place of an answer, where the upstream could not be asked or its 404 is not taken for an order.
    fn stand_in(&self, cached: CachedTag, freshness: &Freshness, error: Error) -> Result<PulledManifest, Error> {
        let upstream = self.remote.name();
        let reason = match (error.root(), freshness.on_upstream_404) {
            (Error::ManifestUnknown { .. }, OnUpstream404::Keep) => format!("{upstream} no longer has this tag"),
            (Error::Upstream { .. } | Error::Interrupted, _) => {
                format!("{upstream} could not be asked, this is the last known answer")
            }
            _ => return Err(error),
        };
        Ok(cached.stale(&reason))
    }

    /// Asks the upstream for a manifest, and remembers how that ended.
    pub(super) async fn ask(&self, registry: &Registry, reference: &TagOrDigest) -> Result<PulledManifest, Error> {
        let outcome = match reference {
            TagOrDigest::Digest(_) => self.fetch(registry, reference, None).await,
            TagOrDigest::Tag(tag) => self.ask_for_tag(registry, tag, reference).await,
        };
        self.remember(registry, &self.question(Subject::Manifest(reference.clone())), &outcome);
        if let (TagOrDigest::Tag(tag), Err(error)) = (reference, &outcome) {
            self.unconfirmed(registry, tag, error).await;
        }
        outcome
    }

    /// Where the tag points now, as the upstream says: one HEAD, and a GET only for a manifest that is not here yet.
    async fn ask_for_tag(
        &self,
        registry: &Registry,
        tag: &Tag,
        reference: &TagOrDigest,
    ) -> Result<PulledManifest, Error> {
        let cached = self.cached_tag(registry, tag).await?;
        let known = cached.as_ref().map(|cached| &cached.manifest.digest);
        let head = self.remote.head_manifest(&self.upstream_name, reference, known).await;
        let head = self.metrics.count_upstream(head);
        let head = head.map_err(|error| self.error_of(error, &Subject::Manifest(reference.clone())))?;
        let Some(digest) = head.digest else { return self.fetch(registry, reference, Some(tag)).await };
        if let Some(manifest) = registry.cache.metadata.manifest(&self.cached_name, &digest).await? {
            self.confirm(registry, tag, &digest).await;
            return Ok(PulledManifest { manifest, cache: CacheStatus::Hit, warning: None });
        }
        // By the digest that was just named: a tag that moves in between cannot mix two answers.
        match self.fetch(registry, &TagOrDigest::Digest(digest), Some(tag)).await {
            Err(Error::ManifestUnknown { .. }) => self.fetch(registry, reference, Some(tag)).await,
            outcome => outcome,
        }
    }

    /// Fetches a manifest, and points `tag` at it.
    async fn fetch(
        &self,
        registry: &Registry,
        reference: &TagOrDigest,
        tag: Option<&Tag>,
    ) -> Result<PulledManifest, Error> {
        let fetched = self.metrics.count_upstream(self.remote.get_manifest(&self.upstream_name, reference).await);
        let fetched = fetched.map_err(|error| self.error_of(error, &Subject::Manifest(reference.clone())))?;
        Ok(self.keep(registry, fetched, tag).await)
    }

    /// Points the tag at a manifest that is here, and notes when that was confirmed. That it could not be noted is no reason to
    /// withhold the answer: the upstream is asked again.
    async fn confirm(&self, registry: &Registry, tag: &Tag, digest: &Digest) {
        let now = registry.clock.now();
        if let Err(error) = registry.cache.metadata.confirm_tag(&self.cached_name, tag, digest, now).await {
            tracing::warn!(
                repository.name = %self.name, %tag, %digest, error = &error as &dyn std::error::Error,
                "that a tag was confirmed could not be noted"
            );
        }
    }

    /// Keeps a fetched manifest. That it could not be kept is no reason to withhold it: it has been verified.
    async fn keep(&self, registry: &Registry, fetched: FetchedManifest, tag: Option<&Tag>) -> PulledManifest {
        let FetchedManifest { manifest, digest } = fetched;
        let row = ManifestRow {
            digest: digest.clone(),
            media_type: manifest.media_type().clone(),
            bytes: manifest.bytes().clone(),
        };
        let push = ManifestPush {
            repository: self.cached_name.clone(),
            digest,
            manifest,
            tags: tag.cloned().into_iter().collect(),
            references: ReferenceCheck::Lazy,
            unmovable: Vec::new(),
            may_create_tags: true,
            condition: TagCondition::None,
            now: registry.clock.now(),
        };
        if let Err(error) = registry.cache.metadata.push_manifest(push).await {
            tracing::warn!(
                repository.name = %self.name, digest = %row.digest, error = &error as &dyn std::error::Error,
                "a fetched manifest could not be cached and is passed on uncached"
            );
        }
        PulledManifest { manifest: row, cache: CacheStatus::Miss, warning: None }
    }

    /// What follows for a cached tag that the upstream did not confirm: it stays, unless the operator takes a 404 for an order. Logged
    /// here, once for all who are answered.
    async fn unconfirmed(&self, registry: &Registry, tag: &Tag, error: &Error) {
        let metadata = &registry.cache.metadata;
        let is_gone = matches!(error.root(), Error::ManifestUnknown { .. });
        let is_forgotten = is_gone && self.freshness(registry, tag).on_upstream_404 == OnUpstream404::Forget;
        let outcome = if is_forgotten {
            // The manifest stays, for those who have its digest, until it is evicted.
            let deletion = metadata.delete_tag(&self.cached_name, tag, &ProtectedTags::default()).await;
            deletion.map(|deletion| matches!(deletion, Deletion::Done { .. }))
        } else {
            metadata.tag(&self.cached_name, tag).await.map(|row| row.is_some())
        };
        let (upstream, cause) = (self.remote.name(), error as &dyn std::error::Error);
        match outcome {
            // There was nothing cached.
            Ok(false) => {}
            Ok(true) if is_forgotten => tracing::info!(
                repository.name = %self.name, %tag, remote.name = upstream,
                "a cached tag was forgotten: the upstream no longer has it"
            ),
            Ok(true) => tracing::warn!(
                repository.name = %self.name, %tag, remote.name = upstream, error = cause,
                "the upstream did not confirm a cached tag: it is answered as stale"
            ),
            Err(failure) => tracing::error!(
                repository.name = %self.name, %tag, remote.name = upstream,
                error = &failure as &dyn std::error::Error, "a cached tag could not be looked at"
            ),
        }
    }
}

impl CachedTag {
    fn stale(self, reason: &str) -> PulledManifest {
        let warning = Some(format!("stale: {reason}"));
        PulledManifest { manifest: self.manifest, cache: CacheStatus::Stale, warning }
    }
}
