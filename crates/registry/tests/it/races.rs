//! Eviction beside fills, and what a crash leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entrepot_metadata::{Eviction, Timestamp};
use entrepot_registry::{CacheLimits, EvictionOrder};
use entrepot_testkit::{Blob, Gate, Image, Seen};

use crate::cached::{Cached, read, reference_of, size_of, until};

#[tokio::test]
async fn a_blob_in_transfer_is_not_evicted() {
    let cached = Cached::unlimited().await;
    let image = Image::new(1, &[100_000]);
    image.load_into(&cached.upstream, "a", "1");
    let gate = Gate::new();
    let stalled = gate.clone();
    cached.upstream.when(Seen::is_blob).once().reply(move |honest| honest.stall_after(50_000, &stalled));
    cached.repository("a").manifest(&reference_of("1")).await.unwrap();
    let layer = &image.layers[0].digest;
    let pulling = cached.pull_blob("a", layer);
    let evicting = async {
        gate.reached_by(1).await;
        // The manifest goes: nothing holds it. The blob is not here yet.
        assert_eq!(cached.evict_down_to(0).await.freed, 0);
        cached.clock.advance(crate::HOUR);
        let everything = EvictionOrder { unused_for: Some(Duration::ZERO), ..EvictionOrder::default() };
        assert_eq!(cached.evict(everything).await.count, 1);
        gate.open();
    };
    tokio::join!(pulling, evicting);
    cached.registry.fills_ended().await;
    assert!(cached.has_bytes(layer).await && cached.has_row("a", layer).await);
}

#[tokio::test]
async fn bytes_that_a_fill_is_about_to_link_are_not_removed() {
    let cached = Cached::unlimited().await;
    let image = Image::new(1, &[100_000]);
    image.load_into(&cached.upstream, "a", "1");
    cached.pull("a", "1").await;
    let layer = &image.layers[0].digest;
    // Another repository has the blob as well, without a manifest here that proves it: its upstream is asked.
    cached.upstream.put_blob("b", image.layers[0].bytes.clone());
    let gate = Gate::new();
    let silent = gate.clone();
    cached.upstream.when(|seen| seen.is_blob() && seen.is_head()).once().reply(move |honest| honest.silent(&silent));
    cached.upstream.forget_requests();
    let pulling = cached.pull_blob("b", layer);
    let evicting = async {
        gate.reached_by(1).await;
        let evicted = cached.evict_down_to(0).await;
        assert_eq!((evicted.count, evicted.freed), (1, image.config.size()));
        assert!(cached.has_bytes(layer).await);
        assert_eq!(cached.registry.cache_stats().await.unwrap().unheld_blobs, 1);
        gate.open();
    };
    tokio::join!(pulling, evicting);
    cached.registry.fills_ended().await;
    assert!(cached.has_row("b", layer).await && cached.has_bytes(layer).await);
    assert_eq!(cached.upstream.count(|seen| seen.is_blob() && seen.is_get()), 0, "the bytes were here");
    assert_eq!(cached.registry.cache_stats().await.unwrap().unheld_blobs, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fills_and_evictions_of_the_same_blobs_leave_no_row_without_bytes() {
    const EVICTIONS: u64 = 100;
    let cached = Arc::new(Cached::unlimited().await);
    let blobs: Arc<Vec<Blob>> = Arc::new((0..4).map(|seed| Blob::random(seed, 3000)).collect());
    for blob in &*blobs {
        for name in ["a", "b"] {
            cached.upstream.put_blob_as(name, &blob.digest, blob.bytes.clone());
        }
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let pull = |client: usize| {
        let (cached, blobs, is_over) = (Arc::clone(&cached), Arc::clone(&blobs), Arc::clone(&is_over));
        let tasks = cached.tasks.clone();
        tasks.spawn(async move {
            let repository = cached.repository(if client.is_multiple_of(2) { "a" } else { "b" });
            let mut round = client;
            while !is_over.load(Ordering::Relaxed) {
                read(&repository, &blobs[round % blobs.len()].digest).await;
                round += 1;
            }
        })
    };
    let clients: Vec<_> = (0..6).map(pull).collect();
    let mut evictions = 0;
    while evictions < EVICTIONS && clients.iter().any(|client| !client.is_finished()) {
        evictions += cached.evict_down_to(0).await.count;
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    cached.registry.fills_ended().await;
    for blob in &*blobs {
        let is_held = cached.has_row("a", &blob.digest).await || cached.has_row("b", &blob.digest).await;
        assert!(!is_held || cached.has_bytes(&blob.digest).await, "a row without bytes");
    }
    cached.evict_down_to(0).await;
    for blob in &*blobs {
        assert!(!cached.has_bytes(&blob.digest).await, "bytes without a row, and not on the list");
    }
}

#[tokio::test]
async fn what_a_crash_leaves_is_finished_at_the_next_start() {
    let cached = Cached::unlimited().await;
    let image = Image::new(1, &[10_000, 20_000]);
    image.load_into(&cached.upstream, "a", "1");
    cached.pull("a", "1").await;
    // The rows are gone, and one of the blobs, but not its line; then the process ends.
    let everything = Eviction {
        used_before: Timestamp::from_milliseconds(i64::MAX),
        bytes: u64::MAX,
        entries_max: 10,
        is_dry_run: false,
    };
    assert_eq!(cached.cache.metadata.evict(&everything).await.unwrap().len(), 1);
    assert!(cached.cache.blobs.delete(&image.layers[0].digest).await.unwrap());
    let cached = cached.restart().await;
    assert_eq!(cached.registry.cache_stats().await.unwrap().unheld_blobs, 3);
    cached.registry.keep_up();
    until("the leftovers are gone", async || cached.registry.cache_stats().await.unwrap().unheld_blobs == 0).await;
    for blob in image.blobs() {
        assert!(!cached.has_bytes(&blob.digest).await);
    }
    assert!(cached.tasks.stop(Duration::from_secs(20)).await);
    assert_eq!(cached.metrics.evicted_bytes.get(), size_of(&image) - image.layers[0].size());
}

#[tokio::test]
async fn a_fill_that_makes_the_cache_too_full_is_followed_by_an_eviction() {
    let one = size_of(&Image::new(1, &[10_000]));
    let limits = CacheLimits { size_max: Some(one * 2), high_percent: 90, low_percent: 60, ..CacheLimits::default() };
    let cached = Cached::open(limits).await;
    for seed in [1, 2] {
        Image::new(seed, &[10_000]).load_into(&cached.upstream, "a", &seed.to_string());
    }
    cached.registry.keep_up();
    cached.pull("a", "1").await;
    cached.pull("a", "2").await;
    // Long before the next look by the clock.
    until("the older image is gone", async || cached.bytes().await == one).await;
    assert_eq!(cached.by_use().await, [Image::new(2, &[10_000]).manifest.digest]);
    assert!(cached.tasks.stop(Duration::from_secs(20)).await);
}
