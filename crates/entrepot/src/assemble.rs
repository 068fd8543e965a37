//! Putting the server together: the one place that names back ends.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use entrepot_access::Authority;
use entrepot_blobs::FilesystemStore;
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_registry::{ImmutableTags, Limits, Parts, ProxySettings, Registry, Store, SystemClock, Tasks};
use entrepot_server::{Front, Health, Metrics, NotReady, RequestIds, Routes, ViewSettings};
use entrepot_upstream::{Remotes, RemotesConfig};

use crate::authority::{AccessBlueprint, Foundation, authority};
use crate::config::{ObjectUrl, StorageLocation};

/// The metadata database inside a storage folder.
pub(crate) const DATABASE_FILE: &str = "entrepot.sqlite";

/// Held by the process that uses a storage folder.
const LOCK_FILE: &str = "entrepot.lock";

/// What a server is put together from.
#[derive(Debug)]
pub struct Blueprint {
    /// Where pushed content is kept.
    pub registry_storage: StorageLocation,
    /// Where transfers are staged until they are verified.
    pub temporary_storage: PathBuf,
    /// Where fetched content is kept.
    pub proxy_storage: StorageLocation,
    /// The other registries.
    pub remotes: RemotesConfig,
    /// The limits that the operator set.
    pub limits: Limits,
    /// What the operator says about pulling through.
    pub settings: ProxySettings,
    /// The tags that never move.
    pub immutable: ImmutableTags,
    /// Who may do what; `None`: everybody may everything.
    pub access: Option<AccessBlueprint>,
    /// How clients see this server.
    pub view: ViewSettings,
}

/// A server that is ready to be given a listener.
#[derive(Debug)]
pub struct Assembly {
    /// The domain.
    pub registry: Arc<Registry>,
    /// Every route with what is around all of them.
    pub router: Front,
    /// Who may do what.
    pub authority: Arc<Authority>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What health checks are told.
    pub health: Health,
    /// What outlives requests.
    pub tasks: Tasks,
    /// The storage folders are used by nobody else while these are open.
    _locks: Vec<File>,
}

/// Why a server could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A storage folder cannot be used.
    #[error("{} cannot be used as {role}", path.display())]
    Folder {
        /// The configuration's name for it.
        role: &'static str,
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process uses the folder.
    #[error(
        "{} is in use, by another entrepot or for another purpose: stop that one, or name another {role}", path.display()
    )]
    InUse {
        /// The configuration's name for it.
        role: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// There is no back end for a bucket.
    #[error("{url} cannot be used as {role}: this program has no object storage; name a folder")]
    ObjectStorage {
        /// The configuration's name for it.
        role: &'static str,
        /// The bucket.
        url: ObjectUrl,
    },
    /// There is no back end for a database that replicas share.
    #[error("metadata.url cannot be used: this program has no PostgreSQL; leave [metadata] out")]
    Postgres,
    /// The blobs of a folder cannot be used.
    #[error("the blobs in {role} cannot be used")]
    Blobs {
        /// The configuration's name for it.
        role: &'static str,
        /// What the store said.
        #[source]
        source: entrepot_blobs::Error,
    },
    /// The metadata of a folder cannot be used.
    #[error("the metadata in {role} cannot be used")]
    Metadata {
        /// The configuration's name for it.
        role: &'static str,
        /// What the store said.
        #[source]
        source: entrepot_metadata_sqlite::OpenError,
    },
    /// The upstreams contradict each other.
    #[error("the configured upstreams cannot be used")]
    Upstreams(#[source] entrepot_upstream::ConfigError),
    /// The users file is there and cannot be read.
    #[error("the users file {} cannot be read", path.display())]
    UsersFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The users file cannot be used.
    #[error("the users file cannot be used")]
    Users(#[source] entrepot_access::UsersError),
    /// An identity provider cannot be used.
    #[error("the identity providers cannot be used")]
    Issuers(#[source] entrepot_access::IssuersError),
    /// The keys that tokens are signed with cannot be had.
    #[error("the keys that tokens are signed with cannot be read or made")]
    Keys(#[source] entrepot_metadata::Error),
    /// What a crash may have left could not be looked for.
    #[error("leftovers of an earlier run could not be swept")]
    Sweep(#[source] entrepot_registry::Error),
}

/// Opens the stores, sweeps what an earlier run left, and puts everything together.
pub async fn assemble(blueprint: Blueprint) -> Result<Assembly, AssembleError> {
    let Blueprint {
        registry_storage,
        temporary_storage,
        proxy_storage,
        remotes,
        limits,
        settings,
        immutable,
        access,
        view,
    } = blueprint;
    let locks = lock_folders(&registry_storage, &temporary_storage, &proxy_storage)?;
    let own = open_store("registry_storage", &registry_storage, &temporary_storage.join("registry"))?;
    let cache = open_store("proxy_storage", &proxy_storage, &temporary_storage.join("proxy"))?;
    let (timeouts, lookup) = (remotes.timeouts, remotes.resolve_overrides.clone());
    let remotes = Remotes::new(remotes).map_err(AssembleError::Upstreams)?;
    let mut metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let domain_metrics = Arc::new(entrepot_registry::Metrics::default());
    domain_metrics.register(metrics.registry_mut());
    let tasks = Tasks::default();
    let clock = Arc::new(SystemClock);
    let foundation = Foundation { own: &own, clock: clock.clone(), remotes: &remotes, timeouts, lookup };
    let authority = authority(access, foundation, &mut metrics).await?;
    tasks.spawn(keep_up(Arc::clone(&authority), tasks.clone()));
    let parts = Parts {
        own,
        cache,
        remotes,
        clock,
        limits,
        settings,
        is_open: authority.is_open(),
        immutable,
        metrics: domain_metrics,
        tasks: tasks.clone(),
    };
    let registry = Registry::new(parts);
    registry.register_upstreams(metrics.registry_mut());
    let swept = registry.sweep(true).await.map_err(AssembleError::Sweep)?;
    if swept != entrepot_registry::Swept::default() {
        let entrepot_registry::Swept { uploads, leftovers, bytes } = swept;
        tracing::info!(uploads, leftovers, bytes, "swept what an earlier run had left");
    }
    registry.keep_up();
    let health = Health::new({
        let registry = Arc::clone(&registry);
        move || probe(Arc::clone(&registry))
    });
    let others = entrepot_server::admin_router(Arc::clone(&registry), Arc::clone(&authority))
        .merge(entrepot_server::token_router(Arc::clone(&registry), Arc::clone(&authority)))
        .merge(health.router());
    let api = entrepot_server::api(Arc::clone(&registry), Arc::clone(&authority));
    let router = entrepot_server::front(
        Routes::new(api, others),
        Arc::new(RequestIds::random()),
        metrics.requests(),
        Arc::new(view),
    );
    Ok(Assembly { registry, router, authority, metrics: Arc::new(metrics), health, tasks, _locks: locks })
}

/// Looks after tokens and keys until the process is to stop; what was noted until then is written before it does.
async fn keep_up(authority: Arc<Authority>, tasks: Tasks) {
    tokio::select! {
        () = authority.keep_up() => (),
        () = tasks.stopping() => (),
    }
    authority.write_uses().await;
}

/// A blob store and the metadata beside it.
fn open_store(role: &'static str, location: &StorageLocation, staging: &Path) -> Result<Store, AssembleError> {
    let folder = match location {
        StorageLocation::Folder(folder) => folder,
        StorageLocation::Object(url) => return Err(AssembleError::ObjectStorage { role, url: url.clone() }),
    };
    let blobs = FilesystemStore::open(folder.to_owned(), staging.to_owned())
        .map_err(|source| AssembleError::Blobs { role, source })?;
    if blobs.staging_is_elsewhere() {
        tracing::info!(
            storage = role,
            "the temporary storage is on another file system: finished transfers are copied instead of moved"
        );
    }
    let metadata =
        SqliteStore::open(&folder.join(DATABASE_FILE)).map_err(|source| AssembleError::Metadata { role, source })?;
    Ok(Store { blobs: Arc::new(blobs), metadata: Arc::new(metadata) })
}

/// Takes every folder that one process at a time may use: those of the stores, and, where the own images are in a bucket, which has no locks and
/// many users, that of what this process has not finished. So that there is always a folder that guards the operator's socket.
fn lock_folders(
    registry: &StorageLocation,
    temporary: &Path,
    proxy: &StorageLocation,
) -> Result<Vec<File>, AssembleError> {
    let mut locks = vec![match registry {
        StorageLocation::Folder(folder) => lock("registry_storage", folder)?,
        StorageLocation::Object(_) => lock("temporary_registry_storage", temporary)?,
    }];
    if let StorageLocation::Folder(folder) = proxy {
        locks.push(lock("proxy_storage", folder)?);
    }
    Ok(locks)
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

async fn probe(registry: Arc<Registry>) -> Result<(), Vec<NotReady>> {
    let failures = registry.probe().await;
    if failures.is_empty() {
        return Ok(());
    }
    for (what, error) in &failures {
        tracing::warn!(what, error = error as &dyn std::error::Error, "not ready");
    }
    // Everybody can read the answer: it says what, the log says which file and why.
    Err(failures.into_iter().map(|(what, error)| NotReady { what: what.to_owned(), why: error.to_string() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Configuration, Surroundings};

    fn configured(folder: &Path, text: &str) -> Configuration {
        std::fs::write(folder.join("configuration.toml"), text).unwrap();
        Configuration::load(None, &Surroundings { working_folder: folder, environment: &|_| None }).unwrap()
    }

    fn locked(configuration: &Configuration) -> Result<Vec<File>, AssembleError> {
        let Configuration { registry_storage, temporary_registry_storage, proxy_storage, .. } = configuration;
        lock_folders(registry_storage, temporary_registry_storage, proxy_storage)
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

    #[test]
    fn a_bucket_has_no_back_end_yet_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let text = "registry_storage = \"s3://bucket/a\"\nmetadata.url = \"postgres://u@localhost/d\"\n";
        let configuration = configured(folder.path(), text);
        let error = open_store("registry_storage", &configuration.registry_storage, folder.path()).err().unwrap();
        assert!(error.to_string().starts_with("s3://bucket/a cannot be used as registry_storage"), "{error}");
    }
}
