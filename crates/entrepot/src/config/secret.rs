//! Secrets: written down, in a file of their own, or in the environment. One of the three is enough.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;

use super::error::ProblemKind;
use super::limits::SECRET_BYTES_MAX;
use super::resolve::{Resolver, allowed};
use super::written::{Secret, Text};

/// The keys of the three forms of one secret, each with its table: the secret, its file, its environment variable.
pub(crate) type SecretPaths = [&'static str; 3];

/// One secret as it is written.
#[derive(Clone, Copy)]
pub(crate) struct WrittenSecret<'w> {
    pub(crate) paths: SecretPaths,
    pub(crate) value: &'w Secret,
    pub(crate) file: &'w Text,
    pub(crate) variable: &'w Text,
}

impl WrittenSecret<'_> {
    /// The first form that is written: its key without the table, and where its value begins.
    pub(crate) fn first(&self) -> Option<(&'static str, usize)> {
        self.written().next()
    }

    fn written(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let starts = [
            self.value.as_ref().map(|value| value.span().start),
            self.file.as_ref().map(|file| file.span().start),
            self.variable.as_ref().map(|variable| variable.span().start),
        ];
        self.paths.map(name).into_iter().zip(starts).filter_map(|(name, start)| Some((name, start?)))
    }
}

/// The secret, from the one place that is written; what keeps it from being had is noted.
pub(crate) fn secret(resolver: &mut Resolver<'_>, written: WrittenSecret<'_>) -> Option<SecretString> {
    let mut places = written.written();
    let (first, _) = places.next()?;
    if let Some((second, start)) = places.next() {
        let path = written.paths.into_iter().find(|path| name(path) == second).unwrap_or(second);
        resolver.add(resolver.place(start), path, ProblemKind::OneIsEnough { other: first });
        return None;
    }
    let [value_path, file_path, variable_path] = written.paths;
    if let Some(value) = written.value {
        resolver.secrets_in_file.push(value_path);
        if value.get_ref().expose_secret().is_empty() {
            let kind = ProblemKind::WrongValue { found: "empty".to_owned(), allowed: allowed(value_path) };
            resolver.add(resolver.place(value.span().start), value_path, kind);
        }
        return Some(value.get_ref().clone());
    }
    if let Some(file) = written.file {
        return from_file(resolver, file_path, file);
    }
    written.variable.as_ref().and_then(|variable| from_variable(resolver, variable_path, variable))
}

/// The secret in an environment variable.
pub(crate) fn from_variable(
    resolver: &mut Resolver<'_>,
    path: &'static str,
    variable: &Spanned<String>,
) -> Option<SecretString> {
    let value = (resolver.surroundings.environment)(variable.get_ref()).filter(|value| !value.is_empty());
    if value.is_none() {
        let kind = ProblemKind::VariableMissing { name: variable.get_ref().clone() };
        resolver.add(resolver.place(variable.span().start), path, kind);
    }
    value.map(SecretString::from)
}

fn from_file(resolver: &mut Resolver<'_>, path: &'static str, written: &Spanned<String>) -> Option<SecretString> {
    let file = resolver.folder.join(written.get_ref());
    let kind = match read_line(&file) {
        Ok(Some(secret)) => return Some(secret),
        Ok(None) => ProblemKind::FileNotASecret { path: file, limit: SECRET_BYTES_MAX },
        Err(source) => ProblemKind::FileUnreadable { path: file, source },
    };
    resolver.add(resolver.place(written.span().start), path, kind);
    None
}

/// The one line of a file, without its end; `None` when there is no such line.
fn read_line(path: &Path) -> io::Result<Option<SecretString>> {
    let mut text = String::new();
    File::open(path)?.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
    let is_too_long = text.len() as u64 > SECRET_BYTES_MAX;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    let is_secret = !is_too_long && !line.is_empty() && !line.contains(['\n', '\r']);
    Ok(is_secret.then(|| SecretString::from(line)))
}

/// A key without the name of its table.
fn name(path: &'static str) -> &'static str {
    path.rsplit_once('.').map_or(path, |(_, name)| name)
}
