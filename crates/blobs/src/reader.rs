//! A stored blob, opened for reading.

use std::sync::Arc;

use entrepot_oci::ByteRange;

use crate::stream::{Extent, Reading};
use crate::{BlobStream, Content, LocalFile, Piece};

/// A stored blob, opened for reading. It can be read to its end, any number of times, when the blob is deleted
/// meanwhile.
#[derive(Clone, Debug)]
pub struct BlobReader {
    size: u64,
    content: Arc<dyn Content>,
}

impl BlobReader {
    /// A reader of `size` bytes of `content`.
    pub fn new(size: u64, content: Arc<dyn Content>) -> Self {
        Self { size, content }
    }

    /// The size of the blob in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What is read.
    pub fn content(&self) -> &dyn Content {
        self.content.as_ref()
    }

    /// The file that holds the blob and nothing else, when it is one: to be sent by the kernel, or linked.
    pub fn local_file(&self) -> Option<Arc<LocalFile>> {
        Arc::clone(&self.content).local_file()
    }

    /// The blob, or a range of it.
    ///
    /// The stream ends only when every byte that was asked for was delivered: where the stored content turns out to
    /// be shorter than the blob, or than the range, it ends in an error.
    pub fn stream(&self, range: Option<ByteRange>) -> BlobStream {
        self.reading(range).into_stream()
    }

    /// The same for those who can send parts of files: a blob in a file is not read.
    pub fn pieces(&self, range: Option<ByteRange>) -> BlobStream<Piece> {
        self.reading(range).into_pieces()
    }

    fn reading(&self, range: Option<ByteRange>) -> Reading {
        let (position, end) = range.map_or((0, self.size), |range| (range.first(), range.last().saturating_add(1)));
        Reading::new(Arc::clone(&self.content), position, Extent::Known { size: self.size, end })
    }
}
