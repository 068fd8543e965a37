//! Tags and referrers: the upstream's, remembered for a moment, with those that are cached.

use entrepot_oci::Referrer;
use entrepot_registry::{Listing, OnUpstream404};
use entrepot_testkit::{Gate, Reply, StoredManifest, artifact};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;

const SIGNATURE: &str = "application/vnd.test.signature";

/// Puts a signature of an image into the upstream.
fn sign(port: &Port, seed: u64, image: &Image, artifact_type: &str) -> StoredManifest {
    let (signature, blobs) = artifact(seed, artifact_type, &image.manifest);
    for blob in blobs {
        port.upstream.put_blob(REPOSITORY, blob.bytes);
    }
    signature.load_into(&port.upstream, REPOSITORY);
    signature
}

async fn referrers(port: &Port, image: &Image, artifact_type: Option<&str>) -> Result<Listing<Referrer>, Error> {
    port.repository().referrers(&image.manifest.digest, artifact_type, None).await
}

fn digests(listing: &Listing<Referrer>) -> Vec<&Digest> {
    listing.entries.iter().map(|referrer| &referrer.digest).collect()
}

fn sorted<'a>(manifests: impl IntoIterator<Item = &'a StoredManifest>) -> Vec<&'a Digest> {
    let mut digests: Vec<&Digest> = manifests.into_iter().map(|manifest| &manifest.digest).collect();
    digests.sort_unstable();
    digests
}

#[tokio::test]
async fn all_pages_of_a_list_cost_one_question_and_follow_each_other() {
    let (port, image) = Port::with_image().await;
    let names: Vec<String> = (100..350).map(|number| format!("t{number}")).collect();
    for name in &names {
        port.upstream.put_tag(REPOSITORY, name, &image.manifest.digest);
    }
    port.upstream.remove_tag(REPOSITORY, "1");
    // One of them is cached, and one that is not listed before and after it.
    port.pull("t200").await.unwrap();
    let repository = port.repository();
    let mut listed: Vec<String> = Vec::new();
    let mut after: Option<Tag> = None;
    loop {
        let page = repository.tags(after, 7).await.unwrap();
        assert!(page.entries.len() == 7 || !page.has_more);
        listed.extend(page.entries.iter().map(Tag::to_string));
        after = page.entries.last().cloned();
        if !page.has_more {
            break;
        }
    }
    assert_eq!(listed, names);
    assert_eq!(port.lists(), 1);
    assert_eq!(repository.tags(None, 0).await.unwrap().entries, []);
    // A minute later it is asked for again.
    port.upstream.put_tag(REPOSITORY, "t050", &image.manifest.digest);
    port.clock.advance(59 * SECOND);
    assert_eq!(port.tags().await.unwrap().0[0], "t100");
    port.clock.advance(SECOND);
    assert_eq!(port.tags().await.unwrap().0[0], "t050");
    assert_eq!(port.lists(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_that_want_a_list_cause_one_question() {
    let (port, _) = Port::with_image().await;
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(Seen::is_tags).reply(move |honest| honest.silent(&held));
    let opening = async {
        gate.reached_by(1).await;
        gate.open();
    };
    let (lists, ()) = tokio::join!(join_all((0..100).map(|_| port.tags())), opening);
    assert!(lists.iter().all(|list| list.as_ref().is_ok_and(|(tags, _)| tags == &["1"])));
    assert_eq!(port.lists(), 1);
}

#[tokio::test]
async fn a_cached_tag_that_is_no_longer_listed_is_kept_or_left_out() {
    for (on_upstream_404, expected) in
        [(OnUpstream404::Keep, &["1", "2", "3"][..]), (OnUpstream404::Forget, &["2", "3"])]
    {
        let (port, image) = Port::with_image_and(Freshness { on_upstream_404, ..Freshness::default() }).await;
        port.upstream.put_tag(REPOSITORY, "2", &image.manifest.digest);
        port.pull("1").await.unwrap();
        port.upstream.remove_tag(REPOSITORY, "1");
        port.clock.advance(MINUTE);
        assert_eq!(port.tags().await.unwrap().0.last().unwrap(), "2");
        // Pulled since it was listed, it is not one that is gone.
        port.upstream.put_tag(REPOSITORY, "3", &image.manifest.digest);
        port.clock.advance(SECOND);
        port.pull("3").await.unwrap();
        assert_eq!(port.tags().await.unwrap(), (expected.iter().map(|tag| (*tag).to_owned()).collect(), None));
        let first = port.repository().tags(None, 1).await.unwrap();
        assert_eq!((first.entries[0].as_str(), first.has_more), (expected[0], true));
        assert_eq!(port.lists(), 1);
    }
}

#[tokio::test]
async fn a_repository_that_is_gone_has_the_tags_that_are_kept_or_none() {
    for on_upstream_404 in [OnUpstream404::Keep, OnUpstream404::Forget] {
        let (port, _) = Port::with_image_and(Freshness { on_upstream_404, ..Freshness::default() }).await;
        port.pull("1").await.unwrap();
        port.upstream.when(|_| true).reply(|_| Reply::error(404, "NAME_UNKNOWN", "no such repository"));
        port.clock.advance(MINUTE);
        for _ in 0..2 {
            let outcome = port.tags().await;
            match on_upstream_404 {
                OnUpstream404::Keep => assert!(outcome.unwrap().1.unwrap().contains("no longer has this repository")),
                OnUpstream404::Forget => {
                    assert!(matches!(outcome.unwrap_err().root(), Error::RepositoryUnknown { .. }));
                }
            }
        }
        assert_eq!(port.lists(), 1, "the 404 is repeated without asking again");
    }
}

#[tokio::test]
async fn without_an_upstream_the_list_is_what_is_known_of_it_and_never_empty() {
    let (port, image) = Port::with_image().await;
    port.upstream.put_tag(REPOSITORY, "2", &image.manifest.digest);
    port.upstream.stop().await;
    assert!(matches!(port.tags().await.unwrap_err().root(), Error::Upstream { .. }), "nothing is cached");
    port.upstream.restart().await;
    port.pull("1").await.unwrap();
    port.upstream.stop().await;
    port.clock.advance(MINUTE);
    let (tags, warning) = port.tags().await.unwrap();
    assert_eq!((tags.as_slice(), warning.is_some()), (&["1".to_owned()][..], true), "a cached tag");
    port.upstream.restart().await;
    port.clock.advance(MINUTE);
    port.tags().await.unwrap();
    port.upstream.stop().await;
    port.clock.advance(MINUTE);
    let (tags, warning) = port.tags().await.unwrap();
    assert_eq!((tags.len(), warning.is_some()), (2, true), "a list that was remembered");
}

#[tokio::test]
async fn referrers_are_those_of_the_upstream_and_the_cached_ones_filtered_and_remembered() {
    let (port, image) = Port::with_image().await;
    let listed = sign(&port, 1, &image, SIGNATURE);
    let cached = sign(&port, 2, &image, SIGNATURE);
    let other = sign(&port, 3, &image, "application/vnd.test.sbom");
    port.pull(cached.digest.as_str()).await.unwrap();
    port.upstream.remove(REPOSITORY, &cached.digest);
    assert_eq!(digests(&referrers(&port, &image, None).await.unwrap()), sorted([&listed, &cached, &other]));
    assert_eq!(digests(&referrers(&port, &image, Some(SIGNATURE)).await.unwrap()), sorted([&listed, &cached]));
    let all = referrers(&port, &image, None).await.unwrap();
    let behind = port.repository().referrers(&image.manifest.digest, None, Some(all.entries[0].digest.clone())).await;
    assert_eq!(behind.unwrap().entries, all.entries[1..]);
    assert_eq!(port.upstream.count(Seen::is_referrers), 1);
    // No filter is sent: some registries answer several with nothing.
    assert_eq!(port.upstream.count(|seen| !seen.parameters("artifactType").is_empty()), 0);
    let late = sign(&port, 4, &image, SIGNATURE);
    port.clock.advance(MINUTE);
    let all = referrers(&port, &image, None).await.unwrap();
    assert_eq!(digests(&all), sorted([&listed, &cached, &other, &late]));
}

#[tokio::test]
async fn more_cached_referrers_than_are_read_at_once_are_merged_in_order() {
    let (port, image) = Port::with_image().await;
    let all: Vec<StoredManifest> = (0..250).map(|seed| sign(&port, seed, &image, SIGNATURE)).collect();
    for signature in all.iter().step_by(2) {
        port.pull(signature.digest.as_str()).await.unwrap();
        port.upstream.remove(REPOSITORY, &signature.digest);
    }
    assert_eq!(digests(&referrers(&port, &image, None).await.unwrap()), sorted(&all));
}

#[tokio::test]
async fn no_signatures_is_never_a_lie() {
    let (port, image) = Port::with_image().await;
    let cached = sign(&port, 1, &image, SIGNATURE);
    let listed = sign(&port, 2, &image, SIGNATURE);
    port.pull(cached.digest.as_str()).await.unwrap();
    port.upstream.stop().await;
    // That one is cached does not say that there are no others.
    assert!(matches!(referrers(&port, &image, None).await.unwrap_err().root(), Error::Upstream { .. }));
    port.upstream.restart().await;
    assert_eq!(referrers(&port, &image, None).await.unwrap().entries.len(), 2);
    port.clock.advance(MINUTE);
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(Seen::is_referrers).reply(move |honest| honest.silent(&held));
    let began = Instant::now();
    let stale = referrers(&port, &image, None).await.unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(digests(&stale), sorted([&cached, &listed]));
    assert!(stale.warning.unwrap().starts_with("stale: "));
    gate.open();
}

#[tokio::test]
async fn a_subject_without_referrers_has_none_and_that_is_remembered_too() {
    let (port, image) = Port::with_image().await;
    port.upstream.when(Seen::is_referrers).reply(|_| Reply::new(404));
    for _ in 0..3 {
        assert_eq!(referrers(&port, &image, None).await.unwrap().entries, []);
    }
    assert_eq!(port.upstream.count(Seen::is_referrers), 1);
}
