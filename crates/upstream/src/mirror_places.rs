//! Which places an upstream's mirrors are, and why one may not be asked.

use std::collections::HashMap;
use std::sync::Arc;

use entrepot_oci::RepositoryName;
use url::Url;

use crate::account::Account;
use crate::config::{ConfigError, Mirror, REQUESTS_MAX_DEFAULT, UpstreamConfig};
use crate::history::RedactedUrl;
use crate::limits::MIRRORS_MAX;
use crate::mirrors::Place;
use crate::news::Herald;
use crate::reach::{Reach, TrustedHost};
use crate::remote::{Identity, Remote};
use crate::remotes::trusted_hosts;

/// The mirrors of `upstream`, which is among `listed`.
///
/// The mirrors of a mirror are not asked: each place is asked once, and two upstreams may mirror each other.
pub(crate) fn places(
    upstream: &UpstreamConfig,
    listed: &HashMap<String, Arc<Remote>>,
) -> Result<Vec<Arc<Place>>, ConfigError> {
    let itself = &listed[&upstream.name];
    let places = upstream.mirrors.iter().enumerate().map(|(index, mirror)| {
        let name = match mirror {
            Mirror::Listed(name) => name.clone(),
            Mirror::At(url) => RedactedUrl::new(url).to_string(),
        };
        let refused = |problem| ConfigError::Mirror { upstream: upstream.name.clone(), mirror: name.clone(), problem };
        if index >= MIRRORS_MAX {
            return Err(refused("is one too many"));
        }
        let (remote, prefix) = match mirror {
            Mirror::Listed(name) => {
                let remote = listed.get(name).ok_or_else(|| refused("is not the name of a listed upstream"))?;
                if remote.origin() == itself.origin() {
                    return Err(refused("is the upstream itself"));
                }
                (Arc::clone(remote), None)
            }
            Mirror::At(url) => {
                let prefix = prefix(url).map_err(refused)?;
                let trusted = trusted_places(upstream, listed)?;
                (Arc::new(remote(itself, url, prefix.is_some(), trusted).map_err(refused)?), prefix)
            }
        };
        Ok(Arc::new(Place::new(itself.shared_name(), remote, prefix)))
    });
    places.collect()
}

/// Where a mirror may be although the address is private: what the upstream trusts, and whatever is listed.
fn trusted_places(
    upstream: &UpstreamConfig,
    listed: &HashMap<String, Arc<Remote>>,
) -> Result<Vec<TrustedHost>, ConfigError> {
    let mut trusted = trusted_hosts(upstream)?;
    trusted.extend(listed.values().filter_map(|remote| TrustedHost::of(remote.reach().home())));
    Ok(trusted)
}

/// The place at `url`, without an account. It shares the connections of the upstream, so that a proxy is the way to it, too;
/// it is never taken for the upstream itself, which alone is shown the client certificate.
fn remote(itself: &Remote, url: &Url, has_prefix: bool, trusted: Vec<TrustedHost>) -> Result<Remote, &'static str> {
    let mut home = url.clone();
    home.set_path("/");
    let reach = Reach::unlisted_trusting(home, trusted);
    if url.scheme() != "https" && !reach.is_trusted(url) {
        return Err("is asked without TLS: only listed upstreams and trusted hosts may be");
    }
    let is_itself = itself.reach().is_home(url);
    if is_itself && !has_prefix {
        return Err("is the upstream itself");
    }
    let identity = Identity {
        name: url.authority().into(),
        origin: url.authority().to_owned(),
        is_docker_hub: false,
        reach,
        account: Account::Anonymous,
        has_certificate: false,
        callers: None,
        requests_max: REQUESTS_MAX_DEFAULT,
    };
    // Nobody else knows it by this name.
    Ok(Remote::new(identity, itself.shared_connections(), Herald::new()))
}

/// What stands before the names of repositories at `url`.
fn prefix(url: &Url) -> Result<Option<RepositoryName>, &'static str> {
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("is neither at http nor at https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("carries a user: a mirror with an account must be a listed upstream");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query");
    }
    match url.path().trim_matches('/') {
        "" => Ok(None),
        path => path.parse().map(Some).map_err(|_| "has a path that cannot stand before the name of a repository"),
    }
}
