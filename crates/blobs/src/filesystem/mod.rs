//! Blobs as files, in the layout of the reference registry.
//!
//! [`staging`] holds what is being taken in, [`tree`] what was committed; [`disk`] has every call that changes a
//! folder. All of it blocks, and runs on the blocking pool, except for what the kernel answers from memory.

mod disk;
mod staging;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest};

pub use self::staging::{StagedFile, Staging};
use self::tree::Tree;
use crate::blocking::DroppedThere;
use crate::content::rehash;
use crate::{
    BlobReader, BlobStore, Content, Error, Ingest, Parked, Stage, StageId, Staged, Whole, adopt_copy, blocking,
};

/// Blobs as files: a folder of blobs that the reference registry can read as its own, and a folder of stages.
///
/// ```text
/// <root>
/// ├── docker/registry/v2/blobs/<algorithm>/<first two digits>/<all digits>/data
/// └── .staging                              only when <staging> is on another file system
///     └── <two characters>/<stage id>       the copy of a stage, on its way to its place
/// <staging>
/// └── <two characters>/<stage id>           what is being taken in
/// ```
///
/// Names beginning with a dot in `<root>`, and everything in `<staging>`, are no blobs and are made again when they
/// are missing. Several processes may share `<root>`; two that write at the same time must not use the same stages.
#[derive(Clone, Debug)]
pub struct FilesystemStore(Arc<Folders>);

#[derive(Debug)]
struct Folders {
    tree: Tree,
    staging: Staging,
    /// Where a stage is copied to first, when it cannot be renamed to its place.
    copies: Option<Staging>,
}

impl FilesystemStore {
    /// Opens the store of the blobs in `root` that stages in `staging`. Folders that are missing are created, and it
    /// is tried whether they can be written to. Blocks for a few milliseconds.
    pub fn open(root: PathBuf, staging: PathBuf) -> Result<Self, Error> {
        let (tree, staging) = (Tree::open(root)?, Staging::open(staging)?);
        // The device numbers do not tell: two mounts of one file system have the same, and do not allow a rename.
        let copies = match try_rename(&staging, &tree) {
            Ok(()) => None,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::CrossesDevices => {
                Some(Staging::open(tree.root().join(".staging"))?)
            }
            Err(error) => return Err(error),
        };
        let folders = Folders { tree, staging, copies };
        folders.probe()?;
        Ok(Self(Arc::new(folders)))
    }

    /// Whether the stages are on another file system than the blobs: each commit then copies.
    pub fn staging_is_elsewhere(&self) -> bool {
        self.0.copies.is_some()
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Folders) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let folders = Arc::clone(&self.0);
        blocking::run(operation, move || work(&folders)).await
    }

    fn stage(&self, file: StagedFile) -> Arc<dyn Stage> {
        Arc::new(FileStage { file: DroppedThere::new(Arc::new(file)), folders: Arc::clone(&self.0) })
    }
}

#[async_trait]
impl BlobStore for FilesystemStore {
    async fn begin(&self, stage: &StageId, algorithm: Algorithm) -> Result<Ingest, Error> {
        let id = stage.clone();
        let file = self.run("begin a stage", move |folders| folders.staging.create(&id)).await?;
        Ok(Ingest::new(stage.clone(), self.stage(file), 0, algorithm.hasher()))
    }

    async fn resume(
        &self,
        stage: &StageId,
        algorithm: Algorithm,
        parked: Option<Parked>,
    ) -> Result<Option<Ingest>, Error> {
        let id = stage.clone();
        let resumed = self.run("take up a stage", move |folders| {
            let Some(file) = folders.staging.open_stage(&id)? else { return Ok(None) };
            let (size, modified) = file.measure()?;
            if let Some(hasher) = parked.and_then(|parked| parked.into_hasher(&id, algorithm, size, modified)) {
                return Ok(Some((file, size, hasher)));
            }
            let hasher = rehash(file.local().as_ref(), size, algorithm);
            let hasher = hasher.map_err(|source| Error::Unreadable { stage: id, source })?;
            Ok(Some((file, size, hasher)))
        });
        let ingest = |(file, size, hasher)| Ingest::new(stage.clone(), self.stage(file), size, hasher);
        Ok(resumed.await?.map(ingest))
    }

    async fn put(&self, content: Whole) -> Result<(), Error> {
        self.run("store a blob", move |folders| folders.put(&content)).await
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        if let Some(size) = self.0.tree.size_cached(digest) {
            return Ok(Some(size));
        }
        let digest = digest.clone();
        self.run("look for a blob", move |folders| folders.tree.size(&digest)).await
    }

    async fn open(&self, digest: &Digest) -> Result<Option<BlobReader>, Error> {
        if let Some(reader) = self.0.tree.open_cached(digest) {
            return Ok(Some(reader));
        }
        let digest = digest.clone();
        self.run("open a blob", move |folders| folders.tree.open_blob(&digest)).await
    }

    async fn adopt(&self, digest: &Digest, source: &BlobReader) -> Result<u64, Error> {
        if let Some(local) = source.local_file() {
            let (digest, path, size) = (digest.clone(), local.path().to_owned(), source.size());
            let link =
                move |folders: &Folders| folders.tree.publish(&digest, size, || Ok(()), |(), to| link(&path, to, size));
            if self.run("link a blob", link).await? {
                return Ok(size);
            }
        }
        adopt_copy(self, digest, source).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        let digest = digest.clone();
        self.run("remove a blob", move |folders| folders.tree.remove(&digest)).await
    }

    async fn staged(&self) -> Result<Vec<Staged>, Error> {
        self.run("list the stages", Folders::staged).await
    }

    async fn discard(&self, stage: &StageId) -> Result<bool, Error> {
        let stage = stage.clone();
        self.run("discard a stage", move |folders| {
            let is_copy_removed = folders.copies.as_ref().map_or(Ok(false), |copies| copies.remove(&stage))?;
            folders.staging.remove(&stage).map(|is_removed| is_removed || is_copy_removed)
        })
        .await
    }

    async fn probe(&self) -> Result<(), Error> {
        self.run("probe the folders", Folders::probe).await
    }
}

impl Folders {
    fn publish(&self, staged: &Arc<StagedFile>, digest: &Digest, size: u64) -> Result<(), Error> {
        staged.ensure_held()?;
        staged.settle(size)?;
        // The copy bears the id of its stage, so that the sweep finds it when a crash leaves it behind.
        let incoming = match &self.copies {
            Some(copies) => Arc::new(copies.create(staged.stage())?),
            None => Arc::clone(staged),
        };
        let prepare = || {
            if !Arc::ptr_eq(&incoming, staged) {
                incoming.copy_from(staged, size)?;
            }
            incoming.sync()
        };
        let published = self.tree.publish(digest, size, prepare, |(), to| incoming.rename_to(to).map(|()| true));
        // Whatever was not renamed is not needed any more, whether the blob was here already, or was copied, or could
        // not be published. It goes last: a crash before leaves a stage for the sweep, and never less than the blob.
        for file in [&incoming, staged] {
            if let Err(error) = file.remove() {
                tracing::warn!(
                    stage = %file.stage(),
                    error = &error as &dyn std::error::Error,
                    "a stage that is no longer needed could not be removed: it stays until it is swept"
                );
            }
        }
        published.map(|_| ())
    }

    /// All of a commit at once: nothing of it was promised to anybody before, so nothing of it is staged before.
    fn put(&self, content: &Whole) -> Result<(), Error> {
        // Written at once where it can be renamed from.
        let staging = self.copies.as_ref().unwrap_or(&self.staging);
        let prepare = || staging.write_new(content.frames());
        self.tree.publish(content.digest(), content.size(), prepare, |file, to| file.rename_to(to).map(|()| true))?;
        Ok(())
    }

    fn staged(&self) -> Result<Vec<Staged>, Error> {
        let mut staged = self.staging.list()?;
        if let Some(copies) = &self.copies {
            // A copy whose stage is gone as well, lost with a staging folder in memory for example, must be found.
            for copy in copies.list()? {
                if staged.iter().all(|other| other.stage != copy.stage) {
                    staged.push(copy);
                }
            }
        }
        Ok(staged)
    }

    fn probe(&self) -> Result<(), Error> {
        let Some(copies) = &self.copies else { return try_rename(&self.staging, &self.tree) };
        let probe = self.staging.create(&StageId::unique("probe"))?;
        let written = probe.append(0, &PROBE);
        probe.remove().and(written)?;
        try_rename(copies, &self.tree)
    }
}

/// What is written to see whether writing is possible.
static PROBE: [Bytes; 1] = [Bytes::from_static(b"probe")];

/// Writes a small file to `staging`, renames it into `tree`, and removes it.
fn try_rename(staging: &Staging, tree: &Tree) -> Result<(), Error> {
    let probe = staging.create(&StageId::unique("probe"))?;
    let target = tree.folder().join(format!(".{}", probe.stage()));
    match probe.append(0, &PROBE).and_then(|()| probe.rename_to(&target)) {
        Ok(()) => disk::remove_file(&target).map(|_| ()),
        Err(error) => probe.remove().and(Err(error)),
    }
}

/// Gives the file at `from` the name `to` as well; `false` when that is not possible here, and the bytes must be
/// copied. The bytes are durable already: the store that they come from published them.
fn link(from: &Path, to: &Path, size: u64) -> Result<bool, Error> {
    use io::ErrorKind::{AlreadyExists, CrossesDevices, NotFound, PermissionDenied, TooManyLinks, Unsupported};
    match disk::hard_link(from, to) {
        Ok(()) => {}
        // There is a damaged file to be replaced, or the other store has deleted the blob, or this kind of file
        // system, or a rule of the kernel, does not allow the link.
        Err(error)
            if matches!(
                error.kind(),
                AlreadyExists | CrossesDevices | NotFound | PermissionDenied | TooManyLinks | Unsupported
            ) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(Error::io("link a blob to", to, error)),
    }
    // The name may have been given to another file since the reader opened its own.
    let linked = std::fs::metadata(to).map_err(|error| Error::io("look at", to, error))?;
    if linked.len() == size {
        return Ok(true);
    }
    disk::remove_file(to).map(|_| false)
}

/// A stage in a file.
#[derive(Debug)]
struct FileStage {
    file: DroppedThere<Arc<StagedFile>>,
    folders: Arc<Folders>,
}

#[async_trait]
impl Stage for FileStage {
    fn content(&self) -> Arc<dyn Content> {
        Arc::clone(self.file.local()) as Arc<dyn Content>
    }

    fn append(&self, offset: u64, frames: &[Bytes]) -> Result<(), Error> {
        self.file.append(offset, frames)
    }

    fn settle(&self, offset: u64) -> Result<SystemTime, Error> {
        self.file.settle(offset)
    }

    async fn publish(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        let (file, folders, digest) = (Arc::clone(&self.file), Arc::clone(&self.folders), digest.clone());
        blocking::run("publish a blob", move || folders.publish(&file, &digest, size)).await
    }

    /// Removes a name, which does not wait for the bytes to be freed: they are when the last one closes the file.
    fn discard(&self) -> Result<(), Error> {
        self.file.remove()
    }
}
