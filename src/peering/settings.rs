//! Every timing constant of the domain, and the settings that an administrator can change.

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

/// Interval between looks at EC2 while it does not show a connection that must exist.
pub(crate) const MISSING_REQUEUE: Duration = Duration::from_secs(2);

/// Interval between looks while EC2 has not yet shown the effect of a change to routes or options.
pub(crate) const EFFECT_REQUEUE: Duration = Duration::from_secs(5);

/// Interval between looks at what EC2 says about a single VPC at rest: its DNS attributes and security groups.
pub(crate) const VPC_RECHECK: Duration = Duration::from_hours(6);

/// Interval between looks at a blocker that no event reports, such as a VPC that is created in AWS.
pub(crate) const STALLED_REQUEUE: Duration = Duration::from_secs(60);

/// Interval between looks at an older `VpcPeeringAccepter` of the same VPC. A look costs neither an AWS call nor a
/// write.
pub(crate) const OLDER_ACCEPTER_REQUEUE: Duration = Duration::from_secs(5);

/// The most requests in a row that replace a peering that has ended.
pub(crate) const MAX_RECREATIONS: u32 = 8;

/// The longest pause before a peering that has ended is requested again.
pub(crate) const MAX_RECREATION_PAUSE: Duration = Duration::from_secs(3600);

/// Time before its expiry from which an unaccepted request has the `ExpiringSoon` condition.
pub(crate) const EXPIRING_SOON: SignedDuration = SignedDuration::from_hours(24);

/// The largest difference between the clock of this machine and that of EC2 that does no harm.
pub(crate) const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(15);

/// A state that EC2 leaves sooner is not written to the status: each write costs the API server and wakes its watchers.
pub(crate) const TRANSIENT: Duration = Duration::from_secs(2);

/// The default of `spec.maxConnections`: the AWS default quota of active peering connections per VPC.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering>
pub(crate) const MAX_CONNECTIONS: i32 = 50;

/// The most routes of one end. The status records each of them and has to fit into one object of the API server.
pub(crate) const MAX_ROUTES: usize = 1000;

/// The settings of the decision.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Time for which EC2 must not show a recorded connection before the operator believes that it is gone. EC2
    /// promises no bound: <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>.
    pub consistency_window: Duration,
    /// Pause before a peering that has ended is requested again. It doubles with each request in a row.
    pub recreation_pause: Duration,
    /// Whether no other cluster can have this cluster's ID. If so, tags with this ID and the name of a deleted resource
    /// prove that the connection is an orphan.
    pub is_cluster_unique: bool,
}
