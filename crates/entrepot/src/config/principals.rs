//! Principals as rules and groups name them: whom nobody could be is refused, because a typing error would shut somebody out or, in a
//! group, let nobody in.

use entrepot_access::{IssuerConfig, Principal, PrincipalPattern};
use entrepot_upstream::UpstreamConfig;
use toml::Spanned;

use super::access::is_of_pattern;
use super::check::repeat;
use super::error::ProblemKind;
use super::resolve::{Resolver, allowed};

/// What can be named in principals.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The groups; none can be named before all of them are known.
    pub(crate) groups: Vec<String>,
    pub(crate) has_groups: bool,
    providers: Vec<String>,
    upstreams: Vec<String>,
}

impl Known {
    /// Those that know somebody; no group yet.
    pub(crate) fn of(issuers: &[IssuerConfig], upstreams: &[UpstreamConfig]) -> Self {
        let callers = upstreams.iter().filter(|upstream| upstream.is_asked_as_caller);
        Self {
            providers: issuers.iter().map(|issuer| issuer.name.to_string()).collect(),
            upstreams: callers.map(|upstream| upstream.name.clone()).collect(),
            ..Self::default()
        }
    }
}

/// The principals of a list; each one that nobody can be is noted where it stands.
pub(crate) fn principals(
    resolver: &mut Resolver<'_>,
    path: &'static str,
    written: &[Spanned<String>],
    known: &Known,
) -> Vec<PrincipalPattern> {
    let mut principals = Vec::with_capacity(written.len());
    for text in written {
        match principal(path, text.get_ref(), known) {
            Ok(principal) => principals.push(principal),
            Err(kind) => resolver.add(resolver.place(text.span().start), path, kind),
        }
    }
    principals
}

fn principal(path: &'static str, text: &str, known: &Known) -> Result<PrincipalPattern, ProblemKind> {
    let found = || repeat(text);
    let wrong = || ProblemKind::WrongValue { found: found(), allowed: allowed(path) };
    let pattern: PrincipalPattern = text.parse().map_err(ProblemKind::NotAPattern)?;
    match &pattern {
        PrincipalPattern::Anyone | PrincipalPattern::Authenticated => return Ok(pattern),
        PrincipalPattern::Group(_) if !known.has_groups => return Err(wrong()),
        PrincipalPattern::Group(name) => {
            let is_known = known.groups.iter().any(|group| **group == **name);
            let unknown = || ProblemKind::UnknownGroup { found: found(), known: known.groups.clone() };
            return if is_known { Ok(pattern) } else { Err(unknown()) };
        }
        PrincipalPattern::Named(_) => {}
    }
    if !text.contains(is_of_pattern) {
        text.parse::<Principal>().map_err(|_| wrong())?;
    }
    let Some((kind, rest)) = text.split_once(':') else {
        let is_of_user = |letter: char| letter.is_ascii_alphanumeric() || "._-@+".contains(letter);
        let is_possible = text.chars().all(|letter| is_of_user(letter) || is_of_pattern(letter));
        return if is_possible && !text.is_empty() { Ok(pattern) } else { Err(wrong()) };
    };
    match kind {
        "robot" | "certificate" if !rest.is_empty() => Ok(pattern),
        "oidc" | "upstream" => {
            let (name, _) = rest.split_once(':').filter(|(_, inner)| !inner.is_empty()).ok_or_else(wrong)?;
            let (found, name) = (found(), name.to_owned());
            let known = if kind == "oidc" { &known.providers } else { &known.upstreams };
            if known.contains(&name) {
                return Ok(pattern);
            }
            let known = known.clone();
            Err(if kind == "oidc" {
                ProblemKind::UnknownProvider { found, name, known }
            } else {
                ProblemKind::UnknownCallerUpstream { found, name, known }
            })
        }
        _ => Err(wrong()),
    }
}
