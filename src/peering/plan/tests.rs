use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::*;
use crate::peering::testing::{another_owner, connection, every_code, owner, spec, tags};

const SETTINGS: Settings = Settings { consistency_window: Duration::from_secs(60) };
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A situation; each test changes what it is about.
#[derive(Clone)]
struct Case {
    spec: VpcPeeringSpec,
    deleted: bool,
    finalizer: bool,
    recorded: Recorded,
    observed: Observation,
}

impl Case {
    /// A new resource that has its finalizer, and no peering.
    fn new() -> Self {
        Self {
            spec: spec(),
            deleted: false,
            finalizer: true,
            recorded: Recorded::default(),
            observed: Observation::default(),
        }
    }

    /// A resource whose peering is recorded, and shown with this code.
    fn with(code: StatusCode) -> Self {
        Self::showing(connection(code))
    }

    fn showing(connection: Connection) -> Self {
        let mut case = Self::new();
        case.recorded.connection_id = Some(connection.id.clone());
        if connection.code.is_live() && connection.tags == tags(&owner()) {
            case.observed.owned = vec![connection.clone()];
        }
        case.observed.recorded = Some(connection);
        case
    }

    fn deleted(mut self) -> Self {
        self.deleted = true;
        self
    }

    fn decide(&self) -> Plan {
        let owner = owner();
        let desired = Desired { owner: &owner, spec: &self.spec, deleted: self.deleted, finalizer: self.finalizer };
        decide(desired, &self.recorded, &self.observed, NOW, SETTINGS)
    }

    /// The decision in a few words.
    fn said(&self) -> String {
        said(&self.decide())
    }
}

fn said(plan: &Plan) -> String {
    match plan {
        Plan::Act(Step::AddFinalizer) => "add the finalizer".into(),
        Plan::Act(Step::DryRun) => "dry run".into(),
        Plan::Act(Step::Create) => "create".into(),
        Plan::Act(Step::Record(connection)) => format!("record {}", connection.id),
        Plan::Act(Step::Accept { id, region }) => format!("accept {id} in {region}"),
        Plan::Act(Step::Delete { id }) => format!("delete {id}"),
        Plan::Wait { reason, .. } => format!("wait: {reason}"),
        Plan::Steady { .. } => "steady".into(),
        Plan::DryRunSucceeded => "dry run succeeded".into(),
        Plan::Stalled { reason, .. } => format!("stalled: {reason}"),
        Plan::Release => "release".into(),
    }
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
        ("active", ["steady"; 5]),
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
                connection.accepter.owner_id.clone_from(accepter);
            }
            let mut case = Case::showing(connection);
            case.spec.acceptance = *acceptance;
            case.spec.dry_run = *dry_run;
            assert_eq!(case.said(), expected, "{code}, {acceptance:?}, {accepter:?}, dry run {dry_run}");
        }
    }
}

#[test]
fn every_code_has_its_way_to_release() {
    let rows = [
        ("initiating-request", "wait: Deleting"),
        ("pending-acceptance", "delete pcx-1"),
        ("provisioning", "wait: Deleting"),
        ("active", "delete pcx-1"),
        ("failed", "release"),
        ("rejected", "release"),
        ("expired", "release"),
        ("deleting", "wait: Deleting"),
        ("deleted", "release"),
        ("on-vacation", "delete pcx-1"),
    ];
    assert_eq!(rows.map(|(code, _)| StatusCode::from(code)).to_vec(), every_code());
    for (code, expected) in rows {
        let mut case = Case::with(code.into()).deleted();
        assert_eq!(case.said(), expected, "{code}");
        case.spec.deletion_policy = DeletionPolicy::Retain;
        assert_eq!(case.said(), "release", "{code}, Retain");
        let mut case = Case::with(code.into()).deleted();
        case.finalizer = false;
        assert_eq!(case.said(), "release", "{code}, without our finalizer");
        let mut another = connection(code.into());
        another.tags = tags(&another_owner());
        assert_eq!(Case::showing(another).deleted().said(), "release", "{code}, another owner's");
        let mut untagged = connection(code.into());
        untagged.tags.clear();
        assert_eq!(Case::showing(untagged).deleted().said(), expected, "{code}, tags removed by hand");
    }
}

#[test]
fn a_new_resource_is_guarded_first() {
    let mut case = Case::new();
    case.finalizer = false;
    assert_eq!(case.said(), "add the finalizer");
}

#[test]
fn a_new_resource_is_created_where_nothing_is_there() {
    assert_eq!(Case::new().said(), "create");
}

#[test]
fn a_dry_run_asks_once_and_creates_nothing() {
    let mut case = Case::new();
    case.spec.dry_run = true;
    assert_eq!(case.said(), "dry run");
    case.recorded.dry_run_succeeded = true;
    assert_eq!(case.said(), "dry run succeeded");
    case.spec.dry_run = false;
    assert_eq!(case.said(), "create");
}

#[test]
fn what_carries_our_tags_is_recorded_and_not_created_again() {
    for started in [false, true] {
        let mut case = Case::new();
        case.recorded.creation_started = started;
        case.observed.owned = vec![connection(StatusCode::Active)];
        assert_eq!(case.said(), "record pcx-1");
        assert_eq!(case.deleted().said(), "record pcx-1");
    }
}

#[test]
fn two_connections_of_ours_are_for_a_person_to_sort_out() {
    let mut case = Case::new();
    let second = Connection { id: "pcx-2".into(), ..connection(StatusCode::Active) };
    case.observed.owned = vec![connection(StatusCode::Active), second];
    let plan = case.decide();
    assert_eq!(said(&plan), "stalled: MultipleConnections");
    assert!(matches!(plan, Plan::Stalled { message, .. } if message.contains("pcx-1, pcx-2")));
}

#[test]
fn deletion_takes_every_connection_of_ours() {
    let mut case = Case::with(StatusCode::Deleted).deleted();
    case.observed.owned = vec![Connection { id: "pcx-2".into(), ..connection(StatusCode::Active) }];
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
    assert_eq!(case.said(), "create");
    assert_eq!(case.deleted().said(), "release");
}

#[test]
fn a_recorded_connection_that_is_not_shown_is_waited_for_before_it_is_given_up() {
    let mut case = Case::new();
    case.recorded.connection_id = Some("pcx-1".into());
    assert_eq!(case.said(), "wait: AwaitingConsistency");
    assert_eq!(case.clone().deleted().said(), "wait: AwaitingConsistency");
    case.observed.missing_for = SETTINGS.consistency_window;
    assert_eq!(case.said(), "stalled: NotFound");
    assert_eq!(case.deleted().said(), "release");
}

#[test]
fn a_wait_for_consistency_never_overshoots_its_window() {
    let mut case = Case::new();
    case.recorded.creation_started = true;
    case.observed.missing_for = Duration::from_millis(59_500);
    assert!(matches!(case.decide(), Plan::Wait { look_again: Some(left), .. } if left == Duration::from_millis(500)));
}

#[test]
fn a_connection_of_the_same_vpcs_that_is_not_ours_is_left_alone() {
    let mut rival = connection(StatusCode::Active);
    for (tags, told) in [(tags(&another_owner()), "team/another"), (Default::default(), "not made by this operator")] {
        rival.tags = tags;
        let mut case = Case::new();
        case.observed.rival = Some(rival.clone());
        assert!(
            matches!(case.decide(), Plan::Stalled { reason: Reason::ConnectionNotOwned, message } if message.contains(told) && message.contains("pcx-1"))
        );
        assert_eq!(case.deleted().said(), "release");
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
    let plan = Case::showing(pending.clone()).decide();
    assert!(
        matches!(&plan, Plan::Wait { look_again: Some(left), message, .. } if *left == week.unsigned_abs() && message.contains("222222222222"))
    );
    pending.expiration_time = Some(NOW);
    assert_eq!(Case::showing(pending).said(), "stalled: Expired");
}

#[test]
fn a_request_is_accepted_in_the_accepters_region() {
    let mut case = Case::with(StatusCode::PendingAcceptance);
    case.spec.accepter.region = Some("us-west-2".into());
    assert_eq!(case.said(), "accept pcx-1 in us-west-2");
}

#[test]
fn a_connection_without_accounts_is_not_taken_for_one_of_the_same_account() {
    let mut pending = connection(StatusCode::PendingAcceptance);
    (pending.requester.owner_id, pending.accepter.owner_id) = (None, None);
    assert_eq!(Case::showing(pending).said(), "wait: PendingAcceptance");
}

#[test]
fn what_ec2_says_reaches_the_message() {
    let mut failed = connection(StatusCode::Failed);
    failed.message = Some("Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range".into());
    assert!(
        matches!(Case::showing(failed).decide(), Plan::Stalled { message, .. } if message.contains("overlapping CIDR range"))
    );
}
