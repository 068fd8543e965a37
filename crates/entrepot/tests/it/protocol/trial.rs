//! What a rule is proved with: a repository of its own on a running registry, content that no other rule has, and
//! every way to push it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, MediaType};
use entrepot_testkit::{Blob, Image, StoredManifest};
use futures_util::{StreamExt, stream};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::exchange::{Answer, Ask};
use crate::support::Running;

/// The type of a layer of random bytes, or of any other blob.
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The type of `{}`.
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A repository on a running registry.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) address: SocketAddr,
    client: Client,
    number: u64,
}

impl Trial {
    /// A repository that is named after a rule, and content that depends on `number`.
    pub(super) fn new(running: &Running, number: u64, rule: &str) -> Self {
        let (client, folder) = (running.client.clone(), running.folder().to_owned());
        let name = format!("rule/{}-{number}", rule.to_lowercase().replace(' ', "-"));
        Self { name, folder, address: running.address, client, number }
    }

    /// The same repository name and content on another registry, or on one that was restarted.
    pub(super) fn on(&self, running: &Running) -> Self {
        let (client, folder) = (running.client.clone(), running.folder().to_owned());
        Self { folder, address: running.address, client, ..self.clone() }
    }

    /// Another repository on the same registry.
    pub(super) fn beside(&self, component: &str) -> Self {
        self.named(&format!("{}/{component}", self.name))
    }

    /// A repository of this name on the same registry.
    pub(super) fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// A request about a path from the root (`/v2/…`, such as a location), or else below the repository.
    pub(super) fn ask(&self, method: &str, path: &str) -> Ask {
        let method: Method = method.parse().unwrap();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/v2/{}/{path}", self.name) };
        let request = self.client.request(method.clone(), format!("http://{}{path}", self.address));
        Ask::new(request, method, &path)
    }

    pub(super) fn get(&self, path: &str) -> Ask {
        self.ask("GET", path)
    }

    pub(super) fn head(&self, path: &str) -> Ask {
        self.ask("HEAD", path)
    }

    pub(super) fn post(&self, path: &str) -> Ask {
        self.ask("POST", path)
    }

    pub(super) fn patch(&self, path: &str) -> Ask {
        self.ask("PATCH", path)
    }

    pub(super) fn put(&self, path: &str) -> Ask {
        self.ask("PUT", path)
    }

    pub(super) fn delete(&self, path: &str) -> Ask {
        self.ask("DELETE", path)
    }

    /// Random bytes that no other rule has.
    pub(super) fn blob(&self, index: u64, size: usize) -> Blob {
        Blob::random(self.number << 32 | index, size)
    }

    /// An image that shares no layer with those of other rules.
    pub(super) fn image(&self, index: u64) -> Image {
        Image::new(1 << 32 | self.number << 8 | index, &[1000, 10])
    }

    pub(super) async fn push_blob(&self, blob: &Blob) {
        let pushed = self.post(&format!("blobs/uploads/?digest={}", blob.digest)).body(blob.bytes.clone()).await;
        pushed.expect(201);
    }

    /// Pushes `{}` and returns the descriptor of it.
    pub(super) async fn push_empty(&self) -> Value {
        let empty = Blob::new("{}");
        self.push_blob(&empty).await;
        descriptor(EMPTY, &empty)
    }

    pub(super) fn put_manifest(&self, reference: impl Display, manifest: &StoredManifest) -> Ask {
        let path = format!("manifests/{reference}");
        self.put(&path).header("content-type", manifest.media_type.as_str()).body(manifest.bytes.clone())
    }

    pub(super) async fn push_manifest(&self, reference: impl Display, manifest: &StoredManifest) {
        self.put_manifest(reference, manifest).await.expect(201);
    }

    pub(super) async fn push_image(&self, reference: impl Display, image: &Image) {
        for blob in image.blobs() {
            self.push_blob(blob).await;
        }
        self.push_manifest(reference, &image.manifest).await;
    }

    /// Pushes an image under a tag and returns it.
    pub(super) async fn pushed(&self, tag: &str) -> Image {
        let image = self.image(0);
        self.push_image(tag, &image).await;
        image
    }

    /// Starts an upload and returns its location.
    pub(super) async fn start(&self) -> String {
        self.post("blobs/uploads/").await.expect(202).location()
    }

    /// Waits until the session has this many bytes. The deadline of the rule ends it.
    pub(super) async fn until_received(&self, location: &str, bytes: usize) {
        let wanted = format!("0-{}", bytes - 1);
        while self.get(location).await.expect(204).header("range") != wanted {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the registry has noticed that the last request to the session broke off.
    pub(super) async fn until_free(&self, location: &str) {
        while self.patch(location).await.status == 409 {
            tokio::task::yield_now().await;
        }
    }

    /// After a refusal: neither a HEAD nor a GET finds the blob.
    pub(super) async fn holds_no_blob(&self, digest: impl Display) {
        let path = format!("blobs/{digest}");
        self.head(&path).await.expect(404);
        self.get(&path).await.expect(404);
    }

    /// After a refusal: neither a HEAD nor a GET finds the manifest.
    pub(super) async fn holds_no_manifest(&self, reference: impl Display) {
        let path = format!("manifests/{reference}");
        self.head(&path).await.expect(404);
        self.get(&path).await.expect(404);
    }

    /// A GET of the blob brings exactly these bytes, and a HEAD promises them.
    pub(super) async fn holds_blob(&self, digest: &Digest, bytes: &Bytes) {
        let path = format!("blobs/{digest}");
        let head = self.head(&path).await;
        head.expect(200).has("content-length", bytes.len().to_string()).has("docker-content-digest", digest.as_str());
        self.get(&path).await.expect(200).has("docker-content-digest", digest.as_str()).is(bytes);
    }

    pub(super) async fn tags(&self) -> Vec<String> {
        texts(&self.get("tags/list").await.expect(200).json()["tags"])
    }

    /// Pushes a blob in one of the ways that there are. The source of a mount is another repository, not this one.
    pub(super) async fn push_by(&self, way: Way, bytes: &Bytes, digest: &Digest) -> Answer {
        let half = bytes.len() / 2;
        let (first, second) = (bytes.slice(..half), bytes.slice(half..));
        match way {
            Way::Post => self.post(&format!("blobs/uploads/?digest={digest}")).body(bytes.clone()).await,
            Way::Put => self.put(&closing(&self.start().await, digest)).body(bytes.clone()).await,
            Way::Chunks | Way::LastChunkInPut if bytes.is_empty() => {
                self.put(&closing(&self.start().await, digest)).await
            }
            Way::Chunks => {
                let location = self.patch(&self.start().await).chunk(0, &first).await.expect(202).location();
                let location = self.patch(&location).chunk(half, &second).await.expect(202).location();
                self.put(&closing(&location, digest)).await
            }
            Way::LastChunkInPut => {
                let location = self.patch(&self.start().await).chunk(0, &first).await.expect(202).location();
                self.put(&closing(&location, digest)).chunk(half, &second).await
            }
            Way::Stream => {
                let location =
                    self.patch(&self.start().await).body(streamed([first, second])).await.expect(202).location();
                self.put(&closing(&location, digest)).await
            }
            Way::Mount | Way::MountFromAnywhere => {
                let source = self.named(&format!("source/{}", self.name));
                source.post(&format!("blobs/uploads/?digest={digest}")).body(bytes.clone()).await.expect(201);
                let from = if way == Way::Mount { format!("&from={}", source.name) } else { String::new() };
                self.post(&format!("blobs/uploads/?mount={digest}{from}")).await
            }
        }
    }
}

/// A way to push a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The whole blob in one POST.
    Post,
    /// A POST, then the whole blob in one PUT.
    Put,
    /// A POST, two parts by PATCH with ranges, an empty PUT.
    Chunks,
    /// A POST, a PATCH with a range, the rest in the PUT.
    LastChunkInPut,
    /// A POST, one PATCH without range and length, an empty PUT.
    Stream,
    /// From another repository.
    Mount,
    /// From wherever it is.
    MountFromAnywhere,
}

impl Way {
    pub(super) const ALL: [Self; 7] =
        [Self::Post, Self::Put, Self::Chunks, Self::LastChunkInPut, Self::Stream, Self::Mount, Self::MountFromAnywhere];
}

/// The location of an upload with the digest that closes it.
pub(super) fn closing(location: &str, digest: &Digest) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}digest={digest}")
}

/// A body whose length nobody is told.
pub(super) fn streamed(pieces: impl IntoIterator<Item = Bytes>) -> reqwest::Body {
    let pieces: Vec<Bytes> = pieces.into_iter().collect();
    reqwest::Body::wrap_stream(stream::iter(pieces).map(Ok::<_, std::io::Error>))
}

/// How a manifest names a blob.
pub(super) fn descriptor(media_type: &str, blob: &Blob) -> Value {
    json!({ "mediaType": media_type, "digest": blob.digest.as_str(), "size": blob.size() })
}

/// A document as an image manifest of OCI.
pub(super) fn image_manifest(document: &Value) -> StoredManifest {
    StoredManifest::new(MediaType::OCI_MANIFEST, document)
}

/// The other digest of the same bytes.
pub(super) fn sha512(bytes: &[u8]) -> Digest {
    Algorithm::Sha512.digest(bytes)
}

/// A JSON list of texts.
pub(super) fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Every file and folder below a folder.
pub(super) fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}
