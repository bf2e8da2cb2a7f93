//! Settings that a test can change: delays, quotas, and behaviour that AWS does not document.

use std::collections::{BTreeMap, BTreeSet};
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
    /// The response to a repeated `CreateVpcPeeringConnection`.
    pub repeat_request: RepeatRequest,
    /// The quotas.
    pub quotas: Quotas,
    /// EC2's request throttling. Off if absent.
    pub throttling: Option<Throttling>,
    /// Every caller can assume any role, whether the role exists or not.
    pub any_role: bool,
    /// The CIDR blocks of the requester that a pending request shows. The accepter's are never shown before the
    /// acceptance.
    pub blocks_of_requests: BlocksOfRequests,
    /// The answer of `CreateVpcPeeringConnection` has no tags, although the connection gets them. AWS does not document
    /// whether the answer has tags.
    pub create_answer_without_tags: bool,
    /// How long EC2 takes to act on, or to show, the effect of a call.
    pub lags: Lags,
    /// The clock against which session expiry is checked.
    pub session_clock: SessionClock,
    /// Tags that every new VPC and route table gets, as an organisation's automation may set them.
    pub tags_of_vpcs: Tags,
    /// The opt-in regions that each account has enabled, by account ID. All other opt-in regions are disabled, as in a
    /// new account.
    pub enabled_regions: BTreeMap<String, BTreeSet<String>>,
}

/// How long each transition takes, in seconds of the simulator's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delays {
    /// From `initiating-request` to `pending-acceptance` or `failed`.
    #[serde(with = "seconds")]
    pub initiating: Duration,
    /// From `pending-acceptance` to `expired`: seven days in the API reference of `CreateVpcPeeringConnection`.
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

/// How long EC2 takes to act on, or to show, the effect of a call, in seconds of the simulator's clock. Zero by default.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lags {
    /// For this time after a call that sets or removes tags, Describe shows the tags from before.
    #[serde(with = "seconds")]
    pub tags: Duration,
    /// For this time after `ModifyVpcPeeringConnectionOptions`, Describe shows the options from before.
    #[serde(with = "seconds")]
    pub options: Duration,
    /// For this time after a request is shown as pending, `AcceptVpcPeeringConnection` does not find it
    /// (hashicorp/terraform-provider-aws 30423).
    #[serde(with = "seconds")]
    pub acceptance: Duration,
    /// For this time after a connection is shown as active, `ModifyVpcPeeringConnectionOptions` answers that it is not
    /// active (hashicorp/terraform 8733).
    #[serde(with = "seconds")]
    pub activation: Duration,
}

/// How long an ended connection stays visible, in seconds of the simulator's clock.
/// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle>
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Visibility {
    /// For the requester of a failed connection, the accepter of a rejected one, the end that deleted it, and both ends
    /// within one account.
    #[serde(with = "seconds")]
    pub short: Duration,
    /// For both ends of an expired connection, the requester of a rejected one, and the end that did not delete it.
    #[serde(with = "seconds")]
    pub long: Duration,
}

impl Default for Visibility {
    fn default() -> Self {
        Self { short: Duration::from_secs(2 * 60 * 60), long: 2 * DAY }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The response to a repeated request for the same requester and accepter VPC. AWS documents none of these. Users of
/// Terraform observed the first (hashicorp/terraform-provider-aws 27750 and 27751).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepeatRequest {
    /// The existing connection, unchanged.
    #[default]
    ReturnExisting,
    /// The existing connection, with the new request's tags added.
    ReturnExistingWithNewTags,
    /// A new connection.
    MintNew,
}

/// The CIDR blocks of the requester that a pending request shows. It shows the primary block
/// (ansible-collections/amazon.aws `ec2_vpc_peering`). Nobody has observed whether it shows the other account the
/// secondary and IPv6 blocks too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlocksOfRequests {
    /// All blocks.
    #[default]
    All,
    /// The primary IPv4 block.
    Primary,
}

/// The quotas.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Maximum active connections of a VPC.
    pub active_per_vpc: usize,
    /// Maximum CIDR blocks of a VPC, for IPv4 and IPv6 separately:
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-vpcs-subnets>.
    pub cidr_blocks_per_vpc: usize,
    /// Maximum outstanding requests of an account and region.
    pub outstanding: usize,
    /// Maximum static routes in a route table, without the local routes, for IPv4 and IPv6 separately:
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-route-tables>.
    pub routes_per_table: usize,
    /// Maximum tags of a resource:
    /// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>.
    pub tags_per_resource: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            active_per_vpc: 50,
            cidr_blocks_per_vpc: 5,
            outstanding: 25,
            routes_per_table: 500,
            tags_per_resource: 50,
        }
    }
}

/// EC2's token buckets: one for each account, region and action.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Throttling {
    /// The bucket of a read-only action.
    pub non_mutating: Bucket,
    /// The bucket of a mutating action.
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
    /// Maximum tokens, which is the maximum burst of calls.
    pub capacity: f64,
    /// Tokens added per second.
    pub refill: f64,
}

/// The clock against which session expiry is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionClock {
    /// The machine's clock. Clients renew sessions by it, and a test cannot move it.
    #[default]
    Machine,
    /// The simulator's clock. A test that moves it forward expires sessions.
    Simulator,
}

/// Serializes a duration as a number of seconds.
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
