//! Whether content may be pulled through: the facts for the rules of the operator, and what follows from their verdict.
//!
//! Every way to content of another registry asks here, be it cached or not: manifests, blobs and parts of them by GET and HEAD, lists
//! of tags, referrers, mounts. What the rules can decide about a repository, a tag or an upstream is decided before the
//! upstream is asked; type, size and age as soon as the manifest is known, and before anything of it is answered.
//!
//! A tag that is asked for is judged as that tag. A digest is judged as each of the tags that lead to it here, directly or through an
//! index, and passes when it may as one of them; a digest that no tag leads to has no tag. So a list of allowed tags with a
//! denial of the rest holds for digests as well. A denial of some tags is one of names: content that is had under another tag, or
//! whose digest is known from elsewhere, is not refused by it.
//!
//! A blob is judged with the manifests of its repository that name it: by its own type and size, and by the tags and the age of the
//! image. It passes when it may with one of them. A blob that no manifest here names has no type, age or tag.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::{ManifestRow, Timestamp};
use entrepot_oci::{Digest, Manifest, ManifestKind, MediaType, ReferenceKind, RepositoryName, Tag, TagOrDigest};
use futures_util::TryStreamExt;

use crate::created::{CREATED_ANNOTATION, Created, date_of_config, parse_date};
use crate::limits::{CONFIG_BYTES_MAX, NAMING_MANIFESTS_MAX};
use crate::policy::{Fact, Facts, Judgement, Matched, Verdict, deciding, judge};
use crate::proxied::Proxied;
use crate::settings::{PolicyAction, PolicyRule};
use crate::{Error, Registry};

/// The rules as they are for one repository of another registry.
pub(crate) struct Admission<'a> {
    registry: &'a Arc<Registry>,
    proxied: &'a Proxied,
    /// The repository as it was asked for.
    name: &'a RepositoryName,
}

/// Whether a verdict stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It may pass.
    Yes,
    /// So far; what hangs on facts that were not known has to be asked again.
    SoFar,
}

impl<'a> Admission<'a> {
    pub(crate) const fn new(registry: &'a Arc<Registry>, proxied: &'a Proxied, name: &'a RepositoryName) -> Self {
        Self { registry, proxied, name }
    }

    /// Judges a manifest before its upstream is asked.
    pub(crate) async fn reference(&self, reference: &TagOrDigest) -> Result<Admitted, Error> {
        if self.rules().is_empty() {
            return Ok(Admitted::Yes);
        }
        let ways = self.ways_of(reference).await?;
        let ways: Vec<Facts<'_>> =
            ways.iter().map(|tag| self.facts(Fact::Known(tag.as_ref().map(Tag::as_str)))).collect();
        self.decide(&ways, reference.to_string())
    }

    /// Judges a manifest that is known now.
    pub(crate) async fn manifest(&self, reference: &TagOrDigest, row: &ManifestRow) -> Result<(), Error> {
        let image = self.image(row, &self.ways_of(reference).await?).await?;
        let ways: Vec<Facts<'_>> = image.ways(self, image.media_type.as_str(), image.size);
        self.decide(&ways, reference.to_string()).map(|_| ())
    }

    /// Judges a blob, before its upstream is asked for it.
    pub(crate) async fn blob(&self, digest: &Digest) -> Result<(), Error> {
        if self.rules().is_empty() || self.decide(&[self.facts(Fact::Pending)], digest.to_string())? == Admitted::Yes {
            return Ok(());
        }
        let metadata = &self.registry.cache.metadata;
        let naming = metadata.naming_manifests(self.proxied.cached_name(), digest, NAMING_MANIFESTS_MAX).await?;
        let mut images = Vec::new();
        for row in naming {
            let tags = self.ways_of(&TagOrDigest::Digest(row.digest.clone())).await?;
            images.push(self.image(&row, &tags).await?);
        }
        let described: Vec<(&Image, &str, u64)> =
            images.iter().filter_map(|image| image.described(digest).map(|(kind, size)| (image, kind, size))).collect();
        let ways: Vec<Facts<'_>> =
            described.iter().flat_map(|(image, media_type, size)| image.ways(self, media_type, *size)).collect();
        if !ways.is_empty() {
            return self.decide(&ways, digest.to_string()).map(|_| ());
        }
        let mut unnamed = self.facts(Fact::Known(None));
        (unnamed.media_type, unnamed.age) = (Fact::Missing, Fact::Missing);
        if self.decide(&[unnamed], digest.to_string())? == Admitted::SoFar {
            unnamed.size = self.size_of_unnamed(digest).await?.map_or(Fact::Missing, Fact::Known);
            self.decide(&[unnamed], digest.to_string())?;
        }
        Ok(())
    }

    /// Judges the repository as a whole: whether its tags may be listed.
    pub(crate) fn repository(&self) -> Result<(), Error> {
        self.decide(&[self.facts(Fact::Pending)], "the list of tags".to_owned()).map(|_| ())
    }

    /// The rule that decides about a reference by its name alone, if one does.
    pub(crate) fn deciding_rule(&self, reference: &TagOrDigest) -> Option<&'a str> {
        let tag = match reference {
            TagOrDigest::Tag(tag) => Some(tag.as_str()),
            TagOrDigest::Digest(_) => None,
        };
        deciding(self.rules(), &self.facts(Fact::Known(tag)))
    }

    /// Whether a tag is listed: one that would be refused whatever it points to is not.
    pub(crate) fn lists(&self, tag: &Tag) -> bool {
        let judgement = judge(self.rules(), &self.facts(Fact::Known(Some(tag.as_str()))));
        !matches!(judgement.verdict, Verdict::Denied(_))
    }

    fn rules(&self) -> &'a [PolicyRule] {
        &self.registry.settings.rules
    }

    fn facts<'f>(&'f self, tag: Fact<Option<&'f str>>) -> Facts<'f> {
        Facts::of(self.proxied.remote().name(), self.proxied.name_there().as_str(), tag)
    }

    /// Content passes when it may in one of the ways that lead to it. What hangs on a fact that is not known yet is no refusal.
    fn decide(&self, ways: &[Facts<'_>], subject: String) -> Result<Admitted, Error> {
        let judgements: Vec<Judgement<'a>> = ways.iter().map(|facts| judge(self.rules(), facts)).collect();
        if let Some(allowed) = judgements.iter().find(|judgement| judgement.verdict == Verdict::Allowed) {
            self.note(&allowed.logged, &subject);
            return Ok(Admitted::Yes);
        }
        if judgements.iter().any(|judgement| judgement.verdict == Verdict::Pending) {
            return Ok(Admitted::SoFar);
        }
        let Some(Judgement { verdict: Verdict::Denied(matched), logged }) = judgements.into_iter().next() else {
            return Ok(Admitted::Yes);
        };
        self.note(&logged, &subject);
        let Matched { rule, reason, .. } = matched;
        self.registry.metrics.policy_denied.inc();
        tracing::info!(repository.name = %self.name, subject, rule, reason, "refused by a rule");
        Err(Error::PolicyDenied { name: self.name.clone(), subject, rule: rule.to_owned(), reason })
    }

    fn note(&self, logged: &[Matched<'_>], subject: &str) {
        for Matched { rule, action, reason } in logged {
            if *action == PolicyAction::Deny {
                self.registry.metrics.policy_would_deny.inc();
            }
            let would = if *action == PolicyAction::Deny { "refuse" } else { "allow" };
            tracing::info!(
                repository.name = %self.name, subject, rule, reason, would,
                "a rule that only logs matched"
            );
        }
    }

    /// The tags that a reference is pulled as: the tag itself, or those that lead to the digest; one without a name where there is none.
    async fn ways_of(&self, reference: &TagOrDigest) -> Result<Vec<Option<Tag>>, Error> {
        let digest = match reference {
            TagOrDigest::Tag(tag) => return Ok(vec![Some(tag.clone())]),
            TagOrDigest::Digest(digest) => digest,
        };
        if self.rules().iter().all(|rule| rule.tags.is_empty()) {
            return Ok(vec![None]);
        }
        let (metadata, cached_name) = (&self.registry.cache.metadata, self.proxied.cached_name());
        let mut tags = HashSet::new();
        let mut seen = HashSet::from([digest.clone()]);
        let mut above = vec![digest.clone()];
        while let Some(digest) = above.pop() {
            tags.extend(metadata.manifest_tags(cached_name, &digest).await?);
            if seen.len() > NAMING_MANIFESTS_MAX {
                continue;
            }
            let naming = metadata.naming_manifests(cached_name, &digest, NAMING_MANIFESTS_MAX).await?;
            above.extend(naming.into_iter().map(|row| row.digest).filter(|digest| seen.insert(digest.clone())));
        }
        if tags.is_empty() {
            return Ok(vec![None]);
        }
        Ok(tags.into_iter().map(Some).collect())
    }

    /// What the rules can ask of a manifest.
    async fn image(&self, row: &ManifestRow, tags: &[Option<Tag>]) -> Result<Image, Error> {
        let manifest = Manifest::parse(row.bytes.clone(), Some(&row.media_type))?;
        let named = manifest.references().iter().map(|reference| reference.descriptor.size);
        let size = named.fold(row.bytes.len() as u64, u64::saturating_add);
        let age = if self.rules().iter().any(|rule| rule.younger_than.is_some()) {
            self.age(&row.digest, &manifest).await?
        } else {
            Fact::Missing
        };
        Ok(Image { media_type: row.media_type.clone(), size, age, tags: tags.to_vec(), manifest })
    }

    async fn age(&self, digest: &Digest, manifest: &Manifest) -> Result<Fact<Duration>, Error> {
        let known = self.registry.dates.get(digest);
        let created = if let Some(created) = known { created } else { self.date(digest, manifest).await?.into() };
        self.registry.dates.put(digest.clone(), created);
        Ok(match created {
            Created::At(date) => Fact::Known(age_at(self.registry.clock.now(), date)),
            Created::Untold if manifest.kind() == ManifestKind::Index => Fact::InParts,
            Created::Untold => Fact::Missing,
        })
    }

    /// The date in the image's configuration, or else in the manifest's annotations.
    ///
    /// The configuration comes through the cache like every blob: whoever may pull the image will want it next. That it cannot be
    /// had is an error and lets nothing pass.
    async fn date(&self, digest: &Digest, manifest: &Manifest) -> Result<Option<Timestamp>, Error> {
        let config = manifest
            .references()
            .iter()
            .find(|reference| reference.kind == ReferenceKind::Config && reference.descriptor.size <= CONFIG_BYTES_MAX);
        if let Some(config) = config.and_then(|reference| reference.descriptor.digest.known())
            && let Some(date) = date_of_config(&self.config(digest, config).await?)
        {
            return Ok(Some(date));
        }
        Ok(manifest.annotations().get(CREATED_ANNOTATION).and_then(|text| parse_date(text)))
    }

    async fn config(&self, manifest: &Digest, digest: &Digest) -> Result<Vec<u8>, Error> {
        let blob = self.proxied.blob(self.registry, digest).await?;
        let stream = blob.stream(None).await?;
        let gather = async |mut whole: Vec<u8>, piece: bytes::Bytes| {
            whole.extend_from_slice(&piece);
            Ok(whole)
        };
        // No larger than the manifest says, and that was looked at.
        stream.try_fold(Vec::new(), gather).await.map_err(|source| Error::ConfigUnreadable {
            manifest: manifest.clone(),
            digest: digest.clone(),
            source,
        })
    }

    async fn size_of_unnamed(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        if let Some(link) = self.registry.cache.metadata.blob(self.proxied.cached_name(), digest).await? {
            return Ok(Some(link.size));
        }
        let size = self.proxied.told_blob_size(digest).await;
        size.map_err(|error| self.proxied.blob_error(error, digest))
    }
}

/// A manifest with what the rules can ask of it.
struct Image {
    media_type: MediaType,
    size: u64,
    age: Fact<Duration>,
    tags: Vec<Option<Tag>>,
    manifest: Manifest,
}

impl Image {
    /// The facts of the manifest, or of a blob of it, as each of its tags.
    fn ways<'f>(&'f self, admission: &'f Admission<'_>, media_type: &'f str, size: u64) -> Vec<Facts<'f>> {
        let way = |tag: &'f Option<Tag>| Facts {
            media_type: Fact::Known(media_type),
            size: Fact::Known(size),
            age: self.age,
            ..admission.facts(Fact::Known(tag.as_ref().map(Tag::as_str)))
        };
        self.tags.iter().map(way).collect()
    }

    /// The type and size of a blob as the manifest describes it.
    fn described(&self, digest: &Digest) -> Option<(&str, u64)> {
        let mut descriptors = self.manifest.references().iter().map(|reference| &reference.descriptor);
        let descriptor = descriptors.find(|descriptor| descriptor.digest.known() == Some(digest))?;
        let media_type = descriptor.media_type.as_ref().map_or(MediaType::OCTET_STREAM, MediaType::as_str);
        Some((media_type, descriptor.size))
    }
}

/// A date that is still to come is as young as can be.
fn age_at(now: Timestamp, date: Timestamp) -> Duration {
    let milliseconds = now.milliseconds().saturating_sub(date.milliseconds());
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}
