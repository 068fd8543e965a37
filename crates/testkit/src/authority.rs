//! Throw-away certificate authorities, and what they sign.

use std::fmt;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// What a fake upstream with TLS does with certificates of clients.
#[derive(Clone, Copy, Debug)]
pub enum ClientCertificates<'a> {
    /// Asks for none.
    NotAsked,
    /// Asks for one of this authority, and serves those without one, too.
    Asked(&'a Authority),
    /// Breaks the connection of whoever has none of this authority.
    Demanded(&'a Authority),
}

/// The names in the certificate of a fake upstream.
const SERVER_NAMES: [&str; 4] = ["127.0.0.1", "registry.example", "auth.example", "cdn.example"];

/// A certificate authority that nobody trusts yet.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate that an [`Authority`] has signed, and its key, both in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// A new authority.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "throw-away authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, new_key()).expect("an authority signs itself"))
    }

    /// Its certificate in PEM, for those who trust it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a client.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn client(&self) -> Certificate {
        self.sign(&["client.example"], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A certificate for a client of this common name, if any, and these alternative names (hosts and addresses).
    ///
    /// # Panics
    /// When no key can be made, or a name is none.
    pub fn client_named(&self, common_name: Option<&str>, names: &[&str]) -> Certificate {
        let mut params = parameters(names, ExtendedKeyUsagePurpose::ClientAuth);
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        self.sign_parameters(&params)
    }

    /// A certificate for a server of these names (hosts and addresses).
    ///
    /// # Panics
    /// When no key can be made, or a name is none.
    pub fn server(&self, names: &[&str]) -> Certificate {
        self.sign(names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a server whose time was over long ago.
    ///
    /// # Panics
    /// When no key can be made, or a name is none.
    pub fn expired_server(&self, names: &[&str]) -> Certificate {
        let mut params = parameters(names, ExtendedKeyUsagePurpose::ServerAuth);
        params.not_after = date_time_ymd(2001, 1, 1);
        params.not_before = date_time_ymd(2000, 1, 1);
        self.sign_parameters(&params)
    }

    pub(crate) fn acceptor(&self, clients: ClientCertificates<'_>) -> TlsAcceptor {
        let signed = self.sign(&SERVER_NAMES, ExtendedKeyUsagePurpose::ServerAuth);
        let chain = vec![CertificateDer::from_pem_slice(signed.certificate.as_bytes()).expect("it was just written")];
        let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).expect("it was just written");
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the default versions are there");
        let builder = match clients {
            ClientCertificates::NotAsked => builder.with_no_client_auth(),
            ClientCertificates::Asked(authority) => builder.with_client_cert_verifier(authority.verifier(false)),
            ClientCertificates::Demanded(authority) => builder.with_client_cert_verifier(authority.verifier(true)),
        };
        let config = builder.with_single_cert(chain, key).expect("the key belongs to the certificate");
        TlsAcceptor::from(Arc::new(config))
    }

    fn sign(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Certificate {
        self.sign_parameters(&parameters(names, purpose))
    }

    fn sign_parameters(&self, params: &CertificateParams) -> Certificate {
        let key = new_key();
        let certificate = params.signed_by(&key, &self.0).expect("an authority signs");
        Certificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn verifier(&self, is_demanded: bool) -> Arc<dyn ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority is a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = if is_demanded { builder } else { builder.allow_unauthenticated() };
        builder.build().expect("there is a root")
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn parameters(names: &[&str], purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names of hosts");
    params.extended_key_usages = vec![purpose];
    params
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
