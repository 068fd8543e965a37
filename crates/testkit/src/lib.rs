//! For tests only: a registry to pull from that can lie, and images to pull.
//!
//! [`FakeUpstream`] is a real HTTP/1.1 server on a loopback port. It serves what it was given, honestly and completely:
//! manifests, blobs with ranges, tags, referrers, tokens. A test makes it lie with a rule: *when* a request matches,
//! the honest [`Reply`] is *replaced* by what a function makes of it.
//!
//! ```no_run
//! # async fn example() {
//! use entrepot_testkit::{FakeUpstream, Image, Seen};
//! let upstream = FakeUpstream::start().await;
//! let image = Image::new(1, &[100_000, 200_000]);
//! image.load_into(&upstream, "team/app", "1.0");
//! // The first request for a blob breaks in the middle, every later one is honest.
//! upstream.when(Seen::is_blob).once().reply(|honest| honest.cut_after(50_000));
//! # }
//! ```
//!
//! Nothing sleeps: a test holds a transfer with a [`Gate`] and waits for requests with [`FakeUpstream::wait_for`].

mod arrivals;
mod auth;
mod authority;
mod content;
mod dice;
mod fake;
mod gate;
mod image;
mod issuer;
mod proxy;
mod reply;
mod rule;
mod seen;
mod server;
pub mod stores;
mod users;

pub use auth::Auth;
pub use authority::{Authority, Certificate, ClientCertificates};
pub use dice::Dice;
pub use fake::FakeUpstream;
pub use gate::Gate;
pub use image::{Blob, Image, StoredManifest, artifact, index, pseudo_random};
pub use issuer::{FakeIssuer, SigningAlgorithm};
pub use proxy::FakeProxy;
pub use reply::Reply;
pub use rule::RuleBuilder;
pub use seen::Seen;
pub use users::Users;
