//! What goes from the cache, in which order, and what stays.

use std::time::Duration;

use entrepot_oci::{Algorithm, TagOrDigest};
use entrepot_registry::{CacheLimits, CachedEntryKey, Error, EvictionOrder, EvictionReport};
use entrepot_testkit::{Image, index};

use crate::HOUR;
use crate::cached::{Cached, NAME, read, reference_of, size_of, variation};

/// Images of which none shares anything, each in its repository `a`, `b`, … under the tag `1`, pulled in this order.
async fn pulled(cached: &Cached, count: u64) -> Vec<Image> {
    let mut images = Vec::new();
    for (number, name) in (1..=count).zip(["a", "b", "c", "d", "e"]) {
        let image = Image::new(number, &[10_000, 20_000]);
        image.load_into(&cached.upstream, name, "1");
        cached.pull(name, "1").await;
        images.push(image);
    }
    images
}

const DRY: EvictionOrder = EvictionOrder { is_dry_run: true, down_to: None, unused_for: None };

#[tokio::test]
async fn what_was_pulled_least_recently_goes_first_and_a_dry_run_says_so_exactly() {
    let cached = Cached::unlimited().await;
    let images = pulled(&cached, 3).await;
    cached.clock.advance(HOUR);
    cached.repository("a").manifest(&reference_of("1")).await.unwrap();
    let digest = |number: usize| images[number].manifest.digest.clone();
    assert_eq!(cached.by_use().await, [digest(1), digest(2), digest(0)]);

    let before = (cached.entries().await, cached.registry.cache_stats().await.unwrap());
    let down_to = Some(size_of(&images[0]) + 1);
    let predicted = cached.evict(EvictionOrder { down_to, ..DRY }).await;
    assert_eq!(before, (cached.entries().await, cached.registry.cache_stats().await.unwrap()), "it was a dry run");

    let evicted = cached.evict(EvictionOrder { down_to, ..EvictionOrder::default() }).await;
    assert_eq!(evicted, predicted);
    assert_eq!(evicted.count, 2);
    assert_eq!(evicted.freed, size_of(&images[1]) + size_of(&images[2]));
    let names: Vec<_> = evicted.entries.iter().map(|entry| (entry.name.clone(), entry.digest.clone())).collect();
    assert_eq!(names, [(cached.shown_name("b"), digest(1)), (cached.shown_name("c"), digest(2))]);
    assert_eq!(evicted.entries[0].tags, ["1".parse().unwrap()]);

    // Of what went nothing is left, and of what stayed everything is.
    for blob in images[1].blobs().chain(images[2].blobs()) {
        assert!(!cached.has_bytes(&blob.digest).await);
    }
    cached.upstream.stop().await;
    cached.pull("a", "1").await;
    assert_eq!(cached.metrics.evictions.get(), 2);
    assert_eq!(cached.metrics.evicted_bytes.get(), evicted.freed);
    assert_eq!(u64::try_from(cached.metrics.cache_bytes.get()).unwrap(), size_of(&images[0]));
    assert_eq!((cached.metrics.cache_blobs.get(), cached.metrics.cache_manifests.get()), (3, 1));
}

#[tokio::test]
async fn a_pull_of_a_child_counts_for_its_index_and_tag() {
    let cached = Cached::unlimited().await;
    let (child, other) = (Image::new(1, &[10_000]), Image::new(2, &[10_000]));
    child.load_into(&cached.upstream, "a", "child");
    let whole = index(&[("amd64", &child.manifest)]);
    whole.load_into(&cached.upstream, "a");
    cached.upstream.put_tag("a", "1", &whole.digest);
    other.load_into(&cached.upstream, "b", "1");
    cached.pull("a", "1").await;
    cached.pull("a", child.manifest.digest.as_str()).await;
    cached.pull("b", "1").await;
    assert_eq!(cached.by_use().await, [whole.digest.clone(), other.manifest.digest.clone()]);
    // By the digest of the child alone, as a node does that has the index already.
    cached.clock.advance(HOUR);
    let digest = TagOrDigest::Digest(child.manifest.digest.clone());
    cached.repository("a").manifest(&digest).await.unwrap();

    let evicted = cached.evict_down_to(size_of(&child)).await;
    assert_eq!(evicted.entries[0].digest, other.manifest.digest);
    assert_eq!(evicted.count, 1);
    assert_eq!(cached.entries().await[0].tags, ["1".parse().unwrap()]);
}

#[tokio::test]
async fn blobs_that_another_image_or_repository_holds_stay() {
    let cached = Cached::unlimited().await;
    let image = Image::new(1, &[10_000, 20_000]);
    image.load_into(&cached.upstream, "a", "1");
    image.load_into(&cached.upstream, "b", "1");
    let sibling = variation(&image);
    sibling.load_into(&cached.upstream, "b");
    cached.upstream.put_tag("b", "2", &sibling.digest);
    for (name, tag) in [("a", "1"), ("b", "1"), ("b", "2")] {
        cached.pull(name, tag).await;
    }
    // Three entries over the same blobs: the first two free nothing.
    for left in [2, 1] {
        let unused_for = Some(HOUR / 2 * (2 * left - 1));
        let report = cached.evict(EvictionOrder { unused_for, ..EvictionOrder::default() }).await;
        assert_eq!((report.count, report.freed), (1, 0));
        assert_eq!(cached.entries().await.len(), usize::try_from(left).unwrap());
        assert_eq!(cached.bytes().await, size_of(&image));
    }
    cached.upstream.stop().await;
    cached.pull("b", "2").await;
    assert_eq!(cached.evict_down_to(0).await.freed, size_of(&image));
}

#[tokio::test]
async fn pins_stay_and_that_of_a_tag_follows_it() {
    let cached = Cached::unlimited().await;
    let (old, new) = (Image::new(1, &[10_000]), Image::new(2, &[10_000]));
    old.load_into(&cached.upstream, "a", "1");
    let repository = cached.repository("a");
    let tag = reference_of("1");
    // Before anything of it is here.
    repository.pin(&tag).await.unwrap();
    repository.pin(&tag).await.unwrap();
    cached.pull("a", "1").await;
    assert_eq!(cached.evict_down_to(0).await, EvictionReport::default());
    assert!(cached.entries().await[0].is_pinned);

    new.load_into(&cached.upstream, "a", "1");
    cached.pull("a", "1").await;
    assert_eq!(cached.evict_down_to(0).await.entries[0].digest, old.manifest.digest);
    let pins = cached.registry.cache_pins().await.unwrap();
    assert_eq!((pins.len(), &pins[0].name, &pins[0].reference), (1, &cached.shown_name("a"), &tag));
    let purged = repository.purge(Some(&tag)).await;
    assert!(matches!(&purged, Err(Error::Pinned { reference, .. }) if *reference == tag), "{purged:?}");
    assert!(matches!(repository.purge(None).await, Err(Error::Pinned { .. })));

    assert!(repository.unpin(&tag).await.unwrap());
    assert!(!repository.unpin(&tag).await.unwrap());
    assert_eq!(cached.evict_down_to(0).await.freed, size_of(&new));
}

#[tokio::test]
async fn what_was_unused_for_too_long_goes_whatever_room_there_is() {
    let limits = CacheLimits { unused_for: Some(48 * HOUR), ..CacheLimits::default() };
    let cached = Cached::open(limits).await;
    let images = pulled(&cached, 2).await;
    assert_eq!(cached.evict(EvictionOrder::default()).await.count, 0);
    cached.clock.advance(40 * HOUR);
    cached.pull("a", "1").await;
    cached.clock.advance(8 * HOUR);
    let predicted = cached.evict(DRY).await;
    let evicted = cached.evict(EvictionOrder::default()).await;
    assert_eq!(evicted, predicted);
    assert_eq!(evicted.entries[0].digest, images[1].manifest.digest);
    assert_eq!(evicted.count, 1);
    let order = EvictionOrder { unused_for: Some(Duration::ZERO), ..EvictionOrder::default() };
    cached.clock.advance(HOUR);
    assert_eq!(cached.evict(order).await.count, 1, "an order needs no limit in the configuration");
}

#[tokio::test]
async fn eviction_begins_above_the_high_mark_and_ends_at_the_low_one() {
    let one = size_of(&Image::new(1, &[10_000, 20_000]));
    // Four images fit below the high mark, and two below the low one.
    let limits = CacheLimits { size_max: Some(one * 5), high_percent: 90, low_percent: 50, ..CacheLimits::default() };
    let cached = Cached::open(limits).await;
    let mut images = pulled(&cached, 4).await;
    assert_eq!(cached.evict(EvictionOrder::default()).await, EvictionReport::default());
    let last = Image::new(5, &[10_000, 20_000]);
    last.load_into(&cached.upstream, "e", "1");
    cached.pull("e", "1").await;
    images.push(last);
    let predicted = cached.evict(DRY).await;
    let evicted = cached.evict(EvictionOrder::default()).await;
    assert_eq!(evicted, predicted);
    assert_eq!(evicted.count, 3);
    let left: Vec<_> = images[3..].iter().map(|image| image.manifest.digest.clone()).collect();
    assert_eq!(cached.by_use().await, left);
    assert_eq!(cached.registry.cache_stats().await.unwrap().size_max, Some(one * 5));
    assert_eq!(u64::try_from(cached.metrics.cache_size_max.get()).unwrap(), one * 5);
}

#[tokio::test]
async fn age_and_size_together_are_predicted_exactly() {
    let one = size_of(&Image::new(1, &[10_000, 20_000]));
    let limits = CacheLimits {
        size_max: Some(one * 2),
        high_percent: 100,
        low_percent: 60,
        unused_for: Some(100 * HOUR),
        ..CacheLimits::default()
    };
    let cached = Cached::open(limits).await;
    pulled(&cached, 5).await;
    // Two are too old; of the other three two have to go for the room.
    cached.clock.advance(97 * HOUR + HOUR / 2);
    let predicted = cached.evict(DRY).await;
    let evicted = cached.evict(EvictionOrder::default()).await;
    assert_eq!(evicted, predicted);
    assert_eq!((evicted.count, evicted.freed), (4, one * 4));
}

#[tokio::test]
async fn an_eviction_of_many_batches_goes_through_and_names_a_thousand() {
    let cached = Cached::unlimited().await;
    let blobs = 1100;
    let name = cached.cached_name("a");
    for number in 0..blobs {
        let digest = Algorithm::Sha256.digest(&u64::to_le_bytes(number));
        let link = entrepot_metadata::BlobLink { digest, size: 1 };
        cached.cache.metadata.link_blob(&name, &link, entrepot_registry::Clock::now(&*cached.clock)).await.unwrap();
    }
    let predicted = cached.evict(EvictionOrder { down_to: Some(0), ..DRY }).await;
    assert_eq!((predicted.count, predicted.entries.len(), predicted.freed), (blobs, 1000, blobs));
    let evicted = cached.evict_down_to(0).await;
    assert_eq!((evicted.count, evicted.entries.len()), (blobs, 1000));
    assert_eq!(evicted.freed, 0, "there were rows without bytes, which free nothing");
    assert_eq!(cached.registry.cache_stats().await.unwrap().unheld_blobs, 0);
}

#[tokio::test]
async fn freed_means_freed_and_what_was_mounted_or_pushed_stays() {
    let cached = Cached::unlimited().await;
    let images = pulled(&cached, 3).await;
    let own = cached.registry.repository(&"team/app".parse().unwrap()).unwrap();
    let layer = &images[0].layers[1];
    let from = format!("proxy/{NAME}/a").parse().unwrap();
    assert!(own.mount(&layer.digest, Some(&from), &|_| true).await.unwrap());
    let pushed = Algorithm::Sha256.digest(b"pushed");
    own.push_blob(&pushed, None, crate::source("pushed")).await.unwrap();

    let blobs = cached.folder().join("cache/docker");
    let before = sum_of_files(&blobs);
    assert_eq!(before, images.iter().map(size_of).sum::<u64>());
    let reader = cached.repository("a").blob(&layer.digest).await.unwrap();
    let evicted = cached.evict_down_to(0).await;
    assert_eq!(evicted.count, 3);
    assert_eq!(before - sum_of_files(&blobs), evicted.freed);
    assert_eq!(sum_of_files(&blobs), 0);

    // Who had it open reads on; the own store has what it had.
    let pieces: Vec<bytes::Bytes> =
        futures_util::TryStreamExt::try_collect(reader.stream(None).await.unwrap()).await.unwrap();
    assert!(layer.digest.names(&pieces.concat()));
    read(&own, &layer.digest).await;
    read(&own, &pushed).await;
}

fn sum_of_files(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let size = |entry: std::fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() { sum_of_files(&entry.path()) } else { metadata.len() }
    };
    entries.map(size).sum()
}

#[tokio::test]
async fn a_purge_takes_what_was_named_and_nothing_else() {
    let cached = Cached::unlimited().await;
    let images = pulled(&cached, 3).await;
    let tag = reference_of("1");
    let (first, second) = (cached.repository("a"), cached.repository("b"));
    let purged = first.purge(Some(&tag)).await.unwrap();
    assert_eq!((purged.count, purged.freed), (1, size_of(&images[0])));
    assert_eq!(purged.entries[0].name, cached.shown_name("a"));
    let again = first.purge(Some(&tag)).await;
    assert!(matches!(again, Err(Error::NotCached { .. })), "{again:?}");
    assert!(matches!(first.purge(None).await, Err(Error::NotCached { .. })));
    let digest = TagOrDigest::Digest(images[1].manifest.digest.clone());
    assert_eq!(second.purge(Some(&digest)).await.unwrap().freed, size_of(&images[1]));
    assert_eq!(cached.repository("c").purge(None).await.unwrap().freed, size_of(&images[2]));
    assert_eq!(cached.bytes().await, 0);
    for blob in images.iter().flat_map(Image::blobs) {
        assert!(!cached.has_bytes(&blob.digest).await);
    }
    // It is only the cache that has forgotten.
    cached.pull("a", "1").await;
}

#[tokio::test]
async fn a_hosted_repository_is_no_cache() {
    let cached = Cached::unlimited().await;
    let own = cached.registry.repository(&"team/app".parse().unwrap()).unwrap();
    let tag = reference_of("1");
    assert!(matches!(own.purge(None).await, Err(Error::NotACache { .. })));
    assert!(matches!(own.pin(&tag).await, Err(Error::NotACache { .. })));
    assert!(matches!(own.unpin(&tag).await, Err(Error::NotACache { .. })));
    let listed = cached.registry.cache_entries(Some(own.name()), None, 10).await;
    assert!(matches!(listed, Err(Error::NotACache { .. })));
}

#[tokio::test]
async fn entries_are_listed_by_name_page_by_page_under_any_alias() {
    let cached = Cached::unlimited().await;
    let images = pulled(&cached, 3).await;
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let page = cached.registry.cache_entries(None, after, 2).await.unwrap();
        after =
            page.entries.last().map(|entry| CachedEntryKey { name: entry.name.clone(), digest: entry.digest.clone() });
        found.extend(page.entries);
        if !page.has_more {
            break;
        }
    }
    let names: Vec<_> = found.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!(names, ["a", "b", "c"].map(|name| cached.shown_name(name)));
    assert_eq!(found[1].bytes, size_of(&images[1]));
    assert_eq!(found[1].media_type.as_ref(), Some(&images[1].manifest.media_type));
    for name in [format!("proxy/{NAME}/b").parse().unwrap(), cached.shown_name("b")] {
        let entries = cached.registry.cache_entries(Some(&name), None, 10).await.unwrap().entries;
        assert_eq!(entries, found[1..2]);
    }
}
