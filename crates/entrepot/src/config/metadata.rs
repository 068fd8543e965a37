//! `[metadata]`: where it is kept who has what.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;

use super::error::ProblemKind;
use super::limits::{DATABASE_CONNECTIONS, SCHEMA_PREFIX_BYTES_MAX};
use super::pem;
use super::postgres_url::{PostgresHost, PostgresTls, PostgresUrl};
use super::resolve::{Resolver, allowed, duration_from};
use super::secret::{WrittenSecret, secret};
use super::written::WrittenMetadata;

const PATH_URL: &str = "metadata.url";

/// What the names of schemas begin with when nothing else is written.
const SCHEMA_PREFIX_DEFAULT: &str = "entrepot";

const CONNECTIONS_MAX_DEFAULT: usize = 16;

const ACQUIRE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

const STATEMENT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Where metadata is.
#[derive(Clone, Debug)]
pub enum MetadataConfiguration {
    /// In an SQLite database inside each storage folder.
    Sqlite,
    /// In a `PostgreSQL` database, for any number of replicas.
    Postgres(Box<PostgresConfiguration>),
}

/// A `PostgreSQL` database.
#[derive(Clone, Debug)]
pub struct PostgresConfiguration {
    /// Where it is, in the order in which hosts are tried; at least one.
    pub hosts: Vec<PostgresHost>,
    /// Who connects.
    pub user: String,
    /// The password; `None`: the server wants none, or knows the user otherwise.
    pub password: Option<SecretString>,
    /// The database.
    pub database: String,
    /// Whether connections are encrypted.
    pub tls: PostgresTls,
    /// Certificates in PEM that are trusted beside those of the system.
    pub ca: Option<Vec<u8>>,
    /// Connections that this process may have, for both stores together.
    pub connections_max: usize,
    /// How long a request may wait for one of them.
    pub acquire_timeout: Duration,
    /// How long one statement may take.
    pub statement_timeout: Duration,
    /// What the names of both schemas begin with: a lower-case letter or `_`, then also digits.
    pub schema_prefix: String,
}

impl PostgresConfiguration {
    /// The schema with the metadata of the own images.
    pub fn registry_schema(&self) -> String {
        format!("{}_registry", self.schema_prefix)
    }

    /// The schema with the metadata of the cache.
    pub fn proxy_schema(&self) -> String {
        format!("{}_proxy", self.schema_prefix)
    }
}

impl MetadataConfiguration {
    /// The database, when it is one that replicas share.
    pub fn postgres(&self) -> Option<&PostgresConfiguration> {
        match self {
            Self::Sqlite => None,
            Self::Postgres(postgres) => Some(postgres),
        }
    }
}

/// Everything about metadata.
pub(crate) fn metadata(
    resolver: &mut Resolver<'_>,
    written: Option<&Spanned<WrittenMetadata>>,
) -> MetadataConfiguration {
    let Some(written) = written else { return MetadataConfiguration::Sqlite };
    let (start, written) = (written.span().start, written.get_ref());
    let url = url(resolver, written, start);
    let password = password(resolver, written, url.as_ref());
    let ca = pem::certificates(resolver, "metadata.ca", &written.ca);
    let tls = tls(resolver, written, url.as_ref());
    let connections_max = resolver.number(
        "metadata.connections_max",
        written.connections_max.as_ref(),
        DATABASE_CONNECTIONS,
        CONNECTIONS_MAX_DEFAULT,
    );
    let from_a_second = || duration_from(Duration::from_secs(1));
    let acquire_timeout =
        resolver.parsed("metadata.acquire_timeout", &written.acquire_timeout, ACQUIRE_TIMEOUT_DEFAULT, from_a_second());
    let statement_timeout = resolver.parsed(
        "metadata.statement_timeout",
        &written.statement_timeout,
        STATEMENT_TIMEOUT_DEFAULT,
        from_a_second(),
    );
    let schema_prefix =
        resolver.parsed("metadata.schema_prefix", &written.schema_prefix, SCHEMA_PREFIX_DEFAULT.to_owned(), |text| {
            is_schema_prefix(text).then(|| text.to_owned())
        });
    let Some(PostgresUrl { hosts, user, database, .. }) = url else { return MetadataConfiguration::Sqlite };
    MetadataConfiguration::Postgres(Box::new(PostgresConfiguration {
        hosts,
        user,
        password,
        database,
        tls,
        ca,
        connections_max,
        acquire_timeout,
        statement_timeout,
        schema_prefix,
    }))
}

/// The URL. Nothing of it is repeated: there may be a password in it.
fn url(resolver: &mut Resolver<'_>, written: &WrittenMetadata, start: usize) -> Option<PostgresUrl> {
    let Some(written) = &written.url else {
        resolver.missing(PATH_URL, start);
        return None;
    };
    match PostgresUrl::parse(written.get_ref().expose_secret()) {
        Ok(url) => Some(url),
        Err(fault) => {
            let kind = ProblemKind::WrongValue { found: fault.to_string(), allowed: allowed(PATH_URL) };
            resolver.add(resolver.place(written.span().start), PATH_URL, kind);
            None
        }
    }
}

/// The password, from the URL or from the one other place that is written.
fn password(resolver: &mut Resolver<'_>, written: &WrittenMetadata, url: Option<&PostgresUrl>) -> Option<SecretString> {
    let beside = WrittenSecret {
        paths: ["metadata.password", "metadata.password_file", "metadata.password_env"],
        value: &written.password,
        file: &written.password_file,
        variable: &written.password_env,
    };
    let in_url = url.and_then(|url| url.password.clone());
    if in_url.is_none() {
        return secret(resolver, beside);
    }
    resolver.secrets_in_file.push(PATH_URL);
    if let Some((key, start)) = beside.first() {
        let kind = ProblemKind::OneIsEnough { other: "url" };
        resolver.add(resolver.place(start), &format!("metadata.{key}"), kind);
    }
    in_url
}

/// What the URL says about TLS; where it says nothing and there are certificates to verify the server by, it is verified.
fn tls(resolver: &mut Resolver<'_>, written: &WrittenMetadata, url: Option<&PostgresUrl>) -> PostgresTls {
    let said = url.and_then(|url| url.tls);
    let Some(ca) = &written.ca else { return said.unwrap_or(PostgresTls::Prefer) };
    let tls = said.unwrap_or(PostgresTls::Verified);
    if tls != PostgresTls::Verified {
        let kind = ProblemKind::CertificateNotVerified { mode: tls.as_str() };
        resolver.add(resolver.place(ca.span().start), "metadata.ca", kind);
    }
    tls
}

/// Whether it can begin the name of a schema, without quotes and without being one of `PostgreSQL`'s own.
fn is_schema_prefix(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    text.len() <= SCHEMA_PREFIX_BYTES_MAX
        && text.bytes().next().is_some_and(is_letter)
        && text.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
        && !text.starts_with("pg_")
}
