//! The first look at a file: only known keys, each with a value of its type.
//!
//! The structs of `written` would refuse the same, but one problem at a time and in words that do not help.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Place, Problem, ProblemKind};
use super::keys::{self, Form, Key, TABLES};
use super::limits::REPEATED_VALUE_MAX;

/// How many letters may be wrong in a key that is still recognised.
const TYPING_ERRORS_MAX: usize = 2;

/// Every key that is not known or has a value of another type.
pub(crate) fn problems_in(text: &str, file: Option<&Path>) -> Vec<Problem> {
    let mut check = Check { text, file, problems: Vec::new() };
    match DeTable::parse(text) {
        Ok(table) => check.table("", table.get_ref()),
        Err(error) => {
            let kind = ProblemKind::Syntax { message: error.message().to_owned() };
            check.add(error.span().map_or(0, |span| span.start), "", kind);
        }
    }
    check.problems
}

struct Check<'c> {
    text: &'c str,
    file: Option<&'c Path>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        // The parser sorts by name; people read from the top.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let name_path =
                if path.is_empty() { name.get_ref().to_string() } else { format!("{path}.{}", name.get_ref()) };
            if let Some(key) = keys::key(&name_path) {
                self.value(key, value);
            } else if let Some(table) = keys::table(&name_path) {
                self.inner_table(table, value);
            } else {
                let kind = ProblemKind::UnknownKey { allowed: keys::names_in(path), similar: similar(&name_path) };
                self.add(name.span().start, &name_path, kind);
            }
        }
    }

    fn inner_table(&mut self, table: &keys::Table, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(inner) if !table.is_list => self.table(table.path, inner),
            DeValue::Array(list) if table.is_list && list.iter().all(|one| one.get_ref().is_table()) => {
                for inner in list.iter().filter_map(|one| one.get_ref().as_table()) {
                    self.table(table.path, inner);
                }
            }
            other => {
                let allowed = if table.is_list {
                    "a list of tables, each begun with [[…]]"
                } else {
                    "a table, begun with […]"
                };
                self.add(value.span().start, table.path, ProblemKind::WrongType { found: describe(other), allowed });
            }
        }
    }

    fn value(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) {
        let is_right = match (key.form, value.get_ref()) {
            (Form::Text | Form::Secret, DeValue::String(_)) | (Form::Flag, DeValue::Boolean(_)) => true,
            // A number beyond 64 bits is none that any key allows; refuse it here, where it is known where it stands.
            (Form::Integer, DeValue::Integer(number)) => i64::from_str_radix(number.as_str(), number.radix()).is_ok(),
            (Form::Texts, DeValue::Array(list)) => list.iter().all(|one| one.get_ref().is_str()),
            (Form::TextTable, DeValue::Table(table)) => table.iter().all(|(_, one)| one.get_ref().is_str()),
            _ => false,
        };
        if !is_right {
            let found =
                if key.form == Form::Secret { kind_of(value.get_ref()).to_owned() } else { describe(value.get_ref()) };
            self.add(value.span().start, key.path, ProblemKind::WrongType { found, allowed: key.allowed });
        }
    }

    fn add(&mut self, byte: usize, key: &str, kind: ProblemKind) {
        self.problems.push(Problem { place: Place::new(self.file, self.text, byte), key: key.to_owned(), kind });
    }
}

/// A key or table that was probably meant: spelled nearly so, or a key of this name in another table.
fn similar(path: &str) -> Option<&'static str> {
    let name = path.rsplit_once('.').map_or(path, |(_, name)| name);
    let tables = TABLES.iter().map(|table| table.path).filter(|path| !path.is_empty());
    let paths = keys::keys().map(|key| key.path).chain(tables);
    let nearest = paths
        .map(|known| (strsim::damerau_levenshtein(known, path), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= TYPING_ERRORS_MAX);
    let by_name =
        || keys::keys().find(|key| strsim::damerau_levenshtein(key.name(), name) <= usize::from(name.len() > 4));
    nearest.map(|(_, known)| known).or_else(|| by_name().map(|key| key.path))
}

/// The value as an error repeats it.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => repeat(text),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        _ => kind_of(value).to_owned(),
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list of something else",
        DeValue::Table(_) => "a table",
    }
}

/// A text in quotes, on one line and not too long.
pub(crate) fn repeat(text: &str) -> String {
    if text.chars().count() <= REPEATED_VALUE_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(REPEATED_VALUE_MAX).collect();
    format!("{start:?}…")
}
