//! What is said of files that make no TLS.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entrepot_testkit::{Authority, Certificate};

use super::*;

fn settings() -> TlsSettings {
    let Certificate { certificate, key } = Authority::new().server(&["registry.example"]);
    TlsSettings {
        certificate: certificate.into_bytes(),
        key: key.into(),
        client_ca: None,
        client_certificates: ClientCertificates::Optional,
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[test]
fn settings_that_are_no_tls_are_told_by_file_and_fault() {
    let good = settings();
    let other = settings();
    let chain = good.certificate.clone();
    let secret = good.key.expose_secret().lines().nth(1).expect("a line").to_owned();
    let key = |text: String| TlsSettings { key: text.into(), ..settings() };
    let certificate = |certificate: &[u8]| TlsSettings { certificate: certificate.to_vec(), ..settings() };
    let authority = |pem: &[u8]| TlsSettings { client_ca: Some(pem.to_vec()), ..settings() };
    let rows = [
        (certificate(b""), "certificate file has no certificate"),
        (certificate(good.key.expose_secret().as_bytes()), "certificate file has no certificate"),
        (certificate(b"-----BEGIN CERTIFICATE-----\nAAAA\n"), "certificate file cannot be read"),
        (certificate(pem("CERTIFICATE", b"no DER").as_bytes()), "certificate file cannot be read"),
        (certificate(&chain), "key does not belong to"),
        (key(String::new()), "key file has no key"),
        (key(String::from_utf8(chain.clone()).expect("PEM")), "key file has no key"),
        (key(pem("ENCRYPTED PRIVATE KEY", b"x")), "locked by a password"),
        (key(format!("-----BEGIN PRIVATE KEY-----\n{secret}\n")), "key file cannot be used"),
        (key(format!("-----BEGIN PRIVATE KEY----\n{secret}\n")), "key file"),
        (key(pem("PRIVATE KEY", b"no DER")), "key file cannot be used"),
        (key(other.key.expose_secret().to_owned()), "key does not belong to"),
        (authority(b"nothing"), "client CA file has no certificate"),
        (authority(pem("CERTIFICATE", b"no DER").as_bytes()), "client CA file cannot be read"),
        (
            TlsSettings { client_certificates: ClientCertificates::Required, ..settings() },
            "no client CA that they could be of",
        ),
    ];
    for (index, (settings, expected)) in rows.into_iter().enumerate() {
        let error = Tls::new(settings).expect_err(expected);
        let told = format!("{error} {error:?}");
        assert!(error.to_string().contains(expected), "row {index}: {told}");
        assert!(
            !told.contains(&secret) && !told.contains(&format!("{:?}", secret.as_bytes())),
            "row {index} tells a key"
        );
    }
}

#[test]
fn keys_are_taken_in_the_forms_that_files_have() {
    let pkcs8 = settings();
    let der = PrivateKeyDer::from_pem_slice(pkcs8.key.expose_secret().as_bytes()).expect("it was just written");
    // Within PKCS#8 lies SEC1, as a string of octets: 109 for P-256.
    let at = der.secret_der().windows(2).position(|bytes| bytes == [4, 109]).expect("a string of octets") + 2;
    let sec1 = pem("EC PRIVATE KEY", &der.secret_der()[at..at + 109]);
    Tls::new(TlsSettings { key: sec1.into(), ..pkcs8.clone() }).expect("SEC1");
    Tls::new(pkcs8).expect("PKCS#8");
}

#[test]
fn an_expired_certificate_is_used() {
    let Certificate { certificate, key } = Authority::new().expired_server(&["registry.example"]);
    let settings = TlsSettings { certificate: certificate.into_bytes(), key: key.into(), ..settings() };
    Tls::new(settings).expect("its clients decide");
}

#[test]
fn nothing_of_a_key_is_printed() {
    let settings = settings();
    let secret = settings.key.expose_secret().lines().nth(1).expect("a line").to_owned();
    assert!(!format!("{settings:?}").contains(&secret));
    assert_eq!(format!("{:?}", Tls::new(settings).expect("TLS")), "Tls { .. }");
}
