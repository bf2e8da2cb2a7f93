//! What a test can set: how long EC2 takes, where it draws the line, and what it leaves undocumented.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tag::Tags;

/// All settings. A field that is left out of the JSON keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long each transition takes.
    pub delays: Delays,
    /// How long an ended connection stays visible.
    pub visibility: Visibility,
    /// What a repeated `CreateVpcPeeringConnection` gives.
    pub repeat_request: RepeatRequest,
    /// How much of each there may be.
    pub quotas: Quotas,
    /// How many calls there may be; no limit when absent.
    pub throttling: Option<Throttling>,
    /// Any role can be assumed by anyone, and its account comes into being.
    pub any_role: bool,
    /// A connection that is not active shows CIDR blocks, too, as the examples in the API reference do, against its words.
    pub cidr_blocks_of_requests: bool,
    /// Which clock ends a session.
    pub session_clock: SessionClock,
    /// Tags that every new VPC and route table gets besides, as an organisation's automation may give them.
    pub tags_of_vpcs: Tags,
}

/// How long each transition takes, in seconds of the simulator's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delays {
    /// From `initiating-request` to `pending-acceptance` or `failed`.
    #[serde(with = "seconds")]
    pub initiating: Duration,
    /// From `pending-acceptance` to `expired`: seven days, says the API reference of `CreateVpcPeeringConnection`.
    #[serde(with = "seconds")]
    pub expiry: Duration,
    /// From `provisioning` to `active`.
    #[serde(with = "seconds")]
    pub provisioning: Duration,
    /// From `deleting` to `deleted`.
    #[serde(with = "seconds")]
    pub deleting: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            initiating: Duration::from_millis(200),
            expiry: 7 * DAY,
            provisioning: Duration::from_millis(500),
            deleting: Duration::from_millis(500),
        }
    }
}

/// How long an ended connection stays visible, and to whom.
/// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle>
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Visibility {
    /// To the requester of a failed one, to the accepter of a rejected one, to who deleted it, and to both within one
    /// account.
    #[serde(with = "seconds")]
    pub short: Duration,
    /// To both of an expired one, to the requester of a rejected one, and to the side that did not delete it.
    #[serde(with = "seconds")]
    pub long: Duration,
}

impl Default for Visibility {
    fn default() -> Self {
        Self { short: Duration::from_secs(2 * 60 * 60), long: 2 * DAY }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a repeated request for the same pair of VPCs, in the same order, gives. AWS promises none of it; the first is
/// what the Terraform provider's users found (hashicorp/terraform-provider-aws 27750 and 27751).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepeatRequest {
    /// The existing connection, unchanged.
    #[default]
    ReturnExisting,
    /// The existing connection, with the new request's tags added.
    ReturnExistingWithNewTags,
    /// Another connection.
    MintNew,
}

/// How much of each there may be.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Active connections of a VPC.
    pub active_per_vpc: usize,
    /// Blocks of a VPC, IPv4 and IPv6 apart:
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-vpcs-subnets>.
    pub cidr_blocks_per_vpc: usize,
    /// Requests of an account and region that nobody has accepted yet.
    pub outstanding: usize,
    /// Routes in a table, the local ones apart.
    pub routes_per_table: usize,
    /// Tags on a resource: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>.
    pub tags_per_resource: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            active_per_vpc: 50,
            cidr_blocks_per_vpc: 5,
            outstanding: 25,
            routes_per_table: 50,
            tags_per_resource: 50,
        }
    }
}

/// EC2's token buckets: one an account, region and action.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Throttling {
    /// For actions that change nothing.
    pub non_mutating: Bucket,
    /// For actions that change something.
    pub mutating: Bucket,
}

impl Default for Throttling {
    fn default() -> Self {
        Self {
            non_mutating: Bucket { capacity: 100.0, refill: 20.0 },
            mutating: Bucket { capacity: 50.0, refill: 5.0 },
        }
    }
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// How many calls may come at once.
    pub capacity: f64,
    /// How many more may come each second.
    pub refill: f64,
}

/// Which clock ends a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionClock {
    /// The machine's: clients renew a session by theirs, which a test cannot move.
    #[default]
    Machine,
    /// The simulator's: a test that moves it ends the sessions.
    Simulator,
}

/// Durations as a number of seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
