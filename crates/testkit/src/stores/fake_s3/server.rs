//! The HTTP server below the fake S3.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::Shared;
use super::rule::Action;
use super::seen::S3Seen;
use crate::server::{Body, send};

/// Bytes of a request's body: more than any part of a test has. A longer one ends the connection.
const BODY_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Listens on `address`, and serves until the task is aborted; every connection ends with it.
pub(super) async fn serve(address: SocketAddr, shared: Arc<Shared>) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    #[expect(clippy::disallowed_methods, reason = "the fake holds the task and ends it")]
    let server = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            shared.count_connection();
            let shared = Arc::clone(&shared);
            connections.spawn(async move {
                let service = service_fn(move |request| respond(request, Arc::clone(&shared)));
                // A connection that a test breaks ends in an error here, which is what was wanted.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
            while connections.try_join_next().is_some() {}
        }
    });
    Ok((address, server))
}

/// An error breaks the connection.
async fn respond(request: Request<Incoming>, shared: Arc<Shared>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let seen = S3Seen::new(&head.method, head.uri.path(), query, head.headers);
    let (action, hold) = shared.arrive(&seen);
    if let Some(gate) = hold {
        gate.pass().await;
    }
    let body_bytes_max = if let Some(Action::CutRequest(bytes)) = action { bytes } else { BODY_BYTES_MAX };
    let body = read(body, body_bytes_max).await?;
    if matches!(action, Some(Action::CutRequest(_))) {
        return Err(io::Error::other("cut by the test"));
    }
    match shared.answer(&seen, body, action) {
        Some(reply) => Ok(send(reply, head.method == Method::HEAD).await),
        None => Err(io::Error::other("the reply is lost by the test")),
    }
}

/// All of a body. One that is longer than `bytes_max`, or breaks off, is an error.
async fn read(mut body: Incoming, bytes_max: usize) -> io::Result<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    Ok(bytes.freeze())
}
