//! Every call that changes a folder, and the syncs that make such a change last.
//!
//! Nothing outside of this module opens, creates, renames, links or removes. The errors say what was tried, and where.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use crate::Error;

/// Creates `path` and whatever is missing above it, so that it is still there after a loss of power.
pub(super) fn create_folder_durably(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let is_folder = fs::metadata(path).map(|metadata| metadata.is_dir());
            let is_folder = is_folder.map_err(|error| Error::io("look at", path, error))?;
            return if is_folder { Ok(()) } else { Err(Error::io("create folder", path, error)) };
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(parent) = parent_of(path) else { return Err(Error::io("create folder", path, error)) };
            create_folder_durably(parent)?;
            return create_folder_durably(path);
        }
        Err(error) => return Err(Error::io("create folder", path, error)),
    }
    // The entry of a new folder lives in its parent.
    parent_of(path).map_or(Ok(()), sync_folder)
}

/// Creates `path` when its parent is there, and leaves it to the caller to sync the parent.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

/// Makes the entries of a folder survive a loss of power.
pub(super) fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| Error::io("sync folder", path, error))
}

/// Creates an empty file to be written and read; one that is already there is an error.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Opens a file to be written and read, or `None` when it is not there.
pub(super) fn open_file(path: &Path) -> Result<Option<File>, Error> {
    present(OpenOptions::new().read(true).write(true).open(path)).map_err(|error| Error::io("open", path, error))
}

/// Opens what the kernel knows the way to without asking a disk; `None` when it does not, or for whatever other
/// reason: the way that may wait finds it out, and takes about 20 microseconds longer to begin.
pub(super) fn open_cached(path: &Path, flags: OFlags) -> Option<File> {
    openat2(CWD, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::CACHED).ok().map(File::from)
}

/// Gives a file a new name, in place of what has that name.
#[expect(clippy::disallowed_methods, reason = "this is the module that every other one is to use")]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Gives a file another name, which nothing may have yet.
#[expect(clippy::disallowed_methods, reason = "this is the module that every other one is to use")]
pub(super) fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)
}

/// Removes a file; `false` when it is not there.
pub(super) fn remove_file(path: &Path) -> Result<bool, Error> {
    let removed = present(fs::remove_file(path)).map_err(|error| Error::io("remove", path, error))?;
    Ok(removed.is_some())
}

/// Removes a folder; fails when something is in it.
pub(super) fn remove_folder(path: &Path) -> io::Result<()> {
    fs::remove_dir(path)
}

/// Absence is not an error; everything else that is one stays one.
pub(super) fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The folder above `path`; `None` for the root and for a single relative component, which the working directory
/// holds.
fn parent_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}
