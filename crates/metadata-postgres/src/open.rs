//! Opening: the connections, the schema, and what runs beside requests.

use std::sync::Arc;

use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod};
use tokio::task::JoinHandle;
use tokio_postgres::Config;

use crate::config::PostgresConfig;
use crate::connections::Connections;
use crate::limits::CONNECT_WAIT_MAX;
use crate::tls::Tls;

/// Why the store cannot be opened. A database that is refused is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be read. It is not repeated, because it may hold a password.
    #[error("the URL of the database cannot be read: expected postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url,
    /// The schema cannot be called so.
    #[error(
        "{name:?} cannot be the name of a schema: expected at most 48 lower-case letters, digits and `_`, and no digit first"
    )]
    SchemaName {
        /// The name.
        name: String,
    },
    /// The authorities cannot be used.
    #[error("cannot set up TLS to the database")]
    Tls(#[source] rustls::Error),
    /// The pool of connections cannot be made.
    #[error("cannot set up connections to the database")]
    Pool(#[source] deadpool_postgres::BuildError),
    /// The database cannot be reached, or does not let us in.
    #[error("cannot connect to the database at {place}")]
    Connect {
        /// Its hosts, ports and name.
        place: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Texts of the database cannot hold what we store.
    #[error("the database has the encoding {found}, and UTF8 is needed: create it with ENCODING 'UTF8'")]
    Encoding {
        /// Its encoding.
        found: String,
    },
    /// The schema holds tables of something else.
    #[error("the schema {schema:?} holds tables that are not of this registry: name another one, or empty it")]
    Foreign {
        /// The schema.
        schema: String,
    },
    /// The schema was made by a later version of the program.
    #[error(
        "the schema {schema:?} has version {found}, which programs that know version {readable_from} or later can use; this one \
         knows version {known}: start the later program again, or restore a backup from before the upgrade"
    )]
    NewerSchema {
        /// The schema.
        schema: String,
        /// Its version.
        found: i32,
        /// The first version whose programs can use it.
        readable_from: i32,
        /// The last version that this program knows.
        known: i32,
    },
    /// A statement failed.
    #[error("cannot prepare the schema {schema:?}")]
    Statement {
        /// The schema.
        schema: String,
        /// The cause.
        #[source]
        source: tokio_postgres::Error,
    },
}

/// The hosts and the database, without names and passwords.
pub(crate) fn place_of(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(place, host)| {
            let port = ports.get(place).or(ports.first()).copied().unwrap_or(5432);
            match host {
                tokio_postgres::config::Host::Tcp(name) => format!("{name}:{port}"),
                #[cfg(unix)]
                tokio_postgres::config::Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        })
        .collect();
    format!("{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

/// A connection of its own, with the task that moves its bytes.
pub(crate) async fn connect_once(
    config: &Config,
    tls: &Tls,
) -> Result<(tokio_postgres::Client, JoinHandle<()>), OpenError> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Connect { place: place_of(config), source };
    let connecting = tokio::time::timeout(CONNECT_WAIT_MAX, config.connect(tls.clone()));
    let (client, connection) =
        connecting.await.map_err(|late| failed(Box::new(late)))?.map_err(|error| failed(Box::new(error)))?;
    let moving = spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the database was lost");
        }
    });
    Ok((client, moving))
}

pub(crate) fn pool(config: &PostgresConfig, connect: Config, tls: Tls) -> Result<Arc<Connections>, OpenError> {
    // A connection that was closed is told by its own end; asking each one before it is used would double the ways to the server.
    let manager = Manager::from_config(connect, tls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Connections::new(manager, config.connections_max, config.acquire_timeout, config.statement_timeout)
        .map(Arc::new)
        .map_err(OpenError::Pool)
}

#[expect(clippy::disallowed_methods, reason = "these tasks belong to the store, which ends them when it is dropped")]
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(work)
}

/// Says what the server or the way to it is set to that our promises do not survive.
pub(crate) async fn warn_of_losses(client: &tokio_postgres::Client, config: &Config) {
    for (setting, loss) in
        [("synchronous_commit", "a crash of it loses what was acknowledged"), ("fsync", "a loss of power damages it")]
    {
        let shown = client.query_one(&format!("SHOW {setting}"), &[]).await;
        if shown.is_ok_and(|row| row.try_get::<_, &str>(0).is_ok_and(|value| value == "off")) {
            tracing::warn!(setting, "the database server has this switched off: {loss}");
        }
    }
    let is_remote = config.get_hosts().iter().any(|host| matches!(host, tokio_postgres::config::Host::Tcp(_)));
    if is_remote && PostgresConfig::is_plain(config) {
        tracing::info!("connections to the database are not encrypted: sslmode is disable");
    }
}
