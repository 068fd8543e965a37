//! All remotes: which host in a path is which registry, and which hosts may be asked at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use entrepot_oci::RepositoryName;
use tokio::sync::broadcast;
use url::{Host, Url};

use crate::account::{Account, is_same_account};
use crate::caller::Callers;
use crate::config::{ConfigError, Hosts, REQUESTS_MAX_DEFAULT, RemotesConfig, UpstreamConfig};
use crate::connections::{Connections, Foundation};
use crate::limits::UNLISTED_REMOTES_MAX;
use crate::mirror_places::places;
use crate::news::{Herald, News};
use crate::reach::{Reach, TrustedHost};
use crate::remote::{DOCKER_HUB, HUB_LIBRARY, Identity, Remote, origin};

/// All remotes: those that the operator lists, and those that clients name.
#[derive(Debug)]
pub struct Remotes {
    hosts: Hosts,
    listed: HashMap<String, Arc<Remote>>,
    /// Those that are asked with the account of whoever asks us, as they are listed.
    asked_as_caller: Vec<Arc<Remote>>,
    unlisted: Mutex<Unlisted>,
    connections: Arc<Connections>,
    herald: Herald,
}

/// The remotes of hosts that clients named, bounded: names cannot grow memory.
#[derive(Debug, Default)]
struct Unlisted {
    by_host: HashMap<String, (Arc<Remote>, u64)>,
    uses: u64,
}

/// Why a host in a path leads to no remote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Only listed upstreams may be asked, and this is none of them.
    #[error("the upstream {host:?} is not listed here: the operator can add it as [[proxy.upstream]]")]
    NotListed {
        /// The host.
        host: String,
    },
    /// Neither the name of a listed upstream nor a public host.
    #[error(
        "{host:?} is neither a listed upstream nor the name of a public host such as ghcr.io: an address, a port or \
         an internal name must be listed as [[proxy.upstream]]"
    )]
    NotAHost {
        /// What stands in the place of the host.
        host: String,
    },
}

impl Remotes {
    /// Sets up the listed upstreams. Nothing is connected to yet.
    ///
    /// # Errors
    /// Each [`ConfigError`] names the upstream and what is wrong with it.
    pub fn new(config: RemotesConfig) -> Result<Self, ConfigError> {
        let RemotesConfig { hosts, upstreams, timeouts, resolve_overrides } = config;
        let foundation = Foundation::new(timeouts, resolve_overrides);
        let connections = Arc::new(foundation.common()?);
        let herald = Herald::new();
        let mut listed = HashMap::new();
        let mut by_origin: HashMap<String, (Arc<Remote>, &UpstreamConfig)> = HashMap::new();
        for upstream in &upstreams {
            let own = foundation.own(upstream)?.map(Arc::new);
            let connections = own.unwrap_or_else(|| Arc::clone(&connections));
            let remote = Arc::new(Remote::new(identity(upstream)?, connections, herald.clone()));
            for name in names(upstream, &remote) {
                check_name(&name)?;
                if listed.insert(name.clone(), Arc::clone(&remote)).is_some() {
                    return Err(ConfigError::DuplicateName { name });
                }
            }
            match by_origin.get(remote.origin()) {
                Some((_, first)) if !is_same_account(first, upstream) => {
                    let (first, second) = (first.name.clone(), upstream.name.clone());
                    return Err(ConfigError::CredentialsDiffer { first, second });
                }
                Some(_) => {}
                None => {
                    by_origin.insert(remote.origin().to_owned(), (remote, upstream));
                }
            }
        }
        // Under its origin a listed upstream is found too: else its host, named in a path, would be a second remote
        // with the same cache and without the account.
        for (origin, (remote, _)) in by_origin {
            listed.entry(origin).or_insert(remote);
        }
        for upstream in &upstreams {
            listed[&upstream.name].set_mirrors(places(upstream, &listed)?);
        }
        let asked_as_caller = upstreams.iter().map(|upstream| &listed[&upstream.name]);
        let asked_as_caller = asked_as_caller.filter(|remote| remote.is_asked_as_caller()).cloned().collect();
        Ok(Self { hosts, listed, asked_as_caller, unlisted: Mutex::default(), connections, herald })
    }

    /// The remote that `host`, the component behind `proxy/` in a path, stands for.
    pub fn resolve(&self, host: &str) -> Result<Arc<Remote>, ResolveError> {
        if let Some(remote) = self.listed.get(host) {
            return Ok(Arc::clone(remote));
        }
        if self.hosts == Hosts::Listed {
            return Err(ResolveError::NotListed { host: host.to_owned() });
        }
        let is_docker_hub = DOCKER_HUB.contains(&host);
        let (name, host) = if is_docker_hub { (DOCKER_HUB[0], DOCKER_HUB[1]) } else { (host, host) };
        let not_a_host = || ResolveError::NotAHost { host: host.to_owned() };
        let url = public_url(host).ok_or_else(not_a_host)?;
        let origin = origin(&url).ok_or_else(not_a_host)?;
        let make = || {
            let reach = Reach::unlisted(url);
            let identity = Identity {
                name: name.into(),
                origin,
                is_docker_hub,
                reach,
                account: Account::Anonymous,
                has_certificate: false,
                callers: None,
                requests_max: REQUESTS_MAX_DEFAULT,
            };
            Arc::new(Remote::new(identity, Arc::clone(&self.connections), self.herald.clone()))
        };
        // Every change is whole before the next: a panic elsewhere leaves nothing half-written.
        let mut unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(unlisted.get(host, make))
    }

    /// What becomes known of the remotes from now on, by asking them. Whoever is slow to listen misses the oldest.
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.herald.listen()
    }

    /// Takes somebody's word for how a remote is. Nothing happens when it may not be asked here, or is not known by that name.
    pub fn hear(&self, news: &News) {
        if let Ok(remote) = self.resolve(&news.remote) {
            remote.hear(&news.condition);
        }
    }

    /// The remote of an authority as people write it before a repository: `ghcr.io`, `Registry.corp:5000`.
    ///
    /// A listed upstream is found by its names first, then by where it is, over https or http. Another host is as
    /// for [`Self::resolve`].
    pub fn resolve_authority(&self, authority: &str) -> Result<Arc<Remote>, ResolveError> {
        let authority = authority.to_ascii_lowercase();
        let spellings = spellings(&authority);
        let listed = std::iter::once(&authority).chain(&spellings).find_map(|spelling| self.listed.get(spelling));
        match (listed, spellings.first()) {
            (Some(remote), _) => Ok(Arc::clone(remote)),
            (None, Some(spelling)) if self.hosts == Hosts::Public => {
                self.resolve(spelling).map_err(|_| ResolveError::NotAHost { host: authority })
            }
            (None, None) if self.hosts == Hosts::Public => Err(ResolveError::NotAHost { host: authority }),
            (None, _) => Err(ResolveError::NotListed { host: authority }),
        }
    }

    /// Every spelling of a repository of `remote` that may stand behind `proxy/`, as [`Remote::repository`] has it there. The first one is
    /// the same whichever of them was asked for. Those of a public host that clients may name as well are its names alone.
    pub fn spellings(&self, remote: &Remote, repository: &RepositoryName) -> Vec<RepositoryName> {
        let mut hosts: Vec<(&str, &Remote)> = self.of_origin(remote).map(|(host, listed)| (host, &**listed)).collect();
        if hosts.is_empty() {
            hosts.push((remote.name(), remote));
            hosts.extend(DOCKER_HUB.iter().filter(|_| remote.is_docker_hub()).map(|host| (*host, remote)));
        }
        // What upstreams are called comes before what they are called besides, and a whole name before a short one.
        hosts.sort_unstable_by_key(|(host, remote)| (*host != remote.name(), *host));
        hosts.dedup_by_key(|(host, _)| *host);
        let mut names = Vec::new();
        let short = repository.split_first().filter(|(first, _)| *first == HUB_LIBRARY).map(|(_, short)| short);
        for spelling in std::iter::once(repository).chain(&short) {
            // One place may be Docker Hub by one name and not by another: then each has its own way to shorten.
            let leads_here = hosts.iter().filter(|(_, remote)| remote.repository(spelling) == *repository);
            names.extend(leads_here.filter_map(|(host, _)| spelling.below(host).ok()));
        }
        names
    }

    /// Whether what is cached from `remote` may have been fetched with an account: its own, that of a mirror, or that of another
    /// upstream at the same place, which shares the cache.
    pub fn may_be_private(&self, remote: &Remote) -> bool {
        self.of_origin(remote).any(|(_, listed)| listed.may_be_private())
    }

    /// The listed upstreams that are where `remote` is, by each of their names.
    fn of_origin(&self, remote: &Remote) -> impl Iterator<Item = (&str, &Arc<Remote>)> {
        let listed = self.listed.iter().filter(move |(_, listed)| listed.origin() == remote.origin());
        listed.map(|(host, listed)| (host.as_str(), listed))
    }

    /// The upstreams that are asked with the account of whoever asks us, in the order in which they are listed.
    pub fn asked_as_caller(&self) -> &[Arc<Remote>] {
        &self.asked_as_caller
    }

    /// The listed upstreams, each once, by name.
    pub fn listed(&self) -> Vec<Arc<Remote>> {
        let mut remotes: Vec<_> = self.listed.values().cloned().collect();
        remotes.sort_by(|one, other| one.name().cmp(other.name()));
        remotes.dedup_by(|one, other| Arc::ptr_eq(one, other));
        remotes
    }
}

impl Unlisted {
    fn get(&mut self, host: &str, make: impl FnOnce() -> Arc<Remote>) -> Arc<Remote> {
        self.uses += 1;
        if let Some((remote, used)) = self.by_host.get_mut(host) {
            *used = self.uses;
            return Arc::clone(remote);
        }
        if self.by_host.len() >= UNLISTED_REMOTES_MAX {
            let oldest = self.by_host.iter().min_by_key(|(_, (_, used))| *used).map(|(host, _)| host.clone());
            oldest.and_then(|host| self.by_host.remove(&host));
        }
        let remote = make();
        self.by_host.insert(host.to_owned(), (Arc::clone(&remote), self.uses));
        remote
    }
}

/// Who a listed upstream is.
fn identity(upstream: &UpstreamConfig) -> Result<Identity, ConfigError> {
    let problem = |problem| ConfigError::Url { upstream: upstream.name.clone(), problem };
    let mut url = upstream.url.clone();
    if !matches!(url.scheme(), "http" | "https") {
        return Err(problem("is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(problem("carries a user, which belongs into username and password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(problem("has a query"));
    }
    if url.path() != "/" {
        return Err(problem("has a path"));
    }
    let is_hub_host = url.scheme() == "https" && url.host_str().is_some_and(|host| DOCKER_HUB.contains(&host));
    if is_hub_host && url.port().is_none() {
        // Of its names one alone serves the API.
        url.set_host(Some(DOCKER_HUB[1])).map_err(|_| problem("has no host"))?;
    }
    let is_docker_hub = is_hub_host || own_names(upstream).any(|name| DOCKER_HUB.contains(&name.as_str()));
    let origin = origin(&url).ok_or_else(|| problem("has a host that cannot stand in a path"))?;
    // Where `docker login` keeps the account of Docker Hub.
    let helper_host = if is_hub_host { "https://index.docker.io/v1/" } else { url.authority() };
    let account = Account::of(upstream, helper_host)?;
    Ok(Identity {
        name: upstream.name.as_str().into(),
        origin,
        is_docker_hub,
        reach: Reach::listed(url, trusted_hosts(upstream)?),
        account,
        has_certificate: upstream.client_certificate.is_some(),
        callers: callers(upstream)?,
        requests_max: upstream.requests_max,
    })
}

/// Where the views of callers are kept, for an upstream that is asked with their accounts.
fn callers(upstream: &UpstreamConfig) -> Result<Option<Callers>, ConfigError> {
    if !upstream.is_asked_as_caller {
        return Ok(None);
    }
    let refused = |field, problem| Err(ConfigError::field(upstream, field, problem));
    // What is fetched with any other right than the caller's would be cached, and say nothing of what he may.
    if upstream.username.is_some() || upstream.password.is_some() || upstream.credential_helper.is_some() {
        return refused("credentials", "are those of the caller, so that it must not have an account of its own");
    }
    if upstream.client_certificate.is_some() {
        return refused(
            "client_certificate",
            "stands beside the credentials of the caller, and would speak for everybody",
        );
    }
    if !upstream.mirrors.is_empty() {
        return refused("mirrors", "stand beside the credentials of the caller, and do not know who may pull what");
    }
    match Callers::new() {
        Some(callers) => Ok(Some(callers)),
        None => refused("credentials", "cannot be used: the system gives no random numbers"),
    }
}

/// What the operator trusts beside the upstream itself.
pub(crate) fn trusted_hosts(upstream: &UpstreamConfig) -> Result<Vec<TrustedHost>, ConfigError> {
    let trusted = upstream.trusted_hosts.iter().map(|entry| {
        let refused = || ConfigError::TrustedHost { upstream: upstream.name.clone(), entry: entry.clone() };
        TrustedHost::parse(entry).ok_or_else(refused)
    });
    trusted.collect()
}

fn own_names(upstream: &UpstreamConfig) -> impl Iterator<Item = &String> {
    std::iter::once(&upstream.name).chain(&upstream.aliases)
}

/// Every name of a listed upstream. One that is Docker Hub has all names of Docker Hub.
fn names(upstream: &UpstreamConfig, remote: &Remote) -> Vec<String> {
    let mut names: Vec<String> = own_names(upstream).cloned().collect();
    if remote.is_docker_hub() {
        let hub = DOCKER_HUB.map(str::to_owned);
        names.extend(hub.into_iter().filter(|name| !own_names(upstream).any(|own| own == name)));
    }
    names
}

/// The origins that an authority may stand for, that over https first.
fn spellings(authority: &str) -> Vec<String> {
    // Nothing that the parser of URLs would take for more than a host and a port, or would rewrite.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if !authority.bytes().all(is_plain) {
        return Vec::new();
    }
    let urls = ["https", "http"].map(|scheme| Url::parse(&format!("{scheme}://{authority}/")).ok());
    urls.into_iter().flatten().filter_map(|url| origin(&url)).collect()
}

fn check_name(name: &str) -> Result<(), ConfigError> {
    match name.parse::<RepositoryName>() {
        Ok(parsed) if parsed.is_single_component() => Ok(()),
        _ => Err(ConfigError::Name { name: name.to_owned() }),
    }
}

/// The URL of a host that may be public: a DNS name of at least two labels, and no way to write an address.
fn public_url(host: &str) -> Option<Url> {
    let is_label = |label: &str| {
        let is_word = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        is_word && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    let top = host.rsplit('.').next()?;
    if host.len() > 253 || !host.contains('.') || !host.split('.').all(is_label) || top == "localhost" {
        return None;
    }
    let url = Url::parse(&format!("https://{host}/")).ok()?;
    // `127.1` and `0x7f.0.0.1` are names by their letters and addresses by the URL standard.
    matches!(url.host(), Some(Host::Domain(_))).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_that_clients_name_are_bounded_and_the_oldest_goes_first() {
        let remotes = Remotes::new(RemotesConfig::default()).unwrap();
        let first = remotes.resolve("first.example").unwrap();
        for number in 0..UNLISTED_REMOTES_MAX * 2 {
            remotes.resolve(&format!("host{number}.example")).unwrap();
            assert!(Arc::ptr_eq(&first, &remotes.resolve("first.example").unwrap()), "what is in use stays");
        }
        assert_eq!(remotes.unlisted.lock().unwrap().by_host.len(), UNLISTED_REMOTES_MAX);
    }
}
