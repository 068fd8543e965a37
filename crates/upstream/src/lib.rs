//! A client of other registries: what the pull-through cache knows of the world outside.
//!
//! [`Remotes`] turns the name of a host into a [`Remote`], and a [`Remote`] is asked for manifests, blobs, tags and
//! referrers, by GET and HEAD alone; an identity token is traded in by POST. Challenges, tokens, redirects and pages are dealt with in here; nothing is
//! cached but tokens and accounts, and nothing is retried behind the caller's back but a request whose token or account had
//! gone stale. A mirror is another place that serves the same registry: it is asked for content by digest, and believed in nothing.
//! A remote is not asked for more at once than it is configured for, nor at all while it asks for patience or keeps failing.
//!
//! The one key decision: **whatever an upstream says leads only to public addresses.** A redirect or the realm of
//! a challenge comes from the network; it is followed through a resolver that refuses private addresses at
//! connect time, except to the authority that the operator listed and the hosts that he listed with it. (Behind an
//! HTTP proxy the proxy resolves: then only addresses that stand in a URL are seen here.) And
//! credentials leave for nobody but the upstream itself and a realm that it may be trusted with.

mod account;
mod address;
mod answer;
mod ask;
mod authorization;
mod blobs;
mod body;
mod caller;
mod challenge;
mod circuit;
mod config;
mod connections;
mod credential_helper;
mod documents;
mod error;
mod handshake;
mod history;
mod limits;
mod login;
mod manifests;
mod mirror_places;
mod mirrors;
mod news;
mod pages;
mod permission;
mod rate_limit;
mod reach;
mod referrers;
mod remote;
mod remotes;
mod resolver;
mod retry_after;
mod tags;
mod tls;
mod token_cache;
mod token_request;
mod turns;
mod via;

pub use address::is_public;
pub use blobs::{BlobBody, BlobFrom, BlobResponse};
pub use caller::{CallerCredentials, CallerKey};
pub use config::{
    ClientCertificate, ConfigError, CredentialHelper, Hosts, Lookup, Mirror, REQUESTS_MAX_DEFAULT, RemotesConfig,
    Timeouts, UpstreamConfig,
};
pub use documents::Documents;
pub use error::{ContentError, Error, RedirectError, Source, Suspension};
pub use handshake::{Handshake, HandshakeStep};
pub use history::{History, PassedOver, RedactedUrl, Reported};
pub use manifests::{FetchedManifest, ManifestHead};
pub use mirrors::ServedBy;
pub use news::{Condition, News};
pub use permission::Wish;
pub use rate_limit::RateLimit;
pub use remote::{Remote, RemoteState};
pub use remotes::{Remotes, ResolveError};
pub use tls::system_tls;
pub use via::{RemoteRepository, VIA_CACHES_MAX, VIA_HEADER, Via, ViaError};
