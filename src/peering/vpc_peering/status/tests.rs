//! The parts of the status that no decision covers.

use k8s_openapi::jiff::SignedDuration;

use super::*;
use crate::api::DeletionPolicy;
use crate::peering::testing::{connection, spec};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn types(conditions: &[Condition]) -> Vec<(&str, &str)> {
    conditions.iter().map(|condition| (condition.type_.as_str(), condition.status.as_str())).collect()
}

fn goal(spec: &VpcPeeringSpec, deleted: bool) -> Goal<'_, VpcPeeringSpec> {
    Goal { spec, deletion_policy: DeletionPolicy::Delete, deleted, generation: 1 }
}

fn seen(connection: &Connection) -> Option<Seen<'_>> {
    Some(Seen { connection: Some(connection), aspects: Vec::new(), unexpected: None })
}

#[test]
fn a_description_ends_the_intent() {
    let mut status = VpcPeeringStatus { creation_started_at: Some(to_the_second(NOW)), ..Default::default() };
    let connection = connection(StatusCode::Provisioning);
    describe(&mut status, &connection, Ownership::Owned);
    assert_eq!(status.creation_started_at, None);
    assert_eq!(status.vpc_peering_connection_id.as_deref(), Some("pcx-1"));
    assert_eq!(status.status.map(|status| status.code).as_deref(), Some("provisioning"));
    assert_eq!(status.tags.len(), connection.tags.len());
}

#[test]
fn an_active_peering_ends_the_count_of_new_requests() {
    let mut status = VpcPeeringStatus { recreations: Some(3), ..Default::default() };
    describe(&mut status, &connection(StatusCode::PendingAcceptance), Ownership::Owned);
    assert_eq!(status.recreations, Some(3));
    describe(&mut status, &connection(StatusCode::Active), Ownership::Owned);
    assert_eq!(status.recreations, None);
}

#[test]
fn the_history_keeps_the_last_five() {
    let mut status = VpcPeeringStatus::default();
    for number in 1..=7 {
        describe(&mut status, &connection(StatusCode::Expired), Ownership::Owned);
        retire(&mut status, &format!("pcx-{number}"), "expired", number, NOW);
    }
    let ids: Vec<_> = status.history.iter().map(|ended| ended.vpc_peering_connection_id.as_str()).collect();
    assert_eq!(ids, ["pcx-3", "pcx-4", "pcx-5", "pcx-6", "pcx-7"]);
    assert_eq!((status.recreations, &status.vpc_peering_connection_id, &status.status), (Some(7), &None, &None));
    retire(&mut status, "pcx-8", "expired", 0, NOW);
    assert_eq!(status.recreations, None, "a person has asked for the next request");
}

#[test]
fn the_last_day_before_expiry_has_a_condition() {
    let mut pending = connection(StatusCode::PendingAcceptance);
    for (hours, warned) in [(25, false), (24, true), (1, true), (0, false), (-1, false)] {
        pending.expiration_time = Some(NOW + SignedDuration::from_hours(hours));
        let details = details(&goal(&spec(), false), &[], seen(&pending), NOW);
        assert_eq!(types(&details), if warned { vec![("ExpiringSoon", "True")] } else { vec![] }, "{hours} hours");
    }
    pending.code = StatusCode::Active;
    assert!(details(&goal(&spec(), false), &[], seen(&pending), NOW).is_empty());
}

#[test]
fn a_dry_run_is_remembered_while_the_spec_asks_for_it() {
    let answered = [condition(ConditionType::DryRunSucceeded, "True", Reason::DryRun, "", 1, NOW)];
    let mut spec = spec();
    assert!(details(&goal(&spec, false), &answered, None, NOW).is_empty());
    (spec.dry_run, spec.suspend) = (true, true);
    let details = details(&goal(&spec, false), &answered, None, NOW);
    assert_eq!(types(&details), [("DryRunSucceeded", "True"), ("Suspended", "True")]);
}

/// The routes and options end before the connection does, so that nothing says that they are as the spec asks.
#[test]
fn a_deletion_ends_the_conditions_of_options_and_routes() {
    let known = |kind| condition(kind, "True", Reason::Synced, "as the spec asks", 1, NOW);
    let kinds = [ConditionType::OptionsSynced, ConditionType::RoutesReady, ConditionType::UnexpectedConnection];
    let previous = VpcPeeringStatus { conditions: kinds.map(known).to_vec(), ..VpcPeeringStatus::default() };
    let spec = spec();
    let refused = Readiness::working(Reason::Unauthorized, "DeleteVpcPeeringConnection".to_owned());
    let shown = |deleted| {
        let status = report_blocked(&goal(&spec, deleted), Some(&previous), &refused, None, NOW);
        kinds.map(|kind| find(&status.conditions, kind).is_some())
    };
    assert_eq!(shown(false), [true, true, true]);
    assert_eq!(shown(true), [false, false, true]);
}
