//! A peering connection: its two ends, and the phase it is in.
//! <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle>

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::place::Place;
use super::settings::Visibility;

/// A peering connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peering {
    /// `pcx-…`
    pub id: String,
    /// The end that asked.
    pub requester: End,
    /// The end that was asked.
    pub accepter: End,
    /// When the request expires, until it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Where it is in its life.
    pub phase: Phase,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Whose VPC, and where.
    #[serde(flatten)]
    pub place: Place,
    /// `vpc-…`; at the accepter's end, what the requester claimed.
    pub vpc_id: String,
    /// What this end allows.
    #[serde(default)]
    pub options: Options,
}

/// What an end allows: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcPeeringConnectionOptionsDescription.html>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// `AllowDnsResolutionFromRemoteVpc`
    pub dns_resolution: bool,
    /// `AllowMultipathResilience`
    pub multipath: bool,
}

/// Where a connection is in its life, with the times that decide what comes next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Phase {
    /// EC2 checks the request.
    InitiatingRequest {
        /// When the check is done.
        until: Timestamp,
    },
    /// The accepter's owner has to act.
    PendingAcceptance,
    /// Accepted, and being set up.
    Provisioning {
        /// When it is set up.
        until: Timestamp,
    },
    /// Traffic can flow.
    Active,
    /// The request was not good.
    Failed {
        /// Since when.
        since: Timestamp,
    },
    /// The accepter's owner said no.
    Rejected {
        /// Since when.
        since: Timestamp,
    },
    /// Nobody acted in time.
    Expired {
        /// Since when.
        since: Timestamp,
    },
    /// An owner deleted it.
    Deleting {
        /// When it is done.
        until: Timestamp,
        /// Who deleted it.
        by: Side,
    },
    /// It is gone, and shown for a while.
    Deleted {
        /// Since when.
        since: Timestamp,
        /// Who deleted it.
        by: Side,
    },
}

/// Which of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The end that asked.
    Requester,
    /// The end that was asked.
    Accepter,
}

impl Phase {
    /// The status code as EC2 writes it.
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

    /// Whether it is, or may still become, a peering.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.is_outstanding() || self.is_accepted()
    }

    /// Whether it counts as an outstanding request.
    #[must_use]
    pub fn is_outstanding(&self) -> bool {
        matches!(self, Self::InitiatingRequest { .. } | Self::PendingAcceptance)
    }

    /// Whether it counts as an active connection.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Provisioning { .. } | Self::Active)
    }
}

impl Peering {
    /// The end on this side.
    #[must_use]
    pub fn end(&self, side: Side) -> &End {
        match side {
            Side::Requester => &self.requester,
            Side::Accepter => &self.accepter,
        }
    }

    /// The same, to change it.
    pub fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Requester => &mut self.requester,
            Side::Accepter => &mut self.accepter,
        }
    }

    /// Whether both ends are of one account.
    #[must_use]
    pub fn is_same_account(&self) -> bool {
        self.requester.place.account == self.accepter.place.account
    }

    /// Whether both ends are in one region.
    #[must_use]
    pub fn is_same_region(&self) -> bool {
        self.requester.place.region == self.accepter.place.region
    }

    /// Whether there is one end at each of two places, or both at one.
    #[must_use]
    pub fn is_at(&self, place: &Place) -> bool {
        self.requester.place == *place || self.accepter.place == *place
    }

    /// EC2's words on the status. The one on failure is EC2's only hint at the cause.
    #[must_use]
    pub fn message(&self) -> String {
        let accepter = &self.accepter.place.account;
        match &self.phase {
            Phase::InitiatingRequest { .. } => format!("Initiating Request to {accepter}"),
            Phase::PendingAcceptance => format!("Pending Acceptance by {accepter}"),
            Phase::Provisioning { .. } => "Provisioning".into(),
            Phase::Active => "Active".into(),
            Phase::Failed { .. } => "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range".into(),
            Phase::Rejected { .. } => format!("Rejected by {accepter}"),
            Phase::Expired { .. } => "Expired".into(),
            Phase::Deleting { .. } => "Deleting".into(),
            Phase::Deleted { by, .. } => format!("Deleted by {}", self.end(*by).place.account),
        }
    }

    /// When this place stops seeing the connection; `None` while it lives.
    fn visible_until(&self, side: Side, visibility: &Visibility) -> Option<Timestamp> {
        let Visibility { short, long } = *visibility;
        let (since, period) = match (&self.phase, side) {
            (Phase::Failed { since }, Side::Requester) => (since, short),
            // The accepter never hears of a request that failed.
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
        Some(later(*since, period))
    }

    /// Whether a caller at this place sees the connection.
    #[must_use]
    pub fn is_visible(&self, place: &Place, now: Timestamp, visibility: &Visibility) -> bool {
        [Side::Requester, Side::Accepter].into_iter().any(|side| {
            let unheard_of = side == Side::Accepter && matches!(self.phase, Phase::InitiatingRequest { .. });
            self.end(side).place == *place
                && !unheard_of
                && self.visible_until(side, visibility).is_none_or(|until| now < until)
        })
    }

    /// When something happens to the connection by itself.
    #[must_use]
    pub fn due(&self, visibility: &Visibility) -> Option<Timestamp> {
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

/// That much later; the end of time, when it is past that.
#[must_use]
pub fn later(time: Timestamp, period: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(period)
        .ok()
        .and_then(|period| time.checked_add(period).ok())
        .unwrap_or(Timestamp::MAX)
}
