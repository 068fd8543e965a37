//! An upstream that decides who may pull what, and is asked with the account of whoever asks us (threats B9, B10 and C6).

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::MemoryStore;
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_oci::{ByteRange, Digest, RepositoryName, TagOrDigest};
use entrepot_registry::{
    Actor, CacheStatus, Error, Limits, Metrics, Parts, ProxySettings, Registry, Repository, Store, Tasks, WarmEvent,
};
use entrepot_testkit::{Auth, FakeUpstream, Gate, Image, Reply, Seen, Users};
use entrepot_upstream::{CallerCredentials, Remotes, RemotesConfig, UpstreamConfig, Via};
use futures_util::{StreamExt, TryStreamExt};

use super::ManualClock;

/// The name of the upstream in paths, and the repository there that is alice's and dave's alone.
const NAME: &str = "upstream.test";
const PRIVATE: &str = "team/app";

const MINUTE: Duration = Duration::from_mins(1);

/// A registry in front of an upstream with users, and of another one that is anybody's.
struct Port {
    upstream: FakeUpstream,
    other: FakeUpstream,
    registry: Arc<Registry>,
    clock: Arc<ManualClock>,
    image: Image,
    _folder: tempfile::TempDir,
}

/// A repository, and who asks for it.
struct Asked {
    repository: Repository,
    actor: Actor,
}

impl Deref for Asked {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        &self.repository
    }
}

fn users(none: Users) -> Users {
    let users = none.user("alice", "secret", &[PRIVATE]).user("dave", "secret", &[PRIVATE]);
    users.user("bob", "secret", &["team/other"]).public("team/public")
}

fn schemes() -> [(&'static str, Users); 3] {
    let hiding = users(Users::with_basic()).refusing_with(404);
    [("basic", users(Users::with_basic())), ("hiding", hiding), ("tokens", users(Users::with_tokens()))]
}

impl Port {
    async fn open(users: Users) -> Self {
        let (upstream, other) = (FakeUpstream::start().await, FakeUpstream::start().await);
        upstream.set_auth(Auth::Users(users));
        let image = Image::new(7, &[50_000, 10]);
        for repository in [PRIVATE, "team/other", "team/public"] {
            image.load_into(&upstream, repository, "1");
        }
        let upstreams = vec![
            UpstreamConfig {
                is_asked_as_caller: true,
                aliases: vec!["alias".into()],
                ..UpstreamConfig::new(NAME, upstream.url().parse().unwrap())
            },
            UpstreamConfig::new("other.test", other.url().parse().unwrap()),
        ];
        let folder = tempfile::tempdir().unwrap();
        let store = |name: &str| Store {
            blobs: Arc::new(MemoryStore::new()),
            metadata: Arc::new(SqliteStore::open(&folder.path().join(name)).unwrap()),
        };
        let clock = Arc::new(ManualClock::new());
        let registry = Registry::new(Parts {
            own: store("own.sqlite"),
            cache: store("cache.sqlite"),
            remotes: Remotes::new(RemotesConfig { upstreams, ..RemotesConfig::default() }).unwrap(),
            clock: clock.clone(),
            limits: Limits::default(),
            settings: ProxySettings::default(),
            is_open: true,
            immutable: entrepot_registry::ImmutableTags::default(),
            metrics: Arc::new(Metrics::default()),
            tasks: Tasks::default(),
            replica: None,
        });
        Self { upstream, other, registry, clock, image, _folder: folder }
    }

    async fn basic() -> Self {
        Self::open(users(Users::with_basic())).await
    }

    fn layer(&self) -> &Digest {
        &self.image.layers[0].digest
    }

    fn named(&self, name: &str, actor: &Actor) -> Asked {
        let name: RepositoryName = name.parse().unwrap();
        let repository = self.registry.repository_for(&name, &Via::default(), &Arc::new(actor.clone())).unwrap();
        Asked { repository, actor: actor.clone() }
    }

    /// The private repository, as somebody with an account at the upstream asks for it.
    fn of(&self, user: &str) -> Asked {
        self.named(&format!("proxy/{NAME}/{PRIVATE}"), &actor(user))
    }

    /// Everything that leads to content of a repository, in its order: whether it was had, or is unknown. Anything else is a failure.
    async fn ways(&self, asked: &Asked) -> Vec<(&'static str, bool)> {
        let repository = &asked.repository;
        let manifest = self.image.manifest.digest.clone();
        let (tag, digest) = (TagOrDigest::parse("1").unwrap(), TagOrDigest::Digest(manifest.clone()));
        vec![
            ("by tag", had(repository.manifest(&tag).await)),
            ("by digest", had(repository.manifest(&digest).await)),
            ("blob", had(read(repository, self.layer(), None).await)),
            ("range", had(read(repository, self.layer(), ByteRange::new(10, 19)).await)),
            ("size", had(repository.blob_size(self.layer()).await)),
            ("config", had(read(repository, &self.image.config.digest, None).await)),
            ("tags", had(repository.tags(None, 10).await)),
            ("referrers", had(repository.referrers(&manifest, None, None).await)),
            ("mount", self.mount(asked).await),
        ]
    }

    async fn mount(&self, from: &Asked) -> bool {
        self.registry.fills_ended().await;
        let hosted = self.named("team/hosted", &from.actor);
        let is_mounted = hosted.mount(self.layer(), Some(from.repository.name()), &|_| true).await.unwrap();
        // Without a source, it must be found where it may be found and nowhere else.
        let elsewhere = self.named("team/elsewhere", &from.actor);
        let is_found = elsewhere.mount(self.layer(), None, &|name| Registry::is_proxied(name)).await.unwrap();
        assert_eq!(is_found, is_mounted);
        is_mounted
    }

    async fn forget_own(&self) {
        for name in ["team/hosted", "team/elsewhere"] {
            let _ = self.named(name, &Actor::default()).delete_blob(self.layer()).await;
        }
    }

    /// What whoever may not is told: all of it unknown, as for a repository that does not exist.
    async fn assert_closed(&self, repository: &Asked, context: &str) {
        self.forget_own().await;
        let ways = self.ways(repository).await;
        assert!(ways.iter().all(|(_, is_had)| !is_had), "{context}: {ways:?}");
    }

    async fn assert_open(&self, repository: &Asked, context: &str) {
        let ways = self.ways(repository).await;
        assert!(ways.iter().all(|(_, is_had)| *is_had), "{context}: {ways:?}");
    }
}

fn actor(user: &str) -> Actor {
    account(NAME, user, "secret")
}

fn account(upstream: &str, user: &str, password: &str) -> Actor {
    let credentials = CallerCredentials { upstream: upstream.into(), user: user.to_owned(), password: password.into() };
    Actor { name: user.to_owned(), upstream_credentials: Some(credentials) }
}

fn had<T>(outcome: Result<T, Error>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(error) => {
            let is_unknown = matches!(
                error.root(),
                Error::ManifestUnknown { .. } | Error::BlobUnknown { .. } | Error::RepositoryUnknown { .. }
            );
            assert!(is_unknown, "{error:?}");
            false
        }
    }
}

async fn read(repository: &Repository, digest: &Digest, range: Option<ByteRange>) -> Result<Bytes, Error> {
    let blob = repository.blob(digest).await?;
    let pieces: Vec<Bytes> = blob.stream(range).await?.try_collect().await.unwrap();
    Ok(pieces.concat().into())
}

/// The headers that come with an account: `Basic`, or a token of it.
fn secrets(upstream: &FakeUpstream) -> Vec<String> {
    let secrets = upstream.requests().into_iter().filter_map(|seen| seen.header("authorization").map(str::to_owned));
    secrets.collect()
}

#[tokio::test]
async fn b10_what_one_user_has_cached_is_unknown_to_everybody_whom_the_upstream_refuses() {
    for (scheme, users) in schemes() {
        let port = Port::open(users).await;
        port.assert_open(&port.of("alice"), scheme).await;
        let of_alice = secrets(&port.upstream);
        assert!(!of_alice.is_empty());
        port.upstream.forget_requests();
        let alias = |actor: &Actor| port.named(&format!("proxy/alias/{PRIVATE}"), actor);
        port.assert_closed(&port.of("bob"), scheme).await;
        port.assert_closed(&port.of("nobody"), scheme).await;
        port.assert_closed(&alias(&actor("bob")), scheme).await;
        port.assert_closed(&alias(&Actor::default()), scheme).await;
        let private = format!("proxy/{NAME}/{PRIVATE}");
        let strangers = [Actor::default(), account("other.test", "alice", "secret"), account(NAME, "alice", "wrong")];
        for stranger in strangers {
            port.assert_closed(&port.named(&private, &stranger), scheme).await;
        }
        // C6: of all these, nobody was asked about with what is alice's.
        let sent = secrets(&port.upstream);
        assert!(!sent.is_empty() && sent.iter().all(|secret| !of_alice.contains(secret)), "{scheme}");
        let is_fetch = |seen: &Seen| seen.is_get() && seen.is_blob() && seen.header("range") != Some("bytes=0-0");
        assert_eq!(port.upstream.count(is_fetch), 0, "{scheme}");
        port.assert_open(&port.of("dave"), scheme).await;
        port.assert_open(&port.of("alice"), scheme).await;
        let public = port.named(&format!("proxy/{NAME}/team/public"), &Actor::default());
        assert!(had(public.manifest(&TagOrDigest::parse("1").unwrap()).await), "{scheme}");
    }
}

#[tokio::test]
async fn b10_a_private_repository_is_refused_like_one_that_does_not_exist() {
    for (scheme, users) in schemes() {
        let port = Port::open(users).await;
        port.assert_open(&port.of("alice"), scheme).await;
        let missing = |actor: &Actor| port.named(&format!("proxy/{NAME}/team/nil"), actor);
        for actor in [actor("bob"), Actor::default()] {
            let private = port.named(&format!("proxy/{NAME}/{PRIVATE}"), &actor);
            let tag = TagOrDigest::parse("1").unwrap();
            let told = |error: Error| format!("{error:?}").replace(PRIVATE, "team/nil");
            let manifests = [private.manifest(&tag).await, missing(&actor).manifest(&tag).await];
            let [one, two] = manifests.map(|outcome| told(outcome.unwrap_err()));
            assert_eq!(one, two, "{scheme}");
            let blobs = [private.blob(port.layer()).await, missing(&actor).blob(port.layer()).await];
            let [one, two] = blobs.map(|outcome| told(outcome.unwrap_err()));
            assert_eq!(one, two, "{scheme}");
            let lists = [private.tags(None, 1).await, missing(&actor).tags(None, 1).await];
            let [one, two] = lists.map(|outcome| told(outcome.unwrap_err()));
            assert_eq!(one, two, "{scheme}");
        }
    }
}

#[tokio::test]
async fn b10_who_loses_the_right_is_refused_within_a_minute() {
    for (scheme, users) in schemes() {
        let port = Port::open(users.clone()).await;
        port.assert_open(&port.of("alice"), scheme).await;
        let asked = port.upstream.requests().len();
        port.assert_open(&port.of("alice"), scheme).await;
        assert_eq!(port.upstream.requests().len(), asked, "{scheme}: one permission for everything, for a minute");
        // A token that she has is good for five minutes at the upstream: it does not help.
        let none = if scheme == "tokens" { Users::with_tokens() } else { Users::with_basic() };
        port.upstream.set_auth(Auth::Users(none.user("alice", "secret", &[]).user("dave", "secret", &[PRIVATE])));
        port.clock.advance(Duration::from_millis(59_999));
        port.assert_open(&port.of("alice"), scheme).await;
        port.clock.advance(Duration::from_millis(1));
        port.assert_closed(&port.of("alice"), scheme).await;
        port.assert_open(&port.of("dave"), scheme).await;
        // And with the right, at the latest a minute later, it is open again.
        port.upstream.set_auth(Auth::Users(users));
        port.clock.advance(MINUTE);
        port.assert_open(&port.of("alice"), scheme).await;
    }
}

#[tokio::test]
async fn b10_while_the_upstream_cannot_be_asked_nothing_is_answered_but_to_whom_it_allowed_it_a_moment_ago() {
    let port = Port::basic().await;
    port.assert_open(&port.of("alice"), "before").await;
    port.upstream.stop().await;
    port.assert_open(&port.of("alice"), "a moment ago").await;
    let tag = TagOrDigest::parse("1").unwrap();
    let is_outage = |error: Error| matches!(error.root(), Error::Upstream { .. });
    assert!(is_outage(port.of("dave").manifest(&tag).await.unwrap_err()), "nobody has said that he may");
    port.clock.advance(MINUTE);
    for repository in [port.of("alice"), port.of("bob"), port.named(port.of("bob").name().as_str(), &Actor::default())]
    {
        let manifest = port.image.manifest.digest.clone();
        assert!(is_outage(repository.manifest(&tag).await.unwrap_err()));
        assert!(is_outage(repository.manifest(&TagOrDigest::Digest(manifest.clone())).await.unwrap_err()));
        assert!(is_outage(repository.blob(port.layer()).await.unwrap_err()));
        assert!(is_outage(repository.blob_size(port.layer()).await.unwrap_err()));
        assert!(is_outage(repository.tags(None, 10).await.unwrap_err()));
        assert!(is_outage(repository.referrers(&manifest, None, None).await.unwrap_err()));
        port.forget_own().await;
        assert!(!port.mount(&repository).await);
    }
}

#[tokio::test]
async fn b10_the_refusal_of_one_is_not_remembered_for_another() {
    for (scheme, users) in schemes() {
        let port = Port::open(users).await;
        port.assert_closed(&port.of("bob"), scheme).await;
        port.assert_closed(&port.named(port.of("bob").name().as_str(), &Actor::default()), scheme).await;
        let asked = port.upstream.requests().len();
        port.assert_closed(&port.of("bob"), scheme).await;
        assert_eq!(port.upstream.requests().len(), asked, "{scheme}: his own is");
        port.assert_open(&port.of("alice"), scheme).await;
        port.assert_closed(&port.of("bob"), scheme).await;
    }
}

#[tokio::test]
async fn b10_a_fill_is_followed_by_those_alone_whom_the_upstream_allows_it() {
    for (scheme, users) in schemes() {
        let port = Port::open(users).await;
        let gate = Gate::new();
        port.upstream.when(|seen| seen.is_get() && seen.is_blob()).reply({
            let gate = gate.clone();
            move |honest| if honest.is_status(200) { honest.stall_after(1000, &gate) } else { honest }
        });
        let leading = port.of("alice").blob(port.layer()).await.unwrap();
        assert_eq!(leading.cache, CacheStatus::Miss);
        assert!(!had(port.of("bob").blob(port.layer()).await), "{scheme}");
        assert!(!had(port.named(port.of("bob").name().as_str(), &Actor::default()).blob(port.layer()).await));
        let following = port.of("dave").blob(port.layer()).await.unwrap();
        assert_eq!(port.upstream.count(|seen| seen.is_get() && seen.is_blob() && seen.header("range").is_none()), 1);
        gate.open();
        for blob in [leading, following] {
            let pieces: Vec<Bytes> = blob.stream(None).await.unwrap().try_collect().await.unwrap();
            assert_eq!(Bytes::from(pieces.concat()), port.image.layers[0].bytes, "{scheme}");
        }
        assert!(!had(port.of("bob").blob(port.layer()).await), "{scheme}");
    }
}

#[tokio::test]
async fn b10_a_fill_that_ends_with_the_right_of_one_is_led_on_by_another() {
    let port = Port::basic().await;
    let gate = Gate::new();
    let is_alice = |seen: &Seen| seen.header("authorization") == Some("Basic YWxpY2U6c2VjcmV0");
    port.upstream.when(move |seen| seen.is_get() && seen.is_blob() && is_alice(seen)).reply({
        let gate = gate.clone();
        move |_| Reply::error(403, "DENIED", "not any more").silent(&gate)
    });
    let (alice, dave) = (port.of("alice"), port.of("dave"));
    let leading = alice.blob(port.layer());
    let following = async {
        port.upstream.wait_for(|seen| seen.is_get() && seen.is_blob()).await;
        let joined = dave.blob(port.layer());
        tokio::pin!(joined);
        // He has been allowed it, and waits for what is under way.
        let early = tokio::select! {
            early = &mut joined => Some(early),
            _ = port.upstream.wait_for(|seen| seen.is_head() && seen.is_blob() && !is_alice(seen)) => None,
        };
        gate.open();
        match early {
            Some(early) => early,
            None => joined.await,
        }
    };
    let (leading, following) = tokio::join!(leading, following);
    leading.unwrap_err();
    let pieces: Vec<Bytes> = following.unwrap().stream(None).await.unwrap().try_collect().await.unwrap();
    assert_eq!(Bytes::from(pieces.concat()), port.image.layers[0].bytes);
}

#[tokio::test]
async fn b10_another_upstream_gets_at_nothing_by_naming_its_digest() {
    let port = Port::basic().await;
    read(&port.of("alice"), port.layer(), None).await.unwrap();
    port.registry.fills_ended().await;
    // It names the layers of the private image, and has none of them.
    port.image.manifest.load_into(&port.other, "thief/app");
    port.other.put_tag("thief/app", "1", &port.image.manifest.digest);
    let thief = port.named("proxy/other.test/thief/app", &Actor::default());
    assert!(had(thief.manifest(&TagOrDigest::parse("1").unwrap()).await), "the manifest is its own");
    assert!(!had(read(&thief, port.layer(), None).await));
    // Nor while it is being fetched.
    let port = Port::basic().await;
    let gate = Gate::new();
    port.image.manifest.load_into(&port.other, "thief/app");
    port.other.put_tag("thief/app", "1", &port.image.manifest.digest);
    port.upstream.when(|seen| seen.is_get() && seen.is_blob()).reply({
        let gate = gate.clone();
        move |honest| honest.stall_after(1000, &gate)
    });
    let leading = port.of("alice").blob(port.layer()).await.unwrap();
    let thief = port.named("proxy/other.test/thief/app", &Actor::default());
    assert!(had(thief.manifest(&TagOrDigest::parse("1").unwrap()).await));
    let stolen = tokio::time::timeout(Duration::from_secs(20), read(&thief, port.layer(), None)).await;
    assert!(!had(stolen.expect("he does not wait for what is not his")));
    gate.open();
    let pieces: Vec<Bytes> = leading.stream(None).await.unwrap().try_collect().await.unwrap();
    assert_eq!(pieces.concat().len(), 50_000);
    // Nor for a user of the same upstream, in a repository of his own.
    let repository = "team/other";
    port.upstream.remove(repository, port.layer());
    let own = port.named(&format!("proxy/{NAME}/{repository}"), &actor("bob"));
    assert!(had(own.manifest(&TagOrDigest::parse("1").unwrap()).await));
    assert!(!had(read(&own, port.layer(), None).await));
}

#[tokio::test]
async fn b10_orders_of_the_operator_are_asked_without_an_account_and_say_so() {
    let port = Port::basic().await;
    let private = port.named(&format!("proxy/{NAME}/{PRIVATE}"), &Actor::default());
    let tag = TagOrDigest::parse("1").unwrap();
    let refreshed = private.refresh(&tag).await;
    assert!(matches!(refreshed, Err(Error::OnlyForCallers { .. })), "{refreshed:?}");
    let events: Vec<WarmEvent> = private.warm(tag.clone(), Vec::new()).collect().await;
    assert!(
        events.iter().any(|event| matches!(event, WarmEvent::Failed { reason, .. } if reason.contains("without one"))),
        "{events:?}"
    );
    let explained = private.explain(&tag).await.unwrap();
    assert!(explained.outlook.contains("asked without an account"), "{}", explained.outlook);
    assert!(secrets(&port.upstream).is_empty());
    let public = port.named(&format!("proxy/{NAME}/team/public"), &Actor::default());
    public.refresh(&tag).await.unwrap();
    assert!(public.is_judged_by_upstream() && private.is_judged_by_upstream());
    assert!(!port.named("proxy/other.test/a", &Actor::default()).is_judged_by_upstream());
}

#[tokio::test]
async fn an_upstream_that_judges_nobody_is_asked_no_more_than_before() {
    let port = Port::basic().await;
    port.image.load_into(&port.other, "team/app", "1");
    let repository = port.named("proxy/other.test/team/app", &actor("alice"));
    assert!(had(repository.manifest(&TagOrDigest::parse("1").unwrap()).await));
    assert!(had(read(&repository, port.layer(), None).await));
    assert_eq!(port.other.requests().len(), 3, "a HEAD and a GET of the manifest, a GET of the layer");
    assert!(secrets(&port.other).is_empty(), "and what is for another upstream is not told to it");
}
