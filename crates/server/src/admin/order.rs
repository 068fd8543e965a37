//! What administrative requests say: their query and their body, read strictly. What is not known here is refused, because a
//! misspelled `dry_run` must not evict.

use std::time::Duration;

use axum::body::Body;
use entrepot_oci::{ErrorCode, ImageReference, ImageReferenceError, RepositoryName, TagOrDigest};
use entrepot_registry::{CachedEntryKey, EvictionOrder, Platform};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::body::read_bounded;
use crate::error::ErrorResponse;
use crate::limits::{ADMIN_BODY_BYTES_MAX, ADMIN_PAGE_MAX, WARM_PLATFORMS_MAX};
use crate::query::Query;

/// `{"reference"}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub(super) reference: String,
}

/// `{"dry_run", "down_to", "unused_for"}`, each of which may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Evict {
    #[serde(default)]
    dry_run: bool,
    /// Bytes.
    down_to: Option<u64>,
    /// Seconds.
    unused_for: Option<u64>,
}

impl From<Evict> for EvictionOrder {
    fn from(evict: Evict) -> Self {
        let Evict { dry_run, down_to, unused_for } = evict;
        Self { is_dry_run: dry_run, down_to, unused_for: unused_for.map(Duration::from_secs) }
    }
}

/// `{"reference", "platforms"}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Warm {
    pub(super) reference: String,
    /// `linux/arm64`; without any, all that there are.
    #[serde(default)]
    platforms: Vec<String>,
}

impl Warm {
    pub(super) fn platforms(&self) -> Result<Vec<Platform>, ErrorResponse> {
        if self.platforms.len() > WARM_PLATFORMS_MAX {
            return Err(refused(format!("more than {WARM_PLATFORMS_MAX} platforms: leave them out to get all")));
        }
        self.platforms.iter().map(|text| platform(text)).collect()
    }
}

/// Where a page of entries begins, and how long it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EntriesPage {
    pub(super) after: Option<CachedEntryKey>,
    pub(super) limit: usize,
}

impl EntriesPage {
    pub(super) fn of(query: &Query) -> Result<Self, ErrorResponse> {
        let limit = match query.first("n").map(|text| (text, text.parse::<usize>())) {
            None => ADMIN_PAGE_MAX,
            Some((_, Ok(limit @ 1..))) => limit.min(ADMIN_PAGE_MAX),
            Some((text, Ok(0) | Err(_))) => {
                let message = format!("n={text:?} is not a number from 1 on");
                return Err(ErrorResponse::new(ErrorCode::PAGINATION_NUMBER_INVALID, message));
            }
        };
        let key = |text: &str| {
            let (name, digest) = text.split_once('@')?;
            Some(CachedEntryKey { name: name.parse().ok()?, digest: digest.parse().ok()? })
        };
        let not_a_key = || refused("last is taken from the link to the next page, as it stands there".to_owned());
        let after = query.first("last").map(|text| key(text).ok_or_else(not_a_key)).transpose()?;
        Ok(Self { after, limit })
    }
}

/// The cursor of an entry, which nobody but [`EntriesPage`] should read.
pub(super) fn cursor(key: &CachedEntryKey) -> String {
    format!("{}@{}", key.name, key.digest)
}

/// Refuses a query with a parameter that the route does not know.
pub(super) fn check_query(query: &Query, known: &[&str]) -> Result<(), ErrorResponse> {
    match query.keys().find(|key| !known.contains(key)) {
        None => Ok(()),
        Some(unknown) if known.is_empty() => Err(refused(format!("{unknown:?} is no parameter: there are none here"))),
        Some(unknown) => Err(refused(format!("{unknown:?} is no parameter: there are {}", known.join(", ")))),
    }
}

/// Reads a body.
pub(super) async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, ErrorResponse> {
    // A web page that the operator happens to look at can send forms and plain texts to any server that the browser reaches, and could
    // so empty a cache. JSON it can send only after the server has allowed it, which this one never does.
    let is_json = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|text| {
        text.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    });
    if !is_json {
        let message = "the body has to be JSON with Content-Type: application/json".to_owned();
        return Err(refused(message).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let too_large = |_| {
        let message = format!("the body is larger than {ADMIN_BODY_BYTES_MAX} bytes");
        ErrorResponse::new(ErrorCode::SIZE_INVALID, message).with_status(StatusCode::PAYLOAD_TOO_LARGE)
    };
    let bytes = read_bounded(body, ADMIN_BODY_BYTES_MAX, too_large).await?;
    serde_json::from_slice(&bytes).map_err(|error| refused(format!("the body is not as it should be: {error}")))
}

/// Reads a reference.
pub(super) fn image(text: &str) -> Result<ImageReference, ErrorResponse> {
    let invalid = |error| ErrorResponse::new(ErrorCode::NAME_INVALID, format!("{text:?}: {error}"));
    text.parse().map_err(invalid)
}

/// Reads a reference without a registry, which is one to an image of your own; `None` for every other text.
pub(super) fn own(text: &str) -> Option<(RepositoryName, TagOrDigest)> {
    let Err(ImageReferenceError::Registry) = text.parse::<ImageReference>() else { return None };
    // It is written like any other reference, but for the registry.
    let image: ImageReference = format!("proxy/own/{text}").parse().ok()?;
    (!image.repository().as_str().starts_with("proxy/"))
        .then(|| (image.repository().clone(), image.reference_or_latest()))
}

/// `os/architecture` or `os/architecture/variant`.
fn platform(text: &str) -> Result<Platform, ErrorResponse> {
    let is_word = |part: &&str| {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        !part.is_empty() && part.bytes().all(is_known)
    };
    let parts: Vec<&str> = text.split('/').collect();
    let (os, architecture, variant) = match parts.as_slice() {
        [os, architecture] => (os, architecture, None),
        [os, architecture, variant] => (os, architecture, Some((*variant).to_owned())),
        _ => return Err(not_a_platform(text)),
    };
    if !parts.iter().all(is_word) {
        return Err(not_a_platform(text));
    }
    Ok(Platform { os: (*os).to_owned(), architecture: (*architecture).to_owned(), variant })
}

fn not_a_platform(text: &str) -> ErrorResponse {
    refused(format!("{text:?} is not a platform such as linux/arm64 or linux/arm/v7"))
}

fn refused(message: String) -> ErrorResponse {
    ErrorResponse::new(ErrorCode::UNSUPPORTED, message).with_status(StatusCode::BAD_REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_two_or_three_parts() {
        let read =
            |text: &str| platform(text).ok().map(|platform| (platform.os, platform.architecture, platform.variant));
        assert_eq!(read("linux/arm64"), Some(("linux".into(), "arm64".into(), None)));
        assert_eq!(read("linux/arm/v7"), Some(("linux".into(), "arm".into(), Some("v7".into()))));
        for text in ["", "linux", "linux/", "/arm64", "linux/arm/v7/x", "linux/a b", "linux//v7"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let key = CachedEntryKey {
            name: "proxy/ghcr.io/app".parse().unwrap(),
            digest: entrepot_oci::Algorithm::Sha256.digest(b"x"),
        };
        let query = Query::parse(Some(&format!("n=5&last={}", cursor(&key).replace(':', "%3A"))));
        let page = EntriesPage::of(&query).ok();
        assert_eq!(page, Some(EntriesPage { after: Some(key), limit: 5 }));
        let of = |query: &str| EntriesPage::of(&Query::parse(Some(query))).map(|page| page.limit).ok();
        assert_eq!([of(""), of("n=1000000")], [Some(ADMIN_PAGE_MAX); 2]);
        for wrong in ["n=0", "n=", "n=-1", "n=x", "last=", "last=a", "last=a@b"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
