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
