//! `[storage.redirect]`: whether clients get bytes from the bucket itself, by a signed URL.

use std::time::Duration;

use entrepot_oci::Patterns;
use entrepot_server::Network;
use toml::Spanned;

use super::error::ProblemKind;
use super::resolve::Resolver;
use super::rules::patterns;
use super::value::{parse_duration, parse_size};
use super::written::{WrittenRedirect, WrittenRedirectRule};

/// How long signed URLs may be good for: what AWS signs at most.
const LIFETIMES: std::ops::RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(7 * 24);

/// When clients are sent to the bucket for a blob.
#[derive(Clone, Debug)]
pub struct RedirectConfiguration {
    /// Whether at all, and by what.
    pub mode: RedirectMode,
    /// Bytes of the smallest blob that somebody is redirected for.
    pub size_min: u64,
    /// How long a signed URL is good for.
    pub lifetime: Duration,
    /// With [`RedirectMode::Rules`]: the first one that matches decides, and where none does there is no redirect.
    pub rules: Vec<RedirectRule>,
}

impl Default for RedirectConfiguration {
    fn default() -> Self {
        Self { mode: RedirectMode::Never, size_min: 1 << 20, lifetime: Duration::from_mins(10), rules: Vec::new() }
    }
}

/// By what it is decided whether a client is redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectMode {
    /// Nobody is.
    Never,
    /// Everybody is.
    Always,
    /// By the rules.
    Rules,
}

impl RedirectMode {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Always => "always",
            Self::Rules => "rules",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Never, Self::Always, Self::Rules].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// What happens to some requests; it matches when all that it names does.
#[derive(Clone, Debug)]
pub struct RedirectRule {
    /// The repositories that it is for; empty: all.
    pub repositories: Patterns,
    /// Where the clients are that it is for; empty: anywhere.
    pub networks: Vec<Network>,
    /// Bytes of the smallest blob that it is for; `None`: any that is not streamed for its size.
    pub size_min: Option<u64>,
    /// Whether clients are redirected.
    pub is_redirected: bool,
}

/// Everything about redirects; `has_object_storage`: there is somewhere to send clients to.
pub(crate) fn redirect(
    resolver: &mut Resolver<'_>,
    written: Option<&Spanned<WrittenRedirect>>,
    has_object_storage: bool,
) -> RedirectConfiguration {
    let default = RedirectConfiguration::default();
    let Some(written) = written else { return default };
    let (start, written) = (written.span().start, written.get_ref());
    let mode = resolver.parsed("storage.redirect.mode", &written.mode, default.mode, RedirectMode::parse);
    if mode != RedirectMode::Never && !has_object_storage {
        resolver.add(resolver.place(start), "storage.redirect", ProblemKind::WithoutObjectStorage);
    }
    match (written.rule.first(), mode) {
        (Some(rule), RedirectMode::Never | RedirectMode::Always) => {
            let kind = ProblemKind::RulesNotAsked { mode: mode.as_str() };
            resolver.add(resolver.place(rule.span().start), "storage.redirect.rule", kind);
        }
        (None, RedirectMode::Rules) => {
            let kind = ProblemKind::Needs { other: "[[storage.redirect.rule]]" };
            resolver.add(resolver.place_of([&written.mode, &None]), "storage.redirect.mode", kind);
        }
        _ => {}
    }
    RedirectConfiguration {
        mode,
        size_min: resolver.parsed("storage.redirect.size_min", &written.size_min, default.size_min, parse_size),
        lifetime: resolver.parsed("storage.redirect.lifetime", &written.lifetime, default.lifetime, |text| {
            parse_duration(text).filter(|lifetime| LIFETIMES.contains(lifetime))
        }),
        rules: written.rule.iter().filter_map(|written| rule(resolver, written)).collect(),
    }
}

fn rule(resolver: &mut Resolver<'_>, written: &Spanned<WrittenRedirectRule>) -> Option<RedirectRule> {
    let (start, written) = (written.span().start, written.get_ref());
    if written.redirect.is_none() {
        resolver.missing("storage.redirect.rule.redirect", start);
    }
    let mut networks = Vec::with_capacity(written.networks.len());
    for network in &written.networks {
        match network.get_ref().parse() {
            Ok(network) => networks.push(network),
            Err(_) => resolver.refuse("storage.redirect.rule.networks", network),
        }
    }
    let repositories = patterns(resolver, "storage.redirect.rule.repositories", &written.repositories);
    let size_min =
        resolver.parsed("storage.redirect.rule.size_min", &written.size_min, None, |text| parse_size(text).map(Some));
    Some(RedirectRule { repositories, networks, size_min, is_redirected: written.redirect? })
}
