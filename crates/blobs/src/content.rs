//! Bytes that can be read at any position, whether they are still growing or not.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use entrepot_oci::{Algorithm, Hasher};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::limits::COPY_BYTES;

/// Bytes that can be read at any position by any number of readers.
///
/// Bytes that were read once never change; more may be added at the end.
pub trait Content: fmt::Debug + Send + Sync + 'static {
    /// Fills `buffer` with the bytes from `position` on and returns how many there are: fewer than asked for only
    /// where the content ends for now.
    ///
    /// May wait for a disk: called on the blocking pool.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Reads at least one byte and as many as come without waiting for a disk; `None` when none do, or at the end, or
    /// on any failure: [`read_at`](Self::read_at) finds out which. Called where others wait, with a small buffer.
    fn read_cached(&self, buffer: &mut [u8], position: u64) -> Option<usize> {
        let _ = (buffer, position);
        None
    }
}

/// An open file of the local file system. It can be read to its end after it was deleted.
#[derive(Debug)]
pub struct LocalFile {
    file: Arc<File>,
    path: PathBuf,
}

impl LocalFile {
    pub(crate) fn new(file: File, path: PathBuf) -> Self {
        Self { file: Arc::new(file), path }
    }

    /// The open file. It is shared: read and write it at positions, and leave its cursor alone.
    pub const fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where the file was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Content for LocalFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn read_cached(&self, buffer: &mut [u8], position: u64) -> Option<usize> {
        let slices = &mut [IoSliceMut::new(buffer)];
        preadv2(&self.file, slices, position, ReadWriteFlags::NOWAIT).ok().filter(|count| *count > 0)
    }
}

/// The running hash of the first `length` bytes, computed from the bytes themselves.
pub(crate) fn rehash(content: &dyn Content, length: u64, algorithm: Algorithm) -> io::Result<Hasher> {
    let mut hasher = algorithm.hasher();
    let mut buffer = vec![0; COPY_BYTES];
    let mut position = 0;
    while position < length {
        let wanted = usize::try_from(length - position).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
        let count = content.read_at(&mut buffer[..wanted], position)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&buffer[..count]);
        position += count as u64;
    }
    Ok(hasher)
}
