//! The steps: their calls, how messages name them, and how the operator takes them.

use super::*;
use crate::peering::plan::{Calls, Step as _};

/// Each step with its summary, and the action if it changes something in AWS.
fn every_step() -> [(Step, &'static str, Option<&'static str>); 8] {
    let id = || Authorized::unchecked("pcx-1");
    let upkeep = |step| Step::Upkeep { id: "pcx-1".into(), step };
    [
        (Step::AddFinalizer, "add the finalizer to the resource", None),
        (Step::RecordAcceptance { id: id() }, "record the acceptance of pcx-1 in the status", None),
        (Step::RecordAdoption { id: id() }, "record the adoption of pcx-1 in the status", None),
        (Step::Accept { id: id() }, "accept pcx-1", Some("AcceptVpcPeeringConnection")),
        (Step::Reject { id: id() }, "reject pcx-1", Some("RejectVpcPeeringConnection")),
        (
            upkeep(UpkeepStep::RecordTags { tags: BTreeSet::new() }),
            "record the tags of the accepter in the status, for pcx-1",
            None,
        ),
        (
            upkeep(UpkeepStep::RecordRoutes { routes: BTreeSet::new() }),
            "record the routes of the accepter in the status",
            None,
        ),
        (
            upkeep(UpkeepStep::Untag { id: id(), keys: ["Name".to_owned()].into() }),
            "remove the tags Name from pcx-1",
            Some("DeleteTags"),
        ),
    ]
}

#[test]
fn each_step_names_its_call_and_what_it_changes() {
    for (step, summary, action) in every_step() {
        assert_eq!(step.calls(), action.map(|action| Calls::one(action, Side::Accepter)), "{summary}");
        assert_eq!((step.change().as_deref(), step.summary().as_str()), (action.map(|_| summary), summary));
        let is_of_connection = step != Step::AddFinalizer;
        assert_eq!(step.connection_id(), is_of_connection.then_some("pcx-1"), "{summary}");
        let is_destructive = matches!(action, Some("RejectVpcPeeringConnection" | "DeleteTags"));
        assert_eq!(step.is_destructive(), is_destructive, "{summary}");
    }
}

#[test]
fn the_plan_lists_every_step_and_the_next_one_follows_at_once() {
    for (step, summary, _) in every_step() {
        assert!(!step.is_read(), "{summary}: the plan lists it");
        assert!(!step.is_continued_by_ec2(), "{summary}: other connections need no wait for EC2");
    }
}

#[test]
fn a_step_covers_itself_and_a_record_needs_no_call() {
    let allow = |allow_dns_resolution_from_remote_vpc| {
        let id = Authorized::unchecked("pcx-1");
        Step::Upkeep { id: "pcx-1".into(), step: UpkeepStep::SetOptions { id, allow_dns_resolution_from_remote_vpc } }
    };
    let accept = Step::Accept { id: Authorized::unchecked("pcx-1") };
    assert!(allow(true).covers(&allow(true)));
    assert!(!allow(true).covers(&allow(false)) && !accept.covers(&accept));
    let record = Step::Upkeep { id: "pcx-1".into(), step: UpkeepStep::RecordRoutes { routes: BTreeSet::new() } };
    let refused = Step::Upkeep { id: "pcx-1".into(), step: UpkeepStep::ChangeRoutes { changes: Vec::new() } };
    assert_eq!(record.beside(&refused), Some(record.clone()));
    assert_eq!((accept.beside(&accept), refused.beside(&accept)), (None, None));
}
