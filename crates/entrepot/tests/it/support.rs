//! A running registry for tests: the real router, stores and listener on a loopback port.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use entrepot::{AccessBlueprint, Assembly, Blueprint, Places, assemble, redirects};
use entrepot_registry::{ImmutableTags, Limits, ProxySettings};
use entrepot_server::{ConnectionLimits, RedirectSettings, ServeOutcome, ViewSettings};
use entrepot_testkit::stores::CutProxy;
use entrepot_testkit::{Blob, Image};
use entrepot_upstream::{Lookup, RemotesConfig, Timeouts, UpstreamConfig};
use reqwest::{Response, StatusCode};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::shared::Shared;

/// What a test wants of its registry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) upstreams: Vec<UpstreamConfig>,
    pub(crate) limits: Option<Limits>,
    pub(crate) timeouts: Option<Timeouts>,
    pub(crate) settings: ProxySettings,
    pub(crate) immutable: ImmutableTags,
    /// Who may do what; everybody everything where it is not said.
    pub(crate) access: Option<AccessBlueprint>,
    /// How clients see the server.
    pub(crate) view: ViewSettings,
    /// Answers for names instead of those of DNS.
    pub(crate) lookup: Option<Lookup>,
}

/// A registry that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<ServeOutcome>>,
    assembly: Option<Assembly>,
    setup: Setup,
    /// What it keeps things in that replicas share, when the run of the tests is about that.
    shared: Option<Shared>,
    /// The way of other replicas to its internal listener, when it is one of several.
    wire: Option<CutProxy>,
    is_replica: bool,
}

impl Running {
    /// An empty hosted registry.
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// An empty one over folders, also in a run that is about other stores.
    pub(crate) async fn over_folders() -> Self {
        Self::over(Setup::default(), None).await
    }

    /// A registry with upstreams, limits or timeouts of the test's own.
    pub(crate) async fn with(setup: Setup) -> Self {
        Self::over(setup, Shared::if_wanted()).await
    }

    /// One of several over the same stores, which the others reach.
    pub(crate) async fn replica(setup: Setup, shared: Shared) -> Self {
        let mut running = Self::new(setup, Some(shared));
        running.is_replica = true;
        running.launch().await;
        running
    }

    async fn over(setup: Setup, shared: Option<Shared>) -> Self {
        let mut running = Self::new(setup, shared);
        running.launch().await;
        running
    }

    fn new(setup: Setup, shared: Option<Shared>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = client();
        Self {
            address: ([127, 0, 0, 1], 0).into(),
            client,
            folder,
            stop: None,
            server: None,
            assembly: None,
            setup,
            shared,
            wire: None,
            is_replica: false,
        }
    }

    /// Stops the registry and starts it again over the same folders, on another port.
    pub(crate) async fn restart(&mut self) {
        self.halt().await;
        self.launch().await;
    }

    /// Restarts with other upstreams.
    pub(crate) async fn replace_upstreams(&mut self, upstreams: Vec<UpstreamConfig>) {
        self.setup.upstreams = upstreams;
        self.restart().await;
    }

    /// Restarts with other limits.
    pub(crate) async fn replace_limits(&mut self, limits: Limits) {
        self.setup.limits = Some(limits);
        self.restart().await;
    }

    /// Restarts with other settings of pulling through.
    pub(crate) async fn replace_settings(&mut self, settings: ProxySettings) {
        self.setup.settings = settings;
        self.restart().await;
    }

    /// Everything that is counted, as a scrape reads it.
    pub(crate) async fn metrics(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = std::sync::Arc::clone(&self.assembly().metrics);
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let serving = self.assembly().tasks.spawn(entrepot_server::serve_metrics(listener, metrics, shutdown));
        let url = format!("http://{address}/metrics");
        let text = client().get(url).send().await.unwrap().text().await.unwrap();
        drop(stop);
        serving.await.unwrap();
        text
    }

    /// The value of a series.
    pub(crate) async fn measured(&self, series: &str) -> u64 {
        let text = self.metrics().await;
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("entrepot_{series} ")));
        value.unwrap_or_else(|| panic!("{series}: {text}")).parse().unwrap()
    }

    /// The folder that everything is stored in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The domain, for what cannot be asked over HTTP.
    pub(crate) fn assembly(&self) -> &Assembly {
        self.assembly.as_ref().unwrap()
    }

    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The way of other replicas to its internal listener.
    pub(crate) fn wire(&self) -> &CutProxy {
        self.wire.as_ref().unwrap()
    }

    fn places(&self) -> (Places, RedirectSettings) {
        let folder = |name| self.folder.path().join(name);
        match &self.shared {
            Some(shared) => {
                let configuration = shared.configured(self.folder.path());
                (Places::from(&configuration), redirects(&configuration.storage.redirect))
            }
            None => (Places::folders(folder("registry"), folder("tmp"), folder("proxy")), RedirectSettings::never()),
        }
    }

    /// Where other replicas reach this one, with the listener behind that.
    async fn replica_listener(&mut self) -> Option<TcpListener> {
        if !self.is_replica {
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.wire = Some(CutProxy::start(listener.local_addr().unwrap()).await);
        Some(listener)
    }

    async fn launch(&mut self) {
        let timeouts = self.setup.timeouts.unwrap_or_default();
        let remotes = RemotesConfig {
            upstreams: self.setup.upstreams.clone(),
            timeouts,
            resolve_overrides: self.setup.lookup.clone().unwrap_or_default(),
            ..RemotesConfig::default()
        };
        let replica_listener = self.replica_listener().await;
        let (places, redirects) = self.places();
        let assembly = assemble(Blueprint {
            places,
            remotes,
            limits: self.setup.limits.unwrap_or_default(),
            settings: self.setup.settings.clone(),
            immutable: self.setup.immutable.clone(),
            access: self.setup.access.clone(),
            view: self.setup.view.clone(),
            replica_address: self.wire.as_ref().map(|wire| format!("http://{}", wire.address())),
            redirects,
        })
        .await
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        if let Some(listener) = replica_listener {
            let (registry, tasks) = (assembly.registry.clone(), assembly.tasks.clone());
            let stopping = async move { tasks.stopping().await };
            assembly.tasks.spawn(entrepot_server::serve_replicas(listener, registry, stopping));
        }
        let (answerer, metrics) = (assembly.answerer.clone(), assembly.metrics.connections());
        let serving = async move {
            entrepot_server::serve(listener, None, answerer, ConnectionLimits::default(), metrics, shutdown).await
        };
        self.server = Some(assembly.tasks.spawn(serving));
        self.stop = Some(stop);
        self.assembly = Some(assembly);
    }

    async fn halt(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            server.await.unwrap();
        }
        if let Some(assembly) = self.assembly.take() {
            assert!(assembly.tasks.stop(Duration::from_secs(30)).await, "tasks were left behind");
        }
        // Idle connections of the client would keep the old server's sockets busy.
        self.client = client();
    }
}

/// A client that does what it is told: no redirects, no proxy of the environment.
pub(crate) fn client() -> reqwest::Client {
    // The client's library wants a cryptographic provider also where nothing is encrypted; a second one is refused, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// Pushes a blob in one request.
pub(crate) async fn push_blob(running: &Running, repository: &str, blob: &Blob) -> Response {
    let url = running.url(&format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest));
    running.client.post(url).body(blob.bytes.clone()).send().await.unwrap()
}

pub(crate) async fn push_manifest(running: &Running, repository: &str, reference: &str, image: &Image) -> Response {
    let url = running.url(&format!("/v2/{repository}/manifests/{reference}"));
    let manifest = &image.manifest;
    let request = running.client.put(url).header("content-type", manifest.media_type.as_str());
    request.body(manifest.bytes.clone()).send().await.unwrap()
}

/// Pushes an image with everything in it.
pub(crate) async fn push(running: &Running, repository: &str, tag: &str, image: &Image) {
    for blob in image.blobs() {
        assert_eq!(push_blob(running, repository, blob).await.status(), StatusCode::CREATED);
    }
    assert_eq!(push_manifest(running, repository, tag, image).await.status(), StatusCode::CREATED);
}
