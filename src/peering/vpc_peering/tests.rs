//! The decision, as tables of situations and their next steps. This file has the notation, the life of a peering from
//! its creation to its deletion, and waiting. The submodules have the other subjects.

#![allow(clippy::unwrap_used)]

mod adoption;
mod consistency;
mod deletion_summary;
mod dns;
mod ended_routes;
mod expiry;
mod forecast;
mod observe;
mod ownership;
mod recreation;
mod release;
mod routes;
mod status;
mod steps;
mod upkeep;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::decide::{blocked, decide};
use super::state::{AccepterView, Desired, Observation, OlderClaim, Recorded};
use super::step::Step;
use crate::api::{
    Acceptance, DeletionPolicy, ManagedTag, ManagementPolicy, Ownership, Reason, Side, SideOptions, TerminalState,
    VpcPeeringSpec,
};
use crate::peering::connection::Tags;
use crate::peering::goal::Goal;
use crate::peering::plan::{self, Aspect, Refusal};
use crate::peering::routes::{RouteAnswers, RouteTables};
use crate::peering::settings::MAX_RECREATIONS;
use crate::peering::testing::{another_owner, connection, ends, every_code, owner, permissions, spec, tags};
use crate::peering::upkeep::UpkeepStep;
use crate::peering::{Blocker, Connection, Endpoints, Owner, Permissions, Preflight, Settings, StatusCode};

type Plan = crate::peering::Plan<Step>;

const SETTINGS: Settings = Settings {
    consistency_window: Duration::from_secs(60),
    recreation_pause: Duration::from_secs(60),
    is_cluster_unique: true,
};
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn managed(tags: &[(&str, &str)]) -> BTreeSet<ManagedTag> {
    tags.iter().map(|(key, value)| ManagedTag { key: (*key).into(), value: (*value).into() }).collect()
}

/// The input of one decision. Each test changes the fields that it is about.
#[derive(Clone)]
struct Case {
    spec: VpcPeeringSpec,
    ends: Endpoints,
    permissions: Permissions,
    is_cluster_unique: bool,
    deleted: bool,
    finalizer: bool,
    reconcile_requested: bool,
    recorded: Recorded,
    observed: Observation,
}

impl Case {
    /// A new resource with its finalizer and without a peering.
    fn new() -> Self {
        Self {
            spec: spec(),
            ends: ends(),
            permissions: permissions(),
            is_cluster_unique: true,
            deleted: false,
            finalizer: true,
            reconcile_requested: false,
            recorded: Recorded::default(),
            observed: Observation {
                accepter: AccepterView::Same,
                route_answers: RouteAnswers { is_settled: true, ..RouteAnswers::default() },
                ..Observation::default()
            },
        }
    }

    /// A resource with a recorded peering that EC2 shows with this code.
    fn with(code: StatusCode) -> Self {
        Self::showing(connection(code))
    }

    fn showing(connection: Connection) -> Self {
        let mut case = Self::new();
        case.recorded.connection_id = Some(connection.id.clone());
        case.recorded.ownership = Some(Ownership::Owned);
        if !connection.code.has_ended() && connection.tags == tags(&owner()) {
            case.observed.owned = vec![connection.clone().into()];
        }
        case.observed.recorded = Some(connection.into());
        case
    }

    fn deleted(mut self) -> Self {
        self.deleted = true;
        self
    }

    fn decide(&self) -> Plan {
        self.decision().plan
    }

    fn decision(&self) -> crate::peering::plan::Decision<Step, crate::api::VpcPeeringStatus> {
        self.ask(|desired| decide(desired, &self.recorded, &self.observed, NOW, SETTINGS))
    }

    /// The answer of `ask` for this case.
    fn ask<T>(&self, ask: impl FnOnce(Desired<'_>) -> T) -> T {
        let owner = owner();
        let desired = Desired {
            owner: &owner,
            spec: &self.spec,
            ends: &self.ends,
            permissions: &self.permissions,
            defaults: &crate::peering::testing::defaults(),
            is_cluster_unique: self.is_cluster_unique,
            deleted: self.deleted,
            finalizer: self.finalizer,
            reconcile_requested: self.reconcile_requested,
            reconcile_at: None,
            generation: 1,
            status: None,
        };
        ask(desired)
    }

    /// The plan in short notation.
    fn summary(&self) -> String {
        summarize(&self.decide())
    }
}

/// The goal without a default of the operator.
fn goal(spec: &VpcPeeringSpec, deleted: bool) -> Goal<'_, VpcPeeringSpec> {
    Goal { spec, deletion_policy: spec.deletion_policy.unwrap_or_default(), deleted, generation: 1 }
}

fn summarize(plan: &Plan) -> String {
    match plan {
        Plan::Act(Step::AddFinalizer) => "add the finalizer".into(),
        Plan::Act(Step::DryRun) => "dry run".into(),
        Plan::Act(Step::Create) => "create".into(),
        Plan::Act(Step::Preflight) => "preflight".into(),
        Plan::Act(Step::Record { connection, ownership }) => format!("record {} as {ownership:?}", connection.id),
        Plan::Act(Step::Retire { id, code, recreations }) => format!("retire {id} ({code}), {recreations}"),
        Plan::Act(Step::Upkeep { step: UpkeepStep::RecordTags { tags }, .. }) => {
            format!(
                "record tags {}",
                tags.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect::<Vec<_>>().join(" ")
            )
        }
        Plan::Act(Step::Upkeep { step: UpkeepStep::Tag { id, tags }, .. }) => format!("tag {id} {}", list(tags.keys())),
        Plan::Act(Step::Upkeep {
            side,
            step: UpkeepStep::SetOptions { id, allow_dns_resolution_from_remote_vpc: allow },
        }) => {
            format!("{side} of {id} allows dns: {allow}")
        }
        Plan::Act(Step::Upkeep { side, step: UpkeepStep::SetDnsAttribute { vpc_id, attribute, .. } }) => {
            format!("{side}: turn on {attribute} of {vpc_id}")
        }
        Plan::Act(Step::Upkeep { side, step: UpkeepStep::RecordRoutes { routes } }) => {
            format!("record {} routes, {side}", routes.len())
        }
        Plan::Act(Step::Upkeep { side, step: UpkeepStep::ChangeRoutes { changes } }) => {
            format!("{side}: {}", changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        Plan::Act(Step::Upkeep { step: UpkeepStep::Untag { id, keys }, .. }) => format!("untag {id} {}", list(keys)),
        Plan::Suspended { .. } => "suspended".into(),
        Plan::Act(Step::Accept { id, region }) => format!("accept {id} in {region}"),
        Plan::Act(Step::DeleteOrphan { id }) => format!("delete orphan {id}"),
        Plan::Act(Step::Delete { id }) => format!("delete {id}"),
        Plan::Wait { reason, .. } => format!("wait: {reason}"),
        Plan::Settled { .. } => "settled".into(),
        Plan::DryRunSucceeded => "dry run succeeded".into(),
        Plan::Stalled { reason, .. } => format!("stalled: {reason}"),
        Plan::RemoveFinalizer => "remove finalizer".into(),
    }
}

/// The keys without the operator's prefix.
fn list<'a>(keys: impl IntoIterator<Item = &'a String>) -> String {
    keys.into_iter().map(|key| key.trim_start_matches("vpcpeering.dev/")).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_code_has_its_next_step() {
    use Acceptance::{Auto, Manual};
    let elsewhere = Some("222222222222".to_owned());
    // The columns of the table: acceptance, another account of the accepter, dry run.
    let columns = [
        (Auto, None, false),
        (Manual, None, false),
        (Auto, elsewhere.clone(), false),
        (Manual, elsewhere, false),
        (Auto, None, true),
    ];
    let rows = [
        ("initiating-request", ["wait: InitiatingRequest"; 5]),
        (
            "pending-acceptance",
            [
                "accept pcx-1 in eu-central-1",
                "wait: PendingAcceptance",
                "wait: PendingAcceptance",
                "wait: PendingAcceptance",
                "wait: PendingAcceptance",
            ],
        ),
        ("provisioning", ["wait: Provisioning"; 5]),
        ("active", ["settled"; 5]),
        ("failed", ["stalled: Failed"; 5]),
        ("rejected", ["stalled: Rejected"; 5]),
        ("expired", ["stalled: Expired"; 5]),
        ("deleting", ["wait: Deleting"; 5]),
        ("deleted", ["stalled: Deleted"; 5]),
        ("on-vacation", ["wait: UnknownStatusCode"; 5]),
    ];
    assert_eq!(rows.map(|(code, _)| StatusCode::from(code)).to_vec(), every_code());
    for (code, expected) in rows {
        for ((acceptance, accepter, dry_run), expected) in columns.iter().zip(expected) {
            let mut connection = connection(code.into());
            if accepter.is_some() {
                connection.accepter.owner_id = accepter.as_deref().map(Into::into);
            }
            let mut case = Case::showing(connection);
            if accepter.is_some() {
                case.observed.accepter = AccepterView::Nobody;
                case.ends.accepter.owner_id.clone_from(accepter);
            }
            case.spec.acceptance = *acceptance;
            case.spec.dry_run = *dry_run;
            assert_eq!(case.summary(), expected, "{code}, {acceptance:?}, {accepter:?}, dry run {dry_run}");
        }
    }
}

#[test]
fn every_code_has_its_next_step_in_deletion() {
    let rows = [
        ("initiating-request", "wait: Deleting"),
        ("pending-acceptance", "delete pcx-1"),
        ("provisioning", "wait: Deleting"),
        ("active", "delete pcx-1"),
        ("failed", "remove finalizer"),
        ("rejected", "remove finalizer"),
        ("expired", "remove finalizer"),
        ("deleting", "wait: Deleting"),
        ("deleted", "remove finalizer"),
        ("on-vacation", "delete pcx-1"),
    ];
    assert_eq!(rows.map(|(code, _)| StatusCode::from(code)).to_vec(), every_code());
    for (code, expected) in rows {
        let mut case = Case::with(code.into()).deleted();
        assert_eq!(case.summary(), expected, "{code}");
        case.spec.deletion_policy = Some(DeletionPolicy::Retain);
        let ended = StatusCode::from(code).has_ended();
        let disown = if ended { "remove finalizer" } else { "untag pcx-1 cluster name namespace uid" };
        assert_eq!(case.summary(), disown, "{code}, Retain");
        let mut disowned = connection(code.into());
        disowned.tags.clear();
        let mut case = Case::showing(disowned).deleted();
        case.spec.deletion_policy = Some(DeletionPolicy::Retain);
        assert_eq!(case.summary(), "remove finalizer", "{code}, Retain, disowned");
        let mut case = Case::with(code.into()).deleted();
        case.spec.management_policy = ManagementPolicy::Observe;
        assert_eq!(case.summary(), "remove finalizer", "{code}, Observe");
        let mut case = Case::with(code.into()).deleted();
        case.spec.suspend = true;
        let suspended = if expected.starts_with("delete") { "suspended" } else { expected };
        assert_eq!(case.summary(), suspended, "{code}, suspended");
        let mut case = Case::with(code.into()).deleted();
        case.finalizer = false;
        assert_eq!(case.summary(), "remove finalizer", "{code}, without our finalizer");
        let mut another = connection(code.into());
        another.tags = tags(&another_owner());
        assert_eq!(Case::showing(another).deleted().summary(), "remove finalizer", "{code}, tags of another owner");
        let mut untagged = connection(code.into());
        untagged.tags.clear();
        assert_eq!(Case::showing(untagged).deleted().summary(), expected, "{code}, tags removed by hand");
    }
}

#[test]
fn a_new_resource_gets_its_finalizer_first() {
    let mut case = Case::new();
    case.finalizer = false;
    assert_eq!(case.summary(), "add the finalizer");
}

#[test]
fn a_new_resource_is_created_if_ec2_shows_nothing() {
    let mut case = Case::new();
    assert_eq!(case.summary(), "preflight");
    case.observed.preflight = Some(Preflight::Passed);
    assert_eq!(case.summary(), "create");
    case.spec.suspend = true;
    assert_eq!(case.summary(), "suspended");
    case.observed.preflight =
        Some(Preflight::Refused { reason: Reason::OverlappingCidrBlocks, message: "they overlap".into() });
    assert_eq!(case.summary(), "stalled: OverlappingCidrBlocks");
}

#[test]
fn a_dry_run_asks_once_and_creates_nothing() {
    let mut case = Case::new();
    case.spec.dry_run = true;
    case.observed.preflight = Some(Preflight::Passed);
    assert_eq!(case.summary(), "dry run");
    case.recorded.dry_run_succeeded = true;
    assert_eq!(case.summary(), "dry run succeeded");
    case.spec.dry_run = false;
    assert_eq!(case.summary(), "create");
}

#[test]
fn a_connection_with_the_ownership_tags_is_recorded_and_not_created_again() {
    for started in [false, true] {
        let mut case = Case::new();
        case.recorded.creation_started = started;
        case.observed.owned = vec![connection(StatusCode::Active).into()];
        assert_eq!(case.summary(), "record pcx-1 as Owned");
        assert_eq!(case.deleted().summary(), "delete pcx-1", "deletion needs no record");
    }
}

#[test]
fn deletion_removes_every_owned_connection() {
    let mut case = Case::with(StatusCode::Deleted).deleted();
    case.observed.owned = vec![Connection { id: "pcx-2".into(), ..connection(StatusCode::Active) }.into()];
    assert_eq!(case.summary(), "delete pcx-2");
    case.observed.recorded = None;
    assert_eq!(case.summary(), "delete pcx-2", "EC2 does not show the recorded connection");
}

fn refusal() -> Blocker {
    Blocker::stalled(Reason::Unauthorized, "refused".into())
}

impl Case {
    /// The same case after AWS has refused the planned step, which serves this aspect.
    fn refuse(&mut self, aspect: Aspect) {
        let Plan::Act(step) = self.decide() else { panic!("no step of {aspect:?}: {}", self.summary()) };
        assert_eq!(plan::Step::aspect(&step), Some(aspect));
        self.observed.refused.insert(aspect, vec![Refusal { step, blocker: refusal() }]);
    }
}

#[test]
fn a_blocked_resource_loses_its_finalizer_only_if_it_owns_nothing() {
    let summary = |deleted, finalizer, recorded: &Recorded, spec: &VpcPeeringSpec| {
        summarize(&blocked(&goal(spec, deleted), finalizer, recorded, &refusal()))
    };
    let nothing = Recorded::default();
    let intent = Recorded { creation_started: true, ..Recorded::default() };
    let owned = Case::with(StatusCode::Active).recorded;
    let mut spec = spec();
    for recorded in [&nothing, &intent, &owned] {
        assert_eq!(summary(false, true, recorded, &spec), "stalled: Unauthorized");
        assert_eq!(summary(true, false, recorded, &spec), "remove finalizer");
    }
    assert_eq!(summary(true, true, &nothing, &spec), "remove finalizer");
    assert_eq!(summary(true, true, &intent, &spec), "stalled: Unauthorized");
    assert_eq!(summary(true, true, &owned, &spec), "stalled: Unauthorized");
    spec.management_policy = ManagementPolicy::Observe;
    assert_eq!(summary(true, true, &owned, &spec), "remove finalizer");
}

#[test]
fn the_message_contains_the_message_of_ec2() {
    let mut failed = connection(StatusCode::Failed);
    failed.message = Some("Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range".into());
    let plan = Case::showing(failed).decide();
    let Plan::Stalled { message, .. } = plan else { panic!("{plan:?}") };
    assert!(message.contains("overlapping CIDR range"), "{message}");
}
