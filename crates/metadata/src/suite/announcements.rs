//! Cases about what is said to every process.

use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;

use super::sample::{NOW, repository};
use crate::limits::{ANNOUNCEMENT_BYTES_MAX, ANNOUNCEMENTS_WAITING_MAX};
use crate::{Announcement, BlobLink, Error, MetadataStore};

fn said(topic: &str, text: &str) -> Announcement {
    Announcement::Said { topic: topic.to_owned(), text: text.to_owned() }
}

async fn next(heard: &mut BoxStream<'static, Announcement>) -> Announcement {
    heard.next().await.expect("the store is there")
}

pub(super) async fn reach_everyone_who_listens_in_order(store: &dyn MetadataStore) {
    store.announce("before", "nobody").await.unwrap();
    let (mut one, mut other) = (store.announcements(), store.announcements());
    let texts = ["", "a", "with: a colon\nand 'quotes' \\ \u{fc}", "a"];
    for text in texts {
        store.announce("a topic", text).await.unwrap();
    }
    store.announce("", "to the end").await.unwrap();
    for heard in [&mut one, &mut other] {
        // What was said just before may still be on its way to who has just begun to listen.
        let mut first = next(heard).await;
        if first == said("before", "nobody") {
            first = next(heard).await;
        }
        assert_eq!(first, said("a topic", ""));
        for text in &texts[1..] {
            assert_eq!(next(heard).await, said("a topic", text));
        }
        assert_eq!(next(heard).await, said("", "to the end"));
    }
}

pub(super) async fn have_a_bounded_length(store: &dyn MetadataStore) {
    let mut heard = store.announcements();
    let refused = store.announce("t", &"x".repeat(ANNOUNCEMENT_BYTES_MAX)).await;
    assert!(matches!(refused, Err(Error::TooLong { .. })), "{refused:?}");
    // Bytes count, not characters.
    let refused = store.announce("t", &"\u{fc}".repeat(ANNOUNCEMENT_BYTES_MAX / 2)).await;
    assert!(matches!(refused, Err(Error::TooLong { .. })), "{refused:?}");
    for filler in ["x", "'", "\\", "\n", "\u{1}"] {
        let longest = filler.repeat(ANNOUNCEMENT_BYTES_MAX - 1);
        store.announce("t", &longest).await.unwrap();
        assert_eq!(next(&mut heard).await, said("t", &longest));
    }
}

pub(super) async fn come_after_what_was_written_before_them(store: &dyn MetadataStore) {
    let mut heard = store.announcements();
    for number in 0..20 {
        let blob = BlobLink { size: number, ..super::sample::blob("a") };
        store.link_blob(&repository("team/app"), &blob, NOW).await.unwrap();
        store.announce("linked", &number.to_string()).await.unwrap();
        assert_eq!(next(&mut heard).await, said("linked", &number.to_string()));
        assert_eq!(store.blob(&repository("team/app"), &blob.digest).await.unwrap(), Some(blob));
    }
}

pub(super) async fn that_come_too_fast_are_missed_and_not_kept(store: &dyn MetadataStore) {
    let (mut slow, mut quick) = (store.announcements(), store.announcements());
    for number in 0..ANNOUNCEMENTS_WAITING_MAX + 100 {
        store.announce("t", &number.to_string()).await.unwrap();
        assert_eq!(next(&mut quick).await, said("t", &number.to_string()));
    }
    assert_eq!(next(&mut slow).await, Announcement::Missed);
    // What is left of them is the end.
    let last = said("t", &(ANNOUNCEMENTS_WAITING_MAX + 99).to_string());
    let mut seen = 0;
    while next(&mut slow).await != last {
        seen += 1;
        assert!(seen < ANNOUNCEMENTS_WAITING_MAX + 100);
    }
}
