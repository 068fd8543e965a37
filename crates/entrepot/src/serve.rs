//! `entrepot serve`: from a configuration to a running server, and in an orderly way down again.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use entrepot_registry::Limits;
use entrepot_server::{ConnectionLimits, ServeOutcome};
use entrepot_upstream::{RemotesConfig, Timeouts};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::assemble::{AssembleError, Assembly, Blueprint, assemble};
use crate::config::Configuration;
use crate::descriptors;

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
    let stopping = stop_on_signals()?;
    let assembly = assemble(blueprint(configuration)).await?;
    announce(configuration, &listener, metrics_listener.as_ref());
    let metrics_serving = metrics_listener.map(|listener| {
        let (metrics, stopping) = (Arc::clone(&assembly.metrics), stopping.clone());
        assembly
            .tasks
            .spawn(async move { entrepot_server::serve_metrics(listener, metrics, stopping.cancelled_owned()).await })
    });
    let outcome = run(&assembly, configuration, listener, stopping).await;
    if let Some(serving) = metrics_serving {
        // It had the same time to finish; a panic in there is logged by the runtime and no reason not to go on.
        let _ = serving.await;
    }
    let are_ended = assembly.tasks.stop(TASKS_PATIENCE).await;
    tracing::info!(connections_cut = outcome.connections_cut, tasks_ended = are_ended, "stopped");
    Ok(())
}

async fn run(
    assembly: &Assembly,
    configuration: &Configuration,
    listener: TcpListener,
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
    entrepot_server::serve(listener, None, assembly.router.clone(), limits, connections, shutdown).await
}

/// What the configuration comes to for whoever puts the server together.
pub(crate) fn blueprint(configuration: &Configuration) -> Blueprint {
    let defaults = Limits::default();
    Blueprint {
        registry_storage: configuration.registry_storage.clone(),
        temporary_storage: configuration.temporary_registry_storage.clone(),
        proxy_storage: configuration.proxy_storage.clone(),
        remotes: RemotesConfig {
            hosts: configuration.proxy.hosts,
            upstreams: configuration.proxy.upstreams.clone(),
            timeouts: Timeouts::default(),
            ..RemotesConfig::default()
        },
        limits: Limits {
            blob_bytes_max: configuration.server.blob_size_max.unwrap_or(defaults.blob_bytes_max),
            upload_expiry: configuration.server.upload_expiry,
            ..defaults
        },
        settings: configuration.proxy.settings.clone(),
        immutable: entrepot_registry::ImmutableTags::default(),
        access: None,
    }
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
