//! Whether a client gets the bytes of a blob from here, or a signed URL to fetch them from the object storage itself.
//!
//! A redirect saves this server the bytes and costs the client another host to reach: one inside a cluster can, one behind a firewall
//! perhaps not. So the operator says for whom: by repository, by the network that the client is in, by the size of the blob. What is here
//! on the local disk is never redirected, since sending it costs next to nothing.

use std::net::IpAddr;
use std::time::Duration;

use entrepot_oci::RepositoryName;
use entrepot_registry::Patterns;

use crate::Network;

/// Who is redirected.
#[derive(Clone, Debug)]
pub struct RedirectSettings {
    /// For how long a URL is good. A client has begun to read by then.
    pub lifetime: Duration,
    /// The first rule that matches counts; where none does, the bytes come from here.
    pub rules: Vec<RedirectRule>,
}

/// Some of those who ask, and whether they are redirected.
#[derive(Clone, Debug)]
pub struct RedirectRule {
    /// The names of repositories, as clients spell them; empty: all.
    pub repositories: Patterns,
    /// The networks of clients; empty: all, also those whose address is not known.
    pub networks: Vec<Network>,
    /// The size of the blob in bytes, at least.
    pub size_min: u64,
    /// Whether they are.
    pub is_redirected: bool,
}

impl RedirectSettings {
    /// Nobody.
    pub const fn never() -> Self {
        Self { lifetime: Duration::ZERO, rules: Vec::new() }
    }

    /// Whether a client at `address` is redirected for a blob of `size` bytes of `repository`.
    pub(crate) fn applies(&self, repository: &RepositoryName, address: Option<IpAddr>, size: u64) -> bool {
        let rule = self.rules.iter().find(|rule| rule.matches(repository, address, size));
        rule.is_some_and(|rule| rule.is_redirected)
    }
}

impl RedirectRule {
    fn matches(&self, repository: &RepositoryName, address: Option<IpAddr>, size: u64) -> bool {
        let is_within = |network: &Network| address.is_some_and(|address| network.contains(address));
        size >= self.size_min
            && (self.networks.is_empty() || self.networks.iter().any(is_within))
            && self.repositories.matches(repository.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_counts_and_without_one_the_bytes_come_from_here() {
        let rule = |repositories: Option<&str>, networks: Option<&str>, size_min, is_redirected| RedirectRule {
            repositories: Patterns::new(repositories).unwrap(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            size_min,
            is_redirected,
        };
        let rules = vec![
            rule(Some("secret/**"), None, 0, false),
            rule(None, Some("10.0.0.0/8"), 100, true),
            rule(Some("public/*"), None, 1000, true),
        ];
        let settings = RedirectSettings { lifetime: Duration::from_mins(10), rules };
        let inside: Option<IpAddr> = Some("10.1.2.3".parse().unwrap());
        let outside = Some("192.0.2.1".parse().unwrap());
        let rows = [
            ("team/app", inside, 100, true),
            ("team/app", inside, 99, false),
            ("team/app", outside, 100, false),
            ("team/app", None, 100, false),
            ("secret/app", inside, 100, false),
            ("public/app", outside, 1000, true),
            ("public/app", None, 1000, true),
            ("public/a/b", outside, 1000, false),
        ];
        for (name, address, size, expected) in rows {
            assert_eq!(settings.applies(&name.parse().unwrap(), address, size), expected, "{name} {address:?} {size}");
        }
        assert!(!RedirectSettings::never().applies(&"a".parse().unwrap(), inside, u64::MAX));
    }
}
