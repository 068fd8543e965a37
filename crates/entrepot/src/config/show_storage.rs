//! What the configuration says about buckets, the database and replicas, as a text. Secrets are `***`.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::object_storage::{AzureConfiguration, GcsConfiguration, S3Configuration, TransferConfiguration};
use super::pem::show_certificates;
use super::postgres_url::PostgresHost;
use super::redirect::{RedirectConfiguration, RedirectRule};
use super::show::quoted;
use super::storage::{ObjectScheme, StorageLocation};
use super::value::{show_duration, show_size};
use super::{Configuration, PostgresConfiguration};

/// What has no meaning of its own in any part of a URL stays as it is.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `[storage]` and all tables in it, `[metadata]` and `[replica]`.
pub(crate) fn write_storage(text: &mut fmt::Formatter<'_>, configuration: &Configuration) -> fmt::Result {
    let storage = &configuration.storage;
    let stores = configuration.stores();
    let uses = |scheme| stores.iter().any(|(_, store)| store.object().is_some_and(|url| url.scheme() == scheme));
    if uses(ObjectScheme::S3) {
        write_s3(text, &storage.s3)?;
    }
    if uses(ObjectScheme::Gcs) {
        write_gcs(text, &storage.gcs)?;
    }
    if let Some(azure) = storage.azure.as_ref().filter(|_| uses(ObjectScheme::Azure)) {
        write_azure(text, azure)?;
    }
    if configuration.has_object_storage() {
        match &storage.read_cache {
            Some(cache) => {
                writeln!(text, "\n[storage.read_cache]\nfolder = {}", quoted(&cache.folder))?;
                writeln!(text, "size_max = \"{}\"", show_size(cache.size_max))?;
            }
            None => writeln!(text, "\n# storage.read_cache: none, all bytes come from the bucket")?,
        }
        write_redirect(text, &storage.redirect)?;
    }
    match configuration.metadata.postgres() {
        Some(postgres) => write_postgres(text, postgres)?,
        None => writeln!(text, "\n# metadata: SQLite inside each storage folder")?,
    }
    match &configuration.replica {
        Some(replica) => {
            writeln!(text, "\n[replica]\nlisten = \"{}\"", replica.listen)?;
            writeln!(text, "address = {:?}", replica.url(replica.listen))
        }
        None => Ok(()),
    }
}

/// A folder or a place in a bucket, as it would be written.
pub(crate) fn quoted_location(location: &StorageLocation) -> String {
    match location {
        StorageLocation::Folder(folder) => quoted(folder),
        StorageLocation::Object(url) => format!("\"{url}\""),
    }
}

fn write_s3(text: &mut fmt::Formatter<'_>, s3: &S3Configuration) -> fmt::Result {
    writeln!(text, "\n[storage.s3]")?;
    write_endpoint(text, s3.endpoint.as_deref(), "that of AWS in the region")?;
    writeln!(text, "region = {:?}", s3.region)?;
    match &s3.credentials {
        Some(credentials) => {
            writeln!(text, "access_key_id = {:?}\nsecret_access_key = \"***\"", credentials.access_key_id)?;
            if credentials.session_token.is_some() {
                writeln!(text, "# session_token: ***")?;
            }
        }
        None => writeln!(text, "# access_key_id: what the surroundings give")?,
    }
    writeln!(text, "path_style = {}", s3.is_path_style)?;
    match &s3.public_endpoint {
        Some(url) => writeln!(text, "public_endpoint = {url:?}")?,
        None => writeln!(text, "# public_endpoint: the endpoint")?,
    }
    if let Some(ca) = &s3.ca {
        writeln!(text, "# ca: {}", show_certificates(ca))?;
    }
    writeln!(text, "checksum = \"{}\"\nconditional_put = {}", s3.checksum.as_str(), s3.has_conditional_put)?;
    write_transfer(text, &s3.transfer)
}

fn write_gcs(text: &mut fmt::Formatter<'_>, gcs: &GcsConfiguration) -> fmt::Result {
    writeln!(text, "\n[storage.gcs]")?;
    write_endpoint(text, gcs.endpoint.as_deref(), "Google's own")?;
    let account = if gcs.credentials.is_some() { "***" } else { "what the surroundings give" };
    writeln!(text, "# credentials: {account}")?;
    write_transfer(text, &gcs.transfer)
}

fn write_azure(text: &mut fmt::Formatter<'_>, azure: &AzureConfiguration) -> fmt::Result {
    writeln!(text, "\n[storage.azure]\naccount = {:?}", azure.account)?;
    match &azure.access_key {
        Some(_) => writeln!(text, "access_key = \"***\"")?,
        None => writeln!(text, "# access_key: what the surroundings give")?,
    }
    write_endpoint(text, azure.endpoint.as_deref(), "Azure's own of the account")?;
    write_transfer(text, &azure.transfer)
}

fn write_endpoint(text: &mut fmt::Formatter<'_>, endpoint: Option<&str>, default: &str) -> fmt::Result {
    match endpoint {
        Some(url) => writeln!(text, "endpoint = {url:?}"),
        None => writeln!(text, "# endpoint: {default}"),
    }
}

fn write_transfer(text: &mut fmt::Formatter<'_>, transfer: &TransferConfiguration) -> fmt::Result {
    writeln!(text, "part_size = \"{}\"", show_size(transfer.part_size))?;
    writeln!(text, "parts_in_flight = {}", transfer.parts_in_flight)?;
    writeln!(text, "timeout = \"{}\"", show_duration(transfer.timeout))?;
    writeln!(text, "retry_for = \"{}\"", show_duration(transfer.retry_for))
}

fn write_redirect(text: &mut fmt::Formatter<'_>, redirect: &RedirectConfiguration) -> fmt::Result {
    writeln!(text, "\n[storage.redirect]\nmode = \"{}\"", redirect.mode.as_str())?;
    writeln!(text, "size_min = \"{}\"", show_size(redirect.size_min))?;
    writeln!(text, "lifetime = \"{}\"", show_duration(redirect.lifetime))?;
    redirect.rules.iter().try_for_each(|rule| write_rule(text, rule))
}

fn write_rule(text: &mut fmt::Formatter<'_>, rule: &RedirectRule) -> fmt::Result {
    writeln!(text, "\n[[storage.redirect.rule]]")?;
    if !rule.repositories.is_empty() {
        writeln!(text, "repositories = {:?}", rule.repositories.texts())?;
    }
    if !rule.networks.is_empty() {
        let networks: Vec<_> = rule.networks.iter().map(ToString::to_string).collect();
        writeln!(text, "networks = {networks:?}")?;
    }
    if let Some(size) = rule.size_min {
        writeln!(text, "size_min = \"{}\"", show_size(size))?;
    }
    writeln!(text, "redirect = {}", rule.is_redirected)
}

fn write_postgres(text: &mut fmt::Formatter<'_>, postgres: &PostgresConfiguration) -> fmt::Result {
    let hosts: Vec<_> = postgres.hosts.iter().map(PostgresHost::to_string).collect();
    let encoded = |text: &str| utf8_percent_encode(text, NOT_UNRESERVED).to_string();
    let (user, database) = (encoded(&postgres.user), encoded(&postgres.database));
    let url = format!("postgres://{user}@{}/{database}?sslmode={}", hosts.join(","), postgres.tls.as_str());
    writeln!(text, "\n[metadata]\nurl = {url:?}")?;
    match &postgres.password {
        Some(_) => writeln!(text, "password = \"***\"")?,
        None => writeln!(text, "# password: none")?,
    }
    if let Some(ca) = &postgres.ca {
        writeln!(text, "# ca: {}", show_certificates(ca))?;
    }
    writeln!(text, "connections_max = {}", postgres.connections_max)?;
    writeln!(text, "acquire_timeout = \"{}\"", show_duration(postgres.acquire_timeout))?;
    writeln!(text, "statement_timeout = \"{}\"", show_duration(postgres.statement_timeout))?;
    writeln!(text, "schema_prefix = {:?}", postgres.schema_prefix)
}
