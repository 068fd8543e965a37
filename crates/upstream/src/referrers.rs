//! The referrers of a manifest at a remote: by the API, or by the tag that clients keep where there is no API.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#unavailable-referrers-api>

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use entrepot_oci::{Digest, MediaType, Referrer, TagOrDigest, referrers_tag};
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::answer::Answer;
use crate::ask::Ask;
use crate::error::{ContentError, Error};
use crate::limits::ENTRIES_MAX;
use crate::remote::Remote;
use crate::via::RemoteRepository;

/// The part of an index that is read; entries that are no referrers are left out one by one.
#[derive(Deserialize)]
struct Index {
    manifests: Option<Vec<Value>>,
}

impl Remote {
    /// What the remote itself knows to refer to `digest`.
    pub(crate) async fn own_referrers(
        &self,
        repository: &RemoteRepository,
        digest: &Digest,
    ) -> Result<Vec<Referrer>, Error> {
        let ask = Ask::new(Method::GET, repository, format!("referrers/{digest}"), MediaType::OCI_INDEX);
        let first = self.ask(&ask).await?;
        let is_index = first.media_type().is_some_and(|media_type| media_type.as_str() == MediaType::OCI_INDEX);
        let is_unsupported = match first.status().as_u16() {
            400 | 404 | 405 => true,
            // What answers every unknown path with a page of its own knows no referrers either.
            200 => !is_index,
            _ => false,
        };
        if is_unsupported {
            // Its turn is over before the next question waits for one.
            drop(first);
            return self.referrers_by_tag(repository, digest).await;
        }
        let first = first.success(self.timeouts()).await?;
        let mut referrers = Vec::new();
        self.each_page(ask, first, |answer, page| {
            referrers.extend(read(answer, &page)?);
            if referrers.len() > ENTRIES_MAX {
                return Err(Error::TooLarge { history: Box::new(answer.history.clone()), limit: ENTRIES_MAX });
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(referrers)
    }

    /// The index under the referrers tag. What is there but no index is no list of referrers: registry.gitlab.com
    /// gives the subject itself under this tag.
    async fn referrers_by_tag(&self, repository: &RemoteRepository, digest: &Digest) -> Result<Vec<Referrer>, Error> {
        let Some(tag) = referrers_tag(digest) else { return Ok(Vec::new()) };
        let path = format!("manifests/{}", TagOrDigest::Tag(tag));
        let ask = Ask::new(Method::GET, repository, path, MediaType::OCI_INDEX);
        let answer = match self.ask(&ask).await?.success(self.timeouts()).await {
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            answer => answer?,
        };
        if answer.media_type().is_none_or(|media_type| media_type.as_str() != MediaType::OCI_INDEX) {
            return Ok(Vec::new());
        }
        let mut answer = answer;
        let bytes = answer.document(entrepot_oci::MANIFEST_BYTES_MAX, self.timeouts()).await?;
        if digest.names(&bytes) { Ok(Vec::new()) } else { read(&answer, &bytes) }
    }
}

fn read(answer: &Answer, page: &Bytes) -> Result<Vec<Referrer>, Error> {
    let index: Index =
        serde_json::from_slice(page).map_err(|error| answer.invalid(ContentError::Json(Arc::new(error))))?;
    let entries = index.manifests.unwrap_or_default().into_iter();
    Ok(entries.filter_map(|entry| serde_json::from_value(entry).ok()).collect())
}
