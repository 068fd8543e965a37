//! What the configuration says about access, as a text, and below each thing what it means.

use std::collections::BTreeMap;
use std::fmt;

use entrepot_access::{Action, Actions, Anonymous, ClaimRule, Group, IssuerConfig, PrincipalPattern, Rule};
use entrepot_oci::Patterns;
use entrepot_registry::ImmutableRule;
use entrepot_upstream::UpstreamConfig;

use super::pem::show_certificates;
use super::show::quoted;
use super::value::show_duration;
use super::{AccessConfiguration, Configuration};

/// `[access]` and all tables in it.
pub(crate) fn write_access(text: &mut fmt::Formatter<'_>, configuration: &Configuration) -> fmt::Result {
    let Some(access) = &configuration.access else {
        return writeln!(text, "\n# no [access]: everybody may do everything, and only this machine can connect");
    };
    let AccessConfiguration { anonymous, groups, rules, immutable, issuers, users_file, token_lifetime } = access;
    writeln!(text, "\n[access]\nanonymous = \"{}\"", anonymous.as_str())?;
    writeln!(text, "# {}", anonymous_in_words(*anonymous, &configuration.proxy.upstreams))?;
    writeln!(text, "users_file = {}", quoted(users_file))?;
    writeln!(text, "token_lifetime = \"{}\"", show_duration(*token_lifetime))?;
    groups.iter().try_for_each(|group| write_group(text, group))?;
    rules.iter().try_for_each(|rule| write_rule(text, rule, groups))?;
    immutable.rules.iter().try_for_each(|rule| write_immutable(text, rule))?;
    issuers.iter().try_for_each(|issuer| write_issuer(text, issuer))
}

fn anonymous_in_words(anonymous: Anonymous, upstreams: &[UpstreamConfig]) -> String {
    let closed: Vec<_> = upstreams.iter().filter(|upstream| is_closed(upstream)).map(|one| one.name.clone()).collect();
    match anonymous {
        Anonymous::None => "nobody may do what no rule allows".to_owned(),
        Anonymous::Full => "everybody may do everything, and nobody is asked who he is".to_owned(),
        Anonymous::Pull if closed.is_empty() => "everybody may pull and list everything".to_owned(),
        Anonymous::Pull => {
            format!("everybody may pull and list everything, except what is fetched from {}", listed(&closed, "or"))
        }
    }
}

/// Whether what is fetched from there is somebody's, so that it needs a rule.
fn is_closed(upstream: &UpstreamConfig) -> bool {
    upstream.is_asked_as_caller || has_account(upstream)
}

/// Whether the server has an account there.
pub(crate) fn has_account(upstream: &UpstreamConfig) -> bool {
    upstream.password.is_some() || upstream.credential_helper.is_some() || upstream.client_certificate.is_some()
}

fn write_group(text: &mut fmt::Formatter<'_>, group: &Group) -> fmt::Result {
    writeln!(text, "\n[[access.group]]\nname = {:?}\nmembers = {:?}", group.name, principal_texts(&group.members))
}

fn principal_texts(principals: &[PrincipalPattern]) -> Vec<String> {
    let texts = principals.iter().flat_map(|principal| match principal {
        PrincipalPattern::Named(patterns) => patterns.texts().to_vec(),
        other => vec![other.to_string()],
    });
    texts.collect()
}

fn write_rule(text: &mut fmt::Formatter<'_>, rule: &Rule, groups: &[Group]) -> fmt::Result {
    writeln!(text, "\n[[access.rule]]\nname = {:?}", rule.name)?;
    writeln!(text, "principals = {:?}", principal_texts(&rule.principals))?;
    write_patterns(text, "repositories", &rule.repositories)?;
    writeln!(text, "actions = {:?}", action_words(rule.actions))?;
    writeln!(text, "# {}", rule_in_words(rule, groups))
}

fn write_patterns(text: &mut fmt::Formatter<'_>, name: &str, patterns: &Patterns) -> fmt::Result {
    if patterns.is_empty() { Ok(()) } else { writeln!(text, "{name} = {:?}", patterns.texts()) }
}

/// The words of the actions, as few as will do.
fn action_words(actions: Actions) -> Vec<&'static str> {
    if actions == Actions::ALL {
        return vec!["*"];
    }
    let is_push = actions.contains(Action::Create) && actions.contains(Action::Overwrite);
    let words = actions.iter().filter_map(|action| match action {
        Action::Create if is_push => Some("push"),
        Action::Overwrite if is_push => None,
        action => Some(action.as_str()),
    });
    words.collect()
}

fn rule_in_words(rule: &Rule, groups: &[Group]) -> String {
    let whom: Vec<_> = rule.principals.iter().map(|principal| principal_in_words(principal, groups)).collect();
    let what = action_words(rule.actions).into_iter().map(|word| match word {
        "*" => "do everything",
        "create" => "push what is not there yet",
        "overwrite" => "move tags",
        "catalog" => "list repositories",
        "admin" => "administer the cache",
        word => word,
    });
    let what: Vec<_> = what.map(str::to_owned).collect();
    let place = if rule.repositories.is_empty() {
        "any repository".to_owned()
    } else {
        listed(rule.repositories.texts(), "or")
    };
    format!("{} may {} in {place}", listed(&whom, "and"), listed(&what, "and"))
}

fn principal_in_words(principal: &PrincipalPattern, groups: &[Group]) -> String {
    match principal {
        PrincipalPattern::Anyone => "everybody".to_owned(),
        PrincipalPattern::Authenticated => "everybody who has said who he is".to_owned(),
        PrincipalPattern::Named(patterns) => patterns.texts().join(", "),
        PrincipalPattern::Group(name) => {
            let members = groups.iter().find(|group| group.name == *name).map(|group| &group.members[..]);
            let members: Vec<_> =
                members.unwrap_or_default().iter().map(|member| principal_in_words(member, &[])).collect();
            if members.is_empty() { format!("{name} (nobody)") } else { format!("{name} ({})", members.join(", ")) }
        }
    }
}

/// `a, b and c`
fn listed(words: &[String], last: &str) -> String {
    match words {
        [] => "nobody".to_owned(),
        [word] => word.clone(),
        [words @ .., word] => format!("{} {last} {word}", words.join(", ")),
    }
}

fn write_immutable(text: &mut fmt::Formatter<'_>, rule: &ImmutableRule) -> fmt::Result {
    writeln!(text, "\n[[access.immutable]]")?;
    write_patterns(text, "repositories", &rule.repositories)?;
    write_patterns(text, "tags", &rule.tags)?;
    let or = |patterns: &Patterns, all: &str| {
        if patterns.is_empty() { all.to_owned() } else { listed(patterns.texts(), "or") }
    };
    let (tags, repositories) = (or(&rule.tags, "any tag"), or(&rule.repositories, "any own repository"));
    writeln!(text, "# {tags} in {repositories} can be made once, and then it is neither moved nor deleted")
}

fn write_issuer(text: &mut fmt::Formatter<'_>, issuer: &IssuerConfig) -> fmt::Result {
    let IssuerConfig { name, issuer, audience, ca, trusted_hosts, identities } = issuer;
    // Without a path the slash at the end is no part of it; with one it is.
    let url = if issuer.path() == "/" { issuer.as_str().trim_end_matches('/') } else { issuer.as_str() };
    writeln!(text, "\n[[access.oidc]]\nname = {name:?}\nissuer = {url:?}")?;
    writeln!(text, "audience = {audience:?}")?;
    if let Some(ca) = ca {
        writeln!(text, "# ca: {}", show_certificates(ca))?;
    }
    if !trusted_hosts.is_empty() {
        writeln!(text, "trusted_hosts = {trusted_hosts:?}")?;
    }
    if identities.is_empty() {
        return writeln!(text, "# whoever has such a token is oidc:{name}: and its `sub`");
    }
    identities.iter().try_for_each(|identity| write_identity(text, name, identity))
}

fn write_identity(text: &mut fmt::Formatter<'_>, oidc: &str, identity: &ClaimRule) -> fmt::Result {
    let ClaimRule { claims, principal } = identity;
    writeln!(text, "\n[[access.identity]]\noidc = {oidc:?}\nclaims = {{ {} }}", show_claims(claims))?;
    writeln!(text, "principal = {principal:?}\n# whoever has such a token is oidc:{oidc}:{principal}")
}

fn show_claims(claims: &BTreeMap<String, String>) -> String {
    let is_bare = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let claims: Vec<_> = claims
        .iter()
        .map(
            |(name, pattern)| {
                if is_bare(name) { format!("{name} = {pattern:?}") } else { format!("{name:?} = {pattern:?}") }
            },
        )
        .collect();
    claims.join(", ")
}
