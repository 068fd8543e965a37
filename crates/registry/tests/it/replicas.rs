//! Several registries over the same stores, as replicas are: what they do once for all of them, and what becomes of it when one dies.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_blobs::MemoryStore;
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_oci::{Algorithm, Digest};
use entrepot_registry::{
    Chunk, Error, ImmutableTags, Limits, Metrics, Parts, PeerAnswer, PeerError, PeerRequest, Peers, ProxySettings,
    Registry, ReplicaParts, Repository, Store, SystemClock, Tasks,
};
use entrepot_testkit::{FakeUpstream, Gate, Image, Seen};
use entrepot_upstream::{Remotes, RemotesConfig, UpstreamConfig};
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};
use tokio::runtime::Runtime;

use super::source;

/// So long the others wait for a replica that has died: short, and long enough for a busy machine to renew in.
const LASTS: Duration = Duration::from_secs(3);

/// The way from replica to replica, within the process.
#[derive(Debug, Default)]
struct Wire {
    replicas: Mutex<HashMap<String, Arc<Registry>>>,
    /// How often somebody began to read along.
    followed: AtomicUsize,
}

#[async_trait]
impl Peers for Wire {
    async fn follow(&self, address: &str, request: &PeerRequest) -> Result<PeerAnswer, PeerError> {
        let replica = self.replicas.lock().unwrap().get(address).cloned();
        let unreachable = || PeerError::Unreachable { address: address.to_owned(), source: "it is gone".into() };
        let answer = replica.ok_or_else(unreachable)?.read_along(request).await?;
        self.followed.fetch_add(1, Ordering::SeqCst);
        Ok(answer)
    }
}

/// Three replicas in front of an upstream, each with a runtime of its own to die with.
struct Port {
    upstream: FakeUpstream,
    replicas: Vec<Replica>,
    wire: Arc<Wire>,
    own: Store,
    cache: Store,
    _folder: tempfile::TempDir,
}

struct Replica {
    registry: Arc<Registry>,
    runtime: Option<Runtime>,
}

impl Replica {
    /// Ends everything that it does, at once: nothing is given back, nobody is told.
    fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Port {
    async fn new() -> Self {
        let upstream = FakeUpstream::start().await;
        let folder = tempfile::tempdir().unwrap();
        let store = |name: &str| Store {
            blobs: Arc::new(MemoryStore::new()),
            metadata: Arc::new(SqliteStore::open(&folder.path().join(name)).unwrap()),
        };
        let (own, cache, wire) = (store("own.sqlite"), store("cache.sqlite"), Arc::new(Wire::default()));
        let replicas = (0..3)
            .map(|number| {
                let address = format!("replica-{number}");
                let listed = UpstreamConfig::new("upstream.test", upstream.url().parse().unwrap());
                let replica = ReplicaParts {
                    address: Some(address.as_str().into()),
                    peers: wire.clone(),
                    landing: Arc::new(MemoryStore::new()),
                    lasts: LASTS,
                };
                let registry = Registry::new(Parts {
                    own: own.clone(),
                    cache: cache.clone(),
                    remotes: Remotes::new(RemotesConfig { upstreams: vec![listed], ..RemotesConfig::default() })
                        .unwrap(),
                    clock: Arc::new(SystemClock),
                    limits: Limits::default(),
                    settings: ProxySettings::default(),
                    is_open: true,
                    immutable: ImmutableTags::default(),
                    metrics: Arc::new(Metrics::default()),
                    tasks: Tasks::default(),
                    replica: Some(replica),
                });
                wire.replicas.lock().unwrap().insert(address, Arc::clone(&registry));
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
                Replica { registry, runtime: Some(runtime.unwrap()) }
            })
            .collect();
        Self { upstream, replicas, wire, own, cache, _folder: folder }
    }

    /// A blob, as a client of the replica reads it.
    fn pull(&self, replica: usize, digest: &Digest) -> impl Future<Output = Result<Vec<u8>, String>> + use<> {
        let (repository, digest) = (self.cached(replica), digest.clone());
        let pulling = self.replicas[replica].runtime.as_ref().unwrap().spawn(async move {
            let blob = repository.blob(&digest).await.map_err(|error| format!("{error:?}"))?;
            let stream = blob.stream(None).await.map_err(|error| format!("{error:?}"))?;
            let pieces: Vec<Bytes> = stream.try_collect().await.map_err(|error| error.to_string())?;
            Ok(pieces.concat())
        });
        async move { pulling.await.map_err(|error| error.to_string())? }
    }

    fn cached(&self, replica: usize) -> Repository {
        self.replicas[replica].registry.repository(&"proxy/upstream.test/app".parse().unwrap()).unwrap()
    }

    fn hosted(&self, replica: usize) -> Repository {
        self.replicas[replica].registry.repository(&"team/app".parse().unwrap()).unwrap()
    }

    fn blob_gets(&self) -> usize {
        self.upstream.count(|seen| seen.is_blob() && seen.is_get())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_is_fetched_once_for_a_hundred_clients_of_three_replicas() {
    let port = Port::new().await;
    let bytes = entrepot_testkit::pseudo_random(1, 3_000_000);
    let digest = port.upstream.put_blob("app", bytes.clone());
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream
        .when(|seen: &Seen| seen.is_blob() && seen.is_get())
        .reply(move |honest| honest.stall_after(1_000_000, &held));
    let clients: Vec<_> = (0..100).map(|number| port.pull(number % 3, &digest)).collect();
    let clients = Tasks::default().spawn(join_all(clients));
    // Two of the replicas read along before the upstream has sent everything.
    while port.wire.followed.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gate.open();
    for pulled in clients.await.unwrap() {
        assert!(pulled.unwrap() == bytes[..]);
    }
    assert_eq!(port.blob_gets(), 1);
    for replica in &port.replicas {
        replica.registry.fills_ended().await;
    }
    assert_eq!(port.cache.blobs.size(&digest).await.unwrap(), Some(3_000_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_goes_on_where_one_that_dies_has_left_off() {
    let mut port = Port::new().await;
    let bytes = entrepot_testkit::pseudo_random(2, 3_000_000);
    let digest = port.upstream.put_blob("app", bytes.clone());
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream
        .when(|seen: &Seen| seen.is_blob() && seen.is_get())
        .once()
        .reply(move |honest| honest.stall_after(1_000_000, &held));
    let first = Tasks::default().spawn(port.pull(0, &digest));
    port.upstream.wait_for(|seen| seen.is_blob() && seen.is_get()).await;
    let others =
        Tasks::default().spawn(join_all([port.pull(1, &digest), port.pull(2, &digest), port.pull(1, &digest)]));
    while port.wire.followed.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    port.wire.replicas.lock().unwrap().remove("replica-0");
    port.replicas[0].kill();
    assert!(first.await.unwrap().is_err(), "its client comes back, to another one");
    for pulled in others.await.unwrap() {
        assert!(pulled.unwrap() == bytes[..]);
    }
    assert_eq!(port.blob_gets(), 2, "one of the others goes on, and the third reads along from that");
    drop(gate);
    assert_eq!(port.pull(2, &digest).await.unwrap(), bytes[..]);
    for replica in &port.replicas[1..] {
        replica.registry.fills_ended().await;
    }
    assert_eq!(port.cache.blobs.size(&digest).await.unwrap(), Some(3_000_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_is_asked_for_once() {
    let port = Port::new().await;
    let image = Image::new(7, &[1000]);
    image.load_into(&port.upstream, "app", "1.0");
    let reference: entrepot_oci::TagOrDigest = entrepot_oci::TagOrDigest::Tag("1.0".parse().unwrap());
    let pulls = (0..30).map(|number| {
        let (repository, reference) = (port.cached(number % 3), reference.clone());
        async move { repository.manifest(&reference).await.unwrap().manifest.digest }
    });
    for digest in join_all(pulls).await {
        assert_eq!(digest, image.manifest.digest);
    }
    assert_eq!(port.upstream.count(|seen| !seen.is_blob()), 2, "a HEAD and a GET: {:?}", port.upstream.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_one_request_s_at_a_time_whichever_replica_it_comes_to() {
    let port = Port::new().await;
    let upload = port.hosted(0).start_upload(Algorithm::Sha256).await.unwrap();
    let id = upload.id.as_str();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|bytes| (Ok(bytes), receiver))
    });
    let writer = port.hosted(0);
    let writing = Tasks::default().spawn({
        let id = id.to_owned();
        async move { writer.append_to_upload(&id, Chunk::default(), body.boxed()).await }
    });
    sender.send(Bytes::from_static(b"first ")).unwrap();
    while !port.own.metadata.upload_progress(&upload.id).await.unwrap().unwrap().is_claimed {
        tokio::task::yield_now().await;
    }
    let busy = port.hosted(1).append_to_upload(id, Chunk::default(), source("second")).await.unwrap_err();
    assert!(matches!(busy, Error::UploadBusy { .. }), "{busy:?}");
    drop(sender);
    let written = writing.await.unwrap();
    // A store in memory cannot say to another process how its hash goes on; with one that can, the session goes on there.
    assert!(written.is_ok() || matches!(written, Err(Error::Interrupted)), "{written:?}");
}
