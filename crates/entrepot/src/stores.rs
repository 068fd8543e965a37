//! The two stores, opened where the configuration says that they are: the one file that names what they are made of.
//!
//! | where | bytes | metadata |
//! | --- | --- | --- |
//! | a folder | files in it | an SQLite database in it, or `PostgreSQL` |
//! | a bucket | objects in it | `PostgreSQL` |
//!
//! A cache in a folder, beside own images in a bucket, is that of one replica alone, with its metadata in the folder.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use entrepot_blobs::{BlobStore, Fetching, FilesystemStore};
use entrepot_metadata::MetadataStore;
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_registry::{REPLICA_LASTS, ReplicaParts, Store};
use entrepot_server::Metrics;

use crate::assemble::AssembleError;
use crate::config::{
    Configuration, MetadataConfiguration, PostgresConfiguration, StorageConfiguration, StorageLocation,
};
use crate::database;
use crate::metadata_metrics::MetadataMetrics;
use crate::object_storage::Buckets;
use crate::peers::HttpPeers;

/// The metadata database inside a storage folder.
pub(crate) const DATABASE_FILE: &str = "entrepot.sqlite";

/// Held by the process that uses a storage folder.
const LOCK_FILE: &str = "entrepot.lock";

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where pushed content is kept.
    pub registry: StorageLocation,
    /// Where transfers are staged until they are verified.
    pub temporary: PathBuf,
    /// Where fetched content is kept.
    pub proxy: StorageLocation,
    /// How buckets are reached, where there are any.
    pub buckets: StorageConfiguration,
    /// Where it is kept who has the own images.
    pub metadata: MetadataConfiguration,
    /// Where it is kept who has what is in the cache.
    pub proxy_metadata: MetadataConfiguration,
}

/// The stores, open.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) own: Store,
    pub(crate) cache: Store,
    /// The work of the read caches, which has to be run.
    pub(crate) fetching: Vec<Fetching>,
    /// The folders are used by nobody else while these are open.
    pub(crate) locks: Vec<File>,
}

/// What both are opened with.
struct Opening<'o> {
    /// There as soon as one of them is in a bucket.
    buckets: Option<Buckets>,
    metrics: &'o mut Metrics,
    fetching: Vec<Fetching>,
}

/// One of the two, by the names that it has.
#[derive(Clone, Copy)]
struct Role {
    /// Its key in the configuration.
    key: &'static str,
    /// What its folders are called.
    name: &'static str,
    /// The schema of its metadata.
    schema: fn(&PostgresConfiguration) -> String,
}

const OWN: Role = Role { key: "registry_storage", name: "registry", schema: PostgresConfiguration::registry_schema };
const CACHE: Role = Role { key: "proxy_storage", name: "proxy", schema: PostgresConfiguration::proxy_schema };

impl From<&Configuration> for Places {
    fn from(configuration: &Configuration) -> Self {
        Self {
            registry: configuration.registry_storage.clone(),
            temporary: configuration.temporary_registry_storage.clone(),
            proxy: configuration.proxy_storage.clone(),
            buckets: configuration.storage.clone(),
            metadata: configuration.registry_metadata().clone(),
            proxy_metadata: configuration.proxy_metadata().clone(),
        }
    }
}

impl Places {
    /// Folders, with all that belongs to their content inside of them.
    pub fn folders(registry: PathBuf, temporary: PathBuf, proxy: PathBuf) -> Self {
        Self {
            registry: registry.into(),
            temporary,
            proxy: proxy.into(),
            buckets: StorageConfiguration::default(),
            metadata: MetadataConfiguration::Sqlite,
            proxy_metadata: MetadataConfiguration::Sqlite,
        }
    }

    /// Opens both stores. What they count is registered with `metrics`.
    pub(crate) async fn open(&self, metrics: &mut Metrics) -> Result<Stores, AssembleError> {
        let locks = self.lock()?;
        let mut opening = Opening { buckets: None, metrics, fetching: Vec::new() };
        let own = self.open_one(OWN, &self.registry, &self.metadata, &mut opening).await?;
        let cache = self.open_one(CACHE, &self.proxy, &self.proxy_metadata, &mut opening).await?;
        Ok(Stores { own, cache, fetching: opening.fetching, locks })
    }

    /// What makes this process one of several: the store of the own images is one that several can use.
    pub(crate) fn replica(
        &self,
        stores: &Stores,
        address: Option<String>,
    ) -> Result<Option<ReplicaParts>, AssembleError> {
        if !(stores.own.blobs.is_shared() && stores.own.metadata.is_shared()) {
            return Ok(None);
        }
        let folder = self.temporary.join("landing");
        // What an earlier process has read along: nobody will take it up.
        match std::fs::remove_dir_all(&folder) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(AssembleError::Folder { role: "temporary_registry_storage", path: folder, source });
            }
            _ => {}
        }
        let landing = FilesystemStore::open(folder.clone(), folder.join("staging"))
            .map_err(|source| AssembleError::Blobs { role: "temporary_registry_storage", source })?;
        Ok(Some(ReplicaParts {
            address: address.map(Into::into),
            peers: Arc::new(HttpPeers::new()),
            landing: Arc::new(landing),
            lasts: REPLICA_LASTS,
        }))
    }

    async fn open_one(
        &self,
        role: Role,
        location: &StorageLocation,
        metadata: &MetadataConfiguration,
        opening: &mut Opening<'_>,
    ) -> Result<Store, AssembleError> {
        let staging = self.temporary.join(role.name);
        let blobs: Arc<dyn BlobStore> = match location {
            StorageLocation::Folder(folder) => Arc::new(open_folder(role, folder, staging)?),
            StorageLocation::Object(url) => {
                let registry = opening.metrics.registry_mut();
                let buckets = opening.buckets.get_or_insert_with(|| Buckets::new(&self.buckets, registry));
                let (blobs, work) = buckets
                    .open(&self.buckets, url, &staging, (role.name, opening.metrics.registry_mut()))
                    .map_err(|source| AssembleError::Bucket { role: role.key, source: Box::new(source) })?;
                opening.fetching.extend(work);
                blobs
            }
        };
        let metadata: Arc<dyn MetadataStore> = match (location, metadata.postgres()) {
            (_, Some(postgres)) => {
                let schema = (role.schema)(postgres);
                let opened = database::open(postgres, schema, (role.name, opening.metrics.registry_mut())).await;
                opened.map_err(AssembleError::Database)?
            }
            (StorageLocation::Folder(folder), None) => {
                let database = Arc::new(open_database(role, folder)?);
                let series = MetadataMetrics::new(role.name, Arc::clone(&database));
                opening.metrics.registry_mut().register_collector(Box::new(series));
                database
            }
            (StorageLocation::Object(url), None) => {
                return Err(AssembleError::NoDatabase { url: url.clone() });
            }
        };
        Ok(Store { blobs, metadata })
    }

    /// Takes every folder that one process at a time may use: those of the stores, and, where the own images are in a bucket, which has no
    /// locks and many users, that of what this process has not finished. So there is always a folder that guards the operator's socket.
    fn lock(&self) -> Result<Vec<File>, AssembleError> {
        let mut locks = vec![match &self.registry {
            StorageLocation::Folder(folder) => lock(OWN.key, folder)?,
            StorageLocation::Object(_) => lock("temporary_registry_storage", &self.temporary)?,
        }];
        if let StorageLocation::Folder(folder) = &self.proxy {
            locks.push(lock(CACHE.key, folder)?);
        }
        Ok(locks)
    }
}

fn open_folder(role: Role, folder: &Path, staging: PathBuf) -> Result<FilesystemStore, AssembleError> {
    let blobs = FilesystemStore::open(folder.to_owned(), staging)
        .map_err(|source| AssembleError::Blobs { role: role.key, source })?;
    if blobs.staging_is_elsewhere() {
        tracing::info!(
            storage = role.key,
            "the temporary storage is on another file system: finished transfers are copied instead of moved"
        );
    }
    Ok(blobs)
}

fn open_database(role: Role, folder: &Path) -> Result<SqliteStore, AssembleError> {
    // The folder's lock keeps every other process out.
    let store = SqliteStore::open(&folder.join(DATABASE_FILE));
    let store = store.map_err(|source| AssembleError::Metadata { role: role.key, source })?;
    Ok(store.remembering())
}

/// Makes the folder and takes it for this process. The lock goes with the process, however it ends.
pub(crate) fn lock(role: &'static str, folder: &Path) -> Result<File, AssembleError> {
    let failed = |source| AssembleError::Folder { role, path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = File::options().create(true).write(true).truncate(false).open(folder.join(LOCK_FILE)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AssembleError::InUse { role, path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    fn configured(folder: &Path, text: &str) -> Configuration {
        std::fs::write(folder.join("configuration.toml"), text).unwrap();
        Configuration::load(None, &Surroundings { working_folder: folder, environment: &|_| None }).unwrap()
    }

    fn locked(configuration: &Configuration) -> Result<Vec<File>, AssembleError> {
        Places::from(configuration).lock()
    }

    #[test]
    fn one_process_at_a_time_uses_the_folders_and_with_buckets_its_own_temporary_one() {
        let database = "metadata.url = \"postgres://u@localhost/d\"\n";
        let rows = [
            (String::new(), &["registry", "proxy"][..]),
            (format!("registry_storage = \"s3://bucket/a\"\n{database}"), &["_tmp", "proxy"]),
            (format!("proxy_storage = \"s3://bucket/b\"\n{database}"), &["registry"]),
            (format!("registry_storage = \"s3://bucket/a\"\nproxy_storage = \"s3://bucket/b\"\n{database}"), &["_tmp"]),
        ];
        for (text, expected) in rows {
            let folder = tempfile::tempdir().unwrap();
            let configuration = configured(folder.path(), &text);
            let locks = locked(&configuration).unwrap();
            for name in ["registry", "_tmp", "proxy"] {
                let file = folder.path().join("storage").join(name).join(LOCK_FILE);
                assert_eq!(file.try_exists().unwrap(), expected.contains(&name), "{text} {name}");
            }
            let (key, process_folder) = configuration.process_folder();
            match locked(&configuration) {
                // What guards the socket is what the second process is told about.
                Err(AssembleError::InUse { role, path }) => assert_eq!((role, path.as_path()), (key, process_folder)),
                other => panic!("{text}: {other:?}"),
            }
            drop(locks);
            locked(&configuration).unwrap();
        }
    }
}
