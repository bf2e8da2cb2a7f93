//! Regions: the partition of a region, and the regions that an account must enable.

use super::World;

/// The regions that are disabled in a new account. An administrator enables them in each account.
/// <https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html>
const OPT_IN: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-south-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-west-1",
    "eu-central-2",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
];

/// The prefixes of regions outside the partition `aws`.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
const PARTITIONS: &[(&str, &str)] = &[
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("eu-isoe-", "aws-iso-e"),
    ("eusc-", "aws-eusc"),
];

/// The partition of a region, as ARNs name it.
pub(crate) fn partition(region: &str) -> &'static str {
    PARTITIONS.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

impl World {
    /// Whether the region is enabled in the account.
    pub(crate) fn is_enabled(&self, account: &str, region: &str) -> bool {
        let enabled = self.settings.enabled_regions.get(account);
        !OPT_IN.contains(&region) || enabled.is_some_and(|regions| regions.contains(region))
    }
}
