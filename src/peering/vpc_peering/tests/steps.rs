//! The steps: their calls, and how messages name them.

use super::*;
use crate::peering::authority::Authorized;
use crate::peering::plan::{Calls, Step as _};
use crate::peering::vpc_peering::calls::calls;

/// Each step with its summary, and whether it changes something in AWS.
fn every_step() -> [(Step, &'static str, bool); 11] {
    let id = || Authorized::unchecked("pcx-1");
    let tags = UpkeepStep::Tag { id: id(), tags: [("Name".to_owned(), "x".to_owned())].into() };
    let record = UpkeepStep::RecordTags { tags: BTreeSet::new() };
    [
        (Step::AddFinalizer, "add the finalizer to the resource", false),
        (Step::Preflight, "check the two VPCs", false),
        (Step::DryRun, "ask EC2 by a dry run whether it would create the peering", false),
        (Step::Create, "request the peering connection", true),
        (
            Step::Record { connection: connection(StatusCode::Active).into(), ownership: Ownership::Owned },
            "record pcx-1 in the status",
            false,
        ),
        (
            Step::Retire { id: "pcx-1".into(), code: "deleted".into(), recreations: 1 },
            "move pcx-1 (deleted) into the history of the status",
            false,
        ),
        (Step::Accept { id: id(), region: "eu-central-1".into() }, "accept pcx-1", true),
        (Step::DeleteOrphan { id: id() }, "delete pcx-1, the connection of an earlier resource of this name", true),
        (Step::Delete { id: id() }, "delete pcx-1", true),
        (Step::Upkeep { side: Side::Accepter, step: tags }, "set the tags Name on pcx-1", true),
        (Step::Upkeep { side: Side::Accepter, step: record }, "record the tags of the accepter in the status", false),
    ]
}

#[test]
fn a_step_counts_towards_the_request_rate_with_the_calls_that_it_makes() {
    for (step, summary, is_change) in every_step() {
        let made = Case::new().ask(|desired| calls(&step, desired, &AccepterView::Same));
        let first = made.first();
        let expected = first.map(|first| Calls { action: first.call.action(), side: first.side, count: made.len() });
        assert_eq!(step.calls(), expected, "{summary}");
        assert_eq!((step.change().as_deref(), step.summary().as_str()), (is_change.then_some(summary), summary));
    }
}

#[test]
fn only_the_check_of_the_vpcs_is_a_read_and_only_deletions_need_a_new_one() {
    for (step, summary, _) in every_step() {
        assert_eq!(step.is_read(), step == Step::Preflight, "{summary}");
        let is_deletion = matches!(step, Step::Delete { .. } | Step::DeleteOrphan { .. });
        assert_eq!(step.is_destructive(), is_deletion, "{summary}");
        // `initiating-request` follows a request, and `provisioning` an acceptance.
        let is_continued = matches!(step, Step::Create | Step::Accept { .. });
        assert_eq!(step.is_continued_by_ec2(), is_continued, "{summary}");
    }
    let routes = UpkeepStep::Untag { id: Authorized::unchecked("pcx-1"), keys: BTreeSet::new() };
    assert!(Step::Upkeep { side: Side::Requester, step: routes }.is_destructive());
}

#[test]
fn a_step_covers_and_continues_only_a_step_of_the_same_end() {
    let allow = |side, allow_dns_resolution_from_remote_vpc| Step::Upkeep {
        side,
        step: UpkeepStep::SetOptions { id: Authorized::unchecked("pcx-1"), allow_dns_resolution_from_remote_vpc },
    };
    let step = allow(Side::Requester, true);
    for (other, expected) in [
        (step.clone(), true),
        (allow(Side::Accepter, true), false),
        (allow(Side::Requester, false), false),
        (Step::Create, false),
    ] {
        assert_eq!(step.covers(&other), expected, "{other:?}");
        assert!(!Step::Create.covers(&other), "{other:?}");
    }
    let record = Step::Upkeep { side: Side::Accepter, step: UpkeepStep::RecordRoutes { routes: BTreeSet::new() } };
    let refused = Step::Upkeep { side: Side::Accepter, step: UpkeepStep::ChangeRoutes { changes: Vec::new() } };
    assert_eq!(record.beside(&refused), Some(record.clone()), "a record needs no call");
    assert_eq!((Step::Create.beside(&refused), refused.beside(&step)), (None, None));
}

#[test]
fn a_request_names_the_accepters_region_only_if_it_is_another_one() {
    let peer_region = |region: &str| {
        let mut case = Case::new();
        case.ends.accepter.region = region.into();
        case.ask(|desired| desired.request(&AccepterView::Nobody).peer_region)
    };
    assert_eq!(peer_region("eu-central-1"), None);
    assert_eq!(peer_region("us-west-2").as_deref(), Some("us-west-2"));
}
