//! Subnets as EC2 shows them, and the subnets that a selector of the spec matches.

use std::collections::BTreeMap;

use super::vpc_resources::{VpcResource, VpcResources};

/// A subnet as EC2 shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub id: String,
    pub vpc_id: String,
    /// The tags that the describing account sees.
    pub tags: BTreeMap<String, String>,
}

/// All subnets of one account and region, at one time.
pub(crate) type Subnets = VpcResources<Subnet>;

impl VpcResource for Subnet {
    fn id(&self) -> &str {
        &self.id
    }

    fn vpc_id(&self) -> &str {
        &self.vpc_id
    }
}
