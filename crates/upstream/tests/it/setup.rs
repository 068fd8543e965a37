//! What every test begins with.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use entrepot_oci::{Digest, RepositoryName, TagOrDigest};
use entrepot_testkit::{FakeUpstream, Reply, Seen};
use entrepot_upstream::{BlobBody, Error, Remote, RemoteRepository, Remotes, RemotesConfig, UpstreamConfig};
use futures_util::StreamExt as _;

/// What becomes of an honest reply.
pub(crate) type Lie = Box<dyn Fn(Reply) -> Reply + Send + Sync>;

/// Whether an error is the right one.
pub(crate) type Expectation = fn(&Error) -> bool;

pub(crate) const NAME: &str = "fake";

pub(crate) fn repository() -> RemoteRepository {
    name("team/app").into()
}

pub(crate) fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

pub(crate) fn tag(text: &str) -> TagOrDigest {
    TagOrDigest::Tag(text.parse().unwrap())
}

pub(crate) fn by_digest(digest: &Digest) -> TagOrDigest {
    TagOrDigest::Digest(digest.clone())
}

/// `fake` as a listed upstream.
pub(crate) fn listed(fake: &FakeUpstream) -> UpstreamConfig {
    UpstreamConfig::new(NAME, fake.url().parse().unwrap())
}

/// `fake` as a listed upstream with an account.
pub(crate) fn with_account(fake: &FakeUpstream) -> UpstreamConfig {
    UpstreamConfig { username: Some("robot".into()), password: Some("hidden".into()), ..listed(fake) }
}

/// `upstream`, which trusts `host` on the port where it listens.
pub(crate) fn trusting(upstream: UpstreamConfig, host: &FakeUpstream) -> UpstreamConfig {
    UpstreamConfig { trusted_hosts: vec![host.address().to_string()], ..upstream }
}

pub(crate) fn remote_of(upstream: UpstreamConfig) -> Arc<Remote> {
    remote_with(RemotesConfig { upstreams: vec![upstream], ..RemotesConfig::default() })
}

pub(crate) fn remote_with(config: RemotesConfig) -> Arc<Remote> {
    Remotes::new(config).unwrap().resolve(NAME).unwrap()
}

/// The remote of `fake`, listed and without an account.
pub(crate) fn remote(fake: &FakeUpstream) -> Arc<Remote> {
    remote_of(listed(fake))
}

/// Everything that comes, and the error that ended it.
pub(crate) async fn read(mut body: BlobBody) -> (Vec<u8>, Option<Error>) {
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => return (bytes.to_vec(), Some(error)),
        }
    }
    (bytes.to_vec(), None)
}

/// Lets time pass without waiting for it. Between questions alone: while one is under way its timeouts would pass, too.
pub(crate) async fn later(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// Whether a request carried an account or a token.
pub(crate) fn is_authorized(seen: &Seen) -> bool {
    seen.header("authorization").is_some()
}
