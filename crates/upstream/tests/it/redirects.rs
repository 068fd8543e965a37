//! Where redirects lead, and what goes along (threats C3 and C5).

use entrepot_oci::{Digest, RepositoryName};
use entrepot_testkit::{Auth, FakeUpstream, Image, Reply, Seen};
use entrepot_upstream::{BlobFrom, Error, RedirectError};

use crate::setup::{
    by_digest, is_authorized, listed, read, remote, remote_of, repository, tag, trusting, with_account,
};

/// A registry with an image and an account, and a storage with its layer under the same path.
struct Pair {
    registry: FakeUpstream,
    storage: FakeUpstream,
    image: Image,
}

impl Pair {
    async fn start() -> Self {
        let (registry, storage) = (FakeUpstream::start().await, FakeUpstream::start().await);
        let image = Image::new(1, &[100_000]);
        image.load_into(&registry, "team/app", "1");
        image.load_into(&storage, "team/app", "1");
        registry.set_auth(Auth::bearer("robot", "hidden"));
        Self { registry, storage, image }
    }

    fn redirect_to_storage(&self, status: u16) {
        let url = self.storage.url();
        let (blob, manifest) = (self.layer().clone(), self.image.manifest.digest.clone());
        for (is_kind, kind, digest) in
            [(Seen::is_blob as fn(&Seen) -> bool, "blobs", blob), (Seen::is_manifest, "manifests", manifest)]
        {
            let location = format!("{url}/v2/team/app/{kind}/{digest}?X-Signature=abc%2Bdef");
            self.registry
                .when(move |seen| is_kind(seen) && is_authorized(seen))
                .reply(move |_| Reply::redirect(status, &location).announcing(&digest));
        }
    }

    fn layer(&self) -> &Digest {
        &self.image.layers[0].digest
    }
}

#[tokio::test]
async fn c5_an_account_and_its_tokens_stay_with_the_host_they_are_for() {
    for status in [301, 302, 303, 307, 308] {
        let pair = Pair::start().await;
        pair.redirect_to_storage(status);
        let remote = remote_of(trusting(with_account(&pair.registry), &pair.storage));
        let blob = remote.get_blob(&repository(), pair.layer(), BlobFrom::Start).await.unwrap();
        assert_eq!(read(blob.body).await.0, pair.image.layers[0].bytes);
        remote.get_manifest(&repository(), &by_digest(&pair.image.manifest.digest)).await.unwrap();
        assert_eq!(remote.head_blob(&repository(), pair.layer()).await.unwrap(), Some(100_000));
        assert_eq!(pair.storage.requests().len(), 3);
        for seen in pair.storage.requests() {
            assert!(!is_authorized(&seen), "{seen:?}");
            assert!(seen.header("cookie").is_none() && seen.header("referer").is_none());
            assert_eq!(seen.query, "X-Signature=abc%2Bdef", "a signed URL is used as it is");
        }
    }
}

#[tokio::test]
async fn c5_a_challenge_behind_a_redirect_gets_no_account() {
    for challenge in [r#"Basic realm="storage""#, r#"Bearer realm="/token",service="storage""#] {
        let pair = Pair::start().await;
        pair.redirect_to_storage(307);
        let refusal = Reply::error(401, "UNAUTHORIZED", "who are you").header("www-authenticate", challenge);
        pair.storage.when(|seen| !seen.is_token()).reply(move |_| refusal.clone());
        let remote = remote_of(trusting(with_account(&pair.registry), &pair.storage));
        let error = remote.get_blob(&repository(), pair.layer(), BlobFrom::Start).await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        let account = |seen: &Seen| seen.header("authorization").is_some_and(|value| value.starts_with("Basic"));
        assert_eq!(pair.storage.count(account), 0);
        assert_eq!(pair.storage.count(|seen| seen.is_token() && is_authorized(seen)), 0);
    }
}

#[tokio::test]
async fn a_redirect_to_a_registry_with_tokens_of_its_own_gets_an_anonymous_one_for_its_own_repository() {
    let (front, regional) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let image = Image::new(1, &[1000]);
    image.load_into(&regional, "prod/images/pause", "3.9");
    regional.set_auth(Auth::anonymous_bearer());
    let location = format!("{}/v2/prod/images/pause/manifests/3.9", regional.url());
    front.when(Seen::is_manifest).reply(move |_| Reply::redirect(307, &location));
    let remote = remote_of(trusting(with_account(&front), &regional));
    let fetched =
        remote.get_manifest(&RepositoryName::try_from("pause".to_owned()).unwrap().into(), &tag("3.9")).await.unwrap();
    assert_eq!(fetched.digest, image.manifest.digest);
    let token = regional.wait_for(Seen::is_token).await;
    assert_eq!(token.parameters("scope"), ["repository:prod/images/pause:pull"]);
    assert!(!is_authorized(&token));
}

#[tokio::test]
async fn a_redirect_on_the_same_host_keeps_the_token() {
    let pair = Pair::start().await;
    let elsewhere = format!("/v2/team/app/blobs/{}?moved", pair.layer());
    pair.registry
        .when(|seen| seen.is_blob() && seen.query.is_empty() && is_authorized(seen))
        .reply(move |_| Reply::redirect(302, &elsewhere));
    let remote = remote_of(with_account(&pair.registry));
    let blob = remote.get_blob(&repository(), pair.layer(), BlobFrom::Start).await.unwrap();
    assert_eq!(read(blob.body).await.0.len(), 100_000);
    assert!(is_authorized(&pair.registry.wait_for(|seen| seen.query == "moved").await));
}

#[tokio::test]
async fn c5_a_chain_that_comes_back_to_the_upstream_has_lost_the_token() {
    let pair = Pair::start().await;
    pair.redirect_to_storage(307);
    let back = format!("{}/v2/team/app/blobs/{}?back", pair.registry.url(), pair.layer());
    pair.storage.when(Seen::is_blob).reply(move |_| Reply::redirect(307, &back));
    pair.registry.when(|seen| seen.query == "back").reply(|honest| honest);
    let remote = remote_of(trusting(with_account(&pair.registry), &pair.storage));
    // The way back meets a challenge, and the anonymous flow that it starts is refused.
    assert!(remote.get_blob(&repository(), pair.layer(), BlobFrom::Start).await.is_err());
    assert_eq!(pair.registry.count(|seen| seen.query == "back" && is_authorized(seen)), 0);
}

#[tokio::test]
async fn c3_a_redirect_inside_is_refused_before_a_connection_is_made() {
    let inside = FakeUpstream::start().await;
    let port = inside.address().port();
    let targets = [
        format!("http://127.0.0.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.0.0.1:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://localhost:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "https://10.0.0.1/".to_owned(),
    ];
    for target in targets {
        let fake = FakeUpstream::start().await;
        let location = target.clone();
        fake.when(Seen::is_any).reply(move |_| Reply::redirect(307, &location));
        let remote = remote(&fake);
        let digest = Image::new(1, &[1]).manifest.digest;
        let errors = [
            remote.get_blob(&repository(), &digest, BlobFrom::Start).await.unwrap_err(),
            remote.head_blob(&repository(), &digest).await.unwrap_err(),
            remote.get_manifest(&repository(), &tag("1")).await.unwrap_err(),
            remote.head_manifest(&repository(), &tag("1"), None).await.unwrap_err(),
            remote.tags(&repository()).await.unwrap_err(),
            remote.referrers(&repository(), &digest).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::AddressRefused { .. }), "{target}: {error}");
            assert!(error.history().elapsed().as_secs() < 2);
        }
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn c3_what_is_no_redirect_is_not_followed() {
    let rows = [
        ("file:///etc/passwd", RedirectError::Scheme),
        ("gopher://127.0.0.1/", RedirectError::Scheme),
        ("", RedirectError::LocationMissing),
        ("http://[", RedirectError::LocationMalformed),
        ("http://user:pass@127.0.0.1/", RedirectError::Userinfo),
    ];
    for (location, expected) in rows {
        let fake = FakeUpstream::start().await;
        fake.when(Seen::is_any).reply(move |_| Reply::redirect(307, location));
        let error = remote(&fake).get_manifest(&repository(), &tag("1")).await.unwrap_err();
        assert!(matches!(error, Error::BadRedirect { reason, .. } if reason == expected), "{location}: {error}");
    }
}

#[tokio::test]
async fn c3_a_loop_ends_after_five_redirects() {
    let fake = FakeUpstream::start().await;
    let location = format!("{}/v2/team/app/manifests/1", fake.url());
    fake.when(Seen::is_any).reply(move |_| Reply::redirect(302, &location));
    let error = remote_of(listed(&fake)).get_manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::TooManyRedirects { .. }), "{error}");
    assert_eq!(fake.requests().len(), 6);
    assert_eq!(error.history().attempts, 6);
}

#[tokio::test]
async fn the_digest_on_the_redirect_counts_where_the_storage_has_none() {
    let pair = Pair::start().await;
    pair.redirect_to_storage(307);
    pair.storage.when(Seen::is_any).reply(Reply::without_digest);
    let remote = remote_of(trusting(with_account(&pair.registry), &pair.storage));
    let head = remote.head_manifest(&repository(), &tag("1"), None).await.unwrap();
    assert_eq!(head.digest, Some(pair.image.manifest.digest.clone()));
    // Storage that is signed for GET alone refuses a HEAD: what the redirect said still counts.
    pair.storage.heal();
    pair.storage.when(Seen::is_head).reply(|_| Reply::new(403));
    let head = remote.head_manifest(&repository(), &tag("1"), None).await.unwrap();
    assert_eq!(head.digest, Some(pair.image.manifest.digest.clone()));
    assert_eq!(remote.head_blob(&repository(), pair.layer()).await.unwrap(), Some(100_000));
}

#[tokio::test]
async fn no_printed_error_shows_the_signature_of_a_redirect() {
    let pair = Pair::start().await;
    pair.redirect_to_storage(307);
    pair.storage.stop().await;
    let remote = remote_of(trusting(with_account(&pair.registry), &pair.storage));
    let error = remote.get_blob(&repository(), pair.layer(), BlobFrom::Start).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let printed = format!("{error} {error:?}");
    assert!(!printed.contains("X-Signature") && !printed.contains("hidden"), "{printed}");
}
