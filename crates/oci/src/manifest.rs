//! Manifests: the bytes, which are sacred, and a view of what they name.
//!
//! A manifest is stored and served exactly as it was received. What this module reads out of it is a view for
//! decisions (may it be stored, what does it refer to, whom is it about); nothing is ever written back from it.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::{Algorithm, Annotations, Descriptor, Digest, ManifestKind, MediaType};

/// The largest manifest, in bytes. Clients stop reading at about this size, so more would be useless.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most references of one manifest. Real images have a hundred; many more would only hold up every other write while
/// they are recorded.
pub const MANIFEST_REFERENCES_MAX: usize = 4096;

/// A manifest: bytes as received, their type, and what they refer to.
#[derive(Clone)]
pub struct Manifest {
    bytes: Bytes,
    media_type: MediaType,
    kind: ManifestKind,
    references: Vec<Reference>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: Annotations,
}

/// Other content that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// What it is to the manifest.
    pub kind: ReferenceKind,
    /// Its name, size and type.
    pub descriptor: Descriptor,
}

impl Reference {
    /// Whether a push may leave the content out: it is had from elsewhere, by `urls` or by its type.
    pub fn is_optional(&self) -> bool {
        !self.descriptor.urls.is_empty()
            || self.descriptor.media_type.as_ref().is_some_and(MediaType::is_non_distributable)
    }
}

/// What a [`Reference`] is to its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReferenceKind {
    /// The configuration of an image: a blob.
    Config,
    /// A layer of an image, or a blob of an artifact manifest: a blob.
    Layer,
    /// An entry of an index: a manifest, or a blob (older build caches list their layers like this).
    Child,
}

/// The document as far as it is read. Known fields may stand only once: serde refuses a second one, so that no
/// other reader can see another manifest in the same bytes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
    subject: Option<Descriptor>,
    annotations: Option<Annotations>,
}

impl Manifest {
    /// Reads a manifest that was announced as `content_type`.
    ///
    /// A missing or unspecific type (`application/octet-stream`, `application/json`, `text/plain`) gives way to
    /// the `mediaType` inside.
    ///
    /// # Errors
    /// Each [`ManifestError`] says what about the bytes was wrong; none of them keeps anything.
    pub fn parse(bytes: Bytes, content_type: Option<&MediaType>) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge { size: bytes.len() });
        }
        if content_type.is_some_and(MediaType::is_schema1) {
            return Err(ManifestError::Schema1);
        }
        let document: Document = serde_json::from_slice(&bytes).map_err(ManifestError::Json)?;
        let media_type = decide_type(&document, content_type)?;
        let Some(kind) = media_type.manifest_kind() else {
            return Err(ManifestError::UnknownType { media_type });
        };
        check_shape(&document, kind)?;
        check_references(&document)?;
        Ok(Self::from_document(bytes, media_type, kind, document))
    }

    fn from_document(bytes: Bytes, media_type: MediaType, kind: ManifestKind, document: Document) -> Self {
        let artifact_type = document.artifact_type.filter(|text| !text.is_empty()).or_else(|| {
            let config_type = document.config.as_ref().and_then(|config| config.media_type.as_ref());
            config_type.filter(|_| kind == ManifestKind::Image).map(ToString::to_string)
        });
        let tagged = |kind, list: Option<Vec<Descriptor>>| {
            list.unwrap_or_default().into_iter().map(move |descriptor| Reference { kind, descriptor })
        };
        let references = tagged(ReferenceKind::Config, document.config.map(|config| vec![config]))
            .chain(tagged(ReferenceKind::Layer, document.layers))
            .chain(tagged(ReferenceKind::Layer, document.blobs))
            .chain(tagged(ReferenceKind::Child, document.manifests))
            .collect();
        Self {
            bytes,
            media_type,
            kind,
            references,
            subject: document.subject,
            artifact_type,
            annotations: document.annotations.unwrap_or_default(),
        }
    }

    /// The bytes as received.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The type to serve them with.
    pub const fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// What kind of manifest it is.
    pub const fn kind(&self) -> ManifestKind {
        self.kind
    }

    /// The digest of the bytes.
    pub fn digest(&self, algorithm: Algorithm) -> Digest {
        algorithm.digest(&self.bytes)
    }

    /// Everything it names except its subject, in the order of the document.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The manifest that this one is about.
    pub const fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// `artifactType`, or the type of the config of an image that has none.
    pub fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }

    /// The annotations of the whole manifest.
    pub const fn annotations(&self) -> &Annotations {
        &self.annotations
    }
}

impl fmt::Debug for Manifest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Manifest")
            .field("media_type", &self.media_type)
            .field("size", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// The type that the announcement and the document agree on.
fn decide_type(document: &Document, content_type: Option<&MediaType>) -> Result<MediaType, ManifestError> {
    let is_unspecific = |announced: &MediaType| {
        matches!(announced.as_str(), MediaType::OCTET_STREAM | "application/json" | "text/plain")
    };
    let announced = content_type.filter(|announced| !is_unspecific(announced));
    let inside = document.media_type.as_deref().filter(|text| !text.is_empty());
    match (announced, inside) {
        (Some(announced), Some(inside)) if announced.as_str() != inside => {
            Err(ManifestError::TypeMismatch { announced: announced.clone(), inside: inside.to_owned() })
        }
        (Some(announced), _) => Ok(announced.clone()),
        (None, Some(inside)) => {
            let inside: MediaType =
                inside.parse().map_err(|_| ManifestError::TypeMalformed { inside: inside.to_owned() })?;
            if inside.is_schema1() { Err(ManifestError::Schema1) } else { Ok(inside) }
        }
        (None, None) if document.schema_version == Some(1) => Err(ManifestError::Schema1),
        (None, None) => Err(ManifestError::TypeMissing),
    }
}

/// Whether the document has the fields of its kind and none that would make it another kind to another reader.
fn check_shape(document: &Document, kind: ManifestKind) -> Result<(), ManifestError> {
    if document.schema_version == Some(1) || document.fs_layers.is_some() {
        return Err(ManifestError::Schema1);
    }
    if kind != ManifestKind::Artifact && document.schema_version != Some(2) {
        return Err(ManifestError::SchemaVersion);
    }
    let foreign = match kind {
        ManifestKind::Image => [("manifests", document.manifests.is_some()), ("blobs", document.blobs.is_some())],
        ManifestKind::Index => [("layers", document.layers.is_some()), ("config", document.config.is_some())],
        ManifestKind::Artifact => [("manifests", document.manifests.is_some()), ("layers", document.layers.is_some())],
    };
    if let Some((field, _)) = foreign.into_iter().find(|(_, is_present)| *is_present) {
        return Err(ManifestError::Ambiguous { field });
    }
    if kind == ManifestKind::Image && document.config.is_none() {
        return Err(ManifestError::ConfigMissing);
    }
    Ok(())
}

fn check_references(document: &Document) -> Result<(), ManifestError> {
    let lists = [&document.layers, &document.blobs, &document.manifests];
    let count: usize = lists.into_iter().flatten().map(Vec::len).sum();
    if count > MANIFEST_REFERENCES_MAX { Err(ManifestError::TooManyReferences { count }) } else { Ok(()) }
}

/// Why bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MANIFEST_BYTES_MAX`] bytes.
    #[error("manifest has {size} bytes, more than the {MANIFEST_BYTES_MAX} allowed")]
    TooLarge {
        /// Its size in bytes, or the first size at which it was too large.
        size: usize,
    },
    /// Not JSON, a field of the wrong type, or a field twice.
    #[error("manifest is not a valid document: {0}")]
    Json(#[source] serde_json::Error),
    /// Docker's schema 1, which has been superseded since 2016.
    #[error(
        "manifest is of Docker's schema 1, which is too old and not supported: have the image rebuilt, or pushed again by a \
         current client, as schema 2 or OCI"
    )]
    Schema1,
    /// `schemaVersion` is not 2.
    #[error("manifest lacks \"schemaVersion\": 2")]
    SchemaVersion,
    /// Neither a `Content-Type` nor a `mediaType` says what it is.
    #[error("manifest says neither by Content-Type nor by \"mediaType\" what it is")]
    TypeMissing,
    /// `mediaType` is not a media type.
    #[error("\"mediaType\" {inside:?} is not a media type")]
    TypeMalformed {
        /// The field's text.
        inside: String,
    },
    /// The two names of the type differ.
    #[error("Content-Type is {announced:?}, but \"mediaType\" is {inside:?}")]
    TypeMismatch {
        /// The header.
        announced: MediaType,
        /// The field.
        inside: String,
    },
    /// The type is not one of a manifest.
    #[error("{media_type:?} is not the type of a manifest")]
    UnknownType {
        /// The type.
        media_type: MediaType,
    },
    /// A field of another kind of manifest is present.
    #[error("manifest has a field {field:?} that does not belong to its type")]
    Ambiguous {
        /// The field.
        field: &'static str,
    },
    /// More than [`MANIFEST_REFERENCES_MAX`] references.
    #[error("manifest names {count} layers or manifests, more than the {MANIFEST_REFERENCES_MAX} allowed")]
    TooManyReferences {
        /// How many it names.
        count: usize,
    },
    /// An image manifest without `config`.
    #[error("image manifest lacks \"config\"")]
    ConfigMissing,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

    fn parse(body: &str, content_type: &str) -> Result<Manifest, ManifestError> {
        let content_type = content_type.parse().ok();
        Manifest::parse(Bytes::copy_from_slice(body.as_bytes()), content_type.as_ref())
    }

    #[test]
    fn the_artifact_type_of_an_image_is_its_own_or_that_of_its_config() {
        let plain = format!(r#"{{"schemaVersion":2,"config":{EMPTY},"layers":[]}}"#);
        let manifest = parse(&plain, MediaType::OCI_MANIFEST).unwrap();
        assert_eq!(manifest.artifact_type(), Some("application/vnd.oci.empty.v1+json"));
        let own = format!(r#"{{"schemaVersion":2,"artifactType":"a/b","config":{EMPTY},"layers":[]}}"#);
        assert_eq!(parse(&own, MediaType::OCI_MANIFEST).unwrap().artifact_type(), Some("a/b"));
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert_eq!(parse(index, MediaType::OCI_INDEX).unwrap().artifact_type(), None);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let image = MediaType::OCI_MANIFEST;
        let rows = [
            (format!(r#"{{"schemaVersion":2,"config":{EMPTY},"layers":[],"manifests":[]}}"#), image, "manifests"),
            (format!(r#"{{"schemaVersion":2,"config":{EMPTY},"config":{EMPTY},"layers":[]}}"#), image, "duplicate"),
            (r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#.to_owned(), MediaType::OCI_INDEX, "layers"),
            (r#"{"schemaVersion":2,"layers":[]}"#.to_owned(), image, "config"),
            (format!(r#"{{"config":{EMPTY},"layers":[]}}"#), image, "schemaVersion"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "", "schema 1"),
            (r#"{"schemaVersion":2,"fsLayers":[],"manifests":[]}"#.to_owned(), MediaType::OCI_INDEX, "schema 1"),
            (r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), "", "neither"),
            (r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), "text/html", "text/html"),
            (
                format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, MediaType::DOCKER_LIST),
                MediaType::OCI_INDEX,
                "Content-Type is",
            ),
            ("<html>".to_owned(), image, "not a valid document"),
            ("[1]".to_owned(), image, "not a valid document"),
            // Unknown fields are skipped without recursion, known ones cannot nest: no depth can overflow the stack.
            (format!(r#"{{"a":{}{}}}"#, "[".repeat(900_000), "]".repeat(900_000)), image, "schemaVersion"),
            (format!(r#"{{"annotations":{}}}"#, "[".repeat(900_000)), image, "not a valid document"),
        ];
        for (body, content_type, needle) in rows {
            let error = parse(&body, content_type).expect_err(&body);
            assert!(error.to_string().contains(needle), "{error} does not say {needle:?}");
        }
    }

    #[test]
    fn references_are_counted() {
        let index = |count: usize| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![EMPTY; count].join(","));
        assert!(parse(&index(MANIFEST_REFERENCES_MAX), MediaType::OCI_INDEX).is_ok());
        let refused = parse(&index(MANIFEST_REFERENCES_MAX + 1), MediaType::OCI_INDEX).unwrap_err();
        assert!(matches!(refused, ManifestError::TooManyReferences { count: 4097 }), "{refused}");
    }

    #[test]
    fn the_type_inside_counts_where_the_header_is_silent() {
        let body = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":null}}"#, MediaType::DOCKER_LIST);
        for content_type in ["", "application/octet-stream", "application/json; charset=utf-8"] {
            assert_eq!(parse(&body, content_type).unwrap().media_type().as_str(), MediaType::DOCKER_LIST);
        }
    }

    #[test]
    fn foreign_layers_and_foreign_digests_are_read() {
        let body = format!(
            r#"{{"schemaVersion":2,"config":{EMPTY},"layers":[
                {{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"blake3:{}","size":9}},
                {{"mediaType":"a/b","digest":"sha256:{}","size":9,"urls":["https://example.org/x"]}}],
                "subject":{EMPTY},"x":1}}"#,
            "a".repeat(64),
            "b".repeat(64)
        );
        let manifest = parse(&body, MediaType::OCI_MANIFEST).unwrap();
        let optional: Vec<bool> = manifest.references().iter().map(Reference::is_optional).collect();
        assert_eq!(optional, [false, true, true]);
        assert!(manifest.references()[1].descriptor.digest.known().is_none());
        assert_eq!(manifest.subject().unwrap().size, 2);
        assert_eq!(manifest.bytes(), body.as_bytes());
    }
}
