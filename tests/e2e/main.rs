//! End-to-end tests. They run the operator's binary as a process with the rights that `deploy/` grants, against a real
//! API server and an EC2 that speaks the wire protocol.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod accepter;
mod adoption;
mod both_ends;
mod bounds;
mod cli;
mod consistency;
mod crashes;
mod defaults;
mod deletion_summary;
mod deploy;
mod dns;
mod docs;
mod ended_routes;
mod endings;
mod ends;
mod errors;
mod events;
mod examples;
mod excluded_routes;
mod field_managers;
mod flux;
mod flux_helm;
mod gitops;
mod iam;
mod identities;
mod image;
mod leader;
mod lifecycle;
mod limits;
mod memory_limit;
mod metrics;
mod operator_defaults;
mod outages;
mod ownership;
mod prefix_lists;
mod prune;
mod quotas;
mod references;
mod restarts;
mod routes;
mod scale;
mod security;
mod security_groups;
mod sts;
mod subnet_routes;
mod tags;
mod telemetry;
mod upgrade;
mod validation;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use environment::{ControlPlane, Moto};
use libtest_mimic::{Arguments, Conclusion, Trial};
use tokio::runtime::{Builder, Runtime};

use world::{Cloud, World};

/// Tests that run at the same time, unless `--test-threads` says otherwise. They mostly wait, so there are more of them
/// than cores.
const THREADS: usize = 8;

/// Characters of each error in the list of failures at the end.
const SUMMARY_LENGTH: usize = 300;

/// The processes that all tests share.
pub struct Shared {
    control_plane: ControlPlane,
    moto: Arc<Moto>,
    /// The calls of all operators, for the check of `deploy/iam`.
    seen: Arc<iam::Seen>,
}

type Test = fn(World) -> Pin<Box<dyn Future<Output = Result<()>>>>;

/// Names each test by its path.
macro_rules! tests {
    ($($test:path),* $(,)?) => {
        vec![$((stringify!($test), {
            let run: Test = |world| Box::pin($test(world));
            run
        })),*]
    };
}

/// The tests that need only what every EC2 does. They run on moto and on the simulator.
fn portable_tests() -> Vec<(&'static str, Test)> {
    tests![
        lifecycle::a_peering_becomes_active,
        lifecycle::a_vpc_that_does_not_exist_is_reported,
        lifecycle::deletion_deletes_the_peering,
        lifecycle::retain_keeps_the_peering,
        lifecycle::a_peering_deleted_in_ec2_is_reported,
        lifecycle::a_peering_of_another_owner_is_not_touched,
        lifecycle::a_settled_resource_causes_no_writes,
        lifecycle::manual_acceptance_waits_for_a_person,
        lifecycle::a_request_to_another_region_is_accepted_there,
        lifecycle::a_request_to_another_region_waits_for_a_person,
        restarts::a_crash_between_create_and_status_write_makes_no_second_peering,
        restarts::sigterm_stops_in_time_and_a_restart_finds_the_peering,
        tags::spec_edits_change_only_the_operators_tags,
        adoption::an_existing_connection_is_adopted,
        both_ends::every_combination_of_accounts_and_regions_becomes_active,
        routes::routes_of_both_ends_are_created_and_deleted_with_the_peering,
        accepter::a_request_is_accepted_and_its_end_is_configured,
    ]
}

/// The tests that need faults, a clock or a journal. This function is long because it is one list.
fn simulator_tests() -> Vec<(&'static str, Test)> {
    tests![
        // These mostly wait, so they start first.
        defaults::an_acceptance_by_others_is_seen_within_seconds,
        defaults::drift_is_repaired_within_a_poll_interval,
        defaults::an_expiry_is_reported_on_time,
        defaults::a_missing_connection_is_reported_after_the_consistency_window,
        defaults::a_new_request_follows_after_the_recreation_pause,
        defaults::a_vpc_that_appears_is_found_within_a_minute,
        defaults::a_new_request_is_seen_and_a_younger_accepter_follows,
        defaults::a_standby_takes_over_when_the_lease_expires,
        lifecycle::a_new_object_has_no_observed_generation,
        lifecycle::the_final_state_depends_only_on_the_last_spec,
        dns::a_dns_attribute_is_reported_and_turned_on_where_the_spec_says_so,
        dns::dns_attributes_are_turned_on_only_if_the_identity_permits_it,
        dns::an_accepter_reports_and_turns_on_the_dns_attributes_of_its_vpc,
        operator_defaults::resources_follow_the_defaults_of_the_operator,
        operator_defaults::without_a_default_the_region_is_required,
        operator_defaults::an_accepter_follows_the_defaults_of_the_operator,
        operator_defaults::an_accepter_without_a_region_is_in_the_default_region,
        validation::every_schema_rule_rejects_with_a_readable_message,
        validation::defaults_are_visible,
        validation::the_optional_admission_policies_are_enforced,
        adoption::a_connection_that_does_not_match_is_not_touched,
        references::each_kind_of_object_selects_the_vpc,
        references::an_accepter_selects_its_vpc_by_an_object,
        references::bad_references_are_reported,
        references::the_vpc_of_the_nodes_is_this_cluster,
        security_groups::rules_that_become_stale_are_reported_before_a_deletion,
        security_groups::missing_permissions_for_security_groups_block_nothing,
        deletion_summary::the_summary_of_a_peering_names_the_calls_of_its_deletion,
        deletion_summary::the_summary_of_a_retained_peering_names_the_calls_of_its_deletion,
        deletion_summary::the_summary_of_an_accepter_names_the_calls_of_its_deletion,
        adoption::observe_never_writes_to_aws,
        ends::overlapping_cidr_blocks_are_reported_without_a_request,
        ends::a_disassociated_cidr_block_does_not_overlap,
        ends::a_failed_request_is_reported,
        ends::a_rejected_request_is_reported_and_repeated_on_demand,
        ends::a_pending_request_is_reported_before_it_expires,
        ends::clock_skew_does_no_harm,
        ends::recreate_on_makes_a_new_request_and_keeps_the_history,
        ends::deletion_completes_from_every_status_code,
        endings::identity::retain_releases_a_peering_whose_identity_is_gone,
        endings::identity::retain_releases_an_accepter_whose_identity_is_gone,
        endings::identity::retain_removes_the_ownership_tags_of_an_accepter,
        endings::namespace::a_deleted_namespace_takes_its_peering_with_it,
        gitops::vpc_peering::every_vpc_peering_state_has_the_right_health,
        gitops::a_wait_ends_early_if_the_resource_is_stalled,
        gitops::every_identity_state_has_the_right_health,
        gitops::accepter::every_accepter_state_has_the_right_health,
        gitops::the_health_script_is_added_to_argocd_cm,
        field_managers::flux_and_the_operator_do_not_conflict,
        field_managers::argo_cd_and_the_operator_do_not_conflict,
        field_managers::client_side_apply_and_the_operator_do_not_conflict,
        flux::kustomize_controller_installs_waits_and_prunes,
        flux_helm::helm_controller_installs_upgrades_and_keeps_peerings,
        deploy::the_api_server_accepts_every_overlay_and_example,
        deploy::the_event_bus_accepts_only_events_that_a_rule_forwards,
        deploy::the_rights_of_a_namespaced_operator_suffice_and_end_there,
        prune::a_reinstalled_operator_finishes_an_interrupted_prune,
        prune::pruning_peerings_before_the_operator_leaves_nothing_behind,
        upgrade::resources_of_the_first_schema_need_no_write_to_aws,
        both_ends::each_end_uses_its_own_identity_and_region,
        both_ends::permissions::each_policy_grants_every_action_that_its_role_uses,
        examples::every_example_works,
        examples::a_provider_that_requests_the_peering_is_served,
        examples::a_provider_that_accepts_the_peering_is_served,
        both_ends::options_of_both_ends_are_set_and_repaired,
        both_ends::each_end_has_its_own_tags,
        both_ends::permissions::each_missing_permission_is_reported_and_blocks_nothing_else,
        both_ends::permissions::each_missing_permission_of_a_later_change_is_reported,
        both_ends::a_vpc_is_found_by_its_tags,
        routes::routes_are_deleted_before_the_peering,
        routes::an_added_cidr_block_gets_a_route_and_a_removed_one_loses_it,
        routes::a_route_with_another_target_is_never_touched,
        routes::a_propagated_route_is_no_conflict,
        routes::a_gateway_route_table_gets_no_route,
        routes::routes_of_a_deleted_peering_return_with_the_new_one,
        routes::a_peering_with_routes_is_deleted_within_seconds_with_default_settings,
        routes::a_vpc_without_ipv6_gets_no_ipv6_route,
        routes::an_invalid_parameter_exception_of_a_route_call_is_retried,
        excluded_routes::excluded_destinations_and_tables_get_no_route,
        excluded_routes::a_full_route_table_is_named_and_delays_no_other,
        tags::more_tags_than_ec2_allows_are_reported_before_any_call,
        subnet_routes::the_route_tables_of_subnets_get_routes_at_both_ends,
        prefix_lists::routes_lead_to_prefix_lists_at_both_ends,
        prefix_lists::a_prefix_list_that_is_too_long_or_unknown_is_reported,
        prefix_lists::a_route_to_a_prefix_list_with_another_target_is_never_touched,
        prefix_lists::a_prefix_list_of_another_account_leads_only_to_allowed_blocks,
        ended_routes::routes_through_a_connection_that_the_other_side_deleted_are_removed,
        ended_routes::routes_through_a_connection_that_ec2_no_longer_shows_are_reported,
        identities::a_namespace_that_is_not_allowed_makes_no_aws_call,
        identities::own_credentials_are_limited_to_listed_namespaces,
        identities::a_withdrawn_permission_stops_every_call,
        identities::a_changed_identity_reference_is_checked_again,
        identities::a_selector_matches_the_labels_of_the_namespace,
        identities::a_peering_of_another_resource_cannot_be_adopted,
        identities::an_sts_refusal_has_its_code_and_remedy,
        identities::an_identity_reports_whether_its_role_works,
        sts::session_tags_that_sts_refuses_are_rejected,
        sts::session_tags_can_be_disabled_if_those_of_pod_identity_leave_no_room,
        sts::a_role_is_assumed_in_the_region_of_the_operator,
        sts::without_a_region_the_operator_ends,
        sts::missing_credentials_are_reported_in_one_sentence,
        iam::a_role_adopts_a_connection_only_while_its_policy_allows_it,
        security::forgery::a_forged_connection_id_is_not_trusted,
        security::forgery::a_forged_route_record_is_not_trusted,
        security::forgery::a_forged_tag_record_is_not_trusted,
        security::forgery::forged_ownership_tags_are_not_trusted,
        security::permissions::the_defaults_permit_nothing,
        security::permissions::an_identity_limits_both_ends,
        security::permissions::routes_need_a_permission,
        security::routes::a_cidr_block_added_by_another_account_needs_approval,
        security::routes::a_cidr_block_added_by_a_requester_needs_approval,
        security::routes::a_destination_must_lie_within_the_other_end,
        security::permissions::an_older_resource_without_permission_blocks_no_other,
        security::permissions::an_emptied_allow_list_allows_nobody,
        security::routes::a_route_is_described_again_before_its_deletion,
        iam::own_credentials_can_reject_a_denied_request,
        quotas::a_request_waits_until_a_quota_has_room,
        quotas::a_vpc_without_room_delays_only_its_own_requests,
        quotas::many_requests_stay_within_the_quota_of_outstanding_requests,
        quotas::without_service_quotas_the_defaults_hold_and_ec2_decides,
        errors::a_quota_that_is_nearly_used_up_is_reported,
        errors::a_dry_run_reports_the_answer_and_creates_nothing,
        errors::a_missing_permission_is_reported_and_retried,
        errors::a_tag_policy_violation_names_the_tag,
        errors::a_refused_deletion_keeps_the_finalizer_and_is_reported,
        errors::a_lost_reply_makes_no_second_peering,
        errors::a_truncated_reply_makes_no_second_peering,
        errors::a_stale_listing_makes_no_second_peering,
        errors::throttled_calls_are_retried,
        consistency::a_change_that_ec2_shows_late_is_made_once,
        consistency::an_answer_without_tags_is_no_connection_of_others,
        consistency::a_call_that_is_too_early_is_repeated,
        consistency::a_shared_vpc_is_refused_before_ec2_is_asked,
        errors::the_operator_recovers_from_five_hundred_throttled_calls,
        errors::the_operator_recovers_from_expired_credentials,
        errors::suspension_stops_all_writes,
        leader::only_the_leader_acts,
        leader::sigterm_hands_over_at_once,
        leader::a_standby_stops_at_once_and_the_leader_keeps_its_lease,
        leader::sigkill_hands_over_when_the_lease_expires,
        leader::a_paused_leader_makes_no_call_after_its_lease_expired,
        leader::a_deleted_lease_is_created_again,
        metrics::a_scrape_matches_the_table_of_metrics,
        metrics::aws_errors_are_counted_by_code,
        metrics::probes_report_liveness_and_readiness,
        metrics::probes_are_answered_beside_a_thousand_idle_connections_and_slow_readers,
        metrics::the_operator_is_ready_once_aws_accepts_its_credentials,
        scale::a_peering_costs_at_most_four_writes,
        scale::the_id_of_a_slow_request_is_written,
        scale::a_long_provisioning_is_written,
        scale::a_large_region_is_polled_with_filters,
        scale::namespaces_take_turns_at_the_ec2_rate_limit,
        scale::watch_selectors_divide_a_namespace,
        limits::fairness::a_crowd_at_a_slow_region_delays_no_other,
        limits::fairness::a_crowd_of_one_namespace_delays_no_other,
        limits::many::six_hundred_invented_regions_cost_no_call,
        limits::many::ten_thousand_junk_messages_delay_no_event_for_long,
        limits::many::a_vpc_with_a_thousand_route_tables_is_served_up_to_the_limit,
        limits::endless::pages_without_end_are_reported,
        events::a_queued_event_is_handled_at_once,
        events::a_missing_queue_blocks_nothing,
        events::a_queue_that_denies_access_blocks_nothing_and_is_retried_slowly,
        metrics::every_dashboard_query_returns_data,
        image::the_binary_runs_in_an_empty_root,
        image::the_image_is_built_like_the_tested_binary,
        telemetry::each_step_logs_object_connection_region_and_request_id,
        telemetry::no_credential_reaches_the_log,
        telemetry::traces_reach_a_collector,
        telemetry::an_unreachable_collector_blocks_nothing,
        ownership::two_resources_share_no_peering,
        ownership::two_clusters_share_no_peering,
        ownership::the_younger_resource_follows_after_the_older_is_deleted,
        tags::retain_removes_the_ownership_tags,
        crashes::the_operator_recovers_from_random_faults,
        crashes::two_operators_at_once_make_one_peering,
        crashes::a_stale_cache_makes_no_second_peering,
        crashes::expired_watches_are_restarted,
        outages::the_operator_survives_an_api_server_outage,
        outages::a_status_lost_with_etcd_makes_no_second_peering,
        outages::an_unreadable_resource_blocks_no_other,
        bounds::the_schema_limits_the_size_of_resources,
        bounds::the_largest_resources_fit_into_the_memory_limit,
        outages::a_resource_that_becomes_unreadable_is_not_touched,
        outages::a_recreated_resource_adopts_its_orphaned_peering,
        outages::a_restored_resource_takes_over_both_ends,
        accepter::an_accepter_completes_a_peering_across_accounts,
        accepter::an_accepter_completes_a_peering_of_another_cluster,
        accepter::decisions::a_request_without_a_full_match_is_not_accepted,
        accepter::decisions::a_connection_is_judged_again_once_all_its_blocks_are_shown,
        accepter::decisions::a_denied_request_is_rejected_if_reject_is_set,
        accepter::decisions::no_more_than_max_connections_are_accepted,
        accepter::decisions::the_older_of_two_accepters_decides,
        accepter::decisions::a_connection_of_a_vpc_peering_is_ignored,
        accepter::adoption::a_connection_that_others_accepted_is_adopted_by_the_rules,
        accepter::adoption::an_id_that_cannot_be_adopted_is_reported_and_not_touched,
        accepter::adoption::a_connection_of_a_vpc_peering_without_tags_is_not_adopted,
        accepter::routes::two_requesters_with_one_cidr_block_are_reported_as_such,
        accepter::routes::excluded_destinations_and_tables_get_no_route_of_an_accepter,
        accepter::routes::a_prefix_list_leads_to_the_requester_that_has_its_entries,
        accepter::routes::each_destination_leads_to_the_requester_that_has_it,
        accepter::routes::routes_to_a_requester_that_deleted_its_connection_are_removed,
        accepter::faults::a_missing_permission_blocks_nothing_else,
        accepter::faults::a_namespace_that_is_not_allowed_makes_no_call,
        accepter::validation::every_rule_of_the_accepter_schema_rejects_invalid_values,
        accepter::faults::requests_beyond_the_ec2_rate_limit_are_accepted_in_turn,
        accepter::faults::a_crash_at_any_call_is_safe,
        cli::check::a_healthy_operator_passes_every_check,
        cli::check::each_fault_in_aws_has_a_line,
        cli::check::each_fault_in_kubernetes_has_a_line,
        cli::check::before_the_installation_only_the_prerequisites_are_checked,
        cli::plan::the_operator_makes_the_planned_calls,
        cli::plan::the_calls_after_an_expiry_are_planned,
        cli::plan::missing_permissions_are_planned,
        cli::plan::a_full_quota_is_planned,
        cli::plan::bad_input_is_reported_in_one_sentence,
        cli::graph::the_peerings_of_two_regions_are_drawn,
        cli::import::each_source_is_adopted_without_a_changing_call,
        cli::import::bad_input::bad_input_is_explained_in_one_sentence,
        cli::import::migrate::each_command_of_the_guide_works,
        cli::graph::the_name_of_the_binary_and_the_pages_fit,
        docs::the_readme_leads_to_a_ping_and_every_other_block_works,
        cli::trace::the_planted_fault_of_each_scene_is_found,
        crashes::a_crash_before_any_call_is_safe,
        crashes::a_crash_after_any_call_is_safe,
        crashes::a_lost_reply_to_any_call_is_safe,
    ]
}

/// Prints an error as the last line and without a backtrace, so that the end of a log shows the reason.
fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let clouds =
        [(Cloud::Moto, portable_tests()), (Cloud::Simulator, portable_tests()), (Cloud::Simulator, simulator_tests())];
    let tests = clouds.into_iter().flat_map(|(cloud, tests)| {
        tests.into_iter().map(move |(name, test)| (format!("{cloud}::{name}"), cloud, test))
    });
    if arguments.list {
        let trials = tests.map(|(name, _, _)| Trial::test(name, || Ok(()))).collect();
        return Ok(libtest_mimic::run(&arguments, trials).exit_code());
    }
    let runtime = Arc::new(Builder::new_multi_thread().enable_all().build()?);
    let run = Run { shared: Arc::new(runtime.block_on(Shared::start())?), runtime, failures: Arc::default() };
    let trials = tests.map(|(name, cloud, test)| run.trial(name, cloud, test)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let is_complete = arguments.filter.is_none() && arguments.skip.is_empty();
    run.finish(&conclusion, is_complete)
}

/// One run of this program.
#[derive(Clone)]
struct Run {
    runtime: Arc<Runtime>,
    shared: Arc<Shared>,
    /// The name and the error of each failed test.
    failures: Arc<Mutex<Vec<(String, String)>>>,
}

impl Run {
    fn trial(&self, name: String, cloud: Cloud, test: Test) -> Trial {
        let this = self.clone();
        Trial::test(name.clone(), move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| this.runtime.block_on(this.run_one(&name, cloud, test))));
            outcome.unwrap_or_else(|panic| Err(anyhow!("panicked: {}", panic_message(&*panic)))).map_err(|error| {
                let error = format!("{error:#}");
                this.failures.lock().unwrap_or_else(PoisonError::into_inner).push((name, error.clone()));
                error.into()
            })
        })
    }

    async fn run_one(&self, name: &str, cloud: Cloud, test: Test) -> Result<()> {
        let world = World::new(Arc::clone(&self.shared), name, cloud).await?;
        test(world.clone()).await?;
        telemetry::ensure_no_credential_is_logged(&world).await?;
        world.record_calls().await
    }

    /// Lists the failed tests once more, one line each: libtest-mimic prints the errors far above the end of the log.
    fn finish(&self, conclusion: &Conclusion, is_complete: bool) -> Result<ExitCode> {
        // Only a complete run uses every action in `deploy/iam`.
        if is_complete && !conclusion.has_failed() {
            self.shared.seen.check()?;
        }
        for (name, error) in &*self.failures.lock().unwrap_or_else(PoisonError::into_inner) {
            let error: String = error.chars().take(SUMMARY_LENGTH).collect();
            eprintln!("failed: {name}: {}", error.replace('\n', " "));
        }
        Ok(conclusion.exit_code())
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

impl Shared {
    /// Returns a copy with its own control plane, for tests that stop it or change cluster-scoped objects.
    async fn with_own_control_plane(&self) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            control_plane: ControlPlane::start().await?,
            moto: Arc::clone(&self.moto),
            seen: Arc::clone(&self.seen),
        }))
    }

    /// Returns a copy with its own control plane, in which nothing from `deploy/` is installed, not even the CRDs.
    async fn with_empty_control_plane(&self) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            control_plane: ControlPlane::bare().await?,
            moto: Arc::clone(&self.moto),
            seen: Arc::clone(&self.seen),
        }))
    }

    async fn start() -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let moto = Arc::new(Moto::start(control_plane.folder()).await?);
        Ok(Self { control_plane, moto, seen: Arc::default() })
    }
}
