//! The operator's socket: HTTP/1.1 over a unix socket, for the commands on the machine of the server.
//!
//! Who may open the file may do everything: whoever comes in here is the operator, and is not asked for a password. The file
//! system decides who that is. Its clients are the commands of this program; there are few of them, and none is a stranger, so a
//! connection is not watched as closely as one of the network.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::HOST;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::answerer::Answerer;
use crate::client_view::ClientView;
use crate::connection::Ending;
use crate::limits::{ACCEPT_PAUSE_MAX, HEAD_BYTES_MAX, HEAD_TIMEOUT, SOCKET_CONNECTIONS_MAX};
use crate::listener::ServeOutcome;

/// The name by which the server knows itself where nobody else calls it by one.
const LOCALHOST: HeaderValue = HeaderValue::from_static("localhost");

impl ClientView {
    /// Whoever can open the server's own socket, or runs it in his own process.
    pub fn operator() -> Self {
        Self { base_url: "http://localhost".into(), is_operator: true, ..Self::default() }
    }
}

/// Serves what `answerer` answers on the operator's socket until `shutdown` completes, then lets open requests finish for at most `patience`.
pub async fn serve_socket(
    listener: UnixListener,
    answerer: impl Into<Answerer>,
    patience: Duration,
    shutdown: impl Future<Output = ()>,
) -> ServeOutcome {
    let (answerer, tasks, ending) = (answerer.into(), TaskTracker::new(), Ending::default());
    tokio::select! {
        never = accept_all(&listener, &answerer, &tasks, &ending) => match never {},
        () = shutdown => {}
    }
    drop(listener);
    ending.finish.cancel();
    tasks.close();
    if tokio::time::timeout(patience, tasks.wait()).await.is_ok() {
        return ServeOutcome { connections_cut: 0 };
    }
    let connections_cut = tasks.len();
    ending.cut.cancel();
    tasks.wait().await;
    ServeOutcome { connections_cut }
}

async fn accept_all(listener: &UnixListener, answerer: &Answerer, tasks: &TaskTracker, ending: &Ending) -> Infallible {
    let slots = Arc::new(Semaphore::new(SOCKET_CONNECTIONS_MAX));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let (answerer, ending) = (answerer.clone(), ending.clone());
                tasks.spawn(async move {
                    serve_connection(stream, answerer, ending).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept a connection of the operator, trying again");
                tokio::time::sleep(ACCEPT_PAUSE_MAX).await;
            }
        }
    }
}

async fn serve_connection(stream: UnixStream, answerer: Answerer, ending: Ending) {
    let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.headers_mut().entry(HOST).or_insert(LOCALHOST);
        request.extensions_mut().insert(ClientView::operator());
        let response = answerer.answer(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = ending.finish.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection => outcome,
                () = ending.cut.cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection of the operator ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::Router;
    use axum::routing::get;
    use http::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    /// What a handler learns about the client.
    async fn told(request: Request<Body>) -> String {
        let host =
            request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap()).collect::<Vec<_>>().join("+");
        let view = request.extensions().get::<ClientView>().cloned().unwrap_or_default();
        format!("{host} {} {:?}", view.is_operator, view.address)
    }

    async fn exchange(path: &Path, head: &str) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn whoever_opens_the_socket_is_the_operator_whatever_he_says() {
        let folder = std::env::temp_dir().join(format!("entrepot-socket-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let router = Router::new().route("/", get(told));
        let (stop, stopped) = oneshot::channel::<()>();
        let tasks = TaskTracker::new();
        let serving = tasks.spawn(serve_socket(listener, router, Duration::from_secs(30), async {
            let _ = stopped.await;
        }));
        let rows = [
            ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n", "localhost true None"),
            ("GET / HTTP/1.1\r\nhost: registry.corp\r\nconnection: close\r\n\r\n", "registry.corp true None"),
        ];
        for (head, body) in rows {
            let answer = exchange(&path, head).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.ends_with(body), "{answer}");
        }
        // A connection that is idle does not keep the server.
        let idle = UnixStream::connect(&path).await.unwrap();
        drop(stop);
        assert_eq!(serving.await.unwrap(), ServeOutcome { connections_cut: 0 });
        drop(idle);
        assert!(UnixStream::connect(&path).await.is_err(), "nobody listens any more");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_cut_at_a_stop() {
        let folder = std::env::temp_dir().join(format!("entrepot-socket-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (begun, has_begun) = tokio::sync::mpsc::channel::<()>(1);
        let router = Router::new().route(
            "/",
            get(move || {
                let begun = begun.clone();
                async move {
                    begun.send(()).await.unwrap();
                    std::future::pending::<StatusCode>().await
                }
            }),
        );
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let shutdown = async move {
            let mut has_begun = has_begun;
            has_begun.recv().await.unwrap();
        };
        let outcome = serve_socket(listener, router, Duration::from_millis(1), shutdown).await;
        assert_eq!(outcome, ServeOutcome { connections_cut: 1 });
        std::fs::remove_dir_all(folder).unwrap();
    }
}
