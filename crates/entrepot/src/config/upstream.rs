//! `[[proxy.upstream]]`: from what is written to the upstreams that the client of other registries takes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use entrepot_oci::RepositoryName;
use entrepot_upstream::{Hosts, UpstreamConfig};
use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;
use url::Url;

use super::error::ProblemKind;
use super::limits::PASSWORD_BYTES_MAX;
use super::resolve::{Resolver, allowed};
use super::written::{Text, WrittenUpstream};

/// The names of Docker Hub. All of them lead to one cache, so only one upstream may have any of them.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

pub(crate) fn hosts(resolver: &mut Resolver<'_>, written: &Text) -> Hosts {
    resolver.parsed("proxy.hosts", written, Hosts::Public, |text| match text {
        "public" => Some(Hosts::Public),
        "listed" => Some(Hosts::Listed),
        _ => None,
    })
}

/// Every upstream that could be read; what could not is noted.
pub(crate) fn upstreams(resolver: &mut Resolver<'_>, written: &[Spanned<WrittenUpstream>]) -> Vec<UpstreamConfig> {
    let mut taken = HashMap::new();
    written.iter().filter_map(|written| upstream(resolver, written, &mut taken)).collect()
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
    upstream.trusted_hosts = trusted_hosts(resolver, &written.trusted_hosts);
    upstream.password = password(resolver, written);
    upstream.username = username(resolver, written);
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
        // Somebody may have written an account into it: that is not repeated.
        let found = if written.get_ref().contains('@') {
            "a URL with a user in it".to_owned()
        } else {
            super::check::repeat(written.get_ref())
        };
        let path = "proxy.upstream.url";
        resolver.add(
            resolver.place(written.span().start),
            path,
            ProblemKind::WrongValue { found, allowed: allowed(path) },
        );
    }
    url
}

fn is_origin(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
}

fn trusted_hosts(resolver: &mut Resolver<'_>, written: &[Spanned<String>]) -> Vec<String> {
    for host in written {
        // As the host and port of a URL: what the parser changes was no plain host.
        let url = Url::parse(&format!("https://{}", host.get_ref())).ok().filter(is_origin);
        if url.is_none() || host.get_ref().is_empty() || host.get_ref().ends_with(['/', ':']) {
            resolver.refuse("proxy.upstream.trusted_hosts", host);
        }
    }
    written.iter().map(|host| host.get_ref().clone()).collect()
}

fn username(resolver: &mut Resolver<'_>, written: &WrittenUpstream) -> Option<String> {
    let path = "proxy.upstream.username";
    let username = written.username.as_ref()?;
    if username.get_ref().is_empty() {
        resolver.refuse(path, username);
    }
    if written.password.is_none() && written.password_file.is_none() && written.password_env.is_none() {
        resolver.add(resolver.place(username.span().start), path, ProblemKind::PasswordMissing);
    }
    Some(username.get_ref().clone())
}

/// The password, from the one place that is written.
fn password(resolver: &mut Resolver<'_>, written: &WrittenUpstream) -> Option<SecretString> {
    let places = [
        ("password", written.password.as_ref().map(|value| value.span().start)),
        ("password_file", written.password_file.as_ref().map(|value| value.span().start)),
        ("password_env", written.password_env.as_ref().map(|value| value.span().start)),
    ];
    let mut written_places = places.into_iter().filter_map(|(name, start)| Some((name, start?)));
    let (first, _) = written_places.next()?;
    if let Some((second, start)) = written_places.next() {
        let kind = ProblemKind::SeveralPasswords { other: first };
        resolver.add(resolver.place(start), &format!("proxy.upstream.{second}"), kind);
        return None;
    }
    if let Some(password) = &written.password {
        if password.get_ref().expose_secret().is_empty() {
            let path = "proxy.upstream.password";
            let kind = ProblemKind::WrongValue { found: "empty".to_owned(), allowed: allowed(path) };
            resolver.add(resolver.place(password.span().start), path, kind);
        }
        return Some(password.get_ref().clone());
    }
    if let Some(file) = &written.password_file {
        return password_file(resolver, file);
    }
    written.password_env.as_ref().and_then(|variable| password_variable(resolver, variable))
}

fn password_variable(resolver: &mut Resolver<'_>, variable: &Spanned<String>) -> Option<SecretString> {
    let value = (resolver.surroundings.environment)(variable.get_ref()).filter(|value| !value.is_empty());
    if value.is_none() {
        let kind = ProblemKind::VariableMissing { name: variable.get_ref().clone() };
        resolver.add(resolver.place(variable.span().start), "proxy.upstream.password_env", kind);
    }
    value.map(SecretString::from)
}

fn password_file(resolver: &mut Resolver<'_>, file: &Spanned<String>) -> Option<SecretString> {
    let path = resolver.folder.join(file.get_ref());
    let kind = match read_password(&path) {
        Ok(Some(password)) => return Some(password),
        Ok(None) => ProblemKind::FileNotAPassword { path, limit: PASSWORD_BYTES_MAX },
        Err(source) => ProblemKind::FileUnreadable { path, source },
    };
    resolver.add(resolver.place(file.span().start), "proxy.upstream.password_file", kind);
    None
}

/// The one line of a file, without its end; `None` when there is no such line.
fn read_password(path: &Path) -> io::Result<Option<SecretString>> {
    let mut text = String::new();
    File::open(path)?.take(PASSWORD_BYTES_MAX + 1).read_to_string(&mut text)?;
    let is_too_long = text.len() as u64 > PASSWORD_BYTES_MAX;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    let is_password = !is_too_long && !line.is_empty() && !line.contains(['\n', '\r']);
    Ok(is_password.then(|| SecretString::from(line)))
}
