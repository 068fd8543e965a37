//! `[proxy]`: how long tags are believed, how much is kept, and what the names without a prefix mean.

use std::collections::HashMap;
use std::time::Duration;

use entrepot_oci::RepositoryName;
use entrepot_registry::{CacheLimits, Freshness, OnUpstream404, ProxySettings};
use entrepot_upstream::{Hosts, UpstreamConfig};
use toml::Spanned;

use super::ProxyConfiguration;
use super::error::ProblemKind;
use super::limits::AT_ONCE_MAX;
use super::resolve::{Resolver, duration_from};
use super::upstream::DOCKER_HUB;
use super::value::{parse_lasting, parse_percent, parse_size};
use super::written::{Text, WrittenProxy, WrittenUpstream};
use super::{rules, upstream};

/// Everything about pulling through.
pub(crate) fn proxy(resolver: &mut Resolver<'_>, written: &WrittenProxy) -> ProxyConfiguration {
    let hosts = hosts(resolver, &written.hosts);
    let upstreams = upstream::upstreams(resolver, &written.upstream);
    let paths = ["proxy.tag_fresh_for", "proxy.stale_for", "proxy.on_upstream_404"];
    let values = [&written.tag_fresh_for, &written.stale_for, &written.on_upstream_404];
    let freshness = freshness(resolver, paths, values, Freshness::default());
    let settings = ProxySettings {
        freshness,
        upstream_freshness: upstream_freshness(resolver, &written.upstream, freshness),
        freshness_rules: rules::freshness(resolver, &written.freshness),
        rules: rules::policy(resolver, &written.rule),
        root_mirror: root_mirror(resolver, &written.root_mirror, hosts, &upstreams),
        cache: limits(resolver, written),
    };
    ProxyConfiguration { hosts, upstreams, settings }
}

fn hosts(resolver: &mut Resolver<'_>, written: &Text) -> Hosts {
    resolver.parsed("proxy.hosts", written, Hosts::Public, |text| match text {
        "public" => Some(Hosts::Public),
        "listed" => Some(Hosts::Listed),
        _ => None,
    })
}

/// What the word says about a 404 of the upstream.
pub(crate) fn parse_on_upstream_404(text: &str) -> Option<OnUpstream404> {
    match text {
        "keep" => Some(OnUpstream404::Keep),
        "forget" => Some(OnUpstream404::Forget),
        _ => None,
    }
}

fn freshness(
    resolver: &mut Resolver<'_>,
    paths: [&'static str; 3],
    [fresh_for, stale_for, on_upstream_404]: [&Text; 3],
    default: Freshness,
) -> Freshness {
    Freshness {
        fresh_for: resolver.parsed(paths[0], fresh_for, default.fresh_for, parse_lasting),
        stale_for: resolver.parsed(paths[1], stale_for, default.stale_for, parse_lasting),
        on_upstream_404: resolver.parsed(paths[2], on_upstream_404, default.on_upstream_404, parse_on_upstream_404),
    }
}

/// The upstreams that say something of their own.
fn upstream_freshness(
    resolver: &mut Resolver<'_>,
    written: &[Spanned<WrittenUpstream>],
    default: Freshness,
) -> HashMap<String, Freshness> {
    let paths = ["proxy.upstream.tag_fresh_for", "proxy.upstream.stale_for", "proxy.upstream.on_upstream_404"];
    let mut by_name = HashMap::new();
    for written in written.iter().map(Spanned::get_ref) {
        let values = [&written.tag_fresh_for, &written.stale_for, &written.on_upstream_404];
        if let Some(name) = &written.name
            && values.iter().any(|value| value.is_some())
        {
            by_name.insert(name.get_ref().clone(), freshness(resolver, paths, values, default));
        }
    }
    by_name
}

fn root_mirror(
    resolver: &mut Resolver<'_>,
    written: &Text,
    hosts: Hosts,
    upstreams: &[UpstreamConfig],
) -> Option<String> {
    let written = written.as_ref()?;
    let name = written.get_ref();
    let is_hub = |name: &String| DOCKER_HUB.contains(&name.as_str());
    let names = upstreams.iter().flat_map(|upstream| [&upstream.name].into_iter().chain(&upstream.aliases));
    // An upstream that has one name of Docker Hub has all of them.
    let is_listed = names.into_iter().any(|other| other == name || (is_hub(other) && is_hub(name)));
    let is_host = name.contains('.') && !name.contains('/') && name.parse::<RepositoryName>().is_ok();
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if !is_listed && (hosts == Hosts::Listed || !is_host || is_address) {
        let kind = ProblemKind::UnknownRootMirror { name: name.clone(), is_listed_only: hosts == Hosts::Listed };
        resolver.add(resolver.place(written.span().start), "proxy.root_mirror", kind);
    }
    Some(name.clone())
}

fn limits(resolver: &mut Resolver<'_>, written: &WrittenProxy) -> CacheLimits {
    let default = CacheLimits::default();
    let limits = CacheLimits {
        size_max: resolver.parsed("proxy.size_max", &written.size_max, default.size_max, |text| {
            parse_size(text).filter(|size| *size > 0).map(Some)
        }),
        high_percent: resolver.parsed("proxy.size_high", &written.size_high, default.high_percent, |text| {
            parse_percent(text).filter(|percent| *percent > 0)
        }),
        low_percent: resolver.parsed("proxy.size_low", &written.size_low, default.low_percent, |text| {
            parse_percent(text).filter(|percent| *percent < 100)
        }),
        unused_for: resolver.parsed("proxy.unused_for", &written.unused_for, default.unused_for, |text| {
            duration_from(Duration::from_mins(1))(text).map(Some)
        }),
        orphan_fills_max: resolver.number(
            "proxy.orphan_fills_max",
            written.orphan_fills_max.as_ref(),
            0..=AT_ONCE_MAX,
            default.orphan_fills_max,
        ),
    };
    if limits.low_percent >= limits.high_percent {
        let kind = ProblemKind::MarksCrossed { low: limits.low_percent, high: limits.high_percent };
        let place = resolver.place_of([&written.size_low, &written.size_high]);
        resolver.add(place, "proxy.size_low", kind);
    }
    limits
}
