//! Cases about whose an upload is, and how far it is.
//!
//! A claim that has run out is one that lasted no time at all: nothing here waits for a clock.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_oci::Algorithm;
use tokio::task::JoinSet;

use super::sample::{NOW, blob, later, repository};
use crate::limits::UPLOAD_STATE_BYTES_MAX;
use crate::{Error, MetadataStore, UploadClaim, UploadId, UploadProgress, UploadRow, UploadState};

const LONG: Duration = Duration::from_hours(1);

async fn begin(store: &dyn MetadataStore, number: u128) -> UploadRow {
    let owner = "alice".to_owned();
    let id = UploadId::from_random(number);
    let row =
        UploadRow { id, repository: repository("team/app"), owner, algorithm: Algorithm::Sha256, touched_at: NOW };
    store.create_upload(&row, 99).await.unwrap();
    row
}

fn state(received: u64, text: &'static str) -> UploadState {
    UploadState { received, state: Bytes::from_static(text.as_bytes()) }
}

async fn claim(store: &dyn MetadataStore, row: &UploadRow, writer: &str, lasts: Duration) -> Option<UploadClaim> {
    store.claim_upload(&row.id, writer, lasts).await.unwrap()
}

pub(super) async fn are_of_one_writer_at_a_time(store: &dyn MetadataStore) {
    let (row, other) = (begin(store, 1).await, begin(store, 2).await);
    let taken = Some(UploadClaim::Taken(row.clone(), None));
    assert_eq!(claim(store, &row, "one", LONG).await, taken);
    assert_eq!(claim(store, &row, "two", LONG).await, Some(UploadClaim::Busy));
    assert_eq!(claim(store, &row, "one", LONG).await, taken, "an answer that was lost may be asked for again");
    assert_eq!(claim(store, &other, "two", LONG).await, Some(UploadClaim::Taken(other.clone(), None)));
    assert!(store.renew_upload(&row.id, "one", LONG).await.unwrap());
    assert!(!store.renew_upload(&row.id, "two", LONG).await.unwrap());

    assert!(!store.release_upload(&row.id, "two", None, later(9)).await.unwrap());
    assert_eq!(store.upload(&row.id).await.unwrap(), Some(row.clone()));
    assert!(store.release_upload(&row.id, "one", None, later(1)).await.unwrap());
    assert!(!store.release_upload(&row.id, "one", None, later(2)).await.unwrap());
    assert!(!store.renew_upload(&row.id, "one", LONG).await.unwrap());
    let touched = UploadRow { touched_at: later(1), ..row };
    assert_eq!(claim(store, &touched, "two", LONG).await, Some(UploadClaim::Taken(touched.clone(), None)));
}

pub(super) async fn of_what_never_was_are_nothing(store: &dyn MetadataStore) {
    let id = UploadId::from_random(7);
    assert_eq!(store.claim_upload(&id, "one", LONG).await.unwrap(), None);
    assert!(!store.renew_upload(&id, "one", LONG).await.unwrap());
    assert!(!store.release_upload(&id, "one", Some(state(1, "")), NOW).await.unwrap());
    assert_eq!(store.upload_progress(&id).await.unwrap(), None);
}

pub(super) async fn hand_on_what_the_last_writer_left(store: &dyn MetadataStore) {
    let mut row = begin(store, 1).await;
    for (number, left) in [state(5, "five"), state(u64::MAX, ""), state(0, "\0\u{ff}")].into_iter().enumerate() {
        let writer = format!("writer {number}");
        claim(store, &row, &writer, LONG).await;
        row.touched_at = later(i64::try_from(number).expect("a small number"));
        assert!(store.release_upload(&row.id, &writer, Some(left.clone()), row.touched_at).await.unwrap());
        assert_eq!(claim(store, &row, "next", LONG).await, Some(UploadClaim::Taken(row.clone(), Some(left.clone()))));
        // Who leaves nothing leaves it as it was.
        assert!(store.release_upload(&row.id, "next", None, row.touched_at).await.unwrap());
        assert_eq!(claim(store, &row, "last", LONG).await, Some(UploadClaim::Taken(row.clone(), Some(left.clone()))));
        assert!(store.release_upload(&row.id, "last", None, row.touched_at).await.unwrap());
        let progress = UploadProgress { row: row.clone(), received: left.received, is_claimed: false };
        assert_eq!(store.upload_progress(&row.id).await.unwrap(), Some(progress));
    }
    // A session that begins anew has nothing of it.
    assert!(store.delete_upload(&row.id, None).await.unwrap());
    let row = begin(store, 1).await;
    assert_eq!(claim(store, &row, "one", LONG).await, Some(UploadClaim::Taken(row.clone(), None)));
}

pub(super) async fn take_a_long_state_and_refuse_a_longer_one(store: &dyn MetadataStore) {
    let row = begin(store, 1).await;
    claim(store, &row, "one", LONG).await;
    let of_length = |length| UploadState { received: 3, state: Bytes::from(vec![7; length]) };
    let error = store.release_upload(&row.id, "one", Some(of_length(UPLOAD_STATE_BYTES_MAX + 1)), NOW).await;
    assert!(matches!(error, Err(Error::TooLong { length_max: UPLOAD_STATE_BYTES_MAX, .. })), "{error:?}");
    assert!(store.upload_progress(&row.id).await.unwrap().unwrap().is_claimed);
    let longest = of_length(UPLOAD_STATE_BYTES_MAX);
    assert!(store.release_upload(&row.id, "one", Some(longest.clone()), NOW).await.unwrap());
    assert_eq!(claim(store, &row, "two", LONG).await, Some(UploadClaim::Taken(row.clone(), Some(longest))));
}

pub(super) async fn are_lost_to_who_comes_after_they_ran_out(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let row = begin(store, 1).await;
    // Run out, and nobody has come: still his.
    claim(store, &row, "slow", Duration::ZERO).await;
    assert!(store.renew_upload(&row.id, "slow", Duration::ZERO).await.unwrap());
    assert!(store.release_upload(&row.id, "slow", Some(state(4, "slow")), NOW).await.unwrap());

    claim(store, &row, "slow", Duration::ZERO).await;
    let taken = claim(store, &row, "quick", LONG).await;
    assert_eq!(taken, Some(UploadClaim::Taken(row.clone(), Some(state(4, "slow")))));
    assert_eq!(claim(store, &row, "slow", LONG).await, Some(UploadClaim::Busy));
    assert!(!store.renew_upload(&row.id, "slow", LONG).await.unwrap());
    assert!(!store.release_upload(&row.id, "slow", Some(state(9, "late")), later(9)).await.unwrap());
    assert!(!store.delete_upload(&row.id, Some("slow")).await.unwrap());
    assert!(!store.finish_upload(&row.id, Some("slow"), &name, &blob("late"), NOW).await.unwrap());
    assert_eq!(store.blob(&name, &blob("late").digest).await.unwrap(), None);
    let progress = UploadProgress { row: row.clone(), received: 4, is_claimed: true };
    assert_eq!(store.upload_progress(&row.id).await.unwrap(), Some(progress));

    assert!(store.finish_upload(&row.id, Some("quick"), &name, &blob("a"), NOW).await.unwrap());
    assert_eq!(store.upload(&row.id).await.unwrap(), None);
    assert_eq!(store.blob(&name, &blob("a").digest).await.unwrap(), Some(blob("a")));
    // What is over stands in nobody's way: his bytes were verified as well, and the same answer may be asked for again.
    for (writer, text) in [("quick", "a"), ("slow", "late")] {
        assert!(store.finish_upload(&row.id, Some(writer), &name, &blob(text), NOW).await.unwrap());
        assert_eq!(store.blob(&name, &blob(text).digest).await.unwrap(), Some(blob(text)));
    }
    assert!(!store.delete_upload(&row.id, Some("quick")).await.unwrap());
}

pub(super) async fn keep_others_from_ending_the_session(store: &dyn MetadataStore) {
    let name = repository("team/app");
    let (claimed, run_out, free) = (begin(store, 1).await, begin(store, 2).await, begin(store, 3).await);
    claim(store, &claimed, "one", LONG).await;
    claim(store, &run_out, "one", Duration::ZERO).await;
    assert_eq!(store.idle_uploads(later(1), 9).await.unwrap(), [run_out.clone(), free.clone()]);
    assert_eq!(store.idle_uploads(later(1), 1).await.unwrap(), std::slice::from_ref(&run_out));
    assert!(!store.delete_upload(&claimed.id, None).await.unwrap());
    assert!(!store.finish_upload(&claimed.id, None, &name, &blob("a"), NOW).await.unwrap());
    assert!(!store.delete_upload(&free.id, Some("one")).await.unwrap(), "he has no claim on it");
    assert!(!store.finish_upload(&free.id, Some("one"), &name, &blob("a"), NOW).await.unwrap());
    assert_eq!(store.blob(&name, &blob("a").digest).await.unwrap(), None);
    assert_eq!(store.upload(&claimed.id).await.unwrap(), Some(claimed.clone()));

    assert!(store.delete_upload(&run_out.id, None).await.unwrap());
    assert!(store.finish_upload(&free.id, None, &name, &blob("a"), NOW).await.unwrap());
    assert!(store.delete_upload(&claimed.id, Some("one")).await.unwrap());
    assert_eq!(store.idle_uploads(later(1), 9).await.unwrap(), []);
    assert_eq!(store.claim_upload(&claimed.id, "two", LONG).await.unwrap(), None);
}

pub(super) async fn at_the_same_time_have_one_winner(store: &Arc<dyn MetadataStore>) {
    const WRITERS: usize = 16;
    let row = begin(&**store, 1).await;
    for round in 0..4_u64 {
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let (store, row) = (Arc::clone(store), row.clone());
            writers.spawn(async move {
                let writer = format!("{round}-{number}");
                match claim(&*store, &row, &writer, LONG).await {
                    Some(UploadClaim::Taken(_, left)) => Some((writer, left)),
                    Some(UploadClaim::Busy) => None,
                    None => panic!("the session is there"),
                }
            });
        }
        let winners: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
        let [(writer, left)] = winners.as_slice() else { panic!("{winners:?}") };
        assert_eq!(left.as_ref().map(|left| left.received), (round > 0).then_some(round));
        assert!(store.release_upload(&row.id, writer, Some(state(round + 1, "left")), NOW).await.unwrap());
    }
}
