//! The other replicas, over HTTP: how this one reads along what another is fetching.

use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use entrepot_registry::{PeerAnswer, PeerError, PeerRequest, Peers};
use entrepot_server::{REPLICA_SIZE_HEADER, replica_path};
use futures_util::{StreamExt, TryStreamExt};
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// How long a replica may take to be connected to. Longer than that it is as good as gone, and the lease of what it did runs out.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// How long a replica may send nothing. It may have nothing to send because its upstream stalls; then it is asked again.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Reaches other replicas by the addresses that they leave with their leases.
#[derive(Debug)]
pub(crate) struct HttpPeers(Client<HttpConnector, Body>);

impl HttpPeers {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        connector.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }
}

#[async_trait]
impl Peers for HttpPeers {
    async fn follow(&self, address: &str, request: &PeerRequest) -> Result<PeerAnswer, PeerError> {
        let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| PeerError::Unreachable {
            address: address.to_owned(),
            source,
        };
        let asked = Request::get(format!("{address}{}", replica_path(&request.digest, request.first)))
            .header(AUTHORIZATION, format!("Bearer {}", request.ticket.as_str()))
            .body(Body::empty())
            .map_err(|error| unreachable(error.into()))?;
        let answer = tokio::time::timeout(SILENCE_MAX, self.0.request(asked)).await;
        let answer = answer.map_err(|error| unreachable(error.into()))?.map_err(|error| unreachable(error.into()))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(PeerError::NotFilling),
            status => return Err(unreachable(format!("it answered {status}").into())),
        }
        let size = answer.headers().get(REPLICA_SIZE_HEADER).and_then(|size| size.to_str().ok()?.parse().ok());
        let frames = Body::new(answer.into_body()).into_data_stream().map_err(Into::into);
        let body = impatient(frames.boxed());
        Ok(PeerAnswer { size, body })
    }
}

/// The same stream, which fails when nothing comes for too long.
fn impatient(frames: entrepot_registry::Source) -> entrepot_registry::Source {
    futures_util::stream::try_unfold(frames, |mut frames| async move {
        match tokio::time::timeout(SILENCE_MAX, frames.try_next()).await {
            Ok(next) => Ok(next?.map(|frame| (frame, frames))),
            Err(_) => Err("the other replica has sent nothing for too long".into()),
        }
    })
    .boxed()
}
