//! The steps of the upkeep of one end.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{ManagedRoute, ManagedTag, Side};
use crate::peering::authority::Authorized;
use crate::peering::blocker::Blocker;
use crate::peering::connection::Connection;
use crate::peering::dns::{DnsAttribute, DnsAttributes};
use crate::peering::ec2_call::Ec2Call;
use crate::peering::plan::{Aspect, Calls};
use crate::peering::routes::{RouteChange, RouteStep};

/// A change to one end of a connection, or to the record of such changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpkeepStep {
    /// Record the tags of the spec that the operator sets.
    RecordTags {
        tags: BTreeSet<ManagedTag>,
    },
    Tag {
        id: Authorized,
        tags: BTreeMap<String, String>,
    },
    Untag {
        id: Authorized,
        keys: BTreeSet<String>,
    },
    SetOptions {
        id: Authorized,
        allow_dns_resolution_from_remote_vpc: bool,
    },
    /// Turn on a DNS attribute of the VPC of this end. Nothing turns it off again.
    SetDnsAttribute {
        /// The connection that needs the attribute.
        id: Authorized,
        vpc_id: String,
        attribute: DnsAttribute,
    },
    /// Record the routes that the operator creates.
    RecordRoutes {
        routes: BTreeSet<ManagedRoute>,
    },
    /// Change routes, with one call each.
    ChangeRoutes {
        changes: Vec<RouteChange>,
    },
}

impl UpkeepStep {
    /// The change in AWS, as a verb phrase. `None` for a record.
    pub(crate) fn change(&self, side: Side) -> Option<String> {
        let list = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>().join(", ");
        match self {
            Self::RecordTags { .. } | Self::RecordRoutes { .. } => None,
            Self::Tag { id, tags } => Some(format!("set the tags {} on {id}", list(tags.keys().collect()))),
            Self::Untag { id, keys } => Some(format!("remove the tags {} from {id}", list(keys.iter().collect()))),
            Self::SetOptions { id, .. } => Some(format!("set the DNS options of the {side} of {id}")),
            Self::SetDnsAttribute { vpc_id, attribute, .. } => Some(format!("turn on {attribute} of {vpc_id}")),
            Self::ChangeRoutes { changes } => {
                let noun = if changes.len() == 1 { "route" } else { "routes" };
                Some(format!("change {} {noun} of the {side}", changes.len()))
            }
        }
    }

    /// See [`Step::covers`](crate::peering::plan::Step::covers).
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tag { id, tags }, Self::Tag { id: of, tags: others }) => {
                id == of && others.iter().all(|(key, value)| tags.get(key) == Some(value))
            }
            (Self::Untag { id, keys }, Self::Untag { id: of, keys: others }) => id == of && keys.is_superset(others),
            (Self::SetOptions { .. }, Self::SetOptions { .. })
            | (Self::SetDnsAttribute { .. }, Self::SetDnsAttribute { .. }) => self == other,
            _ => false,
        }
    }

    /// See [`Step::beside`](crate::peering::plan::Step::beside). The routes of one end are independent: those that EC2
    /// has refused delay no other.
    pub(crate) fn beside(&self, refused: &Self) -> Option<Self> {
        match (self, refused) {
            (Self::RecordRoutes { .. }, Self::ChangeRoutes { .. }) => Some(self.clone()),
            (Self::ChangeRoutes { changes }, Self::ChangeRoutes { changes: refused }) => {
                let changes: Vec<_> = changes.iter().filter(|change| !refused.contains(change)).cloned().collect();
                (!changes.is_empty()).then_some(Self::ChangeRoutes { changes })
            }
            _ => None,
        }
    }

    /// The connection whose tags or options the step changes.
    pub(crate) fn connection_id(&self) -> Option<&Authorized> {
        match self {
            Self::Tag { id, .. } | Self::Untag { id, .. } | Self::SetOptions { id, .. } => Some(id),
            Self::RecordTags { .. }
            | Self::SetDnsAttribute { .. }
            | Self::RecordRoutes { .. }
            | Self::ChangeRoutes { .. } => None,
        }
    }

    /// Whether EC2 shows the new tags or options of an end, or the new attribute of its VPC.
    pub(crate) fn is_shown(
        &self,
        side: Side,
        connection: Option<&Connection>,
        dns: Option<&Result<DnsAttributes, Blocker>>,
    ) -> bool {
        match self {
            Self::SetDnsAttribute { attribute, .. } => {
                dns.and_then(|dns| dns.as_ref().ok()).is_some_and(|dns| dns.has(*attribute))
            }
            Self::RecordTags { .. } | Self::RecordRoutes { .. } | Self::ChangeRoutes { .. } => true,
            Self::Tag { .. } | Self::Untag { .. } | Self::SetOptions { .. } => {
                connection.is_some_and(|connection| self.is_shown_by(side, connection))
            }
        }
    }

    fn is_shown_by(&self, side: Side, connection: &Connection) -> bool {
        match self {
            Self::Tag { tags, .. } => {
                tags.iter().all(|(key, value)| connection.tags.get(key.as_str()).is_some_and(|shown| shown == value))
            }
            Self::Untag { keys, .. } => !keys.iter().any(|key| connection.tags.contains_key(key.as_str())),
            Self::SetOptions { allow_dns_resolution_from_remote_vpc: wanted, .. } => {
                let end = match side {
                    Side::Requester => &connection.requester,
                    Side::Accepter => &connection.accepter,
                };
                let shown = end.peering_options.as_ref();
                shown.and_then(|options| options.allow_dns_resolution_from_remote_vpc).unwrap_or_default() == *wanted
            }
            Self::RecordTags { .. }
            | Self::SetDnsAttribute { .. }
            | Self::RecordRoutes { .. }
            | Self::ChangeRoutes { .. } => true,
        }
    }

    pub(crate) fn is_destructive(&self) -> bool {
        match self {
            Self::Untag { .. } => true,
            Self::ChangeRoutes { changes } => changes.iter().any(RouteChange::is_destructive),
            Self::RecordTags { .. }
            | Self::Tag { .. }
            | Self::SetOptions { .. }
            | Self::SetDnsAttribute { .. }
            | Self::RecordRoutes { .. } => false,
        }
    }

    pub(crate) fn calls(&self, side: Side) -> Option<Calls> {
        match self {
            Self::RecordTags { .. } | Self::RecordRoutes { .. } => None,
            Self::Tag { .. } => Some(Calls::one("CreateTags", side)),
            Self::Untag { .. } => Some(Calls::one("DeleteTags", side)),
            Self::SetOptions { .. } => Some(Calls::one("ModifyVpcPeeringConnectionOptions", side)),
            Self::SetDnsAttribute { .. } => Some(Calls::one("ModifyVpcAttribute", side)),
            // Creating, replacing and deleting routes are three EC2 actions. One limit for all of them errs on the safe
            // side.
            Self::ChangeRoutes { changes } => Some(Calls { action: "CreateRoute", side, count: changes.len() }),
        }
    }

    /// The EC2 calls with their parameters, in their order. A record has none.
    pub(crate) fn ec2_calls(&self, side: Side) -> Vec<Ec2Call> {
        match self {
            Self::RecordTags { .. } | Self::RecordRoutes { .. } => Vec::new(),
            Self::Tag { id, tags } => vec![Ec2Call::Tag { id: id.to_string(), tags: tags.clone() }],
            Self::Untag { id, keys } => vec![Ec2Call::Untag { id: id.to_string(), keys: keys.clone() }],
            Self::SetOptions { id, allow_dns_resolution_from_remote_vpc } => vec![Ec2Call::SetOptions {
                id: id.to_string(),
                side,
                allow_dns_resolution_from_remote_vpc: *allow_dns_resolution_from_remote_vpc,
            }],
            Self::SetDnsAttribute { vpc_id, attribute, .. } => {
                vec![Ec2Call::TurnOnDnsAttribute { vpc_id: vpc_id.clone(), attribute: *attribute }]
            }
            Self::ChangeRoutes { changes } => changes.iter().cloned().map(Ec2Call::ChangeRoute).collect(),
        }
    }

    /// The step, as a verb phrase.
    pub(crate) fn summary(&self, side: Side) -> String {
        let record = if matches!(self, Self::RecordTags { .. }) { "tags" } else { "routes" };
        self.change(side).unwrap_or_else(|| format!("record the {record} of the {side} in the status"))
    }

    pub(crate) fn aspect(&self, side: Side) -> Aspect {
        match self {
            Self::RecordTags { .. } | Self::Tag { .. } | Self::Untag { .. } => Aspect::Tags(side),
            Self::SetOptions { .. } | Self::SetDnsAttribute { .. } => Aspect::Options(side),
            Self::RecordRoutes { .. } | Self::ChangeRoutes { .. } => Aspect::Routes(side),
        }
    }
}

impl From<RouteStep> for UpkeepStep {
    fn from(step: RouteStep) -> Self {
        match step {
            RouteStep::Record(routes) => Self::RecordRoutes { routes },
            RouteStep::Change(changes) => Self::ChangeRoutes { changes },
        }
    }
}

#[cfg(test)]
mod tests;
