//! What has to be known of an object store to use it.

use std::fmt;
use std::io;
use std::time::Duration;

use object_store::path::Path;
use secrecy::SecretString;
use url::Url;

use crate::limits::{PART_BYTES_DEFAULT, PART_BYTES_MAX, PART_BYTES_MIN};
use crate::parts_in_flight::PartsInFlight;

/// Where the bytes are, and how to get at them.
///
/// With neither keys nor a file the credentials are found where the provider has them: in the environment, with the identity of the
/// container, the cluster or the machine.
#[derive(Clone, Debug)]
pub struct ObjectStoreConfig {
    /// `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`. The prefix may be left out.
    pub url: String,
    /// Where the store is reached, when it is not the provider's own: `https://s3.example.com`.
    pub endpoint: Option<String>,
    /// Where clients reach it, for signed URLs, when that is elsewhere.
    pub public_endpoint: Option<String>,
    /// The region of an S3 bucket; `us-east-1` when neither this nor the environment names one.
    pub region: Option<String>,
    /// The access key of S3, or the storage account of Azure.
    pub access_key_id: Option<String>,
    /// The secret of the access key, or the key of the storage account.
    pub secret_access_key: Option<SecretString>,
    /// What goes with temporary keys of S3.
    pub session_token: Option<SecretString>,
    /// The key file of a service account of Google, as text.
    pub service_account_key: Option<SecretString>,
    /// Where the name of an S3 bucket goes.
    pub address_style: AddressStyle,
    /// Whether an endpoint without TLS may be used. What is sent to it is signed, and can be read by whoever is between.
    pub allow_http: bool,
    /// Authorities to trust besides those of the system, in PEM.
    pub ca: Option<Vec<u8>>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How often a request that failed in a way that may pass is sent again, with growing pauses of random length.
    pub retries_max: usize,
    /// For how long that goes on: no attempt begins later, so the whole takes at most this and the time of one attempt.
    pub retry_for: Duration,
    /// Bytes of a part of an upload, at least [`PART_BYTES_MIN`]. What is not larger is uploaded in one piece.
    pub part_size: u64,
    /// How parts grow, so that there are never too many.
    pub part_growth: PartGrowth,
    /// The memory that all uploads share; one for all stores of the process.
    pub parts_in_flight: PartsInFlight,
    /// The checksum that S3 is asked to verify. Not every store that speaks S3 knows them.
    pub checksum: Option<Checksum>,
    /// Whether the store can be asked to write only what is not there (`If-None-Match`). Without it two commits of the same large blob at the
    /// same time may leave an object that nobody names.
    pub conditional_put: bool,
    /// Leaves the body out of what is signed, for stores that cannot verify it. Only with TLS is it then protected on its way.
    pub unsigned_payload: bool,
}

impl ObjectStoreConfig {
    /// What is right for most stores, with the credentials that are found around.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            endpoint: None,
            public_endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            service_account_key: None,
            address_style: AddressStyle::Path,
            allow_http: false,
            ca: None,
            timeouts: Timeouts::default(),
            retries_max: 5,
            retry_for: Duration::from_secs(30),
            part_size: PART_BYTES_DEFAULT,
            part_growth: PartGrowth::default(),
            parts_in_flight: PartsInFlight::default(),
            checksum: None,
            conditional_put: true,
            unsigned_payload: false,
        }
    }

    /// Where the bytes are, when everything about it makes sense.
    pub(crate) fn place(&self) -> Result<StorePlace, ConfigError> {
        let malformed = |problem| ConfigError::Url { url: self.url.clone(), problem };
        let url = Url::parse(&self.url).map_err(|_| malformed("it is no URL"))?;
        let provider = match url.scheme() {
            "s3" | "s3a" => Provider::S3,
            "gs" => Provider::Google,
            "az" | "azure" => Provider::Azure,
            _ => return Err(malformed("the scheme is none of s3, gs and az")),
        };
        let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| malformed("it names no bucket"))?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.port().is_some() {
            return Err(malformed("only a bucket and a prefix are expected: the rest is configured beside it"));
        }
        let prefix = url.path().trim_matches('/');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        if !prefix.bytes().all(is_plain) || prefix.split('/').any(|part| part == "." || part == "..") {
            return Err(malformed("the prefix may have letters, digits, -, _, . and /"));
        }
        let prefix = Path::parse(prefix).map_err(|_| malformed("the prefix has an empty part"))?;
        if !(PART_BYTES_MIN..=PART_BYTES_MAX).contains(&self.part_size) {
            return Err(ConfigError::PartSize(self.part_size));
        }
        for endpoint in [&self.endpoint, &self.public_endpoint].into_iter().flatten() {
            self.check_endpoint(endpoint)?;
        }
        let endpoint = self.endpoint.clone().unwrap_or_default();
        Ok(StorePlace {
            provider,
            bucket: bucket.to_owned(),
            prefix,
            identity: format!("{provider:?} {endpoint} {bucket}"),
        })
    }

    fn check_endpoint(&self, endpoint: &str) -> Result<(), ConfigError> {
        let malformed = |problem| ConfigError::Endpoint { endpoint: endpoint.to_owned(), problem };
        let url = Url::parse(endpoint).map_err(|_| malformed("it is no URL"))?;
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.allow_http => Ok(()),
            "http" => Err(malformed("it has no TLS, which has to be allowed")),
            _ => Err(malformed("the scheme is neither https nor http")),
        }
    }
}

/// Where the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StorePlace {
    pub(crate) provider: Provider,
    pub(crate) bucket: String,
    pub(crate) prefix: Path,
    /// The same for all that are one bucket.
    pub(crate) identity: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    S3,
    Google,
    Azure,
}

/// Where the name of an S3 bucket goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressStyle {
    /// Into the path: `https://endpoint/bucket/key`. Every store understands it.
    #[default]
    Path,
    /// Into the name of the host: `https://bucket.endpoint/key`. The endpoint is then given with the bucket in it.
    VirtualHost,
}

/// A checksum that S3 verifies, and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256: computed once more here.
    Sha256,
    /// CRC-64/NVME: what AWS recommends.
    Crc64Nvme,
}

/// How the parts of an upload grow, so that 10,000 of them suffice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartGrowth {
    /// The first 4,500 parts have the configured size (70 GiB at 16 MiB), and each 500 that follow twice that of those before: as large as S3
    /// can take.
    #[default]
    Doubling,
    /// All parts of an upload but the last have the same size, as R2 wants it: the configured one, or as much more as it takes for a
    /// blob of this many bytes.
    Equal {
        /// Bytes of the largest blob that will ever be stored. A larger one is refused.
        blob_size_max: u64,
    },
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, with TLS.
    pub connect: Duration,
    /// For the head of an answer; a second more for each 256 KiB that the request sends.
    pub answer: Duration,
    /// For the next bytes of an answer.
    pub silence: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), answer: seconds(20), silence: seconds(20) }
    }
}

/// Why a store cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL makes no sense.
    #[error("{url} is not the place of a store: {problem}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An endpoint makes no sense.
    #[error("{endpoint} cannot be used as an endpoint: {problem}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The size of parts is out of bounds.
    #[error("parts of {0} bytes are not possible: expected {PART_BYTES_MIN} to {PART_BYTES_MAX}")]
    PartSize(u64),
    /// The authorities to trust cannot be read.
    #[error("the certificate file {0}")]
    Authorities(&'static str),
    /// The cryptography at hand cannot speak any version of TLS.
    #[error("no version of TLS can be spoken")]
    Tls(#[source] rustls::Error),
    /// No client could be made.
    #[error("no client could be made")]
    Client(#[source] io::Error),
    /// The client of the provider refuses what it was told.
    #[error("the client of the store refuses its configuration: {0}")]
    Provider(String),
}

impl fmt::Display for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_provider_a_bucket_and_a_prefix() {
        let rows = [
            ("s3://bucket", Provider::S3, "bucket", ""),
            ("s3://bucket/", Provider::S3, "bucket", ""),
            ("s3://bucket/some/registry/", Provider::S3, "bucket", "some/registry"),
            ("gs://my.bucket/x", Provider::Google, "my.bucket", "x"),
            ("az://container/x", Provider::Azure, "container", "x"),
        ];
        for (url, provider, bucket, prefix) in rows {
            let place = ObjectStoreConfig::new(url).place().unwrap();
            assert_eq!(
                (place.provider, place.bucket.as_str(), place.prefix.as_ref()),
                (provider, bucket, prefix),
                "{url}"
            );
        }
        for url in
            ["bucket", "s3://", "s3:///x", "ftp://bucket", "s3://b/x?y", "s3://b/../x y", "s3://b/a//b", "s3://key@b/x"]
        {
            assert!(matches!(ObjectStoreConfig::new(url).place(), Err(ConfigError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let mut config = ObjectStoreConfig::new("s3://bucket");
        config.endpoint = Some("http://127.0.0.1:9000".to_owned());
        assert!(matches!(config.place(), Err(ConfigError::Endpoint { .. })));
        config.allow_http = true;
        assert!(config.place().is_ok());
        config.part_size = PART_BYTES_MIN - 1;
        assert!(matches!(config.place(), Err(ConfigError::PartSize(_))));
    }

    #[test]
    fn secrets_are_not_printed() {
        let mut config = ObjectStoreConfig::new("s3://bucket");
        config.secret_access_key = Some("hush".to_owned().into());
        config.session_token = Some("hush".to_owned().into());
        config.service_account_key = Some("hush".to_owned().into());
        assert!(!format!("{config:?}").contains("hush"));
    }
}
