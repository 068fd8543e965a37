//! Blobs: pull.

use entrepot_blobs::SignedUrl;
use entrepot_oci::Digest;
use entrepot_registry::{Error, PulledBlob, Repository};
use http::StatusCode;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_TYPE};

use super::{Call, Handled, logged};
use crate::access_log::RequestFacts;
use crate::blob_body::{self, Wanted};
use crate::conditional::is_not_modified;
use crate::respond::Answer;

/// `GET` and `HEAD`. A HEAD ignores ranges and fetches nothing.
pub(super) async fn pull(call: &Call, repository: &Repository, digest: &Digest, facts: &mut RequestFacts) -> Handled {
    facts.digest = Some(digest.clone());
    let answer = |status| Answer::new(status).content_digest(digest).cached(digest, true);
    if call.is_head() || is_not_modified(&call.headers, digest) {
        let (size, cache) = repository.blob_size(digest).await?;
        facts.cache = logged(cache);
        if is_not_modified(&call.headers, digest) {
            return Ok(answer(StatusCode::NOT_MODIFIED).bodiless());
        }
        let answer = answer(StatusCode::OK).header(ACCEPT_RANGES, "bytes");
        return Ok(answer.header(CONTENT_TYPE, "application/octet-stream").sized(size, axum::body::Body::empty()));
    }
    let blob = repository.blob(digest).await?;
    facts.cache = logged(blob.cache);
    if let Some(url) = redirection(call, repository, &blob).await? {
        return Ok(Answer::new(StatusCode::TEMPORARY_REDIRECT)
            .content_digest(digest)
            .location(url.as_str())
            // The URL ends, and is for whoever was let in here just now.
            .header(CACHE_CONTROL, "no-store")
            .bodiless());
    }
    let wanted = Wanted::of(&call.headers, &blob)?;
    blob_body::respond(answer(blob_body::status(&wanted)), &blob, wanted, call.outbox.as_ref()).await
}

/// Where the client is sent for the bytes, when they do not come from here.
async fn redirection(call: &Call, repository: &Repository, blob: &PulledBlob) -> Result<Option<SignedUrl>, Error> {
    if !blob.is_far_away() || !call.redirects.applies(repository.name(), call.address, blob.size) {
        return Ok(None);
    }
    repository.signed_url(&blob.digest, call.redirects.lifetime).await
}
