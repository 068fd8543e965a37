//! The command line: a command, then `--name value` in any order.

use std::collections::HashMap;
use std::str::FromStr;

use crate::error::Error;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    command: String,
    options: HashMap<String, String>,
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Error> {
        let command = words.next().unwrap_or_default();
        let mut options = HashMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or(Error::Option { name: "…", wanted: "two dashes" })?;
            let value = words.next().ok_or(Error::Option { name: "…", wanted: "a value each" })?;
            options.insert(name.to_owned(), value);
        }
        Ok(Self { command, options })
    }

    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// A text that must be there.
    pub(crate) fn text(&self, name: &'static str) -> Result<&str, Error> {
        self.options.get(name).map(String::as_str).ok_or(Error::Option { name, wanted: "a value" })
    }

    /// A number that must be there.
    pub(crate) fn number<N: FromStr>(&self, name: &'static str) -> Result<N, Error> {
        self.text(name)?.parse().map_err(|_| Error::Option { name, wanted: "a whole number" })
    }

    /// A number that may be there.
    pub(crate) fn optional<N: FromStr>(&self, name: &'static str) -> Result<Option<N>, Error> {
        if self.options.contains_key(name) { self.number(name).map(Some) } else { Ok(None) }
    }

    /// Numbers with commas between them, or none.
    pub(crate) fn numbers<N: FromStr>(&self, name: &'static str) -> Result<Vec<N>, Error> {
        let words = self.text_or(name, "").split(',').filter(|word| !word.is_empty());
        words.map(|word| word.parse().map_err(|_| Error::Option { name, wanted: "whole numbers" })).collect()
    }

    /// The text, or what holds without it.
    pub(crate) fn text_or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.options.get(name).map_or(default, String::as_str)
    }
}
