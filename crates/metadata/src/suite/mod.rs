//! The suite that every store of metadata runs: each sentence of the contract of [`MetadataStore`] has a case.
//!
//! What survives a restart is not among them, because restarting differs from store to store: each store's own tests have that.

mod announcements;
mod blobs;
mod claims;
mod concurrency;
mod conditions;
mod credentials;
mod entries;
mod eviction;
mod forgetting;
mod leases;
mod manifests;
mod notes;
mod pins;
mod protection;
mod references;
mod referrers;
mod repositories;
mod sample;
mod signing_keys;
mod tags;
mod totals;
mod uploads;
mod uses;

use std::convert::identity;
use std::ops::Deref;
use std::sync::Arc;

use crate::MetadataStore;

/// `module: case case;` as one call after the other, each with what `given` makes of its store.
macro_rules! cases {
    ($fresh:ident, $given:path: $($module:ident: $($case:ident)*;)*) => {
        $($(
            let store = $fresh(concat!(stringify!($module), "-", stringify!($case))).await;
            Box::pin($module::$case($given(&store))).await;
        )*)*
    };
}

/// Runs each case on a store of its own, which `fresh` makes, empty, when it is given the name of the case.
///
/// Some cases use several tasks at once, so it needs a tokio runtime, best one of several threads.
///
/// # Panics
/// When the store breaks the contract; the place of the panic is the assertion that did not hold.
pub async fn run<Fresh, Made>(fresh: Fresh)
where
    Fresh: Fn(&'static str) -> Made,
    Made: Future<Output = Arc<dyn MetadataStore>>,
{
    run_content(&fresh).await;
    run_access(&fresh).await;
    run_bounds(&fresh).await;
    run_processes(&fresh).await;
    run_concurrency(&fresh).await;
}

/// What is stored is there.
async fn run_content<Fresh, Made>(fresh: &Fresh)
where
    Fresh: Fn(&'static str) -> Made,
    Made: Future<Output = Arc<dyn MetadataStore>>,
{
    cases! { fresh, Deref::deref:
        repositories:
            exist_from_the_first_thing_in_them
            stay_when_they_are_emptied
            are_listed_by_bytes_and_by_page;
        blobs:
            are_held_by_the_repository_that_linked_them
            can_be_linked_twice_and_keep_the_last_size
            end_with_their_link
            have_holders_in_the_order_of_their_names;
        manifests:
            are_returned_as_they_were_pushed
            are_held_by_the_repository_that_they_were_pushed_to
            can_be_pushed_twice_and_keep_the_last_type
            go_with_every_tag_on_them
            outlive_their_deletion_elsewhere
            have_one_life_under_each_digest
            tell_the_size_of_what_they_name
            are_found_by_what_they_name
            of_four_mebibytes_are_whole;
        tags:
            point_where_they_were_last_pushed
            move_all_at_once_or_not_at_all
            are_confirmed_and_moved
            are_deleted_without_their_manifest
            are_listed_by_bytes_and_by_page
            of_ten_thousand_are_paged_to_the_last;
        conditions:
            are_met_or_nothing_happens
            judge_the_first_tag_only
            judge_a_push_without_tags_like_an_absent_tag;
        references:
            that_are_missing_are_named_and_nothing_is_stored
            of_another_repository_are_missing
            with_another_size_are_named_and_nothing_is_stored
            of_an_index_may_be_manifests_or_blobs
            that_are_optional_may_be_missing
            to_foreign_algorithms_are_missing
            may_stand_more_than_once
            to_a_subject_may_be_missing
            are_not_checked_when_lazy;
        referrers:
            are_listed_with_what_they_say
            are_filtered_by_type
            are_listed_by_page
            refer_to_referrers
            leave_with_their_deletion_and_outlive_their_subject
            stay_inside_of_their_repository;
        uploads:
            are_recorded_touched_and_ended
            have_the_owner_who_began_them
            are_limited_for_each_repository
            become_blobs_in_one_step
            that_are_gone_still_become_blobs
            of_another_repository_do_not_end
            are_found_when_they_are_idle;
    }
}

/// Who may do what.
async fn run_access<Fresh, Made>(fresh: &Fresh)
where
    Fresh: Fn(&'static str) -> Made,
    Made: Future<Output = Arc<dyn MetadataStore>>,
{
    cases! { fresh, Deref::deref:
        protection:
            keeps_unmovable_tags_where_they_are
            keeps_tags_from_being_made
            of_tags_outweighs_the_condition_and_the_references
            keeps_a_tag_and_its_manifest
            keeps_what_a_protected_tag_reaches
            ends_where_manifests_go_round_in_circles
            is_taken_for_granted_where_too_much_is_above;
        credentials:
            are_returned_as_they_were_added
            have_one_name_of_a_kind_and_principal
            are_listed_by_id_and_by_page
            end_when_they_are_revoked
            are_used_forward_and_never_back
            are_swept_when_they_expired_or_nobody_refreshes;
        signing_keys:
            are_listed_newest_first
            are_added_by_who_knows_the_newest
            end_one_by_one;
    }
}

/// What a bounded store lets go.
async fn run_bounds<Fresh, Made>(fresh: &Fresh)
where
    Fresh: Fn(&'static str) -> Made,
    Made: Future<Output = Arc<dyn MetadataStore>>,
{
    cases! { fresh, Deref::deref:
        uses:
            begin_with_what_is_stored
            move_forward_and_never_back
            go_up_to_every_index_above
            are_those_of_one_repository
            of_what_is_not_here_are_passed_over
            end_where_manifests_go_round_in_circles
            come_by_the_thousand;
        entries:
            are_images_and_lone_blobs
            are_what_no_index_names
            are_made_and_unmade_by_what_names_them
            count_what_they_reach_and_hold_once
            of_one_digest_are_one
            include_referrers
            are_listed_by_bytes_and_by_page;
        eviction:
            begins_with_the_least_recently_used
            takes_everything_that_only_the_entry_names
            leaves_what_others_name
            leaves_manifests_that_were_named_as_layers
            leaves_children_that_are_kept_as_entries
            takes_entries_that_free_nothing
            stops_at_its_limits
            says_what_would_go_and_leaves_it
            leaves_referrers_and_nothing_of_them
            ends_where_manifests_go_round_in_circles;
        forgetting:
            a_tag_takes_what_only_it_reaches
            a_tag_among_others_takes_the_tag_alone
            a_tag_on_a_child_takes_the_tag_alone
            a_digest_takes_every_tag_on_it
            a_digest_takes_even_what_is_named
            a_repository_takes_everything_of_it
            what_is_not_here_is_nothing
            what_is_pinned_does_nothing;
        pins:
            are_listed_in_order_and_end
            keep_tags_and_digests_that_come_later
            follow_their_tag
            keep_what_they_reach_and_not_what_reaches_them
            keep_blobs;
        totals:
            count_each_blob_once
            follow_a_corrected_size
            follow_every_deletion
            leave_out_what_nobody_holds
            of_unheld_blobs_are_listed_until_they_are_forgotten;
    }
}

/// What processes tell each other.
async fn run_processes<Fresh, Made>(fresh: &Fresh)
where
    Fresh: Fn(&'static str) -> Made,
    Made: Future<Output = Arc<dyn MetadataStore>>,
{
    cases! { fresh, Deref::deref:
        claims:
            are_of_one_writer_at_a_time
            of_what_never_was_are_nothing
            hand_on_what_the_last_writer_left
            take_a_long_state_and_refuse_a_longer_one
            are_lost_to_who_comes_after_they_ran_out
            keep_others_from_ending_the_session;
        leases:
            are_of_one_holder_at_a_time
            end_when_they_are_released_or_run_out
            have_notes_of_bounded_length;
        notes:
            last_until_they_run_out_or_are_written_over
            are_listed_by_what_their_keys_begin_with
            have_a_bounded_length;
        announcements:
            reach_everyone_who_listens_in_order
            have_a_bounded_length
            come_after_what_was_written_before_them
            that_come_too_fast_are_missed_and_not_kept;
    }
    cases! { fresh, identity:
        claims:
            at_the_same_time_have_one_winner;
        leases:
            have_one_winner_each_time;
    }
}

/// Many callers at once.
async fn run_concurrency<Fresh, Made>(fresh: &Fresh)
where
    Fresh: Fn(&'static str) -> Made,
    Made: Future<Output = Arc<dyn MetadataStore>>,
{
    // Tasks outlive what is borrowed, so these share the store.
    cases! { fresh, identity:
        concurrency:
            pushes_of_the_same_manifest_all_succeed
            conditional_pushes_have_one_winner
            new_tags_of_who_may_not_move_them_have_one_winner
            the_first_signing_key_has_one_winner
            protected_tags_keep_what_they_reach
            tags_never_point_at_deleted_manifests
            uploads_stay_within_their_limit
            blobs_are_either_held_or_unheld
            uses_and_evictions_leave_whole_images
            children_beyond_any_limit_go_in_the_end
            probes_succeed;
    }
}
