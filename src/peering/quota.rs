//! AWS's quotas on peering connections: a warning before they are met, never a refusal, since they can be raised.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering>

use super::{Connection, StatusCode};

/// The default quota on active connections of one VPC.
const ACTIVE_PER_VPC: usize = 50;

/// The default quota on requests of one account and region that nobody has accepted yet.
const OUTSTANDING: usize = 25;

/// Whether a connection counts towards the quotas of its VPCs.
#[must_use]
pub fn counts_as_active(connection: &Connection) -> bool {
    match connection.code {
        StatusCode::Active | StatusCode::Provisioning => true,
        StatusCode::InitiatingRequest
        | StatusCode::PendingAcceptance
        | StatusCode::Failed
        | StatusCode::Rejected
        | StatusCode::Expired
        | StatusCode::Deleting
        | StatusCode::Deleted
        | StatusCode::Unknown(_) => false,
    }
}

/// Whether a request counts towards the account's quota for long: one to its own account is accepted in a moment.
#[must_use]
pub fn counts_as_outstanding(connection: &Connection) -> bool {
    let waits = matches!(connection.code, StatusCode::InitiatingRequest | StatusCode::PendingAcceptance);
    waits && connection.requester.owner_id != connection.accepter.owner_id
}

/// What to warn of before another connection between these VPCs is requested: a quota of which nine tenths are used.
/// Each VPC comes with its active connections.
#[must_use]
pub fn warning(vpcs: [(&str, usize); 2], outstanding: usize) -> Option<String> {
    let is_near = |used: usize, quota: usize| used * 10 >= quota * 9;
    let near = vpcs.into_iter().find(|(_, active)| is_near(*active, ACTIVE_PER_VPC));
    if let Some((vpc, active)) = near {
        return Some(format!(
            "{vpc} has {active} active peering connections; AWS's default quota is {ACTIVE_PER_VPC} for each VPC"
        ));
    }
    is_near(outstanding, OUTSTANDING).then(|| {
        format!(
            "{outstanding} peering requests of this region wait to be accepted; AWS's default quota is {OUTSTANDING}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::testing::connection;

    #[test]
    fn nine_tenths_of_a_quota_are_warned_of() {
        let warns = |active, outstanding| warning([("vpc-1", 0), ("vpc-2", active)], outstanding).is_some();
        assert!(!warns(44, 22));
        assert!(warns(45, 0));
        assert!(warns(0, 23));
    }

    #[test]
    fn what_passes_by_itself_counts_towards_no_quota() {
        let mut request = connection(StatusCode::PendingAcceptance);
        assert!(!counts_as_outstanding(&request));
        request.accepter.owner_id = Some("222222222222".into());
        assert!(counts_as_outstanding(&request));
        request.code = StatusCode::InitiatingRequest;
        assert!(counts_as_outstanding(&request), "in a moment it waits");
        request.code = StatusCode::Provisioning;
        assert!(counts_as_active(&request) && !counts_as_outstanding(&request));
        request.code = StatusCode::Deleted;
        assert!(!counts_as_active(&request));
    }
}
