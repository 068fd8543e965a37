//! `[[proxy.freshness]]` and `[[proxy.rule]]`: what holds for some images alone.

use std::collections::HashMap;
use std::time::Duration;

use entrepot_registry::{FreshnessRule, Patterns, PolicyAction, PolicyRule};
use toml::Spanned;

use super::error::ProblemKind;
use super::limits::RULE_NAME_MAX;
use super::proxy::parse_on_upstream_404;
use super::resolve::{Resolver, allowed, duration_from};
use super::value::{parse_lasting, parse_size};
use super::written::{WrittenFreshness, WrittenRule};

/// The exceptions to how long tags are believed.
pub(crate) fn freshness(resolver: &mut Resolver<'_>, written: &[Spanned<WrittenFreshness>]) -> Vec<FreshnessRule> {
    written.iter().map(|written| freshness_rule(resolver, written)).collect()
}

fn freshness_rule(resolver: &mut Resolver<'_>, written: &Spanned<WrittenFreshness>) -> FreshnessRule {
    let start = written.span().start;
    let written = written.get_ref();
    if written.fresh_for.is_none() && written.stale_for.is_none() && written.on_upstream_404.is_none() {
        resolver.add(resolver.place(start), "proxy.freshness", ProblemKind::FreshnessSaysNothing);
    }
    let lasting = |text: &str| parse_lasting(text).map(Some);
    FreshnessRule {
        upstreams: patterns(resolver, "proxy.freshness.upstreams", &written.upstreams),
        repositories: patterns(resolver, "proxy.freshness.repositories", &written.repositories),
        tags: patterns(resolver, "proxy.freshness.tags", &written.tags),
        fresh_for: resolver.parsed("proxy.freshness.fresh_for", &written.fresh_for, None, lasting),
        stale_for: resolver.parsed("proxy.freshness.stale_for", &written.stale_for, None, lasting),
        on_upstream_404: resolver.parsed("proxy.freshness.on_upstream_404", &written.on_upstream_404, None, |text| {
            parse_on_upstream_404(text).map(Some)
        }),
    }
}

/// The rules about what may pass; what could not be read is noted.
pub(crate) fn policy(resolver: &mut Resolver<'_>, written: &[Spanned<WrittenRule>]) -> Vec<PolicyRule> {
    let mut lines = HashMap::new();
    written.iter().filter_map(|written| policy_rule(resolver, written, &mut lines)).collect()
}

fn policy_rule(
    resolver: &mut Resolver<'_>,
    written: &Spanned<WrittenRule>,
    lines: &mut HashMap<String, usize>,
) -> Option<PolicyRule> {
    let start = written.span().start;
    let written = written.get_ref();
    let name = rule_name(resolver, written, start, lines);
    let action = rule_action(resolver, written, start);
    let upstreams = patterns(resolver, "proxy.rule.upstreams", &written.upstreams);
    let repositories = patterns(resolver, "proxy.rule.repositories", &written.repositories);
    let tags = patterns(resolver, "proxy.rule.tags", &written.tags);
    let media_types = patterns(resolver, "proxy.rule.media_types", &written.media_types);
    let larger_than =
        resolver.parsed("proxy.rule.larger_than", &written.larger_than, None, |text| parse_size(text).map(Some));
    let younger_than = resolver.parsed("proxy.rule.younger_than", &written.younger_than, None, |text| {
        duration_from(Duration::from_secs(1))(text).map(Some)
    });
    Some(PolicyRule {
        name: name?,
        action: action?,
        is_log_only: written.log_only,
        upstreams,
        repositories,
        tags,
        media_types,
        larger_than,
        younger_than,
    })
}

fn rule_action(resolver: &mut Resolver<'_>, written: &WrittenRule, start: usize) -> Option<PolicyAction> {
    let path = "proxy.rule.action";
    if written.action.is_none() {
        resolver.add(resolver.place(start), path, ProblemKind::Missing { allowed: allowed(path) });
        return None;
    }
    Some(resolver.parsed(path, &written.action, PolicyAction::Deny, |text| match text {
        "allow" => Some(PolicyAction::Allow),
        "deny" => Some(PolicyAction::Deny),
        _ => None,
    }))
}

/// The name, which no other rule may have: refusals and the log say which rule it was by nothing else.
fn rule_name(
    resolver: &mut Resolver<'_>,
    written: &WrittenRule,
    start: usize,
    lines: &mut HashMap<String, usize>,
) -> Option<String> {
    let path = "proxy.rule.name";
    let Some(written) = &written.name else {
        resolver.add(resolver.place(start), path, ProblemKind::Missing { allowed: allowed(path) });
        return None;
    };
    let name = written.get_ref();
    if !is_rule_name(name) {
        resolver.refuse(path, written);
        return None;
    }
    resolver.take_name(path, "rule", written, lines);
    Some(name.clone())
}

/// Whether a rule may be called so: something that fits into a line of the log.
pub(crate) fn is_rule_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= RULE_NAME_MAX && !name.chars().any(char::is_control)
}

/// The patterns; each one that is none is noted where it stands.
pub(crate) fn patterns(resolver: &mut Resolver<'_>, path: &'static str, written: &[Spanned<String>]) -> Patterns {
    let mut texts = Vec::with_capacity(written.len());
    for pattern in written {
        let text = pattern.get_ref();
        match Patterns::new([text]) {
            // An empty pattern matches nothing but an empty name, and there is none.
            Ok(_) if text.is_empty() => resolver.refuse(path, pattern),
            Ok(_) => texts.push(text.clone()),
            Err(error) => {
                resolver.add(resolver.place(pattern.span().start), path, ProblemKind::NotAPattern(error));
            }
        }
    }
    let is_whole = texts.len() == written.len();
    match Patterns::new(texts) {
        Ok(patterns) => patterns,
        Err(error) => {
            // Each is a pattern and all of them together are too much.
            if let Some(first) = written.first().filter(|_| is_whole) {
                resolver.add(resolver.place(first.span().start), path, ProblemKind::NotAPattern(error));
            }
            Patterns::default()
        }
    }
}
