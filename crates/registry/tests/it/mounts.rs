//! Mounts from repositories that the caller may not pull.

use entrepot_metadata::BlobLink;
use entrepot_oci::{Algorithm, Digest, RepositoryName};
use entrepot_registry::{Error, ImmutableTags, Limits};
use entrepot_upstream::{RemotesConfig, UpstreamConfig};

use super::{House, source};

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

async fn push(house: &House, repository: &str, text: &'static str) -> Digest {
    let digest = Algorithm::Sha256.digest(text.as_bytes());
    house.named(repository).push_blob(&digest, None, source(text)).await.unwrap();
    digest
}

async fn mount(
    house: &House,
    digest: &Digest,
    from: Option<&str>,
    is_readable: impl Fn(&str) -> bool + Send + Sync,
) -> bool {
    let from = from.map(name);
    let is_mounted = house.repository().mount(digest, from.as_ref(), &|name| is_readable(name.as_str())).await.unwrap();
    let is_held = match house.repository().blob_size(digest).await {
        Ok(_) => true,
        Err(Error::BlobUnknown { .. } | Error::RepositoryUnknown { .. }) => false,
        Err(error) => panic!("{error:?}"),
    };
    assert_eq!(is_mounted, is_held);
    is_mounted
}

#[tokio::test]
async fn b2_a_source_that_must_not_be_read_is_like_one_that_lacks_the_blob() {
    let house = House::new(Limits::default());
    let digest = push(&house, "private/app", "layer").await;
    push(&house, "public/app", "another layer").await;
    let is_public = |name: &str| name.starts_with("public/");
    for from in [None, Some("private/app"), Some("public/app"), Some("private/none"), Some("public/none")] {
        assert!(!mount(&house, &digest, from, is_public).await, "{from:?}");
    }
    for from in ["proxy/ghcr.io/app", "proxy/10.0.0.1/app", "proxy/nothing"] {
        assert!(!mount(&house, &digest, Some(from), is_public).await, "{from}");
        assert!(!mount(&house, &digest, Some(from), |_| true).await, "{from}");
    }
    assert!(mount(&house, &digest, Some("private/app"), |_| true).await);
}

#[tokio::test]
async fn b2_holders_that_must_not_be_read_do_not_hide_one_that_may() {
    let house = House::new(Limits::default());
    let digest = push(&house, "private/0", "layer").await;
    let link = BlobLink { digest: digest.clone(), size: 5 };
    house.link((1..200).map(|number| format!("private/{number}")), &link).await;
    let is_public = |name: &str| name.starts_with("public/");
    assert!(!mount(&house, &digest, None, is_public).await);
    house.link(["public/app".to_owned()], &link).await;
    assert!(mount(&house, &digest, None, is_public).await);
}

#[tokio::test]
async fn b2_the_search_for_a_holder_is_bounded() {
    let house = House::new(Limits::default());
    let digest = push(&house, "private/0", "layer").await;
    let link = BlobLink { digest: digest.clone(), size: 5 };
    house.link((1..1000).map(|number| format!("private/{number}")), &link).await;
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let is_readable = |_: &str| {
        asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        false
    };
    assert!(!mount(&house, &digest, None, is_readable).await);
    let asked = asked.into_inner();
    assert!((200..400).contains(&asked), "{asked}");
}

#[tokio::test]
async fn b2_what_is_cached_is_judged_by_the_name_of_where_it_is_from() {
    // One upstream is called what another one's place is called: a name that is legal, and misleading.
    let upstream = |name: &str, url: &str| UpstreamConfig::new(name, url.parse().unwrap());
    let upstreams = vec![upstream("b.test", "https://a.test"), upstream("bees", "https://b.test")];
    let remotes = RemotesConfig { upstreams, ..RemotesConfig::default() };
    let house = House::with(Limits::default(), ImmutableTags::default(), remotes);
    let digest = Algorithm::Sha256.digest(b"layer");
    let mut ingest = house.cache.blobs.begin(&"blob-1".parse().unwrap(), Algorithm::Sha256).await.unwrap();
    ingest.absorb(source("layer"), 100).await.unwrap();
    ingest.commit(&digest).await.unwrap();
    let link = BlobLink { digest: digest.clone(), size: 5 };
    let now = entrepot_registry::Clock::now(&*house.clock);
    house.cache.metadata.link_blob(&name("b.test/app"), &link, now).await.unwrap();

    assert!(!mount(&house, &digest, None, |name| name == "proxy/b.test/app").await);
    assert!(!mount(&house, &digest, Some("proxy/b.test/app"), |_| true).await, "that is another place");
    assert!(!mount(&house, &digest, Some("proxy/bees/app"), |_| false).await);
    assert!(mount(&house, &digest, None, |name| name == "proxy/bees/app").await);
}
