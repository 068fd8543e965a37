//! `[[proxy.upstream]]`: from what is written to the upstreams that the client of other registries takes.

use std::collections::HashMap;

use entrepot_oci::RepositoryName;
use entrepot_upstream::{REQUESTS_MAX_DEFAULT, UpstreamConfig};
use secrecy::ExposeSecret as _;
use toml::Spanned;
use url::Url;

use super::error::ProblemKind;
use super::issuers::refuse_url;
use super::limits::AT_ONCE_MAX;
use super::resolve::{Resolver, allowed};
use super::written::WrittenUpstream;
use super::{account, mirrors, pem};

/// The names of Docker Hub. All of them lead to one cache, so only one upstream may have any of them.
pub(crate) const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Every upstream that could be read; what could not is noted.
pub(crate) fn upstreams(resolver: &mut Resolver<'_>, written: &[Spanned<WrittenUpstream>]) -> Vec<UpstreamConfig> {
    let mut taken = HashMap::new();
    let mut upstreams: Vec<_> = written.iter().filter_map(|written| upstream(resolver, written, &mut taken)).collect();
    // Only now every name is known that a mirror may have.
    mirrors::resolve(resolver, written, &mut upstreams);
    upstreams
}

/// A name that an upstream answers to, by the name that all its spellings share.
type Taken = HashMap<String, TakenName>;

struct TakenName {
    name: String,
    line: usize,
    upstream: usize,
}

fn upstream(
    resolver: &mut Resolver<'_>,
    written: &Spanned<WrittenUpstream>,
    taken: &mut Taken,
) -> Option<UpstreamConfig> {
    let start = written.span().start;
    let written = written.get_ref();
    let Some(name) = &written.name else {
        let path = "proxy.upstream.name";
        resolver.add(resolver.place(start), path, ProblemKind::Missing { allowed: allowed(path) });
        return None;
    };
    take_name(resolver, "proxy.upstream.name", name, start, taken);
    for alias in &written.aliases {
        take_name(resolver, "proxy.upstream.aliases", alias, start, taken);
    }
    let mut upstream = UpstreamConfig::new(name.get_ref(), url(resolver, written.url.as_ref(), name)?);
    upstream.aliases = written.aliases.iter().map(|alias| alias.get_ref().clone()).collect();
    upstream.trusted_hosts = trusted_hosts(resolver, "proxy.upstream.trusted_hosts", &written.trusted_hosts);
    upstream.password = account::password(resolver, written);
    upstream.username = account::username(resolver, written);
    upstream.credential_helper = account::credential_helper(resolver, written);
    upstream.is_asked_as_caller = account::is_of_caller(resolver, written);
    upstream.ca = pem::certificates(resolver, "proxy.upstream.ca", &written.ca);
    upstream.client_certificate = pem::client_certificate(resolver, written);
    upstream.http_proxy = http_proxy(resolver, written);
    let requests_max = written.requests_max.as_ref();
    upstream.requests_max =
        resolver.number("proxy.upstream.requests_max", requests_max, 1..=AT_ONCE_MAX, REQUESTS_MAX_DEFAULT);
    Some(upstream)
}

/// Notes a name that is none, or that another upstream has. `upstream` is where this one begins in the file.
fn take_name(
    resolver: &mut Resolver<'_>,
    path: &'static str,
    name: &Spanned<String>,
    upstream: usize,
    taken: &mut Taken,
) {
    let text = name.get_ref();
    if text.contains('/') || text.parse::<RepositoryName>().is_err() {
        resolver.refuse(path, name);
        return;
    }
    let place = resolver.place(name.span().start);
    let is_docker_hub = DOCKER_HUB.contains(&text.as_str());
    let shared = if is_docker_hub { DOCKER_HUB[0] } else { text.as_str() };
    let other = taken.get(shared);
    // One upstream may have all names of Docker Hub, but no other name twice.
    if let Some(other) = other.filter(|other| other.upstream != upstream || other.name == *text) {
        let is_docker_hub = is_docker_hub && other.name != *text;
        let kind = ProblemKind::DuplicateUpstream { name: text.clone(), line: other.line, is_docker_hub };
        resolver.add(place, path, kind);
        return;
    }
    taken.insert(shared.to_owned(), TakenName { name: text.clone(), line: place.line, upstream });
}

/// The URL: scheme, host and port and nothing else. Without one, https at the name.
fn url(resolver: &mut Resolver<'_>, written: Option<&Spanned<String>>, name: &Spanned<String>) -> Option<Url> {
    let Some(written) = written else {
        let is_docker_hub = DOCKER_HUB.contains(&name.get_ref().as_str());
        let host = if is_docker_hub { "registry-1.docker.io" } else { name.get_ref() };
        return Url::parse(&format!("https://{host}")).ok();
    };
    let url = Url::parse(written.get_ref()).ok().filter(is_origin);
    if url.is_none() {
        refuse_url(resolver, "proxy.upstream.url", written);
    }
    url
}

/// Whether it is scheme, host and port of HTTP and nothing else.
pub(crate) fn is_origin(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
}

/// The proxy: like the URL of a registry, but there may be a user in it, so that nothing of it is repeated.
fn http_proxy(resolver: &mut Resolver<'_>, written: &WrittenUpstream) -> Option<Url> {
    let written = written.http_proxy.as_ref()?;
    let is_proxy = |url: &Url| {
        let mut origin = url.clone();
        let is_bare = origin.set_username("").is_ok() && origin.set_password(None).is_ok();
        is_bare && url.scheme() == "http" && is_origin(&origin)
    };
    let url = Url::parse(written.get_ref().expose_secret()).ok().filter(is_proxy);
    if url.is_none() {
        let path = "proxy.upstream.http_proxy";
        let kind = ProblemKind::WrongValue { found: "something else".to_owned(), allowed: allowed(path) };
        resolver.add(resolver.place(written.span().start), path, kind);
    }
    url
}

/// Hosts with or without a port; what is none is noted.
pub(crate) fn trusted_hosts(
    resolver: &mut Resolver<'_>,
    path: &'static str,
    written: &[Spanned<String>],
) -> Vec<String> {
    for host in written {
        // As the host and port of a URL: what the parser changes was no plain host.
        let url = Url::parse(&format!("https://{}", host.get_ref())).ok().filter(is_origin);
        if url.is_none() || host.get_ref().is_empty() || host.get_ref().ends_with(['/', ':']) {
            resolver.refuse(path, host);
        }
    }
    written.iter().map(|host| host.get_ref().clone()).collect()
}
