//! Pulling through another registry, which is a real HTTP server on loopback that can be told to lie.

mod callers;
mod circles;
mod content;
mod doors;
mod errors;
mod faults;
mod fills;
mod freshness;
mod operated;
mod policy;
mod shapes;
mod sharing;
mod table;

use std::time::Duration;

use bytes::BytesMut;
use entrepot_oci::Digest;
use entrepot_registry::{Freshness, ProxySettings};
use entrepot_testkit::{FakeUpstream, Image, Seen};
use entrepot_upstream::{Timeouts, UpstreamConfig};
use reqwest::{Method, Response, StatusCode};

use crate::support::{Running, Setup};

/// The name of the upstream in paths.
const NAME: &str = "upstream.test";
/// The repository there.
const REPOSITORY: &str = "team/app";

/// A registry in front of an upstream that is honest until told otherwise.
struct Port {
    upstream: FakeUpstream,
    registry: Running,
}

impl Port {
    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    /// With a configuration of the upstream other than the plainest.
    async fn with(configure: impl FnOnce(&mut UpstreamConfig)) -> Self {
        Self::open_with(configure, ProxySettings::default()).await
    }

    /// With what an operator may say about pulling through.
    async fn under(settings: ProxySettings) -> Self {
        Self::open_with(|_| {}, settings).await
    }

    /// Timeouts are short: loopback is fast.
    async fn open_with(configure: impl FnOnce(&mut UpstreamConfig), settings: ProxySettings) -> Self {
        let upstream = FakeUpstream::start().await;
        let mut config = UpstreamConfig::new(NAME, upstream.url().parse().unwrap());
        configure(&mut config);
        let timeouts = Timeouts {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(2),
            stall: Duration::from_secs(1),
            document: Duration::from_secs(2),
        };
        let setup = Setup { upstreams: vec![config], timeouts: Some(timeouts), settings, ..Setup::default() };
        Self { upstream, registry: Running::with(setup).await }
    }

    /// With one image in the upstream.
    async fn with_image(layer_sizes: &[usize]) -> (Self, Image) {
        let port = Self::open().await;
        let image = Image::new(7, layer_sizes);
        image.load_into(&port.upstream, REPOSITORY, "1");
        (port, image)
    }

    /// The same, where no tag is believed without asking.
    async fn confirming(layer_sizes: &[usize]) -> (Self, Image) {
        let freshness = Freshness { fresh_for: Some(Duration::ZERO), ..Freshness::default() };
        let settings = ProxySettings { freshness, ..ProxySettings::default() };
        let port = Self::open_with(|_| {}, settings).await;
        let image = Image::new(7, layer_sizes);
        image.load_into(&port.upstream, REPOSITORY, "1");
        (port, image)
    }

    fn tags_url(&self) -> String {
        self.registry.url(&format!("/v2/proxy/{NAME}/{REPOSITORY}/tags/list"))
    }

    fn manifest_url(&self, reference: &str) -> String {
        self.registry.url(&format!("/v2/proxy/{NAME}/{REPOSITORY}/manifests/{reference}"))
    }

    fn blob_url(&self, digest: &Digest) -> String {
        self.registry.url(&format!("/v2/proxy/{NAME}/{REPOSITORY}/blobs/{digest}"))
    }

    async fn get(&self, url: String) -> Response {
        self.registry.client.get(url).send().await.unwrap()
    }

    async fn head(&self, url: String) -> Response {
        self.registry.client.request(Method::HEAD, url).send().await.unwrap()
    }

    async fn manifest(&self, reference: &str) -> Response {
        self.get(self.manifest_url(reference)).await
    }

    /// The bytes of a blob that must arrive whole.
    async fn blob(&self, digest: &Digest) -> bytes::Bytes {
        let response = self.get(self.blob_url(digest)).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.bytes().await.unwrap()
    }

    /// How often the upstream was asked for the bytes of a blob.
    fn blob_gets(&self) -> usize {
        self.upstream.count(|seen| seen.is_get() && seen.is_blob())
    }

    /// Waits until no fill runs, then says how many stages are left over.
    async fn leftovers(&self) -> usize {
        let registry = &self.registry.assembly().registry;
        registry.fills_ended().await;
        let folder = self.registry.folder().join("tmp");
        // With own images in a bucket, this is where the lock of the process lies.
        let is_locked = folder.join("entrepot.lock").try_exists().unwrap();
        walk(&folder) - usize::from(is_locked)
    }
}

/// How many files there are below a folder.
fn walk(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| if entry.file_type().unwrap().is_dir() { walk(&entry.path()) } else { 1 })
        .sum()
}

/// What a client received, and whether the answer came to a clean end.
async fn receive(mut response: Response) -> (BytesMut, bool) {
    let mut received = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => received.extend_from_slice(&piece),
            Ok(None) => return (received, true),
            Err(_) => return (received, false),
        }
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn is_whole_blob_get(seen: &Seen) -> bool {
    seen.is_get() && seen.is_blob() && seen.header("range").is_none()
}
