//! The configuration as it is written: every key optional, every value with its place in the file.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;
use toml::Spanned;

/// A text and where it stands.
pub(crate) type Text = Option<Spanned<String>>;

/// A text that is never shown, and where it stands.
pub(crate) type Secret = Option<Spanned<SecretString>>;

/// A number and where it stands.
pub(crate) type Number = Option<Spanned<i64>>;

/// A list of texts, for keys where an empty one is something else than none.
pub(crate) type Texts = Option<Spanned<Vec<Spanned<String>>>>;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Written {
    pub(crate) registry_storage: Text,
    pub(crate) temporary_registry_storage: Text,
    pub(crate) proxy_storage: Text,
    pub(crate) storage: WrittenStorage,
    pub(crate) metadata: Option<Spanned<WrittenMetadata>>,
    pub(crate) replica: Option<Spanned<WrittenReplica>>,
    pub(crate) server: WrittenServer,
    pub(crate) access: Option<WrittenAccess>,
    pub(crate) proxy: WrittenProxy,
    pub(crate) telemetry: WrittenTelemetry,
}

/// `[storage]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenStorage {
    pub(crate) s3: Option<Spanned<WrittenS3>>,
    pub(crate) gcs: Option<Spanned<WrittenGcs>>,
    pub(crate) azure: Option<Spanned<WrittenAzure>>,
    pub(crate) read_cache: Option<Spanned<WrittenReadCache>>,
    pub(crate) redirect: Option<Spanned<WrittenRedirect>>,
}

/// `[storage.s3]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenS3 {
    pub(crate) endpoint: Text,
    pub(crate) region: Text,
    pub(crate) access_key_id: Text,
    pub(crate) secret_access_key: Secret,
    pub(crate) secret_access_key_file: Text,
    pub(crate) secret_access_key_env: Text,
    pub(crate) session_token_env: Text,
    pub(crate) path_style: Option<Spanned<bool>>,
    pub(crate) public_endpoint: Text,
    pub(crate) ca: Text,
    pub(crate) checksum: Text,
    pub(crate) conditional_put: Option<Spanned<bool>>,
    pub(crate) part_size: Text,
    pub(crate) parts_in_flight: Number,
    pub(crate) timeout: Text,
    pub(crate) retry_for: Text,
}

/// `[storage.gcs]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenGcs {
    pub(crate) endpoint: Text,
    pub(crate) credentials_file: Text,
    pub(crate) part_size: Text,
    pub(crate) parts_in_flight: Number,
    pub(crate) timeout: Text,
    pub(crate) retry_for: Text,
}

/// `[storage.azure]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenAzure {
    pub(crate) account: Text,
    pub(crate) access_key: Secret,
    pub(crate) access_key_file: Text,
    pub(crate) access_key_env: Text,
    pub(crate) endpoint: Text,
    pub(crate) part_size: Text,
    pub(crate) parts_in_flight: Number,
    pub(crate) timeout: Text,
    pub(crate) retry_for: Text,
}

/// `[storage.read_cache]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenReadCache {
    pub(crate) folder: Text,
    pub(crate) size_max: Text,
}

/// `[storage.redirect]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenRedirect {
    pub(crate) mode: Text,
    pub(crate) size_min: Text,
    pub(crate) lifetime: Text,
    pub(crate) rule: Vec<Spanned<WrittenRedirectRule>>,
}

/// `[[storage.redirect.rule]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenRedirectRule {
    pub(crate) repositories: Vec<Spanned<String>>,
    pub(crate) networks: Vec<Spanned<String>>,
    pub(crate) size_min: Text,
    pub(crate) redirect: Option<bool>,
}

/// `[metadata]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenMetadata {
    pub(crate) url: Secret,
    pub(crate) password: Secret,
    pub(crate) password_file: Text,
    pub(crate) password_env: Text,
    pub(crate) ca: Text,
    pub(crate) connections_max: Number,
    pub(crate) acquire_timeout: Text,
    pub(crate) statement_timeout: Text,
    pub(crate) schema_prefix: Text,
}

/// `[replica]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenReplica {
    pub(crate) listen: Text,
    pub(crate) address: Text,
    pub(crate) address_env: Text,
}

/// `[server]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenServer {
    pub(crate) listen: Text,
    pub(crate) connections_max: Number,
    pub(crate) shutdown_timeout: Text,
    pub(crate) upload_expiry: Text,
    pub(crate) blob_size_max: Text,
    pub(crate) public_url: Text,
    pub(crate) trusted_proxies: Vec<Spanned<String>>,
    pub(crate) tls: Option<Spanned<WrittenTls>>,
}

/// `[server.tls]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenTls {
    pub(crate) certificate: Text,
    pub(crate) key: Text,
    pub(crate) client_ca: Text,
    pub(crate) client_certificates: Text,
}

/// `[access]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenAccess {
    pub(crate) anonymous: Text,
    pub(crate) users_file: Text,
    pub(crate) token_lifetime: Text,
    pub(crate) group: Vec<Spanned<WrittenGroup>>,
    pub(crate) rule: Vec<Spanned<WrittenAccessRule>>,
    pub(crate) immutable: Vec<Spanned<WrittenImmutable>>,
    pub(crate) oidc: Vec<Spanned<WrittenOidc>>,
    pub(crate) identity: Vec<Spanned<WrittenIdentity>>,
}

/// `[[access.group]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenGroup {
    pub(crate) name: Text,
    pub(crate) members: Vec<Spanned<String>>,
}

/// `[[access.rule]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenAccessRule {
    pub(crate) name: Text,
    pub(crate) principals: Texts,
    pub(crate) repositories: Texts,
    pub(crate) actions: Texts,
}

/// `[[access.immutable]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenImmutable {
    pub(crate) repositories: Vec<Spanned<String>>,
    pub(crate) tags: Vec<Spanned<String>>,
}

/// `[[access.oidc]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenOidc {
    pub(crate) name: Text,
    pub(crate) issuer: Text,
    pub(crate) audience: Text,
    pub(crate) ca: Text,
    pub(crate) trusted_hosts: Vec<Spanned<String>>,
}

/// `[[access.identity]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenIdentity {
    pub(crate) oidc: Text,
    pub(crate) claims: Option<Spanned<BTreeMap<String, Spanned<String>>>>,
    pub(crate) principal: Text,
}

/// `[proxy]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenProxy {
    pub(crate) hosts: Text,
    pub(crate) tag_fresh_for: Text,
    pub(crate) stale_for: Text,
    pub(crate) on_upstream_404: Text,
    pub(crate) root_mirror: Text,
    pub(crate) size_max: Text,
    pub(crate) size_high: Text,
    pub(crate) size_low: Text,
    pub(crate) unused_for: Text,
    pub(crate) orphan_fills_max: Number,
    pub(crate) upstream: Vec<Spanned<WrittenUpstream>>,
    pub(crate) freshness: Vec<Spanned<WrittenFreshness>>,
    pub(crate) rule: Vec<Spanned<WrittenRule>>,
}

/// `[[proxy.upstream]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenUpstream {
    pub(crate) name: Text,
    pub(crate) url: Text,
    pub(crate) aliases: Vec<Spanned<String>>,
    pub(crate) username: Text,
    pub(crate) password: Secret,
    pub(crate) password_file: Text,
    pub(crate) password_env: Text,
    pub(crate) credential_helper: Option<Spanned<Vec<String>>>,
    pub(crate) credential_lifetime: Text,
    pub(crate) credentials: Text,
    pub(crate) trusted_hosts: Vec<Spanned<String>>,
    pub(crate) ca: Text,
    pub(crate) client_certificate: Text,
    pub(crate) client_key: Text,
    pub(crate) http_proxy: Secret,
    pub(crate) mirrors: Vec<Spanned<String>>,
    pub(crate) requests_max: Number,
    pub(crate) tag_fresh_for: Text,
    pub(crate) stale_for: Text,
    pub(crate) on_upstream_404: Text,
}

/// `[[proxy.freshness]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenFreshness {
    pub(crate) upstreams: Vec<Spanned<String>>,
    pub(crate) repositories: Vec<Spanned<String>>,
    pub(crate) tags: Vec<Spanned<String>>,
    pub(crate) fresh_for: Text,
    pub(crate) stale_for: Text,
    pub(crate) on_upstream_404: Text,
}

/// `[[proxy.rule]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenRule {
    pub(crate) name: Text,
    pub(crate) action: Text,
    pub(crate) log_only: bool,
    pub(crate) upstreams: Vec<Spanned<String>>,
    pub(crate) repositories: Vec<Spanned<String>>,
    pub(crate) tags: Vec<Spanned<String>>,
    pub(crate) media_types: Vec<Spanned<String>>,
    pub(crate) larger_than: Text,
    pub(crate) younger_than: Text,
}

/// `[telemetry]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenTelemetry {
    pub(crate) log: Text,
    pub(crate) log_level: Text,
    pub(crate) metrics_listen: Text,
}
