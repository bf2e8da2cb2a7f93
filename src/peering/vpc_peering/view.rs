//! The view of one `VpcPeering` in a snapshot of a region.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::state::{Observation, Recorded};
use crate::peering::connection::Connection;
use crate::peering::endpoints::Endpoints;
use crate::peering::owner::Owner;
use crate::peering::snapshot::{Snapshot, vpcs};

/// The connections that concern a resource. `wanted` is the connection that the spec names for adoption.
pub(crate) fn view(
    snapshot: &Snapshot,
    owner: &Owner,
    recorded: &Recorded,
    ends: &Endpoints,
    wanted: Option<&String>,
) -> Observation {
    let (requester, accepter) = (ends.requester.vpc_id.as_str(), ends.accepter.vpc_id.as_str());
    let is_live = |connection: &&Arc<Connection>| !connection.code.has_ended();
    let is_owned = |connection: &&Arc<Connection>| owner.is_named_by(&connection.tags);
    // EC2 allows one active peering between two VPCs, in either direction.
    let joins_them = |connection: &&Arc<Connection>| {
        let vpcs = vpcs(connection);
        vpcs == [Some(requester), Some(accepter)] || vpcs == [Some(accepter), Some(requester)]
    };
    let is_namesakes =
        |connection: &&Arc<Connection>| Owner::of(&connection.tags).is_some_and(|other| owner.succeeds(&other));
    let earlier: BTreeSet<_> = recorded
        .routes
        .iter()
        .map(|route| &route.vpc_peering_connection_id)
        .filter(|id| Some(*id) != recorded.connection_id.as_ref())
        .collect();
    Observation {
        recorded: recorded.connection_id.as_ref().and_then(|id| snapshot.get(id)).cloned(),
        wanted: wanted.and_then(|id| snapshot.get(id)).cloned(),
        owned: snapshot.owned_by(&owner.uid).filter(is_live).filter(is_owned).cloned().collect(),
        orphaned: snapshot.owned_by_namesakes(owner).filter(is_live).filter(is_namesakes).cloned().collect(),
        earlier: earlier.into_iter().filter_map(|id| snapshot.get(id)).cloned().collect(),
        conflicting: snapshot
            .of(requester)
            .filter(is_live)
            .filter(joins_them)
            .find(|connection| !is_owned(connection))
            .cloned(),
        ..Observation::default()
    }
}
