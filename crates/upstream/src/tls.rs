//! TLS towards upstreams: whom they are recognised by, what they are shown, and what a failure means.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use secrecy::ExposeSecret as _;

use crate::config::{ClientCertificate, ConfigError, UpstreamConfig};
use crate::error::Source;

/// The roots of the system, or those that Mozilla trusts where the system has none.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    roots
}

/// `roots`, and those that `upstream` is recognised by besides.
pub(crate) fn roots_of(upstream: &UpstreamConfig, roots: &RootCertStore) -> Result<RootCertStore, ConfigError> {
    let extended = extend(roots.clone(), upstream.ca.as_deref());
    extended.map_err(|problem| ConfigError::field(upstream, "ca", problem))
}

/// `roots`, and the authorities in `pem`; otherwise what is wrong with the text.
pub(crate) fn extend(mut roots: RootCertStore, pem: Option<&[u8]>) -> Result<RootCertStore, &'static str> {
    let Some(pem) = pem else { return Ok(roots) };
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|_| "holds a certificate that is not one of an authority")?;
    }
    Ok(roots)
}

/// TLS that recognises servers by `roots` and shows nothing.
pub(crate) fn anonymous(roots: RootCertStore) -> Result<ClientConfig, ConfigError> {
    Ok(begin(roots)?.with_no_client_auth())
}

/// TLS that recognises servers by `roots` and shows the certificate of `upstream` to those that ask for one.
pub(crate) fn identified(
    upstream: &UpstreamConfig,
    certificate: &ClientCertificate,
    roots: RootCertStore,
) -> Result<ClientConfig, ConfigError> {
    let refused = |problem| ConfigError::field(upstream, "client_certificate", problem);
    let chain = certificates(&certificate.certificate).map_err(refused)?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.expose_secret().as_bytes())
        .map_err(|_| refused("has no key that can be read: PEM with a key that is not encrypted is expected"))?;
    begin(roots)?.with_client_auth_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => refused("has a key that does not belong to it"),
        _ => refused("cannot be used with its key"),
    })
}

fn begin(
    roots: RootCertStore,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, ConfigError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(ConfigError::Tls)?.with_root_certificates(roots))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("holds no certificate in PEM"),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err("is not PEM"),
    }
}

/// TLS came to no connection, in words for people.
#[derive(Debug, thiserror::Error)]
#[error("{host} was not believed: {reason}")]
pub(crate) struct TlsFailure {
    pub(crate) host: String,
    pub(crate) reason: &'static str,
    #[source]
    pub(crate) source: Source,
}

/// What TLS failed at, if it is TLS that failed.
pub(crate) fn failure_reason(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(reason(found));
        }
        // An I/O error shows itself as what it holds, and leaves just that out of its sources.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

const fn reason(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            // A bad signature is what a namesake of the authority comes to.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not trusted, no authority that is known here has signed it; the one that has can be \
                 configured as its ca"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate is not trusted, because it has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not trusted, because it is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is not trusted, because it is for another host"
            }
            _ => "its certificate is not trusted",
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => "it wants a client_certificate",
        rustls::Error::AlertReceived(_) => "it refused TLS with us",
        _ => "it does not speak TLS as we do",
    }
}
