//! What a set of remotes is made from, and why it may be refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use secrecy::SecretString;
use url::Url;

use crate::history::RedactedUrl;

/// All upstreams and how to reach them.
#[derive(Debug)]
pub struct RemotesConfig {
    /// Which hosts may be asked.
    pub hosts: Hosts,
    /// The upstreams that the operator lists.
    pub upstreams: Vec<UpstreamConfig>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Answers for names instead of those of DNS, for tests.
    pub resolve_overrides: Lookup,
}

impl Default for RemotesConfig {
    fn default() -> Self {
        Self {
            hosts: Hosts::Public,
            upstreams: Vec::new(),
            timeouts: Timeouts::default(),
            resolve_overrides: Lookup::default(),
        }
    }
}

/// Which hosts may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// The listed upstreams, and every other host whose addresses are all public, over https.
    Public,
    /// The listed upstreams alone.
    Listed,
}

/// An upstream that the operator lists.
#[derive(Clone)]
pub struct UpstreamConfig {
    /// What it is called in paths and messages: one component of a repository name.
    pub name: String,
    /// Scheme, host and port, and nothing else.
    pub url: Url,
    /// Further names in paths.
    pub aliases: Vec<String>,
    /// The account to pull with. Belongs to `password`.
    pub username: Option<String>,
    /// The password or token of the account. Without a `username` it is sent with an empty one.
    pub password: Option<SecretString>,
    /// A program that is asked for the account, in place of `username` and `password`.
    pub credential_helper: Option<CredentialHelper>,
    /// It is asked with the account of whoever asks us, in place of one of its own: it decides who may pull what.
    pub is_asked_as_caller: bool,
    /// `host` or `host:port`: where redirects and realms of this upstream may lead although the address is
    /// private or the domain another, and what may receive its credentials as a realm.
    pub trusted_hosts: Vec<String>,
    /// Certificates of authorities in PEM that are trusted beside those of the system, for everything of this upstream.
    pub ca: Option<Vec<u8>>,
    /// What the upstream is shown when it asks for a certificate: only the upstream itself, at the host and port of `url`.
    pub client_certificate: Option<ClientCertificate>,
    /// The HTTP proxy that everything of this upstream goes through, with its redirects, realms and mirrors that are not
    /// listed. May carry a user and password, which the proxy alone is told.
    ///
    /// The proxy resolves the names, so that the address guard sees none of their addresses: a redirect to a name that has
    /// a private address is for the proxy to refuse. Private addresses that stand in a URL are refused as ever.
    pub http_proxy: Option<Url>,
    /// Other places that serve the same registry: asked for content by digest before the upstream itself, in this order, and
    /// for tags when the upstream itself cannot be asked.
    pub mirrors: Vec<Mirror>,
    /// The most requests to it at once, transfers included; further ones wait in a queue.
    pub requests_max: usize,
}

/// A program that speaks the protocol of docker's credential helpers: `get` is its last argument, the host of the registry
/// comes on its standard input, and it answers with JSON that has `Username` and `Secret`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialHelper {
    /// The program and its first arguments; run without a shell.
    pub command: Vec<String>,
    /// How long an answer is used before the program is asked again.
    pub lifetime: Duration,
}

/// A certificate with its key, both in PEM.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, and the chain behind it.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: SecretString,
}

/// Another place that serves the same registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// The listed upstream of this name, with its account and certificates.
    Listed(String),
    /// This place, asked without an account. A path is put before the names of repositories. Only public addresses over https,
    /// unless its host is that of a listed upstream or among `trusted_hosts`.
    At(Url),
}

/// The requests to one upstream at once, unless it is configured otherwise.
pub const REQUESTS_MAX_DEFAULT: usize = 128;

impl UpstreamConfig {
    /// An upstream without aliases, credentials and trusted hosts.
    pub fn new(name: impl Into<String>, url: Url) -> Self {
        Self {
            name: name.into(),
            url,
            aliases: Vec::new(),
            username: None,
            password: None,
            credential_helper: None,
            is_asked_as_caller: false,
            trusted_hosts: Vec::new(),
            ca: None,
            client_certificate: None,
            http_proxy: None,
            mirrors: Vec::new(),
            requests_max: REQUESTS_MAX_DEFAULT,
        }
    }
}

impl fmt::Debug for UpstreamConfig {
    /// Without what the URL of the proxy carries.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UpstreamConfig")
            .field("name", &self.name)
            .field("url", &RedactedUrl::new(&self.url))
            .field("aliases", &self.aliases)
            .field("username", &self.username)
            .field("password", &self.password)
            .field("credential_helper", &self.credential_helper)
            .field("is_asked_as_caller", &self.is_asked_as_caller)
            .field("trusted_hosts", &self.trusted_hosts)
            .field("ca", &self.ca.is_some())
            .field("client_certificate", &self.client_certificate.is_some())
            .field("http_proxy", &self.http_proxy.as_ref().map(RedactedUrl::new))
            .field("mirrors", &self.mirrors)
            .field("requests_max", &self.requests_max)
            .finish()
    }
}

/// How long to wait for what. No limit on a whole blob: slow but moving goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, with its resolution and TLS. 5 seconds.
    pub connect: Duration,
    /// For the head of an answer, the connection included. 30 seconds.
    pub first_byte: Duration,
    /// For the next piece of a blob. 30 seconds.
    pub stall: Duration,
    /// For the whole of anything but a blob: a manifest, a page of tags, a token. 60 seconds.
    pub document: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            document: Duration::from_mins(1),
        }
    }
}

type LookupFunction = dyn Fn(&str) -> Option<Vec<SocketAddr>> + Send + Sync;

/// Answers for names before DNS is asked, checked by the guard like any other answer.
///
/// A port other than 0 is used where the URL names none. Called once for each connection, so that a test can
/// change its answer between them.
#[derive(Clone, Default)]
pub struct Lookup(Option<Arc<LookupFunction>>);

impl Lookup {
    /// Answers by `function`; where it returns `None`, DNS is asked.
    pub fn by(function: impl Fn(&str) -> Option<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(function)))
    }

    pub(crate) fn answer(&self, name: &str) -> Option<Vec<SocketAddr>> {
        self.0.as_ref().and_then(|function| function(name))
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Lookup").field(&self.0.is_some()).finish()
    }
}

/// Why a set of remotes cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Two upstreams answer to one name.
    #[error("the name {name:?} belongs to more than one upstream: names and aliases must differ")]
    DuplicateName {
        /// The name or alias.
        name: String,
    },
    /// Two upstreams of one URL with different credentials would share a cache.
    #[error(
        "the upstreams {first:?} and {second:?} have one URL and different credentials: make them one, with aliases"
    )]
    CredentialsDiffer {
        /// The one that is listed first.
        first: String,
        /// The other.
        second: String,
    },
    /// A name that cannot stand in a path.
    #[error(
        "the upstream name {name:?} cannot stand in a path: expected one component of lower-case letters and digits, \
         separated inside by '.', '_', '__' or '-'"
    )]
    Name {
        /// The name or alias.
        name: String,
    },
    /// A URL that is more or less than scheme, host and port.
    #[error(
        "the URL of the upstream {upstream:?} {problem}: expected https://HOST or https://HOST:PORT, or http likewise"
    )]
    Url {
        /// The name of the upstream.
        upstream: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An entry of `trusted_hosts` that is not a host.
    #[error("the trusted host {entry:?} of the upstream {upstream:?} is neither HOST nor HOST:PORT")]
    TrustedHost {
        /// The name of the upstream.
        upstream: String,
        /// The entry.
        entry: String,
    },
    /// A user name without a password.
    #[error("the upstream {upstream:?} has a username and no password")]
    PasswordMissing {
        /// The name of the upstream.
        upstream: String,
    },
    /// A credential helper, certificates, a key or an HTTP proxy that cannot be used.
    #[error("the {field} of the upstream {upstream:?} {problem}")]
    Field {
        /// The name of the upstream.
        upstream: String,
        /// The name of the field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A mirror that cannot be asked.
    #[error("the mirror {mirror} of the upstream {upstream:?} {problem}")]
    Mirror {
        /// The name of the upstream.
        upstream: String,
        /// The name or URL of the mirror.
        mirror: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A place of documents that cannot be asked.
    #[error("{problem}")]
    Documents {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Certificates of authorities for documents that cannot be used.
    #[error("has a ca that {problem}")]
    Authorities {
        /// What is wrong with them.
        problem: &'static str,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] io::Error),
}

impl ConfigError {
    pub(crate) fn field(upstream: &UpstreamConfig, field: &'static str, problem: &'static str) -> Self {
        Self::Field { upstream: upstream.name.clone(), field, problem }
    }
}
