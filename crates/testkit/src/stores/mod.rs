//! Stores to keep things in, for tests: real ones, one that lies, and the outage of any of them.
//!
//! | | what | how |
//! | --- | --- | --- |
//! | [`Postgres`] | PostgreSQL, a cluster of its own | [`Postgres::start`], then a [`Postgres::database`] for each test |
//! | [`Garage`] | Garage, one node or three | [`Garage::start`], then a [`Garage::bucket`] for each test |
//! | [`S3sFs`] | `s3s-fs`, another implementation of S3 | [`S3sFs::start`], then [`S3sFs::bucket`] |
//! | [`FakeS3`] | an S3 in this process, scripted to lie | [`FakeS3::start`], [`FakeS3::bucket`], then [`FakeS3::when`] |
//! | [`CutProxy`] | a TCP proxy before any of them, that refuses, hangs, cuts and delays | [`CutProxy::start`] |
//!
//! The real ones are programs of other people, which `tests/stores/install` brings. Starting one takes a second or several, so
//! a test program starts it once, for all its tests, each of which takes a database or bucket of its own:
//!
//! ```no_run
//! use std::sync::LazyLock;
//! use entrepot_testkit::stores::{Garage, Postgres};
//! static POSTGRES: LazyLock<Postgres> = LazyLock::new(Postgres::start);
//! static GARAGE: LazyLock<Garage> = LazyLock::new(|| Garage::start(1));
//! let (url, bucket) = (POSTGRES.database(), GARAGE.bucket());
//! ```
//!
//! A test that stops, kills or holds a server starts one for itself, or goes through a [`CutProxy`], since all others would meet
//! the outage as well:
//!
//! ```no_run
//! # async fn example() {
//! use entrepot_testkit::stores::{CutMoment, CutProxy, Postgres};
//! let postgres = Postgres::start();
//! let url = postgres.database();
//! let proxy = CutProxy::start(([127, 0, 0, 1], postgres.port()).into()).await;
//! let url = url.replace(&format!(":{}/", postgres.port()), &format!(":{}/", proxy.port()));
//! // The database commits, and the client does not hear of it.
//! proxy.cut_at(b"COMMIT", CutMoment::BeforeAnswer);
//! // … a write over `url` …
//! proxy.wait_for_cuts(1).await;
//! proxy.heal().await;
//! # }
//! ```
//!
//! The starters of real servers block and need no runtime, so that a `static` can hold one across the runtimes of many tests.
//! Whatever they start ends with the test process, and their folders go, also when it is killed: a small shell stands by for
//! each, which sees the end of a pipe that only the test process holds.

mod bucket;
#[cfg(test)]
mod client;
mod cut_proxy;
mod fake_s3;
mod folder;
mod garage;
mod postgres;
mod process;
mod program;
mod s3s_fs;

pub use bucket::Bucket;
pub use cut_proxy::{CutMoment, CutProxy};
pub use fake_s3::{FakeS3, OpenUpload, S3Operation, S3RuleBuilder, S3Seen, S3Snapshot};
pub use garage::Garage;
pub use postgres::{Postgres, PostgresOptions};
pub use s3s_fs::S3sFs;
