//! The account of an upstream: a user with one kind of password, or a program that gives both.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use entrepot_upstream::CredentialHelper;
use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;

use super::error::ProblemKind;
use super::limits::PASSWORD_BYTES_MAX;
use super::resolve::{Resolver, allowed, duration_from};
use super::written::WrittenUpstream;

/// How long the answer of a helper is used: registries of clouds give accounts for an hour at the least.
pub(crate) const HELPER_LIFETIME_DEFAULT: Duration = Duration::from_mins(30);

pub(crate) fn username(resolver: &mut Resolver<'_>, written: &WrittenUpstream) -> Option<String> {
    let path = "proxy.upstream.username";
    let username = written.username.as_ref()?;
    if username.get_ref().is_empty() {
        resolver.refuse(path, username);
    }
    if written.password.is_none() && written.password_file.is_none() && written.password_env.is_none() {
        resolver.add(resolver.place(username.span().start), path, ProblemKind::PasswordMissing);
    }
    Some(username.get_ref().clone())
}

/// The program that gives the account.
pub(crate) fn credential_helper(resolver: &mut Resolver<'_>, written: &WrittenUpstream) -> Option<CredentialHelper> {
    let path = "proxy.upstream.credential_helper";
    let lifetime = resolver.parsed(
        "proxy.upstream.credential_lifetime",
        &written.credential_lifetime,
        HELPER_LIFETIME_DEFAULT,
        duration_from(Duration::from_secs(1)),
    );
    let Some(helper) = &written.credential_helper else {
        if let Some(lifetime) = &written.credential_lifetime {
            let kind = ProblemKind::Needs { other: "credential_helper" };
            resolver.add(resolver.place(lifetime.span().start), "proxy.upstream.credential_lifetime", kind);
        }
        return None;
    };
    let place = resolver.place(helper.span().start);
    let command = helper.get_ref();
    if command.first().is_none_or(String::is_empty) {
        let found = if command.is_empty() { "an empty list" } else { "a list without a program" };
        resolver.add(place, path, ProblemKind::WrongValue { found: found.to_owned(), allowed: allowed(path) });
        return None;
    }
    let others = [
        ("username", written.username.is_some()),
        ("password", written.password.is_some()),
        ("password_file", written.password_file.is_some()),
        ("password_env", written.password_env.is_some()),
    ];
    if let Some((other, _)) = others.into_iter().find(|(_, is_written)| *is_written) {
        resolver.add(place, path, ProblemKind::HelperBesideAccount { other });
    }
    Some(CredentialHelper { command: command.clone(), lifetime })
}

/// Whether callers come with their own account, in place of one of the server.
pub(crate) fn is_of_caller(resolver: &mut Resolver<'_>, written: &WrittenUpstream) -> bool {
    let path = "proxy.upstream.credentials";
    let Some(credentials) = &written.credentials else { return false };
    let is_caller = resolver.parsed(path, &written.credentials, false, |text| (text == "caller").then_some(true));
    let others = [
        ("username", written.username.is_some()),
        ("password", written.password.is_some()),
        ("password_file", written.password_file.is_some()),
        ("password_env", written.password_env.is_some()),
        ("credential_helper", written.credential_helper.is_some()),
    ];
    if let Some((other, _)) = others.into_iter().find(|(_, is_written)| *is_written) {
        let place = resolver.place(credentials.span().start);
        resolver.add(place, path, ProblemKind::CallerBesideAccount { other });
    }
    is_caller
}

/// The password, from the one place that is written.
pub(crate) fn password(resolver: &mut Resolver<'_>, written: &WrittenUpstream) -> Option<SecretString> {
    let places = [
        ("password", written.password.as_ref().map(|value| value.span().start)),
        ("password_file", written.password_file.as_ref().map(|value| value.span().start)),
        ("password_env", written.password_env.as_ref().map(|value| value.span().start)),
    ];
    let mut written_places = places.into_iter().filter_map(|(name, start)| Some((name, start?)));
    let (first, _) = written_places.next()?;
    if let Some((second, start)) = written_places.next() {
        let kind = ProblemKind::SeveralPasswords { other: first };
        resolver.add(resolver.place(start), &format!("proxy.upstream.{second}"), kind);
        return None;
    }
    if let Some(password) = &written.password {
        if password.get_ref().expose_secret().is_empty() {
            let path = "proxy.upstream.password";
            let kind = ProblemKind::WrongValue { found: "empty".to_owned(), allowed: allowed(path) };
            resolver.add(resolver.place(password.span().start), path, kind);
        }
        return Some(password.get_ref().clone());
    }
    if let Some(file) = &written.password_file {
        return password_file(resolver, file);
    }
    written.password_env.as_ref().and_then(|variable| password_variable(resolver, variable))
}

fn password_variable(resolver: &mut Resolver<'_>, variable: &Spanned<String>) -> Option<SecretString> {
    let value = (resolver.surroundings.environment)(variable.get_ref()).filter(|value| !value.is_empty());
    if value.is_none() {
        let kind = ProblemKind::VariableMissing { name: variable.get_ref().clone() };
        resolver.add(resolver.place(variable.span().start), "proxy.upstream.password_env", kind);
    }
    value.map(SecretString::from)
}

fn password_file(resolver: &mut Resolver<'_>, file: &Spanned<String>) -> Option<SecretString> {
    let path = resolver.folder.join(file.get_ref());
    let kind = match read_password(&path) {
        Ok(Some(password)) => return Some(password),
        Ok(None) => ProblemKind::FileNotAPassword { path, limit: PASSWORD_BYTES_MAX },
        Err(source) => ProblemKind::FileUnreadable { path, source },
    };
    resolver.add(resolver.place(file.span().start), "proxy.upstream.password_file", kind);
    None
}

/// The one line of a file, without its end; `None` when there is no such line.
fn read_password(path: &Path) -> io::Result<Option<SecretString>> {
    let mut text = String::new();
    File::open(path)?.take(PASSWORD_BYTES_MAX + 1).read_to_string(&mut text)?;
    let is_too_long = text.len() as u64 > PASSWORD_BYTES_MAX;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    let is_password = !is_too_long && !line.is_empty() && !line.contains(['\n', '\r']);
    Ok(is_password.then(|| SecretString::from(line)))
}
