//! The configuration: one file in TOML, or none.
//!
//! A file is looked at three times. `check` compares it with the table of all keys, so that a typing error is told with
//! its place and with what is allowed there; the structs of `written` then take it in; `resolve` fills in the defaults,
//! parses the values and refuses what cannot be together. What comes out is a [`Configuration`] in which nothing is
//! left to interpret. All problems are told at once.
//!
//! This is the only place that reads the environment, and it is handed it.

mod access;
mod account;
mod check;
mod documentation;
mod error;
mod issuers;
mod keys;
mod limits;
mod metadata;
mod mirrors;
mod object_storage;
mod pem;
mod postgres_url;
mod principals;
mod proxy;
mod read_cache;
mod redirect;
mod replica;
mod report;
mod resolve;
mod rules;
mod secret;
mod server;
mod show;
mod show_access;
mod show_proxy;
mod show_storage;
mod storage;
mod upstream;
mod users_file;
pub(crate) mod value;
mod warnings;
mod written;

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use entrepot_registry::ProxySettings;
use entrepot_server::ClientCertificates;
use entrepot_upstream::{Hosts, UpstreamConfig};
use secrecy::SecretString;
use serde::Deserialize;

pub use self::access::AccessConfiguration;
pub(crate) use self::access::USERS_FILE;
pub use self::documentation::documentation;
pub use self::error::{ConfigurationError, Place, Problem, ProblemKind, Problems};
use self::limits::CONFIGURATION_BYTES_MAX;
pub(crate) use self::limits::PEM_BYTES_MAX;
pub use self::metadata::{MetadataConfiguration, PostgresConfiguration};
pub use self::object_storage::{
    AzureConfiguration, GcsConfiguration, ObjectChecksum, S3Configuration, S3Credentials, StorageConfiguration,
    TransferConfiguration,
};
pub use self::postgres_url::{PostgresHost, PostgresTls};
pub use self::read_cache::ReadCacheConfiguration;
pub use self::redirect::{RedirectConfiguration, RedirectMode, RedirectRule};
pub use self::replica::{ReplicaAddress, ReplicaConfiguration};
use self::resolve::{Resolver, resolve};
pub use self::storage::{ObjectScheme, ObjectUrl, StorageLocation};
pub(crate) use self::upstream::DOCKER_HUB;
pub(crate) use self::users_file::users_text;
pub use self::warnings::Warning;
use self::written::Written;

/// The file that is read when none is named.
pub const FILE_NAME: &str = "configuration.toml";

/// The environment variable with the token for a server that a command names.
pub const TOKEN_VARIABLE: &str = "ENTREPOT_TOKEN";

/// Everything that can be configured, with nothing left to interpret.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Where it was read from.
    pub source: Source,
    /// Where the own images are.
    pub registry_storage: StorageLocation,
    /// The folder of what is not finished, absolute.
    pub temporary_registry_storage: PathBuf,
    /// Where the cache is.
    pub proxy_storage: StorageLocation,
    /// `[storage]`: what is to be known about object storage.
    pub storage: StorageConfiguration,
    /// `[metadata]`
    pub metadata: MetadataConfiguration,
    /// `[replica]`; `None`: there is no internal listener.
    pub replica: Option<ReplicaConfiguration>,
    /// `[server]`
    pub server: ServerConfiguration,
    /// `[access]`. `None`: not written down, which means that everybody may everything, and then the listener is on a
    /// loopback address.
    pub access: Option<AccessConfiguration>,
    /// `[proxy]`
    pub proxy: ProxyConfiguration,
    /// `[telemetry]`
    pub telemetry: TelemetryConfiguration,
    /// Not in the file: the token that commands show to a server that was named, from [`TOKEN_VARIABLE`].
    pub token: Option<SecretString>,
    /// The keys of secrets that are in the file themselves.
    secrets_in_file: Vec<&'static str>,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This file.
    File(PathBuf),
    /// No file was named, and there is none here.
    Defaults {
        /// The file that would have been read.
        looked_for: PathBuf,
    },
}

/// How clients reach the registry, and what they may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfiguration {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Connections served at once.
    pub connections_max: usize,
    /// How long requests may go on after the process was told to stop.
    pub shutdown_timeout: Duration,
    /// How long an upload may rest before it is given up; at least a minute.
    pub upload_expiry: Duration,
    /// Bytes of the largest blob that can be pushed; no limit when `None`.
    pub blob_size_max: Option<u64>,
    /// Scheme, host and port by which clients reach the registry, without a slash at the end; what requests say when `None`.
    pub public_url: Option<String>,
    /// The reverse proxies that are believed: each an address, or one with the length of its network behind a slash.
    pub trusted_proxies: Vec<String>,
    /// `[server.tls]`; plain HTTP when `None`.
    pub tls: Option<TlsFiles>,
}

/// Where the keys and certificates of TLS are. Each of them was there and held what it should at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate with the chain behind it, absolute.
    pub certificate: PathBuf,
    /// Its key, absolute.
    pub key: PathBuf,
    /// The authorities of client certificates, absolute; without it clients are asked for none.
    pub client_ca: Option<PathBuf>,
    /// Whether a client may come without one.
    pub client_certificates: ClientCertificates,
}

impl Default for ServerConfiguration {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5000)),
            connections_max: 10_000,
            shutdown_timeout: Duration::from_secs(30),
            upload_expiry: Duration::from_hours(7 * 24),
            blob_size_max: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            tls: None,
        }
    }
}

/// Pulling through from other registries.
#[derive(Clone, Debug)]
pub struct ProxyConfiguration {
    /// Which hosts may be named in a path.
    pub hosts: Hosts,
    /// The listed upstreams, in the order of the file.
    pub upstreams: Vec<UpstreamConfig>,
    /// How long tags are believed, what may pass and how much is kept.
    pub settings: ProxySettings,
}

/// What the operator sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfiguration {
    /// How the log is written.
    pub log: LogFormat,
    /// The least important lines that are written.
    pub log_level: LogLevel,
    /// Where `/metrics` is; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
}

impl Default for TelemetryConfiguration {
    fn default() -> Self {
        Self {
            log: LogFormat::Text,
            log_level: LogLevel::Info,
            metrics_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 5001))),
        }
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Text, Self::Json].into_iter().find(|format| format.as_str() == text)
    }
}

/// How important a line of the log has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What somebody has to look at.
    Error,
    /// What works less well than it should.
    Warn,
    /// What happens, each request among it.
    Info,
    /// What helps to find out why.
    Debug,
    /// Everything, also from the libraries in use.
    Trace,
}

impl LogLevel {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let levels = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
        levels.into_iter().find(|level| level.as_str() == text)
    }
}

/// What a configuration is read in.
#[derive(Clone, Copy)]
pub struct Surroundings<'s> {
    /// The working folder, absolute.
    pub working_folder: &'s Path,
    /// The environment.
    pub environment: &'s dyn Fn(&str) -> Option<String>,
}

impl Configuration {
    /// Reads `named`, or else [`FILE_NAME`] in the working folder, or else takes the defaults.
    ///
    /// # Errors
    /// A named file that is not there, a file that cannot be read, and every problem of what is written.
    pub fn load(named: Option<&Path>, surroundings: &Surroundings<'_>) -> Result<Self, ConfigurationError> {
        let path = surroundings.working_folder.join(named.unwrap_or(Path::new(FILE_NAME)));
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                let source = Source::Defaults { looked_for: path };
                return Ok(Self::resolved("", None, surroundings.working_folder, surroundings, source)?);
            }
            Err(source) => return Err(ConfigurationError::Unreadable { path, source }),
        };
        if text.len() as u64 > CONFIGURATION_BYTES_MAX {
            return Err(ConfigurationError::TooLarge { path, limit: CONFIGURATION_BYTES_MAX });
        }
        let folder = path.parent().unwrap_or(surroundings.working_folder);
        // As it was named, so that the place in an error is what the user typed.
        let shown = named.unwrap_or(Path::new(FILE_NAME));
        Ok(Self::resolved(&text, Some(shown), folder, surroundings, Source::File(path.clone()))?)
    }

    fn resolved(
        text: &str,
        file: Option<&Path>,
        folder: &Path,
        surroundings: &Surroundings<'_>,
        source: Source,
    ) -> Result<Self, Problems> {
        Problems::check(check::problems_in(text, file))?;
        let mut resolver =
            Resolver { text, file, folder, surroundings, problems: Vec::new(), secrets_in_file: Vec::new() };
        let written = toml::Deserializer::parse(text).and_then(Written::deserialize).unwrap_or_else(|error| {
            // The check above lets through nothing that the structs refuse; if it did, this is where it would be told.
            let place = resolver.place(error.span().map_or(0, |span| span.start));
            resolver.add(place, "", ProblemKind::Syntax { message: error.message().to_owned() });
            Written::default()
        });
        resolve(resolver, &written, source)
    }
}

/// The text of a file, up to one byte more than a configuration may have.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(CONFIGURATION_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
