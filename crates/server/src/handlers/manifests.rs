//! Manifests: pull and push.

use axum::body::Body;
use entrepot_metadata::TagCondition;
use entrepot_oci::{ErrorCode, MANIFEST_BYTES_MAX, ManifestError, MediaType, Tag, TagOrDigest};
use entrepot_registry::{MANIFEST_TAGS_MAX, ManifestUpload, Repository};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::{Call, Handled, logged};
use crate::access_log::RequestFacts;
use crate::body::read_bounded;
use crate::conditional::{is_not_modified, tag_condition};
use crate::error::ErrorResponse;
use crate::respond::{Answer, OCI_SUBJECT, OCI_TAG};

/// `GET` and `HEAD`: the stored bytes with the stored type, whatever the client says that it accepts. Converting would change the digest.
pub(super) async fn pull(
    call: &Call,
    repository: &Repository,
    reference: &TagOrDigest,
    facts: &mut RequestFacts,
) -> Handled {
    let pulled = repository.manifest(reference).await?;
    let digest = &pulled.manifest.digest;
    facts.digest = Some(digest.clone());
    facts.cache = logged(pulled.cache);
    let is_not_modified = is_not_modified(&call.headers, digest);
    let answer = Answer::new(if is_not_modified { StatusCode::NOT_MODIFIED } else { StatusCode::OK })
        .content_digest(digest)
        .cached(digest, reference.tag().is_none())
        .warning(pulled.warning.as_deref());
    if is_not_modified {
        return Ok(answer.bodiless());
    }
    Ok(answer.bytes(pulled.manifest.media_type.as_str(), pulled.manifest.bytes, call.is_head()))
}

/// `PUT`: by tag, or by digest with any number of `tag` parameters.
pub(super) async fn push(
    call: &Call,
    repository: &Repository,
    reference: TagOrDigest,
    body: Body,
    facts: &mut RequestFacts,
) -> Handled {
    let tags = match reference {
        // On a push by tag the parameter has no meaning.
        TagOrDigest::Tag(_) => Vec::new(),
        TagOrDigest::Digest(_) => tag_parameters(call)?,
    };
    let condition = match reference {
        TagOrDigest::Tag(_) => tag_condition(&call.headers),
        TagOrDigest::Digest(_) => TagCondition::None,
    };
    let bytes = read_bounded(body, MANIFEST_BYTES_MAX, |size| ManifestError::TooLarge { size }.into()).await?;
    let media_type = content_type(call)?;
    let upload = ManifestUpload {
        reference,
        media_type,
        bytes,
        tags: tags.clone(),
        may_create_tags: call.rights.may_create_tags,
        may_move_tags: call.rights.may_move_tags,
        condition,
    };
    let pushed = repository.push_manifest(upload).await?;
    facts.digest = Some(pushed.digest.clone());
    let location = format!("/v2/{}/manifests/{}", repository.name(), pushed.digest);
    let mut answer = Answer::new(StatusCode::CREATED).location(location).content_digest(&pushed.digest);
    if let Some(subject) = pushed.subject {
        answer = answer.header(OCI_SUBJECT, subject);
    }
    for tag in tags {
        answer = answer.header(OCI_TAG, tag.as_str());
    }
    Ok(answer.empty())
}

fn tag_parameters(call: &Call) -> Result<Vec<Tag>, ErrorResponse> {
    let mut tags: Vec<Tag> = Vec::new();
    for text in call.query.all("tag") {
        let invalid =
            |error| ErrorResponse::new(ErrorCode::MANIFEST_INVALID, format!("{text:?} is {error}; no tag was set"));
        let tag: Tag = text.parse().map_err(invalid)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        if tags.len() > MANIFEST_TAGS_MAX {
            let message = format!("more than {MANIFEST_TAGS_MAX} tags in one push; no tag was set");
            return Err(ErrorResponse::new(ErrorCode::UNSUPPORTED, message).with_status(StatusCode::URI_TOO_LONG));
        }
    }
    Ok(tags)
}

fn content_type(call: &Call) -> Result<Option<MediaType>, ErrorResponse> {
    let Some(value) = call.headers.get(CONTENT_TYPE) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let invalid = |error| ErrorResponse::new(ErrorCode::MANIFEST_INVALID, format!("Content-Type {text:?} is {error}"));
    text.parse().map(Some).map_err(invalid)
}
