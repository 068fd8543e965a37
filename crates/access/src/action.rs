//! What can be done with a repository.

use std::fmt;

/// Something that a rule allows, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read manifests, blobs, tags and referrers.
    Pull,
    /// Upload blobs, and push manifests with tags that do not exist yet.
    Create,
    /// Point a tag that exists at another manifest. Blobs have to be uploaded for it, so it allows that as well.
    Overwrite,
    /// Delete tags, manifests and blobs.
    Delete,
    /// List the repositories; those that may be pulled are in the list.
    Catalog,
    /// What the operator does with the cache.
    Admin,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 6] = [Self::Pull, Self::Create, Self::Overwrite, Self::Delete, Self::Catalog, Self::Admin];

    /// The word in rules and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Create => "create",
            Self::Overwrite => "overwrite",
            Self::Delete => "delete",
            Self::Catalog => "catalog",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A set of actions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Actions(u8);

impl Actions {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self((1 << Action::ALL.len()) - 1);

    /// These.
    pub const fn of(actions: &[Action]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < actions.len() {
            bits |= actions[index].bit();
            index += 1;
        }
        Self(bits)
    }

    /// The actions that a word in a rule stands for: its own, those of `push` (create and overwrite), or all for `*`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "*" => Some(Self::ALL),
            "push" => Some(Self::of(&[Action::Create, Action::Overwrite])),
            word => Action::ALL.into_iter().find(|action| action.as_str() == word).map(|action| Self::of(&[action])),
        }
    }

    /// Whether the action is one of them.
    pub const fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These and those.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| self.contains(*action))
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_actions() {
        for action in Action::ALL {
            let actions = Actions::parse(action.as_str()).unwrap();
            assert!(actions.contains(action) && actions.iter().count() == 1, "{action}");
        }
        let push = Actions::parse("push").unwrap();
        assert_eq!(push.iter().collect::<Vec<_>>(), [Action::Create, Action::Overwrite]);
        assert_eq!(Actions::parse("*"), Some(Actions::ALL));
        for word in ["", "read", "PULL", "pull "] {
            assert_eq!(Actions::parse(word), None, "{word:?}");
        }
    }
}
