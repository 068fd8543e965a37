//! The bytes of a blob as an answer: whole, one range, or several as `multipart/byteranges`.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use entrepot_oci::{ByteRange, RangeError, RangeRequest};
use entrepot_registry::{ContentStream, PulledBlob};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, StatusCode};

use crate::conditional::range_applies;
use crate::error::ErrorResponse;
use crate::limits::SMALL_PART_BYTES;
use crate::respond::Answer;
use crate::sendfile::Outbox;

const OCTET_STREAM: &str = "application/octet-stream";

/// Which part of a blob a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// One part.
    Part(ByteRange),
    /// Several parts, in this order.
    Parts(Vec<ByteRange>),
}

impl Wanted {
    /// Reads the `Range` header for a blob.
    pub(crate) fn of(headers: &HeaderMap, blob: &PulledBlob) -> Result<Self, ErrorResponse> {
        let header = headers.get(RANGE).and_then(|value| value.to_str().ok());
        if header.is_none() || !range_applies(headers, &blob.digest) {
            return Ok(Self::Whole);
        }
        match RangeRequest::parse(header, blob.size) {
            Ok(RangeRequest::Whole) => Ok(Self::Whole),
            Ok(RangeRequest::Parts(parts)) => Ok(Self::from_parts(parts, blob.size)),
            Err(error @ (RangeError::Unsatisfiable | RangeError::TooMany)) => {
                Err(ErrorResponse::unsatisfiable_range(error, blob.size))
            }
        }
    }

    fn from_parts(parts: Vec<ByteRange>, size: u64) -> Self {
        if let [part] = parts.as_slice() {
            return Self::Part(*part);
        }
        // Parts that overlap could ask for a blob many times over; RFC 9110 §14.2 lets a server send the whole instead.
        let total = parts.iter().fold(0_u64, |total, part| total.saturating_add(part.length()));
        if total > size { Self::Whole } else { Self::Parts(parts) }
    }
}

/// Answers with what is wanted of a blob, which leaves by `outbox` where there is one.
pub(crate) async fn respond(
    answer: Answer,
    blob: &PulledBlob,
    wanted: Wanted,
    outbox: Option<&Outbox>,
) -> Result<Response, ErrorResponse> {
    let answer = answer.header(ACCEPT_RANGES, "bytes");
    match wanted {
        Wanted::Whole => {
            let body = Body::from_stream(content(blob, None, outbox).await?);
            Ok(answer.header(CONTENT_TYPE, OCTET_STREAM).sized(blob.size, body))
        }
        Wanted::Part(part) => {
            let body = Body::from_stream(content(blob, Some(part), outbox).await?);
            let answer = answer.header(CONTENT_TYPE, OCTET_STREAM).header(CONTENT_RANGE, part.content_range(blob.size));
            Ok(answer.sized(part.length(), body))
        }
        Wanted::Parts(parts) => respond_with_parts(answer, blob, &parts, outbox).await,
    }
}

/// The bytes of a part of a blob, or what stands for them until the socket sends them.
async fn content(
    blob: &PulledBlob,
    part: Option<ByteRange>,
    outbox: Option<&Outbox>,
) -> Result<ContentStream, entrepot_registry::Error> {
    let length = part.map_or(blob.size, ByteRange::length);
    let Some(outbox) = outbox.filter(|_| length > SMALL_PART_BYTES).cloned() else {
        return blob.stream(part).await;
    };
    let pieces = blob.pieces(part).await?;
    Ok(pieces.map_ok(move |piece| outbox.enclose(piece)).boxed())
}

async fn respond_with_parts(
    answer: Answer,
    blob: &PulledBlob,
    parts: &[ByteRange],
    outbox: Option<&Outbox>,
) -> Result<Response, ErrorResponse> {
    // Random, so that no content can be made to contain it.
    let boundary = uuid::Uuid::new_v4().simple().to_string();
    let mut length = 0;
    let mut pieces: Vec<ContentStream> = Vec::new();
    for part in parts {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {OCTET_STREAM}\r\nContent-Range: {}\r\n\r\n",
            part.content_range(blob.size)
        );
        length += head.len() as u64 + part.length();
        pieces.push(text(head));
        pieces.push(content(blob, Some(*part), outbox).await?);
    }
    let tail = format!("\r\n--{boundary}--\r\n");
    length += tail.len() as u64;
    pieces.push(text(tail));
    let body = Body::from_stream(stream::iter(pieces).flatten());
    Ok(answer.header(CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}")).sized(length, body))
}

fn text(text: String) -> ContentStream {
    stream::iter([Ok(Bytes::from(text))]).into_stream().boxed()
}

/// The status of an answer with what is wanted.
pub(crate) const fn status(wanted: &Wanted) -> StatusCode {
    match wanted {
        Wanted::Whole => StatusCode::OK,
        Wanted::Part(_) | Wanted::Parts(_) => StatusCode::PARTIAL_CONTENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_overlap_are_answered_by_the_whole() {
        let part = |first, last| ByteRange::new(first, last).unwrap();
        assert_eq!(Wanted::from_parts(vec![part(0, 9)], 10), Wanted::Part(part(0, 9)));
        assert_eq!(Wanted::from_parts(vec![part(0, 4), part(6, 9)], 10), Wanted::Parts(vec![part(0, 4), part(6, 9)]));
        assert_eq!(Wanted::from_parts(vec![part(0, 9), part(0, 9)], 10), Wanted::Whole);
    }
}
