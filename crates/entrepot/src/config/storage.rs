//! Where content is kept: in a folder, or under a prefix of a bucket.

use std::fmt;
use std::path::{Path, PathBuf};

use super::check::repeat;
use super::error::ProblemKind;
use super::issuers::refuse_url;
use super::limits::{BUCKET_NAME_BYTES, OBJECT_PREFIX_BYTES_MAX};
use super::resolve::{Resolver, allowed};
use super::written::{Text, Written};
use super::{Configuration, MetadataConfiguration};

/// Where one kind of content is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageLocation {
    /// In this folder, absolute.
    Folder(PathBuf),
    /// Under a prefix of a bucket.
    Object(ObjectUrl),
}

impl StorageLocation {
    /// The folder, when it is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Object(_) => None,
        }
    }

    /// The place in a bucket, when it is one.
    pub fn object(&self) -> Option<&ObjectUrl> {
        match self {
            Self::Folder(_) => None,
            Self::Object(url) => Some(url),
        }
    }
}

impl From<PathBuf> for StorageLocation {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl fmt::Display for StorageLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(formatter),
            Self::Object(url) => url.fmt(formatter),
        }
    }
}

/// A place in an object store: `s3://BUCKET/PREFIX`.
///
/// - The bucket has 3 to 222 characters: lower-case letters and digits, and between two of them also `.`, `_` and `-`.
/// - The prefix has parts that are separated by `/`: each has letters, digits, `-`, `_` and `.`, and is neither `.` nor `..`. It has no
///   `/` at its ends, and may be empty, which is the whole bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectUrl {
    scheme: ObjectScheme,
    bucket: String,
    prefix: String,
}

/// Which protocol a bucket is spoken to with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectScheme {
    /// S3 and what is compatible with it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage, where buckets are containers.
    Azure,
}

impl ObjectScheme {
    /// The scheme in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }
}

impl ObjectUrl {
    /// Which protocol the bucket is spoken to with.
    pub fn scheme(&self) -> ObjectScheme {
        self.scheme
    }

    /// The bucket, or the container.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// What all names of objects begin with, without a slash at its ends; empty when it is the whole bucket.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The URL of this text; otherwise what is wrong with it.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("is no URL")?;
        let schemes = [ObjectScheme::S3, ObjectScheme::Gcs, ObjectScheme::Azure];
        let scheme = schemes.into_iter().find(|known| known.as_str() == scheme).ok_or("has another scheme")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let has_ends = bucket.bytes().next().is_some_and(is_inner) && bucket.bytes().last().is_some_and(is_inner);
        if !has_ends || !bucket.bytes().all(|byte| is_inner(byte) || b"._-".contains(&byte)) {
            return Err("names no bucket");
        }
        if !BUCKET_NAME_BYTES.contains(&bucket.len()) {
            return Err("has a bucket with a name that is too short or too long");
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if prefix.len() > OBJECT_PREFIX_BYTES_MAX {
            return Err("has a prefix that is too long");
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_plain);
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err("has a prefix with a part that is empty, \".\", \"..\", or has other characters in it");
        }
        Ok(Self { scheme, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// Whether something can have a name under both.
    fn overlaps(&self, other: &Self) -> bool {
        let is_in = |inner: &str, outer: &str| {
            outer.is_empty() || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.scheme == other.scheme
            && self.bucket == other.bucket
            && (is_in(&self.prefix, &other.prefix) || is_in(&other.prefix, &self.prefix))
    }
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, bucket, prefix } = self;
        let slash = if prefix.is_empty() { "" } else { "/" };
        write!(formatter, "{}://{bucket}{slash}{prefix}", scheme.as_str())
    }
}

impl Configuration {
    /// The two stores with their keys.
    pub fn stores(&self) -> [(&'static str, &StorageLocation); 2] {
        [("registry_storage", &self.registry_storage), ("proxy_storage", &self.proxy_storage)]
    }

    /// Whether one of the two stores is a bucket.
    pub fn has_object_storage(&self) -> bool {
        self.stores().iter().any(|(_, location)| location.object().is_some())
    }

    /// The folder that one process at a time uses, with its key: what guards it, and the operator's socket, lie there. The folder of the own
    /// images; where these are in a bucket, which many replicas use, the folder of what this one has not finished.
    pub fn process_folder(&self) -> (&'static str, &Path) {
        match &self.registry_storage {
            StorageLocation::Folder(folder) => ("registry_storage", folder),
            StorageLocation::Object(_) => ("temporary_registry_storage", &self.temporary_registry_storage),
        }
    }

    /// Where the metadata of the own images is.
    pub fn registry_metadata(&self) -> &MetadataConfiguration {
        &self.metadata
    }

    /// Where the metadata of the cache is: with that of the own images. But a cache in a folder, beside own images in a bucket, is that of one
    /// replica alone: what is in it must not be told to the others, so that its metadata stays in the folder.
    pub fn proxy_metadata(&self) -> &MetadataConfiguration {
        match (&self.registry_storage, &self.proxy_storage) {
            (StorageLocation::Object(_), StorageLocation::Folder(_)) => &MetadataConfiguration::Sqlite,
            _ => &self.metadata,
        }
    }
}

/// A folder or a place in a bucket.
pub(crate) fn location(
    resolver: &mut Resolver<'_>,
    path: &'static str,
    written: &Text,
    default: &str,
) -> StorageLocation {
    if let Some(written) = written.as_ref().filter(|written| written.get_ref().contains("://")) {
        match ObjectUrl::parse(written.get_ref()) {
            Ok(url) => return StorageLocation::Object(url),
            // Somebody may have written an account into it.
            Err(_) if written.get_ref().contains('@') => refuse_url(resolver, path, written),
            Err(fault) => {
                let found = repeat(written.get_ref());
                let kind = ProblemKind::NotAnObjectUrl { found, fault, allowed: allowed(path) };
                resolver.add(resolver.place(written.span().start), path, kind);
            }
        }
        return StorageLocation::Folder(absolute(resolver, default));
    }
    StorageLocation::Folder(folder(resolver, path, written, default))
}

/// A folder, which cannot be elsewhere.
pub(crate) fn folder(resolver: &mut Resolver<'_>, path: &'static str, written: &Text, default: &str) -> PathBuf {
    let parse = |text: &str| (!text.trim().is_empty() && !text.contains("://")).then(|| text.to_owned());
    let folder = resolver.parsed(path, written, default.to_owned(), parse);
    absolute(resolver, &folder)
}

/// Without `.` in it, so that a path reads well in messages; `..` stays, it may lead through a link.
fn absolute(resolver: &Resolver<'_>, folder: &str) -> PathBuf {
    resolver.folder.join(folder).components().collect()
}

/// Refuses kinds of content in one place, and buckets without anything to keep their metadata in.
pub(crate) fn check(resolver: &mut Resolver<'_>, configuration: &Configuration, written: &Written) {
    check_stores(resolver, configuration, written);
    check_temporary(resolver, configuration, written);
    check_read_cache(resolver, configuration, written);
    if configuration.metadata.postgres().is_none() && written.metadata.is_none() {
        let written_stores = [&written.registry_storage, &written.proxy_storage];
        let mut stores = configuration.stores().into_iter().zip(written_stores);
        if let Some(((key, StorageLocation::Object(url)), text)) =
            stores.find(|((_, location), _)| location.object().is_some())
        {
            let kind = ProblemKind::MetadataNowhere { url: url.clone() };
            resolver.add(resolver.place_of([text, &None]), key, kind);
        }
    }
}

fn check_stores(resolver: &mut Resolver<'_>, configuration: &Configuration, written: &Written) {
    let kind = match (&configuration.registry_storage, &configuration.proxy_storage) {
        (StorageLocation::Folder(registry), StorageLocation::Folder(proxy)) if registry == proxy => {
            ProblemKind::SameFolder { folder: proxy.clone(), other: "registry_storage" }
        }
        (StorageLocation::Object(registry), StorageLocation::Object(proxy)) if registry.overlaps(proxy) => {
            let (url, other_url) = (Box::new(proxy.clone()), Box::new(registry.clone()));
            ProblemKind::SameObjects { url, other: "registry_storage", other_url }
        }
        _ => return,
    };
    resolver.add(resolver.place_of([&written.proxy_storage, &written.registry_storage]), "proxy_storage", kind);
}

fn check_temporary(resolver: &mut Resolver<'_>, configuration: &Configuration, written: &Written) {
    let temporary = &configuration.temporary_registry_storage;
    let written_stores = [&written.registry_storage, &written.proxy_storage];
    for ((other, location), other_written) in configuration.stores().into_iter().zip(written_stores) {
        let kind = match location.folder() {
            Some(folder) if folder == temporary => ProblemKind::SameFolder { folder: temporary.clone(), other },
            Some(folder) if folder.starts_with(temporary) => {
                ProblemKind::TemporaryAroundStorage { folder: temporary.clone(), other }
            }
            _ => continue,
        };
        let place = resolver.place_of([&written.temporary_registry_storage, other_written]);
        resolver.add(place, "temporary_registry_storage", kind);
    }
}

/// The cache deletes what is in its folder, and so does whoever sweeps what is not finished.
fn check_read_cache(resolver: &mut Resolver<'_>, configuration: &Configuration, written: &Written) {
    let (Some(cache), Some(table)) = (&configuration.storage.read_cache, &written.storage.read_cache) else { return };
    let temporary = ("temporary_registry_storage", configuration.temporary_registry_storage.as_path());
    let stores = configuration.stores().into_iter().filter_map(|(key, location)| Some((key, location.folder()?)));
    for (other, folder) in stores.chain([temporary]) {
        if cache.folder.starts_with(folder) || folder.starts_with(&cache.folder) {
            let other_folder = folder.to_owned();
            let kind = ProblemKind::ReadCacheElsewhere { folder: cache.folder.clone(), other, other_folder };
            let place = resolver.place_of([&table.get_ref().folder, &None]);
            resolver.add(place, "storage.read_cache.folder", kind);
            return;
        }
    }
}
