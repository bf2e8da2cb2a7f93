//! EC2's view of the peering of a `VpcPeering`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;

use super::claims;
use super::recorded;
use super::resolve::Peers;
use crate::api::{DeletionPolicy, ManagementPolicy, Side, VpcPeering, VpcPeeringSpec};
use crate::aws::calls::{CONNECTION_ID, REQUESTER_VPC_ID};
use crate::aws::{Filters, Inventory, Listing, View};
use crate::controller::blocked::Blocked;
use crate::controller::context::Context;
use crate::controller::dns;
use crate::controller::index::By;
use crate::controller::inventories;
use crate::controller::kind::{
    Look, has_finalizer, is_deleted, is_reconcile_requested, owner, reconcile_at, with_state,
};
use crate::controller::security_groups;
use crate::controller::state::Listings;
use crate::peering::dns::DnsAttributes;
use crate::peering::quota::Quotas;
use crate::peering::routes::{NamedPrefixLists, PrefixLists, RouteTables, Subnets};
use crate::peering::security_groups::SecurityGroupReferences;
use crate::peering::vpc_peering::{AccepterView, Desired, Observation, Recorded, view};
use crate::peering::{Authorized, Blocker, Connection, Endpoints, Owner, Snapshot, StatusCode};

/// The desired state of the object.
pub(super) fn desired<'a>(
    object: &'a VpcPeering,
    context: &'a Context,
    peers: &'a Peers,
    owner: &'a Owner,
) -> Desired<'a> {
    Desired {
        owner,
        spec: &object.spec,
        ends: &peers.ends,
        permissions: &peers.permissions,
        defaults: &context.defaults,
        is_cluster_unique: context.settings.is_cluster_unique,
        deleted: is_deleted(object),
        finalizer: has_finalizer(object),
        reconcile_requested: is_reconcile_requested(object),
        reconcile_at: reconcile_at(object),
        generation: object.metadata.generation.unwrap_or_default(),
        status: object.status.as_ref(),
    }
}

/// The inventories that the object uses.
struct Sources {
    requester: Arc<Inventory<Snapshot>>,
    /// The inventory of the accepter's end, if that is in another account or region.
    accepter: Option<Arc<Inventory<Snapshot>>>,
    route_tables: BTreeMap<Side, Arc<Inventory<RouteTables>>>,
    /// Those of the ends whose route tables the spec selects by subnet.
    subnets: BTreeMap<Side, Arc<Inventory<Subnets>>>,
    /// Those of the ends whose routes lead to prefix lists, until the object is deleted: to remove routes, the operator
    /// need not know the lists.
    prefix_lists: BTreeMap<Side, Arc<Inventory<PrefixLists>>>,
}

/// Reads EC2's view.
pub(super) async fn observe(
    object: &VpcPeering,
    context: &Context,
    peers: &Peers,
    look: Look,
) -> Result<Observation, Blocked> {
    let recorded = recorded(object);
    let sources = Sources::new(object, &recorded, peers);
    let last_write = with_state(context, object, |state| {
        state.listings = sources.listings();
        state.last_write
    });
    let related = related(&object.spec, &recorded, &peers.ends);
    if !has_finalizer(object) {
        // EC2 is polled while the API server writes the finalizer.
        if !is_deleted(object) {
            sources.requester.refresh(Some(related));
        }
        return Ok(Observation::default());
    }
    let last_write = last_write.unwrap_or(context.started);
    let look = Look { since: look.since.max(last_write), ..look };
    let tables = Box::pin(read(&sources.route_tables, peers, look)).await;
    let subnets = Box::pin(read(&sources.subnets, peers, look)).await;
    let lists = Box::pin(prefix_lists(&sources.prefix_lists, &object.spec, peers, look)).await;
    let mut filters = first_filters(object, &recorded, &related);
    let mut listing = sources.requester.query(filters.clone(), look.since).await;
    loop {
        let retry_after = listing.retry_after();
        let snapshot =
            listing.outcome.as_ref().map_err(|error| Blocked::Unreadable { error: error.clone(), retry_after })?;
        let owner = owner(context, object);
        let wanted = object.spec.vpc_peering_connection_id.as_ref();
        let mut observed = view(snapshot, &owner, &recorded, &peers.ends, wanted);
        if observed.is_empty() && listing.as_of < look.absent_since {
            filters.extend(&related);
            listing = sources.requester.query(filters.clone(), look.absent_since).await;
            continue;
        }
        // Other connections of the view must be as recent: they may be the ones that were just changed.
        let unread = unread(&observed, &filters);
        if !unread.is_empty() {
            filters = unread.iter().fold(filters, |all, id| all.and(CONNECTION_ID, id.as_str()));
            listing = sources.requester.query(filters.clone(), look.since.max(listing.as_of)).await;
            continue;
        }
        observed.dns = Box::pin(dns_attributes(object, context, peers, &owner, &observed, look)).await;
        observed.security_groups = Box::pin(security_groups(object, context, peers, &observed, look)).await;
        (observed.tables, observed.subnets, observed.lists) = (tables.clone(), subnets.clone(), lists.clone());
        observed.quotas = quotas(peers, &tables);
        observed.accepter = Box::pin(accepter_view(&sources, peers, &observed, look)).await;
        add_state(object, context, peers, &recorded, &listing, &mut observed);
        watch_ids(object, context, peers, &recorded, &observed);
        // A change that was reported before the object asked to be woken by it.
        match sources.requester.newer_than(&listing) {
            Some(newer) => listing = newer,
            None => return Ok(observed),
        }
    }
}

/// The filters of the first query. A recorded connection is known by its ID. Before a deletion ends, every connection
/// that may be ours counts.
fn first_filters(object: &VpcPeering, recorded: &Recorded, related: &Filters) -> Filters {
    let known_id = recorded.connection_id.as_ref().filter(|_| !is_deleted(object));
    known_id.map_or_else(|| related.clone(), |id| Filters::default().and(CONNECTION_ID, id))
}

/// AWS's quotas at each end whose route tables are read.
fn quotas(peers: &Peers, tables: &BTreeMap<Side, Result<Arc<RouteTables>, Blocker>>) -> BTreeMap<Side, Quotas> {
    let of = |side: &Side| Some((*side, peers.account(*side)?.quotas.of(&peers.ends.side(*side).region)));
    tables.keys().filter_map(of).collect()
}

impl Sources {
    fn new(object: &VpcPeering, recorded: &Recorded, peers: &Peers) -> Self {
        let spec = &object.spec;
        let elsewhere = peers.accepter.as_ref().filter(|_| !peers.is_one_place);
        let has_routes =
            |side: &Side| spec.side(*side).routes.is_some() || recorded.routes.iter().any(|route| route.side == *side);
        let sides = Side::BOTH.into_iter().filter(has_routes);
        let needs_subnets =
            |side: &Side| spec.side(*side).routes.as_ref().is_some_and(|routes| routes.route_tables.is_by_subnet());
        let subnets = |side| Some((side, peers.account(side)?.subnets.of(&peers.ends.side(side).region)));
        let needs_lists = |side: &Side| !is_deleted(object) && !named_lists(spec, *side).is_empty();
        let lists = |side| Some((side, peers.account(side)?.prefix_lists.of(&peers.ends.side(side).region)));
        let tables = |side| Some((side, peers.account(side)?.route_tables.of(&peers.ends.side(side).region)));
        Self {
            requester: peers.requester.peerings.of(&peers.ends.requester.region),
            accepter: elsewhere.map(|account| account.peerings.of(&peers.ends.accepter.region)),
            route_tables: sides.filter_map(tables).collect(),
            subnets: Side::BOTH.into_iter().filter(needs_subnets).filter_map(subnets).collect(),
            prefix_lists: Side::BOTH.into_iter().filter(needs_lists).filter_map(lists).collect(),
        }
    }

    fn listings(&self) -> Listings {
        Listings {
            connections: std::iter::once(&self.requester).chain(&self.accepter).cloned().collect(),
            _route_tables: self.route_tables.values().cloned().collect(),
            _subnets: self.subnets.values().cloned().collect(),
            _prefix_lists: self.prefix_lists.values().cloned().collect(),
        }
    }
}

/// The resources of the VPC of each end that has an inventory of them.
async fn read<V: View>(
    inventories: &BTreeMap<Side, Arc<Inventory<V>>>,
    peers: &Peers,
    look: Look,
) -> BTreeMap<Side, Result<Arc<V>, Blocker>> {
    let mut read = BTreeMap::new();
    for (side, inventory) in inventories {
        let vpc_id = &peers.ends.side(*side).vpc_id;
        read.insert(*side, inventories::of_vpc(inventory, vpc_id, look.since).await);
    }
    read
}

/// The prefix lists that the routes of an end lead to.
fn named_lists(spec: &VpcPeeringSpec, side: Side) -> &[String] {
    let routes = spec.side(side).routes.as_ref();
    routes.map(|routes| routes.destination_prefix_list_ids.as_slice()).unwrap_or_default()
}

/// The prefix lists of the spec at each end.
async fn prefix_lists(
    inventories: &BTreeMap<Side, Arc<Inventory<PrefixLists>>>,
    spec: &VpcPeeringSpec,
    peers: &Peers,
    look: Look,
) -> BTreeMap<Side, NamedPrefixLists> {
    let mut lists = BTreeMap::new();
    for (side, inventory) in inventories {
        let Some(account) = peers.account(*side) else { continue };
        let place = (&**account, peers.ends.side(*side).region.as_str());
        let named = inventories::prefix_lists(inventory, place, named_lists(spec, *side), look.since).await;
        lists.insert(*side, named);
    }
    lists
}

/// Filters for every connection that may be the object's own or stand in its way, in either direction.
fn related(spec: &VpcPeeringSpec, recorded: &Recorded, ends: &Endpoints) -> Filters {
    let ids = recorded.connection_id.iter().chain(&spec.vpc_peering_connection_id);
    let ids = ids.map(|id| (CONNECTION_ID, id));
    let vpcs = [&ends.requester, &ends.accepter].map(|end| (REQUESTER_VPC_ID, &end.vpc_id));
    ids.chain(vpcs).collect()
}

/// The connections of the view that the filters do not match.
fn unread(observed: &Observation, filters: &Filters) -> BTreeSet<String> {
    let is_read = |connection: &Connection| filters.matches(|filter| Snapshot::filter_value(connection, filter));
    observed.shown().filter(|connection| !is_read(connection)).map(|connection| connection.id.clone()).collect()
}

async fn accepter_view(sources: &Sources, peers: &Peers, observed: &Observation, look: Look) -> AccepterView {
    match &sources.accepter {
        Some(inventory) => {
            let live = observed.recorded.as_ref().filter(|connection| !connection.code.has_ended());
            AccepterView::Elsewhere(match live {
                Some(connection) => inventories::connection(inventory, &connection.id, look).await,
                None => Ok(None),
            })
        }
        None if peers.is_one_place => AccepterView::Same,
        None => AccepterView::Nobody,
    }
}

/// A connection as the accepter's account and region shows it, if that is another one.
pub(super) async fn accepter_connection(
    peers: &Peers,
    id: &str,
    look: Look,
) -> Result<Option<Arc<Connection>>, Blocker> {
    match peers.accepter.as_ref().filter(|_| !peers.is_one_place) {
        Some(account) => inventories::connection(&account.peerings.of(&peers.ends.accepter.region), id, look).await,
        None => Ok(None),
    }
}

/// The DNS attributes of both VPCs, as far as identities act for them, if the spec needs them.
async fn dns_attributes(
    object: &VpcPeering,
    context: &Context,
    peers: &Peers,
    owner: &Owner,
    observed: &Observation,
    look: Look,
) -> BTreeMap<Side, Result<DnsAttributes, Blocker>> {
    let is_active = observed.recorded.as_ref().is_some_and(|connection| connection.code == StatusCode::Active);
    let is_kept = object.spec.management_policy == ManagementPolicy::Full && !is_deleted(object);
    let needs_dns = || desired(object, context, peers, owner).needs_dns();
    let mut attributes = BTreeMap::new();
    if is_active
        && is_kept
        && needs_dns()
        && let Some(since) = dns::since(object, context, look)
    {
        for side in Side::BOTH {
            let Some(account) = peers.account(side) else { continue };
            let of_side = dns::attributes(account, peers.ends.side(side), since).await;
            attributes.extend(of_side.map(|found| (side, found)));
        }
    }
    attributes
}

/// The references between the security groups of both VPCs, if the administrator asks for the warning and the deletion
/// of the object deletes the connection.
async fn security_groups(
    object: &VpcPeering,
    context: &Context,
    peers: &Peers,
    observed: &Observation,
    look: Look,
) -> BTreeMap<Side, Option<Arc<SecurityGroupReferences>>> {
    let is_active = observed.recorded.as_ref().is_some_and(|connection| connection.code == StatusCode::Active);
    let is_deletable = object.spec.management_policy == ManagementPolicy::Full
        && context.defaults.deletion_policy(object.spec.deletion_policy) == DeletionPolicy::Delete;
    if !context.security_group_warnings || !is_active || !is_deletable {
        return BTreeMap::new();
    }
    let ends = Side::BOTH.into_iter().filter_map(|side| Some((side, peers.account(side)?, peers.ends.side(side))));
    security_groups::references(object, context, ends, look).await
}

/// Adds the views of the cluster and of this process.
fn add_state(
    object: &VpcPeering,
    context: &Context,
    peers: &Peers,
    recorded: &Recorded,
    listing: &Listing<Snapshot>,
    observed: &mut Observation,
) {
    let owner = owner(context, object);
    let proven = proven(desired(object, context, peers, &owner), recorded, observed);
    let is_needed = |id: &str| recorded.routes.iter().any(|route| route.vpc_peering_connection_id == id);
    observed.older_claim = recorded.owned_id().is_none().then(|| claims::older(object, context, &peers.ends)).flatten();
    let code = observed.recorded.as_ref().map(|connection| connection.code.clone());
    with_state(context, object, |state| {
        let missing = observed.lacks(recorded).then_some("");
        observed.missing_for = state.missing_for(missing, listing.as_of).remove("").unwrap_or(Duration::ZERO);
        observed.transient_for = state.deferral.transient_for(code.as_ref(), listing.as_of);
        observed.preflight = state.preflight(object.metadata.generation);
        observed.refused = state.refusals.refused(object.metadata.generation);
        observed.unseen = state.unseen(context.settings.consistency_window, |step| observed.shows(step));
        observed.remembered = state.proven(proven, is_needed);
        let window = context.settings.consistency_window;
        observed.route_answers = state.route_answers(&recorded.routes, context.started, window);
    });
}

/// The connections that EC2 shows as the object's own now.
fn proven(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Vec<Authorized> {
    let authority = desired.authority();
    observed.routed(recorded).filter_map(|(connection, hint)| authority.over(connection, hint).ok()).collect()
}

/// Sets the AWS IDs whose changes wake the object.
fn watch_ids(object: &VpcPeering, context: &Context, peers: &Peers, recorded: &Recorded, observed: &Observation) {
    let ids = observed
        .shown()
        .map(|connection| &connection.id)
        .chain(&recorded.connection_id)
        .chain(&object.spec.vpc_peering_connection_id)
        // A change of a route table is reported by its VPC.
        .chain(observed.tables.keys().map(|side| &peers.ends.side(*side).vpc_id))
        .chain(observed.lists.keys().flat_map(|side| named_lists(&object.spec, *side)));
    context.peerings.index.set(By::AwsId, &object.namespace().unwrap_or_default(), &object.name_any(), ids);
}
