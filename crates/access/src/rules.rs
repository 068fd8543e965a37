//! Rules: principals x repositories x actions. They only allow; what none of them allows is denied.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use entrepot_oci::{Patterns, RepositoryName};

use crate::action::{Action, Actions};
use crate::principal::Principal;

/// What something is done with.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The one name of the repository, then its other spellings; none for what is about no repository.
    names: Vec<RepositoryName>,
    /// It is cached with an account of the server, so that what everybody may is not to be had here: a rule has to say so.
    is_private: bool,
    /// The upstream with `credentials = "caller"` that it comes from, which decides about its own users by itself.
    judge: Option<Arc<str>>,
}

impl Target {
    /// The registry as a whole.
    pub const fn registry() -> Self {
        Self { names: Vec::new(), is_private: false, judge: None }
    }

    /// A repository.
    pub fn repository(name: RepositoryName) -> Self {
        Self { names: vec![name], is_private: false, judge: None }
    }

    /// The same with further spellings of its name: rules are written with any of them.
    #[must_use]
    pub fn also_named(mut self, names: impl IntoIterator<Item = RepositoryName>) -> Self {
        self.names.extend(names);
        self
    }

    /// The same as something that is cached with an account of the server.
    #[must_use]
    pub const fn private(mut self) -> Self {
        self.is_private = true;
        self
    }

    /// The same as something of an upstream that decides about its own users by itself.
    #[must_use]
    pub fn judged_by(mut self, upstream: Arc<str>) -> Self {
        self.judge = Some(upstream);
        self
    }

    /// The one name of the repository, if it is about one.
    pub fn canonical(&self) -> Option<&RepositoryName> {
        self.names.first()
    }

    /// All spellings of the name.
    pub fn names(&self) -> &[RepositoryName] {
        &self.names
    }
}

/// What callers may without having said who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Nothing but what rules say.
    #[default]
    None,
    /// Pull and list everything but what is cached with an account of the server.
    Pull,
    /// Everything.
    Full,
}

impl Anonymous {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pull => "pull",
            Self::Full => "full",
        }
    }

    /// The value of this word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Pull, Self::Full].into_iter().find(|anonymous| anonymous.as_str() == text)
    }

    const fn actions(self) -> Actions {
        match self {
            Self::None => Actions::NONE,
            Self::Pull => Actions::of(&[Action::Pull, Action::Catalog]),
            Self::Full => Actions::ALL,
        }
    }
}

/// Whom a rule is for.
#[derive(Clone, Debug)]
pub enum PrincipalPattern {
    /// `anyone`: everybody, also without credentials.
    Anyone,
    /// `authenticated`: everybody who has said who he is.
    Authenticated,
    /// `group:NAME`: the members of a group.
    Group(Arc<str>),
    /// Names of principals, with `*` and `**`: `alice`, `robot:*`, `oidc:github:org/**`.
    Named(Patterns),
}

impl FromStr for PrincipalPattern {
    type Err = entrepot_oci::PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "anyone" => Self::Anyone,
            "authenticated" => Self::Authenticated,
            text => match text.strip_prefix("group:") {
                Some(group) => Self::Group(group.into()),
                None => Self::Named(match text.strip_suffix(":**") {
                    // `**` stands for whole components; here the first one begins behind the colon.
                    Some(kind) => Patterns::new([format!("{kind}:*"), format!("{kind}:*/**")])?,
                    None => Patterns::new([text])?,
                }),
            },
        })
    }
}

/// A named list of principals.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name, without `group:`.
    pub name: Arc<str>,
    /// Its members; a group among them is none of its members.
    pub members: Vec<PrincipalPattern>,
}

/// A rule: it allows these principals these actions on these repositories.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it is called in the log.
    pub name: Arc<str>,
    /// Whom.
    pub principals: Vec<PrincipalPattern>,
    /// Where; without patterns everywhere.
    pub repositories: Patterns,
    /// What.
    pub actions: Actions,
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    anonymous: Anonymous,
    groups: Vec<Group>,
    in_order: Vec<Rule>,
    by_anonymous: Option<Arc<str>>,
}

impl Rules {
    /// These, in the order in which they are asked.
    pub fn new(anonymous: Anonymous, groups: Vec<Group>, rules: Vec<Rule>) -> Self {
        let by_anonymous = Some(format!("anonymous = {:?}", anonymous.as_str()).into());
        Self { anonymous, groups, in_order: rules, by_anonymous }
    }

    /// Whether everybody may everything, so that nobody needs to say who he is.
    pub fn are_open(&self) -> bool {
        self.anonymous == Anonymous::Full
    }

    /// The name of the first rule that allows it.
    pub fn allow(&self, principal: &Principal, action: Action, target: &Target) -> Option<Arc<str>> {
        if *principal == Principal::Operator {
            return Some("operator".into());
        }
        let is_closed = target.is_private && self.anonymous != Anonymous::Full;
        if self.anonymous.actions().contains(action) && !is_closed {
            return self.by_anonymous.clone();
        }
        if action == Action::Pull
            && let (Principal::Upstream { upstream, .. }, Some(judge)) = (principal, &target.judge)
            && upstream == judge
        {
            return Some(format!("credentials of {judge}").into());
        }
        let name = principal.to_string();
        let rule = self.in_order.iter().find(|rule| {
            rule.actions.contains(action) && rule.is_about(action, target) && self.is_for(rule, principal, &name)
        });
        rule.map(|rule| Arc::clone(&rule.name))
    }

    fn is_for(&self, rule: &Rule, principal: &Principal, name: &str) -> bool {
        rule.principals.iter().any(|pattern| match pattern {
            PrincipalPattern::Group(group) => self.is_member(group, principal, name),
            pattern => pattern.matches(principal, name),
        })
    }

    fn is_member(&self, group: &str, principal: &Principal, name: &str) -> bool {
        let group = self.groups.iter().find(|known| *known.name == *group);
        group.is_some_and(|group| group.members.iter().any(|member| member.matches(principal, name)))
    }
}

impl Rule {
    fn is_about(&self, action: Action, target: &Target) -> bool {
        match target.names() {
            // The list of repositories holds what may be pulled. What the operator does to the cache as a whole is done to
            // all repositories.
            [] => {
                action == Action::Catalog
                    || self.repositories.is_empty()
                    || self.repositories.texts().iter().any(|text| text == "**")
            }
            names => names.iter().any(|name| self.repositories.matches(name.as_str())),
        }
    }
}

impl PrincipalPattern {
    fn matches(&self, principal: &Principal, name: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::Authenticated => !principal.is_anonymous(),
            Self::Group(_) => false,
            Self::Named(patterns) => is_of_kind(patterns, principal, name) && patterns.matches(name),
        }
    }
}

/// Whether the patterns are about principals of this kind: `c*` means users, and no `certificate:…`; and whoever has not said who he
/// is has no name that a pattern could match.
fn is_of_kind(patterns: &Patterns, principal: &Principal, name: &str) -> bool {
    let is_it = |text: &String| {
        if principal.is_anonymous() { text == name } else { kind_of(text) == kind_of(name) }
    };
    patterns.texts().iter().any(is_it)
}

/// What stands before the colon; `None` for users.
fn kind_of(text: &str) -> Option<&str> {
    text.split_once(':').map(|(kind, _)| kind)
}

impl fmt::Display for PrincipalPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => formatter.write_str("anyone"),
            Self::Authenticated => formatter.write_str("authenticated"),
            Self::Group(group) => write!(formatter, "group:{group}"),
            Self::Named(patterns) => formatter.write_str(&patterns.texts().join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, principals: &[&str], repositories: &[&str], actions: &str) -> Rule {
        Rule {
            name: name.into(),
            principals: principals.iter().map(|text| text.parse().unwrap()).collect(),
            repositories: Patterns::new(repositories.iter().copied()).unwrap(),
            actions: actions.split(',').map(|word| Actions::parse(word).unwrap()).fold(Actions::NONE, Actions::union),
        }
    }

    fn target(name: &str) -> Target {
        Target::repository(name.parse().unwrap())
    }

    fn allowed(rules: &Rules, principal: &str, action: Action, target: &Target) -> Option<String> {
        rules.allow(&principal.parse().unwrap(), action, target).map(|rule| rule.to_string())
    }

    #[test]
    fn the_first_rule_that_allows_is_named_and_everything_else_is_denied() {
        let team = Group {
            name: "team".into(),
            members: vec!["alice".parse().unwrap(), "oidc:github:org/*".parse().unwrap()],
        };
        let rules = Rules::new(
            Anonymous::None,
            vec![team],
            vec![
                rule("public", &["anyone"], &["public/**"], "pull"),
                rule("team", &["group:team"], &["team/**"], "pull,push"),
                rule("robots", &["robot:*"], &["team/*"], "create"),
                rule("boss", &["bob"], &[], "*"),
            ],
        );
        let rows = [
            ("anonymous", Action::Pull, "public/a", Some("public")),
            ("anonymous", Action::Pull, "team/a", None),
            ("anonymous", Action::Create, "public/a", None),
            ("alice", Action::Overwrite, "team/a/b", Some("team")),
            ("alice", Action::Delete, "team/a", None),
            ("carol", Action::Pull, "team/a", None),
            ("oidc:github:org/app", Action::Create, "team/a", Some("team")),
            ("oidc:gitlab:org/app", Action::Create, "team/a", None),
            ("robot:ci", Action::Create, "team/a", Some("robots")),
            ("robot:ci", Action::Create, "team/a/b", None),
            ("robot:ci", Action::Overwrite, "team/a", None),
            ("bob", Action::Admin, "proxy/ghcr.io/a", Some("boss")),
        ];
        for (principal, action, name, rule) in rows {
            let found = allowed(&rules, principal, action, &target(name));
            assert_eq!(found.as_deref(), rule, "{principal} {action} {name}");
        }
        assert_eq!(rules.allow(&Principal::Operator, Action::Admin, &target("a")).as_deref(), Some("operator"));
        assert_eq!(allowed(&rules, "bob", Action::Admin, &Target::registry()).as_deref(), Some("boss"));
        assert_eq!(allowed(&rules, "alice", Action::Admin, &Target::registry()), None);
    }

    #[test]
    fn a_pattern_never_reaches_another_kind_of_principal_and_never_the_anonymous() {
        let is_for = |pattern: &str, principal: &str| {
            let rules = Rules::new(Anonymous::None, vec![], vec![rule("rule", &[pattern], &[], "pull")]);
            allowed(&rules, principal, Action::Pull, &target("a")).is_some()
        };
        for (pattern, principal) in [
            ("*", "alice"),
            ("c*", "carol"),
            ("robot:*", "robot:ci"),
            ("oidc:github:*", "oidc:github:app"),
            ("oidc:github:**", "oidc:github:app"),
            ("oidc:github:**", "oidc:github:org/team/app"),
            ("anonymous", "anonymous"),
        ] {
            assert!(is_for(pattern, principal), "{pattern} {principal}");
        }
        for (pattern, principal) in [
            ("*", "anonymous"),
            ("**", "anonymous"),
            ("a*", "anonymous"),
            ("**", "robot:ci"),
            ("r*", "robot:ci"),
            ("c*", "certificate:node-1"),
            ("*@example.org", "oidc:github:eve@example.org"),
            ("robot:*", "alice"),
            ("oidc:github:*", "oidc:github:org/app"),
            ("oidc:github:**", "oidc:gitlab:app"),
        ] {
            assert!(!is_for(pattern, principal), "{pattern} {principal}");
        }
    }

    #[test]
    fn what_the_server_has_an_account_for_is_closed_unless_a_rule_opens_it() {
        let rules =
            |anonymous| Rules::new(anonymous, vec![], vec![rule("open", &["alice"], &["proxy/ghcr.io/**"], "pull")]);
        let private = target("proxy/ghcr.io/a").private();
        assert_eq!(allowed(&rules(Anonymous::Pull), "anonymous", Action::Pull, &private), None);
        assert_eq!(allowed(&rules(Anonymous::Pull), "carol", Action::Pull, &private), None);
        assert_eq!(allowed(&rules(Anonymous::Pull), "alice", Action::Pull, &private).as_deref(), Some("open"));
        assert!(allowed(&rules(Anonymous::Full), "anonymous", Action::Pull, &private).is_some());
        let open = target("proxy/quay.io/a");
        assert!(allowed(&rules(Anonymous::Pull), "anonymous", Action::Pull, &open).is_some());
    }

    #[test]
    fn any_spelling_of_a_name_is_the_repository() {
        let rules =
            Rules::new(Anonymous::None, vec![], vec![rule("hub", &["anyone"], &["proxy/docker.io/library/*"], "pull")]);
        let hub = target("proxy/registry-1.docker.io/library/redis");
        assert_eq!(allowed(&rules, "anonymous", Action::Pull, &hub), None);
        let hub = hub.also_named(["proxy/docker.io/library/redis".parse().unwrap()]);
        assert!(allowed(&rules, "anonymous", Action::Pull, &hub).is_some());
    }

    #[test]
    fn an_upstream_decides_about_its_own_users_and_nobody_elses() {
        let rules = Rules::new(Anonymous::None, vec![], vec![]);
        let judged = target("proxy/ghcr.io/a").judged_by("ghcr.io".into());
        assert!(allowed(&rules, "upstream:ghcr.io:octocat", Action::Pull, &judged).is_some());
        assert!(allowed(&rules, "upstream:quay.io:octocat", Action::Pull, &judged).is_none());
        assert!(allowed(&rules, "octocat", Action::Pull, &judged).is_none());
        assert!(allowed(&rules, "upstream:ghcr.io:octocat", Action::Admin, &judged).is_none());
        assert!(allowed(&rules, "upstream:ghcr.io:octocat", Action::Pull, &target("team/a")).is_none());
    }
}
