//! Pushing a manifest.

use bytes::Bytes;
use entrepot_metadata::{ManifestPush, PushOutcome, ReferenceCheck, TagCondition};
use entrepot_oci::{Algorithm, Digest, Manifest, MediaType, Tag, TagOrDigest};

use crate::limits::REFERENCES_NAMED_MAX;
use crate::{Error, Repository};

/// A manifest as it is pushed.
#[derive(Clone, Debug)]
pub struct ManifestUpload {
    /// The tag to set, or the digest that the bytes must have.
    pub reference: TagOrDigest,
    /// What the client says that it is.
    pub media_type: Option<MediaType>,
    /// The manifest.
    pub bytes: Bytes,
    /// Further tags to set; only for a push by digest.
    pub tags: Vec<Tag>,
    /// Whether tags that do not exist yet may be made.
    pub may_create_tags: bool,
    /// Whether tags may be pointed at another manifest; never one that is immutable here.
    pub may_move_tags: bool,
    /// What must be true of the tag for the push to happen.
    pub condition: TagCondition,
}

/// What a push of a manifest did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedManifest {
    /// The digest that the manifest is held under.
    pub digest: Digest,
    /// The digest of its subject, in the spelling of the manifest.
    pub subject: Option<String>,
}

impl Repository {
    /// Stores a manifest and points its tags at it, all or nothing.
    ///
    /// A tag that must not move or be made is told before the condition is judged, and both before what the manifest names.
    pub async fn push_manifest(&self, upload: ManifestUpload) -> Result<PushedManifest, Error> {
        let store = self.writable()?;
        let manifest = Manifest::parse(upload.bytes, upload.media_type.as_ref())?;
        let (digest, tags) = match upload.reference {
            TagOrDigest::Tag(tag) => (manifest.digest(Algorithm::Sha256), vec![tag]),
            TagOrDigest::Digest(expected) => {
                let actual = manifest.digest(expected.algorithm());
                if actual != expected {
                    return Err(Error::DigestMismatch { expected, actual });
                }
                (actual, upload.tags)
            }
        };
        let immutable = self.immutable_tags();
        let may_not_move = |tag: &&Tag| !upload.may_move_tags || immutable.contains(tag);
        let unmovable = tags.iter().filter(may_not_move).cloned().collect();
        let subject = manifest.subject().map(|subject| subject.digest.to_string());
        let push = ManifestPush {
            repository: self.name.clone(),
            digest: digest.clone(),
            manifest,
            tags,
            unmovable,
            may_create_tags: upload.may_create_tags,
            references: ReferenceCheck::Required,
            condition: upload.condition,
            now: self.registry.clock.now(),
        };
        match store.metadata.push_manifest(push).await? {
            PushOutcome::Stored => {
                self.registry.metrics.manifests_pushed.inc();
                Ok(PushedManifest { digest, subject })
            }
            PushOutcome::Missing(mut digests) => {
                digests.truncate(REFERENCES_NAMED_MAX);
                Err(Error::ReferencesMissing { name: self.name.clone(), digests })
            }
            PushOutcome::WrongSize(mut digests) => {
                digests.truncate(REFERENCES_NAMED_MAX);
                Err(Error::ReferencesOfWrongSize { name: self.name.clone(), digests })
            }
            PushOutcome::ConditionFailed => Err(Error::ConditionFailed),
            PushOutcome::TagUnmovable(tag) => Err(Error::TagUnmovable { name: self.name.clone(), tag }),
            PushOutcome::TagUncreatable(tag) => Err(Error::TagUncreatable { name: self.name.clone(), tag }),
        }
    }
}
