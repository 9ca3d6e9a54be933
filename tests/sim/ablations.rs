//! What each rule is for: without it, the named property breaks in the named family.

use crate::config::{RULES, Rule, config};
use crate::search::finds;

macro_rules! rules {
    ($(fn $function:ident() $rule:ident: $($property:literal in $config:literal),+;)+) => {
        $(#[test]
        fn $function() {
            $(finds(Rule::$rule, config($config), $property);)+
        })+

        /// The rules that are needed somewhere.
        const NEEDED: &[Rule] = &[$(Rule::$rule),+];
    };
}

rules! {
    fn without_the_accounted_test_a_push_loses_commits() AccountedPush: "P1" in "ungated", "P1" in "unseeded";
    fn without_the_accounted_test_a_fetch_loses_commits() AccountedFetch: "P1" in "ungated", "P1" in "unseeded";
    fn untracked_refs_are_only_created_or_fast_forwarded() FastForward: "P1" in "unlocked", "P1" in "ungated";
    fn without_the_list_forced_updates_never_spread() Superseded: "P4" in "gated", "P4" in "mirrors";
    fn an_ungated_site_may_have_gone_back_on_purpose() UngatedSites: "P1" in "ungated", "P1" in "mixed";
    fn without_floor_and_filters_stale_values_spread() UpToDate: "P3" in "unlocked", "P3" in "gated";
    fn without_a_record_of_a_deletion_living_refs_go() DeletionCheck: "P3" in "unlocked", "P1" in "unlocked";
    fn an_unpinned_fetch_takes_what_nobody_judged() PinnedFetch: "P3" in "forced", "P3" in "changes-unlocked";
    fn without_catch_up_a_killed_write_blocks_its_ref() CatchUp: "P4" in "gated", "P4" in "push-only";
    fn the_ref_db_goes_first() RefDbFirst: "P4" in "gated", "C2" in "changes";
    fn writes_are_never_put_back() ForwardOnly: "P2" in "bare", "P1" in "unseeded";
    fn without_the_receivers_check_a_late_session_wins() Receiver: "P4" in "late";
    fn without_expected_old_values_ungated_writes_are_lost() ExpectedOld: "P1" in "ungated", "P1" in "mixed";
    fn patch_sets_arrive_before_their_meta() GroupOrder: "C1" in "push-only", "C1" in "fetch-only";
    fn without_the_group_rule_a_change_arrives_in_parts() WholeChange: "C1" in "ungated", "C1" in "mixed";
    fn a_deleted_change_goes_whole() DeletedChange: "D1" in "deleted-changes";
    fn patch_sets_are_created_and_never_changed() PatchSetsStay: "P1" in "ungated", "C1" in "mixed";
    fn a_record_is_replayed_whole() WholeRecord: "C1" in "gated", "C1" in "changes";
    fn a_record_stays_while_its_write_may_come() LateRecord: "P4" in "gated", "P4" in "changes";
    fn a_meta_of_the_reload_comes_without_its_patch_sets() ReloadedMeta: "C1" in "push-only", "C1" in "fetch-only";
    fn catch_up_must_not_move_a_meta_alone() CatchUpChange: "C1" in "gated", "C1" in "fetch-only";
    fn ancestors_of_listed_values_show_only_beside_their_objects() ListedObjects: "P4" in "fetch-only";
    fn a_deletion_forgotten_too_early_is_undone() Forget: "P7" in "forget";
    fn a_write_may_outlast_the_deletion_that_overtook_it() ForgetWriters: "P7" in "forget-again";
    fn a_deletion_made_anew_looks_like_the_one_before() ForgetOnce: "P7" in "forget-again";
    fn catch_up_asks_the_filters_of_its_site() Policies: "H1" in "policies";
    fn a_write_to_an_untracked_ref_is_refused() RefuseUntracked: "P4" in "gated";
    fn the_mark_of_replication_makes_no_second_winner() MarkedPut: "P4" in "marked";
}

/// Nothing here shows what these are for.
const REDUNDANT: &[Rule] = &[Rule::OneSession];

#[test]
fn every_rule_has_been_taken_away() {
    for rule in RULES {
        let times = NEEDED.iter().chain(REDUNDANT).filter(|r| *r == rule).count();
        assert_eq!(times, 1, "{rule:?}");
    }
}
