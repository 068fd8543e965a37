//! The doors: every way that clients spell a repository of another registry, led to its one name `proxy/<registry>/…`.
//!
//! Whatever comes after a door (access, the domain, the log) sees that name and no other, so no door is a way around any of it, and all
//! of them lead to the same cached entries.
//!
//! Own and foreign names are never confused: with a foreign `ns` nothing that is hosted here is read, also where a hosted repository has
//! the same name, because that client asks for the other registry's image and would run ours in its place; and a hosted
//! name is never asked of an upstream, because its name alone may be a secret. Where neither the path nor `ns` says whose a name is,
//! it is ours, and only what nobody has pushed here is the root mirror's.

use entrepot_oci::{ErrorCode, RepositoryName};
use entrepot_registry::Registry;
use entrepot_upstream::{VIA_CACHES_MAX, VIA_HEADER, Via};
use http::header::{ALLOW, HOST};
use http::{HeaderMap, StatusCode, Uri};
use percent_encoding::percent_decode_str;

use crate::error::ErrorResponse;
use crate::query::Query;
use crate::route::{Access, Route};

/// How a request came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `/v2/<name>/…`: the name says whose it is.
    Name,
    /// `/v2/<name>/…?ns=<this server>`: the name is hosted here.
    Own,
    /// `/v2/<name>/…?ns=<registry>`, as containerd and buildkit ask a mirror.
    Namespace(String),
    /// `/proxy/<registry>/v2/<name>/…`, as clients ask a mirror that has a path.
    Mirror(String),
}

/// Where a door led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Led {
    /// What the client calls the repository, and is told that it is called.
    pub(crate) asked: Option<RepositoryName>,
    /// The word for the door in the log and in the metrics; nothing for what is hosted.
    pub(crate) label: Option<&'static str>,
    /// The value of `OCI-Namespace`.
    pub(crate) namespace: Option<String>,
}

impl Door {
    /// The door that a request came in by, and its path as the registry API has it.
    pub(crate) fn of<'p>(path: &'p str, query: &Query, own_host: Option<&str>) -> (Self, &'p str) {
        if let Some((registry, path)) = mirror(path) {
            return (Self::Mirror(percent_decode_str(registry).decode_utf8_lossy().into_owned()), path);
        }
        let door = match query.first("ns").filter(|namespace| !namespace.is_empty()) {
            None => Self::Name,
            Some(namespace) if own_host.is_some_and(|own| is_same_host(namespace, own)) => Self::Own,
            Some(namespace) => Self::Namespace(namespace.to_owned()),
        };
        (door, path)
    }

    /// The registry whose content the client wants, where it says so beside the name.
    pub(crate) fn namespace(&self) -> Option<&str> {
        match self {
            Self::Mirror(authority) | Self::Namespace(authority) => Some(authority),
            Self::Name | Self::Own => None,
        }
    }

    /// The name by which the right to the route is asked for before anything is looked up: but for the root mirror's, it is the one that
    /// [`Self::lead`] finds.
    pub(crate) fn name_of(&self, route: &Route, registry: &Registry) -> Option<RepositoryName> {
        let name = route.repository()?;
        Some(match self {
            Self::Mirror(authority) => name_behind(registry, authority, name),
            Self::Namespace(authority) if !Registry::is_proxied(name) => name_behind(registry, authority, name),
            Self::Namespace(_) | Self::Name | Self::Own => name.clone(),
        })
    }

    /// Puts the repository's one name into the route.
    ///
    /// # Errors
    /// A registry that may not be asked, or is none, is 404: so clients go on to the registry itself. Writes are 405.
    pub(crate) async fn lead(
        &self,
        route: &mut Route,
        registry: &Registry,
        is_head: bool,
    ) -> Result<Led, ErrorResponse> {
        let asked = route.repository().cloned();
        let is_proxied = asked.as_ref().is_some_and(Registry::is_proxied);
        match self {
            Self::Mirror(authority) => self.lead_away(route, registry, authority),
            Self::Namespace(authority) if !is_proxied => self.lead_away(route, registry, authority),
            // The path wins over `ns`.
            Self::Namespace(authority) => {
                let is_echo = asked.as_ref().is_some_and(|name| is_behind(name, authority));
                Ok(Led { asked, label: Some("path"), namespace: is_echo.then(|| authority.clone()) })
            }
            Self::Name | Self::Own if is_proxied => Ok(Led { asked, label: Some("path"), namespace: None }),
            Self::Own => Ok(Led { asked, ..Led::default() }),
            Self::Name => lead_from_root(route, registry, is_head).await,
        }
    }

    fn lead_away(&self, route: &mut Route, registry: &Registry, authority: &str) -> Result<Led, ErrorResponse> {
        match route.access() {
            Access::Pull(_) | Access::None => {}
            Access::Catalog => {
                let message =
                    format!("the list of repositories is of those hosted here; {authority} is not asked for its own");
                return Err(ErrorResponse::new(ErrorCode::UNSUPPORTED, message).with_status(StatusCode::NOT_FOUND));
            }
            Access::Push(name) | Access::Delete(name) => {
                let message = format!(
                    "{name} of {authority} is only cached here, which takes no pushes or deletes: push to {authority} itself, or \
                     to this server under a name of its own"
                );
                return Err(ErrorResponse::new(ErrorCode::UNSUPPORTED, message).with_header(ALLOW, "GET, HEAD"));
            }
        }
        let Some(name) = route.repository_mut() else { return Ok(Led::default()) };
        let behind = registry.name_behind(authority, name)?;
        let asked = Some(std::mem::replace(name, behind));
        Ok(match self {
            Self::Mirror(_) => Led { asked, label: Some("mirror"), namespace: None },
            _ => Led { asked, label: Some("namespace"), namespace: Some(authority.to_owned()) },
        })
    }
}

async fn lead_from_root(route: &mut Route, registry: &Registry, is_head: bool) -> Result<Led, ErrorResponse> {
    let asked = route.repository().cloned();
    // Clients ask by HEAD whether a blob has to be pushed. Were the mirror to say no, the repository that they are about to push
    // to would lack it. Pulls through a root mirror get blobs at once.
    let is_push_check = is_head && matches!(route, Route::PullBlob(..));
    let is_pull = matches!(route.access(), Access::Pull(_));
    let Some(name) = route.repository_mut().filter(|_| is_pull && !is_push_check) else {
        return Ok(Led { asked, ..Led::default() });
    };
    let found = registry.name_at_root(name).await?;
    let label = (found != *name).then_some("root");
    *name = found;
    Ok(Led { asked, label, namespace: None })
}

/// The name of another registry's repository. Where the registry may not be asked, a name that stands for it: which registries may be
/// asked is said only to those who might pull from this one.
pub(crate) fn name_behind(registry: &Registry, authority: &str, name: &RepositoryName) -> RepositoryName {
    registry.name_behind(authority, name).unwrap_or_else(|_| {
        let stand_in = |char: char| if char.is_ascii_alphanumeric() || char == '.' { char } else { '-' };
        let host: String = authority.to_ascii_lowercase().chars().map(stand_in).collect();
        let behind = |host: &str| format!("proxy/{host}/{name}").parse().ok();
        behind(host.trim_matches(['-', '.'])).or_else(|| behind("unknown")).unwrap_or_else(|| name.clone())
    })
}

/// Whether a path belongs to the registry API, by whichever door.
pub(crate) fn is_registry_path(path: &str) -> bool {
    let path = mirror(path).map_or(path, |(_, path)| path);
    path.strip_prefix("/v2").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The host by which the client has reached this server.
pub(crate) fn own_host<'h>(uri: &'h Uri, headers: &'h HeaderMap) -> Option<&'h str> {
    let header = || headers.get(HOST)?.to_str().ok();
    uri.authority().map(http::uri::Authority::as_str).or_else(header)
}

/// The caches that a question came through.
pub(crate) fn via(headers: &HeaderMap) -> Via {
    let mut lines = headers.get_all(VIA_HEADER).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Via::default(),
        (Some(line), None) => line.to_str().ok().and_then(|line| line.parse().ok()).unwrap_or_else(full),
        // Caches send one line: also several of them are nothing that ends by itself.
        (Some(_), Some(_)) => full(),
    }
}

/// What a list stands for that cannot be read, most likely because it is too long: a circle has to end somewhere.
fn full() -> Via {
    (0..VIA_CACHES_MAX).fold(Via::default(), |via, _| via.through("unknown"))
}

/// `/proxy/<registry>/v2/…` as its registry and `/v2/…`.
fn mirror(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/proxy/")?;
    let (registry, inner) = rest.split_once('/')?;
    let is_api = inner == "v2" || inner.starts_with("v2/");
    is_api.then(|| (registry, &path[path.len() - inner.len() - 1..]))
}

/// Whether `name` is `proxy/<authority>/…` as it stands.
fn is_behind(name: &RepositoryName, authority: &str) -> bool {
    let host = name.as_str().split('/').nth(1);
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
}

/// Whether two authorities name one host and port. What is encrypted in front of us is not to be seen here, so the default
/// ports of both schemes count as none.
fn is_same_host(one: &str, other: &str) -> bool {
    let plain = |text: &str| {
        let text = text.to_ascii_lowercase();
        let bare = text.strip_suffix(":80").or_else(|| text.strip_suffix(":443")).map(ToOwned::to_owned);
        bare.unwrap_or(text)
    };
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_shape_of_request_is_one_door() {
        let namespace = |text: &str| Door::Namespace(text.into());
        let mirror = |text: &str| Door::Mirror(text.into());
        let rows = [
            ("/v2/a/tags/list", Door::Name, "/v2/a/tags/list"),
            ("/v2/a/tags/list?ns=", Door::Name, "/v2/a/tags/list"),
            ("/v2/a/tags/list?n=1&ns=docker.io", namespace("docker.io"), "/v2/a/tags/list"),
            ("/v2/a/tags/list?ns=registry.corp%3A5000", namespace("registry.corp:5000"), "/v2/a/tags/list"),
            ("/v2/proxy/ghcr.io/a/tags/list?ns=ghcr.io", namespace("ghcr.io"), "/v2/proxy/ghcr.io/a/tags/list"),
            ("/v2/a/tags/list?ns=own.example", Door::Own, "/v2/a/tags/list"),
            ("/v2/a/tags/list?ns=OWN.example:443", Door::Own, "/v2/a/tags/list"),
            ("/v2/a/tags/list?ns=own.example:80", Door::Own, "/v2/a/tags/list"),
            ("/v2/a/tags/list?ns=own.example:5000", namespace("own.example:5000"), "/v2/a/tags/list"),
            ("/proxy/docker.io/v2", mirror("docker.io"), "/v2"),
            ("/proxy/docker.io/v2/", mirror("docker.io"), "/v2/"),
            ("/proxy/docker.io/v2/a/tags/list?ns=ghcr.io", mirror("docker.io"), "/v2/a/tags/list"),
            ("/proxy/registry.corp%3a5000/v2/a/tags/list", mirror("registry.corp:5000"), "/v2/a/tags/list"),
            ("/proxy/v2/v2/a/tags/list", mirror("v2"), "/v2/a/tags/list"),
            ("/proxy/docker.io/v20/a", Door::Name, "/proxy/docker.io/v20/a"),
            ("/proxy/docker.io", Door::Name, "/proxy/docker.io"),
            ("/proxy/a/b/v2/", Door::Name, "/proxy/a/b/v2/"),
        ];
        for (target, door, path) in rows {
            let (given, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
            assert_eq!(Door::of(given, &Query::parse(query), Some("own.example")), (door.clone(), path), "{target}");
            assert_eq!(is_registry_path(given), path.starts_with("/v2"), "{target}");
        }
        // A server that was not told its name is nobody's `ns`.
        let query = Query::parse(Some("ns=own.example"));
        assert_eq!(Door::of("/v2/", &query, None), (namespace("own.example"), "/v2/"));
    }

    #[test]
    fn a_list_of_caches_that_cannot_be_read_is_a_full_one() {
        let of = |lines: &[&'static [u8]]| {
            let lines = lines.iter().map(|line| HeaderValue::from_bytes(line).unwrap());
            via(&lines.map(|line| (VIA_HEADER.parse().unwrap(), line)).collect())
        };
        assert!(of(&[]).is_empty());
        assert!(of(&[b"a1, b2"]).contains("b2") && !of(&[b"a1, b2"]).is_full());
        for unreadable in [&[b"".as_slice()][..], &[b"a b"], &[b"1,2,3,4,5,6,7,8,9"], &[b"\xff"], &[b"a1", b"b2"]] {
            assert!(of(unreadable).is_full(), "{unreadable:?}");
        }
    }
}
