//! Where a blob is: at its own key, or at the one that its pointer names.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use entrepot_blobs::Error;
use entrepot_oci::Digest;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::failure::senseless;
use crate::layout::Layout;
use crate::limits::LOCATIONS_MAX;

/// Where a blob is, and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) size: u64,
    pub(crate) place: Place,
}

/// Where the object of a blob is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the reference registry has it.
    Data,
    /// Where its upload was begun: relative to the prefix.
    Upload(String),
}

/// What a pointer says. It is written once, when the object that it names is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pointer {
    version: u32,
    /// Relative to the prefix.
    pub(crate) key: String,
    pub(crate) size: u64,
}

/// The version of pointers that is written and read.
const VERSION: u32 = 1;

impl Pointer {
    pub(crate) const fn new(key: String, size: u64) -> Self {
        Self { version: VERSION, key, size }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What is there under a digest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The size of the object at the key of the blob.
    pub(crate) data: Option<u64>,
    pub(crate) pointer: Option<Pointer>,
}

impl Found {
    /// Where readers find it. The object at the key of the blob comes first: what takes the place of a damaged one removes it.
    pub(crate) fn location(&self) -> Option<Location> {
        let data = self.data.map(|size| Location { size, place: Place::Data });
        let upload = |pointer: &Pointer| Location { size: pointer.size, place: Place::Upload(pointer.key.clone()) };
        data.or_else(|| self.pointer.as_ref().map(upload))
    }
}

/// Finds blobs, and remembers where the last were.
///
/// Where a blob is never changes until it is deleted, by whichever process. So what is remembered says where to look, and the look
/// decides.
#[derive(Debug)]
pub(crate) struct Locations {
    bucket: Bucket,
    layout: Layout,
    remembered: Mutex<Remembered>,
}

/// Two generations: when the younger is full it becomes the older, and the older is forgotten.
#[derive(Debug, Default)]
struct Remembered {
    younger: HashMap<Digest, Location>,
    older: HashMap<Digest, Location>,
}

impl Locations {
    pub(crate) fn new(bucket: Bucket, layout: Layout) -> Self {
        Self { bucket, layout, remembered: Mutex::default() }
    }

    /// The key of the object of a blob.
    pub(crate) fn key(&self, digest: &Digest, place: &Place) -> Path {
        match place {
            Place::Data => self.layout.data(digest),
            Place::Upload(key) => self.layout.absolute(key),
        }
    }

    /// Where the blob is now, by one look at where it was; `None` when it is nowhere.
    pub(crate) async fn locate(&self, digest: &Digest) -> Result<Option<Location>, Error> {
        if let Some(location) = self.remembered(digest) {
            let seen = match location.place {
                Place::Data => {
                    let size = self.bucket.head(&self.layout.data(digest)).await?;
                    size.map(|size| Location { size, place: Place::Data })
                }
                Place::Upload(_) => {
                    let pointer = self.pointer(digest).await?;
                    pointer.map(|pointer| Location { size: pointer.size, place: Place::Upload(pointer.key) })
                }
            };
            if let Some(seen) = seen {
                self.remember(digest, seen.clone());
                return Ok(Some(seen));
            }
            self.forget(digest);
        }
        let location = self.find(digest).await?.location();
        if let Some(location) = &location {
            self.remember(digest, location.clone());
        }
        Ok(location)
    }

    /// Where the blob was when it was last looked for, or where it is when it was not.
    pub(crate) async fn believe(&self, digest: &Digest) -> Result<Option<Location>, Error> {
        match self.remembered(digest) {
            Some(location) => Ok(Some(location)),
            None => self.locate(digest).await,
        }
    }

    /// Everything that is there under a digest, whatever is remembered.
    pub(crate) async fn find(&self, digest: &Digest) -> Result<Found, Error> {
        let data = self.layout.data(digest);
        let (size, pointer) = tokio::join!(self.bucket.head(&data), self.pointer(digest));
        let mut found = Found { data: size?, pointer: pointer? };
        if found.location().is_none() {
            // A question about an object may be answered by what does not know yet that it was written, and where the bucket itself is
            // missing its answer is the same. The pointer was read, which is the second question already.
            found.data = self.bucket.size_of_readable(&data).await?;
        }
        Ok(found)
    }

    /// What the pointer of a blob says.
    pub(crate) async fn pointer(&self, digest: &Digest) -> Result<Option<Pointer>, Error> {
        let key = self.layout.pointer(digest);
        let Some(bytes) = self.bucket.get(&key).await? else { return Ok(None) };
        let pointer: Result<Pointer, _> = serde_json::from_slice(&bytes);
        match pointer {
            Ok(pointer) if pointer.version == VERSION => Ok(Some(pointer)),
            Ok(pointer) => {
                Err(senseless("read", &key, format!("a pointer of version {} is not known", pointer.version)))
            }
            Err(error) => Err(senseless("read", &key, format!("it is no pointer: {error}"))),
        }
    }

    pub(crate) fn remember(&self, digest: &Digest, location: Location) {
        let mut remembered = self.lock();
        if remembered.younger.len() >= LOCATIONS_MAX / 2 && !remembered.younger.contains_key(digest) {
            remembered.older = std::mem::take(&mut remembered.younger);
        }
        remembered.younger.insert(digest.clone(), location);
    }

    pub(crate) fn forget(&self, digest: &Digest) {
        let mut remembered = self.lock();
        remembered.younger.remove(digest);
        remembered.older.remove(digest);
    }

    fn remembered(&self, digest: &Digest) -> Option<Location> {
        let remembered = self.lock();
        remembered.younger.get(digest).or_else(|| remembered.older.get(digest)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
