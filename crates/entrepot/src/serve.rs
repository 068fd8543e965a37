//! `entrepot serve`: from a configuration to a running server, and in an orderly way down again.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use entrepot_registry::Limits;
use entrepot_server::{ConnectionLimits, ServeOutcome, Tls, ViewSettings};
use entrepot_upstream::{RemotesConfig, Timeouts};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::assemble::{AssembleError, Assembly, Blueprint, assemble};
use crate::authority::{AccessBlueprint, follow_users};
use crate::certificate::{self, CertificateError};
use crate::config::{AccessConfiguration, Configuration, ServerConfiguration, users_text};
use crate::descriptors;
use crate::redirects::redirects;
use crate::socket::{self, OperatorSocket};
use crate::stores::Places;

/// How long work that outlives its request may take to end, once the connections are gone.
const TASKS_PATIENCE: Duration = Duration::from_secs(10);

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: set {key} in the configuration to a free address of this machine")]
    Listen {
        /// The configuration's name for it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server could not be put together.
    #[error("cannot start")]
    Assemble(#[from] AssembleError),
    /// TLS cannot be spoken.
    #[error("cannot speak TLS")]
    Certificate(#[from] CertificateError),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}

/// Serves until SIGTERM or SIGINT, then stops accepting, lets requests finish for as long as the configuration says, and
/// returns. A second signal ends the process at once: everything acknowledged is on the disk at any time.
pub async fn serve(configuration: &Configuration) -> Result<(), ServeError> {
    // The addresses first: a port in use is told before anything is created.
    let listener = listen("server.listen", configuration.server.listen).await?;
    let metrics_listener = match configuration.telemetry.metrics_listen {
        Some(address) => Some(listen("telemetry.metrics_listen", address).await?),
        None => None,
    };
    let replica_listener = match &configuration.replica {
        Some(replica) => Some(listen("replica.listen", replica.listen).await?),
        None => None,
    };
    let stopping = stop_on_signals()?;
    for warning in configuration.warnings() {
        tracing::warn!(key = warning.key, "{}", warning.text);
    }
    let mut blueprint = blueprint(configuration)?;
    if let (Some(replica), Some(listener)) = (&configuration.replica, &replica_listener) {
        blueprint.replica_address = Some(replica.url(listener.local_addr().unwrap_or(replica.listen)));
    }
    let users = blueprint.access.as_ref().and_then(|access| access.users.clone());
    let assembly = assemble(blueprint).await?;
    if let Some(access) = &configuration.access {
        follow_users(Arc::clone(&assembly.authority), access.users_file.clone(), users, &assembly.tasks);
    }
    let tls = match &configuration.server.tls {
        Some(files) => Some(certificate::open(files, &assembly.tasks)?),
        None => None,
    };
    let socket_serving = serve_operator(&assembly, configuration, &stopping);
    announce(configuration, &listener, metrics_listener.as_ref());
    let metrics_serving = metrics_listener.map(|listener| {
        let (metrics, stopping) = (Arc::clone(&assembly.metrics), stopping.clone());
        assembly
            .tasks
            .spawn(async move { entrepot_server::serve_metrics(listener, metrics, stopping.cancelled_owned()).await })
    });
    let replicas_serving = replica_listener.map(|listener| {
        let (registry, stopping) = (Arc::clone(&assembly.registry), stopping.clone());
        assembly
            .tasks
            .spawn(async move { entrepot_server::serve_replicas(listener, registry, stopping.cancelled_owned()).await })
    });
    let outcome = run(&assembly, configuration, (listener, tls), stopping).await;
    if let Some(serving) = socket_serving {
        let _ = serving.await;
    }
    if let Some(serving) = metrics_serving {
        // It had the same time to finish; a panic in there is logged by the runtime and no reason not to go on.
        let _ = serving.await;
    }
    if let Some(serving) = replicas_serving {
        let _ = serving.await;
    }
    let are_ended = assembly.tasks.stop(TASKS_PATIENCE).await;
    tracing::info!(connections_cut = outcome.connections_cut, tasks_ended = are_ended, "stopped");
    Ok(())
}

/// Serves the operator's socket, until the file goes with it. Without one the commands cannot ask this server, and that is all.
fn serve_operator(
    assembly: &Assembly,
    configuration: &Configuration,
    stopping: &CancellationToken,
) -> Option<JoinHandle<()>> {
    let (_, folder) = configuration.process_folder();
    let (socket, listener) = match OperatorSocket::bind(folder) {
        Ok(bound) => bound,
        Err(error) => {
            let socket = socket::path(folder);
            tracing::error!(
                socket = %socket.display(),
                %error,
                "there is no socket for the operator: commands on this machine cannot ask this server"
            );
            return None;
        }
    };
    let (answerer, patience) = (assembly.answerer.clone(), configuration.server.shutdown_timeout);
    let stopping = stopping.clone().cancelled_owned();
    Some(assembly.tasks.spawn(async move {
        entrepot_server::serve_socket(listener, answerer, patience, stopping).await;
        drop(socket);
    }))
}

async fn run(
    assembly: &Assembly,
    configuration: &Configuration,
    (listener, tls): (TcpListener, Option<Arc<Tls>>),
    stopping: CancellationToken,
) -> ServeOutcome {
    let descriptors = descriptors::raise_limit();
    let limits = ConnectionLimits {
        connections_max: descriptors::connections_for(descriptors, configuration.server.connections_max),
        shutdown_timeout: configuration.server.shutdown_timeout,
        ..ConnectionLimits::default()
    };
    let health = assembly.health.clone();
    let shutdown = async move {
        stopping.cancelled().await;
        // Load balancers are told before the connections end.
        health.stop();
        tracing::info!("stopping: no new connections, open requests may finish");
    };
    let connections = assembly.metrics.connections();
    entrepot_server::serve(listener, tls, assembly.answerer.clone(), limits, connections, shutdown).await
}

/// What the configuration comes to for whoever puts the server together. Reads the users file.
pub(crate) fn blueprint(configuration: &Configuration) -> Result<Blueprint, AssembleError> {
    let defaults = Limits::default();
    let access = configuration.access.as_ref();
    Ok(Blueprint {
        places: Places::from(configuration),
        remotes: remotes(configuration),
        limits: Limits {
            blob_bytes_max: configuration.server.blob_size_max.unwrap_or(defaults.blob_bytes_max),
            upload_expiry: configuration.server.upload_expiry,
            ..defaults
        },
        settings: configuration.proxy.settings.clone(),
        immutable: access.map(|access| access.immutable.clone()).unwrap_or_default(),
        access: access.map(|access| access_blueprint(access, &configuration.server)).transpose()?,
        view: view(&configuration.server),
        replica_address: None,
        redirects: redirects(&configuration.storage.redirect),
    })
}

/// How clients see this server.
fn view(server: &ServerConfiguration) -> ViewSettings {
    ViewSettings {
        public_url: server.public_url.clone(),
        // The configuration has let through nothing else.
        trusted_proxies: server.trusted_proxies.iter().filter_map(|text| text.parse().ok()).collect(),
    }
}

/// The other registries.
pub(crate) fn remotes(configuration: &Configuration) -> RemotesConfig {
    RemotesConfig {
        hosts: configuration.proxy.hosts,
        upstreams: configuration.proxy.upstreams.clone(),
        timeouts: Timeouts::default(),
        ..RemotesConfig::default()
    }
}

fn access_blueprint(
    access: &AccessConfiguration,
    server: &ServerConfiguration,
) -> Result<AccessBlueprint, AssembleError> {
    let path = &access.users_file;
    let users = users_text(path).map_err(|source| AssembleError::UsersFile { path: path.clone(), source })?;
    if users.is_none() {
        tracing::info!(users_file = %path.display(), "there is no users file, so that nobody has a password: entrepot user add");
    }
    Ok(AccessBlueprint {
        service: service(server),
        rules: access.rules(),
        users,
        issuers: access.issuers.clone(),
        token_lifetime: access.token_lifetime,
    })
}

/// What tokens are for: the host that clients know, where it is written down, so that two registries do not take each other's.
fn service(server: &ServerConfiguration) -> String {
    let url = server.public_url.as_ref().and_then(|url| Url::parse(url).ok());
    url.as_ref().and_then(Url::host_str).unwrap_or("entrepot").to_owned()
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { key, address, source })
}

/// Tells whoever started the server what it does. That nobody reads it is no reason not to serve.
fn announce(configuration: &Configuration, listener: &TcpListener, metrics: Option<&TcpListener>) {
    let address = |listener: &TcpListener, configured| listener.local_addr().unwrap_or(configured);
    let listen = address(listener, configuration.server.listen);
    let metrics = metrics.map(|metrics| address(metrics, listen));
    let _ = io::stdout().lock().write_all(configuration.report(listen, metrics).as_bytes());
    tracing::info!(%listen, "listening");
}

/// A token that is cancelled by the first SIGTERM or SIGINT. The second one ends the process.
fn stop_on_signals() -> Result<CancellationToken, ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let stopping = CancellationToken::new();
    let told = stopping.clone();
    // Not one of the tracked tasks: it waits for a second signal until the very end.
    #[expect(clippy::disallowed_methods, reason = "a shutdown must not wait for what waits to hasten it")]
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_first {
                told.cancel();
            } else {
                tracing::warn!("stopped at once by a second signal");
                std::process::exit(1);
            }
        }
    });
    Ok(stopping)
}
