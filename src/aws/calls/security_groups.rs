//! The calls on security groups, which only read.

use aws_sdk_ec2::types::{Filter, IpPermission};

use crate::aws::ec2::Ec2;
use crate::aws::error::AwsError;
use crate::peering::security_groups::{GroupsByConnection, SecurityGroupReferences};

/// Group IDs in one `DescribeSecurityGroupReferences`. AWS documents no maximum.
const GROUPS_PER_CALL: usize = 100;

impl Ec2 {
    /// The references between the security groups of a VPC and those of its peers.
    ///
    /// `DescribeSecurityGroups` shows the connection of each rule that names a group of a peer VPC. Rules of the peer
    /// VPC are visible to another account only as the answer of `DescribeSecurityGroupReferences`.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroupReferences.html>
    pub async fn security_group_references(
        &self,
        region: &str,
        vpc_id: &str,
    ) -> Result<SecurityGroupReferences, AwsError> {
        let of_vpc = Filter::builder().name("vpc-id").values(vpc_id).build();
        let pages = self.read_client(region).describe_security_groups().filters(of_vpc).into_paginator().items();
        let groups = pages.send().collect::<Result<Vec<_>, _>>().await;
        let groups = groups.map_err(|error| self.error("DescribeSecurityGroups", &error))?;
        let mut references = SecurityGroupReferences::default();
        let mut ids = Vec::new();
        for group in groups {
            let Some(id) = group.group_id else { continue };
            let rules = group.ip_permissions.iter().chain(&group.ip_permissions_egress).flatten();
            for connection in rules.flat_map(peering_connections) {
                add(&mut references.naming, connection, &id);
            }
            ids.push(id);
        }
        for ids in ids.chunks(GROUPS_PER_CALL) {
            let call = self.read_client(region).describe_security_group_references();
            let answer = call.set_group_id(Some(ids.to_vec())).send().await;
            let answer = answer.map_err(|error| self.error("DescribeSecurityGroupReferences", &error))?;
            for reference in answer.security_group_reference_set.unwrap_or_default() {
                if let (Some(id), Some(connection)) = (reference.group_id, reference.vpc_peering_connection_id) {
                    add(&mut references.named, &connection, &id);
                }
            }
        }
        Ok(references)
    }
}

/// The peerings through which a rule names groups.
fn peering_connections(rule: &IpPermission) -> impl Iterator<Item = &str> {
    rule.user_id_group_pairs().iter().filter_map(|pair| pair.vpc_peering_connection_id())
}

fn add(groups: &mut GroupsByConnection, connection: &str, id: &str) {
    groups.entry(connection.to_owned()).or_default().insert(id.to_owned());
}
