//! No call for a namespace without permission.

use super::{Call, Violation};
use crate::resources::{Resource, Scenario};

const INVARIANT: &str = "a namespace without permission makes no call";

/// The session tag that names the namespace of the resource.
const NAMESPACE: &str = "vpcpeering.dev/namespace";

/// Checks the calls of the operator, also those that only read. `forbidden` has the namespaces without permission.
pub fn check(calls: &[Call], forbidden: &[&str], resources: &[Resource]) -> Vec<Violation> {
    let strangers = resources.iter().filter(|resource| resource.scenario() == Scenario::Stranger);
    let vpcs: Vec<_> = strangers.flat_map(|resource| [resource.requester().vpc, resource.accepter().vpc]).collect();
    let violations = calls.iter().filter_map(|call| {
        let namespace = call.entry.session.as_ref().and_then(|session| session.tags.get(NAMESPACE));
        let assumed = call.entry.parameters.iter().find(|(_, value)| *value == NAMESPACE);
        // `Tags.member.1.Key` and `Tags.member.1.Value` of AssumeRole.
        let assumed = assumed.and_then(|(key, _)| call.entry.parameters.get(&key.replace("Key", "Value")));
        let of = namespace.or(assumed).filter(|namespace| forbidden.contains(&namespace.as_str()));
        let vpc = vpcs.iter().find(|vpc| call.names(vpc));
        let about = of.or(vpc)?.clone();
        let message = format!("a call for {about}: {}", call.line());
        Some(Violation { invariant: INVARIANT, message, about: vec![about] })
    });
    violations.collect()
}

#[cfg(test)]
mod tests {
    use ec2_simulator::world::identity::RoleSession;

    use super::super::tests::call;
    use super::*;

    #[test]
    fn a_session_of_a_forbidden_namespace_is_found() {
        let mut one = call("DescribeVpcs", &[]);
        one.entry.session = Some(RoleSession {
            role: "arn".into(),
            name: "x".into(),
            tags: [(NAMESPACE.to_owned(), "stranger".to_owned())].into(),
            transitive_tag_keys: [].into(),
        });
        assert_eq!(check(&[one.clone()], &["stranger"], &[]).len(), 1);
        assert_eq!(check(&[one], &["team-c"], &[]).len(), 0);
        let assume = call("AssumeRole", &[("Tags.member.1.Key", NAMESPACE), ("Tags.member.1.Value", "stranger")]);
        assert_eq!(check(&[assume], &["stranger"], &[]).len(), 1);
    }

    #[test]
    fn a_call_that_names_the_vpc_of_a_stranger_is_found() {
        let stranger = Resource(9);
        assert_eq!(stranger.scenario(), Scenario::Stranger);
        let vpc = stranger.requester().vpc;
        let one = call("DescribeVpcs", &[("VpcId.1", &vpc)]);
        assert_eq!(check(&[one], &[], &[Resource(8), stranger]).len(), 1);
        let other = call("DescribeVpcs", &[("VpcId.1", &Resource(8).requester().vpc)]);
        assert_eq!(check(&[other], &[], &[Resource(8), stranger]).len(), 0);
    }
}
