//! The references to security groups by the groups of peer VPCs.

use super::{Context, Handler};
use crate::error::{Error, Result};
use crate::protocol::{Params, Xml};
use crate::world::World;
use crate::world::security_group::RulePeer;

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroupReferences.html>
pub(super) struct Describe {
    group_ids: Vec<String>,
}

impl Handler for Describe {
    fn parse(params: &mut Params) -> Result<Self> {
        let group_ids = params.list("GroupId");
        if group_ids.is_empty() {
            return Err(Error::missing_parameter("GroupId"));
        }
        Ok(Self { group_ids })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let (world, call) = (&*world, &context.call);
        for id in &self.group_ids {
            if !world.security_groups(&call.location).any(|group| group.id == *id) {
                let message = format!("The security group '{id}' does not exist");
                return Err(Error::new("InvalidGroup.NotFound", message));
            }
        }
        call.proceed()?;
        let mut references = Vec::new();
        for other in world.all_security_groups() {
            for rule in &other.rules {
                let RulePeer::Group(id) = &rule.peer else { continue };
                let peering = world.referenced(other, id).peering;
                if let Some(peering) = peering.filter(|peering| peering.phase.is_live() && self.group_ids.contains(id))
                {
                    references.push((id, &other.vpc_id, &peering.id));
                }
            }
        }
        references.sort();
        references.dedup();
        let mut xml = Xml::default();
        xml.list("securityGroupReferenceSet", references, |xml, (group, vpc, peering)| {
            xml.text("groupId", group);
            xml.text("referencingVpcId", vpc);
            xml.text("vpcPeeringConnectionId", peering);
        });
        Ok(xml)
    }
}
