//! Patterns of names, as operators write them in rules.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Patterns of names, any of which may match. Without any, everything matches.
///
/// `*` and `?` stand for characters within a component, `**` for any number of components, `[…]` for one of some
/// characters and `{a,b}` for one of some texts.
#[derive(Clone, Default)]
pub struct Patterns {
    texts: Vec<String>,
    set: GlobSet,
}

impl Patterns {
    /// Reads patterns.
    ///
    /// # Errors
    /// The first text that is no pattern, with what is wrong with it.
    pub fn new(texts: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, PatternError> {
        let texts: Vec<String> = texts.into_iter().map(Into::into).collect();
        let mut builder = GlobSetBuilder::new();
        for text in &texts {
            let glob = GlobBuilder::new(text).literal_separator(true).build();
            builder.add(glob.map_err(|source| PatternError { text: text.clone(), source })?);
        }
        let text = || texts.join(", ");
        let set = builder.build().map_err(|source| PatternError { text: text(), source })?;
        Ok(Self { texts, set })
    }

    /// Whether one of them matches, or there is none.
    pub fn matches(&self, name: &str) -> bool {
        self.texts.is_empty() || self.set.is_match(name)
    }

    /// Whether there is none, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The patterns as they were written.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.texts.fmt(formatter)
    }
}

/// A text is no pattern.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text:?} is not a pattern: {}", source.kind())]
pub struct PatternError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    source: globset::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_a_component_and_two_go_beyond() {
        let patterns = Patterns::new(["library/*", "org/**", "v[0-9].*"]).unwrap();
        for name in ["library/redis", "org/team/app", "v1.2.3"] {
            assert!(patterns.matches(name), "{name}");
        }
        for name in ["library/team/redis", "other/app", "va.1"] {
            assert!(!patterns.matches(name), "{name}");
        }
        assert!(Patterns::default().matches("anything/at/all"));
        assert!(Patterns::new(["[a"]).unwrap_err().to_string().contains("\"[a\""));
    }
}
