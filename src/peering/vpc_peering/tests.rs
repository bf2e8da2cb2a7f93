//! The decision as tables of situations and their next steps. The file exceeds 400 lines because all tables share one
//! notation of situations and steps.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::decide::{blocked, decide};
use super::state::{AccepterView, Desired, Observation, OlderClaim, Recorded};
use super::step::Step;
use crate::api::{
    Acceptance, DeletionPolicy, ManagedTag, ManagementPolicy, Ownership, Reason, Side, SideOptions, TerminalState,
    VpcPeeringSpec, VpcPeeringStatus,
};
use crate::peering::connection::Tags;
use crate::peering::plan::Aspect;
use crate::peering::routes::RouteTables;
use crate::peering::settings::{CLOCK_SKEW, EXPIRING_SOON, MAX_RECREATIONS};
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

/// A situation. Each test changes its subject.
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
            observed: Observation { accepter: AccepterView::Same, is_settled: true, ..Observation::default() },
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
        let owner = owner();
        let desired = Desired {
            owner: &owner,
            spec: &self.spec,
            ends: &self.ends,
            permissions: &self.permissions,
            is_cluster_unique: self.is_cluster_unique,
            deleted: self.deleted,
            finalizer: self.finalizer,
            reconcile_requested: self.reconcile_requested,
            reconcile_at: None,
            generation: 1,
            status: &VpcPeeringStatus::default(),
        };
        decide(desired, &self.recorded, &self.observed, NOW, SETTINGS).plan
    }

    /// The decision in short notation.
    fn said(&self) -> String {
        said(&self.decide())
    }
}

fn said(plan: &Plan) -> String {
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
    // (acceptance, the accepter's account if another, dry run) by the nine codes and an unknown one.
    let wishes = [
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
        for ((acceptance, accepter, dry_run), expected) in wishes.iter().zip(expected) {
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
            assert_eq!(case.said(), expected, "{code}, {acceptance:?}, {accepter:?}, dry run {dry_run}");
        }
    }
}

#[test]
fn every_code_has_its_way_to_the_end_of_the_finalizer() {
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
        assert_eq!(case.said(), expected, "{code}");
        case.spec.deletion_policy = DeletionPolicy::Retain;
        let ended = StatusCode::from(code).has_ended();
        let disown = if ended { "remove finalizer" } else { "untag pcx-1 cluster name namespace uid" };
        assert_eq!(case.said(), disown, "{code}, Retain");
        let mut disowned = connection(code.into());
        disowned.tags.clear();
        let mut case = Case::showing(disowned).deleted();
        case.spec.deletion_policy = DeletionPolicy::Retain;
        assert_eq!(case.said(), "remove finalizer", "{code}, Retain, disowned");
        let mut case = Case::with(code.into()).deleted();
        case.spec.management_policy = ManagementPolicy::Observe;
        assert_eq!(case.said(), "remove finalizer", "{code}, Observe");
        let mut case = Case::with(code.into()).deleted();
        case.spec.suspend = true;
        let suspended = if expected.starts_with("delete") { "suspended" } else { expected };
        assert_eq!(case.said(), suspended, "{code}, suspended");
        let mut case = Case::with(code.into()).deleted();
        case.finalizer = false;
        assert_eq!(case.said(), "remove finalizer", "{code}, without our finalizer");
        let mut another = connection(code.into());
        another.tags = tags(&another_owner());
        assert_eq!(Case::showing(another).deleted().said(), "remove finalizer", "{code}, another owner's");
        let mut untagged = connection(code.into());
        untagged.tags.clear();
        assert_eq!(Case::showing(untagged).deleted().said(), expected, "{code}, tags removed by hand");
    }
}

#[test]
fn a_new_resource_gets_its_finalizer_first() {
    let mut case = Case::new();
    case.finalizer = false;
    assert_eq!(case.said(), "add the finalizer");
}

#[test]
fn a_new_resource_is_created_if_ec2_shows_nothing() {
    let mut case = Case::new();
    assert_eq!(case.said(), "preflight");
    case.observed.preflight = Some(Preflight::Passed);
    assert_eq!(case.said(), "create");
    case.spec.suspend = true;
    assert_eq!(case.said(), "suspended");
    case.observed.preflight =
        Some(Preflight::Refused { reason: Reason::OverlappingCidrBlocks, message: "they overlap".into() });
    assert_eq!(case.said(), "stalled: OverlappingCidrBlocks");
}

#[test]
fn a_dry_run_asks_once_and_creates_nothing() {
    let mut case = Case::new();
    case.spec.dry_run = true;
    case.observed.preflight = Some(Preflight::Passed);
    assert_eq!(case.said(), "dry run");
    case.recorded.dry_run_succeeded = true;
    assert_eq!(case.said(), "dry run succeeded");
    case.spec.dry_run = false;
    assert_eq!(case.said(), "create");
}

#[test]
fn a_connection_with_the_ownership_tags_is_recorded_and_not_created_again() {
    for started in [false, true] {
        let mut case = Case::new();
        case.recorded.creation_started = started;
        case.observed.owned = vec![connection(StatusCode::Active).into()];
        assert_eq!(case.said(), "record pcx-1 as Owned");
        assert_eq!(case.deleted().said(), "delete pcx-1", "an object that has no room for a record goes, too");
    }
}

#[test]
fn two_connections_of_ours_are_for_a_person_to_sort_out() {
    let mut case = Case::new();
    let second = Connection { id: "pcx-2".into(), ..connection(StatusCode::Active) };
    case.observed.owned = vec![connection(StatusCode::Active).into(), second.into()];
    let plan = case.decide();
    assert_eq!(said(&plan), "stalled: MultipleConnections");
    assert!(matches!(plan, Plan::Stalled { message, .. } if message.contains("pcx-1, pcx-2")));
}

#[test]
fn deletion_takes_every_connection_of_ours() {
    let mut case = Case::with(StatusCode::Deleted).deleted();
    case.observed.owned = vec![Connection { id: "pcx-2".into(), ..connection(StatusCode::Active) }.into()];
    assert_eq!(case.said(), "delete pcx-2");
    case.observed.recorded = None;
    assert_eq!(case.said(), "delete pcx-2", "the recorded one is not shown");
}

#[test]
fn a_request_in_doubt_is_waited_for_before_it_is_made_again() {
    let mut case = Case::new();
    case.recorded.creation_started = true;
    assert_eq!(case.said(), "wait: AwaitingConsistency");
    assert_eq!(case.clone().deleted().said(), "wait: AwaitingConsistency");
    case.observed.missing_for = SETTINGS.consistency_window - Duration::from_millis(1);
    assert_eq!(case.said(), "wait: AwaitingConsistency");
    case.observed.missing_for = SETTINGS.consistency_window;
    case.observed.preflight = Some(Preflight::Passed);
    assert_eq!(case.said(), "create");
    assert_eq!(case.deleted().said(), "remove finalizer");
}

#[test]
fn a_recorded_connection_that_is_not_shown_is_waited_for_before_it_is_given_up() {
    let mut case = Case::new();
    case.recorded.connection_id = Some("pcx-1".into());
    case.recorded.ownership = Some(Ownership::Owned);
    assert_eq!(case.said(), "wait: AwaitingConsistency");
    assert_eq!(case.clone().deleted().said(), "wait: AwaitingConsistency");
    case.observed.missing_for = SETTINGS.consistency_window;
    assert_eq!(case.said(), "stalled: NotFound");
    assert_eq!(case.deleted().said(), "remove finalizer");
}

#[test]
fn a_wait_for_consistency_never_overshoots_its_window() {
    let mut case = Case::new();
    case.recorded.creation_started = true;
    case.observed.missing_for = Duration::from_millis(59_500);
    assert!(
        matches!(case.decide(), Plan::Wait { requeue_after: Some(left), .. } if left == Duration::from_millis(500))
    );
}

#[test]
fn a_connection_of_the_same_vpcs_that_is_not_ours_is_left_alone() {
    let mut conflicting = connection(StatusCode::Active);
    for (tags, told) in
        [(tags(&another_owner()), "team/another"), (Default::default(), "this resource did not create it")]
    {
        conflicting.tags = tags;
        let mut case = Case::new();
        case.observed.conflicting = Some(conflicting.clone().into());
        assert!(
            matches!(case.decide(), Plan::Stalled { reason: Reason::ConnectionNotOwned, message, .. } if message.contains(told) && message.contains("pcx-1"))
        );
        assert_eq!(case.deleted().said(), "remove finalizer");
    }
}

#[test]
fn a_recorded_connection_that_another_owner_has_tagged_is_left_alone() {
    for code in every_code() {
        let mut another = connection(code);
        another.tags = tags(&another_owner());
        assert_eq!(Case::showing(another).said(), "stalled: ConnectionNotOwned");
    }
}

#[test]
fn a_pending_request_is_waited_for_until_it_expires() {
    let mut pending = connection(StatusCode::PendingAcceptance);
    pending.accepter.owner_id = Some("222222222222".into());
    let week = SignedDuration::from_hours(7 * 24);
    pending.expiration_time = Some(NOW + week);
    let case = |pending: &Connection| {
        let mut case = Case::showing(pending.clone());
        case.observed.accepter = AccepterView::Nobody;
        case.ends.accepter.owner_id = Some("222222222222".into());
        case
    };
    let plan = case(&pending).decide();
    assert!(
        matches!(&plan, Plan::Wait { requeue_after: Some(left), message, .. } if *left == (week - EXPIRING_SOON).unsigned_abs() && message.contains("222222222222"))
    );
    pending.expiration_time = Some(NOW - SignedDuration::from_mins(10));
    assert_eq!(case(&pending).said(), "wait: PendingAcceptance", "our clock may be ahead");
    pending.expiration_time = Some(NOW - CLOCK_SKEW);
    assert_eq!(case(&pending).said(), "stalled: Expired");
}

/// A resource whose accepter is in another account and region, with this view there.
fn elsewhere(code: StatusCode, view: Result<Option<Connection>, Blocker>) -> Case {
    let mut case = Case::showing(across(code));
    case.ends.accepter.region = "us-west-2".into();
    case.ends.accepter.owner_id = Some("222222222222".into());
    case.observed.accepter = AccepterView::Elsewhere(view.map(|shown| shown.map(Arc::new)));
    case
}

/// A connection to another account and region.
fn across(code: StatusCode) -> Connection {
    let mut connection = connection(code);
    connection.accepter.region = Some("us-west-2".into());
    connection.accepter.owner_id = Some("222222222222".into());
    connection
}

/// The accepter's view of that connection, with these tags.
fn seen_there(code: StatusCode, tags: Tags) -> Connection {
    Connection { tags, ..across(code) }
}

fn refusal() -> Blocker {
    Blocker::stalled(Reason::Unauthorized, "refused".into())
}

#[test]
fn a_request_is_accepted_where_the_accepter_sees_it_and_only_if_it_is_ours() {
    let shown = || seen_there(StatusCode::PendingAcceptance, Default::default());
    let with = |change: fn(&mut Connection)| {
        let mut shown = shown();
        change(&mut shown);
        elsewhere(StatusCode::PendingAcceptance, Ok(Some(shown))).said()
    };
    let mismatch = "stalled: ConnectionMismatch";
    for (change, expected) in [
        ((|_| {}) as fn(&mut Connection), "accept pcx-1 in us-west-2"),
        (|shown| shown.requester.vpc_id = Some("vpc-3".into()), mismatch),
        (|shown| shown.accepter.vpc_id = None, mismatch),
        (|shown| shown.requester.owner_id = None, mismatch),
        (|shown| shown.accepter.owner_id = Some("333333333333".into()), mismatch),
        (|shown| shown.accepter.region = Some("eu-west-1".into()), mismatch),
        (|shown| shown.code = StatusCode::Active, "tag pcx-1 cluster name namespace uid"),
    ] {
        assert_eq!(with(change), expected);
    }
    let mut case = elsewhere(StatusCode::PendingAcceptance, Ok(Some(shown())));
    case.observed.refused.insert(Aspect::Acceptance, refusal());
    assert_eq!(case.said(), "tag pcx-1 cluster name namespace uid", "what else there is to do is done");
    case.observed.accepter =
        AccepterView::Elsewhere(Ok(Some(Arc::new(seen_there(StatusCode::PendingAcceptance, tags(&owner()))))));
    assert_eq!(case.said(), "stalled: Unauthorized");
    assert_eq!(elsewhere(StatusCode::PendingAcceptance, Ok(None)).said(), "wait: AwaitingConsistency");
    assert_eq!(elsewhere(StatusCode::PendingAcceptance, Err(refusal())).said(), "stalled: Unauthorized");
    let mut manual = elsewhere(StatusCode::PendingAcceptance, Ok(None));
    manual.spec.acceptance = Acceptance::Manual;
    assert_eq!(manual.said(), "wait: PendingAcceptance");
}

#[test]
fn a_connection_without_accounts_is_not_taken_for_one_of_the_same_account() {
    let mut pending = connection(StatusCode::PendingAcceptance);
    (pending.requester.owner_id, pending.accepter.owner_id) = (None, None);
    assert_eq!(Case::showing(pending).said(), "stalled: ConnectionMismatch");
}

#[test]
fn each_place_has_its_own_tags() {
    let tag = |key: &str| crate::api::Tag { key: key.into(), value: String::new() };
    let ours = || tags(&owner());
    let with = |keys: &[&str]| {
        let mut tags = ours();
        tags.extend(keys.iter().map(|key| ((*key).into(), "".into())));
        tags
    };
    // Both ends have the same tags.
    let mut case = Case::with(StatusCode::Active);
    (case.spec.requester.tags, case.spec.accepter.tags) = (vec![tag("r")], vec![tag("a")]);
    assert_eq!(case.said(), "record tags a= r=");
    // Each end has its own tags.
    let mut case = elsewhere(StatusCode::Active, Ok(Some(seen_there(StatusCode::Active, with(&["x"])))));
    (case.spec.requester.tags, case.spec.accepter.tags) = (vec![tag("r")], vec![tag("a")]);
    case.recorded.managed_tags = managed(&[("r", "")]);
    case.recorded.accepter_managed_tags = managed(&[("a", "")]);
    assert_eq!(case.said(), "tag pcx-1 r");
    case.observed.recorded = Some(Connection { tags: with(&["r"]), ..across(StatusCode::Active) }.into());
    assert_eq!(case.said(), "tag pcx-1 a");
    case.observed.accepter =
        AccepterView::Elsewhere(Ok(Some(Arc::new(seen_there(StatusCode::Active, with(&["a", "x"]))))));
    assert_eq!(case.said(), "settled", "x is somebody else's");
    let mut retained = Case { deleted: true, ..case };
    retained.spec.deletion_policy = DeletionPolicy::Retain;
    assert_eq!(retained.said(), "untag pcx-1 cluster name namespace uid");
}

#[test]
fn options_are_compared_with_what_ec2_shows() {
    let allow = |allow| Some(SideOptions { allow_dns_resolution_from_remote_vpc: allow });
    let mut case = Case::with(StatusCode::Active);
    case.spec.requester.options = allow(None);
    assert_eq!(case.said(), "settled", "what is not named is left as it is");
    case.spec.requester.options = allow(Some(false));
    assert_eq!(case.said(), "settled", "what EC2 does not show is false");
    case.spec.accepter.options = allow(Some(true));
    assert_eq!(case.said(), "accepter of pcx-1 allows dns: true");
    case.spec.requester.options = allow(Some(true));
    assert_eq!(case.said(), "requester of pcx-1 allows dns: true");
    case.observed.refused.insert(Aspect::Options(Side::Requester), refusal());
    assert_eq!(case.said(), "accepter of pcx-1 allows dns: true", "one side's refusal holds up no other");
    if let Some(shown) = case.observed.recorded.as_mut().map(Arc::make_mut) {
        shown.accepter.peering_options =
            Some(crate::api::PeeringOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..Default::default() });
    }
    assert_eq!(case.said(), "stalled: Unauthorized");
    case.observed.accepter = AccepterView::Nobody;
    assert!(matches!(case.decide(), Plan::Stalled { message, .. } if message.contains("spec.accepter.identityRef")));
    for code in every_code().into_iter().filter(|code| *code != StatusCode::Active) {
        let mut case = Case::with(code);
        case.spec.requester.options = allow(Some(true));
        assert!(!case.said().contains("dns"), "options can be set on an active connection only");
    }
}

#[test]
fn routes_are_made_when_active_and_go_before_the_peering() {
    use crate::peering::routes::{Route, RouteTable, Target};
    let table = |routes: &[(&str, Target)]| -> Result<std::sync::Arc<RouteTables>, Blocker> {
        let routes = routes.iter().map(|(destination, target)| Route {
            destination: destination.parse().unwrap(),
            target: target.clone(),
            is_blackhole: false,
        });
        let table = RouteTable {
            id: "rtb-1".into(),
            vpc_id: "vpc-11111111".into(),
            main: true,
            routes: routes.collect(),
            ..RouteTable::default()
        };
        Ok(std::sync::Arc::new([table].into_iter().collect()))
    };
    let ours = ("10.2.0.0/16", Target::Peering("pcx-1".into()));
    let mut shown = connection(StatusCode::Active);
    shown.accepter.cidr_block = Some("10.2.0.0/16".into());
    let mut case = Case::showing(shown);
    case.spec.requester.routes = Some(crate::api::Routes {
        route_tables: crate::api::RouteTableSelector { main: true, ..Default::default() },
        destination_cidr_blocks: Vec::new(),
    });
    case.observed.tables.insert(Side::Requester, table(&[]));
    assert_eq!(case.said(), "record 1 routes, requester");
    case.recorded.routes = match case.decide() {
        Plan::Act(Step::Upkeep { step: UpkeepStep::RecordRoutes { routes }, .. }) => routes,
        plan => panic!("{plan:?}"),
    };
    assert_eq!(case.said(), "requester: create the route to 10.2.0.0/16 through pcx-1 in rtb-1");
    case.observed.tables.insert(Side::Requester, Err(refusal()));
    assert_eq!(case.said(), "stalled: Unauthorized");
    case.observed.tables.insert(Side::Requester, table(&[("10.2.0.0/16", Target::Other("igw-1".into()))]));
    assert_eq!(case.said(), "record 0 routes, requester", "what another's route has taken the place of is not ours");
    let recorded = std::mem::take(&mut case.recorded.routes);
    assert!(matches!(
        case.decide(),
        Plan::Stalled { reason: Reason::RouteConflict, message, .. }
            if ["rtb-1", "10.2.0.0/16", "igw-1"].iter().all(|named| message.contains(named))
    ));
    case.recorded.routes = recorded;
    case.observed.tables.insert(Side::Requester, table(&[ours]));
    assert_eq!(case.said(), "settled");
    case.deleted = true;
    assert_eq!(case.said(), "requester: delete the route to 10.2.0.0/16 through pcx-1 in rtb-1");
    case.observed.refused.insert(Aspect::Routes(Side::Requester), refusal());
    assert_eq!(case.said(), "stalled: Unauthorized", "the peering stays while its routes do");
    case.observed.refused.clear();
    case.observed.tables.insert(Side::Requester, table(&[]));
    assert_eq!(case.said(), "delete pcx-1", "the record goes with the resource");
}

#[test]
fn a_blocked_resource_does_nothing_and_goes_if_it_owns_nothing() {
    let said = |deleted, finalizer, recorded: &Recorded, spec: &VpcPeeringSpec| {
        said(&blocked(spec, deleted, finalizer, recorded, &refusal()))
    };
    let nothing = Recorded::default();
    let intent = Recorded { creation_started: true, ..Recorded::default() };
    let owned = Case::with(StatusCode::Active).recorded;
    let mut spec = spec();
    for recorded in [&nothing, &intent, &owned] {
        assert_eq!(said(false, true, recorded, &spec), "stalled: Unauthorized");
        assert_eq!(said(true, false, recorded, &spec), "remove finalizer");
    }
    assert_eq!(said(true, true, &nothing, &spec), "remove finalizer");
    assert_eq!(said(true, true, &intent, &spec), "stalled: Unauthorized");
    assert_eq!(said(true, true, &owned, &spec), "stalled: Unauthorized");
    spec.management_policy = ManagementPolicy::Observe;
    assert_eq!(said(true, true, &owned, &spec), "remove finalizer");
}

#[test]
fn the_message_contains_the_message_of_ec2() {
    let mut failed = connection(StatusCode::Failed);
    failed.message = Some("Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range".into());
    assert!(
        matches!(Case::showing(failed).decide(), Plan::Stalled { message, .. } if message.contains("overlapping CIDR range"))
    );
}

#[test]
fn observe_looks_and_writes_nothing_to_aws() {
    for code in every_code() {
        for acceptance in [Acceptance::Auto, Acceptance::Manual] {
            let mut case = Case::with(code.clone());
            case.spec.management_policy = ManagementPolicy::Observe;
            case.spec.acceptance = acceptance;
            case.spec.recreate_on =
                vec![TerminalState::Expired, TerminalState::Deleted, TerminalState::Rejected, TerminalState::Failed];
            case.reconcile_requested = true;
            if let Some(connection) = case.observed.recorded.as_mut().map(Arc::make_mut) {
                connection.tags.clear();
            }
            assert!(!matches!(case.decide(), Plan::Act(_)), "{code}: {}", case.said());
        }
    }
    let mut case = Case::new();
    case.spec.management_policy = ManagementPolicy::Observe;
    assert_eq!(case.said(), "stalled: NotFound");
    case.observed.conflicting = Some(connection(StatusCode::Active).into());
    assert_eq!(case.said(), "record pcx-1 as Observed");
}

#[test]
fn an_observed_connection_is_not_ours() {
    let mut case = Case::with(StatusCode::Active);
    case.recorded.ownership = Some(Ownership::Observed);
    case.observed.owned = Vec::new();
    case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.clear();
    case.observed.conflicting = case.observed.recorded.clone();
    assert_eq!(case.said(), "stalled: ConnectionNotOwned");
    assert_eq!(case.deleted().said(), "remove finalizer");
}

/// A resource that names `connection` for adoption.
fn adoption(connection: Connection) -> Case {
    let mut case = Case::new();
    case.spec.vpc_peering_connection_id = Some(connection.id.clone());
    case.observed.conflicting =
        Some(connection.clone().into()).filter(|connection: &Arc<Connection>| !connection.code.has_ended());
    case.observed.wanted = Some(connection.into());
    case
}

#[test]
fn adoption_makes_a_connection_ours_by_its_tags_and_then_records_it() {
    let mut untagged = connection(StatusCode::Active);
    untagged.tags.clear();
    let mut case = adoption(untagged);
    assert_eq!(case.said(), "tag pcx-1 cluster name namespace uid");
    case.spec.suspend = true;
    assert_eq!(case.said(), "suspended");
    case.observed.owned = vec![connection(StatusCode::Active).into()];
    assert_eq!(case.said(), "record pcx-1 as Owned");
}

#[test]
fn adoption_touches_nothing_that_does_not_match_or_is_not_free() {
    let change = |change: fn(&mut Connection)| {
        let mut connection = connection(StatusCode::Active);
        connection.tags.clear();
        change(&mut connection);
        adoption(connection).said()
    };
    let mismatch = "stalled: ConnectionMismatch";
    assert_eq!(change(|connection| connection.requester.vpc_id = Some("vpc-3".into())), mismatch);
    assert_eq!(change(|connection| connection.accepter.vpc_id = Some("vpc-3".into())), mismatch);
    assert_eq!(change(|connection| connection.accepter.region = Some("eu-west-1".into())), mismatch);
    assert_eq!(change(|connection| std::mem::swap(&mut connection.requester, &mut connection.accepter)), mismatch);
    assert_eq!(change(|connection| connection.tags = tags(&another_owner())), "stalled: ConnectionNotOwned");
    assert_eq!(change(|connection| connection.code = StatusCode::Rejected), "stalled: Rejected");
    assert_eq!(change(|connection| connection.code = StatusCode::Deleting), "wait: Deleting");
    let mut case = adoption(connection(StatusCode::Active));
    case.observed.wanted = None;
    assert_eq!(case.said(), "stalled: NotFound");
}

#[test]
fn an_orphan_of_the_same_name_can_be_adopted_and_nothing_else() {
    let earlier = Owner { uid: "earlier".into(), ..owner() };
    let mut orphaned = connection(StatusCode::Active);
    orphaned.tags = tags(&earlier);
    let mut case = Case::new();
    case.observed.conflicting = Some(orphaned.clone().into());
    assert!(
        matches!(case.decide(), Plan::Stalled { reason: Reason::ConnectionNotOwned, message, .. } if message.contains("earlier resource"))
    );
    assert_eq!(case.deleted().said(), "remove finalizer");
    let case = adoption(orphaned);
    assert_eq!(case.said(), "tag pcx-1 uid");
    for other in [Owner { cluster: "x".into(), ..earlier.clone() }, Owner { namespace: "x".into(), ..earlier }] {
        let mut foreign = connection(StatusCode::Active);
        foreign.tags = tags(&other);
        assert_eq!(adoption(foreign).said(), "stalled: ConnectionNotOwned");
    }
}

#[test]
fn an_orphan_is_adopted_only_between_the_same_vpcs() {
    let mut left = connection(StatusCode::Active);
    left.tags = tags(&Owner { uid: "earlier".into(), ..owner() });
    let mut case = Case::new();
    (case.observed.orphaned, case.observed.conflicting) = (vec![left.clone().into()], Some(left.clone().into()));
    assert_eq!(case.said(), "tag pcx-1 uid", "between the same VPCs it is taken over");
    case.is_cluster_unique = false;
    assert_eq!(case.said(), "stalled: ConnectionNotOwned", "another cluster may go by the same ID");
    // Beside an owned connection, the orphan is deleted.
    let mut beside = Case::with(StatusCode::Active);
    beside.observed.orphaned = vec![Connection { id: "pcx-9".into(), ..left }.into()];
    assert_eq!(beside.said(), "delete orphan pcx-9");
    beside.observed.refused.insert(Aspect::Orphans, refusal());
    assert_eq!(beside.said(), "stalled: Unauthorized");
    beside.observed.refused.clear();
    beside.spec.deletion_policy = DeletionPolicy::Retain;
    assert_eq!(beside.said(), "settled", "unless the spec keeps peerings in AWS");
    beside.spec.deletion_policy = DeletionPolicy::Delete;
    Arc::make_mut(&mut beside.observed.orphaned[0]).accepter.vpc_id = Some("vpc-3".into());
    assert_eq!(beside.said(), "settled", "between other VPCs its tags prove nothing");
    let mut alone = Case::new();
    alone.observed.orphaned = beside.observed.orphaned;
    assert_eq!(alone.said(), "preflight");
}

#[test]
fn tags_on_a_connection_between_other_vpcs_make_nothing_ours() {
    let mut forged = Connection { id: "pcx-9".into(), ..connection(StatusCode::Active) };
    forged.requester.vpc_id = Some("vpc-3".into());
    let mut case = Case::with(StatusCode::Active);
    case.observed.owned.push(forged.clone().into());
    assert_eq!(case.said(), "settled");
    case.spec.recreate_on = vec![TerminalState::Deleted];
    assert_eq!(case.clone().deleted().said(), "delete pcx-1");
    case.observed.recorded = Some(connection(StatusCode::Deleted).into());
    case.observed.owned.remove(0);
    assert_eq!(case.clone().deleted().said(), "remove finalizer");
    // Without a record, it may belong to a lost record: a person decides, and nothing is requested.
    let mut case = Case::new();
    case.observed.owned = vec![forged.into()];
    case.observed.preflight = Some(Preflight::Passed);
    assert_eq!(case.said(), "stalled: ConnectionMismatch");
    assert_eq!(case.deleted().said(), "remove finalizer");
}

#[test]
fn a_record_is_no_proof() {
    for code in every_code() {
        for change in [
            (|connection: &mut Connection| connection.requester.vpc_id = Some("vpc-3".into())) as fn(&mut Connection),
            |connection| connection.accepter.vpc_id = Some("vpc-3".into()),
            |connection| connection.accepter.owner_id = Some("333333333333".into()),
            |connection| connection.accepter.region = Some("eu-west-1".into()),
            |connection| connection.requester.vpc_id = None,
        ] {
            let mut forged = connection(code.clone());
            forged.tags.clear();
            change(&mut forged);
            let mut case = Case::showing(forged.clone());
            case.spec.requester.tags = vec![crate::api::Tag { key: "a".into(), value: "b".into() }];
            assert_eq!(case.said(), "stalled: ConnectionMismatch", "{code}");
            assert_eq!(case.clone().deleted().said(), "remove finalizer", "{code}");
            case.spec.deletion_policy = DeletionPolicy::Retain;
            assert_eq!(case.clone().deleted().said(), "remove finalizer", "{code}");
            // The connection with the proof is recorded in its place.
            case.observed.owned = vec![Connection { id: "pcx-2".into(), ..connection(StatusCode::Active) }.into()];
            assert_eq!(case.said(), "record pcx-2 as Owned", "{code}");
        }
    }
}

#[test]
fn a_permission_that_is_withdrawn_stops_every_step() {
    let narrow = |case: &mut Case| {
        if let Some(limits) = &mut case.permissions.requester {
            limits.vpcs = crate::api::AllowedVpcs { all: false, list: Some(vec!["vpc-33333333".into()]) };
        }
    };
    for code in every_code() {
        let mut case = Case::with(code.clone());
        narrow(&mut case);
        assert_eq!(case.said(), "stalled: VpcNotAllowed", "{code}");
        let deleted = case.deleted().said();
        assert_eq!(deleted, "stalled: VpcNotAllowed", "{code}");
    }
    let mut case = Case::new();
    narrow(&mut case);
    case.observed.preflight = Some(Preflight::Passed);
    assert_eq!(case.said(), "stalled: VpcNotAllowed");
    assert_eq!(case.deleted().said(), "remove finalizer");
}

#[test]
fn adoption_and_options_need_a_permission_of_their_own() {
    let mut untagged = connection(StatusCode::Active);
    untagged.tags.clear();
    let mut case = adoption(untagged);
    if let Some(limits) = &mut case.permissions.requester {
        limits.adoption = false;
    }
    assert_eq!(case.said(), "stalled: ActionNotAllowed");
    let mut case = Case::with(StatusCode::Active);
    case.spec.requester.options = Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(true) });
    if let Some(limits) = &mut case.permissions.requester {
        limits.options = false;
    }
    assert_eq!(case.said(), "stalled: ActionNotAllowed");
}

#[test]
fn the_older_of_two_resources_goes_first() {
    let mut case = Case::new();
    case.observed.preflight = Some(Preflight::Passed);
    case.observed.older_claim = Some(OlderClaim { resource: "VpcPeering team/older".into(), is_deleted: false });
    assert!(
        matches!(case.decide(), Plan::Stalled { reason: Reason::ConnectionNotOwned, message, requeue_after: Some(_) } if message.contains("team/older"))
    );
    assert_eq!(case.clone().deleted().said(), "remove finalizer");
    case.observed.owned = vec![connection(StatusCode::Active).into()];
    assert_eq!(case.said(), "record pcx-1 as Owned", "what is ours already stays ours");
}

#[test]
fn an_ended_peering_is_requested_again_only_if_the_spec_asks_for_it() {
    let ends = [
        (StatusCode::Failed, TerminalState::Failed),
        (StatusCode::Rejected, TerminalState::Rejected),
        (StatusCode::Expired, TerminalState::Expired),
        (StatusCode::Deleted, TerminalState::Deleted),
    ];
    for (code, end) in &ends {
        let mut case = Case::with(code.clone());
        for (_, other) in ends.iter().filter(|(_, other)| other != end) {
            case.spec.recreate_on = vec![*other];
            assert!(case.said().starts_with("stalled"), "{code}, {other:?}");
        }
        case.spec.recreate_on = vec![*end];
        assert_eq!(case.said(), format!("retire pcx-1 ({code}), 1"));
        case.recorded.recreations = MAX_RECREATIONS;
        assert!(case.said().starts_with("stalled"), "{code}: the cap");
        case.reconcile_requested = true;
        assert_eq!(case.said(), format!("retire pcx-1 ({code}), 0"), "a person's request starts the count anew");
        case.spec.vpc_peering_connection_id = Some("pcx-1".into());
        assert!(case.said().starts_with("stalled"), "{code}: taken over");
    }
}

#[test]
fn a_connection_that_ec2_forgot_counts_as_deleted() {
    let mut case = Case::new();
    case.recorded.connection_id = Some("pcx-1".into());
    case.recorded.ownership = Some(Ownership::Owned);
    case.spec.recreate_on = vec![TerminalState::Deleted];
    assert_eq!(case.said(), "wait: AwaitingConsistency");
    case.observed.missing_for = SETTINGS.consistency_window;
    assert_eq!(case.said(), "retire pcx-1 (deleted), 1");
}

#[test]
fn the_pauses_between_new_requests_grow_to_an_hour() {
    let pause = |recreations| {
        let mut case = Case::new();
        case.observed.preflight = Some(Preflight::Passed);
        case.recorded.recreations = recreations;
        case.recorded.ended_at = Some(NOW);
        case.decide().requeue_after().map(|pause| pause.as_secs())
    };
    assert_eq!(pause(0), None);
    assert_eq!([1, 2, 3, 7, 8].map(pause), [60, 120, 240, 3600, 3600].map(Some));
    let mut case = Case::new();
    case.observed.preflight = Some(Preflight::Passed);
    case.recorded.recreations = 1;
    case.recorded.ended_at = Some(NOW - SignedDuration::from_secs(60));
    assert_eq!(case.said(), "create", "the pause is over");
}

#[test]
fn tags_of_ours_are_repaired_and_those_of_others_left_alone() {
    for code in [StatusCode::Active, StatusCode::PendingAcceptance] {
        let mut shown = connection(code);
        shown.tags.insert("theirs".into(), "1".into());
        let mut case = Case::showing(shown);
        case.spec.acceptance = Acceptance::Manual;
        let at_rest = case.said();
        assert!(["settled", "wait: PendingAcceptance"].contains(&at_rest.as_str()));

        case.spec.tags = vec![crate::api::Tag { key: "Name".into(), value: "new".into() }];
        assert_eq!(case.said(), "record tags Name=new");
        case.recorded.managed_tags = managed(&[("Name", "new")]);
        assert_eq!(case.said(), "tag pcx-1 Name");
        case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.insert("Name".into(), "old".into());
        assert_eq!(case.said(), "tag pcx-1 Name");
        case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.insert("Name".into(), "new".into());
        assert_eq!(case.said(), at_rest);
        case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.remove("vpcpeering.dev/uid");
        assert_eq!(case.said(), "tag pcx-1 uid");
        case.observed
            .recorded
            .as_mut()
            .map(Arc::make_mut)
            .unwrap()
            .tags
            .insert("vpcpeering.dev/uid".into(), "uid".into());

        case.spec.tags = Vec::new();
        assert_eq!(case.said(), "untag pcx-1 Name");
        case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.remove("Name");
        assert_eq!(case.said(), "record tags ");
        case.recorded.managed_tags.clear();
        assert_eq!(case.said(), at_rest);
    }
}
