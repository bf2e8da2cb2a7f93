//! Cached lookups of the DNS attributes of VPCs. All resources of a VPC share them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::ec2::Ec2;
use super::error::AwsError;
use crate::peering::dns::DnsAttributes;
use crate::peering::settings::DNS_RECHECK;

/// `None` if the credentials may not look.
type Answer = Result<Option<DnsAttributes>, AwsError>;

/// The answer, and the time before the look. The lock is held during a look, so that concurrent callers share it.
type Known = Arc<tokio::sync::Mutex<Option<(Instant, Answer)>>>;

/// The DNS attributes of VPCs in all regions of one account.
#[derive(Debug)]
pub struct DnsLookup {
    ec2: Arc<Ec2>,
    /// By region and VPC ID.
    known: Mutex<HashMap<(String, String), (Known, Instant)>>,
}

impl DnsLookup {
    pub(super) fn new(ec2: Arc<Ec2>) -> Self {
        Self { ec2, known: Mutex::default() }
    }

    /// The DNS attributes of a VPC, by a look that began after `since`.
    pub async fn get(&self, region: &str, vpc_id: &str, since: Instant) -> Answer {
        let known = {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let (known, used) =
                all.entry((region.to_owned(), vpc_id.to_owned())).or_insert_with(|| (Known::default(), Instant::now()));
            *used = Instant::now();
            Arc::clone(known)
        };
        let mut known = known.lock().await;
        if let Some((at, answer)) = &*known
            && *at >= since
        {
            return answer.clone();
        }
        let began = Instant::now();
        let answer = match self.ec2.dns_attributes(region, vpc_id).await {
            Ok(attributes) => Ok(Some(attributes)),
            Err(error) if error.is_unauthorized() => Ok(None),
            Err(error) => Err(error),
        };
        *known = Some((began, answer.clone()));
        answer
    }

    /// Forgets the attributes of a VPC, after a call that changed them.
    pub fn forget(&self, region: &str, vpc_id: &str) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&(region.to_owned(), vpc_id.to_owned()));
    }

    /// Forgets the VPCs that nobody has asked about for longer than the interval between two looks.
    pub(super) fn forget_idle(&self) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, used)| used.elapsed() < DNS_RECHECK * 2);
    }
}
