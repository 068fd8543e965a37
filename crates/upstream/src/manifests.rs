//! Manifests of a remote: asked for their digest, fetched, and verified before anyone sees them.

use std::sync::Arc;

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, MANIFEST_BYTES_MAX, Manifest, ManifestError, MediaType, TagOrDigest};
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};

use crate::answer::Answer;
use crate::ask::Ask;
use crate::error::{ContentError, Error};
use crate::remote::Remote;
use crate::via::RemoteRepository;

/// Every type that can be stored, in one list. Never the client's own: a narrow one makes some registries convert
/// the manifest, and the cache would hold what others did not ask for.
pub(crate) const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json;q=0.5, */*;q=0.1";

/// What an upstream tells of a manifest without sending it. It is not verified: what counts is what is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// Its digest; `None` when the upstream does not tell, so that only fetching it helps.
    pub digest: Option<Digest>,
    /// Its type, if told.
    pub media_type: Option<MediaType>,
    /// Its size in bytes, if told.
    pub size: Option<u64>,
}

/// A manifest as it was received, and the digest that it was verified by.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// The digest that was asked for; by a tag, that of the bytes.
    pub digest: Digest,
}

impl Remote {
    /// What `reference` names at the remote itself.
    pub(crate) async fn own_manifest_head(
        &self,
        repository: &RemoteRepository,
        reference: &TagOrDigest,
        known: Option<&Digest>,
    ) -> Result<ManifestHead, Error> {
        let mut ask = manifest_ask(Method::HEAD, repository, reference);
        ask.known = known;
        let answer = self.ask(&ask).await?;
        if let (Some(known), StatusCode::NOT_MODIFIED) = (known, answer.status()) {
            return Ok(ManifestHead { digest: Some(known.clone()), media_type: None, size: None });
        }
        if matches!(answer.status().as_u16(), 401 | 403 | 405) && !answer.had_password {
            return Ok(ManifestHead { digest: answer.digest, media_type: None, size: None });
        }
        let answer = answer.success(self.timeouts()).await?;
        let digest = match reference {
            TagOrDigest::Digest(asked) => Some(announced_as(asked, &answer)?),
            TagOrDigest::Tag(_) => answer.digest.clone(),
        };
        let length = answer.response.headers().get(CONTENT_LENGTH);
        let size = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(ManifestHead { digest, media_type: answer.media_type(), size })
    }

    /// A manifest of the remote itself.
    pub(crate) async fn own_manifest(
        &self,
        repository: &RemoteRepository,
        reference: &TagOrDigest,
    ) -> Result<FetchedManifest, Error> {
        let answer = self.ask(&manifest_ask(Method::GET, repository, reference)).await?;
        let mut answer = answer.success(self.timeouts()).await?;
        let bytes = answer.document(MANIFEST_BYTES_MAX, self.timeouts()).await?;
        let parsed = Manifest::parse(bytes.clone(), answer.media_type().as_ref());
        // The digest of a signed schema 1 leaves its signatures out: it is refused for what it is, not for a digest that seems wrong.
        let invalid = |error| answer.invalid(ContentError::Manifest(Arc::new(error)));
        if let Err(error @ ManifestError::Schema1) = parsed {
            return Err(invalid(error));
        }
        let digest = verify(reference, &bytes, &answer)?;
        Ok(FetchedManifest { manifest: parsed.map_err(invalid)?, digest })
    }
}

fn manifest_ask<'a>(method: Method, repository: &'a RemoteRepository, reference: &TagOrDigest) -> Ask<'a> {
    Ask::new(method, repository, format!("manifests/{reference}"), ACCEPT_MANIFESTS)
}

/// `asked`, unless the upstream announces other content under a digest of the same algorithm.
fn announced_as(asked: &Digest, answer: &Answer) -> Result<Digest, Error> {
    match &answer.digest {
        Some(told) if told.algorithm() == asked.algorithm() && told != asked => Err(mismatch(asked, answer)),
        _ => Ok(asked.clone()),
    }
}

fn verify(reference: &TagOrDigest, bytes: &Bytes, answer: &Answer) -> Result<Digest, Error> {
    let expected = match reference {
        TagOrDigest::Digest(asked) => Some(asked),
        TagOrDigest::Tag(_) => answer.digest.as_ref(),
    };
    match expected {
        Some(expected) if expected.names(bytes) => Ok(expected.clone()),
        Some(expected) => Err(mismatch(expected, answer)),
        None => Ok(Algorithm::Sha256.digest(bytes)),
    }
}

fn mismatch(expected: &Digest, answer: &Answer) -> Error {
    Error::DigestMismatch { history: Box::new(answer.history.clone()), expected: expected.clone() }
}
