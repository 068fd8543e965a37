//! Tags and referrers: the upstream's, remembered for a moment, together with those that are cached.

use std::cmp::Ordering;
use std::sync::Arc;

use entrepot_metadata::{MissingOr, Page, Timestamp};
use entrepot_oci::{Digest, Referrer, Tag};

use super::Proxied;
use crate::content::Listing;
use crate::limits::{LIST_FRESH_FOR, REFERRERS_BATCH, TAGS_BATCH};
use crate::lists::PageCut;
use crate::memory::{Listed, Lists, Question, Subject};
use crate::{Error, OnUpstream404, Registry};

/// What an upstream lists.
enum Consulted<T> {
    /// As it is now, or was a moment ago.
    Current(Listed<T>),
    /// It could not be asked, or has not answered yet: what it listed before.
    Away { last: Listed<T>, why: Away },
}

/// Why an upstream's list is not here.
enum Away {
    Slow,
    Failed(Error),
}

impl Proxied {
    /// The upstream's tags and the cached ones, behind `after`.
    pub(crate) async fn tags(
        &self,
        registry: &Arc<Registry>,
        after: Option<Tag>,
        limit: usize,
    ) -> Result<Listing<Tag>, Error> {
        let has_cached = !self.cached_tags(registry, None, 1).await?.is_empty();
        // Where no list is remembered, an empty one stands in from before everything: all that is cached was confirmed since.
        let nothing = || Listed { entries: Arc::default(), at: Timestamp::from_milliseconds(i64::MIN) };
        let question = self.question(Subject::Tags);
        let ask = |proxied: Self| async move {
            let tags = proxied.metrics.count_upstream(proxied.remote.tags(&proxied.upstream_name).await);
            tags.map_err(|error| proxied.error_of(error, &Subject::Tags))
        };
        let lists = &registry.memory.tags;
        let (listed, warning) = match self.consult(registry, lists, question, has_cached.then(nothing), ask).await? {
            Consulted::Current(listed) => (listed, None),
            // The upstream says that it has none: what is cached is no longer listed there.
            Consulted::Away { why: Away::Failed(error), .. } if is_repository_unknown(&error) => {
                let listed = Listed { entries: Arc::default(), at: registry.clock.now() };
                if self.kept_tags(registry, &listed, None, 1).await?.is_empty() {
                    return Err(error);
                }
                (listed, Some("no longer has this repository, these are the cached tags"))
            }
            Consulted::Away { last, why } => (last, Some(why.warning())),
        };
        let behind = after.as_ref().map_or(0, |after| listed.entries.partition_point(|tag| tag <= after));
        let mut tags = self.kept_tags(registry, &listed, after, limit + 1).await?;
        tags.extend(listed.entries[behind..].iter().take(limit + 1).cloned());
        tags.sort_unstable();
        tags.dedup();
        let mut listing = Listing::from_overfull(tags, limit);
        listing.warning = warning.map(|warning| self.stale_list(warning));
        Ok(listing)
    }

    /// The upstream's manifests about `subject` and the cached ones, behind `after`. An upstream that cannot be asked is an error:
    /// "no signatures" must not be a lie. Only what it listed itself a while ago may stand in, marked as stale.
    pub(crate) async fn referrers(
        &self,
        registry: &Arc<Registry>,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<Digest>,
    ) -> Result<Listing<Referrer>, Error> {
        let question = self.question(Subject::Referrers(subject.clone()));
        let asked = subject.clone();
        let ask = |proxied: Self| async move {
            let referrers = proxied.remote.referrers(&proxied.upstream_name, &asked).await;
            match proxied.metrics.count_upstream(referrers) {
                Ok(mut referrers) => {
                    referrers.sort_unstable_by(by_digest);
                    referrers.dedup_by(|one, other| one.digest == other.digest);
                    Ok(referrers)
                }
                Err(entrepot_upstream::Error::NotFound { .. }) => Ok(Vec::new()),
                Err(error) => Err(proxied.error_of(error, &Subject::Referrers(asked))),
            }
        };
        let lists = &registry.memory.referrers;
        let (listed, warning) = match self.consult(registry, lists, question, None, ask).await? {
            Consulted::Current(listed) => (listed, None),
            Consulted::Away { last, why } => (last, Some(why.warning())),
        };
        let is_wanted = |referrer: &&Referrer| {
            artifact_type.is_none_or(|wanted| referrer.artifact_type.as_deref() == Some(wanted))
                && after.as_ref().is_none_or(|after| referrer.digest > *after)
        };
        let listed: Vec<&Referrer> = listed.entries.iter().filter(is_wanted).collect();
        let mut listing = self.with_cached_referrers(registry, &listed, subject, artifact_type, after.clone()).await?;
        listing.warning = warning.map(|warning| self.stale_list(warning));
        Ok(listing)
    }

    /// Asks the upstream for a list, together with everybody who wants it, unless it was asked a moment ago. Who has a list that
    /// may stand in, a remembered one or else `fallback`, is not kept waiting for long.
    async fn consult<T, F>(
        &self,
        registry: &Arc<Registry>,
        lists: &Arc<Lists<T>>,
        question: Question,
        fallback: Option<Listed<T>>,
        ask: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<Consulted<T>, Error>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<Vec<T>, Error>> + Send + 'static,
    {
        let now = registry.clock.now();
        if let Some(listed) = lists.remembered.fresh(&question, now) {
            self.metrics.lists_repeated.inc();
            return Ok(Consulted::Current(listed));
        }
        let freshness = registry.settings.upstream_freshness(self.remote.name());
        let last = lists.remembered.last(&question).filter(|last| freshness.may_stand_in(last.at, now));
        let last = last.or(fallback);
        let refusal = registry.memory.refusals.fresh(&question, now);
        if let Some(refusal) = refusal.filter(|refusal| last.is_some() || refusal.is_definite()) {
            self.metrics.refusals_repeated.inc();
            let error = self.refused(refusal, &question.subject);
            return match last {
                Some(last) => Ok(Consulted::Away { last, why: Away::Failed(error) }),
                None => Err(error),
            };
        }
        let flight = {
            let (proxied, registry) = (self.clone(), Arc::clone(registry));
            let (lists, question, stands_in) = (Arc::clone(lists), question.clone(), last.is_some());
            move || async move {
                // Whoever looked before the last flight landed, and is too late for it, need not ask what it was told.
                if let Some(listed) = lists.remembered.fresh(&question, registry.clock.now()) {
                    return Ok(listed);
                }
                let entries = ask(proxied.clone()).await;
                proxied.remember(&registry, &question, &entries);
                if let (Err(error), true) = (&entries, stands_in) {
                    // Once, for everybody who is answered; where nothing stands in, the failure is the answer and logged with it.
                    tracing::warn!(
                        repository.name = %proxied.name, remote.name = proxied.remote.name(),
                        error = error as &dyn std::error::Error,
                        "the upstream did not give a list: what is known of it is answered as stale"
                    );
                }
                let listed = Listed { entries: entries?.into(), at: registry.clock.now() };
                lists.put(question, listed.clone(), LIST_FRESH_FOR);
                Ok(listed)
            }
        };
        let Some(last) = last else {
            return lists.flights.join(question, flight).await.map(Consulted::Current);
        };
        Ok(match lists.flights.join_within(question, self.patience(registry), flight).await {
            Some(Ok(listed)) => Consulted::Current(listed),
            Some(Err(error)) => Consulted::Away { last, why: Away::Failed(error) },
            None => {
                self.lose_patience(registry);
                Consulted::Away { last, why: Away::Slow }
            }
        })
    }

    async fn cached_tags(&self, registry: &Registry, after: Option<Tag>, limit: usize) -> Result<Vec<Tag>, Error> {
        match registry.cache.metadata.tags(&self.cached_name, &Page { after, limit }).await? {
            MissingOr::Found(tags) => Ok(tags),
            MissingOr::Missing => Ok(Vec::new()),
        }
    }

    /// Up to `limit` cached tags behind `after`, without those that are forgotten because the upstream no longer lists them.
    async fn kept_tags(
        &self,
        registry: &Registry,
        listed: &Listed<Tag>,
        mut after: Option<Tag>,
        limit: usize,
    ) -> Result<Vec<Tag>, Error> {
        let mut kept = Vec::new();
        loop {
            let wanted = (limit - kept.len()).max(TAGS_BATCH);
            let batch = self.cached_tags(registry, after.take(), wanted).await?;
            let is_last = batch.len() < wanted;
            after = batch.last().cloned();
            for tag in batch {
                if self.is_kept(registry, listed, &tag).await? {
                    kept.push(tag);
                }
            }
            if is_last || kept.len() >= limit {
                return Ok(kept);
            }
        }
    }

    /// Whether a cached tag belongs on the list: it is on the upstream's, or it is kept whatever the upstream says, or it was
    /// confirmed since the upstream listed its tags.
    async fn is_kept(&self, registry: &Registry, listed: &Listed<Tag>, tag: &Tag) -> Result<bool, Error> {
        if listed.entries.binary_search(tag).is_ok()
            || self.freshness(registry, tag).on_upstream_404 == OnUpstream404::Keep
        {
            return Ok(true);
        }
        let row = registry.cache.metadata.tag(&self.cached_name, tag).await?;
        Ok(row.is_some_and(|row| row.confirmed_at > listed.at))
    }

    /// A page of `listed`, which is in order, and of the cached referrers. A batch at a time: annotations may be large.
    async fn with_cached_referrers(
        &self,
        registry: &Registry,
        listed: &[&Referrer],
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<Digest>,
    ) -> Result<Listing<Referrer>, Error> {
        let mut listed = listed;
        let mut cut = PageCut::default();
        let mut page = Page { after, limit: REFERRERS_BATCH };
        loop {
            let metadata = &registry.cache.metadata;
            let mut batch = metadata.referrers(&self.cached_name, subject, artifact_type, &page).await?;
            let is_last = batch.len() < REFERRERS_BATCH;
            page.after = batch.last().map(|referrer| referrer.digest.clone());
            let count = match &page.after {
                Some(last) if !is_last => listed.partition_point(|referrer| referrer.digest <= *last),
                _ => listed.len(),
            };
            let (now, later) = listed.split_at(count);
            listed = later;
            batch.extend(now.iter().map(|referrer| (*referrer).clone()));
            // Stable: of two that are the same, the cached one, which was verified, comes first and stays.
            batch.sort_by(by_digest);
            batch.dedup_by(|one, other| one.digest == other.digest);
            if !cut.take(batch) || is_last {
                return Ok(cut.listing);
            }
        }
    }

    fn stale_list(&self, warning: &str) -> String {
        self.metrics.cache_stale.inc();
        format!("stale: {} {warning}", self.remote.name())
    }
}

impl Away {
    const fn warning(&self) -> &'static str {
        match self {
            Self::Slow => "has not answered yet, this is what is known of its list",
            Self::Failed(_) => "could not be asked, this is what is known of its list",
        }
    }
}

fn by_digest(one: &Referrer, other: &Referrer) -> Ordering {
    one.digest.cmp(&other.digest)
}

fn is_repository_unknown(error: &Error) -> bool {
    matches!(error.root(), Error::RepositoryUnknown { .. })
}
