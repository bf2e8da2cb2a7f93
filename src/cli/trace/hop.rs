//! The ends of a flow, and the connection between them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::look::{PathView, View};
use crate::api::Side;

/// One end of a flow. The parts are absent if nobody acts for the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop<'a> {
    pub(super) side: Side,
    pub(super) address: IpAddr,
    /// The CIDR blocks of the VPC.
    pub(super) blocks: &'a [IpNet],
    pub(super) parts: Option<(&'a View, &'a PathView)>,
}

/// The connection that the packets must take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub(super) connection: &'a str,
    pub(super) is_active: bool,
    /// Whether the spec has routes at the requester's and at the accepter's end.
    pub(super) has_routes: [bool; 2],
}

impl Way<'_> {
    pub(super) fn has_routes(&self, side: Side) -> bool {
        self.has_routes[usize::from(side == Side::Accepter)]
    }
}
