//! Certificates and keys in files. What is in them is read by whoever uses them; here it is made sure that there is something.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use entrepot_upstream::ClientCertificate;
use secrecy::SecretString;
use toml::Spanned;

use super::error::ProblemKind;
use super::limits::PEM_BYTES_MAX;
use super::resolve::Resolver;
use super::written::{Text, WrittenUpstream};

/// What every block of a key has in its first line: there are keys of several kinds.
const KEY_MARK: &str = "PRIVATE KEY-----";

const CERTIFICATE_MARK: &str = "-----BEGIN CERTIFICATE-----";

/// The bytes of a file with certificates.
pub(crate) fn certificates(resolver: &mut Resolver<'_>, path: &'static str, written: &Text) -> Option<Vec<u8>> {
    pem(resolver, path, written.as_ref()?, ("certificate", CERTIFICATE_MARK)).map(String::into_bytes)
}

/// Makes sure that a file has a private key in it.
pub(crate) fn private_key(resolver: &mut Resolver<'_>, path: &'static str, written: &Text) {
    if let Some(written) = written {
        pem(resolver, path, written, ("private key", KEY_MARK)).map(SecretString::from);
    }
}

/// The certificate that the upstream is shown, with its key.
pub(crate) fn client_certificate(resolver: &mut Resolver<'_>, written: &WrittenUpstream) -> Option<ClientCertificate> {
    let (certificate_path, key_path) = ("proxy.upstream.client_certificate", "proxy.upstream.client_key");
    let alone = match (&written.client_certificate, &written.client_key) {
        (None, None) | (Some(_), Some(_)) => None,
        (Some(certificate), None) => Some((certificate_path, certificate, "client_key")),
        (None, Some(key)) => Some((key_path, key, "client_certificate")),
    };
    if let Some((path, written, other)) = alone {
        resolver.add(resolver.place(written.span().start), path, ProblemKind::Needs { other });
    }
    let certificate = certificates(resolver, certificate_path, &written.client_certificate);
    let key = written.client_key.as_ref().and_then(|key| pem(resolver, key_path, key, ("private key", KEY_MARK)));
    Some(ClientCertificate { certificate: certificate?, key: SecretString::from(key?) })
}

/// How many certificates there are, in words.
pub(crate) fn show_certificates(bytes: &[u8]) -> String {
    match String::from_utf8_lossy(bytes).matches(CERTIFICATE_MARK).count() {
        1 => "1 certificate".to_owned(),
        count => format!("{count} certificates"),
    }
}

fn pem(
    resolver: &mut Resolver<'_>,
    key: &'static str,
    written: &Spanned<String>,
    (wanted, mark): (&'static str, &str),
) -> Option<String> {
    let path = resolver.folder.join(written.get_ref());
    let kind = match read(&path) {
        Ok(text) if text.len() as u64 <= PEM_BYTES_MAX && text.contains(mark) => return Some(text),
        Ok(_) => ProblemKind::FileNotPem { path, wanted, limit: PEM_BYTES_MAX },
        Err(source) if source.kind() == io::ErrorKind::InvalidData => {
            ProblemKind::FileNotPem { path, wanted, limit: PEM_BYTES_MAX }
        }
        Err(source) => ProblemKind::FileUnreadable { path, source },
    };
    resolver.add(resolver.place(written.span().start), key, kind);
    None
}

/// The text of a file, up to one byte more than it may have.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(PEM_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok(text)
}
