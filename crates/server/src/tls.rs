//! What a listener with TLS shows and wants: certificate, key, and the authority of client certificates.
//!
//! The bytes come from outside, because this crate reads no files; so does the word that they have changed. A connection keeps
//! what it began with. TLS 1.2 and 1.3 by rustls, HTTP/2 and HTTP/1.1 by ALPN.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use secrecy::{ExposeSecret, SecretString};

use crate::certificate::{Expiry, expiry};

/// The name of HTTP/2 in ALPN.
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";

/// The name of HTTP/1.1 in ALPN.
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// What is done with clients that have no certificate. One that is not of the authority is refused in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are let in, and are whoever else they can prove to be.
    #[default]
    Optional,
    /// They are refused in the handshake.
    Required,
}

impl ClientCertificates {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }

    /// The value of this word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Optional, Self::Required].into_iter().find(|word| word.as_str() == text)
    }
}

/// What TLS is made of, as it stands in files.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The server's certificate and those between it and its authority, in PEM, the server's first.
    pub certificate: Vec<u8>,
    /// The key of the certificate in PEM: PKCS#8, PKCS#1 or SEC1, without a password.
    pub key: SecretString,
    /// The authorities of client certificates in PEM. Without them no client is asked for one.
    pub client_ca: Option<Vec<u8>>,
    /// What is done with clients that have none.
    pub client_certificates: ClientCertificates,
}

/// Why the settings make no TLS. The text says which of the files is meant and what is wrong with it, and nothing of a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate to show.
    #[error("the certificate file has no certificate in it: PEM is expected, -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// The certificate is damaged.
    #[error("the certificate file cannot be read: {reason}")]
    CertificateUnreadable {
        /// What the parser has met.
        reason: String,
    },
    /// No key.
    #[error("the key file has no key in it: PEM is expected, -----BEGIN PRIVATE KEY-----")]
    NoKey,
    /// The key wants a password.
    #[error("the key file is locked by a password, which nobody can type at a start: store the key without one")]
    KeyEncrypted,
    /// The key is damaged or of a kind that is not known.
    #[error(
        "the key file cannot be used: it is damaged, or neither RSA (2048 bits or more), ECDSA (P-256, P-384) nor Ed25519"
    )]
    KeyUnusable,
    /// Key and certificate are not a pair.
    #[error(
        "the key does not belong to the first certificate of the certificate file: one of the two is of another server, or the \
         certificates are in the wrong order"
    )]
    KeyMismatch,
    /// There is no authority in what should be one.
    #[error("the client CA file has no certificate in it: PEM is expected, -----BEGIN CERTIFICATE-----")]
    NoClientCa,
    /// The authority is damaged.
    #[error("the client CA file cannot be read: {reason}")]
    ClientCaUnreadable {
        /// What the parser has met.
        reason: String,
    },
    /// Client certificates cannot be required of nobody.
    #[error("client certificates are required, and there is no client CA that they could be of")]
    NoClientCaToRequire,
    /// The library refuses.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// TLS of a listener. What it shows can be replaced while it serves.
pub struct Tls {
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// TLS by these settings. A certificate that has expired is used, and warned of.
    ///
    /// # Errors
    /// The settings are no TLS.
    pub fn new(settings: TlsSettings) -> Result<Arc<Self>, TlsError> {
        let config = RwLock::new(config(settings)?);
        Ok(Arc::new(Self { config }))
    }

    /// Goes on with other settings: for connections that are made from now on.
    ///
    /// # Errors
    /// The settings are no TLS; the old ones stay.
    pub fn replace(&self, settings: TlsSettings) -> Result<(), TlsError> {
        let config = config(settings)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn config(settings: TlsSettings) -> Result<Arc<ServerConfig>, TlsError> {
    let TlsSettings { certificate, key: key_pem, client_ca, client_certificates } = settings;
    let chain =
        certificates(&certificate, TlsError::NoCertificate, |reason| TlsError::CertificateUnreadable { reason })?;
    let key = key(&key_pem)?;
    let verifier = verifier(client_ca.as_deref(), client_certificates)?;
    warn_of_expiry(&chain);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch,
            rustls::Error::InvalidCertificate(error) => TlsError::CertificateUnreadable { reason: error.to_string() },
            // What the key's parser says might quote the key.
            _ => TlsError::KeyUnusable,
        })?;
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
    // Its keys are of this configuration alone: what a client was let in for by an authority that has been replaced is not
    // resumed.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(TlsError::Setup)?;
    Ok(Arc::new(config))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(
    pem: &[u8],
    none: TlsError,
    unreadable: impl Fn(String) -> TlsError,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| unreadable(error.to_string()))?;
    if certificates.is_empty() { Err(none) } else { Ok(certificates) }
}

fn key(pem: &SecretString) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = pem.expose_secret();
    let is_encrypted = pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED");
    if is_encrypted {
        return Err(TlsError::KeyEncrypted);
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => TlsError::NoKey,
        // The parser quotes what it cannot read, and this is a key.
        _ => TlsError::KeyUnusable,
    })
}

fn verifier(client_ca: Option<&[u8]>, wanted: ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let is_required = wanted == ClientCertificates::Required;
    let Some(pem) = client_ca else {
        return if is_required { Err(TlsError::NoClientCaToRequire) } else { Ok(Arc::new(NoClientAuth)) };
    };
    let unreadable = |reason| TlsError::ClientCaUnreadable { reason };
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem, TlsError::NoClientCa, unreadable)? {
        roots.add(authority).map_err(|error| unreadable(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| unreadable(error.to_string()))
}

/// A client judges the certificate by its own clock and may well accept it: no reason to refuse the start.
fn warn_of_expiry(chain: &[CertificateDer<'_>]) {
    let now = UnixTime::now().as_secs();
    match chain.first().and_then(|certificate| expiry(certificate, now)) {
        None => {}
        Some(Expiry::Expired { at }) => {
            tracing::warn!(expired = at, "the certificate has expired: clients will refuse it until it is renewed");
        }
        Some(Expiry::NotYetValid { from }) => {
            tracing::warn!(valid_from = from, "the certificate is not valid yet: clients will refuse it until then");
        }
    }
}

#[cfg(test)]
mod tests;
