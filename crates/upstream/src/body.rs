//! Reading bodies: documents within a size and a time, blobs piece by piece.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use reqwest::Response;

use crate::connections::timed_out;
use crate::error::{ContentError, Error};
use crate::history::History;
use crate::limits::{ERROR_BODY_BYTES_MAX, RELEASE_TIME_MAX};

/// Reads a whole document of at most `size_max` bytes.
pub(crate) async fn document(
    response: &mut Response,
    size_max: usize,
    time_max: Duration,
    history: &History,
) -> Result<Bytes, Error> {
    refuse_encoded(response.headers(), history)?;
    let announced = response.content_length().unwrap_or(0);
    if announced > size_max as u64 {
        return Err(Error::TooLarge { history: Box::new(history.clone()), limit: size_max });
    }
    match tokio::time::timeout(time_max, gather(response, size_max, history)).await {
        Ok(gathered) => gathered,
        Err(_) => Err(timed_out(history, time_max)),
    }
}

async fn gather(response: &mut Response, size_max: usize, history: &History) -> Result<Bytes, Error> {
    let mut whole = BytesMut::new();
    while let Some(piece) = piece(response, history).await? {
        if whole.len() + piece.len() > size_max {
            return Err(Error::TooLarge { history: Box::new(history.clone()), limit: size_max });
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// The next piece, within `stall`; `None` after the last.
pub(crate) async fn piece_within(
    response: &mut Response,
    stall: Duration,
    history: &History,
) -> Result<Option<Bytes>, Error> {
    match tokio::time::timeout(stall, piece(response, history)).await {
        Ok(piece) => piece,
        Err(_) => Err(timed_out(history, stall)),
    }
}

async fn piece(response: &mut Response, history: &History) -> Result<Option<Bytes>, Error> {
    response.chunk().await.map_err(|error| Error::Interrupted {
        history: Box::new(history.clone()),
        source: Arc::new(error.without_url()),
    })
}

/// Reads the rest of an answer that nobody needs, so that its connection can be used again, unless it is long or slow.
pub(crate) async fn release(mut response: Response) {
    if response.content_length().is_none_or(|length| length > ERROR_BODY_BYTES_MAX as u64) {
        return;
    }
    let rest = async { while matches!(response.chunk().await, Ok(Some(_))) {} };
    // Too slow or broken: the connection is closed by dropping the answer.
    let _ = tokio::time::timeout(RELEASE_TIME_MAX, rest).await;
}

/// An answer that is encoded although `identity` was asked for is refused: its bytes are not those of the digest,
/// and a decoder is one more thing that a liar can feed.
pub(crate) fn refuse_encoded(headers: &HeaderMap, history: &History) -> Result<(), Error> {
    let Some(encoding) = headers.get(CONTENT_ENCODING) else { return Ok(()) };
    if encoding.is_empty() || encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    let encoding = String::from_utf8_lossy(encoding.as_bytes()).chars().take(40).collect();
    Err(Error::InvalidContent { history: Box::new(history.clone()), reason: ContentError::Encoded { encoding } })
}
