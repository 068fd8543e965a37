//! When uses are written, and what a crash loses of them.

use std::time::Duration;

use entrepot_metadata::{Page, Timestamp};
use entrepot_registry::Clock;
use entrepot_testkit::Image;

use crate::HOUR;
use crate::cached::{Cached, reference_of, until};

/// When the one entry was used, as the store knows it.
async fn used_at(cached: &Cached) -> Timestamp {
    cached.cache.metadata.entries(None, &Page { after: None, limit: 1 }).await.unwrap()[0].used_at
}

/// A cache with one image, pulled again after an hour; and the two times.
async fn pulled_twice() -> (Cached, Timestamp, Timestamp) {
    let cached = Cached::unlimited().await;
    Image::new(1, &[1000]).load_into(&cached.upstream, "a", "1");
    cached.pull("a", "1").await;
    let first = cached.clock.now();
    cached.clock.advance(HOUR);
    cached.repository("a").manifest(&reference_of("1")).await.unwrap();
    let second = cached.clock.now();
    assert_eq!(used_at(&cached).await, first, "a pull writes nothing itself");
    (cached, first, second)
}

#[tokio::test]
async fn uses_are_written_every_few_seconds() {
    let (cached, _, second) = pulled_twice().await;
    tokio::time::pause();
    cached.registry.keep_up();
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(6)).await;
    until("the use is written", async || used_at(&cached).await == second).await;
}

#[tokio::test]
async fn uses_are_written_when_the_process_ends() {
    let (cached, _, second) = pulled_twice().await;
    cached.registry.keep_up();
    assert!(cached.tasks.stop(Duration::from_secs(20)).await);
    assert_eq!(used_at(&cached).await, second);
}

#[tokio::test]
async fn a_crash_loses_the_uses_that_were_not_written_and_nothing_else() {
    let (cached, first, second) = pulled_twice().await;
    let cached = cached.restart().await;
    assert_eq!(used_at(&cached).await, first);
    cached.pull("a", "1").await;
    cached.registry.write_uses().await.unwrap();
    assert!(used_at(&cached).await > second);
}
