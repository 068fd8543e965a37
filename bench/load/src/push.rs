//! A blob, pushed in one of the two ways that clients have.

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::connection::{Body, Connection, Request};
use crate::content::Content;
use crate::error::Error;
use crate::workers;

/// How the bytes travel.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// `POST`, then all bytes in the `PUT`.
    Whole,
    /// `POST`, all bytes in one `PATCH` without an announced length, then an empty `PUT`: what the Docker engine does.
    Chunked,
}

/// Pushes one new blob.
pub(crate) fn run(arguments: &Arguments) -> Result<Value, Error> {
    let (address, repository) = (arguments.text("address")?, arguments.text("repository")?);
    let way = match arguments.text("way")? {
        "whole" => Way::Whole,
        "chunked" => Way::Chunked,
        _ => return Err(Error::Option { name: "way", wanted: "whole or chunked" }),
    };
    let content = Content::random(arguments.number("size")?, arguments.number("seed")?);
    let pid = arguments.optional("pid")?;
    let done = workers::run(address, 1, pid, |connection| push(connection, repository, &content, way))?;
    Ok(json!({
        "digest": content.digest,
        "bytes": content.bytes.len(),
        "seconds": done.elapsed.as_secs_f64(),
        "processor_seconds": done.processor.map(|used| used.as_secs_f64()),
    }))
}

/// Pushes a blob.
pub(crate) fn push(connection: &mut Connection, repository: &str, content: &Content, way: Way) -> Result<(), Error> {
    const OCTETS: &str = "Content-Type: application/octet-stream\r\n";
    let path = format!("/v2/{repository}/blobs/uploads/");
    let started = Request { method: "POST", path: &path, headers: "", body: Body::None }.expect(connection, 202)?;
    let mut location = place(started.location)?;
    let mut body = Body::Whole(&content.bytes);
    if let Way::Chunked = way {
        let chunks = Body::Chunked(&content.bytes);
        let patched =
            Request { method: "PATCH", path: &location, headers: OCTETS, body: chunks }.expect(connection, 202)?;
        location = place(patched.location)?;
        body = Body::None;
    }
    let mark = if location.contains('?') { '&' } else { '?' };
    let path = format!("{location}{mark}digest={}", content.digest);
    Request { method: "PUT", path: &path, headers: OCTETS, body }.expect(connection, 201).map(drop)
}

/// The path and query of a `Location`, which may name the host.
fn place(location: Option<String>) -> Result<String, Error> {
    let location = location.ok_or(Error::Answer { what: "no Location" })?;
    match location.split_once("://").and_then(|(_, rest)| rest.find('/').map(|slash| rest[slash..].to_owned())) {
        Some(path) => Ok(path),
        None => Ok(location),
    }
}
