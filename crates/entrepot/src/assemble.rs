//! Putting the server together.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use entrepot_access::Authority;
use entrepot_blobs::Fetching;
use entrepot_registry::{ImmutableTags, Limits, Parts, ProxySettings, Registry, Swept, SystemClock, Tasks};
use entrepot_server::{Answerer, Health, Metrics, NotReady, RedirectSettings, RequestIds, Routes, ViewSettings};
use entrepot_upstream::{Remotes, RemotesConfig};

use crate::authority::{AccessBlueprint, Foundation, authority};
use crate::config::ObjectUrl;
use crate::database::DatabaseError;
use crate::object_storage::BucketError;
use crate::stores::{Places, Stores};

/// What a server is put together from.
#[derive(Debug)]
pub struct Blueprint {
    /// Where things are.
    pub places: Places,
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
    /// Where other replicas reach the internal listener of this one; `None`: nowhere.
    pub replica_address: Option<String>,
    /// Who is sent on to the bucket for bytes.
    pub redirects: RedirectSettings,
}

/// A server that is ready to be given a listener.
#[derive(Debug)]
pub struct Assembly {
    /// The domain.
    pub registry: Arc<Registry>,
    /// Every route with what is around all of them.
    pub answerer: Answerer,
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
    /// A bucket cannot be used.
    #[error("the bucket in {role} cannot be used")]
    Bucket {
        /// The configuration's name for it.
        role: &'static str,
        /// What is wrong.
        #[source]
        source: Box<BucketError>,
    },
    /// A bucket has no database inside.
    #[error("{url} needs a database for its metadata: set metadata.url to that of a PostgreSQL database")]
    NoDatabase {
        /// The bucket.
        url: ObjectUrl,
    },
    /// The database cannot be used.
    #[error("the database of metadata.url cannot be used")]
    Database(#[source] DatabaseError),
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
    let Blueprint { places, remotes, limits, settings, immutable, access, view, replica_address, redirects } =
        blueprint;
    let mut metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let stores = places.open(&mut metrics).await?;
    let replica = places.replica(&stores, replica_address)?;
    let Stores { own, cache, fetching, locks } = stores;
    let (timeouts, lookup) = (remotes.timeouts, remotes.resolve_overrides.clone());
    let remotes = Remotes::new(remotes).map_err(AssembleError::Upstreams)?;
    let domain_metrics = Arc::new(entrepot_registry::Metrics::default());
    domain_metrics.register(metrics.registry_mut());
    let tasks = Tasks::default();
    let clock = Arc::new(SystemClock);
    let foundation = Foundation { own: &own, clock: clock.clone(), remotes: &remotes, timeouts, lookup };
    let authority = authority(access, foundation, &mut metrics).await?;
    tasks.spawn(keep_up(Arc::clone(&authority), tasks.clone()));
    for work in fetching {
        tasks.spawn(keep_fetching(work, tasks.clone()));
    }
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
        replica,
    };
    let registry = Registry::new(parts);
    registry.register_upstreams(metrics.registry_mut());
    sweep(&registry).await?;
    registry.keep_up();
    let health = Health::new({
        let registry = Arc::clone(&registry);
        move || probe(Arc::clone(&registry))
    });
    let others = entrepot_server::admin_router(Arc::clone(&registry), Arc::clone(&authority))
        .merge(entrepot_server::token_router(Arc::clone(&registry), Arc::clone(&authority)))
        .merge(health.router());
    let api = entrepot_server::api(Arc::clone(&registry), Arc::clone(&authority), Arc::new(redirects));
    let answerer = entrepot_server::front(
        Routes::new(api, others),
        Arc::new(RequestIds::random()),
        metrics.requests(),
        Arc::new(view),
    );
    Ok(Assembly { registry, answerer, authority, metrics: Arc::new(metrics), health, tasks, _locks: locks })
}

/// Removes what a crash may have left.
async fn sweep(registry: &Arc<Registry>) -> Result<(), AssembleError> {
    let swept = registry.sweep(true).await.map_err(AssembleError::Sweep)?;
    if swept != Swept::default() {
        let Swept { uploads, leftovers, bytes } = swept;
        tracing::info!(uploads, leftovers, bytes, "swept what an earlier run had left");
    }
    Ok(())
}

/// Fetches for a read cache until the process is to stop. Cut off, it leaves staged bytes for the next start, and nothing that anybody waits
/// for.
async fn keep_fetching(work: Fetching, tasks: Tasks) {
    tokio::select! {
        () = work.run() => (),
        () = tasks.stopping() => (),
    }
}

/// Looks after tokens and keys until the process is to stop; what was noted until then is written before it does.
async fn keep_up(authority: Arc<Authority>, tasks: Tasks) {
    tokio::select! {
        () = authority.keep_up() => (),
        () = tasks.stopping() => (),
    }
    authority.write_uses().await;
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
