//! The account of an upstream: a user with one kind of password, or a program that gives both.

use std::time::Duration;

use entrepot_upstream::CredentialHelper;
use secrecy::SecretString;

use super::error::ProblemKind;
use super::resolve::{Resolver, allowed, duration_from};
use super::secret::{WrittenSecret, secret};
use super::written::WrittenUpstream;

/// How long the answer of a helper is used: registries of clouds give accounts for an hour at the least.
pub(crate) const HELPER_LIFETIME_DEFAULT: Duration = Duration::from_mins(30);

pub(crate) fn username(resolver: &mut Resolver<'_>, written: &WrittenUpstream) -> Option<String> {
    let path = "proxy.upstream.username";
    let username = written.username.as_ref()?;
    if username.get_ref().is_empty() {
        resolver.refuse(path, username);
    }
    if written_password(written).first().is_none() {
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
    secret(resolver, written_password(written))
}

fn written_password(written: &WrittenUpstream) -> WrittenSecret<'_> {
    WrittenSecret {
        paths: ["proxy.upstream.password", "proxy.upstream.password_file", "proxy.upstream.password_env"],
        value: &written.password,
        file: &written.password_file,
        variable: &written.password_env,
    }
}
