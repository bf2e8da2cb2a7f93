//! End to end: the operator's binary, as a process with the rights that `deploy/` grants, against a real API server
//! and EC2's wire protocol.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod accepter;
mod adoption;
mod both_ends;
mod bounds;
mod crashes;
mod deploy;
mod ends;
mod errors;
mod events;
mod examples;
mod field_managers;
mod flux;
mod flux_helm;
mod gitops;
mod gitops_accepter;
mod iam;
mod identities;
mod image;
mod leader;
mod lifecycle;
mod metrics;
mod outages;
mod ownership;
mod prune;
mod restarts;
mod routes;
mod scale;
mod security;
mod tags;
mod telemetry;
mod upgrade;
mod validation;
mod world;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use environment::{ControlPlane, Moto};
use libtest_mimic::{Arguments, Trial};

use world::{Cloud, World};

/// What all tests share.
pub struct Shared {
    control_plane: ControlPlane,
    moto: Arc<Moto>,
}

type Test = fn(World) -> Pin<Box<dyn Future<Output = Result<()>>>>;

/// Names each test by its path.
macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$((concat!(stringify!($module), "::", stringify!($name)), {
            let run: Test = |world| Box::pin($module::$name(world));
            run
        })),*]
    };
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    // The tests wait far more than they work.
    arguments.test_threads.get_or_insert(8);
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build()?);
    let of_any_ec2: Vec<(&str, Test)> = tests![
        lifecycle::a_peering_becomes_active,
        lifecycle::a_vpc_that_does_not_exist_is_named,
        lifecycle::deletion_deletes_the_peering,
        lifecycle::retain_keeps_the_peering,
        lifecycle::a_peering_deleted_behind_our_back_is_reported,
        lifecycle::a_peering_that_is_not_ours_is_left_alone,
        lifecycle::a_resource_at_rest_costs_no_write,
        lifecycle::manual_acceptance_waits_for_a_person,
        lifecycle::a_request_to_another_region_is_accepted_there,
        lifecycle::a_request_to_another_region_waits_for_a_person,
        restarts::killed_between_create_and_record_makes_no_second_peering,
        restarts::sigterm_ends_in_time_and_a_restart_finds_its_peering,
        tags::edits_add_change_and_remove_exactly_ours,
        adoption::an_existing_connection_is_taken_over,
        both_ends::all_four_combinations_become_active,
        routes::routes_of_both_ends_come_and_go_with_the_peering,
        accepter::a_request_is_accepted_and_its_end_kept,
    ];
    let of_the_simulator: Vec<(&str, Test)> = tests![
        lifecycle::a_fresh_object_is_not_current,
        lifecycle::the_end_depends_on_the_last_spec_only,
        validation::every_rule_refuses_with_a_readable_message,
        validation::defaults_are_visible,
        validation::the_optional_policies_refuse_what_the_schema_cannot_see,
        adoption::what_does_not_match_is_not_touched,
        adoption::observe_never_writes,
        ends::overlapping_blocks_are_told_without_a_request,
        ends::a_failed_request_is_told,
        ends::a_rejected_request_is_told_and_requested_anew_when_asked,
        ends::an_unaccepted_request_is_warned_of_and_expires,
        ends::a_wrong_clock_does_no_harm,
        ends::recreate_on_requests_anew_and_keeps_the_history,
        ends::deletion_ends_from_every_code,
        gitops::every_state_is_judged_rightly,
        gitops::a_wait_ends_early_when_nothing_will_come_of_it,
        gitops::an_identity_is_judged_rightly,
        gitops_accepter::every_state_of_an_accepter_is_judged_rightly,
        gitops::the_health_script_comes_into_argocd_cm,
        field_managers::flux_and_the_operator_never_fight,
        field_managers::argo_cd_and_the_operator_never_fight,
        field_managers::client_side_apply_and_the_operator_never_fight,
        flux::kustomize_controller_installs_waits_and_prunes,
        flux_helm::helm_controller_installs_upgrades_and_keeps_peerings,
        deploy::every_overlay_and_example_passes_the_api_server,
        deploy::the_event_bus_takes_only_what_a_rule_forwards,
        deploy::the_rights_in_one_namespace_suffice_and_reach_no_further,
        prune::in_one_piece_what_is_left_behind_shows_and_is_finished_later,
        prune::in_two_pieces_nothing_is_left_behind,
        upgrade::what_the_first_schema_stored_is_looked_after_without_a_write_to_aws,
        both_ends::each_end_is_handled_by_its_own_identity_in_its_own_region,
        both_ends::each_role_uses_what_its_policy_grants,
        examples::every_example_does_what_it_says,
        both_ends::options_of_both_ends_are_set_and_repaired,
        both_ends::each_end_has_its_own_tags,
        both_ends::each_missing_permission_is_named_and_holds_up_nothing_else,
        both_ends::each_missing_permission_of_a_later_change_is_named_too,
        both_ends::a_vpc_is_found_by_its_tags,
        routes::routes_go_before_the_peering_does,
        routes::a_later_cidr_block_is_routed_and_an_earlier_one_no_longer,
        routes::a_route_with_another_target_is_never_touched,
        routes::routes_that_lead_nowhere_are_led_through_the_new_peering,
        identities::a_namespace_that_is_not_allowed_asks_aws_for_nothing,
        identities::own_credentials_can_be_kept_from_namespaces,
        identities::a_permission_withdrawn_later_stops_everything,
        identities::a_reference_changed_later_is_judged_anew,
        identities::labels_of_the_namespace_decide,
        identities::a_peering_of_another_resource_cannot_be_taken_over,
        identities::an_identity_tells_whether_it_works,
        iam::a_role_takes_over_a_connection_only_while_it_may,
        security::a_forged_connection_id_is_not_believed,
        security::a_forged_route_record_is_not_believed,
        security::a_forged_tag_record_is_not_believed,
        security::forged_ownership_tags_are_not_believed,
        security::the_defaults_permit_nothing,
        security::an_identity_limits_both_ends,
        security::routes_need_a_permission,
        security::a_later_block_of_another_account_waits_for_a_person,
        security::a_later_block_of_a_requester_waits_for_a_person,
        security::a_destination_lies_within_the_other_end,
        security::a_claim_without_a_permission_blocks_nobody,
        security::an_emptied_permission_allows_nobody,
        security::a_look_comes_before_what_is_taken_away,
        iam::own_credentials_reject_what_is_denied,
        errors::a_quota_that_is_near_is_warned_of,
        errors::a_dry_run_reports_and_creates_nothing,
        errors::missing_permissions_are_named_and_tried_again,
        errors::a_refused_deletion_keeps_the_finalizer_and_says_why,
        errors::a_lost_reply_makes_no_second_peering,
        errors::a_reply_cut_off_makes_no_second_peering,
        errors::a_stale_view_makes_no_second_peering,
        errors::throttling_is_waited_out,
        errors::five_hundred_refusals_in_a_row,
        errors::expired_credentials_that_come_back,
        errors::suspension_stops_all_writes,
        leader::only_the_leader_acts,
        leader::sigterm_hands_over_at_once,
        leader::a_standby_ends_at_once_and_leaves_the_leader_alone,
        leader::sigkill_hands_over_when_the_lease_has_run_out,
        leader::who_slept_through_its_lease_makes_no_further_call,
        leader::a_deleted_lease_is_made_anew,
        metrics::the_table_is_what_a_scrape_shows,
        metrics::errors_of_aws_are_counted_by_code,
        metrics::probes_tell_who_is_ready,
        metrics::ready_when_aws_knows_the_credentials,
        scale::a_peering_costs_at_most_four_writes,
        scale::an_id_is_told_while_ec2_takes_its_time,
        scale::what_lasts_is_told,
        scale::among_many_others_it_asks_for_its_own,
        scale::a_crowd_at_ec2s_limit_is_served_in_turns,
        scale::operators_share_a_namespace_by_labels,
        events::events_are_seen_at_once,
        events::a_queue_that_is_missing_holds_up_nothing,
        events::a_queue_that_denies_holds_up_nothing_and_is_not_pestered,
        metrics::every_query_of_the_dashboard_finds_something,
        image::the_binary_runs_in_an_empty_root,
        image::the_image_is_built_as_it_is_tested,
        telemetry::a_step_is_a_line_with_object_connection_region_and_request,
        telemetry::no_credential_reaches_the_log,
        telemetry::traces_reach_a_collector,
        telemetry::a_collector_that_does_not_answer_holds_nothing_up,
        ownership::two_resources_one_peering,
        ownership::two_clusters_one_pair_of_vpcs,
        ownership::the_older_one_leaves_and_the_younger_goes_on,
        tags::retain_removes_the_ownership_tags,
        crashes::random_faults_and_then_none,
        crashes::two_operators_at_once,
        crashes::a_cache_that_is_always_old,
        crashes::watches_that_are_cut_off,
        outages::an_api_server_that_stops_and_comes_back,
        outages::a_status_that_a_restored_etcd_forgot,
        outages::a_resource_that_cannot_be_read_holds_up_no_other,
        bounds::what_takes_memory_is_limited_by_the_schema,
        bounds::the_largest_resources_leave_the_operator_its_memory,
        outages::a_resource_that_can_no_longer_be_read_is_left_alone,
        outages::recreated_under_the_same_name_while_we_were_down,
        accepter::the_other_half_of_a_peering_across_accounts,
        accepter::the_other_half_on_another_api_server,
        accepter::nobody_is_accepted_by_default_nor_by_half,
        accepter::what_is_denied_is_rejected_when_asked_to,
        accepter::no_more_than_max_connections,
        accepter::the_older_accepter_decides,
        accepter::what_a_vpc_peering_owns_is_left_alone,
        accepter::a_missing_permission_holds_up_nothing_else,
        accepter::a_namespace_that_is_not_allowed_makes_no_call,
        accepter::every_rule_of_an_accepter_refuses,
        accepter::requests_beyond_ec2s_rate_are_accepted_in_turns,
        accepter::killed_around_each_request,
        crashes::killed_before_each_request,
        crashes::killed_after_each_request,
        crashes::the_reply_to_each_request_lost,
    ];
    let tests: Vec<_> =
        [(Cloud::Moto, of_any_ec2.clone()), (Cloud::Simulator, of_any_ec2), (Cloud::Simulator, of_the_simulator)]
            .into_iter()
            .flat_map(|(cloud, tests)| {
                tests.into_iter().map(move |(name, test)| (format!("{cloud}::{name}"), cloud, test))
            })
            .collect();
    if arguments.list {
        let listed = tests.into_iter().map(|(name, _, _)| Trial::test(name, || Ok(()))).collect();
        return Ok(libtest_mimic::run(&arguments, listed).exit_code());
    }
    let shared = Arc::new(runtime.block_on(Shared::start())?);
    let seen = Arc::new(iam::Seen::default());
    let is_whole = arguments.filter.is_none() && arguments.skip.is_empty();
    let trial = |(name, cloud, test): (String, Cloud, Test)| {
        let (runtime, shared, seen) = (Arc::clone(&runtime), Arc::clone(&shared), Arc::clone(&seen));
        Trial::test(name.clone(), move || {
            let run = async {
                let world = World::new(shared, &name, cloud).await?;
                test(world.clone()).await?;
                telemetry::no_credential_is_logged(&world).await?;
                world.note(&seen).await
            };
            runtime.block_on(run).map_err(|error| format!("{error:#}").into())
        })
    };
    let conclusion = libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect());
    // Only all of them together use everything.
    if is_whole && !conclusion.has_failed() {
        seen.check()?;
    }
    Ok(conclusion.exit_code())
}

impl Shared {
    /// The same with a control plane of its own, for tests that break it.
    async fn apart(&self) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { control_plane: ControlPlane::start().await?, moto: Arc::clone(&self.moto) }))
    }

    /// The same with a control plane that has nothing of ours.
    async fn bare(&self) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { control_plane: ControlPlane::bare().await?, moto: Arc::clone(&self.moto) }))
    }

    async fn start() -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let moto = Arc::new(Moto::start(control_plane.folder()).await?);
        Ok(Self { control_plane, moto })
    }
}
