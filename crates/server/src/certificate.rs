//! What we read of certificates: whose one is, and for how long it is valid.
//!
//! Whether to believe a certificate is decided in the handshake, before anything here looks at it.

use std::sync::Arc;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::limits::CERTIFICATE_NAME_MAX;

/// Why a certificate is of no use now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Its time is over.
    Expired {
        /// Since when, as text.
        at: String,
    },
    /// Its time has not come.
    NotYetValid {
        /// From when on it is valid, as text.
        from: String,
    },
}

/// Whether a certificate is out of its time at `now`, in seconds since 1970.
pub(crate) fn expiry(certificate: &[u8], now: u64) -> Option<Expiry> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    let now = i64::try_from(now).ok()?;
    if now > validity.not_after.timestamp() {
        return Some(Expiry::Expired { at: validity.not_after.to_string() });
    }
    (now < validity.not_before.timestamp()).then(|| Expiry::NotYetValid { from: validity.not_before.to_string() })
}

/// The name of whoever a client certificate is of: the common name of its subject, or else the first host, address of mail or
/// URI among its alternative names.
///
/// A name that nobody could write into a rule (empty, endless, with control characters) is none.
pub(crate) fn client_name(certificate: &[u8]) -> Option<Arc<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let common_name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = match common_name.filter(|name| !name.is_empty()) {
        Some(name) => Some(name),
        None => alternative_name(&certificate),
    };
    name.filter(|name| is_usable(name)).map(Arc::from)
}

fn alternative_name<'c>(certificate: &X509Certificate<'c>) -> Option<&'c str> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some(*name),
        _ => None,
    })
}

fn is_usable(name: &str) -> bool {
    !name.is_empty() && name.len() <= CERTIFICATE_NAME_MAX && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use entrepot_testkit::Authority;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("it was just written")
    }

    #[test]
    fn the_common_name_counts_and_then_the_first_alternative_one() {
        let authority = Authority::new();
        let rows: [(Option<&str>, &[&str], Option<&str>); 8] = [
            (Some("alice"), &["host.example"], Some("alice")),
            (Some("Alice of Wonderland"), &[], Some("Alice of Wonderland")),
            (None, &["host.example", "other.example"], Some("host.example")),
            (Some(""), &["host.example"], Some("host.example")),
            (None, &["10.0.0.1", "host.example"], Some("host.example")),
            (None, &[], None),
            (Some("a\nb"), &["host.example"], None),
            (Some(&"a".repeat(CERTIFICATE_NAME_MAX + 1)), &["host.example"], None),
        ];
        for (common_name, names, expected) in rows {
            let certificate = authority.client_named(common_name, names);
            assert_eq!(client_name(&der(&certificate.certificate)).as_deref(), expected, "{common_name:?} {names:?}");
        }
        assert_eq!(client_name(b"no certificate"), None);
    }

    #[test]
    fn a_certificate_has_its_time() {
        let certificate = der(&Authority::new().client().certificate);
        let (_, parsed) = X509Certificate::from_der(&certificate).expect("a certificate");
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).expect("after 1970");
        let (from, to) = (seconds(parsed.validity().not_before), seconds(parsed.validity().not_after));
        assert_eq!((expiry(&certificate, from), expiry(&certificate, to)), (None, None));
        assert!(matches!(expiry(&certificate, to + 1), Some(Expiry::Expired { .. })));
        assert!(matches!(expiry(&certificate, from - 1), Some(Expiry::NotYetValid { .. })));
    }
}
