//! The server's certificate: read at the start, and taken in again when its files change, so that a renewal needs no restart.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use entrepot_registry::Tasks;
use entrepot_server::{ClientCertificates, Tls, TlsError, TlsSettings};
use secrecy::SecretString;

use crate::config::{PEM_BYTES_MAX, TlsFiles};
use crate::reload::Watch;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is in the files cannot be used.
    #[error("[server.tls] cannot be used")]
    Unusable(#[from] TlsError),
}

/// TLS as the files have it now, which follows them from then on.
pub(crate) fn open(files: &TlsFiles, tasks: &Tasks) -> Result<Arc<Tls>, CertificateError> {
    let paths: Vec<PathBuf> = [&files.certificate, &files.key].into_iter().chain(&files.client_ca).cloned().collect();
    let contents = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let (tls, client_certificates) =
        (Tls::new(settings(&contents, files.client_certificates))?, files.client_certificates);
    let followed = Arc::clone(&tls);
    Watch::new("certificate", paths, PEM_BYTES_MAX, Some(contents))
        .follow(tasks, move |contents| Ok(followed.replace(settings(contents, client_certificates))?));
    Ok(tls)
}

/// The files in the order of [`open`].
fn settings(contents: &[Vec<u8>], client_certificates: ClientCertificates) -> TlsSettings {
    let text = |index: usize| contents.get(index).map(Vec::as_slice).unwrap_or_default();
    TlsSettings {
        certificate: text(0).to_vec(),
        key: SecretString::from(String::from_utf8_lossy(text(1)).into_owned()),
        client_ca: contents.get(2).cloned(),
        client_certificates,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Unreadable { path: path.to_owned(), source };
    let mut content = Vec::new();
    File::open(path).map_err(failed)?.take(PEM_BYTES_MAX).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}
