//! Where a remote may lead: which URLs are its own, which are exempt from the address guard, and which realms may see
//! its credentials. Pure judgement over URLs; the addresses are judged when a connection is made.

use http::HeaderMap;
use http::header::LOCATION;
use url::{Host, Url};

use crate::error::RedirectError;

/// What kind of place a connection leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The remote itself, which the operator lists: any address, and what identifies us may be shown.
    Home,
    /// What the operator trusts besides: any address.
    Trusted,
    /// Everything else: public addresses alone.
    Public,
}

/// What is known about the surroundings of one remote.
#[derive(Debug)]
pub(crate) struct Reach {
    home: Url,
    is_listed: bool,
    trusted: Vec<TrustedHost>,
}

/// A host that the operator trusts, on one port or on all.
#[derive(Debug)]
pub(crate) struct TrustedHost {
    host: Host,
    port: Option<u16>,
}

impl TrustedHost {
    /// Reads `host` or `host:port`; an IPv6 literal stands in brackets.
    pub(crate) fn parse(entry: &str) -> Option<Self> {
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (entry, None),
        };
        Some(Self { host: Host::parse(host).ok()?, port })
    }

    /// The host and port of `url`.
    pub(crate) fn of(url: &Url) -> Option<Self> {
        Some(Self { host: url.host()?.to_owned(), port: url.port_or_known_default() })
    }

    fn is_host_of(&self, url: &Url) -> bool {
        url.host().is_some_and(|host| host.to_owned() == self.host)
            && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
    }
}

impl Reach {
    pub(crate) fn unlisted(home: Url) -> Self {
        Self { home, is_listed: false, trusted: Vec::new() }
    }

    pub(crate) fn listed(home: Url, trusted: Vec<TrustedHost>) -> Self {
        Self { home, is_listed: true, trusted }
    }

    /// A remote that is not listed, although what the operator trusts is exempt from the guard.
    pub(crate) fn unlisted_trusting(home: Url, trusted: Vec<TrustedHost>) -> Self {
        Self { home, is_listed: false, trusted }
    }

    /// The URL of the remote itself.
    pub(crate) const fn home(&self) -> &Url {
        &self.home
    }

    /// Whether `url` is the remote itself: scheme, host and port.
    pub(crate) fn is_home(&self, url: &Url) -> bool {
        url.scheme() == self.home.scheme() && self.is_home_authority(url)
    }

    /// What kind of place a connection for `url` leads to.
    pub(crate) fn destination(&self, url: &Url) -> Destination {
        if self.is_listed && self.is_home_authority(url) {
            Destination::Home
        } else if self.is_trusted(url) {
            Destination::Trusted
        } else {
            Destination::Public
        }
    }

    /// Whether `realm` may receive the credentials of this remote.
    pub(crate) fn may_receive_credentials(&self, realm: &Url) -> bool {
        if !may_ask(realm, &self.home) {
            return false;
        }
        if self.is_home_authority(realm) || self.is_trusted(realm) {
            return true;
        }
        realm.scheme() == "https" && is_same_registrable_domain(&self.home, realm)
    }

    fn is_home_authority(&self, url: &Url) -> bool {
        url.host() == self.home.host() && url.port_or_known_default() == self.home.port_or_known_default()
    }

    pub(crate) fn is_trusted(&self, url: &Url) -> bool {
        self.trusted.iter().any(|trusted| trusted.is_host_of(url))
    }
}

/// Whether `realm` may be asked for an anonymous token at all, by whoever was asked at `from`.
pub(crate) fn may_ask(realm: &Url, from: &Url) -> bool {
    let is_web = matches!(realm.scheme(), "http" | "https");
    let is_downgrade = realm.scheme() == "http" && from.scheme() == "https";
    is_web && !is_downgrade && realm.username().is_empty() && realm.password().is_none()
}

/// Whether both belong to whoever registered one domain, by the public suffix list. An address belongs to nobody.
fn is_same_registrable_domain(one: &Url, other: &Url) -> bool {
    let (Some(Host::Domain(one)), Some(Host::Domain(other))) = (one.host(), other.host()) else { return false };
    match (psl::domain_str(one), psl::domain_str(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// Where a redirect from `from` leads, when it may be followed at all.
pub(crate) fn redirect_target(from: &Url, headers: &HeaderMap) -> Result<Url, RedirectError> {
    let location = headers.get(LOCATION).ok_or(RedirectError::LocationMissing)?;
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| RedirectError::LocationMalformed)?.trim();
    if location.is_empty() {
        return Err(RedirectError::LocationMissing);
    }
    let mut target = from.join(location).map_err(|_| RedirectError::LocationMalformed)?;
    if !matches!(target.scheme(), "http" | "https") {
        return Err(RedirectError::Scheme);
    }
    if from.scheme() == "https" && target.scheme() == "http" {
        return Err(RedirectError::Downgrade);
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Err(RedirectError::Userinfo);
    }
    target.set_fragment(None);
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn credentials_go_to_the_same_host_domain_or_a_trusted_one() {
        // Threat C4.
        let rows = [
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
            ("https://ghcr.io", "https://ghcr.io/token", true),
            ("https://ghcr.io", "http://ghcr.io/token", false),
            ("https://ghcr.io", "https://ghcr.io.evil.example/token", false),
            ("https://x.github.io", "https://evil.github.io/token", false),
            ("https://a.co.uk", "https://b.co.uk/token", false),
            ("https://registry.corp", "https://auth.corp/token", false),
            ("https://localhost:5000", "https://localhost:5000/token", true),
            ("https://localhost:5000", "https://localhost:5001/token", false),
            ("https://127.0.0.1:5000", "https://127.0.0.1:5001/token", false),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/token", true),
            ("http://127.0.0.1:5000", "https://127.0.0.2:5000/token", false),
            ("http://registry.acme.com", "http://auth.acme.com/token", false),
            ("http://registry.acme.com", "https://auth.acme.com/token", true),
            ("https://registry.acme.com", "https://sso.other.example/token", true),
            ("https://registry.acme.com", "http://sso.other.example/token", false),
            ("http://registry.acme.com", "http://sso.other.example/token", true),
            ("https://registry.acme.com", "https://pinned.example:8443/token", true),
            ("https://registry.acme.com", "https://pinned.example/token", false),
            ("https://ghcr.io", "https://user@ghcr.io/token", false),
            ("https://ghcr.io", "file:///etc/passwd", false),
        ];
        for (home, realm, expected) in rows {
            let trusted = ["sso.other.example", "pinned.example:8443"].map(|entry| TrustedHost::parse(entry).unwrap());
            let reach = Reach::listed(url(home), trusted.into());
            assert_eq!(reach.may_receive_credentials(&url(realm)), expected, "{home} → {realm}");
        }
    }

    #[test]
    fn only_what_is_listed_escapes_the_guard() {
        let trusted = || vec![TrustedHost::parse("[::1]:9000").unwrap(), TrustedHost::parse("cdn.corp").unwrap()];
        let reach = Reach::listed(url("http://10.0.0.1:5000"), trusted());
        for (target, expected) in [
            ("http://10.0.0.1:5000/v2/", Destination::Home),
            ("https://10.0.0.1:5000/v2/", Destination::Home),
            ("http://10.0.0.1:5001/v2/", Destination::Public),
            ("http://10.0.0.2:5000/v2/", Destination::Public),
            ("http://[::1]:9000/", Destination::Trusted),
            ("http://[::1]:9001/", Destination::Public),
            ("https://cdn.corp/", Destination::Trusted),
            ("https://cdn.corp:8443/", Destination::Trusted),
            ("https://x.cdn.corp/", Destination::Public),
        ] {
            assert_eq!(reach.destination(&url(target)), expected, "{target}");
        }
        let unlisted = Reach::unlisted(url("https://registry.example"));
        assert_eq!(unlisted.destination(&url("https://registry.example/v2/")), Destination::Public);
    }

    #[test]
    fn trusted_hosts_are_hosts_with_or_without_a_port() {
        for entry in ["a.example", "a.example:1", "10.0.0.1", "10.0.0.1:80", "[::1]", "[::1]:1"] {
            assert!(TrustedHost::parse(entry).is_some(), "{entry}");
        }
        for entry in ["", "a b", "https://a.example", "a.example:", "a.example:x", "a.example:70000", "::1", "a/b"] {
            assert!(TrustedHost::parse(entry).is_none(), "{entry}");
        }
    }

    #[test]
    fn redirects_go_up_or_stay_and_never_down() {
        // Threat C3.
        let rows = [
            ("https://a/v2/x", Some("https://b/y?sig=1#f"), Ok("https://b/y?sig=1")),
            ("http://a/v2/x", Some("https://b/y"), Ok("https://b/y")),
            ("https://a/v2/x", Some("/y"), Ok("https://a/y")),
            ("https://a/v2/x", Some("//b/y"), Ok("https://b/y")),
            ("https://a/v2/x", Some("http://a/y"), Err(RedirectError::Downgrade)),
            ("https://a/v2/x", Some("file:///etc/passwd"), Err(RedirectError::Scheme)),
            ("https://a/v2/x", Some("gopher://a/"), Err(RedirectError::Scheme)),
            ("https://a/v2/x", Some("https://u:p@b/"), Err(RedirectError::Userinfo)),
            ("https://a/v2/x", Some("https://["), Err(RedirectError::LocationMalformed)),
            ("https://a/v2/x", Some(""), Err(RedirectError::LocationMissing)),
            ("https://a/v2/x", None, Err(RedirectError::LocationMissing)),
        ];
        for (from, location, expected) in rows {
            let mut headers = HeaderMap::new();
            if let Some(location) = location {
                headers.insert(LOCATION, location.parse().unwrap());
            }
            assert_eq!(redirect_target(&url(from), &headers), expected.map(url), "{location:?}");
        }
    }
}
