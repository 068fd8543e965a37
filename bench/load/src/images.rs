//! Whole images: many small ones, and many tags of one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::connection::{Body, Connection, Request};
use crate::content::{self, Content, MANIFEST_TYPE};
use crate::error::Error;
use crate::push::{Way, push};
use crate::{summary, workers};

/// An image of one layer, ready to be pushed.
struct Image {
    config: Content,
    layer: Content,
    manifest: Content,
}

/// Pushes `--count` images that share nothing, each to a repository of its own (`prefix-0` and so on), as clients do:
/// ask for each blob, push it, push the manifest as `latest`.
pub(crate) fn run(arguments: &Arguments) -> Result<Value, Error> {
    let prefix = arguments.text("prefix")?;
    let count: usize = arguments.number("count")?;
    let (size, seed): (usize, u64) = (arguments.number("layer-size")?, arguments.number("seed")?);
    let images: Vec<Image> = (0..count as u64).map(|number| Image::new(size, (seed << 20) + number)).collect();
    let next = AtomicUsize::new(0);
    let done = workers::run(arguments, arguments.number("connections")?, |connection, _| {
        let mut took = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(image) = images.get(number) else { return Ok(took) };
            let begun = Instant::now();
            image.push(connection, &format!("{prefix}-{number}"))?;
            took.push(begun.elapsed());
        }
    })?;
    let took: Vec<Duration> = done.results.into_iter().flatten().collect();
    Ok(done.used.with(json!({
        "images": took.len(),
        "image_ms": summary::latencies(took),
        "layers": images.iter().map(|image| &*image.layer.digest).collect::<Vec<_>>(),
    })))
}

/// Pushes one image and gives its manifest `--count` tags, `tag-0000000` and so on.
pub(crate) fn run_tags(arguments: &Arguments) -> Result<Value, Error> {
    let (address, repository) = (arguments.text("address")?, arguments.text("repository")?);
    let count: usize = arguments.number("count")?;
    // Numbers that are not taken yet, and a manifest that is in the repository only once.
    let (from, seed) = (arguments.optional("from")?.unwrap_or(0), arguments.optional("seed")?.unwrap_or(1));
    let image = Image::new(4096, seed);
    let mut first = Connection::open(address)?;
    image.push(&mut first, repository)?;
    let next = AtomicUsize::new(0);
    let done = workers::run(arguments, arguments.number("connections")?, |connection, _| {
        let mut took = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(took);
            }
            let (begun, tag) = (Instant::now(), format!("tag-{:07}", from + number));
            put_manifest(connection, repository, &tag, &image.manifest)?;
            took.push(begun.elapsed());
        }
    })?;
    let took: Vec<Duration> = done.results.into_iter().flatten().collect();
    Ok(done.used.with(json!({
        "tags": count,
        "tag_ms": summary::latencies(took),
        "digest": image.manifest.digest,
        "layer": image.layer.digest,
    })))
}

impl Image {
    fn new(layer_size: usize, seed: u64) -> Self {
        let config = Content::new(format!(r#"{{"architecture":"amd64","os":"linux","seed":{seed}}}"#).into_bytes());
        let layer = Content::random(layer_size, seed);
        let manifest = content::manifest(&config, &layer);
        Self { config, layer, manifest }
    }

    fn push(&self, connection: &mut Connection, repository: &str) -> Result<(), Error> {
        for blob in [&self.layer, &self.config] {
            let path = format!("/v2/{repository}/blobs/{}", blob.digest);
            Request { method: "HEAD", path: &path, headers: "", body: Body::None }.expect(connection, 404)?;
            push(connection, repository, blob, Way::Whole)?;
        }
        put_manifest(connection, repository, "latest", &self.manifest)
    }
}

fn put_manifest(connection: &mut Connection, repository: &str, tag: &str, manifest: &Content) -> Result<(), Error> {
    let path = format!("/v2/{repository}/manifests/{tag}");
    let headers = format!("Content-Type: {MANIFEST_TYPE}\r\n");
    let body = Body::Whole(&manifest.bytes);
    Request { method: "PUT", path: &path, headers: &headers, body }.expect(connection, 201).map(drop)
}
