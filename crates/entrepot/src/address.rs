//! Addresses of a server as they are typed on the command line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use url::{Host, Url};

use crate::config::ServerConfiguration;

/// A server that is asked: scheme, host and port and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(String);

/// The address of this server as its clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    authority: String,
    is_https: bool,
}

/// A text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is not scheme, host and port alone.
    #[error("not an address, as in http://127.0.0.1:5000 or https://registry.corp")]
    NotAServer,
    /// It is not host and port alone.
    #[error("not an address, as in registry.corp:5000 or https://registry.corp")]
    NotAnAddress,
}

impl ServerUrl {
    /// Whether it is asked over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// Whether what it is told can be read by whoever is in between.
    pub(crate) fn is_in_clear(&self) -> bool {
        let is_loopback = |url: &Url| match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        !self.is_https() && !Url::parse(&self.0).is_ok_and(|url| is_loopback(&url))
    }

    /// The URL without a slash at its end.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let url = Url::parse(text).ok().filter(is_origin).ok_or(AddressError::NotAServer)?;
        match url.scheme() {
            "http" | "https" => Ok(Self(url.as_str().trim_end_matches('/').to_owned())),
            _ => Err(AddressError::NotAServer),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl ClientAddress {
    /// The server of the configuration: by its public URL, or as clients on this machine see it.
    pub(crate) fn of(server: &ServerConfiguration) -> Self {
        let public = server.public_url.as_ref().and_then(|url| url.parse().ok());
        public
            .unwrap_or_else(|| Self { authority: reachable(server.listen).to_string(), is_https: server.tls.is_some() })
    }

    /// Host and port; the port is left out where it is that of the scheme.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether clients speak TLS with it.
    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }

    /// The URL, without a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.is_https { "https" } else { "http" }, self.authority)
    }
}

impl FromStr for ClientAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&text).ok().filter(is_origin).ok_or(AddressError::NotAnAddress)?;
        let is_https = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(AddressError::NotAnAddress),
        };
        let host = url.host_str().ok_or(AddressError::NotAnAddress)?;
        // A client takes a name without a dot and a port for a part of a repository's name.
        let port = match url.port() {
            Some(port) => format!(":{port}"),
            None if host.contains(['.', ':']) || host == "localhost" => String::new(),
            None => format!(":{}", url.port_or_known_default().unwrap_or(80)),
        };
        Ok(Self { authority: format!("{host}{port}"), is_https })
    }
}

fn is_origin(url: &Url) -> bool {
    url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
}

/// The address to type on this machine: one that listens everywhere is reached over the loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_scheme_host_and_port() {
        let rows = [
            ("http://10.0.0.7:5000", "http://10.0.0.7:5000", true),
            ("http://a/", "http://a", true),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000", false),
            ("http://[::1]:5000", "http://[::1]:5000", false),
            ("http://localhost", "http://localhost", false),
            ("https://registry.corp/", "https://registry.corp", false),
        ];
        for (text, url, is_in_clear) in rows {
            let server = text.parse::<ServerUrl>().expect(text);
            assert_eq!((server.as_str(), server.is_in_clear()), (url, is_in_clear));
        }
        for text in ["10.0.0.7:5000", "http://a/b", "http://u@a", "ftp://a", "http://"] {
            assert_eq!(text.parse::<ServerUrl>(), Err(AddressError::NotAServer), "{text}");
        }
    }

    #[test]
    fn what_clients_see_is_an_authority_with_or_without_tls() {
        let rows = [
            ("10.0.0.7:5000", "10.0.0.7:5000", "http://10.0.0.7:5000"),
            ("https://registry.corp", "registry.corp", "https://registry.corp"),
            ("https://registry.corp:8443", "registry.corp:8443", "https://registry.corp:8443"),
            ("registry", "registry:80", "http://registry:80"),
            ("https://registry", "registry:443", "https://registry:443"),
            ("[::1]:5000", "[::1]:5000", "http://[::1]:5000"),
        ];
        for (text, authority, url) in rows {
            let address = text.parse::<ClientAddress>().expect(text);
            assert_eq!((address.authority(), address.url().as_str()), (authority, url), "{text}");
        }
        for text in ["", "a b", "a/b", "u@a", "ftp://a", "http://a?b"] {
            assert_eq!(text.parse::<ClientAddress>(), Err(AddressError::NotAnAddress), "{text}");
        }
    }
}
