//! Images to pull: deterministic bytes, real manifests.

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, Manifest, MediaType};
use serde_json::{Value, json};

use crate::fake::FakeUpstream;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A blob with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The bytes.
    pub bytes: Bytes,
    /// Their `sha256` digest.
    pub digest: Digest,
}

impl Blob {
    /// These bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: Algorithm::Sha256.digest(&bytes), bytes }
    }

    /// `size` pseudo-random bytes, the same for the same `seed`.
    pub fn random(seed: u64, size: usize) -> Self {
        Self::new(pseudo_random(seed, size))
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest.as_str(), "size": self.bytes.len() })
    }
}

/// A manifest as it is stored: bytes, type, name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// The bytes.
    pub bytes: Bytes,
    /// What they are.
    pub media_type: MediaType,
    /// Their `sha256` digest.
    pub digest: Digest,
}

impl StoredManifest {
    /// The bytes of a JSON document as a manifest of a type.
    ///
    /// # Panics
    /// When `media_type` is not a media type.
    pub fn new(media_type: &str, document: &Value) -> Self {
        let bytes = Bytes::from(document.to_string());
        let media_type = media_type.parse().expect("a media type");
        Self { digest: Algorithm::Sha256.digest(&bytes), media_type, bytes }
    }

    /// The descriptor that names it.
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type.as_str(), "digest": self.digest.as_str(), "size": self.bytes.len() })
    }

    /// The manifest as the domain reads it.
    ///
    /// # Panics
    /// When the bytes are not a manifest.
    pub fn parsed(&self) -> Manifest {
        Manifest::parse(self.bytes.clone(), Some(&self.media_type)).expect("a manifest")
    }

    /// Puts it into a repository.
    pub fn load_into(&self, upstream: &FakeUpstream, repository: &str) {
        upstream.put_manifest_as(repository, &self.digest, &self.media_type, self.bytes.clone());
    }
}

/// An image of one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The configuration.
    pub config: Blob,
    /// The layers, in order.
    pub layers: Vec<Blob>,
    /// The manifest that names them.
    pub manifest: StoredManifest,
}

impl Image {
    /// An image with layers of these sizes in bytes. The same `seed` and sizes make the same image, another seed one
    /// that shares no layer with it.
    pub fn new(seed: u64, layer_sizes: &[usize]) -> Self {
        let layers: Vec<Blob> =
            (1..).zip(layer_sizes).map(|(number, size)| Blob::random(seed << 16 | number, *size)).collect();
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Env": [format!("SEED={seed}")] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Blob::new(config.to_string());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "config": config.descriptor(CONFIG),
            "layers": layers.iter().map(|layer| layer.descriptor(LAYER)).collect::<Vec<_>>(),
        });
        let manifest = StoredManifest::new(MediaType::OCI_MANIFEST, &manifest);
        Self { config, layers, manifest }
    }

    /// The configuration and the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// Puts everything into a repository, under a tag.
    pub fn load_into(&self, upstream: &FakeUpstream, repository: &str, tag: &str) {
        for blob in self.blobs() {
            upstream.put_blob_as(repository, &blob.digest, blob.bytes.clone());
        }
        self.manifest.load_into(upstream, repository);
        upstream.put_tag(repository, tag, &self.manifest.digest);
    }
}

/// An index of images, each for a platform (`architecture`) of Linux.
pub fn index(platforms: &[(&str, &StoredManifest)]) -> StoredManifest {
    let entries: Vec<Value> = platforms
        .iter()
        .map(|(architecture, manifest)| {
            let mut entry = manifest.descriptor();
            entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
            entry
        })
        .collect();
    let document = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries });
    StoredManifest::new(MediaType::OCI_INDEX, &document)
}

/// An artifact about `subject`, with one blob, such as a signature; returns the manifest, its empty config and the blob.
pub fn artifact(seed: u64, artifact_type: &str, subject: &StoredManifest) -> (StoredManifest, [Blob; 2]) {
    let empty = Blob::new("{}");
    let payload = Blob::random(seed, 256);
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": empty.descriptor("application/vnd.oci.empty.v1+json"),
        "layers": [payload.descriptor(MediaType::OCTET_STREAM)],
        "subject": subject.descriptor(),
        "annotations": { "org.example.seed": seed.to_string() },
    });
    (StoredManifest::new(MediaType::OCI_MANIFEST, &document), [empty, payload])
}

/// `size` bytes that look random and are the same for the same `seed`.
///
/// A linear sequence through a mixing function: fast, without structure that a range off by one could hide in.
pub fn pseudo_random(seed: u64, size: usize) -> Bytes {
    let mut state = seed;
    let words = std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    });
    words.flat_map(u64::to_le_bytes).take(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_image_and_another_shares_nothing() {
        let image = Image::new(1, &[10, 20]);
        assert_eq!(image, Image::new(1, &[10, 20]));
        let other = Image::new(2, &[10, 20]);
        assert!(image.blobs().all(|blob| other.blobs().all(|foreign| foreign.digest != blob.digest)));
        assert_eq!(image.manifest.parsed().references().len(), 3);
    }

    #[test]
    fn an_artifact_is_about_its_subject() {
        let image = Image::new(1, &[10]);
        let (signature, _) = artifact(7, "application/vnd.example.signature", &image.manifest);
        let subject = signature.parsed().subject().unwrap().digest.known().cloned();
        assert_eq!(subject, Some(image.manifest.digest.clone()));
        let index = index(&[("amd64", &image.manifest)]);
        assert_eq!(index.parsed().references().len(), 1);
    }
}
