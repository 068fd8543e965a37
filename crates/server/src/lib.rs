//! HTTP: everything between a socket and the domain.
//!
//! From the outside in: the `listener` accepts connections and bounds what they may cost; a `connection` shakes hands where there is
//! TLS and speaks HTTP/1.1 or HTTP/2; `front` puts the client's view, the access log and the `hygiene` checks around every request;
//! `api` parses the [`Route`], shows it to the `gate`, leads it through its `door`, and calls a handler; the handler calls the domain
//! and builds an answer with `respond`; whatever fails becomes an answer in `error`, in one mapping.
//!
//! This crate knows no SQL, no object storage and no particular store.

mod access_log;
mod admin;
mod answerer;
mod api;
mod audit;
mod blob_body;
mod body;
mod certificate;
mod challenge;
mod client_view;
mod conditional;
mod connection;
mod deadline;
mod door;
mod error;
mod front;
mod gate;
mod gathered_records;
mod guarded_stream;
mod handlers;
mod handshake;
mod head_scan;
mod health;
mod http1_connection;
mod http2_connection;
mod hygiene;
mod limits;
mod listener;
mod metrics;
mod network;
mod proof;
mod query;
mod redirect;
mod replica;
mod request_body;
mod request_id;
mod respond;
mod route;
mod sendfile;
mod socket;
mod tls;
mod token_endpoint;
mod turn;
mod write_guard;

pub use access_log::{Decision, RequestFacts};
pub use admin::{AdminRoute, admin_router};
pub use answerer::Answerer;
pub use api::{Api, api};
pub use client_view::{BaseUrl, ClientView, ViewSettings};
pub use connection::{ConnectionLimits, Peer};
pub use error::ErrorResponse;
pub use front::{Routes, front};
pub use health::{Health, NotReady};
pub use listener::{ServeOutcome, serve};
pub use metrics::{ConnectionMetrics, Metrics, RequestMetrics, RouteLabel, metrics_router, serve_metrics};
pub use network::{Network, NetworkError};
pub use redirect::{RedirectRule, RedirectSettings};
pub use replica::{REPLICA_SIZE_HEADER, replica_path, replica_router, serve_replicas};
pub use request_body::BodyStalled;
pub use request_id::{RequestId, RequestIds};
pub use route::{Access, DigestOf, Route, RouteError, Subject};
pub use socket::serve_socket;
pub use tls::{ClientCertificates, Tls, TlsError, TlsSettings};
pub use token_endpoint::token_router;
