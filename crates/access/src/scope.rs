//! Scopes: what a token is asked for, and what it is limited to.
//!
//! The form is that of the distribution project's [token scope](https://distribution.github.io/distribution/spec/auth/scope/):
//! `repository:team/app:pull,push`, several of them separated by spaces.

use std::fmt;
use std::str::FromStr;

use entrepot_oci::RepositoryName;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Actions};

/// What a scope is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// A repository.
    Repository(RepositoryName),
    /// `registry:catalog`, the list of repositories.
    Catalog,
}

/// One resource with the actions on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The resource.
    pub resource: ResourceKind,
    /// Those of `pull`, `push`, `delete` and `*` that stand in it, as actions.
    pub actions: Actions,
}

/// The actions of `*` in a scope. Administration is no business of tokens of this kind.
pub(crate) const EVERY_SCOPED_ACTION: Actions =
    Actions::of(&[Action::Pull, Action::Create, Action::Overwrite, Action::Delete]);

impl Scope {
    /// A scope of a repository.
    pub const fn repository(name: RepositoryName, actions: Actions) -> Self {
        Self { resource: ResourceKind::Repository(name), actions }
    }

    /// The words of the actions, in the order in which clients expect them.
    pub fn words(&self) -> Vec<&'static str> {
        let mut words = Vec::new();
        if self.actions.contains(Action::Pull) {
            words.push("pull");
        }
        if self.actions.contains(Action::Create) || self.actions.contains(Action::Overwrite) {
            words.push("push");
        }
        if self.actions.contains(Action::Delete) {
            words.push("delete");
        }
        if self.actions.contains(Action::Catalog) {
            words.push("*");
        }
        words
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            ResourceKind::Repository(name) => write!(formatter, "repository:{name}:")?,
            ResourceKind::Catalog => formatter.write_str("registry:catalog:")?,
        }
        formatter.write_str(&self.words().join(","))
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    /// Splits at the first and the last colon: a name of a resource may have one. A class, as in `repository(plugin)`, means nothing.
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let (kind, rest) = text.split_once(':').ok_or(ScopeError)?;
        let (name, words) = rest.rsplit_once(':').ok_or(ScopeError)?;
        let kind = kind.split_once('(').map_or(kind, |(kind, _)| kind);
        let words = words.split(',').filter(|word| !word.is_empty());
        match (kind, name) {
            ("repository", name) => {
                let name = name.parse().map_err(|_| ScopeError)?;
                let actions = words.filter_map(repository_actions).fold(Actions::NONE, Actions::union);
                Ok(Self::repository(name, actions))
            }
            ("registry", "catalog") => {
                let is_asked = words.into_iter().any(|word| word == "*");
                let actions = if is_asked { Actions::of(&[Action::Catalog]) } else { Actions::NONE };
                Ok(Self { resource: ResourceKind::Catalog, actions })
            }
            _ => Err(ScopeError),
        }
    }
}

fn repository_actions(word: &str) -> Option<Actions> {
    match word {
        "pull" | "push" | "delete" => Actions::parse(word),
        "*" => Some(EVERY_SCOPED_ACTION),
        _ => None,
    }
}

/// The text is no scope that this registry knows; the token specification has such ones ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a scope, as in repository:team/app:pull,push")]
pub struct ScopeError;

/// Several scopes, each resource once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<WrittenScope>", into = "Vec<WrittenScope>")]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Adds a scope; actions on a resource that is here already are put together.
    pub fn add(&mut self, scope: Scope) {
        match self.0.iter_mut().find(|other| other.resource == scope.resource) {
            Some(other) => other.actions = other.actions.union(scope.actions),
            None => self.0.push(scope),
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many resources they name.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them covers the action on the repository; for the catalog there is no name.
    pub fn cover(&self, action: Action, name: Option<&RepositoryName>) -> bool {
        self.0.iter().any(|scope| {
            let is_it = match (&scope.resource, name) {
                (ResourceKind::Repository(scoped), Some(name)) => scoped == name,
                (ResourceKind::Catalog, None) => true,
                _ => false,
            };
            is_it && scope.actions.contains(action)
        })
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut all = Self::default();
        scopes.into_iter().for_each(|scope| all.add(scope));
        all
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" ")?;
            }
            scope.fmt(formatter)?;
        }
        Ok(())
    }
}

/// A scope as the `access` claim of a token has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct WrittenScope {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl From<Scopes> for Vec<WrittenScope> {
    fn from(scopes: Scopes) -> Self {
        let written = scopes.0.iter().map(|scope| {
            let (kind, name) = match &scope.resource {
                ResourceKind::Repository(name) => ("repository", name.to_string()),
                ResourceKind::Catalog => ("registry", "catalog".to_owned()),
            };
            let actions = scope.words().into_iter().map(str::to_owned).collect();
            WrittenScope { kind: kind.to_owned(), name, actions }
        });
        written.collect()
    }
}

impl TryFrom<Vec<WrittenScope>> for Scopes {
    type Error = ScopeError;

    fn try_from(written: Vec<WrittenScope>) -> Result<Self, ScopeError> {
        let parse = |scope: WrittenScope| format!("{}:{}:{}", scope.kind, scope.name, scope.actions.join(",")).parse();
        written.into_iter().map(parse).collect::<Result<Self, _>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_as_clients_write_them() {
        let rows = [
            ("repository:team/app:pull", "repository:team/app:pull"),
            ("repository:team/app:push,pull", "repository:team/app:pull,push"),
            ("repository(plugin):team/app:pull", "repository:team/app:pull"),
            ("repository:team/app:*", "repository:team/app:pull,push,delete"),
            ("repository:team/app:", "repository:team/app:"),
            ("repository:team/app:fly,pull", "repository:team/app:pull"),
            ("registry:catalog:*", "registry:catalog:*"),
        ];
        for (text, written) in rows {
            assert_eq!(text.parse::<Scope>().expect(text).to_string(), written);
        }
        for text in [
            "",
            "repository",
            "repository:a",
            "repository:A:pull",
            "artifact:a:pull",
            "registry:users:*",
            "repository:host:5000/a:pull",
        ] {
            assert_eq!(text.parse::<Scope>(), Err(ScopeError), "{text}");
        }
    }

    #[test]
    fn scopes_of_one_resource_are_one_and_survive_a_token() {
        let texts = ["repository:a:pull", "registry:catalog:*", "repository:a:push", "repository:b:pull"];
        let scopes: Scopes = texts.iter().map(|text| text.parse::<Scope>().unwrap()).collect();
        assert_eq!(scopes.to_string(), "repository:a:pull,push registry:catalog:* repository:b:pull");
        let json = serde_json::to_string(&scopes).unwrap();
        assert!(json.contains(r#"{"type":"repository","name":"a","actions":["pull","push"]}"#), "{json}");
        assert_eq!(serde_json::from_str::<Scopes>(&json).unwrap(), scopes);
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert!(scopes.cover(Action::Overwrite, Some(&a)) && !scopes.cover(Action::Overwrite, Some(&b)));
        assert!(scopes.cover(Action::Catalog, None) && !scopes.cover(Action::Delete, Some(&a)));
        assert!(!scopes.cover(Action::Admin, Some(&a)));
    }
}
