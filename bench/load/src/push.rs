//! Blobs, pushed in one of the two ways that clients have.

use std::time::{Duration, Instant};

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

/// Pushes new blobs, `--parallel` at once; with `--seconds`, the same ones again and again, until the time is over.
pub(crate) fn run(arguments: &Arguments) -> Result<Value, Error> {
    let repository = arguments.text("repository")?;
    let way = match arguments.text("way")? {
        "whole" => Way::Whole,
        "chunked" => Way::Chunked,
        _ => return Err(Error::Option { name: "way", wanted: "whole or chunked" }),
    };
    let (size, seed): (usize, u64) = (arguments.number("size")?, arguments.number("seed")?);
    let parallel: usize = arguments.optional("parallel")?.unwrap_or(1);
    let contents: Vec<Content> =
        (0..parallel as u64).map(|number| Content::random(size, (seed << 8) + number)).collect();
    let duration = arguments.optional("seconds")?.map_or(Duration::ZERO, Duration::from_secs_f64);
    let done = workers::run(arguments, parallel, |connection, number| {
        let (begun, content) = (Instant::now(), &contents[number]);
        let mut bytes = 0;
        loop {
            push(connection, repository, content, way)?;
            bytes += content.bytes.len();
            if begun.elapsed() >= duration {
                return Ok(bytes);
            }
        }
    })?;
    Ok(done.used.with(json!({
        "digests": contents.iter().map(|content| &*content.digest).collect::<Vec<_>>(),
        "bytes": done.results.iter().sum::<usize>(),
    })))
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
