//! TLS on real sockets: what is agreed on, who is let in, and what comes of those who speak something else.

use std::sync::Arc;

use entrepot_testkit::{Authority, Certificate};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::socket_tests::{PATIENCE, SHORT, Server, status};
use super::*;
use crate::tls::{ClientCertificates, TlsSettings};

const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];

pub(super) const NAME: &str = "registry.example";

pub(super) fn settings(certificate: &Certificate) -> TlsSettings {
    TlsSettings {
        certificate: certificate.certificate.clone().into_bytes(),
        key: certificate.key.clone().into(),
        client_ca: None,
        client_certificates: ClientCertificates::Optional,
    }
}

fn for_clients_of(authority: &Authority, clients: &Authority, client_certificates: ClientCertificates) -> TlsSettings {
    let settings = settings(&authority.server(&[NAME]));
    TlsSettings { client_ca: Some(clients.pem().into_bytes()), client_certificates, ..settings }
}

/// A client that trusts an authority.
pub(super) struct Client<'a> {
    pub(super) trusts: &'a Authority,
    pub(super) certificate: Option<&'a Certificate>,
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
    pub(super) protocols: &'a [&'a [u8]],
}

impl<'a> Client<'a> {
    pub(super) fn of(trusts: &'a Authority) -> Self {
        Self { trusts, certificate: None, versions: rustls::ALL_VERSIONS, protocols: &[b"http/1.1"] }
    }

    fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.trusts.pem().as_bytes()).expect("PEM")).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(self.versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match self.certificate {
            None => builder.with_no_client_auth(),
            Some(Certificate { certificate, key }) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    pub(super) async fn connect(&self, server: &Server) -> TlsStream<TcpStream> {
        connect(server, self.config()).await.expect("a handshake")
    }

    /// The answer to one request, or what has ended the connection.
    async fn get(&self, server: &Server, path: &str) -> io::Result<String> {
        get(&mut connect(server, self.config()).await?, path).await
    }
}

async fn connect(server: &Server, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address).await?;
    let connecting = TlsConnector::from(config).connect(ServerName::try_from(NAME).expect("a name"), stream);
    timeout(PATIENCE, connecting).await.expect("a handshake in time")
}

async fn get(stream: &mut TlsStream<TcpStream>, path: &str) -> io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end")?;
    Ok(String::from_utf8(answer).expect("text"))
}

async fn served(settings: TlsSettings) -> (Server, Arc<Tls>) {
    let tls = Tls::new(settings).expect("TLS");
    (Server::start_with(ConnectionLimits::default(), Some(Arc::clone(&tls))).await, tls)
}

#[tokio::test]
async fn http_1_1_is_spoken_over_both_versions_of_tls() {
    let authority = Authority::new();
    let (server, _) = served(settings(&authority.server(&[NAME]))).await;
    for versions in VERSIONS {
        for protocols in [&[][..], &[b"http/1.1".as_slice()]] {
            let client = Client { versions, protocols, ..Client::of(&authority) };
            let answer = client.get(&server, "/v2/view").await.expect("an answer");
            assert_eq!(status(&answer), "200", "{answer}");
            assert!(answer.ends_with(&format!("https://{NAME} -")), "{answer}");
        }
    }
    let nothing_in_common = Client { protocols: &[b"gopher"], ..Client::of(&authority) };
    nothing_in_common.get(&server, "/v2/").await.expect_err("no protocol");
    assert_eq!(server.stop().await, ServeOutcome { connections_cut: 0 });
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_bad_one_for_none() {
    let (old, new) = (Authority::new(), Authority::new());
    let (server, tls) = served(settings(&old.server(&[NAME]))).await;
    let mut before = Client::of(&old).connect(&server).await;

    let mut mismatched = settings(&new.server(&[NAME]));
    mismatched.key = new.server(&[NAME]).key.into();
    tls.replace(mismatched).expect_err("the key is another's");
    Client::of(&old).get(&server, "/v2/").await.expect("the old one is still shown");

    tls.replace(settings(&new.server(&[NAME]))).expect("a pair");
    Client::of(&old).get(&server, "/v2/").await.expect_err("the new one is of another authority");
    assert_eq!(status(&Client::of(&new).get(&server, "/v2/").await.expect("an answer")), "200");
    let answer = get(&mut before, "/v2/").await.expect("an old connection goes on");
    assert_eq!(status(&answer), "200");
}

#[tokio::test]
async fn a_client_certificate_names_its_owner() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let alice = clients.client_named(Some("alice"), &[]);
    let host = clients.client_named(None, &["build.example"]);
    let stranger = strangers.client_named(Some("alice"), &[]);
    let not_a_client = clients.server(&["alice"]);
    let rows = [
        (ClientCertificates::Optional, None, Some("-")),
        (ClientCertificates::Optional, Some(&alice), Some("alice")),
        (ClientCertificates::Optional, Some(&host), Some("build.example")),
        (ClientCertificates::Optional, Some(&stranger), None),
        (ClientCertificates::Optional, Some(&not_a_client), None),
        (ClientCertificates::Required, None, None),
        (ClientCertificates::Required, Some(&alice), Some("alice")),
        (ClientCertificates::Required, Some(&stranger), None),
    ];
    for (policy, certificate, expected) in rows {
        let (server, _) = served(for_clients_of(&authority, &clients, policy)).await;
        for versions in VERSIONS {
            let client = Client { certificate, versions, ..Client::of(&authority) };
            let answer = client.get(&server, "/v2/view").await;
            let name = answer.as_ref().ok().and_then(|answer| answer.rsplit(' ').next());
            assert_eq!(name, expected, "{policy:?}: {answer:?}");
        }
        let refused = if expected.is_none() { 2 } else { 0 };
        assert_eq!(server.metrics.handshake_failures(), refused);
    }
}

#[tokio::test]
async fn a_session_is_resumed_but_not_beyond_a_new_authority_of_clients() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let alice = clients.client_named(Some("alice"), &[]);
    let of_clients = for_clients_of(&authority, &clients, ClientCertificates::Required);
    let (server, tls) = served(of_clients.clone()).await;
    for versions in VERSIONS {
        tls.replace(of_clients.clone()).expect("TLS");
        let config = Client { certificate: Some(&alice), versions, ..Client::of(&authority) }.config();
        for expected in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
            let mut stream = connect(&server, Arc::clone(&config)).await.expect("a handshake");
            let answer = get(&mut stream, "/v2/view").await.expect("an answer");
            assert!(answer.ends_with(" alice"), "{answer}");
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
        }
        let others = TlsSettings { client_ca: Some(Authority::new().pem().into_bytes()), ..of_clients.clone() };
        tls.replace(others).expect("TLS");
        let answer = async { get(&mut connect(&server, Arc::clone(&config)).await?, "/v2/view").await };
        answer.await.expect_err("her authority counts no more");
    }
}

#[tokio::test]
async fn plain_http_is_told_to_use_https() {
    let authority = Authority::new();
    let (server, _) = served(settings(&authority.server(&[NAME]))).await;
    for request in ["GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "P"] {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("room");
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an end").expect("no reset");
        assert_eq!(status(&answer), "400");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
        assert!(body.contains("https://") && body.ends_with('\n'), "{answer}");
    }
}

#[tokio::test]
async fn d13_garbage_and_half_hellos_end_quietly_and_are_counted() {
    let authority = Authority::new();
    let (server, _) = served(settings(&authority.server(&[NAME]))).await;
    // A record of the handshake that announces 512 bytes, and the beginning of a hello.
    let half_hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    let rows: [&[u8]; 6] = [
        &[0; 64],
        &[255; 4096],
        &[22; 4096],
        // A record without content, over and over: no progress, and no end.
        &[22, 3, 3, 0, 0].repeat(1000),
        &[22, 3, 3, 255, 255, 1],
        &half_hello,
    ];
    for bytes in rows {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end");
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    let mut looking = TcpStream::connect(server.address).await.expect("a connection");
    looking.shutdown().await.expect("open");
    assert_eq!(looking.read(&mut [0]).await.expect("a clean end"), 0);
    assert_eq!(status(&Client::of(&authority).get(&server, "/v2/").await.expect("an answer")), "200");
    assert_eq!(server.metrics.handshake_failures(), 6, "and not the one who only looked whether somebody is there");
}

#[tokio::test]
async fn d13_a_thousand_silent_sockets_keep_nobody_out() {
    let authority = Authority::new();
    let (server, _) = served(settings(&authority.server(&[NAME]))).await;
    let mut silent = Vec::new();
    for index in 0..1000 {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        if index % 2 == 0 {
            stream.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("room");
        }
        silent.push(stream);
    }
    let started = Instant::now();
    assert_eq!(status(&Client::of(&authority).get(&server, "/v2/").await.expect("an answer")), "200");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(server.stop().await, ServeOutcome { connections_cut: 0 });
    assert!(started.elapsed() < Duration::from_secs(5), "nobody of them has asked for anything");
}

#[tokio::test]
async fn d13_a_handshake_has_its_time() {
    let authority = Authority::new();
    let limits = ConnectionLimits { handshake_timeout: SHORT, ..ConnectionLimits::default() };
    let tls = Tls::new(settings(&authority.server(&[NAME]))).expect("TLS");
    let server = Server::start_with(limits, Some(tls)).await;
    for beginning in [&[][..], &[22, 3, 1, 2, 0, 1]] {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        let started = Instant::now();
        stream.write_all(beginning).await.expect("room");
        let read = timeout(PATIENCE, stream.read(&mut [0])).await.expect("an end");
        assert_eq!(read.expect("closed without a word"), 0);
        assert!(started.elapsed() >= SHORT);
    }
}

#[tokio::test]
async fn a_reader_that_stalls_behind_tls_frees_what_it_was_sent() {
    let authority = Authority::new();
    let limits = ConnectionLimits { write_stall_timeout: SHORT, ..ConnectionLimits::default() };
    let tls = Tls::new(settings(&authority.server(&[NAME]))).expect("TLS");
    let mut server = Server::start_with(limits, Some(tls)).await;
    let mut stream = Client::of(&authority).connect(&server).await;
    stream.write_all(b"GET /v2/endless HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("room");
    timeout(PATIENCE, server.dropped.recv()).await.expect("in time").expect("the body is dropped");
    drop(stream);
}
