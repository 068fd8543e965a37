//! The URL of a `PostgreSQL` database. It may name several hosts, which URLs of other kinds cannot.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Host;

use super::limits::DATABASE_HOSTS_MAX;

const PORT_DEFAULT: u16 = 5432;

/// A URL, in its parts.
pub(crate) struct PostgresUrl {
    pub(crate) hosts: Vec<PostgresHost>,
    pub(crate) user: String,
    pub(crate) password: Option<SecretString>,
    pub(crate) database: String,
    /// What `sslmode` says; `None`: there is none.
    pub(crate) tls: Option<PostgresTls>,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresHost {
    /// A name or an address, without brackets; or the folder with the socket of a server on this machine, which begins with a slash.
    pub host: String,
    /// The port; that of a socket is in its name.
    pub port: u16,
}

impl PostgresHost {
    /// Whether nobody is between this process and the server.
    pub fn is_on_this_machine(&self) -> bool {
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        Path::new(&self.host).is_absolute() || self.host == "localhost" || self.host.parse().is_ok_and(is_loopback)
    }
}

impl fmt::Display for PostgresHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        // In a URL a socket's folder has no slashes, and an address of version 6 has brackets.
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{}:{port}", host.replace('/', "%2F"))
        }
    }
}

/// Whether connections to the database are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// They are not.
    Disable,
    /// They are when the server can, and it is not verified.
    Prefer,
    /// They are, and the server's certificate is verified with its name. What `sslmode=require` says as well.
    Verified,
}

impl PostgresTls {
    /// The value of `sslmode`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Verified => "verify-full",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "disable" => Some(Self::Disable),
            "prefer" => Some(Self::Prefer),
            "require" | "verify-full" => Some(Self::Verified),
            _ => None,
        }
    }
}

/// What a text is that is no such URL, in words that repeat nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PostgresUrlError {
    #[error("something else")]
    Scheme,
    #[error("a URL without a user")]
    User,
    #[error("a URL without a database, or with more than its name")]
    Database,
    #[error("a URL without a host, or with one that is none")]
    Host,
    #[error("a URL with more than {DATABASE_HOSTS_MAX} hosts")]
    HostsTooMany,
    #[error("a URL with an sslmode that is not known")]
    SslMode,
    #[error("a URL with a parameter other than sslmode")]
    Parameter,
    #[error("a URL with characters that are none")]
    Encoding,
}

impl PostgresUrl {
    /// The URL of this text.
    pub(crate) fn parse(text: &str) -> Result<Self, PostgresUrlError> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let (rest, parameters) = split_at(rest.ok_or(PostgresUrlError::Scheme)?, '?');
        let (authority, database) = rest.split_once('/').ok_or(PostgresUrlError::Database)?;
        // A password that has an @ in it is a mistake that libraries forgive.
        let (account, hosts) = authority.rsplit_once('@').ok_or(PostgresUrlError::User)?;
        let (user, password) = split_at(account, ':');
        let (user, database) = (decoded(user)?, decoded(database)?);
        if user.is_empty() {
            return Err(PostgresUrlError::User);
        }
        if database.is_empty() || database.contains('/') {
            return Err(PostgresUrlError::Database);
        }
        let hosts: Vec<_> = hosts.split(',').map(host).collect::<Result<_, _>>()?;
        if hosts.len() > DATABASE_HOSTS_MAX {
            return Err(PostgresUrlError::HostsTooMany);
        }
        let password = password.filter(|password| !password.is_empty()).map(decoded).transpose()?;
        Ok(Self { hosts, user, password: password.map(SecretString::from), database, tls: tls(parameters)? })
    }
}

fn tls(parameters: Option<&str>) -> Result<Option<PostgresTls>, PostgresUrlError> {
    let mut tls = None;
    for parameter in parameters.into_iter().flat_map(|parameters| parameters.split('&')) {
        match parameter.split_once('=') {
            Some(("sslmode", mode)) if tls.is_none() => {
                tls = Some(PostgresTls::parse(mode).ok_or(PostgresUrlError::SslMode)?);
            }
            _ => return Err(PostgresUrlError::Parameter),
        }
    }
    Ok(tls)
}

fn host(text: &str) -> Result<PostgresHost, PostgresUrlError> {
    let malformed = PostgresUrlError::Host;
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(malformed)?;
        let address: std::net::Ipv6Addr = address.parse().map_err(|_| malformed)?;
        let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(malformed)?) };
        (address.to_string(), port)
    } else {
        let (host, port) = split_at(text, ':');
        (decoded(host)?, port)
    };
    let is_host = Path::new(&host).is_absolute() || host.contains(':') || Host::parse(&host).is_ok();
    let is_port = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = match port {
        None => PORT_DEFAULT,
        Some(digits) if is_port(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or(malformed)?,
        Some(_) => return Err(malformed),
    };
    if is_host { Ok(PostgresHost { host, port }) } else { Err(malformed) }
}

fn decoded(text: &str) -> Result<String, PostgresUrlError> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| PostgresUrlError::Encoding)?;
    // The protocol ends texts with a zero.
    if decoded.contains(char::is_control) { Err(PostgresUrlError::Encoding) } else { Ok(decoded.into_owned()) }
}

fn split_at(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(before, behind)| (before, Some(behind)))
}
