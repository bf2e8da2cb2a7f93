//! The CIDR blocks of the other end that may get routes.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::cidr::is_private;

/// The CIDR blocks of the other end that may get routes. The account of the other end can add blocks to its VPC at any
/// time. Such a block must not get a route here without consent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Every block may get a route, because the operator acts for the other end, too.
    pub all: bool,
    /// The spec lists these blocks. A block within one of them may get a route.
    pub listed: BTreeSet<IpNet>,
    /// The blocks of the other end when the peering first became active. The private blocks and the IPv6 blocks among
    /// them may get routes.
    pub recorded: BTreeSet<IpNet>,
    /// No block that overlaps one of these gets a route. This overrides all other fields.
    pub denied: BTreeSet<IpNet>,
    /// Whether a destination of the spec may get a route because the spec names it.
    pub by_destination: bool,
    /// The advice in messages on how to allow another block. `None` if the user adds it to the destinations of the
    /// spec.
    pub to_allow: Option<String>,
}

impl Trust {
    pub(crate) fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Whether a CIDR block of the other end gets a route when the spec names no destinations.
    pub(super) fn allows(&self, block: &IpNet) -> bool {
        let is_public_ipv4 = matches!(block, IpNet::V4(block) if !is_private(block));
        let is_recorded = self.recorded.contains(block) && !is_public_ipv4;
        !self.denies(block) && (self.all || is_recorded || self.lists(block))
    }

    /// Whether a destination that the spec names gets a route.
    pub(super) fn allows_destination(&self, destination: &IpNet) -> bool {
        !self.denies(destination) && (self.all || self.by_destination || self.lists(destination))
    }

    /// Whether an entry of a prefix list that another account owns may get a route. `blocks` are the CIDR blocks of the
    /// other end.
    pub(super) fn allows_entry(&self, entry: &IpNet, blocks: &BTreeSet<IpNet>) -> bool {
        let is_in_allowed = || blocks.iter().any(|block| block.contains(entry) && self.allows(block));
        !self.denies(entry) && (self.all || self.lists(entry) || is_in_allowed())
    }

    fn denies(&self, block: &IpNet) -> bool {
        self.denied.iter().any(|denied| denied.contains(block) || block.contains(denied))
    }

    fn lists(&self, block: &IpNet) -> bool {
        self.listed.iter().any(|listed| listed.contains(block))
    }
}
