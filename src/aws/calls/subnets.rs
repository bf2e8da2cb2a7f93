//! The call on subnets.

use aws_sdk_ec2::types::Filter;

use super::vpc_resources::{Describe, tags};
use crate::aws::ec2::Ec2;
use crate::aws::error::AwsError;
use crate::aws::inventory::view::Page;
use crate::peering::routes::Subnet;

impl Describe for Subnet {
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html>
    const PAGE_SIZE: usize = 1000;
    const NAME: &'static str = "subnets";

    async fn page(
        ec2: &Ec2,
        region: &str,
        filter: Option<Filter>,
        token: Option<String>,
    ) -> Result<Page<Subnet>, AwsError> {
        let call = ec2.read_client(region).describe_subnets().max_results(Self::PAGE_SIZE as i32);
        let answer = call.set_filters(filter.map(|filter| vec![filter])).set_next_token(token).send().await;
        let answer = answer.map_err(|error| ec2.error("DescribeSubnets", &error))?;
        let read = |subnet: aws_sdk_ec2::types::Subnet| {
            let vpc_id = subnet.vpc_id.unwrap_or_default();
            Some(Subnet { id: subnet.subnet_id?, vpc_id, tags: tags(subnet.tags) })
        };
        let items = answer.subnets.unwrap_or_default().into_iter().filter_map(read).collect();
        Ok(Page { items, next: answer.next_token.filter(|token| !token.is_empty()) })
    }
}
