//! Nothing of others is changed.

use super::{Call, Violation};
use crate::ledger::Ledger;
use crate::snapshot::Snapshot;

const INVARIANT: &str = "the operator changes nothing of others";

/// A route that somebody replaces after the operator has looked at it, and before the operator's call arrives, cannot
/// be told apart by EC2: `DeleteRoute` and `ReplaceRoute` name a destination and no target. A call within this time in
/// seconds after the change is such a race.
const RACE: f64 = 10.0;

/// The calls that name a connection, and the parameter that does.
const OF_CONNECTIONS: [(&str, &str); 6] = [
    ("AcceptVpcPeeringConnection", "VpcPeeringConnectionId"),
    ("RejectVpcPeeringConnection", "VpcPeeringConnectionId"),
    ("DeleteVpcPeeringConnection", "VpcPeeringConnectionId"),
    ("ModifyVpcPeeringConnectionOptions", "VpcPeeringConnectionId"),
    ("CreateTags", "ResourceId.1"),
    ("DeleteTags", "ResourceId.1"),
];

/// The violations, and the foreign routes that a race has changed.
#[derive(Debug, Default)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    pub races: Vec<(String, String)>,
}

/// Checks the calls of the operator, and the state after them.
pub fn check(snapshot: &Snapshot, ledger: &Ledger, calls: &[Call]) -> Outcome {
    let mut outcome = Outcome::default();
    for call in calls.iter().filter(|call| call.is_change() && call.had_effect()) {
        check_call(ledger, call, &mut outcome);
    }
    check_state(snapshot, ledger, &mut outcome);
    outcome
}

fn check_call(ledger: &Ledger, call: &Call, outcome: &mut Outcome) {
    let parameter = |name: &str| call.entry.parameters.get(name).map(String::as_str).unwrap_or_default();
    let action = call.entry.action.as_str();
    let mut violated = |message: String, about: Vec<String>| {
        outcome.violations.push(Violation { invariant: INVARIANT, message, about });
    };
    for (_, name) in OF_CONNECTIONS.iter().filter(|(other, _)| *other == action) {
        let id = parameter(name);
        if ledger.is_foreign(id) {
            violated(format!("{action} of the foreign connection {id}: {}", call.line()), vec![id.to_owned()]);
        }
        for (key, value) in call.entry.parameters.iter().filter(|(name, _)| name.ends_with(".Key")) {
            if action.ends_with("Tags") && ledger.tags.contains_key(&(id.to_owned(), value.clone())) {
                violated(format!("{action} of the foreign tag {key} {value} of {id}"), vec![id.to_owned()]);
            }
        }
    }
    if ["DeleteRoute", "ReplaceRoute"].contains(&action) {
        let key = (parameter("RouteTableId").to_owned(), parameter("DestinationCidrBlock").to_owned());
        match ledger.routes.get(&key) {
            Some((_, since)) if (0.0..=RACE).contains(&(call.time - since)) => outcome.races.push(key),
            Some((target, since)) if call.time > *since => {
                violated(format!("{action} of the foreign route {key:?} to {target}: {}", call.line()), vec![key.0]);
            }
            Some(_) | None => {}
        }
    }
}

fn check_state(snapshot: &Snapshot, ledger: &Ledger, outcome: &mut Outcome) {
    let mut violated = |message: String, about: Vec<String>| {
        outcome.violations.push(Violation { invariant: INVARIANT, message, about });
    };
    for (id, tags) in &ledger.peerings {
        let code = snapshot.peerings.iter().find(|peering| peering.id == *id).map(|peering| peering.code.as_str());
        if code != Some("active") {
            violated(format!("the foreign connection {id} is {code:?}"), vec![id.clone()]);
        }
        let shown = snapshot.tags.get(id).cloned().unwrap_or_default();
        if shown != *tags {
            violated(format!("the foreign connection {id} has the tags {shown:?}, not {tags:?}"), vec![id.clone()]);
        }
    }
    let is_live = |id: &str| snapshot.peerings.iter().any(|peering| peering.id == id && peering.is_living());
    for ((id, key), value) in ledger.tags.iter().filter(|((id, _), _)| is_live(id)) {
        let shown = snapshot.tags.get(id).and_then(|tags| tags.get(key));
        if shown != Some(value) {
            violated(format!("the foreign tag {key} of {id} is {shown:?}, not {value}"), vec![id.clone()]);
        }
    }
    for ((table, destination), (target, _)) in &ledger.routes {
        let is_race = outcome.races.iter().any(|(other, to)| other == table && to == destination);
        let shown = snapshot.route(table, destination).map(|route| &route.target);
        if shown != Some(target) && !is_race {
            let message = format!("the foreign route to {destination} in {table} leads to {shown:?}, not {target}");
            outcome.violations.push(Violation { invariant: INVARIANT, message, about: vec![table.clone()] });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::call;
    use super::*;
    use crate::snapshot::{Peering, Route};

    fn ledger() -> Ledger {
        Ledger {
            peerings: [("pcx-f".to_owned(), [("team".to_owned(), "x".to_owned())].into())].into(),
            unwanted: ["pcx-u".to_owned()].into(),
            routes: [(("rtb-1".to_owned(), "10.9.0.0/24".to_owned()), ("igw-1".to_owned(), 50.0))].into(),
            tags: [(("pcx-own".to_owned(), "note".to_owned()), "mine".to_owned())].into(),
        }
    }

    fn state() -> Snapshot {
        let peering = |id: &str| Peering {
            id: id.into(),
            requester: "vpc-1".into(),
            accepter: "vpc-2".into(),
            code: "active".into(),
            is_shown: true,
        };
        Snapshot {
            peerings: vec![peering("pcx-f"), peering("pcx-own")],
            routes: vec![Route { table: "rtb-1".into(), destination: "10.9.0.0/24".into(), target: "igw-1".into() }],
            tags: [("pcx-f", "team", "x"), ("pcx-own", "note", "mine")]
                .map(|(id, key, value)| (id.to_owned(), [(key.to_owned(), value.to_owned())].into()))
                .into(),
        }
    }

    fn count(snapshot: &Snapshot, calls: &[Call]) -> usize {
        check(snapshot, &ledger(), calls).violations.len()
    }

    #[test]
    fn an_untouched_state_is_no_violation() {
        let own = call("CreateTags", &[("ResourceId.1", "pcx-own"), ("Tag.1.Key", "soak")]);
        assert_eq!(count(&state(), &[own]), 0);
    }

    #[test]
    fn a_call_on_something_foreign_is_found() {
        for (action, parameters) in [
            ("DeleteVpcPeeringConnection", vec![("VpcPeeringConnectionId", "pcx-f")]),
            ("AcceptVpcPeeringConnection", vec![("VpcPeeringConnectionId", "pcx-u")]),
            ("ModifyVpcPeeringConnectionOptions", vec![("VpcPeeringConnectionId", "pcx-f")]),
            ("CreateTags", vec![("ResourceId.1", "pcx-f"), ("Tag.1.Key", "soak")]),
            ("DeleteTags", vec![("ResourceId.1", "pcx-own"), ("Tag.1.Key", "note")]),
            ("DeleteRoute", vec![("RouteTableId", "rtb-1"), ("DestinationCidrBlock", "10.9.0.0/24")]),
        ] {
            assert_eq!(count(&state(), &[call(action, &parameters)]), 1, "{action}");
        }
    }

    #[test]
    fn a_call_without_effect_is_no_violation() {
        let mut refused = call("DeleteVpcPeeringConnection", &[("VpcPeeringConnectionId", "pcx-f")]);
        refused.entry.status = 400;
        let dry = call("DeleteVpcPeeringConnection", &[("VpcPeeringConnectionId", "pcx-f"), ("DryRun", "true")]);
        assert_eq!(count(&state(), &[refused, dry]), 0);
    }

    #[test]
    fn a_route_that_changed_just_before_is_a_race() {
        let mut delete = call("DeleteRoute", &[("RouteTableId", "rtb-1"), ("DestinationCidrBlock", "10.9.0.0/24")]);
        delete.time = 55.0;
        let outcome = check(&state(), &ledger(), &[delete]);
        assert_eq!((outcome.violations.len(), outcome.races.len()), (0, 1));
    }

    #[test]
    fn each_changed_object_is_found_in_the_state() {
        let mut changed = state();
        changed.peerings[0].code = "deleted".into();
        assert_eq!(count(&changed, &[]), 1);
        let mut changed = state();
        changed.tags.clear();
        assert_eq!(count(&changed, &[]), 2);
        let mut changed = state();
        changed.routes[0].target = "pcx-own".into();
        assert_eq!(count(&changed, &[]), 1);
        changed.routes.clear();
        assert_eq!(count(&changed, &[]), 1);
    }
}
