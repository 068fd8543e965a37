//! `[storage.s3]`, `[storage.gcs]` and `[storage.azure]`: how buckets are reached, and how bytes get there and back.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::SecretString;
use toml::Spanned;
use url::Url;

use super::error::ProblemKind;
use super::issuers::refuse_url;
use super::limits::{AZURE_PART_BYTES, PART_BYTES, PARTS_IN_FLIGHT, PEM_BYTES_MAX};
use super::pem;
use super::read_cache::{ReadCacheConfiguration, read_cache};
use super::redirect::{RedirectConfiguration, redirect};
use super::resolve::{Resolver, duration_from};
use super::secret::{WrittenSecret, from_variable, secret};
use super::storage::{ObjectScheme, StorageLocation};
use super::upstream::is_origin;
use super::value::{parse_duration, parse_size};
use super::written::{Number, Text, WrittenAzure, WrittenGcs, WrittenS3, WrittenStorage};

/// Where S3 is when nothing else is written.
const REGION_DEFAULT: &str = "us-east-1";

/// The region of stores that have none, such as R2: AWS has no such place.
const REGION_AUTO: &str = "auto";

const PATH_ACCESS_KEY_ID: &str = "storage.s3.access_key_id";

const PATH_ACCOUNT: &str = "storage.azure.account";

const SECRET_ACCESS_KEYS: [&str; 3] = ["secret_access_key", "secret_access_key_file", "secret_access_key_env"];

/// Object storage: all that is to be known beside the URLs.
#[derive(Clone, Debug, Default)]
pub struct StorageConfiguration {
    /// `[storage.s3]`, for `s3://`.
    pub s3: S3Configuration,
    /// `[storage.gcs]`, for `gs://`.
    pub gcs: GcsConfiguration,
    /// `[storage.azure]`, for `az://`: there when one of the stores is one.
    pub azure: Option<AzureConfiguration>,
    /// `[storage.read_cache]`: there when content of buckets is kept on the local disk as well.
    pub read_cache: Option<ReadCacheConfiguration>,
    /// `[storage.redirect]`: whether clients are sent to the bucket.
    pub redirect: RedirectConfiguration,
}

/// S3, and what is compatible with it.
#[derive(Clone, Debug)]
pub struct S3Configuration {
    /// Scheme, host and port without a slash at the end; that of AWS in the region when `None`.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The keys; `None`: what the surroundings give, as the environment, a role of the machine or of the pod.
    pub credentials: Option<S3Credentials>,
    /// Whether the bucket is named in the path of requests and not in their host.
    pub is_path_style: bool,
    /// Where clients reach the store that are redirected to it, like `endpoint`; there when that is not it.
    pub public_endpoint: Option<String>,
    /// Certificates in PEM that are trusted beside those of the system.
    pub ca: Option<Vec<u8>>,
    /// The checksum that is sent along.
    pub checksum: ObjectChecksum,
    /// Whether the store understands "only if it is not there" of a PUT.
    pub has_conditional_put: bool,
    /// How bytes get there and back.
    pub transfer: TransferConfiguration,
}

impl Default for S3Configuration {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: REGION_DEFAULT.to_owned(),
            credentials: None,
            is_path_style: false,
            public_endpoint: None,
            ca: None,
            checksum: ObjectChecksum::None,
            has_conditional_put: true,
            transfer: TransferConfiguration::default(),
        }
    }
}

/// The keys of an account of S3.
#[derive(Clone, Debug)]
pub struct S3Credentials {
    /// Which key it is.
    pub access_key_id: String,
    /// What requests are signed with.
    pub secret_access_key: SecretString,
    /// What goes with keys that are good for a while only.
    pub session_token: Option<SecretString>,
}

/// A checksum beside the one that every transport has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectChecksum {
    /// None.
    None,
    /// SHA-256 of each part.
    Sha256,
}

impl ObjectChecksum {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sha256 => "sha256",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Sha256].into_iter().find(|checksum| checksum.as_str() == text)
    }
}

/// Google Cloud Storage.
#[derive(Clone, Debug, Default)]
pub struct GcsConfiguration {
    /// Scheme, host and port without a slash at the end; Google's own when `None`.
    pub endpoint: Option<String>,
    /// What is in the file with the key of a service account, JSON; `None`: what the surroundings give.
    pub credentials: Option<SecretString>,
    /// How bytes get there and back.
    pub transfer: TransferConfiguration,
}

/// Azure Blob Storage.
#[derive(Clone, Debug)]
pub struct AzureConfiguration {
    /// The storage account.
    pub account: String,
    /// Its key; `None`: what the surroundings give.
    pub access_key: Option<SecretString>,
    /// Scheme, host and port without a slash at the end; Azure's own of the account when `None`.
    pub endpoint: Option<String>,
    /// How bytes get there and back.
    pub transfer: TransferConfiguration,
}

/// How bytes get to a store and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferConfiguration {
    /// Bytes of the parts of an upload, to begin with.
    pub part_size: u64,
    /// Parts that are on their way at once, of all uploads together: each is held in memory.
    pub parts_in_flight: usize,
    /// How long a request may be without progress.
    pub timeout: Duration,
    /// For how long a request that failed in a way that may pass is sent again.
    pub retry_for: Duration,
}

impl Default for TransferConfiguration {
    fn default() -> Self {
        Self {
            part_size: 16 << 20,
            parts_in_flight: 8,
            timeout: Duration::from_secs(15),
            retry_for: Duration::from_secs(10),
        }
    }
}

/// Everything about object storage; `locations` are the two stores.
pub(crate) fn object_storage(
    resolver: &mut Resolver<'_>,
    written: &WrittenStorage,
    locations: [&StorageLocation; 2],
) -> StorageConfiguration {
    let uses = |scheme| locations.iter().any(|location| location.object().is_some_and(|url| url.scheme() == scheme));
    let has_any = locations.iter().any(|location| location.object().is_some());
    let azure = written.azure.as_ref();
    if azure.is_none() && uses(ObjectScheme::Azure) {
        // The store says so, but what is missing is a table of its own.
        resolver.missing(PATH_ACCOUNT, 0);
    }
    StorageConfiguration {
        s3: written.s3.as_ref().map(|written| s3(resolver, written.get_ref())).unwrap_or_default(),
        gcs: written.gcs.as_ref().map(|written| gcs(resolver, written.get_ref())).unwrap_or_default(),
        azure: azure.and_then(|written| self::azure(resolver, written)),
        read_cache: written.read_cache.as_ref().and_then(|written| read_cache(resolver, written, has_any)),
        redirect: redirect(resolver, written.redirect.as_ref(), has_any),
    }
}

fn s3(resolver: &mut Resolver<'_>, written: &WrittenS3) -> S3Configuration {
    let default = S3Configuration::default();
    let endpoint = endpoint(resolver, "storage.s3.endpoint", &written.endpoint);
    let region = resolver.parsed("storage.s3.region", &written.region, default.region, |text| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (!text.is_empty() && text.bytes().all(is_plain)).then(|| text.to_owned())
    });
    if let Some(written) = written.region.as_ref().filter(|_| region == REGION_AUTO && written.endpoint.is_none()) {
        let kind = ProblemKind::Needs { other: "endpoint" };
        resolver.add(resolver.place(written.span().start), "storage.s3.region", kind);
    }
    S3Configuration {
        is_path_style: flag(written.path_style.as_ref(), written.endpoint.is_some()),
        endpoint,
        region,
        credentials: s3_credentials(resolver, written),
        public_endpoint: self::endpoint(resolver, "storage.s3.public_endpoint", &written.public_endpoint),
        ca: pem::certificates(resolver, "storage.s3.ca", &written.ca),
        checksum: resolver.parsed("storage.s3.checksum", &written.checksum, default.checksum, ObjectChecksum::parse),
        has_conditional_put: flag(written.conditional_put.as_ref(), default.has_conditional_put),
        transfer: WrittenTransfer {
            paths: ["storage.s3.part_size", "storage.s3.parts_in_flight", "storage.s3.timeout", "storage.s3.retry_for"],
            part_size: &written.part_size,
            parts_in_flight: &written.parts_in_flight,
            timeout: &written.timeout,
            retry_for: &written.retry_for,
        }
        .resolve(resolver, PART_BYTES),
    }
}

/// The keys, both of them or none.
fn s3_credentials(resolver: &mut Resolver<'_>, written: &WrittenS3) -> Option<S3Credentials> {
    let written_secret = WrittenSecret {
        paths: [
            "storage.s3.secret_access_key",
            "storage.s3.secret_access_key_file",
            "storage.s3.secret_access_key_env",
        ],
        value: &written.secret_access_key,
        file: &written.secret_access_key_file,
        variable: &written.secret_access_key_env,
    };
    let secret_access_key = secret(resolver, written_secret);
    let session_token = written.session_token_env.as_ref().and_then(|variable| {
        let path = "storage.s3.session_token_env";
        if written.access_key_id.is_none() {
            let kind = ProblemKind::Needs { other: "access_key_id" };
            resolver.add(resolver.place(variable.span().start), path, kind);
        }
        from_variable(resolver, path, variable)
    });
    let Some(id) = &written.access_key_id else {
        if let Some((key, start)) = written_secret.first() {
            let kind = ProblemKind::Needs { other: "access_key_id" };
            resolver.add(resolver.place(start), &format!("storage.s3.{key}"), kind);
        }
        return None;
    };
    if id.get_ref().is_empty() || !id.get_ref().bytes().all(|byte| byte.is_ascii_graphic()) {
        resolver.refuse(PATH_ACCESS_KEY_ID, id);
    }
    if written_secret.first().is_none() {
        let kind = ProblemKind::NeedsOneOf { others: &SECRET_ACCESS_KEYS };
        resolver.add(resolver.place(id.span().start), PATH_ACCESS_KEY_ID, kind);
    }
    Some(S3Credentials { access_key_id: id.get_ref().clone(), secret_access_key: secret_access_key?, session_token })
}

fn gcs(resolver: &mut Resolver<'_>, written: &WrittenGcs) -> GcsConfiguration {
    GcsConfiguration {
        endpoint: endpoint(resolver, "storage.gcs.endpoint", &written.endpoint),
        credentials: written.credentials_file.as_ref().and_then(|file| service_account(resolver, file)),
        transfer: WrittenTransfer {
            paths: [
                "storage.gcs.part_size",
                "storage.gcs.parts_in_flight",
                "storage.gcs.timeout",
                "storage.gcs.retry_for",
            ],
            part_size: &written.part_size,
            parts_in_flight: &written.parts_in_flight,
            timeout: &written.timeout,
            retry_for: &written.retry_for,
        }
        .resolve(resolver, PART_BYTES),
    }
}

/// The key of a service account. What is in it is read by whoever uses it; here it is made sure that there is something.
fn service_account(resolver: &mut Resolver<'_>, written: &Spanned<String>) -> Option<SecretString> {
    let path = resolver.folder.join(written.get_ref());
    let is_object = |text: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok();
    let kind = match pem::read(&path) {
        Ok(text) if text.len() as u64 <= PEM_BYTES_MAX && is_object(&text) => return Some(text.into()),
        Err(source) if source.kind() != io::ErrorKind::InvalidData => ProblemKind::FileUnreadable { path, source },
        _ => ProblemKind::FileNotJson { path, limit: PEM_BYTES_MAX },
    };
    resolver.add(resolver.place(written.span().start), "storage.gcs.credentials_file", kind);
    None
}

fn azure(resolver: &mut Resolver<'_>, written: &Spanned<WrittenAzure>) -> Option<AzureConfiguration> {
    let (start, written) = (written.span().start, written.get_ref());
    if let Some(account) = &written.account {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if account.get_ref().is_empty() || !account.get_ref().bytes().all(is_plain) {
            resolver.refuse(PATH_ACCOUNT, account);
        }
    } else {
        resolver.missing(PATH_ACCOUNT, start);
    }
    let account = written.account.as_ref().map(|account| account.get_ref().clone());
    let access_key = WrittenSecret {
        paths: ["storage.azure.access_key", "storage.azure.access_key_file", "storage.azure.access_key_env"],
        value: &written.access_key,
        file: &written.access_key_file,
        variable: &written.access_key_env,
    };
    let access_key = secret(resolver, access_key);
    let endpoint = endpoint(resolver, "storage.azure.endpoint", &written.endpoint);
    let transfer = WrittenTransfer {
        paths: [
            "storage.azure.part_size",
            "storage.azure.parts_in_flight",
            "storage.azure.timeout",
            "storage.azure.retry_for",
        ],
        part_size: &written.part_size,
        parts_in_flight: &written.parts_in_flight,
        timeout: &written.timeout,
        retry_for: &written.retry_for,
    };
    let transfer = transfer.resolve(resolver, AZURE_PART_BYTES);
    Some(AzureConfiguration { account: account?, access_key, endpoint, transfer })
}

/// What the tables of all kinds of store have in common, with the paths of its keys.
struct WrittenTransfer<'w> {
    paths: [&'static str; 4],
    part_size: &'w Text,
    parts_in_flight: &'w Number,
    timeout: &'w Text,
    retry_for: &'w Text,
}

impl WrittenTransfer<'_> {
    fn resolve(&self, resolver: &mut Resolver<'_>, sizes: RangeInclusive<u64>) -> TransferConfiguration {
        let default = TransferConfiguration::default();
        let [part_size, parts_in_flight, timeout, retry_for] = self.paths;
        TransferConfiguration {
            part_size: resolver.parsed(part_size, self.part_size, default.part_size, |text| {
                parse_size(text).filter(|size| sizes.contains(size))
            }),
            parts_in_flight: resolver.number(
                parts_in_flight,
                self.parts_in_flight.as_ref(),
                PARTS_IN_FLIGHT,
                default.parts_in_flight,
            ),
            timeout: resolver.parsed(timeout, self.timeout, default.timeout, duration_from(Duration::from_secs(1))),
            retry_for: resolver.parsed(retry_for, self.retry_for, default.retry_for, parse_duration),
        }
    }
}

/// Scheme, host and port, without a slash at the end.
fn endpoint(resolver: &mut Resolver<'_>, path: &'static str, written: &Text) -> Option<String> {
    let written = written.as_ref()?;
    let url = Url::parse(written.get_ref()).ok().filter(is_origin);
    if url.is_none() {
        refuse_url(resolver, path, written);
    }
    url.map(|url| url.as_str().trim_end_matches('/').to_owned())
}

fn flag(written: Option<&Spanned<bool>>, default: bool) -> bool {
    written.map_or(default, |written| *written.get_ref())
}
