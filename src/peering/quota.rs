//! AWS quotas on peering connections. The operator warns before a quota is reached and refuses nothing, because AWS can
//! raise a quota.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering>

use super::connection::{Connection, StatusCode};

/// The default quota of active connections per VPC.
const ACTIVE_PER_VPC: usize = 50;

/// The default quota of outstanding requests per account and region.
const OUTSTANDING: usize = 25;

/// Whether a connection counts towards the quota of active connections of its VPCs.
pub(crate) fn counts_as_active(connection: &Connection) -> bool {
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

/// Whether a connection counts towards the quota of outstanding requests. A request within one account does not: it is
/// accepted at once.
pub(crate) fn counts_as_outstanding(connection: &Connection) -> bool {
    let waits = matches!(connection.code, StatusCode::InitiatingRequest | StatusCode::PendingAcceptance);
    waits && connection.requester.owner_id != connection.accepter.owner_id
}

/// The warning before another connection between two VPCs is requested, if at least 90% of a quota are in use. `vpcs`
/// are the VPCs and their numbers of active connections.
pub(crate) fn warning(vpcs: [(&str, usize); 2], outstanding: usize) -> Option<String> {
    let is_near = |used: usize, quota: usize| used * 10 >= quota * 9;
    let near = vpcs.into_iter().find(|(_, active)| is_near(*active, ACTIVE_PER_VPC));
    if let Some((vpc, active)) = near {
        return Some(format!(
            "{vpc} has {active} active peering connections; the AWS default quota is {ACTIVE_PER_VPC} per VPC"
        ));
    }
    is_near(outstanding, OUTSTANDING).then(|| {
        format!(
            "{outstanding} peering requests in this region are not accepted yet; the AWS default quota is {OUTSTANDING}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::testing::connection;

    #[test]
    fn a_quota_that_is_nearly_used_up_causes_a_warning() {
        let warns = |active, outstanding| warning([("vpc-1", 0), ("vpc-2", active)], outstanding).is_some();
        assert!(!warns(44, 22));
        assert!(warns(45, 0));
        assert!(warns(0, 23));
    }

    #[test]
    fn only_requests_to_another_account_count_as_outstanding() {
        let mut request = connection(StatusCode::PendingAcceptance);
        assert!(!counts_as_outstanding(&request));
        request.accepter.owner_id = Some("222222222222".into());
        assert!(counts_as_outstanding(&request));
        request.code = StatusCode::InitiatingRequest;
        assert!(counts_as_outstanding(&request), "it will wait for acceptance");
        request.code = StatusCode::Provisioning;
        assert!(counts_as_active(&request) && !counts_as_outstanding(&request));
        request.code = StatusCode::Deleted;
        assert!(!counts_as_active(&request));
    }
}
