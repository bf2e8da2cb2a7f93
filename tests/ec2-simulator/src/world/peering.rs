//! A peering connection: its two ends and its phase.
//! <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle>

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::Location;
use super::settings::Visibility;

/// A peering connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peering {
    /// The ID: `pcx-…`.
    pub id: String,
    /// The requester.
    pub requester: End,
    /// The accepter.
    pub accepter: End,
    /// When the request expires. `None` once it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The phase, which determines the status code.
    pub phase: Phase,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The account and region of the VPC.
    #[serde(flatten)]
    pub location: Location,
    /// The ID of the VPC. The accepter's VPC is as the requester named it, and need not exist.
    pub vpc_id: String,
    /// The options of this end.
    #[serde(default)]
    pub options: Options,
}

/// The options of one end:
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcPeeringConnectionOptionsDescription.html>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// `AllowDnsResolutionFromRemoteVpc`
    pub dns_resolution: bool,
    /// `AllowMultipathResilience`
    pub multipath: bool,
}

/// The phase of a connection, with the time of its next timed transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Phase {
    /// EC2 validates the request.
    InitiatingRequest {
        /// When the validation ends.
        until: Timestamp,
    },
    /// The request waits for the accepter.
    PendingAcceptance,
    /// Accepted. EC2 sets up the connection.
    Provisioning {
        /// When it becomes active.
        until: Timestamp,
    },
    /// The connection routes traffic.
    Active,
    /// The request was invalid.
    Failed {
        /// When the phase began.
        since: Timestamp,
    },
    /// The accepter rejected the request.
    Rejected {
        /// When the phase began.
        since: Timestamp,
    },
    /// The request was not accepted in time.
    Expired {
        /// When the phase began.
        since: Timestamp,
    },
    /// One of the owners deletes the connection.
    Deleting {
        /// When it becomes deleted.
        until: Timestamp,
        /// The end that deleted it.
        by: Side,
    },
    /// Deleted. EC2 still shows the connection for a while.
    Deleted {
        /// When the phase began.
        since: Timestamp,
        /// The end that deleted it.
        by: Side,
    },
}

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The end that requested the connection.
    Requester,
    /// The end that accepts or rejects the request.
    Accepter,
}

impl Phase {
    /// The status code of EC2.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InitiatingRequest { .. } => "initiating-request",
            Self::PendingAcceptance => "pending-acceptance",
            Self::Provisioning { .. } => "provisioning",
            Self::Active => "active",
            Self::Failed { .. } => "failed",
            Self::Rejected { .. } => "rejected",
            Self::Expired { .. } => "expired",
            Self::Deleting { .. } => "deleting",
            Self::Deleted { .. } => "deleted",
        }
    }

    /// Whether the connection is active or can still become active.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.is_outstanding() || self.is_accepted()
    }

    /// Whether it counts toward the quota of outstanding requests.
    pub(crate) fn is_outstanding(&self) -> bool {
        matches!(self, Self::InitiatingRequest { .. } | Self::PendingAcceptance)
    }

    /// Whether it counts toward the quota of active connections.
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self, Self::Provisioning { .. } | Self::Active)
    }
}

impl Peering {
    pub(crate) fn end(&self, side: Side) -> &End {
        match side {
            Side::Requester => &self.requester,
            Side::Accepter => &self.accepter,
        }
    }

    pub(crate) fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Requester => &mut self.requester,
            Side::Accepter => &mut self.accepter,
        }
    }

    pub(crate) fn is_same_account(&self) -> bool {
        self.requester.location.account == self.accepter.location.account
    }

    pub(crate) fn is_same_region(&self) -> bool {
        self.requester.location.region == self.accepter.location.region
    }

    /// Whether one of its ends is in this location.
    pub(crate) fn is_in(&self, location: &Location) -> bool {
        self.requester.location == *location || self.accepter.location == *location
    }

    /// The status message of EC2.
    pub(crate) fn message(&self) -> String {
        let accepter = &self.accepter.location.account;
        match &self.phase {
            Phase::InitiatingRequest { .. } => format!("Initiating Request to {accepter}"),
            Phase::PendingAcceptance => format!("Pending Acceptance by {accepter}"),
            Phase::Provisioning { .. } => "Provisioning".into(),
            Phase::Active => "Active".into(),
            Phase::Failed { .. } => "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range".into(),
            Phase::Rejected { .. } => format!("Rejected by {accepter}"),
            Phase::Expired { .. } => "Expired".into(),
            Phase::Deleting { .. } => "Deleting".into(),
            Phase::Deleted { by, .. } => format!("Deleted by {}", self.end(*by).location.account),
        }
    }

    /// When the connection stops being visible at an end. `None` while it is live.
    fn visible_until(&self, side: Side, visibility: &Visibility) -> Option<Timestamp> {
        let Visibility { short, long } = *visibility;
        let (since, period) = match (&self.phase, side) {
            (Phase::Failed { since }, Side::Requester) => (since, short),
            // The accepter never sees a failed request.
            (Phase::Failed { since }, Side::Accepter) => (since, Duration::ZERO),
            (Phase::Expired { since }, _) => (since, long),
            (Phase::Rejected { since } | Phase::Deleted { since, .. }, _) if self.is_same_account() => (since, short),
            (Phase::Rejected { since }, Side::Requester) => (since, long),
            (Phase::Rejected { since }, Side::Accepter) => (since, short),
            (Phase::Deleted { since, by }, side) => (since, if *by == side { short } else { long }),
            (
                Phase::InitiatingRequest { .. }
                | Phase::PendingAcceptance
                | Phase::Provisioning { .. }
                | Phase::Active
                | Phase::Deleting { .. },
                _,
            ) => return None,
        };
        Some(saturating_add(*since, period))
    }

    pub(crate) fn is_visible(&self, location: &Location, now: Timestamp, visibility: &Visibility) -> bool {
        [Side::Requester, Side::Accepter].into_iter().any(|side| {
            let is_hidden = side == Side::Accepter && matches!(self.phase, Phase::InitiatingRequest { .. });
            self.end(side).location == *location
                && !is_hidden
                && self.visible_until(side, visibility).is_none_or(|until| now < until)
        })
    }

    /// The time of the next timed transition, or of the end of visibility.
    pub(crate) fn due(&self, visibility: &Visibility) -> Option<Timestamp> {
        match &self.phase {
            Phase::InitiatingRequest { until } | Phase::Provisioning { until } | Phase::Deleting { until, .. } => {
                Some(*until)
            }
            Phase::PendingAcceptance => self.expires,
            Phase::Active => None,
            Phase::Failed { .. } | Phase::Rejected { .. } | Phase::Expired { .. } | Phase::Deleted { .. } => {
                [Side::Requester, Side::Accepter]
                    .into_iter()
                    .filter_map(|side| self.visible_until(side, visibility))
                    .max()
            }
        }
    }
}

/// Adds a period to a time. The result is at most `Timestamp::MAX`.
pub(crate) fn saturating_add(time: Timestamp, period: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(period)
        .ok()
        .and_then(|period| time.checked_add(period).ok())
        .unwrap_or(Timestamp::MAX)
}
