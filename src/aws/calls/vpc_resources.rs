//! Listings of the resources of VPCs: route tables and subnets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_ec2::types::{Filter, Tag};
use smol_str::SmolStr;

use crate::aws::ec2::Ec2;
use crate::aws::error::AwsError;
use crate::aws::inventory::filters::Filters;
use crate::aws::inventory::view::{Page, View};
use crate::peering::routes::{VpcResource, VpcResources};

/// The filter for the resources of a VPC.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRouteTables.html>
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html>
pub const VPC_ID: &str = "vpc-id";

/// A resource that EC2 lists page by page. See [`View`].
pub(crate) trait Describe: VpcResource + Send + Sync + 'static {
    const PAGE_SIZE: usize;
    const NAME: &'static str;

    fn page(
        ec2: &Ec2,
        region: &str,
        filter: Option<Filter>,
        token: Option<String>,
    ) -> impl Future<Output = Result<Page<Self>, AwsError>> + Send
    where
        Self: Sized;
}

impl<T: Describe> View for VpcResources<T> {
    type Item = T;

    const PAGE_SIZE: usize = T::PAGE_SIZE;
    const NAME: &'static str = T::NAME;

    async fn page(ec2: &Ec2, region: &str, filter: Option<Filter>, token: Option<String>) -> Result<Page<T>, AwsError> {
        T::page(ec2, region, filter, token).await
    }

    fn items(&self) -> impl ExactSizeIterator<Item = &Arc<T>> {
        self.all()
    }

    fn share(&self, item: T, _: &SmolStr) -> Arc<T> {
        self.share(item)
    }

    fn filter_value<'a>(item: &'a T, filter: &str) -> Option<&'a str> {
        (filter == VPC_ID).then_some(item.vpc_id())
    }

    fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
        self.changes_since(earlier)
    }

    fn transient(&self, _: &str) -> Filters {
        Filters::default()
    }
}

/// The tags of an answer by key.
pub(super) fn tags(tags: Option<Vec<Tag>>) -> BTreeMap<String, String> {
    let tags = tags.unwrap_or_default().into_iter();
    tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}
