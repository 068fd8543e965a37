//! Content that nobody has seen before: the same for the same seed, and incompressible.

use sha2::{Digest as _, Sha256};

/// Bytes and what they are called.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: String,
}

impl Content {
    /// Wraps bytes.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let hash = Sha256::digest(&bytes);
        let digest = hash.iter().fold(String::from("sha256:"), |text, byte| text + &format!("{byte:02x}"));
        Self { bytes, digest }
    }

    /// Makes `size` bytes from a seed, by the `SplitMix64` sequence.
    pub(crate) fn random(size: usize, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0xa076_1d64_78bd_642f).wrapping_add(1);
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
        }
        bytes.truncate(size);
        Self::new(bytes)
    }
}

/// The manifest of an image of one layer.
pub(crate) fn manifest(config: &Content, layer: &Content) -> Content {
    let descriptor = |kind: &str, content: &Content| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": content.digest,
            "size": content.bytes.len(),
        })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor("config.v1+json", config),
        "layers": [descriptor("layer.v1.tar+gzip", layer)],
    });
    Content::new(manifest.to_string().into_bytes())
}

/// The type of the manifests that are made here.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_depends_on_its_seed_and_on_nothing_else() {
        let content = Content::random(1000, 7);
        assert_eq!((content.bytes.len(), &content.bytes), (1000, &Content::random(1000, 7).bytes));
        assert_ne!(content.digest, Content::random(1000, 8).digest);
    }

    #[test]
    fn a_digest_is_the_one_that_everybody_else_computes() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Content::new(Vec::new()).digest, empty);
    }
}
