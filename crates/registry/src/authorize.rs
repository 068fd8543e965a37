//! Whether an upstream lets the caller pull, where it is asked with the caller's account: it decides about its own users, also about
//! what is cached.
//!
//! Every way to content of such a repository asks here first: manifests, blobs and parts of them by GET and HEAD, by tag and by digest,
//! lists of tags, referrers, mounts. The account is tried at the upstream, for the very thing that is asked for. What the upstream
//! allows holds for the whole repository for a minute; what it refuses, for that one thing. A refusal and an absence are one
//! answer, so that nobody learns what exists. Somebody without an account there is asked about as nobody.
//!
//! **An upstream that cannot be asked has allowed nothing.** Nothing is answered from the cache then, but to those whom it has allowed
//! it a moment ago.
//!
//! For every other upstream this costs the look at one field.

use std::sync::Arc;

use entrepot_oci::TagOrDigest;
use entrepot_upstream::Wish;

use crate::limits::PERMISSION_LIFETIME;
use crate::memory::{Refusal, Subject};
use crate::proxied::Proxied;
use crate::repository::Kind;
use crate::{Error, Registry, Repository};

impl Repository {
    /// Whether an upstream decides who may have this, so that an answer must not be kept or shared by anything on its way.
    pub fn is_judged_by_upstream(&self) -> bool {
        match &self.kind {
            Kind::Proxied(proxied) => proxied.is_judged_by_upstream(),
            Kind::Hosted => false,
        }
    }

    /// Lets pass whom the upstream lets pull `subject`.
    ///
    /// # Errors
    /// That `subject` is unknown, and whatever keeps the upstream from saying yes or no.
    pub(crate) async fn authorize(&self, proxied: &Proxied, subject: Subject) -> Result<(), Error> {
        if proxied.is_judged_by_upstream() { proxied.authorize(&self.registry, subject).await } else { Ok(()) }
    }

    /// The same for an order of the operator, who has no account anywhere and is told so.
    pub(crate) async fn authorize_order(&self, proxied: &Proxied, subject: Subject) -> Result<(), Error> {
        let authorized = self.authorize(proxied, subject).await;
        authorized.map_err(|error| match error.root() {
            Error::Upstream { .. } => error,
            _ => self.only_for_callers().unwrap_or(error),
        })
    }

    /// Why an order may find nothing where a pull finds something; `None` where both ask alike.
    pub(crate) fn only_for_callers(&self) -> Option<Error> {
        match &self.kind {
            Kind::Proxied(proxied) if proxied.is_judged_by_upstream() && proxied.remote().caller().is_none() => {
                let (name, upstream) = (self.name.clone(), proxied.remote().name().to_owned());
                Some(Error::OnlyForCallers { name, upstream })
            }
            Kind::Proxied(_) | Kind::Hosted => None,
        }
    }
}

impl Proxied {
    pub(crate) fn is_judged_by_upstream(&self) -> bool {
        self.remote().is_asked_as_caller()
    }

    async fn authorize(&self, registry: &Arc<Registry>, subject: Subject) -> Result<(), Error> {
        let holder = (self.cached_name().clone(), self.remote().caller());
        if registry.memory.permissions.fresh(&holder, registry.clock.now()).is_some() {
            return Ok(());
        }
        let question = self.question(subject);
        self.check_refused(registry, &question)?;
        let flight = {
            let (proxied, registry, subject) = (self.clone(), Arc::clone(registry), question.subject.clone());
            move || async move { proxied.ask_permission(&registry, subject).await }
        };
        match registry.permission_flights.join(question.clone(), flight).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                tracing::info!(
                    repository.name = %self.name(), remote.name = self.remote().name(), subject = ?question.subject,
                    has_account = self.remote().caller().is_some(), "the upstream does not let the caller have this"
                );
                Err(self.refused(Refusal::NotFound, &question.subject))
            }
            Err(error) => {
                tracing::warn!(
                    repository.name = %self.name(), remote.name = self.remote().name(),
                    error = &error as &dyn std::error::Error,
                    "nothing is answered, cached or not: the upstream cannot be asked whether the caller may have it"
                );
                Err(error)
            }
        }
    }

    /// Asks the upstream, and remembers what it says, from when it was asked.
    async fn ask_permission(&self, registry: &Registry, subject: Subject) -> Result<bool, Error> {
        let now = registry.clock.now();
        let about = match &subject {
            Subject::Manifest(reference) => Some(reference.clone()),
            // Of what is about a manifest, the manifest is asked for: many registries have no list of referrers.
            Subject::Referrers(digest) => Some(TagOrDigest::Digest(digest.clone())),
            Subject::Blob(_) | Subject::Tags => None,
        };
        let wish = match (&about, &subject) {
            (Some(reference), _) => Wish::Manifest(reference),
            (None, Subject::Blob(digest)) => Wish::Blob(digest),
            (None, _) => Wish::Tags,
        };
        let answer = self.metrics().count_upstream(self.remote().allows(self.remote_repository(), wish).await);
        let is_allowed = answer.map_err(|error| self.error_of(error, &subject))?;
        let memory = &registry.memory;
        if is_allowed {
            let holder = (self.cached_name().clone(), self.remote().caller());
            // What was refused before may have been so for want of the right.
            memory.refusals.forget_all(|question| (&question.repository, &question.caller) == (&holder.0, &holder.1));
            memory.permissions.put(holder, (), 0, PERMISSION_LIFETIME, now);
        } else if let Some(lifetime) = Refusal::NotFound.lifetime(&subject) {
            memory.refusals.put(self.question(subject), Refusal::NotFound, 0, lifetime, now);
        }
        Ok(is_allowed)
    }
}
