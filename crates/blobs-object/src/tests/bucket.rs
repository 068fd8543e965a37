//! A bucket in memory that keeps the rules of S3 for parts, and can fail.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// The parts of an upload by their index, each with its id.
type Uploaded = HashMap<usize, (String, PutPayload)>;

/// What is about to be done: the operation and the key.
type Fault = dyn FnMut(&str, &str) -> Option<Verdict> + Send;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It fails, and does not happen.
    Fails,
    /// It happens, and the answer is lost.
    IsNotHeardOf,
    /// It is said not to be there.
    IsNotSeen,
}

/// A bucket in memory.
pub(super) struct FaultyBucket {
    inner: InMemory,
    uploads: Mutex<HashMap<String, Uploaded>>,
    next: AtomicU64,
    fault: Mutex<Box<Fault>>,
    /// Bytes of parts that are being put, and the most there ever were.
    pub(super) in_flight: AtomicUsize,
    pub(super) in_flight_most: AtomicUsize,
    /// How long it takes to put a part.
    pub(super) delay: Mutex<Option<Duration>>,
    log: Mutex<Vec<String>>,
}

impl FaultyBucket {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            uploads: Mutex::default(),
            next: AtomicU64::new(0),
            fault: Mutex::new(Box::new(|_, _| None)),
            in_flight: AtomicUsize::new(0),
            in_flight_most: AtomicUsize::new(0),
            delay: Mutex::default(),
            log: Mutex::default(),
        })
    }

    /// From now on `fault` is asked before everything.
    pub(super) fn fail(&self, fault: impl FnMut(&str, &str) -> Option<Verdict> + Send + 'static) {
        *self.fault.lock().unwrap() = Box::new(fault);
    }

    pub(super) fn heal(&self) {
        self.fail(|_, _| None);
    }

    /// The keys of all objects, and how many uploads are begun and not ended.
    pub(super) async fn left(&self) -> (Vec<String>, usize) {
        let mut keys: Vec<String> =
            self.inner.list(None).map(|object| object.unwrap().location.to_string()).collect().await;
        keys.sort();
        (keys, self.uploads.lock().unwrap().len())
    }

    /// What was asked since this was last called.
    pub(super) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn verdict(&self, operation: &str, key: &Path) -> Result<Option<Verdict>> {
        self.log.lock().unwrap().push(format!("{operation} {key}"));
        match (self.fault.lock().unwrap())(operation, key.as_ref()) {
            Some(Verdict::Fails) => Err(outage()),
            Some(Verdict::IsNotSeen) => Err(absent(key)),
            verdict => Ok(verdict),
        }
    }
}

fn outage() -> Error {
    Error::Generic { store: "test", source: "status code: 503 Slow Down".into() }
}

fn absent(key: &Path) -> Error {
    Error::NotFound { path: key.to_string(), source: "NoSuchKey".into() }
}

fn heard<T>(verdict: Option<Verdict>, answer: Result<T>) -> Result<T> {
    if verdict == Some(Verdict::IsNotHeardOf) { Err(outage()) } else { answer }
}

impl std::fmt::Debug for FaultyBucket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FaultyBucket")
    }
}

impl std::fmt::Display for FaultyBucket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FaultyBucket")
    }
}

#[async_trait]
impl ObjectStore for FaultyBucket {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let verdict = self.verdict("put", key)?;
        heard(verdict, self.inner.put_opts(key, payload, options).await)
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("parts are put one by one")
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.verdict(if options.head { "head" } else { "get" }, key)?;
        self.inner.get_opts(key, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // One at a time is what is asked for.
        let key = futures_util::FutureExt::now_or_never(keys.into_future()).unwrap().0.unwrap().unwrap();
        match self.verdict("delete", &key) {
            Ok(_) => self.inner.delete_stream(futures_util::stream::iter([Ok(key)]).boxed()),
            Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.verdict("list", &prefix.cloned().unwrap_or_default()) {
            Ok(_) => self.inner.list(prefix),
            // A list that lags knows of nothing.
            Err(Error::NotFound { .. }) => futures_util::stream::empty().boxed(),
            Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("nobody asks for folders")
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let verdict = self.verdict("copy", from)?;
        heard(verdict, self.inner.copy_opts(from, to, options).await)
    }
}

#[async_trait]
impl MultipartStore for FaultyBucket {
    async fn create_multipart(&self, key: &Path) -> Result<MultipartId> {
        self.verdict("create", key)?;
        let id = format!("upload-{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.uploads.lock().unwrap().insert(format!("{id} {key}"), HashMap::new());
        Ok(id)
    }

    async fn put_part(&self, key: &Path, id: &MultipartId, index: usize, data: PutPayload) -> Result<PartId> {
        let verdict = self.verdict("part", key)?;
        let length = data.content_length();
        let most = self.in_flight.fetch_add(length, Ordering::Relaxed) + length;
        self.in_flight_most.fetch_max(most, Ordering::Relaxed);
        let delay = *self.delay.lock().unwrap();
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        self.in_flight.fetch_sub(length, Ordering::Relaxed);
        let content_id = format!("\"part-{}\"", self.next.fetch_add(1, Ordering::Relaxed));
        let mut uploads = self.uploads.lock().unwrap();
        let parts = uploads.get_mut(&format!("{id} {key}")).ok_or_else(|| absent(key))?;
        parts.insert(index, (content_id.clone(), data));
        heard(verdict, Ok(PartId { content_id }))
    }

    async fn complete_multipart(&self, key: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        let verdict = self.verdict("complete", key)?;
        let uploaded = self.uploads.lock().unwrap().remove(&format!("{id} {key}")).ok_or_else(|| absent(key))?;
        let mut whole = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let (content_id, payload) = &uploaded[&index];
            assert_eq!(*content_id, part.content_id, "the part {index} is another one");
            whole.extend(payload.iter().flat_map(|bytes| bytes.iter().copied()));
        }
        heard(verdict, self.inner.put_opts(key, whole.into(), PutOptions::default()).await)
    }

    async fn abort_multipart(&self, key: &Path, id: &MultipartId) -> Result<()> {
        self.verdict("abort", key)?;
        self.uploads.lock().unwrap().remove(&format!("{id} {key}")).map(|_| ()).ok_or_else(|| absent(key))
    }
}
