//! Cached lookups of the DNS attributes of VPCs.

use std::sync::Arc;

use tokio::time::Instant;

use super::ec2::Ec2;
use super::error::AwsError;
use super::vpc_answers::VpcAnswers;
use crate::peering::dns::DnsAttributes;

/// The DNS attributes of VPCs in all regions of one account.
#[derive(Debug)]
pub struct DnsLookup {
    ec2: Arc<Ec2>,
    known: VpcAnswers<DnsAttributes>,
}

impl DnsLookup {
    pub(super) fn new(ec2: Arc<Ec2>) -> Self {
        Self { ec2, known: VpcAnswers::default() }
    }

    /// The DNS attributes of a VPC, by a look that began after `since`. `None` if the credentials may not look.
    pub async fn get(&self, region: &str, vpc_id: &str, since: Instant) -> Result<Option<DnsAttributes>, AwsError> {
        self.known.get((region, vpc_id), since, self.ec2.dns_attributes(region, vpc_id)).await
    }

    /// Forgets the attributes of a VPC, after a call that changed them.
    pub fn forget(&self, region: &str, vpc_id: &str) {
        self.known.forget(region, vpc_id);
    }

    /// Forgets the VPCs that nobody asks about any more.
    pub(super) fn forget_idle(&self) {
        self.known.forget_idle();
    }
}
