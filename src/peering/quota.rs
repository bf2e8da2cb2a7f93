//! AWS's quotas on peering connections: a warning before they are met, never a refusal, since they can be raised.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering>

use std::collections::HashMap;

use super::{Connection, StatusCode};

/// The default quota on active connections of one VPC.
const ACTIVE_PER_VPC: usize = 50;

/// The default quota on requests of one account and region that nobody has accepted yet.
const OUTSTANDING: usize = 25;

/// How much of each quota is used.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    active: HashMap<String, usize>,
    outstanding: usize,
}

impl Usage {
    /// Counts one more connection.
    pub fn add(&mut self, connection: &Connection) {
        match connection.code {
            StatusCode::Active | StatusCode::Provisioning => {
                for end in [&connection.requester, &connection.accepter] {
                    if let Some(vpc) = &end.vpc_id {
                        *self.active.entry(vpc.clone()).or_default() += 1;
                    }
                }
            }
            StatusCode::InitiatingRequest | StatusCode::PendingAcceptance => self.outstanding += 1,
            StatusCode::Failed
            | StatusCode::Rejected
            | StatusCode::Expired
            | StatusCode::Deleting
            | StatusCode::Deleted
            | StatusCode::Unknown(_) => {}
        }
    }

    /// What to warn of before another connection between these VPCs is requested: a quota of which nine tenths are used.
    #[must_use]
    pub fn warning(&self, requester: &str, accepter: &str) -> Option<String> {
        let is_near = |used: usize, quota: usize| used * 10 >= quota * 9;
        for vpc in [requester, accepter] {
            let used = self.active.get(vpc).copied().unwrap_or_default();
            if is_near(used, ACTIVE_PER_VPC) {
                return Some(format!(
                    "{vpc} has {used} active peering connections; AWS's default quota is {ACTIVE_PER_VPC} for each VPC"
                ));
            }
        }
        let used = self.outstanding;
        is_near(used, OUTSTANDING).then(|| {
            format!("{used} peering requests of this region wait to be accepted; AWS's default quota is {OUTSTANDING}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::testing::connection;

    fn usage(code: StatusCode, number: usize) -> Usage {
        let mut usage = Usage::default();
        for _ in 0..number {
            usage.add(&connection(code.clone()));
        }
        usage
    }

    #[test]
    fn nine_tenths_of_a_quota_are_warned_of() {
        let warns = |code: StatusCode, number, vpc| usage(code, number).warning(vpc, "vpc-3").is_some();
        assert!(!warns(StatusCode::Active, 44, "vpc-11111111"));
        assert!(warns(StatusCode::Active, 45, "vpc-11111111"));
        assert!(!warns(StatusCode::Active, 45, "vpc-4"), "another VPC has a quota of its own");
        assert!(!warns(StatusCode::PendingAcceptance, 22, "vpc-4"));
        assert!(warns(StatusCode::PendingAcceptance, 23, "vpc-4"));
        assert!(!warns(StatusCode::Deleted, 100, "vpc-11111111"));
    }
}
