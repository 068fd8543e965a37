//! Bytes that can be read at any position, whether they are still growing or not.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, Hasher};
use futures_util::stream::BoxStream;
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::limits::{COPY_BYTES, RESIDENCE_STEP_BYTES};
use crate::{Error, StageId, blocking};

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

    /// The file that holds these bytes at these positions, when one does.
    fn local_file(self: Arc<Self>) -> Option<Arc<LocalFile>> {
        None
    }

    /// The bytes from `first` on and before `end`, which is behind it and not behind the end of the content, as they come from
    /// far away: for content that is better asked for once than block by block. `None` where it is not.
    ///
    /// Whoever reads it counts: a stream that ends early, or brings more, is an error to its reader.
    fn stream(self: Arc<Self>, first: u64, end: u64) -> Option<BoxStream<'static, io::Result<Bytes>>> {
        let _ = (first, end);
        None
    }

    /// The content as what it is, for a store that finds out whether it can share it: see
    /// [`BlobStore::adopt`](crate::BlobStore::adopt).
    fn as_any(&self) -> Option<&dyn Any> {
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
    /// `file`, which was opened at `path`.
    pub fn new(file: File, path: PathBuf) -> Self {
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

    /// Whether the `length` bytes from `position` on can be had without waiting for a disk, as far as a look at a byte here and there
    /// tells. Does not wait itself.
    pub fn is_resident(&self, position: u64, length: usize) -> bool {
        let last = length.saturating_sub(1);
        let mut looks = (0..last).step_by(RESIDENCE_STEP_BYTES).chain([last]);
        let is_here = |offset: usize| match preadv2(
            &self.file,
            &mut [IoSliceMut::new(&mut [0])],
            position + offset as u64,
            ReadWriteFlags::NOWAIT,
        ) {
            Ok(_) => true,
            // Whatever else is wrong is met again by whoever reads.
            Err(error) => error != Errno::AGAIN,
        };
        looks.all(is_here)
    }

    /// Reads the `length` bytes from `position` on for the kernel to have them in memory, and asks it for as many again. Waits for the
    /// disk: to be called on the blocking pool.
    pub fn make_resident(&self, position: u64, length: usize) -> io::Result<()> {
        let length_after = NonZeroU64::new(length as u64);
        // Advice only: without it the next part comes later.
        let _ = fadvise(&self.file, position + length as u64, length_after, Advice::WillNeed);
        let mut buffer = vec![0; length.min(COPY_BYTES)];
        let mut offset = 0;
        while offset < length {
            let wanted = buffer.len().min(length - offset);
            match self.read_at(&mut buffer[..wanted], position + offset as u64)? {
                0 => break,
                count => offset += count,
            }
        }
        Ok(())
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

    fn local_file(self: Arc<Self>) -> Option<Arc<LocalFile>> {
        Some(self)
    }
}

/// The digest of the first `size` bytes of what is staged as `stage`, computed from the bytes themselves on the blocking pool.
pub async fn digest_of(
    content: Arc<dyn Content>,
    stage: StageId,
    size: u64,
    algorithm: Algorithm,
) -> Result<Digest, Error> {
    blocking::run("read the staged bytes again", move || {
        let hasher = rehash(content.as_ref(), size, algorithm);
        hasher.map(Hasher::finish).map_err(|source| Error::Unreadable { stage, source })
    })
    .await
}

/// The running hash of the first `length` bytes, computed from the bytes themselves. Reads them all: for the blocking pool.
pub fn rehash(content: &dyn Content, length: u64, algorithm: Algorithm) -> io::Result<Hasher> {
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
