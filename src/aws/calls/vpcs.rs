//! `DescribeVpcs` calls.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_ec2::types::Filter;

use crate::aws::ec2::Ec2;
use crate::aws::error::AwsError;
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
        // With the VpcId parameter instead of a filter, one unknown ID would fail the call for all.
        let ids = Filter::builder().name("vpc-id").set_values(Some(ids.into_iter().collect())).build();
        let answer = self.read_client(region).describe_vpcs().filters(ids).send().await;
        let vpcs = answer.map_err(|error| self.error("DescribeVpcs", &error))?.vpcs.unwrap_or_default();
        Ok(vpcs.into_iter().map(read_vpc).map(|vpc| (vpc.id.clone(), vpc)).collect())
    }
}

/// Escapes the wildcards of a filter value. <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html>
fn escape_wildcards(value: &str) -> String {
    value.replace('\\', r"\\").replace('*', r"\*").replace('?', r"\?")
}

fn read_vpc(vpc: aws_sdk_ec2::types::Vpc) -> Vpc {
    let primary = vpc.cidr_block.into_iter();
    let ipv4 = vpc.cidr_block_association_set.unwrap_or_default().into_iter().filter_map(|block| block.cidr_block);
    let ipv6 =
        vpc.ipv6_cidr_block_association_set.unwrap_or_default().into_iter().filter_map(|block| block.ipv6_cidr_block);
    Vpc {
        id: vpc.vpc_id.unwrap_or_default(),
        owner_id: vpc.owner_id,
        cidr_blocks: primary.chain(ipv4).chain(ipv6).collect::<BTreeSet<_>>().into_iter().collect(),
    }
}
