//! `[server]` and `[server.tls]`: how clients reach the registry.

use std::path::PathBuf;
use std::time::Duration;

use entrepot_server::{ClientCertificates, Network};
use toml::Spanned;
use url::Url;

use super::error::ProblemKind;
use super::issuers::{is_loopback, refuse_url};
use super::pem;
use super::resolve::{Resolver, duration_from};
use super::upstream::is_origin;
use super::value::{parse_duration, parse_size};
use super::written::{Text, WrittenServer, WrittenTls};
use super::{ServerConfiguration, TlsFiles};

const CONNECTIONS_MAX: i64 = 1_000_000;

/// Everything about the listener.
pub(crate) fn server(resolver: &mut Resolver<'_>, written: &WrittenServer) -> ServerConfiguration {
    let default = ServerConfiguration::default();
    ServerConfiguration {
        listen: resolver.parsed("server.listen", &written.listen, default.listen, |text| text.parse().ok()),
        connections_max: resolver.number(
            "server.connections_max",
            written.connections_max.as_ref(),
            1..=CONNECTIONS_MAX,
            default.connections_max,
        ),
        shutdown_timeout: resolver.parsed(
            "server.shutdown_timeout",
            &written.shutdown_timeout,
            default.shutdown_timeout,
            parse_duration,
        ),
        upload_expiry: resolver.parsed(
            "server.upload_expiry",
            &written.upload_expiry,
            default.upload_expiry,
            duration_from(Duration::from_mins(1)),
        ),
        blob_size_max: resolver.parsed("server.blob_size_max", &written.blob_size_max, None, |text| {
            parse_size(text).filter(|size| *size > 0).map(Some)
        }),
        public_url: public_url(resolver, &written.public_url),
        trusted_proxies: trusted_proxies(resolver, &written.trusted_proxies),
        tls: written.tls.as_ref().and_then(|written| tls(resolver, written)),
    }
}

/// The URL without a slash at its end.
fn public_url(resolver: &mut Resolver<'_>, written: &Text) -> Option<String> {
    let written = written.as_ref()?;
    let url = Url::parse(written.get_ref()).ok().filter(is_origin);
    if url.is_none() {
        refuse_url(resolver, "server.public_url", written);
    }
    url.map(|url| url.as_str().trim_end_matches('/').to_owned())
}

/// Whether a public URL is one that only this machine reaches.
pub(crate) fn is_local(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| is_loopback(&url))
}

fn trusted_proxies(resolver: &mut Resolver<'_>, written: &[Spanned<String>]) -> Vec<String> {
    for proxy in written {
        if proxy.get_ref().parse::<Network>().is_err() {
            resolver.refuse("server.trusted_proxies", proxy);
        }
    }
    written.iter().map(|proxy| proxy.get_ref().clone()).collect()
}

/// The files of TLS, each of them looked at once: they are read again, but a server that cannot begin is told so at its start.
fn tls(resolver: &mut Resolver<'_>, written: &Spanned<WrittenTls>) -> Option<TlsFiles> {
    let (start, written) = (written.span().start, written.get_ref());
    if written.certificate.is_none() {
        resolver.missing("server.tls.certificate", start);
    }
    if written.key.is_none() {
        resolver.missing("server.tls.key", start);
    }
    pem::certificates(resolver, "server.tls.certificate", &written.certificate);
    pem::private_key(resolver, "server.tls.key", &written.key);
    pem::certificates(resolver, "server.tls.client_ca", &written.client_ca);
    let path = "server.tls.client_certificates";
    let client_certificates =
        resolver.parsed(path, &written.client_certificates, ClientCertificates::Optional, ClientCertificates::parse);
    if let Some(word) = written.client_certificates.as_ref().filter(|_| written.client_ca.is_none()) {
        resolver.add(resolver.place(word.span().start), path, ProblemKind::Needs { other: "client_ca" });
    }
    Some(TlsFiles {
        certificate: file(resolver, &written.certificate)?,
        key: file(resolver, &written.key)?,
        client_ca: file(resolver, &written.client_ca),
        client_certificates,
    })
}

fn file(resolver: &Resolver<'_>, written: &Text) -> Option<PathBuf> {
    written.as_ref().map(|file| resolver.folder.join(file.get_ref()))
}
