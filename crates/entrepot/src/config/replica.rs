//! `[replica]`: how the replicas of one registry reach each other.

use std::net::{IpAddr, SocketAddr};

use toml::Spanned;
use url::{Host, Url};

use super::MetadataConfiguration;
use super::check::repeat;
use super::error::ProblemKind;
use super::issuers::refuse_url;
use super::resolve::Resolver;
use super::upstream::is_origin;
use super::written::WrittenReplica;

/// The environment variable with the address of this replica, when no other one is named.
const ADDRESS_VARIABLE: &str = "ENTREPOT_REPLICA_ADDRESS";

/// How this replica and the others reach each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaConfiguration {
    /// Where the others connect.
    pub listen: SocketAddr,
    /// How they find that.
    pub address: ReplicaAddress,
}

/// How other replicas find the internal listener of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaAddress {
    /// Where it listens.
    Listen,
    /// On this host, at the port at which it listens.
    Host(Host),
    /// At this URL: scheme, host and port, without a slash at the end.
    Url(String),
}

impl ReplicaConfiguration {
    /// The URL by which the others reach this replica, without a slash at the end. `bound` is where it really listens, which matters when the
    /// port was left to the system.
    pub fn url(&self, bound: SocketAddr) -> String {
        match &self.address {
            ReplicaAddress::Listen => format!("http://{bound}"),
            ReplicaAddress::Host(host) => format!("http://{host}:{}", bound.port()),
            ReplicaAddress::Url(url) => url.clone(),
        }
    }
}

/// The internal listener, where there is to be one.
pub(crate) fn replica(
    resolver: &mut Resolver<'_>,
    written: Option<&Spanned<WrittenReplica>>,
    metadata: &MetadataConfiguration,
    has_metadata_url: bool,
) -> Option<ReplicaConfiguration> {
    let (start, written) = written.map(|written| (written.span().start, written.get_ref()))?;
    // A URL that is refused is there all the same.
    if metadata.postgres().is_none() && !has_metadata_url {
        resolver.add(resolver.place(start), "replica", ProblemKind::ReplicaWithoutPostgres);
    }
    let Some(listen) = &written.listen else {
        for (path, value) in [("replica.address", &written.address), ("replica.address_env", &written.address_env)] {
            if let Some(value) = value {
                resolver.add(resolver.place(value.span().start), path, ProblemKind::Needs { other: "listen" });
            }
        }
        return None;
    };
    let Ok(address) = listen.get_ref().parse::<SocketAddr>() else {
        resolver.refuse("replica.listen", listen);
        return None;
    };
    Some(ReplicaConfiguration { listen: address, address: self::address(resolver, written, (address, listen)) })
}

/// From the file; otherwise from the environment, so that one file is good for all replicas; otherwise where it listens.
fn address(
    resolver: &mut Resolver<'_>,
    written: &WrittenReplica,
    (listen, written_listen): (SocketAddr, &Spanned<String>),
) -> ReplicaAddress {
    if let Some(address) = &written.address {
        if let Some(variable) = &written.address_env {
            let kind = ProblemKind::OneIsEnough { other: "address" };
            resolver.add(resolver.place(variable.span().start), "replica.address_env", kind);
        }
        return from_file(resolver, address);
    }
    let variable = written.address_env.as_ref().map_or(ADDRESS_VARIABLE, |variable| variable.get_ref());
    let value = (resolver.surroundings.environment)(variable).filter(|value| !value.is_empty());
    let place = written.address_env.as_ref().unwrap_or(written_listen).span().start;
    match value {
        Some(value) => parse(&value).unwrap_or_else(|| {
            let found = if value.contains('@') { "a URL with a user in it".to_owned() } else { repeat(&value) };
            let allowed = "a host, HOST:PORT, or a URL as in `replica.address`";
            let kind = ProblemKind::VariableNotAnAddress { name: variable.to_owned(), found, allowed };
            resolver.add(resolver.place(place), "replica.address_env", kind);
            ReplicaAddress::Listen
        }),
        None if written.address_env.is_some() => {
            let kind = ProblemKind::VariableMissing { name: variable.to_owned() };
            resolver.add(resolver.place(place), "replica.address_env", kind);
            ReplicaAddress::Listen
        }
        None => {
            if listen.ip().to_canonical().is_unspecified() {
                let kind = ProblemKind::ReplicaAddressMissing { listen, variable: variable.to_owned() };
                resolver.add(resolver.place(place), "replica.listen", kind);
            }
            ReplicaAddress::Listen
        }
    }
}

fn from_file(resolver: &mut Resolver<'_>, written: &Spanned<String>) -> ReplicaAddress {
    let url = origin(written.get_ref());
    if url.is_none() {
        refuse_url(resolver, "replica.address", written);
    }
    url.map_or(ReplicaAddress::Listen, ReplicaAddress::Url)
}

/// A URL; or without a scheme `HOST:PORT`; or without a port, which is then that of the listener, `HOST`.
fn parse(text: &str) -> Option<ReplicaAddress> {
    if text.contains("://") {
        return origin(text).map(ReplicaAddress::Url);
    }
    // An address of version 6 comes without brackets from those who hand out addresses.
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => return Some(ReplicaAddress::Host(Host::Ipv4(address))),
        Ok(IpAddr::V6(address)) => return Some(ReplicaAddress::Host(Host::Ipv6(address))),
        Err(_) => {}
    }
    if !text.contains([':', '/']) {
        return Host::parse(text).ok().map(ReplicaAddress::Host);
    }
    origin(&format!("http://{text}")).map(ReplicaAddress::Url)
}

fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(is_origin)?;
    Some(url.as_str().trim_end_matches('/').to_owned())
}
