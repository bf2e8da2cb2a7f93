//! Rules of security groups that name a group of a peer VPC. EC2 keeps them when the peering is deleted, and they
//! permit nothing any more.
//! <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-security-groups.html#vpc-peering-stale-groups>

use std::collections::{BTreeMap, BTreeSet};

use super::deletion_summary as text;

/// IDs of security groups, by connection ID.
pub(crate) type GroupsByConnection = BTreeMap<String, BTreeSet<String>>;

/// The references of one VPC through its peerings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SecurityGroupReferences {
    /// The groups of the VPC with rules that name a group of the other VPC.
    pub naming: GroupsByConnection,
    /// The groups of the VPC that rules of the other VPC name.
    pub named: GroupsByConnection,
}

impl SecurityGroupReferences {
    /// The groups of the VPC whose rules become stale when the connection is deleted.
    pub(crate) fn stale_at(&self, vpc_id: &str, connection_id: &str) -> Option<String> {
        let groups = self.naming.get(connection_id).into_iter().flatten();
        text::list("security group", &format!(" of {vpc_id} with rules that become stale"), groups)
    }

    /// The groups of the VPC that rules of the other VPC name, which become stale.
    pub(crate) fn stale_at_peer(&self, vpc_id: &str, connection_id: &str) -> Option<String> {
        let groups = self.named.get(connection_id).into_iter().flatten();
        text::list("security group", &format!(" of {vpc_id} in rules of the other VPC that become stale"), groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_groups_of_this_connection_are_named() {
        let groups = |id: &str, groups: &[&str]| {
            GroupsByConnection::from([(id.to_owned(), groups.iter().map(|group| (*group).to_owned()).collect())])
        };
        let references =
            SecurityGroupReferences { naming: groups("pcx-1", &["sg-1", "sg-2"]), named: groups("pcx-2", &["sg-3"]) };
        let stale = references.stale_at("vpc-1", "pcx-1");
        assert_eq!(stale.as_deref(), Some("2 security groups of vpc-1 with rules that become stale: sg-1, sg-2"));
        assert_eq!(references.stale_at("vpc-1", "pcx-2"), None);
        let at_peer = references.stale_at_peer("vpc-1", "pcx-2");
        let expected = "1 security group of vpc-1 in rules of the other VPC that become stale: sg-3";
        assert_eq!(at_peer.as_deref(), Some(expected));
        assert_eq!(references.stale_at_peer("vpc-1", "pcx-1"), None);
    }
}
