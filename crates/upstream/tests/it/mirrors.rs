//! Mirrors of one registry: who is asked, in which order, and who is believed.

use std::sync::Arc;
use std::time::Duration;

use entrepot_oci::Digest;
use entrepot_testkit::{Auth, FakeUpstream, Image, Reply, Seen};
use entrepot_upstream::{BlobFrom, ConfigError, Error, Mirror, Remote, Remotes, RemotesConfig, UpstreamConfig};

use crate::setup::{NAME, by_digest, is_authorized, later, listed, read, repository, tag, trusting, with_account};

/// An upstream that wants an account, and two mirrors that want none.
struct Trio {
    upstream: FakeUpstream,
    first: FakeUpstream,
    second: FakeUpstream,
    image: Image,
    remote: Arc<Remote>,
}

impl Trio {
    async fn start() -> Self {
        let (upstream, first, second) =
            (FakeUpstream::start().await, FakeUpstream::start().await, FakeUpstream::start().await);
        let image = Image::new(1, &[100_000]);
        for fake in [&upstream, &first] {
            image.load_into(fake, "team/app", "1");
        }
        image.load_into(&second, "mirror/team/app", "1");
        upstream.set_auth(Auth::basic("robot", "hidden"));
        let at_second = format!("{}/mirror/", second.url()).parse().unwrap();
        let config = UpstreamConfig {
            mirrors: vec![Mirror::Listed("first".into()), Mirror::At(at_second)],
            ..trusting(with_account(&upstream), &second)
        };
        let upstreams = vec![config, UpstreamConfig { name: "first".into(), ..listed(&first) }];
        let remotes = Remotes::new(RemotesConfig { upstreams, ..RemotesConfig::default() }).unwrap();
        let remote = remotes.resolve(NAME).unwrap();
        Self { upstream, first, second, image, remote }
    }

    fn layer(&self) -> &Digest {
        &self.image.layers[0].digest
    }

    fn manifest(&self) -> &Digest {
        &self.image.manifest.digest
    }

    /// Asks for content in every way, and returns who served the blob.
    async fn pull_by_digest(&self) -> String {
        let reference = by_digest(self.manifest());
        let head = self.remote.head_manifest(&repository(), &reference, None).await.unwrap();
        assert_eq!(head.digest.as_ref(), Some(self.manifest()));
        let fetched = self.remote.get_manifest(&repository(), &reference).await.unwrap();
        assert_eq!(&fetched.digest, self.manifest());
        assert_eq!(self.remote.head_blob(&repository(), self.layer()).await.unwrap(), Some(100_000));
        let blob = self.remote.get_blob(&repository(), self.layer(), BlobFrom::Start).await.unwrap();
        let served_by = blob.served_by.name().to_owned();
        assert_eq!(blob.served_by.is_mirror(), served_by != NAME);
        assert_eq!(read(blob.body).await.0, self.image.layers[0].bytes);
        served_by
    }

    fn counts(&self) -> [usize; 3] {
        [&self.first, &self.second, &self.upstream].map(|fake| fake.requests().len())
    }
}

#[tokio::test]
async fn content_comes_from_the_first_mirror_and_the_tag_from_the_upstream() {
    let trio = Trio::start().await;
    let head = trio.remote.head_manifest(&repository(), &tag("1"), None).await.unwrap();
    assert_eq!(head.digest.as_ref(), Some(trio.manifest()));
    assert_eq!(trio.counts()[..2], [0, 0]);
    assert_eq!(trio.pull_by_digest().await, "first");
    assert_eq!(trio.counts()[..2], [4, 0]);
    assert_eq!(trio.upstream.count(|seen| seen.is_get() && !seen.is_ping()), 0);
    assert_eq!(trio.upstream.count(Seen::is_blob), 0);
}

#[tokio::test]
async fn nothing_of_the_account_reaches_a_mirror_whatever_it_asks_for() {
    let trio = Trio::start().await;
    for fake in [&trio.first, &trio.second] {
        fake.set_auth(Auth::basic("robot", "hidden"));
    }
    assert_eq!(trio.pull_by_digest().await, NAME);
    let challenge = format!(r#"Bearer realm="{}/token",service="fake""#, trio.first.url());
    let refusal = Reply::error(401, "UNAUTHORIZED", "who are you").header("www-authenticate", &challenge);
    trio.first.set_auth(Auth::Open);
    trio.first.when(|seen| !seen.is_token()).reply(move |_| refusal.clone());
    assert_eq!(trio.pull_by_digest().await, NAME);
    assert!(trio.first.count(Seen::is_token) > 0 && trio.second.requests().len() >= 8);
    for fake in [&trio.first, &trio.second] {
        let basic = |seen: &Seen| seen.header("authorization").is_some_and(|value| value.starts_with("Basic"));
        assert_eq!(fake.count(basic), 0);
    }
    assert_eq!(trio.second.count(is_authorized), 0);
}

#[tokio::test]
async fn a_mirror_that_fails_or_lacks_the_content_is_passed_over() {
    for status in [401, 403, 404, 429, 500] {
        let trio = Trio::start().await;
        trio.first.when(Seen::is_any).reply(move |_| Reply::new(status));
        assert!(trio.pull_by_digest().await.starts_with("127.0.0.1:"), "{status}");
        trio.second.when(Seen::is_any).reply(move |_| Reply::new(status));
        assert_eq!(trio.pull_by_digest().await, NAME, "{status}");
    }
    let trio = Trio::start().await;
    trio.first.stop().await;
    trio.second.stop().await;
    assert_eq!(trio.pull_by_digest().await, NAME);
}

#[tokio::test]
async fn a_mirror_that_sends_other_manifests_is_passed_over_and_not_asked_for_a_while() {
    let trio = Trio::start().await;
    trio.first.when(Seen::is_manifest).reply(|honest| honest.flip_byte(20));
    let reference = by_digest(trio.manifest());
    let fetched = trio.remote.get_manifest(&repository(), &reference).await.unwrap();
    assert_eq!(&fetched.digest, trio.manifest());
    assert_eq!(trio.counts()[..2], [1, 1]);
    trio.remote.get_manifest(&repository(), &reference).await.unwrap();
    assert_eq!(trio.counts()[..2], [1, 2]);
    later(Duration::from_mins(5)).await;
    trio.first.heal();
    assert_eq!(trio.pull_by_digest().await, "first");
}

#[tokio::test]
async fn whoever_finds_wrong_bytes_in_a_blob_can_keep_its_mirror_from_being_asked() {
    let trio = Trio::start().await;
    trio.first.when(Seen::is_blob).reply(Reply::wrong_bytes);
    let repository = repository();
    let get = || trio.remote.get_blob(&repository, trio.layer(), BlobFrom::Start);
    let served_by = get().await.unwrap().served_by;
    assert!(served_by.name() == "first" && served_by.is_mirror(), "{served_by:?}");
    served_by.distrust();
    let second = get().await.unwrap().served_by;
    assert!(second.is_mirror());
    second.distrust();
    // The upstream itself cannot be left out.
    for _ in 0..2 {
        let upstream = get().await.unwrap().served_by;
        assert!(upstream.name() == NAME && !upstream.is_mirror());
        upstream.distrust();
    }
    later(Duration::from_mins(5)).await;
    assert_eq!(get().await.unwrap().served_by.name(), "first");
}

#[tokio::test]
async fn the_error_is_the_one_of_the_upstream_and_names_the_mirrors() {
    let trio = Trio::start().await;
    let absent: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    trio.first.when(Seen::is_any).reply(|_| Reply::new(500));
    let error = trio.remote.get_blob(&repository(), &absent, BlobFrom::Start).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let passed_over: Vec<_> = error.history().passed_over.iter().map(|passed| &*passed.mirror).collect();
    assert_eq!(passed_over, ["first".to_owned(), trio.second.address().to_string()]);
    assert!(error.to_string().contains("the mirror first did not help: first answered 500"), "{error}");
}

#[tokio::test]
async fn an_upstream_that_cannot_be_asked_is_answered_for_by_its_mirrors() {
    let trio = Trio::start().await;
    let (referrer, blobs) = entrepot_testkit::artifact(7, "application/x", &trio.image.manifest);
    for (fake, name) in [(&trio.upstream, "team/app"), (&trio.second, "mirror/team/app")] {
        referrer.load_into(fake, name);
        for blob in &blobs {
            fake.put_blob(name, blob.bytes.clone());
        }
    }
    trio.upstream.stop().await;
    trio.first.when(Seen::is_tags).reply(|_| Reply::new(404));
    trio.first.when(Seen::is_head).reply(Reply::without_digest);
    let head = trio.remote.head_manifest(&repository(), &tag("1"), None).await.unwrap();
    assert_eq!(head.digest.as_ref(), Some(trio.manifest()));
    let fetched = trio.remote.get_manifest(&repository(), &tag("1")).await.unwrap();
    assert_eq!(&fetched.digest, trio.manifest());
    assert_eq!(trio.remote.tags(&repository()).await.unwrap().len(), 1);
    // A mirror that knows no referrers does not say that there are none.
    assert_eq!(trio.remote.referrers(&repository(), trio.manifest()).await.unwrap().len(), 1);
    trio.second.stop().await;
    for _ in 0..2 {
        let error = trio.remote.referrers(&repository(), trio.manifest()).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. } | Error::Suspended { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_the_upstream_says_of_a_tag_is_final_and_the_mirrors_are_not_asked() {
    let trio = Trio::start().await;
    for fake in [&trio.first, &trio.second] {
        Image::new(2, &[10]).load_into(fake, "team/app", "gone");
    }
    let error = trio.remote.head_manifest(&repository(), &tag("gone"), None).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let error = trio.remote.get_manifest(&repository(), &tag("gone")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert_eq!(trio.remote.tags(&repository()).await.unwrap().len(), 1);
    assert_eq!(trio.counts()[..2], [0, 0]);
}

#[tokio::test]
async fn c2_a_mirror_that_is_not_listed_is_guarded_and_the_mirrors_of_mirrors_are_not_asked() {
    let (fake, inside, mirror) =
        (FakeUpstream::start().await, FakeUpstream::start().await, FakeUpstream::start().await);
    let image = Image::new(1, &[10]);
    image.load_into(&fake, "team/app", "1");
    let at = |url: &str| Mirror::At(url.parse().unwrap());
    let over_tls = format!("https://{}", inside.address());
    let upstreams = vec![
        UpstreamConfig { mirrors: vec![at(&over_tls), Mirror::Listed("mirror".into())], ..listed(&fake) },
        UpstreamConfig { name: "mirror".into(), mirrors: vec![Mirror::Listed(NAME.into())], ..listed(&mirror) },
    ];
    let remotes = Remotes::new(RemotesConfig { upstreams, ..RemotesConfig::default() }).unwrap();
    let remote = remotes.resolve(NAME).unwrap();
    assert_eq!(remote.mirror_names(), [inside.address().to_string().as_str(), "mirror"]);
    remote.get_manifest(&repository(), &by_digest(&image.manifest.digest)).await.unwrap();
    assert_eq!((inside.connections(), mirror.requests().len(), fake.requests().len()), (0, 1, 1));
}

#[tokio::test]
async fn mirrors_that_cannot_be_meant_are_refused_at_the_start() {
    let fake = FakeUpstream::start().await;
    let itself = fake.url();
    let rows = [
        (Mirror::Listed("absent".into()), "not the name of a listed upstream"),
        (Mirror::Listed(NAME.into()), "the upstream itself"),
        (Mirror::At(itself.parse().unwrap()), "the upstream itself"),
        (Mirror::At("http://mirror.example".parse().unwrap()), "without TLS"),
        (Mirror::At("ftp://mirror.example".parse().unwrap()), "neither at http nor at https"),
        (Mirror::At("https://u:hidden@mirror.example".parse().unwrap()), "carries a user"),
        (Mirror::At("https://mirror.example/?x".parse().unwrap()), "has a query"),
        (Mirror::At("https://mirror.example/UPPER".parse().unwrap()), "has a path"),
    ];
    for (mirror, words) in rows {
        let upstream = UpstreamConfig { mirrors: vec![mirror], ..listed(&fake) };
        let config = RemotesConfig { upstreams: vec![upstream], ..RemotesConfig::default() };
        let error = Remotes::new(config).unwrap_err();
        assert!(matches!(&error, ConfigError::Mirror { upstream, .. } if upstream == NAME), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(words) && !text.contains("hidden"), "{text}");
    }
}
