//! The OCI distribution and image specifications as types.
//!
//! Everything that arrives as text is parsed here, once, into a type that cannot hold anything else; inside the
//! other crates there are no strings that mean a name, a digest or a range. No I/O, no async, no HTTP library: a
//! header is a `&str` when it comes in and a `String` when it goes out.
//!
//! The specifications: [distribution](https://github.com/opencontainers/distribution-spec/blob/main/spec.md),
//! [image](https://github.com/opencontainers/image-spec/blob/main/spec.md).

mod descriptor;
mod digest;
mod error;
mod image_reference;
mod manifest;
mod media_type;
mod name;
mod patterns;
mod platform;
mod range;
mod referrers;

pub use descriptor::{Annotations, Descriptor, DescriptorDigest};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use error::{ErrorBody, ErrorCode, ErrorEntry};
pub use image_reference::{ImageReference, ImageReferenceError};
pub use manifest::{MANIFEST_BYTES_MAX, MANIFEST_REFERENCES_MAX, Manifest, ManifestError, Reference, ReferenceKind};
pub use media_type::{ManifestKind, MediaType, MediaTypeError};
pub use name::{NAME_LENGTH_MAX, NameError, RepositoryName, TAG_LENGTH_MAX, Tag, TagError, TagOrDigest};
pub use patterns::{PatternError, Patterns};
pub use platform::ChildPlatform;
pub use range::{ByteRange, ChunkRange, RangeError, RangeRequest, upload_range};
pub use referrers::{Referrer, referrers_index, referrers_tag};
