//! The steps: what `plan` lists of them, and how the operator takes them.

use super::*;
use crate::peering::plan::Step as _;

fn every_step() -> Vec<Step> {
    let id = || Authorized::unchecked("pcx-1");
    vec![
        Step::AddFinalizer,
        Step::RecordAcceptance { id: id() },
        Step::RecordAdoption { id: id() },
        Step::Accept { id: id() },
        Step::Reject { id: id() },
        Step::Upkeep { id: "pcx-1".into(), step: UpkeepStep::Tag { id: id(), tags: BTreeMap::new() } },
    ]
}

#[test]
fn the_plan_lists_every_step_and_the_next_one_follows_at_once() {
    for step in every_step() {
        assert!(!step.is_read(), "{step:?}: the plan lists it");
        assert!(!step.is_continued_by_ec2(), "{step:?}: other connections need no wait for EC2");
    }
}
