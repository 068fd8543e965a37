//! The folder of staged files.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};

use super::disk;
use crate::limits::{COPY_BYTES, WRITE_BEHIND_BYTES};
use crate::{Content as _, Error, LocalFile, StageId, Staged};

/// A folder of staged files, each named by its id:
///
/// ```text
/// <staging>
/// └── <two characters, derived from the id>
///     └── <stage id>
/// ```
///
/// The level between keeps ingests out of each other's way: a folder admits one change at a time. Nothing here is
/// synced but the bytes of a file that is about to be published; what a loss of power takes was not yet a blob.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    /// One per shard, held while the name of a stage changes its file.
    locks: Arc<[Mutex<()>]>,
}

/// How many folders the stages are spread over.
const SHARDS: usize = 256;

impl Staging {
    /// The folder of staged files in `folder`, which is created when it is missing.
    pub fn open(folder: PathBuf) -> Result<Self, Error> {
        disk::create_folder_durably(&folder)?;
        Ok(Self { folder, locks: (0..SHARDS).map(|_| Mutex::default()).collect() })
    }

    /// Starts an empty file in place of whatever has the id.
    pub fn create(&self, stage: &StageId) -> Result<StagedFile, Error> {
        let shard = shard_of(stage);
        let path = self.path(stage);
        let _guard = lock(&self.locks, shard);
        // Not truncated but replaced: whoever still reads the earlier file must not see the bytes of this one.
        disk::remove_file(&path)?;
        let file = self.create_file(shard, &path)?;
        Ok(self.staged_file(stage, LocalFile::new(file, path)))
    }

    /// Writes all of a file, under a name that nobody else knows, and makes its bytes survive a loss of power.
    pub(super) fn write_new(&self, frames: &[Bytes]) -> Result<NewFile, Error> {
        let stage = StageId::unique("whole");
        let path = self.path(&stage);
        let file = self.create_file(shard_of(&stage), &path)?;
        let new = NewFile { path, is_renamed: false };
        let mut slices: Vec<IoSlice<'_>> = frames.iter().map(|frame| IoSlice::new(frame)).collect();
        write_all_at(&file, &mut slices, 0).map_err(|error| Error::io("write to", &new.path, error))?;
        file.sync_data().map_err(|error| Error::io("sync", &new.path, error))?;
        Ok(new)
    }

    /// Creates the file at `path` in a shard, and the folder of the shard when it is the first there.
    fn create_file(&self, shard: usize, path: &Path) -> Result<File, Error> {
        let mut created = disk::create_file(path);
        if created.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let folder = self.shard_folder(shard);
            disk::create_folder(&folder).map_err(|error| Error::io("create folder", &folder, error))?;
            created = disk::create_file(path);
        }
        created.map_err(|error| Error::io("create", path, error))
    }

    /// Opens the file of a stage, or `None` when there is none.
    pub fn open_stage(&self, stage: &StageId) -> Result<Option<StagedFile>, Error> {
        let path = self.path(stage);
        let file = disk::open_file(&path)?;
        Ok(file.map(|file| self.staged_file(stage, LocalFile::new(file, path))))
    }

    /// Removes a stage; `false` when there is none.
    pub fn remove(&self, stage: &StageId) -> Result<bool, Error> {
        let _guard = lock(&self.locks, shard_of(stage));
        disk::remove_file(&self.path(stage))
    }

    /// Every stage. What is not named as a stage is somebody else's, and left alone.
    pub fn list(&self) -> Result<Vec<Staged>, Error> {
        let mut staged = Vec::new();
        for shard in entries(&self.folder)? {
            if !shard.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for entry in entries(&shard.path())? {
                if let Some(stage) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                    staged.extend(measure(stage, &entry)?);
                }
            }
        }
        Ok(staged)
    }

    fn path(&self, stage: &StageId) -> PathBuf {
        self.shard_folder(shard_of(stage)).join(stage.as_str())
    }

    fn shard_folder(&self, shard: usize) -> PathBuf {
        self.folder.join(format!("{shard:02x}"))
    }

    fn staged_file(&self, stage: &StageId, local: LocalFile) -> StagedFile {
        let (locks, local) = (Arc::clone(&self.locks), Arc::new(local));
        let (flushed, is_renamed) = (AtomicU64::new(0), AtomicBool::new(false));
        StagedFile { stage: stage.clone(), local, locks, flushed, is_renamed }
    }
}

fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, Error> {
    fs::read_dir(folder).and_then(Iterator::collect).map_err(|error| Error::io("list", folder, error))
}

/// `None` when the file is gone since it was listed, committed or discarded, or is no file.
fn measure(stage: StageId, entry: &fs::DirEntry) -> Result<Option<Staged>, Error> {
    let look = || {
        let metadata = disk::present(entry.metadata())?;
        let Some(metadata) = metadata.filter(fs::Metadata::is_file) else { return Ok(None) };
        Ok(Some(Staged { stage, size: metadata.len(), modified: metadata.modified()? }))
    };
    look().map_err(|error| Error::io("look at", &entry.path(), error))
}

/// The shard of a stage, from all of its characters (FNV-1a): ids that begin alike must spread too.
fn shard_of(stage: &StageId) -> usize {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    stage.as_str().bytes().fold(0x811c_9dc5, mix) as usize % SHARDS
}

fn lock(locks: &[Mutex<()>], shard: usize) -> MutexGuard<'_, ()> {
    locks[shard].lock().unwrap_or_else(PoisonError::into_inner)
}

/// One staged file, open.
///
/// Its name may be taken from it at any time, when the stage is discarded or begun anew. So the name is renamed and
/// removed only while it is known, under the lock of the shard, to be still this file's: otherwise a commit could
/// publish, and a destructor could remove, the bytes of somebody else.
#[derive(Debug)]
pub struct StagedFile {
    stage: StageId,
    local: Arc<LocalFile>,
    locks: Arc<[Mutex<()>]>,
    /// Up to where the kernel was asked to write to the disk.
    flushed: AtomicU64,
    /// Whether the name of the stage was given up for another one.
    is_renamed: AtomicBool,
}

impl StagedFile {
    /// The stage that it is.
    pub const fn stage(&self) -> &StageId {
        &self.stage
    }

    /// The file, to be read.
    pub const fn local(&self) -> &Arc<LocalFile> {
        &self.local
    }

    /// Writes `frames` behind the first `offset` bytes.
    pub fn append(&self, offset: u64, frames: &[Bytes]) -> Result<(), Error> {
        let mut slices: Vec<IoSlice<'_>> = frames.iter().map(|frame| IoSlice::new(frame)).collect();
        let end = write_all_at(self.local.file(), &mut slices, offset)
            .map_err(|error| Error::io("write to", self.local.path(), error))?;
        self.write_behind(end);
        Ok(())
    }

    /// Asks the kernel to start writing what has gathered. The advice is one that the kernel answers by starting to
    /// write the dirty pages of the range without waiting for them, and then by forgetting the clean ones, of which
    /// freshly written bytes have none. It is advice only: where it fails, the sync of the commit takes longer.
    fn write_behind(&self, end: u64) {
        let flushed = self.flushed.load(Ordering::Relaxed);
        if end.saturating_sub(flushed) >= WRITE_BEHIND_BYTES {
            let _ = fadvise(self.local.file(), flushed, (end - flushed).try_into().ok(), Advice::DontNeed);
            self.flushed.store(end, Ordering::Relaxed);
        }
    }

    /// The size in bytes and when the file was last written.
    pub fn measure(&self) -> Result<(u64, SystemTime), Error> {
        let measured = self.local.file().metadata().and_then(|metadata| Ok((metadata.len(), metadata.modified()?)));
        measured.map_err(|error| Error::io("look at", self.local.path(), error))
    }

    /// Cuts what a failed write left behind the first `size` bytes and returns when the file was last written.
    pub fn settle(&self, size: u64) -> Result<SystemTime, Error> {
        let (length, modified) = self.measure()?;
        if length == size {
            return Ok(modified);
        }
        self.local.file().set_len(size).map_err(|error| Error::io("cut", self.local.path(), error))?;
        self.measure().map(|(_, modified)| modified)
    }

    /// Takes over the first `size` bytes of `other`, which may be on another file system.
    pub(super) fn copy_from(&self, other: &Self, size: u64) -> Result<(), Error> {
        let mut buffer = vec![0; COPY_BYTES];
        let mut position = 0;
        while position < size {
            let count = other.local.read_at(&mut buffer, position);
            let count = count.map_err(|error| Error::io("read", other.local.path(), error))?;
            if count == 0 {
                return Err(Error::io("read", other.local.path(), io::ErrorKind::UnexpectedEof.into()));
            }
            let written = self.local.file().write_all_at(&buffer[..count], position);
            written.map_err(|error| Error::io("write to", self.local.path(), error))?;
            position += count as u64;
            self.write_behind(position);
        }
        self.settle(size).map(|_| ())
    }

    /// Makes the bytes, and the length, survive a loss of power. After an error they must not be trusted, even if
    /// a second attempt succeeds: the kernel reports a failed write only once.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.local.file().sync_data().map_err(|error| Error::io("sync", self.local.path(), error))
    }

    /// Refuses to go on with a file whose stage was discarded or begun anew.
    pub fn ensure_held(&self) -> Result<(), Error> {
        if self.has_its_name()? { Ok(()) } else { Err(Error::Discarded { stage: self.stage.clone() }) }
    }

    /// Gives the file the name `to` instead of that of the stage.
    pub(super) fn rename_to(&self, to: &Path) -> Result<(), Error> {
        let _guard = lock(&self.locks, shard_of(&self.stage));
        self.ensure_held()?;
        disk::rename(self.local.path(), to).map_err(|error| Error::io("rename a stage to", to, error))?;
        self.is_renamed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Removes the name of the stage, when it is still this file's.
    pub fn remove(&self) -> Result<(), Error> {
        if self.is_renamed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let _guard = lock(&self.locks, shard_of(&self.stage));
        if self.has_its_name()? {
            disk::remove_file(self.local.path())?;
        }
        Ok(())
    }

    fn has_its_name(&self) -> Result<bool, Error> {
        let path = self.local.path();
        let look = || {
            let (own, named) = (self.local.file().metadata()?, disk::present(fs::metadata(path))?);
            Ok(named.is_some_and(|named| (named.dev(), named.ino()) == (own.dev(), own.ino())))
        };
        look().map_err(|error| Error::io("look at", path, error))
    }
}

/// A file whose name nobody else knows: it needs no lock, and no look at whether the name is still its own. Dropped, it is
/// removed, unless it was given another name. Left behind by a process that was killed, it is a stage without an owner.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    is_renamed: bool,
}

impl NewFile {
    /// Gives the file the name `to`.
    pub(super) fn rename_to(mut self, to: &Path) -> Result<(), Error> {
        disk::rename(&self.path, to).map_err(|error| Error::io("rename a stage to", to, error))?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.is_renamed {
            return;
        }
        if let Err(error) = disk::remove_file(&self.path) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a file that is no longer needed could not be removed: it stays until it is swept"
            );
        }
    }
}

/// Writes all of `slices` from `offset` on and returns the position behind them.
fn write_all_at(file: impl AsFd, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<u64> {
    while !slices.is_empty() {
        match rustix::io::pwritev(file.as_fd(), slices, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                offset += count as u64;
                IoSlice::advance_slices(&mut slices, count);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(offset)
}
