//! What leaves, in how many writes, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use entrepot_testkit::Authority;
use futures_util::FutureExt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use super::*;
use crate::limits::STREAM_PIECE;
use crate::tls::{Tls, TlsSettings};

const NAME: &str = "registry.example";

/// A socket that counts what it is given.
#[derive(Debug)]
struct Socket {
    stream: DuplexStream,
    writes: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Socket {
    fn count(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = outcome {
            self.writes.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(count, Ordering::Relaxed);
        }
        outcome
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Both ends of a connection over a pipe of this size, and what the server has sent: writes and bytes.
struct Pair {
    server: GatheredRecords<Socket>,
    client: client::TlsStream<DuplexStream>,
    writes: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Pair {
    async fn over(pipe: usize) -> Self {
        let (near, far) = duplex(pipe);
        let authority = Authority::new();
        let certificate = authority.server(&[NAME]);
        let settings = TlsSettings {
            certificate: certificate.certificate.into_bytes(),
            key: certificate.key.into(),
            client_ca: None,
            client_certificates: crate::tls::ClientCertificates::Optional,
        };
        let config = Tls::new(settings).expect("TLS").config();
        let (writes, bytes) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let socket = Socket { stream: near, writes: Arc::clone(&writes), bytes: Arc::clone(&bytes) };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trusting = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(trusting));
        let name = ServerName::try_from(NAME).expect("a name");
        let (server, client) = tokio::join!(TlsAcceptor::from(config).accept(socket), connector.connect(name, far));
        writes.store(0, Ordering::Relaxed);
        bytes.store(0, Ordering::Relaxed);
        let server = GatheredRecords::new(server.expect("a handshake"));
        Self { server, client: client.expect("a handshake"), writes, bytes }
    }

    /// One frame of a response, as the HTTP/2 library writes it.
    async fn write_frame(&mut self) -> io::Result<()> {
        let (head, payload) = ([7; 9], vec![7; STREAM_PIECE]);
        let written = self.server.write_vectored(&[IoSlice::new(&head), IoSlice::new(&payload)]).await?;
        assert_eq!(written, head.len() + payload.len(), "at once");
        self.server.flush().await
    }

    fn sent(&self) -> (usize, usize) {
        (self.writes.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// A full record: head, content, its type, and the tag of AES-GCM.
const RECORD: usize = 5 + (9 + STREAM_PIECE) + 1 + 16;

#[tokio::test]
async fn frames_that_are_flushed_one_by_one_leave_in_one_write_of_full_records() {
    let mut pair = Pair::over(1 << 20).await;
    for _ in 0..4 {
        pair.write_frame().await.expect("room");
    }
    assert_eq!(pair.sent(), (0, 0), "more may come");
    assert!(pair.server.read(&mut [0]).now_or_never().is_none(), "the client has nothing to say");
    assert_eq!(pair.sent(), (1, 4 * RECORD));
    let mut received = vec![0; 4 * (9 + STREAM_PIECE)];
    pair.client.read_exact(&mut received).await.expect("all of it");
    assert!(received.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn no_more_is_queued_than_the_bound() {
    let mut pair = Pair::over(RECORD).await;
    let mut taken = 0;
    while pair.write_frame().now_or_never().is_some() {
        taken += 1;
    }
    assert_eq!(taken, GATHERED_MAX / (9 + STREAM_PIECE), "then the socket is asked, and takes no more than one");
    let (writes, bytes) = pair.sent();
    assert!(writes == 1 && bytes <= RECORD, "{bytes} bytes in {writes} writes");
}

#[tokio::test]
async fn what_was_put_off_leaves_before_the_end() {
    let mut pair = Pair::over(1 << 20).await;
    pair.write_frame().await.expect("room");
    pair.server.shutdown().await.expect("a clean end");
    let mut received = Vec::new();
    pair.client.read_to_end(&mut received).await.expect("a clean end");
    assert_eq!(received.len(), 9 + STREAM_PIECE);
}

#[tokio::test]
async fn a_flush_that_is_put_off_wakes_its_task() {
    #[derive(Default)]
    struct Task(AtomicUsize);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let mut pair = Pair::over(1 << 20).await;
    let task = Arc::<Task>::default();
    let waker = Waker::from(Arc::clone(&task));
    let mut context = Context::from_waker(&waker);
    for expected in [0, 1] {
        assert!(Pin::new(&mut pair.server).poll_flush(&mut context).is_ready());
        assert_eq!(task.0.load(Ordering::Relaxed), expected, "there is nothing to send at first");
        assert!(Pin::new(&mut pair.server).poll_write(&mut context, b"word").is_ready());
    }
}
