//! Lists: tags, referrers, the catalog, and the extensions.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use entrepot_oci::{Digest, ErrorCode, MediaType, RepositoryName, Tag, referrers_index};
use entrepot_registry::{Listing, PAGE_MAX, Repository};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::{Call, Handled};
use crate::error::ErrorResponse;
use crate::respond::{Answer, OCI_FILTERS_APPLIED};

const JSON: &str = "application/json";

/// A page of tags. Written as it is: a page may have ten thousand, and a tree of values would copy each of them.
#[derive(Serialize)]
struct TagList<'l> {
    name: &'l RepositoryName,
    tags: &'l [Tag],
}

/// A page of repositories.
#[derive(Serialize)]
struct Catalog<'l> {
    repositories: &'l [RepositoryName],
}

/// `GET …/tags/list`
pub(super) async fn tags(call: &Call, repository: &Repository) -> Handled {
    let page = PageParameters::of(call)?;
    let listing = repository.tags(after::<Tag>(call, ErrorCode::TAG_INVALID)?, page.limit).await?;
    let name = call.led.asked.as_ref().unwrap_or_else(|| repository.name());
    Ok(page.respond(call, &listing, &TagList { name, tags: &listing.entries }, Tag::as_str))
}

/// `GET /v2/_catalog`: the hosted repositories. What is cached is other registries' business.
pub(super) async fn catalog(call: &Call) -> Handled {
    let page = PageParameters::of(call)?;
    let after = after::<RepositoryName>(call, ErrorCode::NAME_INVALID)?;
    let listing = call.registry.catalog(after, page.limit, &|name| call.rights.may_read(name)).await?;
    Ok(page.respond(call, &listing, &Catalog { repositories: &listing.entries }, RepositoryName::as_str))
}

/// `GET …/referrers/<digest>`
pub(super) async fn referrers(call: &Call, repository: &Repository, subject: &Digest) -> Handled {
    let types: Vec<&str> = call.query.all("artifactType").filter(|text| !text.is_empty()).collect();
    // Several types would have to be answered by their union; the unfiltered list, marked as such, is never wrong.
    let filter = if let [only] = types.as_slice() { Some(*only) } else { None };
    let after = after::<Digest>(call, ErrorCode::DIGEST_INVALID)?;
    let listing = repository.referrers(subject, filter, after).await?;
    let mut answer = Answer::new(StatusCode::OK).warning(listing.warning.as_deref());
    if filter.is_some() {
        answer = answer.header(OCI_FILTERS_APPLIED, "artifactType");
    }
    if let Some(last) = listing.entries.last().filter(|_| listing.has_more) {
        let mut parameters = vec![("last", last.digest.as_str())];
        parameters.extend(filter.map(|filter| ("artifactType", filter)));
        answer = next_page(answer, call, parameters);
    }
    Ok(answer.bytes(MediaType::OCI_INDEX, referrers_index(&listing.entries), call.is_head()))
}

/// `GET …/_oci/ext/discover`: the extensions that there are.
pub(super) fn discover(call: &Call) -> axum::response::Response {
    let body = json!({ "extensions": [{
        "name": "_oci",
        "url": "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md",
        "description": "tells which extensions there are",
        "endpoints": ["_oci/ext/discover"],
    }] });
    Answer::new(StatusCode::OK).bytes(JSON, Bytes::from(body.to_string()), call.is_head())
}

/// `last`: the key to go on after, which need not exist but must be one that could.
fn after<Key>(call: &Call, code: ErrorCode) -> Result<Option<Key>, ErrorResponse>
where
    Key: FromStr,
    Key::Err: fmt::Display,
{
    let Some(text) = call.query.first("last").filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|error| ErrorResponse::new(code, format!("last={text:?} is {error}")))
}

/// The way on leads through the door that the client came in by.
fn next_page<'p>(answer: Answer, call: &'p Call, mut parameters: Vec<(&'p str, &'p str)>) -> Answer {
    parameters.extend(call.query.first("ns").map(|namespace| ("ns", namespace)));
    answer.next(call.uri.path(), &parameters)
}

/// `n`.
struct PageParameters {
    limit: usize,
    /// Whether the client named a size: then the link to the next page names it too.
    is_limited: bool,
}

impl PageParameters {
    fn of(call: &Call) -> Result<Self, ErrorResponse> {
        let Some(text) = call.query.first("n") else { return Ok(Self { limit: PAGE_MAX, is_limited: false }) };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            let message = format!("n={text:?} is not a number from 0 on");
            return Err(ErrorResponse::new(ErrorCode::PAGINATION_NUMBER_INVALID, message));
        }
        // A number too large for this machine is larger than a page as well.
        let limit = text.parse().unwrap_or(usize::MAX).min(PAGE_MAX);
        Ok(Self { limit, is_limited: true })
    }

    fn respond<Key>(
        &self,
        call: &Call,
        listing: &Listing<Key>,
        body: &impl Serialize,
        text: impl Fn(&Key) -> &str,
    ) -> axum::response::Response {
        let mut answer = Answer::new(StatusCode::OK).warning(listing.warning.as_deref());
        if let Some(last) = listing.entries.last().filter(|_| listing.has_more) {
            let limit = self.limit.to_string();
            let mut parameters = vec![("last", text(last))];
            if self.is_limited {
                parameters.insert(0, ("n", &limit));
            }
            answer = next_page(answer, call, parameters);
        }
        // Texts into memory: there is no way to fail.
        answer.bytes(JSON, serde_json::to_vec(body).map(Bytes::from).unwrap_or_default(), call.is_head())
    }
}
