//! What a blob leaves in: bytes, or parts of files for those who can have the kernel send them.

use std::sync::Arc;

use bytes::Bytes;

use crate::LocalFile;

/// A piece of a blob on its way out.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes in a file.
    Region(Region),
}

impl Piece {
    /// How many bytes it stands for.
    pub const fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Region(region) => region.length as u64,
        }
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// A part of an open file whose bytes may be delivered as they are.
///
/// They were there when the region was made. That they are in memory is not said, nor that nobody has cut the file since: whoever sends
/// them finds out.
#[derive(Clone, Debug)]
pub struct Region {
    file: Arc<LocalFile>,
    position: u64,
    length: usize,
}

impl Region {
    /// `length` bytes of `file` from `position` on.
    pub const fn new(file: Arc<LocalFile>, position: u64, length: usize) -> Self {
        Self { file, position, length }
    }

    /// The file.
    pub const fn file(&self) -> &Arc<LocalFile> {
        &self.file
    }

    /// The position in the file of the first byte.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes it has: at least one, at most [`REGION_BYTES_MAX`](crate::REGION_BYTES_MAX).
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Leaves out the first `count` bytes, which were sent.
    pub const fn advance(&mut self, count: usize) {
        self.position += count as u64;
        self.length -= count;
    }
}
