//! What the configuration says about pulling through, as a text. Secrets are `***`.

use std::fmt;

use entrepot_registry::{CacheLimits, Freshness, FreshnessRule, OnUpstream404, Patterns, PolicyAction, PolicyRule};
use entrepot_upstream::{Hosts, Mirror, UpstreamConfig};
use url::Url;

use super::ProxyConfiguration;
use super::pem::show_certificates;
use super::value::{show_duration, show_lasting, show_size};

/// `[proxy]` and all tables in it.
pub(crate) fn write_proxy(text: &mut fmt::Formatter<'_>, proxy: &ProxyConfiguration) -> fmt::Result {
    let settings = &proxy.settings;
    let hosts = match proxy.hosts {
        Hosts::Public => "public",
        Hosts::Listed => "listed",
    };
    writeln!(text, "\n[proxy]\nhosts = \"{hosts}\"")?;
    write_freshness(text, &settings.freshness)?;
    match &settings.root_mirror {
        Some(name) => writeln!(text, "root_mirror = {name:?}")?,
        None => writeln!(text, "# root_mirror: none")?,
    }
    write_limits(text, &settings.cache)?;
    for upstream in &proxy.upstreams {
        write_upstream(text, upstream)?;
        if let Some(freshness) = settings.upstream_freshness.get(&upstream.name) {
            write_freshness(text, freshness)?;
        }
    }
    for rule in &settings.freshness_rules {
        write_freshness_rule(text, rule)?;
    }
    settings.rules.iter().try_for_each(|rule| write_rule(text, rule))
}

fn write_freshness(text: &mut fmt::Formatter<'_>, freshness: &Freshness) -> fmt::Result {
    writeln!(text, "tag_fresh_for = \"{}\"", show_lasting(freshness.fresh_for))?;
    writeln!(text, "stale_for = \"{}\"", show_lasting(freshness.stale_for))?;
    writeln!(text, "on_upstream_404 = \"{}\"", show_on_upstream_404(freshness.on_upstream_404))
}

fn show_on_upstream_404(on_upstream_404: OnUpstream404) -> &'static str {
    match on_upstream_404 {
        OnUpstream404::Keep => "keep",
        OnUpstream404::Forget => "forget",
    }
}

fn write_limits(text: &mut fmt::Formatter<'_>, limits: &CacheLimits) -> fmt::Result {
    match limits.size_max {
        Some(size) => writeln!(text, "size_max = \"{}\"", show_size(size))?,
        None => writeln!(text, "# size_max: no limit")?,
    }
    writeln!(text, "size_high = \"{}%\"\nsize_low = \"{}%\"", limits.high_percent, limits.low_percent)?;
    match limits.unused_for {
        Some(duration) => writeln!(text, "unused_for = \"{}\"", show_duration(duration))?,
        None => writeln!(text, "# unused_for: no limit")?,
    }
    writeln!(text, "orphan_fills_max = {}", limits.orphan_fills_max)
}

fn write_upstream(text: &mut fmt::Formatter<'_>, upstream: &UpstreamConfig) -> fmt::Result {
    writeln!(text, "\n[[proxy.upstream]]\nname = {:?}", upstream.name)?;
    writeln!(text, "url = {:?}", upstream.url.as_str().trim_end_matches('/'))?;
    if !upstream.aliases.is_empty() {
        writeln!(text, "aliases = {:?}", upstream.aliases)?;
    }
    if let Some(username) = &upstream.username {
        writeln!(text, "username = {username:?}")?;
    }
    if upstream.password.is_some() {
        writeln!(text, "password = \"***\"")?;
    }
    if let Some(helper) = &upstream.credential_helper {
        writeln!(text, "credential_helper = {:?}", helper.command)?;
        writeln!(text, "credential_lifetime = \"{}\"", show_duration(helper.lifetime))?;
    }
    if upstream.is_asked_as_caller {
        writeln!(text, "credentials = \"caller\"")?;
    }
    if !upstream.trusted_hosts.is_empty() {
        writeln!(text, "trusted_hosts = {:?}", upstream.trusted_hosts)?;
    }
    write_connection(text, upstream)
}

fn write_connection(text: &mut fmt::Formatter<'_>, upstream: &UpstreamConfig) -> fmt::Result {
    // What is in these files holds, not where they were: they are read once.
    if let Some(ca) = &upstream.ca {
        writeln!(text, "# ca: {}", show_certificates(ca))?;
    }
    if let Some(client) = &upstream.client_certificate {
        writeln!(text, "# client_certificate: {}", show_certificates(&client.certificate))?;
        writeln!(text, "client_key = \"***\"")?;
    }
    if let Some(proxy) = &upstream.http_proxy {
        writeln!(text, "http_proxy = {:?}", show_http_proxy(proxy))?;
    }
    if !upstream.mirrors.is_empty() {
        let mirrors: Vec<_> = upstream.mirrors.iter().map(show_mirror).collect();
        writeln!(text, "mirrors = {mirrors:?}")?;
    }
    writeln!(text, "requests_max = {}", upstream.requests_max)
}

/// The proxy with `***` for whoever is in it.
fn show_http_proxy(proxy: &Url) -> String {
    let user = if proxy.username().is_empty() && proxy.password().is_none() { "" } else { "***@" };
    let port = proxy.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{user}{}{port}", proxy.scheme(), proxy.host_str().unwrap_or_default())
}

fn show_mirror(mirror: &Mirror) -> &str {
    match mirror {
        Mirror::Listed(name) => name,
        Mirror::At(url) => url.as_str().trim_end_matches('/'),
    }
}

fn write_patterns(text: &mut fmt::Formatter<'_>, name: &str, patterns: &Patterns) -> fmt::Result {
    if patterns.is_empty() { Ok(()) } else { writeln!(text, "{name} = {:?}", patterns.texts()) }
}

fn write_freshness_rule(text: &mut fmt::Formatter<'_>, rule: &FreshnessRule) -> fmt::Result {
    writeln!(text, "\n[[proxy.freshness]]")?;
    write_patterns(text, "upstreams", &rule.upstreams)?;
    write_patterns(text, "repositories", &rule.repositories)?;
    write_patterns(text, "tags", &rule.tags)?;
    if let Some(duration) = rule.fresh_for {
        writeln!(text, "fresh_for = \"{}\"", show_lasting(duration))?;
    }
    if let Some(duration) = rule.stale_for {
        writeln!(text, "stale_for = \"{}\"", show_lasting(duration))?;
    }
    match rule.on_upstream_404 {
        Some(on_upstream_404) => writeln!(text, "on_upstream_404 = \"{}\"", show_on_upstream_404(on_upstream_404)),
        None => Ok(()),
    }
}

fn write_rule(text: &mut fmt::Formatter<'_>, rule: &PolicyRule) -> fmt::Result {
    let action = match rule.action {
        PolicyAction::Allow => "allow",
        PolicyAction::Deny => "deny",
    };
    writeln!(text, "\n[[proxy.rule]]\nname = {:?}\naction = \"{action}\"", rule.name)?;
    writeln!(text, "log_only = {}", rule.is_log_only)?;
    write_patterns(text, "upstreams", &rule.upstreams)?;
    write_patterns(text, "repositories", &rule.repositories)?;
    write_patterns(text, "tags", &rule.tags)?;
    write_patterns(text, "media_types", &rule.media_types)?;
    if let Some(size) = rule.larger_than {
        writeln!(text, "larger_than = \"{}\"", show_size(size))?;
    }
    match rule.younger_than {
        Some(duration) => writeln!(text, "younger_than = \"{}\"", show_duration(duration)),
        None => Ok(()),
    }
}
