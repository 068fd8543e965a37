//! Connections of the commands to a server: over its socket on this machine, or over the network to one that was named.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tower::Service;

use super::limits::CONNECT_PATIENCE;
use crate::socket;

/// Where connections lead.
#[derive(Clone, Debug)]
pub(super) enum Connector {
    /// To the server that uses this folder.
    Socket(Arc<Path>),
    /// To whatever the URL says; with TLS where it is https.
    Network(Option<Arc<ClientConfig>>),
}

/// A connection, whatever it goes over.
pub(super) struct Stream(Box<dyn Io>);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Connector {
    /// To the server that uses the folder.
    pub(super) fn socket(folder: &Path) -> Self {
        Self::Socket(PathBuf::from(folder).into())
    }

    async fn connect(self, uri: Uri) -> io::Result<TokioIo<Stream>> {
        let connecting = async {
            match self {
                Self::Socket(folder) => Ok(Stream(Box::new(socket::connect(&folder).await?))),
                Self::Network(tls) => network(&uri, tls).await,
            }
        };
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        Ok(TokioIo::new(tokio::time::timeout(CONNECT_PATIENCE, connecting).await.map_err(late)??))
    }
}

async fn network(uri: &Uri, tls: Option<Arc<ClientConfig>>) -> io::Result<Stream> {
    // An address of version 6 stands in brackets.
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let plain = TcpStream::connect((host, port)).await?;
    let Some(tls) = tls else { return Ok(Stream(Box::new(plain))) };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Stream(Box::new(TlsConnector::from(tls).connect(name, plain).await?)))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
