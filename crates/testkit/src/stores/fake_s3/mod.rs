//! An S3 that can lie: a real HTTP server on a loopback port, with everything in memory.

mod content;
mod multipart;
mod range;
mod rule;
mod seen;
mod server;
#[cfg(test)]
mod tests;
mod time;
mod xml;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::task::JoinHandle;

pub use rule::S3RuleBuilder;
pub use seen::{S3Operation, S3Seen};

use self::content::{Content, Object, etag_of, refuse};
use self::rule::{Action, Rule, take};
use self::server::serve;
use super::bucket::Bucket;
use crate::arrivals::Arrivals;
use crate::gate::Gate;
use crate::reply::Reply;

/// An S3 server that is honest until a rule makes it lie. It believes every signature, in a header or in the URL. Its entity
/// tags are no MD5. It ends when it is dropped.
///
/// ```no_run
/// # async fn example() {
/// use entrepot_testkit::stores::{FakeS3, S3Operation};
/// let s3 = FakeS3::start().await;
/// let bucket = s3.bucket();
/// // The first upload of a part is refused, the next one is acknowledged and lost, and later ones are honest.
/// s3.when(|seen| seen.is(S3Operation::UploadPart)).once().refuse(FakeS3::slow_down());
/// s3.when(|seen| seen.is(S3Operation::UploadPart)).once().forget();
/// # }
/// ```
pub struct FakeS3 {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// What there was at one moment, for [`S3RuleBuilder::stale`].
#[derive(Clone)]
pub struct S3Snapshot(Content);

/// An upload that was neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// The key of the object that it would become.
    pub key: String,
    /// Its identifier.
    pub id: String,
    /// The number and length in bytes of each part that is there.
    pub parts: Vec<(u32, usize)>,
}

/// What the server and the test share.
struct Shared {
    state: Mutex<State>,
    arrivals: Arrivals<S3Seen>,
}

#[derive(Default)]
struct State {
    content: Content,
    rules: Vec<Rule>,
    now: Option<SystemTime>,
}

impl FakeS3 {
    /// Starts a server without any bucket.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), arrivals: Arrivals::default() });
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (address, server) = serve(any_port, Arc::clone(&shared)).await.expect("a port to listen on");
        Self { address, shared, server: Mutex::new(Some(server)) }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new, empty bucket.
    pub fn bucket(&self) -> Bucket {
        let mut state = self.shared.lock();
        let name = format!("bucket-{}", state.content.buckets.len());
        state.content.bucket(&name);
        Bucket {
            endpoint: format!("http://{}", self.address),
            region: "fake".to_owned(),
            name,
            access_key_id: "FAKEKEYFAKEKEYFAKEKE".to_owned(),
            secret_access_key: "a secret that nobody checks".to_owned(),
        }
    }

    /// Stops listening and breaks every connection: it cannot be reached.
    pub async fn stop(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            server.abort();
            // It was aborted: that it ended is all there is to know.
            let _ = server.await;
        }
    }

    /// Listens again, on the same port, with everything it had.
    ///
    /// # Panics
    /// When the port is taken.
    pub async fn restart(&self) {
        self.stop().await;
        let (_, server) = serve(self.address, Arc::clone(&self.shared)).await.expect("the port is still free");
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }

    /// Begins a rule for the requests that `matches` is true of.
    pub fn when(&self, matches: impl Fn(&S3Seen) -> bool + Send + Sync + 'static) -> S3RuleBuilder<'_> {
        S3RuleBuilder::new(self, matches)
    }

    /// Makes it honest again: drops every rule. Requests that wait at a gate go on waiting.
    pub fn heal(&self) {
        self.shared.lock().rules.clear();
    }

    /// A reply with an error body of S3: `code` is such as `InternalError`. With a `status` of 200 it is the error inside a
    /// success that the completion of an upload, a copy and a bulk deletion may answer.
    ///
    /// # Panics
    /// When `status` is not one.
    pub fn error(status: u16, code: &str) -> Reply {
        refuse(status, code, "by the test")
    }

    /// The 503 that asks for fewer requests.
    pub fn slow_down() -> Reply {
        refuse(503, "SlowDown", "Please reduce your request rate.")
    }

    /// From now on no page of a list has more than `count` entries.
    pub fn set_page_max(&self, count: usize) {
        self.shared.lock().content.page_max = count;
    }

    /// From now on every part of an upload but the last must have so many bytes; it is 5 MiB at the start, as at S3.
    pub fn set_part_bytes_min(&self, bytes: usize) {
        self.shared.lock().content.part_bytes_min = bytes;
    }

    /// From now on everything is written at this moment; at the start, when the system's clock says.
    pub fn set_now(&self, now: SystemTime) {
        self.shared.lock().now = Some(now);
    }

    /// What there is now.
    pub fn snapshot(&self) -> S3Snapshot {
        S3Snapshot(self.shared.lock().content.clone())
    }

    /// The keys of a bucket, in their order.
    pub fn keys(&self, bucket: &Bucket) -> Vec<String> {
        self.shared.lock().content.bucket(&bucket.name).objects.keys().cloned().collect()
    }

    /// The bytes of an object, if it is there.
    pub fn object(&self, bucket: &Bucket, key: &str) -> Option<Bytes> {
        let mut state = self.shared.lock();
        state.content.bucket(&bucket.name).objects.get(key).map(|object| object.bytes.clone())
    }

    /// Adds or replaces an object behind everybody's back.
    pub fn put(&self, bucket: &Bucket, key: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let mut state = self.shared.lock();
        let object = Object { etag: etag_of(&bytes), bytes, modified: state.now(), headers: Vec::new() };
        state.content.bucket(&bucket.name).objects.insert(key.to_owned(), object);
    }

    /// Removes an object behind everybody's back.
    pub fn remove(&self, bucket: &Bucket, key: &str) {
        self.shared.lock().content.bucket(&bucket.name).objects.remove(key);
    }

    /// The uploads of a bucket that are open, by key and identifier.
    pub fn uploads(&self, bucket: &Bucket) -> Vec<OpenUpload> {
        let mut state = self.shared.lock();
        let uploads = state.content.bucket(&bucket.name).uploads.iter();
        let open = uploads.map(|((key, id), upload)| {
            let parts = upload.parts.iter().map(|(number, part)| (*number, part.bytes.len())).collect();
            OpenUpload { key: key.clone(), id: id.clone(), parts }
        });
        open.collect()
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<S3Seen> {
        self.shared.arrivals.requests()
    }

    /// How many requests so far `matches` is true of.
    pub fn count(&self, matches: impl Fn(&S3Seen) -> bool) -> usize {
        self.shared.arrivals.count(matches)
    }

    /// How many connections were accepted so far, whether or not a request came over them.
    pub fn connections(&self) -> usize {
        self.shared.arrivals.connections()
    }

    /// Forgets the requests and connections so far.
    pub fn forget_requests(&self) {
        self.shared.arrivals.forget();
    }

    /// Waits until `matches` is true of a request, and returns the first such.
    ///
    /// # Panics
    /// When none comes for 20 seconds.
    pub async fn wait_for(&self, matches: impl Fn(&S3Seen) -> bool) -> S3Seen {
        self.shared.arrivals.wait_for(matches).await
    }

    /// Waits until `matches` is true of `count` requests.
    ///
    /// # Panics
    /// When they do not come for 20 seconds.
    pub async fn wait_for_count(&self, count: usize, matches: impl Fn(&S3Seen) -> bool) {
        self.shared.arrivals.wait_for_count(count, matches).await;
    }

    fn add_rule(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        if let Some(server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            server.abort();
        }
    }
}

impl fmt::Debug for FakeS3 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FakeS3").field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for S3Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("S3Snapshot").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A rule that panics fails its own test; the state is whole between its changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_connection(&self) {
        self.arrivals.count_connection();
    }

    /// Records a request, and says what is to become of it.
    fn arrive(&self, seen: &S3Seen) -> (Option<Action>, Option<Gate>) {
        let taken = {
            let mut state = self.lock();
            self.arrivals.record(seen.clone());
            take(&mut state.rules, seen)
        };
        self.arrivals.tell();
        taken
    }

    /// The reply to a request, unless it is lost.
    fn answer(&self, seen: &S3Seen, body: Bytes, action: Option<Action>) -> Option<Reply> {
        let mut state = self.lock();
        let now = state.now();
        match action {
            None => Some(state.content.answer(seen, body, now)),
            Some(Action::Reply(make)) => Some(make(state.content.answer(seen, body, now))),
            Some(Action::Refuse(reply)) => Some(*reply),
            Some(Action::Forget) => Some(state.content.clone().answer(seen, body, now)),
            Some(Action::Stale(mut content)) => Some(content.answer(seen, body, now)),
            Some(Action::LoseReply) => {
                state.content.answer(seen, body, now);
                None
            }
            // The connection is broken already.
            Some(Action::CutRequest(_)) => None,
        }
    }
}

impl State {
    #[expect(clippy::disallowed_methods, reason = "a server of somebody else's has a clock of its own")]
    fn now(&self) -> SystemTime {
        self.now.unwrap_or_else(SystemTime::now)
    }
}
