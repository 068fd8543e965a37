//! Bytes that are here and that an upstream merely names: where people have to say who they are, it gets none of them (threat B1).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::MemoryStore;
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_oci::TagOrDigest;
use entrepot_registry::{
    Error, ImmutableTags, Limits, Metrics, Parts, ProxySettings, Registry, Repository, Source, Store, SystemClock,
    Tasks,
};
use entrepot_testkit::{Auth, Blob, FakeUpstream, Gate, Image, Reply, Seen};
use entrepot_upstream::{Remotes, RemotesConfig, UpstreamConfig};
use futures_util::{StreamExt, TryStreamExt};

const SIZE: usize = 50_000;

/// A registry with an upstream that is asked with an account, one that anybody may ask, and one whose operator is after what is here.
struct Port {
    private: FakeUpstream,
    public: FakeUpstream,
    evil: FakeUpstream,
    registry: Arc<Registry>,
    image: Image,
    _folder: tempfile::TempDir,
}

impl Port {
    async fn open(is_open: bool) -> Self {
        let (private, public, evil) =
            (FakeUpstream::start().await, FakeUpstream::start().await, FakeUpstream::start().await);
        private.set_auth(Auth::basic("house", "secret"));
        let at = |name: &str, fake: &FakeUpstream| UpstreamConfig::new(name, fake.url().parse().unwrap());
        let account = UpstreamConfig {
            username: Some("house".into()),
            password: Some("secret".into()),
            ..at("private.test", &private)
        };
        let upstreams = vec![account, at("public.test", &public), at("evil.test", &evil)];
        let folder = tempfile::tempdir().unwrap();
        let store = |name: &str| Store {
            blobs: Arc::new(MemoryStore::new()),
            metadata: Arc::new(SqliteStore::open(&folder.path().join(name)).unwrap()),
        };
        let registry = Registry::new(Parts {
            own: store("own.sqlite"),
            cache: store("cache.sqlite"),
            remotes: Remotes::new(RemotesConfig { upstreams, ..RemotesConfig::default() }).unwrap(),
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
            settings: ProxySettings::default(),
            is_open,
            immutable: ImmutableTags::default(),
            metrics: Arc::new(Metrics::default()),
            tasks: Tasks::default(),
            replica: None,
        });
        let image = Image::new(7, &[SIZE, 10]);
        // It names the layers, and has none of them.
        image.manifest.load_into(&evil, "thief/app");
        evil.put_tag("thief/app", "1", &image.manifest.digest);
        Self { private, public, evil, registry, image, _folder: folder }
    }

    fn layer(&self) -> &Blob {
        &self.image.layers[0]
    }

    fn named(&self, name: &str) -> Repository {
        self.registry.repository(&name.parse().unwrap()).unwrap()
    }

    async fn push(&self) {
        let bytes: Source = futures_util::stream::iter([Ok(self.layer().bytes.clone())]).boxed();
        self.named("team/app").push_blob(&self.layer().digest, None, bytes).await.unwrap();
    }

    /// Pulls the image by a name that must be answered.
    async fn fetch(&self, name: &str) {
        let repository = self.named(name);
        repository.manifest(&TagOrDigest::parse("1").unwrap()).await.unwrap();
        assert_eq!(read(&repository, self.layer()).await.unwrap(), self.layer().bytes, "{name}");
        self.registry.fills_ended().await;
    }

    /// The thief asks for what is not his, by a manifest that names it and without one, of an upstream that says the truth and of one that
    /// lies.
    async fn assert_withheld(&self) {
        let thief = self.named("proxy/evil.test/thief/app");
        let stranger = self.named("proxy/evil.test/thief/unnamed");
        assert_unknown(read(&stranger, self.layer()).await);
        assert_unknown(stranger.blob_size(&self.layer().digest).await);
        thief.manifest(&TagOrDigest::parse("1").unwrap()).await.unwrap();
        assert_unknown(read(&thief, self.layer()).await);
        for name in ["thief/lying", "thief/silent"] {
            self.evil.when(|seen| seen.is_head() && seen.is_blob()).reply(|_| Reply::new(200));
            let repository = self.named(&format!("proxy/evil.test/{name}"));
            if name == "thief/lying" {
                self.image.manifest.load_into(&self.evil, name);
                let manifest = TagOrDigest::Digest(self.image.manifest.digest.clone());
                repository.manifest(&manifest).await.unwrap();
            }
            assert_unknown(read(&repository, self.layer()).await);
            self.evil.heal();
        }
        let hosted = self.named("thief/hosted");
        let is_his = |name: &entrepot_oci::RepositoryName| name.as_str().contains("thief");
        assert!(!hosted.mount(&self.layer().digest, Some(thief.name()), &is_his).await.unwrap());
        assert!(!hosted.mount(&self.layer().digest, None, &is_his).await.unwrap());
        assert!(self.evil.count(|seen| seen.is_get() && seen.is_blob()) >= 4, "it was asked for all of it");
    }
}

fn assert_unknown<T>(outcome: Result<T, Error>) {
    match outcome {
        Ok(_) => panic!("it was answered"),
        Err(error) => assert!(matches!(error.root(), Error::BlobUnknown { .. }), "{error:?}"),
    }
}

async fn read(repository: &Repository, blob: &Blob) -> Result<Bytes, Error> {
    let pulled = repository.blob(&blob.digest).await?;
    let pieces: Vec<Bytes> = pulled.stream(None).await?.try_collect().await.unwrap();
    Ok(pieces.concat().into())
}

#[tokio::test]
async fn b1_an_upstream_that_names_a_pushed_layer_gets_none_of_it() {
    let port = Port::open(false).await;
    port.push().await;
    port.assert_withheld().await;
    // Nor does one that the operator has an account at, or one that is believed in everything else.
    for (name, fake) in [("private.test", &port.private), ("public.test", &port.public)] {
        port.image.manifest.load_into(fake, "team/app");
        let repository = port.named(&format!("proxy/{name}/team/app"));
        repository.manifest(&TagOrDigest::Digest(port.image.manifest.digest.clone())).await.unwrap();
        assert_unknown(read(&repository, port.layer()).await);
    }
}

#[tokio::test]
async fn b1_an_upstream_that_names_a_layer_which_was_fetched_with_an_account_gets_none_of_it() {
    let port = Port::open(false).await;
    port.image.load_into(&port.private, "team/app", "1");
    port.fetch("proxy/private.test/team/app").await;
    port.assert_withheld().await;
}

#[tokio::test]
async fn b1_an_upstream_that_names_a_layer_gets_none_of_it_while_it_is_being_fetched_with_an_account() {
    let port = Port::open(false).await;
    port.image.load_into(&port.private, "team/app", "1");
    let gate = Gate::new();
    port.private.when(|seen| seen.is_get() && seen.is_blob()).reply({
        let gate = gate.clone();
        move |honest| if honest.is_status(200) { honest.stall_after(1000, &gate) } else { honest }
    });
    let leading = port.named("proxy/private.test/team/app").blob(&port.layer().digest).await.unwrap();
    let stolen = tokio::time::timeout(Duration::from_secs(20), port.assert_withheld()).await;
    stolen.expect("he does not wait for what is not his");
    gate.open();
    let pieces: Vec<Bytes> = leading.stream(None).await.unwrap().try_collect().await.unwrap();
    assert_eq!(pieces.concat().len(), SIZE);
}

#[tokio::test]
async fn b1_an_upstream_that_has_a_layer_sends_all_of_it_although_it_is_here() {
    let port = Port::open(false).await;
    port.push().await;
    port.image.load_into(&port.private, "team/app", "1");
    port.image.load_into(&port.public, "team/app", "1");
    let is_fetch = |seen: &Seen| seen.is_get() && seen.is_blob();
    for (name, fake) in [("private.test", &port.private), ("public.test", &port.public)] {
        fake.forget_requests();
        for _ in 0..2 {
            port.fetch(&format!("proxy/{name}/team/app")).await;
        }
        let sent =
            fake.requests().iter().filter(|seen| is_fetch(seen) && seen.header("authorization").is_some()).count();
        let asked = if name == "private.test" { sent } else { fake.count(is_fetch) };
        assert_eq!(asked, 1, "{name}");
    }
    // What is whole is shared on: between public upstreams, and with the other repositories of its own.
    for (name, fake) in [("private.test", &port.private), ("public.test", &port.public), ("evil.test", &port.evil)] {
        port.image.manifest.load_into(fake, "team/other");
        fake.put_tag("team/other", "1", &port.image.manifest.digest);
        if name == "private.test" {
            fake.put_blob("team/other", port.layer().bytes.clone());
        }
        fake.forget_requests();
        port.fetch(&format!("proxy/{name}/team/other")).await;
        assert_eq!(fake.count(is_fetch), 0, "{name}");
    }
    // With those that have it: where it is private, a manifest may have been pushed to get at it.
    port.image.manifest.load_into(&port.private, "team/thief");
    let thief = port.named("proxy/private.test/team/thief");
    thief.manifest(&TagOrDigest::Digest(port.image.manifest.digest.clone())).await.unwrap();
    assert_unknown(read(&thief, port.layer()).await);
}

#[tokio::test]
async fn where_nobody_has_to_say_who_he_is_every_byte_is_shared() {
    let port = Port::open(true).await;
    port.push().await;
    port.fetch("proxy/evil.test/thief/app").await;
    let port = Port::open(true).await;
    port.image.load_into(&port.private, "team/app", "1");
    port.fetch("proxy/private.test/team/app").await;
    port.fetch("proxy/evil.test/thief/app").await;
    assert_eq!(port.evil.count(|seen| seen.is_get() && seen.is_blob()), 0);
}
