//! Cases about small values for everyone. One that has run out is one that lasted no time at all.

use std::time::Duration;

use crate::limits::NOTE_BYTES_MAX;
use crate::{Error, MetadataStore};

const LONG: Duration = Duration::from_hours(1);

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) async fn last_until_they_run_out_or_are_written_over(store: &dyn MetadataStore) {
    assert_eq!(store.note("a").await.unwrap(), None);
    store.set_note("a", "first", LONG).await.unwrap();
    store.set_note("b", "", LONG).await.unwrap();
    assert_eq!(store.note("a").await.unwrap().as_deref(), Some("first"));
    assert_eq!(store.note("b").await.unwrap().as_deref(), Some(""));
    store.set_note("a", "second \u{fc} '", LONG).await.unwrap();
    assert_eq!(store.note("a").await.unwrap().as_deref(), Some("second \u{fc} '"));
    store.set_note("a", "gone", Duration::ZERO).await.unwrap();
    assert_eq!(store.note("a").await.unwrap(), None);
    assert_eq!(store.notes("", 9).await.unwrap(), owned(&[("b", "")]));
    store.set_note("a", "back", LONG).await.unwrap();
    assert_eq!(store.note("a").await.unwrap().as_deref(), Some("back"));
}

pub(super) async fn are_listed_by_what_their_keys_begin_with(store: &dyn MetadataStore) {
    for key in ["b", "a%", "a/", "a/2", "a/10", "A/1", "a_", "a", "a/\u{10ffff}"] {
        store.set_note(key, &format!("of {key}"), LONG).await.unwrap();
    }
    store.set_note("a/11", "gone", Duration::ZERO).await.unwrap();
    let below = owned(&[("a/", "of a/"), ("a/10", "of a/10"), ("a/2", "of a/2"), ("a/\u{10ffff}", "of a/\u{10ffff}")]);
    assert_eq!(store.notes("a/", 9).await.unwrap(), below);
    assert_eq!(store.notes("a/", 2).await.unwrap(), below[..2]);
    assert_eq!(store.notes("a/", 0).await.unwrap(), []);
    assert_eq!(store.notes("a%", 9).await.unwrap(), owned(&[("a%", "of a%")]));
    assert_eq!(store.notes("a_", 9).await.unwrap(), owned(&[("a_", "of a_")]));
    assert_eq!(store.notes("c", 9).await.unwrap(), []);
    assert_eq!(store.notes("", 99).await.unwrap().len(), 9);
}

pub(super) async fn have_a_bounded_length(store: &dyn MetadataStore) {
    let refused = store.set_note("a", &"n".repeat(NOTE_BYTES_MAX + 1), LONG).await;
    assert!(matches!(refused, Err(Error::TooLong { .. })), "{refused:?}");
    assert_eq!(store.note("a").await.unwrap(), None);
    let longest = "n".repeat(NOTE_BYTES_MAX);
    store.set_note("a", &longest, LONG).await.unwrap();
    assert_eq!(store.note("a").await.unwrap(), Some(longest));
}
