//! Cases about who does something now. A lease that has run out is one that lasted no time at all.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::limits::NOTE_BYTES_MAX;
use crate::{Error, Lease, LeaseClaim, LeaseOutcome, MetadataStore};

const LONG: Duration = Duration::from_hours(1);

fn order(name: &str, holder: &str) -> LeaseClaim {
    LeaseClaim { name: name.to_owned(), holder: holder.to_owned(), note: format!("{holder}: \u{fc}") }
}

async fn claim(store: &dyn MetadataStore, name: &str, holder: &str, lasts: Duration) -> LeaseOutcome {
    store.claim_lease(&order(name, holder), lasts).await.unwrap()
}

/// The fence of a lease that must be had.
async fn hold(store: &dyn MetadataStore, name: &str, holder: &str, lasts: Duration) -> u64 {
    match claim(store, name, holder, lasts).await {
        LeaseOutcome::Held { fence } => fence,
        outcome @ LeaseOutcome::Taken { .. } => panic!("{outcome:?}"),
    }
}

pub(super) async fn are_of_one_holder_at_a_time(store: &dyn MetadataStore) {
    assert_eq!(store.lease("sweep").await.unwrap(), None);
    let fence = hold(store, "sweep", "one", LONG).await;
    assert_eq!(hold(store, "sweep", "one", LONG * 2).await, fence, "renewed");
    let LeaseOutcome::Taken { holder, note, remaining } = claim(store, "sweep", "two", LONG).await else {
        panic!("two have it");
    };
    assert_eq!((holder.as_str(), note), ("one", order("sweep", "one").note));
    assert!(remaining > LONG && remaining <= LONG * 2, "{remaining:?}");
    let Some(Lease { name, holder, note, fence: seen, remaining }) = store.lease("sweep").await.unwrap() else {
        panic!("somebody has it");
    };
    assert_eq!((name.as_str(), holder.as_str(), note, seen), ("sweep", "one", order("sweep", "one").note, fence));
    assert!(remaining > LONG && remaining <= LONG * 2, "{remaining:?}");
    hold(store, "another", "two", LONG).await;

    // The note is the one of the last time.
    let moved = LeaseClaim { note: "moved".to_owned(), ..order("sweep", "one") };
    assert_eq!(store.claim_lease(&moved, LONG).await.unwrap(), LeaseOutcome::Held { fence });
    assert_eq!(store.lease("sweep").await.unwrap().map(|lease| lease.note).as_deref(), Some("moved"));
}

pub(super) async fn end_when_they_are_released_or_run_out(store: &dyn MetadataStore) {
    let mut last = hold(store, "sweep", "one", LONG).await;
    assert!(!store.release_lease("sweep", "two").await.unwrap());
    assert!(!store.release_lease("nothing", "one").await.unwrap());
    assert!(store.release_lease("sweep", "one").await.unwrap());
    assert!(!store.release_lease("sweep", "one").await.unwrap());
    assert_eq!(store.lease("sweep").await.unwrap(), None);
    for (number, lasts) in [Duration::ZERO, LONG].into_iter().enumerate() {
        let holder = format!("next {number}");
        let fence = hold(store, "sweep", &holder, lasts).await;
        assert!(fence > last, "{fence} does not follow {last}");
        last = fence;
        assert_eq!(store.lease("sweep").await.unwrap().is_some(), lasts == LONG);
        assert_eq!(store.release_lease("sweep", &holder).await.unwrap(), lasts == LONG);
    }
    // Who let it run out and comes back before everybody else has it still, and knows that from its number.
    let fence = hold(store, "slow", "one", Duration::ZERO).await;
    assert_eq!(hold(store, "slow", "one", Duration::ZERO).await, fence);
    let next = hold(store, "slow", "two", Duration::ZERO).await;
    assert!(next > fence);
    assert!(hold(store, "slow", "one", LONG).await > next);
    // One that was released is taken anew, by whomever.
    let before = hold(store, "again", "one", LONG).await;
    assert!(store.release_lease("again", "one").await.unwrap());
    assert!(hold(store, "again", "one", LONG).await > before);
}

pub(super) async fn have_notes_of_bounded_length(store: &dyn MetadataStore) {
    let of_length = |length| LeaseClaim { note: "n".repeat(length), ..order("fill", "one") };
    let refused = store.claim_lease(&of_length(NOTE_BYTES_MAX + 1), LONG).await;
    assert!(matches!(refused, Err(Error::TooLong { .. })), "{refused:?}");
    assert_eq!(store.lease("fill").await.unwrap(), None);
    store.claim_lease(&of_length(NOTE_BYTES_MAX), LONG).await.unwrap();
    let lease = store.lease("fill").await.unwrap().unwrap();
    assert_eq!(lease.note.len(), NOTE_BYTES_MAX);
}

pub(super) async fn have_one_winner_each_time(store: &Arc<dyn MetadataStore>) {
    const CLAIMANTS: usize = 16;
    let mut last = 0;
    for round in 0..8 {
        let mut claimants = JoinSet::new();
        for number in 0..CLAIMANTS {
            let store = Arc::clone(store);
            claimants.spawn(async move {
                let holder = format!("{round}-{number}");
                match claim(&*store, "fill", &holder, LONG).await {
                    LeaseOutcome::Held { fence } => Some((holder, fence)),
                    LeaseOutcome::Taken { .. } => None,
                }
            });
        }
        let winners: Vec<_> = claimants.join_all().await.into_iter().flatten().collect();
        let [(holder, fence)] = winners.as_slice() else { panic!("{winners:?}") };
        assert!(*fence > last, "{fence} does not follow {last}");
        last = *fence;
        assert!(store.release_lease("fill", holder).await.unwrap());
    }
}
