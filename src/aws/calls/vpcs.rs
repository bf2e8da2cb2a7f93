//! The calls on VPCs and their DNS attributes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_ec2::types::{AttributeBooleanValue, Filter, VpcAttributeName, VpcCidrBlockStateCode};

use crate::aws::ec2::Ec2;
use crate::aws::error::AwsError;
use crate::peering::dns::{DnsAttribute, DnsAttributes};
use crate::peering::preflight::Vpc;

impl Ec2 {
    /// The IDs of the account's VPCs in the region that carry all of these tags. Reads one page only: callers need one
    /// match, and treat several as an error.
    pub async fn vpcs_tagged(&self, region: &str, tags: &BTreeMap<String, String>) -> Result<Vec<String>, AwsError> {
        let filter = |(key, value): (&String, &String)| {
            Filter::builder().name(format!("tag:{key}")).values(escape_wildcards(value)).build()
        };
        let filters = tags.iter().map(filter).collect();
        let answer = self.read_client(region).describe_vpcs().set_filters(Some(filters)).send().await;
        let vpcs = answer.map_err(|error| self.error("DescribeVpcs", &error))?.vpcs.unwrap_or_default();
        Ok(vpcs.into_iter().filter_map(|vpc| vpc.vpc_id).collect())
    }

    /// The account's VPCs in the region that have these IDs, by ID. IDs without a VPC are left out.
    pub async fn describe_vpcs(
        &self,
        region: &str,
        ids: impl IntoIterator<Item = String>,
    ) -> Result<HashMap<String, Vpc>, AwsError> {
        // A filter instead of the VpcId parameter: one unknown ID in VpcId would fail the call for all.
        let ids = Filter::builder().name("vpc-id").set_values(Some(ids.into_iter().collect())).build();
        let answer = self.read_client(region).describe_vpcs().filters(ids).send().await;
        let vpcs = answer.map_err(|error| self.error("DescribeVpcs", &error))?.vpcs.unwrap_or_default();
        Ok(vpcs.into_iter().map(read_vpc).map(|vpc| (vpc.id.clone(), vpc)).collect())
    }

    /// The DNS attributes of a VPC. EC2 answers one attribute per call:
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcAttribute.html>.
    pub async fn dns_attributes(&self, region: &str, vpc_id: &str) -> Result<DnsAttributes, AwsError> {
        let attribute = async |name| {
            let call = self.read_client(region).describe_vpc_attribute().vpc_id(vpc_id).attribute(name);
            call.send().await.map_err(|error| self.error("DescribeVpcAttribute", &error))
        };
        let is_on = |value: Option<AttributeBooleanValue>| value.and_then(|value| value.value).unwrap_or_default();
        let support = attribute(VpcAttributeName::EnableDnsSupport).await?.enable_dns_support;
        let hostnames = attribute(VpcAttributeName::EnableDnsHostnames).await?.enable_dns_hostnames;
        Ok(DnsAttributes { support: is_on(support), hostnames: is_on(hostnames) })
    }

    /// Turns on a DNS attribute of a VPC.
    pub async fn turn_on_dns_attribute(
        &self,
        region: &str,
        vpc_id: &str,
        attribute: DnsAttribute,
    ) -> Result<(), AwsError> {
        let on = AttributeBooleanValue::builder().value(true).build();
        let call = self.write_client(region).modify_vpc_attribute().vpc_id(vpc_id);
        let call = match attribute {
            DnsAttribute::Support => call.enable_dns_support(on),
            DnsAttribute::Hostnames => call.enable_dns_hostnames(on),
        };
        self.check("ModifyVpcAttribute", call.send().await)
    }
}

/// Escapes the wildcards of a filter value. <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html>
fn escape_wildcards(value: &str) -> String {
    value.replace('\\', r"\\").replace('*', r"\*").replace('?', r"\?")
}

/// EC2 shows a block for an hour or longer after its disassociation. Such a block does not prevent a peering
/// (hashicorp/terraform-provider-aws 32967, hashicorp/terraform 12895).
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcCidrBlockState.html>
fn is_in_use(state: Option<&VpcCidrBlockStateCode>) -> bool {
    matches!(state, Some(VpcCidrBlockStateCode::Associated | VpcCidrBlockStateCode::Associating))
}

fn read_vpc(vpc: aws_sdk_ec2::types::Vpc) -> Vpc {
    let primary = vpc.cidr_block.into_iter();
    let ipv4 = vpc.cidr_block_association_set.unwrap_or_default().into_iter();
    let ipv4 =
        ipv4.filter(|block| block.cidr_block_state.as_ref().is_some_and(|state| is_in_use(state.state.as_ref())));
    let ipv6 = vpc.ipv6_cidr_block_association_set.unwrap_or_default().into_iter();
    let ipv6 =
        ipv6.filter(|block| block.ipv6_cidr_block_state.as_ref().is_some_and(|state| is_in_use(state.state.as_ref())));
    let (ipv4, ipv6) = (ipv4.filter_map(|block| block.cidr_block), ipv6.filter_map(|block| block.ipv6_cidr_block));
    Vpc {
        id: vpc.vpc_id.unwrap_or_default(),
        owner_id: vpc.owner_id,
        cidr_blocks: primary.chain(ipv4).chain(ipv6).collect::<BTreeSet<_>>().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{
        Vpc as SdkVpc, VpcCidrBlockAssociation, VpcCidrBlockState, VpcCidrBlockStateCode, VpcIpv6CidrBlockAssociation,
    };

    use super::*;

    #[test]
    fn only_associated_cidr_blocks_are_read() {
        for (state, counts) in [
            (VpcCidrBlockStateCode::Associated, true),
            (VpcCidrBlockStateCode::Associating, true),
            (VpcCidrBlockStateCode::Disassociating, false),
            (VpcCidrBlockStateCode::Disassociated, false),
            (VpcCidrBlockStateCode::Failing, false),
            (VpcCidrBlockStateCode::Failed, false),
        ] {
            let shown = VpcCidrBlockState::builder().state(state.clone()).build();
            let ipv4 = VpcCidrBlockAssociation::builder().cidr_block("10.1.0.0/16").cidr_block_state(shown.clone());
            let ipv6 =
                VpcIpv6CidrBlockAssociation::builder().ipv6_cidr_block("2001:db8::/56").ipv6_cidr_block_state(shown);
            let vpc = SdkVpc::builder().vpc_id("vpc-1").cidr_block("10.0.0.0/16");
            let vpc = vpc.cidr_block_association_set(ipv4.build()).ipv6_cidr_block_association_set(ipv6.build());
            let expected: &[&str] =
                if counts { &["10.0.0.0/16", "10.1.0.0/16", "2001:db8::/56"] } else { &["10.0.0.0/16"] };
            assert_eq!(read_vpc(vpc.build()).cidr_blocks, expected, "{state:?}");
        }
    }
}
