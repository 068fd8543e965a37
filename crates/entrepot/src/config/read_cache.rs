//! `[storage.read_cache]`: content of buckets on the local disk, for reads.

use std::path::PathBuf;

use toml::Spanned;

use super::error::ProblemKind;
use super::resolve::Resolver;
use super::storage::folder;
use super::value::parse_size;
use super::written::WrittenReadCache;

/// Where content of buckets is kept as well, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadCacheConfiguration {
    /// The folder, absolute; nothing else is in it.
    pub folder: PathBuf,
    /// Bytes that may be in it.
    pub size_max: u64,
}

/// The cache; `has_object_storage`: there is something to keep in it.
pub(crate) fn read_cache(
    resolver: &mut Resolver<'_>,
    written: &Spanned<WrittenReadCache>,
    has_object_storage: bool,
) -> Option<ReadCacheConfiguration> {
    let (start, written) = (written.span().start, written.get_ref());
    if !has_object_storage {
        resolver.add(resolver.place(start), "storage.read_cache", ProblemKind::WithoutObjectStorage);
    }
    for (path, value) in
        [("storage.read_cache.folder", &written.folder), ("storage.read_cache.size_max", &written.size_max)]
    {
        if value.is_none() {
            resolver.missing(path, start);
        }
    }
    written.folder.as_ref()?;
    let folder = folder(resolver, "storage.read_cache.folder", &written.folder, "storage/read_cache");
    let size_max = resolver.parsed("storage.read_cache.size_max", &written.size_max, None, |text| {
        parse_size(text).filter(|size| *size > 0).map(Some)
    });
    Some(ReadCacheConfiguration { folder, size_max: size_max? })
}
