//! Blobs of a remote: their sizes, and their bytes from anywhere on. Verifying them is up to whoever keeps them.

use bytes::Bytes;
use entrepot_oci::{ByteRange, Digest};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Response;

use crate::answer::Answer;
use crate::ask::Ask;
use crate::body;
use crate::error::{ContentError, Error};
use crate::mirrors::ServedBy;
use crate::remote::Remote;
use crate::turns::{Kind, Turn};
use crate::via::RemoteRepository;

pub(crate) const ACCEPT_BLOBS: &str = "*/*";

/// The bytes of a blob as they come. After an error nothing follows.
pub type BlobBody = BoxStream<'static, Result<Bytes, Error>>;

/// Which part of a blob is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobFrom {
    /// All of it.
    Start,
    /// Everything from this byte on: a transfer that is resumed.
    Offset(u64),
    /// These bytes.
    Range(ByteRange),
}

impl BlobFrom {
    /// The value of the `Range` header, and the first byte asked for.
    fn range(self) -> (Option<String>, u64) {
        match self {
            Self::Start | Self::Offset(0) => (None, 0),
            Self::Offset(first) => (Some(format!("bytes={first}-")), first),
            Self::Range(range) => (Some(format!("bytes={}-{}", range.first(), range.last())), range.first()),
        }
    }
}

/// A blob on its way.
pub struct BlobResponse {
    /// The position in the blob of the first byte of `body`: the one asked for, or an earlier one. An upstream that
    /// ignores `Range` sends everything from 0 on, and the caller skips what it has.
    pub first: u64,
    /// The size of the whole blob in bytes, if told.
    pub total: Option<u64>,
    /// Who sends it: who is to blame when it is not what was asked for.
    pub served_by: ServedBy,
    /// The bytes. Each piece must come within the stall timeout; a body that ends before the length that was announced
    /// ends in [`Error::Interrupted`].
    pub body: BlobBody,
}

impl std::fmt::Debug for BlobResponse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("BlobResponse");
        debug.field("first", &self.first).field("total", &self.total);
        debug.field("served_by", &self.served_by).finish_non_exhaustive()
    }
}

/// A blob on its way from one place.
pub(crate) struct OwnBlob {
    pub(crate) first: u64,
    pub(crate) total: Option<u64>,
    pub(crate) body: BlobBody,
}

impl Remote {
    /// The size of a blob of the remote itself.
    pub(crate) async fn own_blob_size(
        &self,
        repository: &RemoteRepository,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let mut ask = Ask::new(Method::HEAD, repository, format!("blobs/{digest}"), ACCEPT_BLOBS);
        let answer = self.ask(&ask).await?;
        if !matches!(answer.status().as_u16(), 401 | 403 | 405) {
            let answer = answer.success(self.timeouts()).await?;
            return Ok(content_length(answer.response.headers()));
        }
        ask.method = Method::GET;
        ask.range = Some("bytes=0-0".to_owned());
        let answer = self.ask(&ask).await?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // Only an empty blob has no first byte.
            let total = content_range(answer.response.headers()).map_or(Some(0), |range| range.total);
            return Ok(total);
        }
        let answer = answer.success(self.timeouts()).await?;
        Ok(extent(&answer, 0)?.1)
    }

    /// A blob of the remote itself, or a part of it.
    pub(crate) async fn own_blob(
        &self,
        repository: &RemoteRepository,
        digest: &Digest,
        from: BlobFrom,
    ) -> Result<OwnBlob, Error> {
        let (range, asked) = from.range();
        let mut ask = Ask::new(Method::GET, repository, format!("blobs/{digest}"), ACCEPT_BLOBS);
        ask.range = range;
        ask.kind = Kind::Transfer;
        let answer = self.ask(&ask).await?.success(self.timeouts()).await?;
        body::refuse_encoded(answer.response.headers(), &answer.history)?;
        let (first, total) = extent(&answer, asked)?;
        Ok(OwnBlob { first, total, body: self.pieces(answer) })
    }

    fn pieces(&self, answer: Answer) -> BlobBody {
        let stall = self.timeouts().stall;
        let Answer { response, history, turn, .. } = answer;
        // The turn ends with the body, or when the body is dropped.
        let next = move |state: Option<(Response, Option<Turn>)>| {
            let history = history.clone();
            async move {
                let (mut response, turn) = state?;
                match body::piece_within(&mut response, stall, &history).await {
                    Ok(Some(piece)) => Some((Ok(piece), Some((response, turn)))),
                    Ok(None) => None,
                    Err(error) => Some((Err(error), None)),
                }
            }
        };
        stream::unfold(Some((response, turn)), next).boxed()
    }
}

/// Where the body of a success begins, and how large the whole is. A body that begins behind `asked` is useless.
fn extent(answer: &Answer, asked: u64) -> Result<(u64, Option<u64>), Error> {
    let headers = answer.response.headers();
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Ok((0, content_length(headers)));
    }
    match content_range(headers) {
        Some(range) if range.first <= asked => Ok((range.first, range.total)),
        _ => Err(answer.invalid(ContentError::Range)),
    }
}

struct ContentRange {
    first: u64,
    total: Option<u64>,
}

/// `bytes 0-9/100`, `bytes 0-9/*` and, of a 416, `bytes */100`.
fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let (range, total) = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let first = match range.trim() {
        "*" => 0,
        range => range.split_once('-')?.0.parse().ok()?,
    };
    Some(ContentRange { first, total: total.trim().parse().ok() })
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
