//! `[access]`: who may do what.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use entrepot_access::{Actions, Anonymous, Group, IssuerConfig, PrincipalPattern, Rule, Rules, UserName};
use entrepot_oci::Patterns;
use entrepot_registry::{ImmutableRule, ImmutableTags};
use entrepot_upstream::UpstreamConfig;
use toml::Spanned;

use super::error::ProblemKind;
use super::issuers;
use super::principals::{Known, principals};
use super::resolve::{Resolver, allowed};
use super::rules::{is_rule_name, patterns};
use super::value::parse_duration;
use super::written::{Texts, WrittenAccess, WrittenAccessRule, WrittenGroup, WrittenImmutable};

/// Beside the configuration, where nothing else is written.
pub(crate) const USERS_FILE: &str = "users.htpasswd";

/// How long tokens are good for, where nothing else is written.
const TOKEN_LIFETIME_DEFAULT: Duration = Duration::from_mins(5);

/// Clients take less than a minute for a minute; after more than an hour a client would rather log in again.
const TOKEN_LIFETIMES: std::ops::RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(1);

/// Who may do what.
#[derive(Clone, Debug)]
pub struct AccessConfiguration {
    /// What everybody may.
    pub anonymous: Anonymous,
    /// The groups, in the order of the file.
    pub groups: Vec<Group>,
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// The tags that never move.
    pub immutable: ImmutableTags,
    /// The identity providers, in the order of the file.
    pub issuers: Vec<IssuerConfig>,
    /// The users with passwords, absolute. The file need not be there.
    pub users_file: PathBuf,
    /// How long tokens are good for.
    pub token_lifetime: Duration,
}

impl AccessConfiguration {
    /// The rules as they are asked.
    pub fn rules(&self) -> Rules {
        Rules::new(self.anonymous, self.groups.clone(), self.rules.clone())
    }
}

/// Everything about access; what could not be read is noted.
pub(crate) fn access(
    resolver: &mut Resolver<'_>,
    written: &WrittenAccess,
    upstreams: &[UpstreamConfig],
) -> AccessConfiguration {
    let issuers = issuers::issuers(resolver, &written.oidc, &written.identity);
    let mut known = Known::of(&issuers, upstreams);
    let groups = groups(resolver, &written.group, &mut known);
    let immutable = written.immutable.iter().map(|written| immutable(resolver, written.get_ref())).collect();
    AccessConfiguration {
        anonymous: resolver.parsed("access.anonymous", &written.anonymous, Anonymous::None, Anonymous::parse),
        groups,
        rules: rules(resolver, &written.rule, &known),
        immutable: ImmutableTags { rules: immutable },
        issuers,
        users_file: users_file(resolver, written),
        token_lifetime: resolver.parsed(
            "access.token_lifetime",
            &written.token_lifetime,
            TOKEN_LIFETIME_DEFAULT,
            |text| parse_duration(text).filter(|lifetime| TOKEN_LIFETIMES.contains(lifetime)),
        ),
    }
}

fn users_file(resolver: &mut Resolver<'_>, written: &WrittenAccess) -> PathBuf {
    let parse = |text: &str| (!text.trim().is_empty()).then(|| text.to_owned());
    let file = resolver.parsed("access.users_file", &written.users_file, USERS_FILE.to_owned(), parse);
    resolver.folder.join(file).components().collect()
}

/// A name that stands behind a colon in principals: like that of a user, so that nothing reserved is among them.
pub(crate) fn plain_name(
    resolver: &mut Resolver<'_>,
    path: &'static str,
    what: &'static str,
    written: Option<&Spanned<String>>,
    start: usize,
    lines: &mut HashMap<String, usize>,
) -> Option<Arc<str>> {
    let Some(written) = written else {
        resolver.missing(path, start);
        return None;
    };
    if written.get_ref().parse::<UserName>().is_err() {
        resolver.refuse(path, written);
        return None;
    }
    resolver.take_name(path, what, written, lines);
    Some(written.get_ref().as_str().into())
}

fn groups(resolver: &mut Resolver<'_>, written: &[Spanned<WrittenGroup>], known: &mut Known) -> Vec<Group> {
    let mut lines = HashMap::new();
    let mut groups = Vec::with_capacity(written.len());
    for written in written {
        let (start, written) = (written.span().start, written.get_ref());
        let name = plain_name(resolver, "access.group.name", "group", written.name.as_ref(), start, &mut lines);
        // No group is known yet: none can be in another one.
        let members = principals(resolver, "access.group.members", &written.members, known);
        groups.extend(name.map(|name| Group { name, members }));
    }
    known.groups = groups.iter().map(|group| group.name.to_string()).collect();
    known.has_groups = true;
    groups
}

fn rules(resolver: &mut Resolver<'_>, written: &[Spanned<WrittenAccessRule>], known: &Known) -> Vec<Rule> {
    let mut lines = HashMap::new();
    let rules = written.iter().enumerate().map(|(index, written)| {
        let (start, written) = (written.span().start, written.get_ref());
        Rule {
            name: rule_name(resolver, written, (index + 1, start), &mut lines),
            principals: rule_principals(resolver, &written.principals, start, known),
            repositories: repositories(resolver, &written.repositories),
            actions: actions(resolver, &written.actions, start),
        }
    });
    rules.collect()
}

/// The name, by which the log tells rules apart; where none is written the rule is found by its number and line.
fn rule_name(
    resolver: &mut Resolver<'_>,
    written: &WrittenAccessRule,
    (number, start): (usize, usize),
    lines: &mut HashMap<String, usize>,
) -> Arc<str> {
    let path = "access.rule.name";
    let Some(name) = &written.name else {
        return format!("rule {number} (line {})", resolver.place(start).line).into();
    };
    if is_rule_name(name.get_ref()) {
        resolver.take_name(path, "rule", name, lines);
    } else {
        resolver.refuse(path, name);
    }
    name.get_ref().as_str().into()
}

fn rule_principals(resolver: &mut Resolver<'_>, written: &Texts, start: usize, known: &Known) -> Vec<PrincipalPattern> {
    let path = "access.rule.principals";
    let texts = some_texts(resolver, path, written, Some(start));
    principals(resolver, path, texts, known)
}

fn actions(resolver: &mut Resolver<'_>, written: &Texts, start: usize) -> Actions {
    let path = "access.rule.actions";
    let mut actions = Actions::NONE;
    for word in some_texts(resolver, path, written, Some(start)) {
        match Actions::parse(word.get_ref()) {
            Some(these) => actions = actions.union(these),
            None => resolver.refuse(path, word),
        }
    }
    actions
}

/// Where a rule is for. An empty list would open everything, and whoever writes one does not mean that.
fn repositories(resolver: &mut Resolver<'_>, written: &Texts) -> Patterns {
    let path = "access.rule.repositories";
    let texts = some_texts(resolver, path, written, None);
    name_patterns(resolver, path, texts, is_of_repository_name)
}

/// The texts of a list that must not be empty; where it must be there as well, `required` is the place of its table.
fn some_texts<'w>(
    resolver: &mut Resolver<'_>,
    path: &'static str,
    written: &'w Texts,
    required: Option<usize>,
) -> &'w [Spanned<String>] {
    match (written, required) {
        (Some(list), _) if list.get_ref().is_empty() => {
            let kind = ProblemKind::WrongValue { found: "an empty list".to_owned(), allowed: allowed(path) };
            resolver.add(resolver.place(list.span().start), path, kind);
        }
        (None, Some(start)) => resolver.missing(path, start),
        _ => {}
    }
    written.as_ref().map_or(&[], |list| list.get_ref())
}

fn immutable(resolver: &mut Resolver<'_>, written: &WrittenImmutable) -> ImmutableRule {
    ImmutableRule {
        repositories: name_patterns(
            resolver,
            "access.immutable.repositories",
            &written.repositories,
            is_of_repository_name,
        ),
        tags: name_patterns(resolver, "access.immutable.tags", &written.tags, is_of_tag),
    }
}

/// Patterns that some name can match: one with a letter that no name has would silently be for nothing.
fn name_patterns(
    resolver: &mut Resolver<'_>,
    path: &'static str,
    written: &[Spanned<String>],
    is_of_name: fn(char) -> bool,
) -> Patterns {
    let patterns = patterns(resolver, path, written);
    for text in written {
        let is_possible = text.get_ref().chars().all(|letter| is_of_name(letter) || is_of_pattern(letter));
        let has_ends = text.get_ref().starts_with('/') || text.get_ref().ends_with('/');
        if !is_possible || has_ends {
            resolver.refuse(path, text);
        }
    }
    patterns
}

/// Characters that mean something in patterns.
pub(crate) fn is_of_pattern(letter: char) -> bool {
    matches!(letter, '*' | '?' | '[' | ']' | '{' | '}' | ',' | '!' | '^' | '\\')
}

fn is_of_repository_name(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '.' | '_' | '-' | '/')
}

fn is_of_tag(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-')
}
