//! The suite against servers of other people.

use std::sync::LazyLock;

use entrepot_blobs_object::{ObjectStore, PART_BYTES_MIN};
use entrepot_testkit::stores::{Bucket, Garage, S3sFs};
use tempfile::TempDir;

use super::{config, open};

fn small_parts(bucket: &Bucket) -> (ObjectStore, TempDir) {
    let mut config = config(bucket);
    config.part_size = PART_BYTES_MIN;
    open(&config)
}

mod garage {
    use super::*;

    static SERVER: LazyLock<Garage> = LazyLock::new(|| Garage::start(1));

    fn store() -> (ObjectStore, TempDir) {
        small_parts(&SERVER.bucket())
    }

    entrepot_blobs::blob_store_suite!(store);
}

mod s3s_fs {
    use super::*;

    static SERVER: LazyLock<S3sFs> = LazyLock::new(S3sFs::start);

    fn store() -> (ObjectStore, TempDir) {
        small_parts(&SERVER.bucket())
    }

    // Without the four cases that store what is named by SHA-512: this server keeps what it knows of an object in a file that is
    // named after the whole key, and no file has a name of so many letters.
    entrepot_blobs::blob_store_suite! { store:
        nothing_is_visible_before_the_commit
        a_wrong_digest_keeps_nothing
        an_empty_blob_is_a_blob
        commits_are_idempotent
        concurrent_commits_of_one_digest_all_succeed
        ranges_are_exact
        pieces_stand_for_the_same_bytes
        deleted_blobs_are_absent
        a_reader_goes_on_when_its_blob_is_deleted
        a_parked_stage_is_taken_up_again
        a_parked_hash_of_other_bytes_is_not_trusted
        a_dropped_ingest_leaves_nothing
        stages_are_listed_and_discarded
        beginning_again_discards_the_earlier_stage
        an_ingest_whose_stage_was_discarded_makes_no_blob
        the_limit_counts_the_whole_stage
        a_failing_source_keeps_what_came_before
        what_a_stalled_source_sent_is_written
        a_cancelled_absorb_loses_nothing
        a_fast_transfer_is_taken_up_where_it_was_cut_off
        frames_of_every_size_arrive_in_order
        large_transfers_wait_for_the_disk_and_not_in_memory
        followers_read_the_same_bytes_at_their_own_pace
        a_range_is_followed_to_its_end
        the_last_byte_is_held_back_until_the_digest_is_verified
        followers_of_a_corrupt_transfer_never_get_its_last_byte
        followers_of_a_failed_transfer_get_an_error
        followers_survive_the_deletion_of_the_blob
        waiting_for_a_byte_ends_when_it_can_be_read
        a_blob_from_memory_is_adopted
        a_blob_from_files_is_adopted
        a_corrupt_blob_is_not_adopted
        what_was_parked_can_be_written_down_where_the_store_is_shared
        content_of_a_known_digest_is_a_blob
        other_content_than_was_said_is_not_whole
        what_is_here_can_be_put_again
        content_that_is_put_and_committed_at_once_is_one_blob
    }
}
