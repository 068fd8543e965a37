//! `[[access.oidc]]` and `[[access.identity]]`: identity providers, and who their claims say that somebody is.

use std::collections::HashMap;
use std::net::IpAddr;

use entrepot_access::{ClaimRule, IssuerConfig};
use entrepot_oci::Patterns;
use toml::Spanned;
use url::{Host, Url};

use super::access::plain_name;
use super::check::repeat;
use super::error::ProblemKind;
use super::limits::PRINCIPAL_BYTES_MAX;
use super::pem;
use super::resolve::{Resolver, allowed};
use super::upstream::trusted_hosts;
use super::written::{Text, WrittenIdentity, WrittenOidc};

/// The providers, each with its identities; what could not be read is noted.
pub(crate) fn issuers(
    resolver: &mut Resolver<'_>,
    written: &[Spanned<WrittenOidc>],
    identities: &[Spanned<WrittenIdentity>],
) -> Vec<IssuerConfig> {
    let mut lines = HashMap::new();
    let mut issuers: Vec<_> = written.iter().filter_map(|written| issuer(resolver, written, &mut lines)).collect();
    for written in identities {
        let (start, written) = (written.span().start, written.get_ref());
        let issuer = identity_issuer(resolver, written, start, &mut issuers, &lines);
        // Read in any case: all problems are told at once.
        let identity = identity(resolver, written, start);
        if let (Some(issuer), Some(identity)) = (issuer, identity) {
            issuer.identities.push(identity);
        }
    }
    issuers
}

fn issuer(
    resolver: &mut Resolver<'_>,
    written: &Spanned<WrittenOidc>,
    lines: &mut HashMap<String, usize>,
) -> Option<IssuerConfig> {
    let (start, written) = (written.span().start, written.get_ref());
    let name = plain_name(resolver, "access.oidc.name", "identity provider", written.name.as_ref(), start, lines);
    let issuer = issuer_url(resolver, &written.issuer, start);
    let audience = some_text(resolver, "access.oidc.audience", &written.audience, start);
    let ca = pem::certificates(resolver, "access.oidc.ca", &written.ca);
    let trusted_hosts = trusted_hosts(resolver, "access.oidc.trusted_hosts", &written.trusted_hosts);
    Some(IssuerConfig { name: name?, issuer: issuer?, audience: audience?, ca, trusted_hosts, identities: Vec::new() })
}

/// Over plain HTTP whoever is in between could say what is true; on this machine nobody is.
fn issuer_url(resolver: &mut Resolver<'_>, written: &Text, start: usize) -> Option<Url> {
    let path = "access.oidc.issuer";
    let Some(written) = written else {
        resolver.missing(path, start);
        return None;
    };
    let is_issuer = |url: &Url| {
        let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
        let is_bare = url.username().is_empty() && url.password().is_none();
        is_safe && is_bare && url.has_host() && url.query().is_none() && url.fragment().is_none()
    };
    let url = Url::parse(written.get_ref()).ok().filter(is_issuer);
    if url.is_none() {
        refuse_url(resolver, path, written);
    }
    url
}

/// Notes a URL. Somebody may have written an account into it: that is not repeated.
pub(crate) fn refuse_url(resolver: &mut Resolver<'_>, path: &'static str, written: &Spanned<String>) {
    let text = written.get_ref();
    let found = if text.contains('@') { "a URL with a user in it".to_owned() } else { repeat(text) };
    let kind = ProblemKind::WrongValue { found, allowed: allowed(path) };
    resolver.add(resolver.place(written.span().start), path, kind);
}

/// Whether the URL is that of this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).to_canonical().is_loopback(),
        None => false,
    }
}

fn some_text(resolver: &mut Resolver<'_>, path: &'static str, written: &Text, start: usize) -> Option<String> {
    let Some(written) = written else {
        resolver.missing(path, start);
        return None;
    };
    if written.get_ref().trim().is_empty() || written.get_ref().contains(char::is_control) {
        resolver.refuse(path, written);
        return None;
    }
    Some(written.get_ref().clone())
}

/// The provider that an identity is for.
fn identity_issuer<'i>(
    resolver: &mut Resolver<'_>,
    written: &WrittenIdentity,
    start: usize,
    issuers: &'i mut [IssuerConfig],
    lines: &HashMap<String, usize>,
) -> Option<&'i mut IssuerConfig> {
    let path = "access.identity.oidc";
    let Some(written) = &written.oidc else {
        resolver.missing(path, start);
        return None;
    };
    let name = written.get_ref();
    // One that is refused for something else is there all the same.
    if !lines.contains_key(name) {
        let known = issuers.iter().map(|issuer| issuer.name.to_string()).collect();
        let kind = ProblemKind::UnknownProvider { found: repeat(name), name: name.clone(), known };
        resolver.add(resolver.place(written.span().start), path, kind);
    }
    issuers.iter_mut().find(|issuer| *issuer.name == **name)
}

fn identity(resolver: &mut Resolver<'_>, written: &WrittenIdentity, start: usize) -> Option<ClaimRule> {
    let path = "access.identity.claims";
    let mut claims = std::collections::BTreeMap::new();
    match &written.claims {
        None => resolver.missing(path, start),
        // Everybody with a token of the provider would be one and the same.
        Some(table) if table.get_ref().is_empty() => {
            let kind = ProblemKind::WrongValue { found: "an empty table".to_owned(), allowed: allowed(path) };
            resolver.add(resolver.place(table.span().start), path, kind);
        }
        Some(table) => {
            for (claim, pattern) in table.get_ref() {
                match Patterns::new([pattern.get_ref()]) {
                    Ok(_) if !claim.is_empty() && !pattern.get_ref().is_empty() => {
                        claims.insert(claim.clone(), pattern.get_ref().clone());
                    }
                    Ok(_) => resolver.refuse(path, pattern),
                    Err(error) => {
                        resolver.add(resolver.place(pattern.span().start), path, ProblemKind::NotAPattern(error));
                    }
                }
            }
        }
    }
    let path = "access.identity.principal";
    let principal = some_text(resolver, path, &written.principal, start)?;
    if let Some(written) = written.principal.as_ref().filter(|_| !is_template(&principal)) {
        resolver.refuse(path, written);
        return None;
    }
    Some(ClaimRule { claims, principal })
}

/// Whether every brace has its partner, with a name in between.
fn is_template(text: &str) -> bool {
    let mut parts = text.split('{');
    let is_literal = |text: &str| !text.contains('}');
    let is_begun_well = parts.next().is_some_and(is_literal);
    let are_names =
        parts.all(|part| part.split_once('}').is_some_and(|(name, rest)| !name.is_empty() && is_literal(rest)));
    text.len() <= PRINCIPAL_BYTES_MAX && is_begun_well && are_names
}
