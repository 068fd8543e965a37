//! Request bodies: read whole up to a limit, or passed on as a stream.

use axum::body::Body;
use bytes::Bytes;
use entrepot_oci::ErrorCode;
use entrepot_registry::{Source, SourceError};
use futures_util::{StreamExt, TryStreamExt};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::error::ErrorResponse;
use crate::request_body::BodyStalled;

/// Reads a body of at most `limit` bytes. A longer one is refused by what it announces, before it is read, with what `too_large` makes
/// of its size.
pub(crate) async fn read_bounded(
    body: Body,
    limit: usize,
    too_large: impl Fn(usize) -> ErrorResponse,
) -> Result<Bytes, ErrorResponse> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large(announced));
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit + 1)),
        Err(error) => {
            let response = ErrorResponse::new(ErrorCode::SIZE_INVALID, format!("the body broke off: {error}"));
            Err(match BodyStalled::find(error.as_ref()) {
                Some(_) => response.with_status(StatusCode::REQUEST_TIMEOUT),
                None => response,
            })
        }
    }
}

/// The body as the domain takes it.
pub(crate) fn into_source(body: Body) -> Source {
    StreamExt::boxed(TryStreamExt::map_err(body.into_data_stream(), |error| -> SourceError { Box::new(error) }))
}
