//! Uploads: start (also whole in one request, also by mount), status, append, finish, cancel.

use axum::body::Body;
use axum::response::Response;
use entrepot_oci::{Algorithm, ChunkRange, Digest, ErrorCode, RepositoryName, upload_range};
use entrepot_registry::{Chunk, Repository, UploadStatus};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};

use super::{Call, Handled};
use crate::access_log::RequestFacts;
use crate::body::into_source;
use crate::error::{ErrorResponse, unsupported_algorithm, with_location};
use crate::respond::{Answer, DOCKER_UPLOAD_UUID, blob_location};

/// `POST …/blobs/uploads/`: a mount, a whole blob, or a new session.
pub(super) async fn start(call: &Call, repository: &Repository, body: Body, facts: &mut RequestFacts) -> Handled {
    if let Some(text) = call.query.first("mount") {
        let digest = parse_digest(text)?;
        // A source that is no name cannot hold the blob: the client uploads.
        let from = call.query.first("from").filter(|text| !text.is_empty()).map(str::parse::<RepositoryName>);
        let is_mounted = match from {
            Some(Ok(from)) => repository.mount(&digest, Some(&from), &|name| call.rights.may_mount_from(name)).await?,
            Some(Err(_)) => false,
            None => repository.mount(&digest, None, &|name| call.rights.may_read(name)).await?,
        };
        if is_mounted {
            facts.digest = Some(digest.clone());
            return Ok(created(repository, &digest));
        }
    } else if let Some(text) = call.query.first("digest") {
        let digest = parse_digest(text)?;
        facts.digest = Some(digest.clone());
        repository.push_blob(&digest, content_length(call), into_source(body)).await?;
        return Ok(created(repository, &digest));
    }
    let algorithm = match call.query.first("digest-algorithm") {
        Some(text) => text.parse().map_err(|_| unsupported_algorithm(text))?,
        None => Algorithm::Sha256,
    };
    let status = repository.start_upload(algorithm).await?;
    Ok(session(StatusCode::ACCEPTED, repository, &status).empty())
}

/// `GET` and `HEAD` of a session: how far it is.
pub(super) async fn status(repository: &Repository, id: &str) -> Handled {
    let status = repository.upload_status(id).await?;
    Ok(session(StatusCode::NO_CONTENT, repository, &status).bodiless())
}

/// `PATCH`: the next part.
pub(super) async fn append(call: &Call, repository: &Repository, id: &str, body: Body) -> Handled {
    let outcome = repository.append_to_upload(id, chunk(call)?, into_source(body)).await;
    let status = outcome.map_err(|error| in_session(error.into(), repository, id))?;
    Ok(session(StatusCode::ACCEPTED, repository, &status).empty())
}

/// `PUT`: the last part, which may be empty or all of it, and the digest of the whole.
pub(super) async fn finish(
    call: &Call,
    repository: &Repository,
    id: &str,
    body: Body,
    facts: &mut RequestFacts,
) -> Handled {
    let Some(text) = call.query.first("digest") else {
        let message = "the digest of the whole blob is missing: append ?digest=<digest> to the upload's location";
        return Err(ErrorResponse::new(ErrorCode::DIGEST_INVALID, message));
    };
    let digest = parse_digest(text)?;
    facts.digest = Some(digest.clone());
    let outcome = repository.finish_upload(id, &digest, chunk(call)?, into_source(body)).await;
    outcome.map_err(|error| in_session(error.into(), repository, id))?;
    Ok(created(repository, &digest))
}

/// `DELETE`: the session ends and its bytes go.
pub(super) async fn cancel(repository: &Repository, id: &str) -> Handled {
    let id = repository.cancel_upload(id).await?;
    Ok(Answer::new(StatusCode::NO_CONTENT).header(DOCKER_UPLOAD_UUID, id.as_str()).bodiless())
}

fn created(repository: &Repository, digest: &Digest) -> Response {
    Answer::new(StatusCode::CREATED).location(blob_location(repository.name(), digest)).content_digest(digest).empty()
}

fn session(status: StatusCode, repository: &Repository, upload: &UploadStatus) -> Answer {
    Answer::new(status)
        .location(upload_location(repository, upload.id.as_str()))
        .header(RANGE, upload_range(upload.received))
        .header(DOCKER_UPLOAD_UUID, upload.id.as_str())
}

fn upload_location(repository: &Repository, id: &str) -> String {
    format!("/v2/{}/blobs/uploads/{id}", repository.name())
}

fn in_session(response: ErrorResponse, repository: &Repository, id: &str) -> ErrorResponse {
    with_location(response, &upload_location(repository, id))
}

fn parse_digest(text: &str) -> Result<Digest, ErrorResponse> {
    text.parse().map_err(|error| ErrorResponse::new(ErrorCode::DIGEST_INVALID, format!("{text:?} is {error}")))
}

/// What the headers say about the part that the body is.
fn chunk(call: &Call) -> Result<Chunk, ErrorResponse> {
    let range = match call.headers.get(CONTENT_RANGE) {
        None => None,
        Some(value) => {
            let text = value.to_str().unwrap_or_default();
            let malformed = |_| {
                let message = format!("Content-Range {text:?} is malformed: expected <first byte>-<last byte>");
                ErrorResponse::new(ErrorCode::BLOB_UPLOAD_INVALID, message)
                    .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
            };
            Some(ChunkRange::parse(text).map_err(malformed)?)
        }
    };
    Ok(Chunk { range, length: content_length(call) })
}

fn content_length(call: &Call) -> Option<u64> {
    call.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
