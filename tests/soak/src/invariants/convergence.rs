//! Each resource becomes what its scenario expects.

use serde_json::Value;

use super::Violation;
use crate::resources::{Resource, Scenario};

const INVARIANT: &str = "each resource converges within the bound";

/// The circumstances of a resource that decide what it becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The resource is to exist.
    pub exists: bool,
    /// Its namespace lost the permission for its identities.
    pub is_withdrawn: bool,
    /// `spec.suspend` is set.
    pub is_suspended: bool,
    /// `spec.routes` is set, and a foreign route has the destination.
    pub has_conflict: bool,
}

/// Compares a resource with what it is to become. `object` is `None` if it does not exist. Returns the difference.
pub fn difference(resource: Resource, now: Circumstances, object: Option<&Value>) -> Option<String> {
    let Some(object) = object else { return now.exists.then(|| "it does not exist".to_owned()) };
    if !now.exists {
        // The deletion waits for the permission.
        return (!now.is_withdrawn).then(|| format!("it still exists: {}", ready(object)));
    }
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Some("it is being deleted".to_owned());
    }
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        return Some(format!("the status is of an older generation: {}", ready(object)));
    }
    let is = |status: &str, reasons: &[&str]| {
        condition(object, "Ready")
            .is_some_and(|ready| ready["status"] == status && reasons.iter().any(|reason| ready["reason"] == *reason))
    };
    let is_as_expected = if resource.scenario() == Scenario::Stranger || now.is_withdrawn {
        is("False", &["IdentityNotAllowed"]) || is("Unknown", &["IdentityNotAllowed"])
    } else if now.is_suspended {
        condition(object, "Suspended").is_some_and(|suspended| suspended["status"] == "True")
    } else if now.has_conflict {
        condition(object, "RoutesReady").is_some_and(|routes| routes["reason"] == "RouteConflict")
            || resource.scenario() == Scenario::Manual && is("False", &["PendingAcceptance"])
    } else if resource.scenario() == Scenario::Manual {
        is("True", &["Active"]) || is("False", &["PendingAcceptance"]) || is("Unknown", &["PendingAcceptance"])
    } else {
        condition(object, "Ready").is_some_and(|ready| ready["status"] == "True")
    };
    (!is_as_expected).then(|| ready(object))
}

/// A violation for a resource that did not converge.
pub fn violation(resource: Resource, now: Circumstances, difference: &str, bound: f64) -> Violation {
    Violation {
        invariant: INVARIANT,
        message: format!("{} {:?} {now:?} after {bound:.0} s: {difference}", resource.name(), resource.scenario()),
        about: vec![resource.name(), resource.requester().vpc, resource.accepter().vpc],
    }
}

/// All conditions of an `AwsIdentity` whose role is not verified.
pub fn unverified_identity(object: &Value) -> Option<String> {
    let is_verified = condition(object, "Ready").is_some_and(|ready| ready["status"] == "True")
        && object["status"]["observedGeneration"] == object["metadata"]["generation"];
    (!is_verified).then(|| ready(object))
}

/// A violation for an identity that was not verified.
pub fn of_identity(name: &str, conditions: &str, bound: f64) -> Violation {
    let message = format!("the AwsIdentity {name} is not verified after {bound:.0} s: {conditions}");
    Violation { invariant: INVARIANT, message, about: vec![name.to_owned()] }
}

pub fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

/// All conditions in one line.
fn ready(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let conditions = conditions
        .map(|one| format!("{}={} {}: {}", one["type"], one["status"], one["reason"], one["message"]).replace('"', ""));
    conditions.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EXISTS: Circumstances =
        Circumstances { exists: true, is_withdrawn: false, is_suspended: false, has_conflict: false };

    fn object(type_: &str, status: &str, reason: &str) -> Value {
        json!({
            "metadata": {"generation": 2},
            "status": {
                "observedGeneration": 2,
                "conditions": [{"type": type_, "status": status, "reason": reason, "message": ""}],
            },
        })
    }

    #[test]
    fn a_resource_that_is_not_ready_is_found() {
        let ready = object("Ready", "True", "Active");
        assert_eq!(difference(Resource(0), EXISTS, Some(&ready)), None);
        assert!(difference(Resource(0), EXISTS, None).is_some());
        assert!(difference(Resource(0), EXISTS, Some(&object("Ready", "False", "Deleted"))).is_some());
        let mut old = ready.clone();
        old["metadata"]["generation"] = json!(3);
        assert!(difference(Resource(0), EXISTS, Some(&old)).is_some());
        let gone = Circumstances { exists: false, ..EXISTS };
        assert!(difference(Resource(0), gone, Some(&ready)).is_some());
        assert_eq!(difference(Resource(0), gone, None), None);
    }

    #[test]
    fn an_identity_that_is_not_verified_is_found() {
        assert_eq!(unverified_identity(&object("Ready", "True", "Verified")), None);
        assert!(unverified_identity(&object("Ready", "False", "Throttled")).is_some());
        assert!(unverified_identity(&json!({})).is_some());
    }

    #[test]
    fn each_scenario_has_its_own_condition() {
        let ready = object("Ready", "True", "Active");
        let withdrawn = Circumstances { is_withdrawn: true, ..EXISTS };
        let suspended = Circumstances { is_suspended: true, ..EXISTS };
        let conflict = Circumstances { has_conflict: true, ..EXISTS };
        for (number, now, wanted) in [
            (9, EXISTS, object("Ready", "False", "IdentityNotAllowed")),
            (5, withdrawn, object("Ready", "False", "IdentityNotAllowed")),
            (0, suspended, object("Suspended", "True", "Suspended")),
            (0, conflict, object("RoutesReady", "False", "RouteConflict")),
        ] {
            assert_eq!(difference(Resource(number), now, Some(&wanted)), None, "{now:?}");
            assert!(difference(Resource(number), now, Some(&ready)).is_some(), "{now:?}");
        }
        let pending = object("Ready", "False", "PendingAcceptance");
        assert_eq!(difference(Resource(7), EXISTS, Some(&pending)), None);
        assert!(difference(Resource(0), EXISTS, Some(&pending)).is_some());
    }
}
