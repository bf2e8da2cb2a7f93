//! The domain: the rules for a VPC peering connection and its two ends. Everything here is pure: no Kubernetes client,
//! no AWS SDK, no clock and no async runtime. `tests/purity.rs` checks the imports.
//!
//! `vpc_peering` and `vpc_peering_accepter` decide for one kind each. They share `upkeep`, which keeps the tags, DNS
//! options and routes of one end of one connection.

pub(crate) mod authority;
pub(crate) mod blocker;
pub(crate) mod conditions;
pub(crate) mod connection;
pub(crate) mod defaults;
pub(crate) mod deletion_summary;
pub(crate) mod dns;
pub(crate) mod ec2_call;
pub(crate) mod endpoints;
pub(crate) mod forecast;
pub(crate) mod goal;
pub(crate) mod left_in_aws;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod owner;
pub(crate) mod plan;
pub(crate) mod preflight;
pub(crate) mod quota;
pub(crate) mod routes;
pub(crate) mod security_groups;
pub(crate) mod settings;
pub(crate) mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod upkeep;
pub(crate) mod vpc_peering;
pub(crate) mod vpc_peering_accepter;
pub(crate) mod vpc_reference;

pub(crate) use authority::{Authorized, Hint};
pub(crate) use blocker::{Blocker, Progress};
pub(crate) use conditions::Readiness;
pub(crate) use connection::{Connection, StatusCode};
pub(crate) use defaults::Defaults;
pub(crate) use ec2_call::{CreateRequest, Ec2Call};
pub(crate) use endpoints::{Endpoint, Endpoints};
pub(crate) use goal::Goal;
pub(crate) use limits::{Limits, Permissions};
pub(crate) use owner::Owner;
pub(crate) use plan::Plan;
pub(crate) use preflight::Preflight;
pub(crate) use settings::Settings;
pub(crate) use snapshot::Snapshot;
