//! Lists: tags and referrers, page by page.

use entrepot_metadata::{MissingOr, Page};
use entrepot_oci::{Digest, Referrer, Tag, TagOrDigest};

use crate::content::Listing;
use crate::limits::REFERRERS_BATCH;
use crate::memory::Subject;
use crate::proxied::Proxied;
use crate::registry::Store;
use crate::repository::Kind;
use crate::{Error, PAGE_MAX, REFERRERS_PAGE_BYTES_MAX, REFERRERS_PAGE_MAX, Repository};

impl Repository {
    /// Up to `limit` tags behind `after`, in byte order.
    pub async fn tags(&self, after: Option<Tag>, limit: usize) -> Result<Listing<Tag>, Error> {
        let limit = limit.min(PAGE_MAX);
        if let Kind::Proxied(proxied) = &self.kind {
            return self.tags_there(proxied, after, limit).await;
        }
        let page = Page { after, limit: limit + 1 };
        match self.registry.own.metadata.tags(&self.name, &page).await? {
            MissingOr::Missing => Err(Error::RepositoryUnknown { name: self.name.clone() }),
            MissingOr::Found(tags) => Ok(Listing::from_overfull(tags, limit)),
        }
    }

    /// The tags of an upstream, without those that a rule refuses whatever they point to. A page is filled from the next one as far as it
    /// goes: one that ended early would look like the last.
    async fn tags_there(&self, proxied: &Proxied, after: Option<Tag>, limit: usize) -> Result<Listing<Tag>, Error> {
        self.authorize(proxied, Subject::Tags).await?;
        let admission = self.admission(proxied);
        admission.repository()?;
        let mut listing = proxied.tags(&self.registry, after, limit).await?;
        let mut last = listing.entries.last().cloned();
        listing.entries.retain(|tag| admission.lists(tag));
        while listing.has_more && listing.entries.len() < limit {
            let next = proxied.tags(&self.registry, last, limit).await?;
            last = next.entries.last().cloned();
            let mut entries = next.entries;
            entries.retain(|tag| admission.lists(tag));
            listing.has_more = next.has_more || listing.entries.len() + entries.len() > limit;
            listing.entries.extend(entries);
            listing.entries.truncate(limit);
        }
        Ok(listing)
    }

    /// The manifests whose subject is `subject`, behind `after`; of one artifact type only where that is given.
    ///
    /// Unknown repositories and subjects have no referrers, which is not an error.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<Digest>,
    ) -> Result<Listing<Referrer>, Error> {
        match &self.kind {
            Kind::Proxied(proxied) => {
                self.authorize(proxied, Subject::Referrers(subject.clone())).await?;
                // What refers to content that may not be pulled is as much of its business as the content.
                self.admission(proxied).reference(&TagOrDigest::Digest(subject.clone())).await?;
                proxied.referrers(&self.registry, subject, artifact_type, after).await
            }
            Kind::Hosted => self.stored_referrers(&self.registry.own, subject, artifact_type, after).await,
        }
    }

    async fn stored_referrers(
        &self,
        store: &Store,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<Digest>,
    ) -> Result<Listing<Referrer>, Error> {
        let mut cut = PageCut::default();
        let mut page = Page { after, limit: REFERRERS_BATCH };
        loop {
            let batch = store.metadata.referrers(&self.name, subject, artifact_type, &page).await?;
            let is_last = batch.len() < REFERRERS_BATCH;
            page.after = batch.last().map(|referrer| referrer.digest.clone());
            if !cut.take(batch) || is_last {
                return Ok(cut.listing);
            }
        }
    }
}

/// Fills a page of referrers up to its limits.
pub(crate) struct PageCut {
    pub(crate) listing: Listing<Referrer>,
    size: usize,
}

impl Default for PageCut {
    fn default() -> Self {
        Self { listing: Listing { entries: Vec::new(), has_more: false, warning: None }, size: 0 }
    }
}

impl PageCut {
    /// Adds referrers until the page is full; `false` when some had to be left out.
    pub(crate) fn take(&mut self, referrers: Vec<Referrer>) -> bool {
        for referrer in referrers {
            let size = rendered_size_max(&referrer);
            let is_full =
                self.listing.entries.len() == REFERRERS_PAGE_MAX || self.size + size > REFERRERS_PAGE_BYTES_MAX;
            // A single referrer that is larger than a page still has to be listed somewhere.
            if is_full && !self.listing.entries.is_empty() {
                self.listing.has_more = true;
                return false;
            }
            self.size += size;
            self.listing.entries.push(referrer);
        }
        true
    }
}

/// An upper bound of a referrer's size in JSON: every byte of its texts could need six (`\u00xx`).
pub(crate) fn rendered_size_max(referrer: &Referrer) -> usize {
    let escaped =
        |text: &str| text.len() + 5 * text.bytes().filter(|byte| matches!(byte, 0..=31 | b'"' | b'\\')).count();
    let annotations: usize =
        referrer.annotations.iter().map(|(key, value)| escaped(key) + escaped(value) + "\"\":\"\",".len()).sum();
    let artifact_type = referrer.artifact_type.as_deref().map_or(0, escaped);
    annotations + artifact_type + referrer.digest.as_str().len() + referrer.media_type.as_str().len() + 128
}

#[cfg(test)]
mod tests {
    use entrepot_oci::{Algorithm, MediaType};

    use super::*;

    #[test]
    fn a_page_of_large_referrers_stays_below_the_limit() {
        let referrers: Vec<Referrer> = (0..20_u8)
            .map(|number| Referrer {
                media_type: MediaType::OCI_MANIFEST.parse().unwrap(),
                size: 1,
                digest: Algorithm::Sha256.digest(&[number]),
                artifact_type: Some("a/b".into()),
                annotations: [("key".to_owned(), "\u{1}".repeat(100_000))].into(),
            })
            .collect();
        let mut cut = PageCut::default();
        assert!(!cut.take(referrers));
        assert!(cut.listing.has_more);
        let rendered = entrepot_oci::referrers_index(&cut.listing.entries);
        assert!(rendered.len() < 4 * 1000 * 1000, "{} bytes", rendered.len());
        assert!(cut.listing.entries.len() > 2);
    }
}
