//! EC2's view of the requests to the VPC of a `VpcPeeringAccepter`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::time::Instant;

use super::older;
use super::resolve::Accepter;
use crate::api::{Ownership, VpcPeeringAccepter};
use crate::aws::calls::{ACCEPTER_VPC_ID, CONNECTION_ID};
use crate::aws::{Filters, Inventory, View};
use crate::controller::blocked::Blocked;
use crate::controller::context::Context;
use crate::controller::dns;
use crate::controller::index::{By, Key};
use crate::controller::inventories;
use crate::controller::kind::{Look, has_finalizer, is_deleted, owner, reconcile_at, with_state};
use crate::controller::state::Listings;
use crate::peering::dns::DnsAttributes;
use crate::peering::routes::{NamedPrefixLists, PrefixLists, RouteTables, Subnets};
use crate::peering::snapshot::requests_to;
use crate::peering::vpc_peering_accepter::{Desired, Observation, Recorded};
use crate::peering::{Authorized, Blocker, Connection, Endpoint, Hint, Owner, Snapshot, StatusCode};

/// The desired state of the object.
pub(super) fn desired<'a>(
    object: &'a VpcPeeringAccepter,
    context: &'a Context,
    accepter: &'a Accepter,
    owner: &'a Owner,
) -> Desired<'a> {
    Desired {
        owner,
        spec: &object.spec,
        end: &accepter.end,
        permissions: &accepter.permissions,
        defaults: &context.defaults,
        is_cluster_unique: context.settings.is_cluster_unique,
        deleted: is_deleted(object),
        finalizer: has_finalizer(object),
        reconcile_at: reconcile_at(object),
        generation: object.metadata.generation.unwrap_or_default(),
        status: object.status.as_ref(),
    }
}

/// The inventories that the object uses.
struct Sources {
    connections: Arc<Inventory<Snapshot>>,
    /// That of the route tables, if the operator manages routes.
    route_tables: Option<Arc<Inventory<RouteTables>>>,
    /// That of the subnets, if the spec selects route tables by subnet.
    subnets: Option<Arc<Inventory<Subnets>>>,
    /// That of the prefix lists, if the routes lead to some, until the object is deleted.
    prefix_lists: Option<Arc<Inventory<PrefixLists>>>,
}

/// Reads EC2's view.
pub(super) async fn observe(
    object: &VpcPeeringAccepter,
    context: &Context,
    accepter: &Accepter,
    look: Look,
) -> Result<Observation, Blocked> {
    if !has_finalizer(object) {
        return Ok(Observation::default());
    }
    let recorded = Recorded::of(object.status.as_ref());
    let vpc_id = &accepter.end.vpc_id;
    let sources = Sources::new(object, &recorded, accepter);
    let last_write = with_state(context, object, |state| {
        state.listings = sources.listings();
        state.last_write
    });
    let last_write = last_write.unwrap_or(context.started);
    let since = look.since.max(last_write);
    let around = Box::pin(sources.around(object, accepter, since)).await;
    let filters = related(&recorded, vpc_id);
    let mut listing = sources.connections.query(filters.clone(), since).await;
    loop {
        let retry_after = listing.retry_after();
        let snapshot =
            listing.outcome.as_ref().map_err(|error| Blocked::Unreadable { error: error.clone(), retry_after })?;
        let connections = connections(snapshot, vpc_id, &recorded);
        let missing = missing(&recorded, &connections);
        if !missing.is_empty() && listing.as_of < look.absent_since {
            listing = sources.connections.query(filters.clone(), look.absent_since).await;
            continue;
        }
        let owner = owner(context, object);
        let desired = desired(object, context, accepter, &owner);
        let proven = proven(desired, &connections, &recorded);
        let dns = Box::pin(dns_attributes(object, context, accepter, desired, &connections, look)).await;
        let window = context.settings.consistency_window;
        let older_accepter = older::older(object, context, &accepter.end);
        let claimed = claimed(object, context, &connections);
        let mut observed = with_state(context, object, |state| Observation {
            missing_for: state.missing_for(missing, listing.as_of),
            remembered: state.proven(proven, |id| is_recorded_route(&recorded, id)),
            refused: state.refusals.refused(object.metadata.generation),
            older_accepter,
            claimed,
            // After a restart, the time of the last change is unknown.
            is_settled: last_write.elapsed() > window,
            route_answers: state.route_answers(&recorded.routes, context.started, window),
            dns,
            connections,
            ..around.clone()
        });
        observed.unseen = with_state(context, object, |state| state.unseen(window, |step| observed.shows(step)));
        watch_ids(object, context, vpc_id, &recorded, sources.route_tables.is_some());
        // A change that was reported before the object asked to be woken by it.
        match sources.connections.newer_than(&listing) {
            Some(newer) => listing = newer,
            None => return Ok(observed),
        }
    }
}

impl Sources {
    fn new(object: &VpcPeeringAccepter, recorded: &Recorded, accepter: &Accepter) -> Self {
        let Accepter { account, end, .. } = accepter;
        let routes = object.spec.routes.as_ref();
        let has_routes = routes.is_some() || !recorded.routes.is_empty();
        let needs_subnets = routes.is_some_and(|routes| routes.route_tables.is_by_subnet());
        let needs_lists = !is_deleted(object) && !named_lists(object).is_empty();
        Self {
            connections: account.peerings.of(&end.region),
            route_tables: has_routes.then(|| account.route_tables.of(&end.region)),
            subnets: needs_subnets.then(|| account.subnets.of(&end.region)),
            prefix_lists: needs_lists.then(|| account.prefix_lists.of(&end.region)),
        }
    }

    /// The parts of the observation beside the connections.
    async fn around(&self, object: &VpcPeeringAccepter, accepter: &Accepter, since: Instant) -> Observation {
        let Endpoint { vpc_id, region, .. } = &accepter.end;
        Observation {
            tables: read(self.route_tables.as_ref(), vpc_id, since).await,
            subnets: read(self.subnets.as_ref(), vpc_id, since).await,
            lists: prefix_lists(self.prefix_lists.as_ref(), object, accepter, since).await,
            quotas: accepter.account.quotas.of(region),
            ..Observation::default()
        }
    }

    fn listings(&self) -> Listings {
        Listings {
            connections: vec![Arc::clone(&self.connections)],
            _route_tables: self.route_tables.iter().cloned().collect(),
            _subnets: self.subnets.iter().cloned().collect(),
            _prefix_lists: self.prefix_lists.iter().cloned().collect(),
        }
    }
}

/// The resources of the VPC, if the object has an inventory of them.
async fn read<V: View>(
    inventory: Option<&Arc<Inventory<V>>>,
    vpc_id: &str,
    since: Instant,
) -> Option<Result<Arc<V>, Blocker>> {
    Some(inventories::of_vpc(inventory?, vpc_id, since).await)
}

/// The prefix lists that the routes lead to.
fn named_lists(object: &VpcPeeringAccepter) -> &[String] {
    let routes = object.spec.routes.as_ref();
    routes.map(|routes| routes.destination_prefix_list_ids.as_slice()).unwrap_or_default()
}

async fn prefix_lists(
    inventory: Option<&Arc<Inventory<PrefixLists>>>,
    object: &VpcPeeringAccepter,
    Accepter { account, end, .. }: &Accepter,
    since: Instant,
) -> Option<NamedPrefixLists> {
    Some(inventories::prefix_lists(inventory?, (account, &end.region), named_lists(object), since).await)
}

/// The DNS attributes of the VPC, if an accepted connection needs them.
async fn dns_attributes(
    object: &VpcPeeringAccepter,
    context: &Context,
    accepter: &Accepter,
    desired: Desired<'_>,
    connections: &BTreeMap<String, Arc<Connection>>,
    look: Look,
) -> Option<Result<DnsAttributes, Blocker>> {
    let recorded = Recorded::of(object.status.as_ref());
    let is_active = |connection: &Arc<Connection>| {
        connection.code == StatusCode::Active && recorded.acceptance(&connection.id).is_some()
    };
    if !desired.needs_dns() || desired.deleted || !connections.values().any(is_active) {
        return None;
    }
    dns::attributes(&accepter.account, &accepter.end, dns::since(object, context, look)?).await
}

/// Filters for the connections to the VPC, and those that are recorded as accepted.
fn related(recorded: &Recorded, vpc_id: &str) -> Filters {
    let ids = recorded.accepted().map(|record| (CONNECTION_ID, record.vpc_peering_connection_id.as_str()));
    ids.chain([(ACCEPTER_VPC_ID, vpc_id)]).collect()
}

/// The connections to the VPC, and those that are recorded as accepted.
fn connections(snapshot: &Snapshot, vpc_id: &str, recorded: &Recorded) -> BTreeMap<String, Arc<Connection>> {
    let accepted = recorded.accepted().filter_map(|record| snapshot.get(&record.vpc_peering_connection_id));
    snapshot.to(vpc_id).chain(accepted).map(|connection| (connection.id.clone(), connection.clone())).collect()
}

/// The IDs of connections that are recorded as accepted, and that EC2 does not show.
fn missing<'a>(recorded: &'a Recorded, connections: &BTreeMap<String, Arc<Connection>>) -> Vec<&'a str> {
    let accepted = recorded.accepted().map(|record| record.vpc_peering_connection_id.as_str());
    accepted.filter(|id| !connections.contains_key(*id)).collect()
}

/// The connections that a `VpcPeering` of this cluster owns. EC2 may not show its tags at this end yet, and the
/// connection would look as if nobody owned it.
fn claimed(
    object: &VpcPeeringAccepter,
    context: &Context,
    connections: &BTreeMap<String, Arc<Connection>>,
) -> BTreeSet<String> {
    let ids = connections.keys().filter(|_| object.spec.adopt.is_some());
    let is_claimed =
        |id: &&String| context.peerings.index.find(By::AwsId, id).iter().any(|key| owns(context, key, id.as_str()));
    ids.filter(is_claimed).cloned().collect()
}

fn owns(context: &Context, (namespace, name): &Key, id: &str) -> bool {
    let Some(peering) = context.peerings.store.get(&ObjectRef::new(name).within(namespace)) else { return false };
    let status = peering.status.as_ref().filter(|status| status.ownership == Some(Ownership::Owned));
    status.and_then(|status| status.vpc_peering_connection_id.as_deref()) == Some(id)
        || with_state(context, &*peering, |state| state.deferral.created.as_deref() == Some(id))
}

fn is_recorded_route(recorded: &Recorded, id: &str) -> bool {
    recorded.routes.iter().any(|route| route.vpc_peering_connection_id == id)
}

/// The connections of recorded routes that EC2 shows as the object's own now.
fn proven(
    desired: Desired<'_>,
    connections: &BTreeMap<String, Arc<Connection>>,
    recorded: &Recorded,
) -> Vec<Authorized> {
    let authority = desired.authority();
    let shown = connections.values().filter(|connection| is_recorded_route(recorded, &connection.id));
    shown.filter_map(|connection| authority.over(connection, Hint::Tagged).ok()).collect()
}

/// Sets the AWS IDs whose changes wake the object.
fn watch_ids(object: &VpcPeeringAccepter, context: &Context, vpc_id: &str, recorded: &Recorded, has_routes: bool) {
    let accepted = recorded.accepted().map(|record| record.vpc_peering_connection_id.clone());
    // A change of a route table is reported by its VPC.
    let lists = named_lists(object).iter().cloned();
    let ids = accepted.chain([requests_to(vpc_id)]).chain(has_routes.then(|| vpc_id.to_owned())).chain(lists);
    context.accepters.index.set(By::AwsId, &object.namespace().unwrap_or_default(), &object.name_any(), ids);
}
