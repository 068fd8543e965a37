//! The folder of blobs, and the one function that puts a file into it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_oci::Digest;
use rustix::fs::OFlags;

use super::disk;
use crate::{BlobReader, Error, LocalFile};

/// The folder of blobs, laid out as the reference registry lays it out:
///
/// ```text
/// <root>
/// └── docker
///     └── registry
///         └── v2
///             └── blobs
///                 └── <algorithm>
///                     └── <first two digits>
///                         └── <all digits>
///                             └── data
/// ```
///
/// A `data` file is complete and verified as soon as it has its name, and never changes after.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    blobs: PathBuf,
    /// One per `<first two digits>`, held while the file of a digest is put, confirmed or removed, so that nobody is told that a blob is
    /// here while another undoes it, and no folder is removed under a file that is on its way into it.
    locks: Box<[Mutex<()>]>,
    /// The folders of algorithms and first digits that are known to survive a loss of power. They are never removed.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Tree {
    /// The tree below `root`, which is created when it is missing.
    pub(super) fn open(root: PathBuf) -> Result<Self, Error> {
        let blobs = root.join("docker/registry/v2/blobs");
        disk::create_folder_durably(&blobs)?;
        // Also when they were there: whoever created them may have been killed before their entries were synced.
        for folder in blobs.ancestors().skip(1).take_while(|folder| folder.starts_with(&root)) {
            disk::sync_folder(folder)?;
        }
        let locks = (0..=u8::MAX).map(|_| Mutex::default()).collect();
        Ok(Self { root, blobs, locks, durable: Mutex::default() })
    }

    /// The folder that all of it is in.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that holds the folders of the algorithms.
    pub(super) fn folder(&self) -> &Path {
        &self.blobs
    }

    /// The size of a blob, or `None` when it is not here.
    pub(super) fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let path = self.data(digest);
        let metadata = disk::present(fs::metadata(&path)).map_err(|error| Error::io("look at", &path, error))?;
        metadata.map_or_else(|| self.surely_absent(), |metadata| file_size(&path, &metadata).map(Some))
    }

    /// The size of a blob when that is known without waiting for a disk.
    pub(super) fn size_cached(&self, digest: &Digest) -> Option<u64> {
        let metadata = disk::open_cached(&self.data(digest), OFlags::PATH)?.metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// Opens a blob when that needs no waiting for a disk.
    pub(super) fn open_cached(&self, digest: &Digest) -> Option<BlobReader> {
        let path = self.data(digest);
        let file = disk::open_cached(&path, OFlags::RDONLY)?;
        let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
        Some(BlobReader::new(metadata.len(), Arc::new(LocalFile::new(file, path))))
    }

    /// Opens a blob, or `None` when it is not here.
    pub(super) fn open_blob(&self, digest: &Digest) -> Result<Option<BlobReader>, Error> {
        let path = self.data(digest);
        let file = disk::present(File::open(&path)).map_err(|error| Error::io("open", &path, error))?;
        let Some(file) = file else { return self.surely_absent() };
        let metadata = file.metadata().map_err(|error| Error::io("look at", &path, error))?;
        let size = file_size(&path, &metadata)?;
        Ok(Some(BlobReader::new(size, Arc::new(LocalFile::new(file, path)))))
    }

    /// The durable publish: puts a verified file of `size` bytes in the place of `digest`, unless one of that size is
    /// there. `false` when `put` declined.
    ///
    /// `prepare` makes the bytes durable under another name on the same file system; `put` then gives what it returns the
    /// name `data`, all at once. In this order a crash leaves
    ///
    /// - before `put`: the file under its other name, which the sweep of stages finds;
    /// - after it: the whole blob, that nobody was told of, or after a loss of power perhaps nothing. Never a part.
    pub(super) fn publish<Prepared>(
        &self,
        digest: &Digest,
        size: u64,
        prepare: impl FnOnce() -> Result<Prepared, Error>,
        put: impl FnOnce(Prepared, &Path) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        // A look first: the lock may be held by somebody who waits for a disk, and most blobs are new.
        if self.size(digest)? == Some(size) {
            let _guard = self.lock(digest);
            if self.confirm(digest, size)? {
                return Ok(true);
            }
        }
        // The longest part, and one that needs no lock: whoever is slower finds the other's file.
        let prepared = prepare()?;
        let _guard = self.lock(digest);
        if self.confirm(digest, size)? {
            return Ok(true);
        }
        let folder = self.create_folders(digest)?;
        let data = self.data(digest);
        if !put(prepared, &data)? {
            return Ok(false);
        }
        let synced = sync_entries(&folder);
        if synced.is_err() {
            // The name may not last, so nobody may find it: a second sync would wrongly succeed.
            disk::remove_file(&data)?;
        }
        synced.map(|()| true)
    }

    /// Removes a blob; `false` when it is not here.
    ///
    /// Nothing is synced: a blob that comes back after a loss of power is one that no repository holds, and is
    /// collected again.
    pub(super) fn remove(&self, digest: &Digest) -> Result<bool, Error> {
        let _guard = self.lock(digest);
        if !disk::remove_file(&self.data(digest))? {
            return self.surely_absent().map(|absent: Option<()>| absent.is_some());
        }
        let folder = self.blob_folder(digest);
        if let Err(error) = disk::remove_folder(&folder) {
            // It costs an entry in a folder, and the next commit of the digest uses it.
            tracing::debug!(
                folder = %folder.display(),
                error = &error as &dyn std::error::Error,
                "the folder of a removed blob stays"
            );
        }
        Ok(true)
    }

    /// Whether a file of `size` bytes is in the place of `digest`. When it is, its name lasts: whoever put it there
    /// may have been killed before the folders were synced.
    fn confirm(&self, digest: &Digest, size: u64) -> Result<bool, Error> {
        let data = self.data(digest);
        let found = disk::present(fs::metadata(&data)).map_err(|error| Error::io("look at", &data, error))?;
        if found.map(|found| file_size(&data, &found)).transpose()? != Some(size) {
            return Ok(false);
        }
        self.create_folders(digest).and_then(|folder| sync_entries(&folder)).map(|()| true)
    }

    /// Creates the folder of `digest`, whose own entry is left to [`sync_entries`].
    fn create_folders(&self, digest: &Digest) -> Result<PathBuf, Error> {
        let (folder, shard) = (self.blob_folder(digest), self.shard_folder(digest));
        if !self.durable().contains(&shard) {
            self.ensure_durable(&self.blobs.join(digest.algorithm().as_str()))?;
            self.ensure_durable(&shard)?;
        }
        disk::create_folder(&folder).map_err(|error| {
            // Whoever removed it did not ask us: the next commit creates it again.
            self.durable().remove(&shard);
            Error::io("create folder", &folder, error)
        })?;
        Ok(folder)
    }

    /// Creates a folder, once, whose entry survives a loss of power. The folder above it is not created: it is there,
    /// or the volume is not.
    fn ensure_durable(&self, folder: &Path) -> Result<(), Error> {
        if self.durable().contains(folder) {
            return Ok(());
        }
        disk::create_folder(folder).map_err(|error| Error::io("create folder", folder, error))?;
        // Also when it was there: whoever created it may have been killed before its entry was synced.
        folder.parent().map_or(Ok(()), disk::sync_folder)?;
        self.durable().insert(folder.to_owned());
        Ok(())
    }

    /// Answers that something is not here, if the tree is: an empty mount point must not look like an empty store.
    fn surely_absent<T>(&self) -> Result<Option<T>, Error> {
        match fs::metadata(&self.blobs) {
            Ok(_) => Ok(None),
            Err(error) => Err(Error::io("look at", &self.blobs, error)),
        }
    }

    fn shard_folder(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.algorithm().as_str()).join(&digest.hex()[..2])
    }

    fn blob_folder(&self, digest: &Digest) -> PathBuf {
        self.shard_folder(digest).join(digest.hex())
    }

    fn data(&self, digest: &Digest) -> PathBuf {
        // As `blob_folder` has it, in one allocation: every pull of a blob comes this way.
        let hex = digest.hex();
        let parts = [digest.algorithm().as_str(), &hex[..2], hex, "data"];
        let length = parts.iter().map(|part| 1 + part.len()).sum::<usize>();
        let mut path = PathBuf::with_capacity(self.blobs.as_os_str().len() + length);
        path.push(&self.blobs);
        path.extend(parts);
        path
    }

    fn lock(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        // A folder admits one change at a time anyway.
        let shard = usize::from_str_radix(&digest.hex()[..2], 16).unwrap_or_default();
        self.locks[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the entry of the file in `folder`, and the entry of `folder`, survive a loss of power.
fn sync_entries(folder: &Path) -> Result<(), Error> {
    disk::sync_folder(folder)?;
    folder.parent().map_or(Ok(()), disk::sync_folder)
}

/// The size of a file; a folder in the place of a blob is a damage, not an absence.
fn file_size(path: &Path, metadata: &fs::Metadata) -> Result<u64, Error> {
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    Err(Error::io("read as a blob", path, io::ErrorKind::IsADirectory.into()))
}
