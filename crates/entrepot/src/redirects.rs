//! Who is sent on to the bucket: from what the configuration says to what the server asks.

use entrepot_registry::Patterns;
use entrepot_server::{RedirectRule, RedirectSettings};

use crate::config::{RedirectConfiguration, RedirectMode};

/// The rules that come to the same.
pub fn redirects(configuration: &RedirectConfiguration) -> RedirectSettings {
    let RedirectConfiguration { mode, size_min, lifetime, rules } = configuration;
    let rules = match mode {
        RedirectMode::Never => Vec::new(),
        RedirectMode::Always => {
            let (repositories, networks) = (Patterns::default(), Vec::new());
            vec![RedirectRule { repositories, networks, size_min: *size_min, is_redirected: true }]
        }
        RedirectMode::Rules => rules
            .iter()
            .map(|rule| RedirectRule {
                repositories: rule.repositories.clone(),
                networks: rule.networks.clone(),
                // What is small comes from here, whatever a rule says; a rule that keeps somebody here does so for all sizes.
                size_min: if rule.is_redirected {
                    rule.size_min.unwrap_or(0).max(*size_min)
                } else {
                    rule.size_min.unwrap_or(0)
                },
                is_redirected: rule.is_redirected,
            })
            .collect(),
    };
    RedirectSettings { lifetime: *lifetime, rules }
}
