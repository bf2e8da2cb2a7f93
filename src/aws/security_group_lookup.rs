//! Cached lookups of the references between security groups of peered VPCs.

use std::sync::Arc;

use tokio::time::Instant;

use super::ec2::Ec2;
use super::error::AwsError;
use super::vpc_answers::VpcAnswers;
use crate::peering::security_groups::SecurityGroupReferences;

/// The references of the VPCs in all regions of one account.
#[derive(Debug)]
pub struct SecurityGroupLookup {
    ec2: Arc<Ec2>,
    known: VpcAnswers<Arc<SecurityGroupReferences>>,
}

impl SecurityGroupLookup {
    pub(super) fn new(ec2: Arc<Ec2>) -> Self {
        Self { ec2, known: VpcAnswers::default() }
    }

    /// The references of a VPC, by a look that began after `since`. `None` if the credentials may not look.
    pub async fn get(
        &self,
        region: &str,
        vpc_id: &str,
        since: Instant,
    ) -> Result<Option<Arc<SecurityGroupReferences>>, AwsError> {
        let look = async { self.ec2.security_group_references(region, vpc_id).await.map(Arc::new) };
        self.known.get((region, vpc_id), since, look).await
    }

    /// Forgets the VPCs that nobody asks about any more.
    pub(super) fn forget_idle(&self) {
        self.known.forget_idle();
    }
}
