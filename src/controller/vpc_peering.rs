//! One pass over a `VpcPeering`: observe, decide, act, and again until there is nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use smol_str::SmolStr;
use tokio::time::Instant;
use tracing::{Span, instrument};

use super::Context;
use super::access::{Access, Blocked};
use super::claims;
use super::index::By;
use super::kept::{Kept, Managed, Status, has_finalizer, is_look_requested, is_ready};
use super::memory::{BRIEF, Listings, Memory};
use super::record::AFTER_CONFLICT;
use super::steps::Outcome;
use super::turns::{Answer, Waiter};
use crate::api::{ConditionType, DeletionPolicy, Reason, Side, VpcPeering, VpcPeeringSpec, VpcPeeringStatus};
use crate::aws::calls::{CONNECTION_ID, REQUESTER_VPC_ID, VPC_ID};
use crate::aws::{AwsError, Class, Filters, Inventory, View};
use crate::peering::routes::RouteTables;
use crate::peering::status::{self, Progress};
use crate::peering::{
    self, AccepterView, Authorized, Claim, Connection, Desired, Ends, Hint, Observation, Owner, Plan, Recorded,
    Snapshot, Standing, Step, Trouble, decide, upkeep,
};

/// More steps than any way to an end takes; a pass that needs more goes on later, and lets others go first.
const STEPS: usize = 8;

/// Brings EC2 and the status towards the spec.
///
/// # Errors
/// What the API server refuses. What AWS refuses is told in the status.
#[instrument(skip_all, fields(namespace = object.namespace(), object = %object.name_any(), id))]
pub async fn reconcile(object: Arc<VpcPeering>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let outcome = pass(&context, Arc::clone(&object)).await;
    context.unless_gone(&*object, outcome)
}

/// What takes room and is soon done is apart: a thousand passes may wait for a listing.
async fn pass(context: &Context, object: Arc<VpcPeering>) -> Result<Action, kube::Error> {
    let began = Instant::now();
    let version = object.metadata.resource_version.clone();
    let wait = context
        .memory(&*object, |memory| memory.behind(version.as_deref()).or_else(|| memory.until_looked(Instant::now())));
    if let Some(wait) = wait {
        return Ok(Action::requeue(wait));
    }
    let mut latest = context.with_answer(object);
    let object = &*latest;
    let owner = context.owner(object);
    let access = match Box::pin(context.access(object)).await {
        Ok(access) => access,
        Err(blocked) => return Box::pin(context.blocked(object, &blocked)).await,
    };
    if is_look_requested(object) {
        context.memory(object, Memory::start_over);
    }
    for _ in 0..STEPS {
        let object = &*latest;
        let recorded = recorded(object);
        if let Some(id) = &recorded.connection_id {
            Span::current().record("id", id);
        }
        let (mut observed, unreadable) =
            match context.observe(object, &owner, &recorded, &access, began, context.started).await {
                Ok(observed) => (observed, None),
                Err(unreadable) => (Observation::default(), Some(unreadable)),
            };
        let seen = context.seen(&owner, &access, &observed);
        let plan = decide(seen.desired(object), &recorded, &observed, Timestamp::now(), context.settings);
        tracing::debug!(?plan, "decided");
        // Whatever else follows from seeing nothing, when nothing could be seen, does not hold.
        if let Some((error, retry_after)) = unreadable
            && plan != Plan::Release
        {
            let keep = error.class == Class::Wait && is_ready(object);
            if !keep {
                Box::pin(context.show(object, None, &standing_after(&error, None), false)).await?;
            }
            return Ok(Action::requeue(retry_after));
        }
        let step = match plan {
            Plan::Release => {
                if has_finalizer(object) && object.spec.deletion_policy == DeletionPolicy::Delete {
                    let left = upkeep::unproven_routes(seen.desired(object), &recorded, &observed);
                    context.tell_what_is_left(object, &left);
                }
                return Box::pin(context.release(object)).await;
            }
            Plan::Act(step) => step,
            Plan::Wait { .. }
            | Plan::Steady { .. }
            | Plan::DryRunSucceeded
            | Plan::Suspended { .. }
            | Plan::Stalled { .. } => {
                let left = BRIEF.saturating_sub(observed.shown_for);
                if !left.is_zero() && is_brief(&plan, object) {
                    return Ok(Action::requeue(left));
                }
                if let Some(standing) = Standing::under(&plan) {
                    let answers = standing.reason != Reason::AwaitingConsistency;
                    Box::pin(context.show(object, Some(seen), &standing, answers)).await?;
                }
                return Ok(plan.look_again().map_or_else(Action::await_change, Action::requeue));
            }
        };
        if let Some(pause) = context.memory(object, |memory| memory.pause_before(&step, object.metadata.generation)) {
            return Ok(Action::requeue(pause));
        }
        let turn = match context.turn(&step, object, seen).await {
            None => None,
            Some(Answer::Now(turn)) => Some(turn),
            Some(Answer::Later(since)) => return Box::pin(context.queued(object, seen, since)).await,
        };
        // A permission that was withdrawn meanwhile ends the pass.
        if !context.identities.still_grants(&owner.namespace, &access.grants) {
            return Ok(Action::requeue(Duration::ZERO));
        }
        if step.is_destructive() {
            // A look of a while ago may be out of date: somebody may have changed what is about to be taken away.
            let now = Instant::now();
            observed = match context.observe(object, &owner, &recorded, &access, now, now).await {
                Ok(observed) => observed,
                Err((error, retry_after)) => {
                    Box::pin(context.show(object, None, &standing_after(&error, None), false)).await?;
                    return Ok(Action::requeue(retry_after));
                }
            };
            let seen = context.seen(&owner, &access, &observed);
            let again = decide(seen.desired(object), &recorded, &observed, Timestamp::now(), context.settings);
            if again != Plan::Act(step.clone()) {
                continue;
            }
        }
        let seen = context.seen(&owner, &access, &observed);
        let outcome = Box::pin(context.take(&step, object, seen)).await?;
        if let Some(turn) = turn {
            turn.answered(matches!(&outcome, Outcome::Refused(_, error) if error.is_throttling()));
        }
        match outcome {
            Outcome::Done(next) => {
                context.memory(object, |memory| memory.succeeded(&step));
                latest = Arc::from(next);
                if matches!(step, Step::Create | Step::Accept { .. }) {
                    return Ok(context.leave_to_ec2(&latest, &owner, &access));
                }
            }
            Outcome::Refused(next, error) => {
                tracing::warn!(%error, "AWS refuses");
                let generation = next.metadata.generation;
                let pause = context.memory(&*next, |memory| {
                    memory.failed(step.clone(), generation, error.class, trouble_of(&error));
                    memory.pause_before(&step, generation)
                });
                // The other concerns go on; in the end the status tells of this one.
                if step.concern().is_some() {
                    latest = Arc::from(next);
                    continue;
                }
                return Ok(Action::requeue(pause.unwrap_or(AFTER_CONFLICT)));
            }
        }
    }
    Ok(Action::requeue(AFTER_CONFLICT))
}

impl Managed for VpcPeering {
    type Step = Step;

    fn kept(context: &Context) -> &Kept<Self> {
        &context.peerings
    }

    fn follow(context: &Context, event: &Event<Self>) {
        claims::follow(&context.peerings.index, event);
    }

    fn share(&mut self, cluster: &SmolStr) {
        let Some(status) = &mut self.status else { return };
        let tags = status.tags.iter_mut().chain(&mut status.accepter_tags);
        tags.flat_map(|tag| [&mut tag.key, &mut tag.value]).for_each(|text| *text = Owner::share(text, cluster));
    }

    fn identities(&self) -> Vec<&str> {
        let sides = [Side::Requester, Side::Accepter].map(|side| self.spec.side(side).identity_ref.as_ref());
        sides.into_iter().flatten().map(|named| &*named.name).collect()
    }
}

impl Status for VpcPeeringStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn conclude(&mut self, generation: i64, conditions: Vec<Condition>) {
        self.observed_generation = Some(generation);
        self.conditions = conditions;
    }

    fn last_handled_reconcile_at(&self) -> Option<&str> {
        self.last_handled_reconcile_at.as_deref()
    }
}

impl Context {
    /// What one pass has seen.
    fn seen<'a>(&self, owner: &'a Owner, access: &'a Access, observed: &'a Observation) -> Seen<'a> {
        Seen { owner, access, observed, is_cluster_unique: self.settings.is_cluster_unique }
    }

    /// Nothing may be asked of AWS, or it is not known where.
    async fn blocked(&self, object: &VpcPeering, blocked: &Blocked) -> Result<Action, kube::Error> {
        self.memory(object, |memory| memory.listings = Listings::default());
        let deleted = object.metadata.deletion_timestamp.is_some();
        let plan =
            peering::blocked(&object.spec, deleted, has_finalizer(object), &recorded(object), &blocked.trouble());
        if plan == Plan::Release {
            return self.release(object).await;
        }
        if let Some(standing) = blocked.standing(&plan, is_ready(object)) {
            let has_answer = matches!(blocked, Blocked::Trouble(_));
            self.show(object, None, &standing, has_answer).await?;
        }
        Ok(plan.look_again().map_or_else(Action::await_change, Action::requeue))
    }

    /// A turn for what the step asks AWS to change; none is needed where it changes nothing.
    async fn turn(&self, step: &Step, object: &VpcPeering, seen: Seen<'_>) -> Option<Answer> {
        let (action, side, calls) = step.calls()?;
        let bucket = (seen.access.of(side)?.label(), seen.access.ends.side(side).region.clone(), action);
        Some(self.turns.ask(bucket, Waiter::of(object), calls).await)
    }

    /// Others go first; whoever waits for long is told.
    async fn queued(&self, object: &VpcPeering, seen: Seen<'_>, since: Instant) -> Result<Action, kube::Error> {
        if let Some(left) = BRIEF.checked_sub(since.elapsed()) {
            return Ok(Action::requeue(left));
        }
        if !is_ready(object) {
            self.show(object, Some(seen), &Standing::queued(), false).await?;
        }
        // It is woken when its turn comes.
        Ok(Action::await_change())
    }

    /// EC2 goes on by itself. It is looked at soon, which wakes the resource; until then others go first.
    fn leave_to_ec2(&self, object: &VpcPeering, owner: &Owner, access: &Access) -> Action {
        let id = recorded(object).connection_id;
        self.peerings.index.set(By::Interest, &owner.namespace, &owner.name, &id);
        let filters = id.map(|id| Filters::default().and(CONNECTION_ID, &id));
        access.requester.peerings.of(&access.ends.requester.region).refresh(filters);
        self.memory(object, |memory| memory.is_left_to_ec2 = true);
        Action::requeue(BRIEF)
    }

    /// What EC2 shows of this resource's peering, by looks that began after `since` and after our last change. What it does
    /// not show is believed only of a listing that began after we asked. The error comes with the time after which to ask
    /// again.
    async fn observe(
        &self,
        object: &VpcPeering,
        owner: &Owner,
        recorded: &Recorded,
        access: &Access,
        asked: Instant,
        since: Instant,
    ) -> Result<Observation, (AwsError, Duration)> {
        let spec = &object.spec;
        let inventory = access.requester.peerings.of(&access.ends.requester.region);
        let elsewhere = access.accepter.as_ref().filter(|_| !access.is_one_place);
        let elsewhere = elsewhere.map(|account| account.peerings.of(&access.ends.accepter.region));
        let tables = route_tables(spec, recorded, access);
        let last_write = self.memory(object, |memory| {
            memory.listings = Listings {
                peerings: std::iter::once(&inventory).chain(&elsewhere).cloned().collect(),
                route_tables: tables.values().cloned().collect(),
            };
            memory.last_write
        });
        let around = around(spec, recorded, &access.ends);
        if !has_finalizer(object) {
            // EC2 is looked at while the finalizer is written.
            if object.metadata.deletion_timestamp.is_none() {
                inventory.refresh(Some(around));
            }
            return Ok(Observation::default());
        }
        let since = since.max(last_write.unwrap_or(self.started));
        let tables = Box::pin(self.read_route_tables(tables, access, since)).await;
        // What is ours is known by its ID; before it is let go of, nothing else that may be ours is left out.
        let known_id = recorded.connection_id.as_ref().filter(|_| object.metadata.deletion_timestamp.is_none());
        let mut filters = known_id.map_or_else(|| around.clone(), |id| Filters::default().and(CONNECTION_ID, id));
        let mut listing = inventory.query(filters.clone(), since).await;
        loop {
            let retry_after = listing.retry_after();
            let snapshot = listing.outcome.as_ref().map_err(|error| (error.clone(), retry_after))?;
            let wanted = spec.vpc_peering_connection_id.as_ref();
            let mut observed = snapshot.observe(owner, recorded, &access.ends, wanted);
            if (observed.is_empty() || is_look_requested(object)) && listing.as_of < asked {
                filters.extend(&around);
                listing = inventory.query(filters.clone(), asked).await;
                continue;
            }
            // What else is shown must be as new: it may be what we have just changed.
            let is_asked_for =
                |connection: &Connection| filters.matches(|filter| Snapshot::filter_value(connection, filter));
            let others: Vec<_> = observed.shown().filter(|connection| !is_asked_for(connection)).collect();
            if !others.is_empty() {
                filters = others.iter().fold(filters, |all, connection| all.and(CONNECTION_ID, &connection.id));
                listing = inventory.query(filters.clone(), since.max(listing.as_of)).await;
                continue;
            }
            observed.missing_for = self.memory(object, |memory| {
                if !observed.lacks(recorded) {
                    memory.missing_since = None;
                    return Duration::ZERO;
                }
                listing.as_of.saturating_duration_since(*memory.missing_since.get_or_insert(listing.as_of))
            });
            observed.shown_for = self.memory(object, |memory| {
                memory.shown_for(observed.recorded.as_ref().map(|connection| &connection.code), listing.as_of)
            });
            // Who owns a peering already needs nobody's leave.
            observed.older_claim =
                recorded.owned_id().is_none().then(|| self.older_claim(object, &access.ends)).flatten();
            self.memory(object, |memory| {
                observed.preflight = memory.preflight(object.metadata.generation);
                observed.refused = memory.refused(object.metadata.generation);
            });
            // After a restart nobody remembers when we wrote last.
            observed.is_settled = last_write.unwrap_or(self.started).elapsed() > self.settings.consistency_window;
            observed.tables = tables.clone();
            observed.accepter = match &elsewhere {
                Some(inventory) => {
                    AccepterView::Elsewhere(Box::pin(self.view_elsewhere(inventory, &observed, since, asked)).await)
                }
                None if access.is_one_place => AccepterView::Same,
                None => AccepterView::Nobody,
            };
            let desired = self.seen(owner, access, &observed).desired(object);
            observed.remembered = self.proven(object, desired, recorded, &observed);
            let ids = observed
                .shown()
                .map(|connection| &connection.id)
                .chain(&recorded.connection_id)
                .chain(&spec.vpc_peering_connection_id)
                // The route tables of a VPC are told of by the VPC.
                .chain(tables.keys().map(|side| &access.ends.side(*side).vpc_id));
            self.peerings.index.set(By::Interest, &owner.namespace, &owner.name, ids);
            // A change that was told before we asked to be told of it.
            match inventory.newer_than(&listing) {
                Some(newer) => listing = newer,
                None => return Ok(observed),
            }
        }
    }

    /// The connections that recorded routes lead through and that EC2 shows, or has shown to this process, as the resource's
    /// own: an ended one is shown for some hours only.
    fn proven(
        &self,
        object: &VpcPeering,
        desired: Desired<'_>,
        recorded: &Recorded,
        observed: &Observation,
    ) -> BTreeSet<Authorized> {
        let is_needed = |id: &str| recorded.routes.iter().any(|route| route.vpc_peering_connection_id == id);
        let authority = desired.authority();
        let shown = observed.recorded.iter().map(|connection| (connection, Hint::Recorded));
        let shown = shown.chain(observed.earlier.iter().map(|connection| (connection, Hint::Tagged)));
        let shown: Vec<_> = shown.filter_map(|(connection, hint)| authority.over(connection, hint).ok()).collect();
        self.memory(object, |memory| {
            memory.proven.extend(shown);
            memory.proven.retain(|id| is_needed(id));
            memory.proven.clone()
        })
    }

    /// The connection as the accepter's account shows it in its region.
    async fn view_elsewhere(
        &self,
        inventory: &Inventory<Snapshot>,
        observed: &Observation,
        since: Instant,
        asked: Instant,
    ) -> Result<Option<Arc<Connection>>, Trouble> {
        let Some(connection) = observed.recorded.as_ref().filter(|connection| !connection.code.has_ended()) else {
            return Ok(None);
        };
        let mut since = since;
        loop {
            let listing = inventory.query(Filters::default().and(CONNECTION_ID, &connection.id), since).await;
            let retry_after = listing.retry_after();
            let snapshot =
                listing.outcome.map_err(|error| Trouble { look_again: Some(retry_after), ..trouble_of(&error) })?;
            match snapshot.get(&connection.id) {
                None if listing.as_of < asked => since = asked,
                shown => return Ok(shown.cloned()),
            }
        }
    }

    async fn read_route_tables(
        &self,
        tables: BTreeMap<Side, Arc<Inventory<RouteTables>>>,
        access: &Access,
        since: Instant,
    ) -> BTreeMap<Side, Result<Arc<RouteTables>, Trouble>> {
        let mut read = BTreeMap::new();
        for (side, inventory) in tables {
            read.insert(side, self.read_tables(&inventory, &access.ends.side(side).vpc_id, since).await);
        }
        read
    }

    pub(super) async fn read_tables(
        &self,
        inventory: &Inventory<RouteTables>,
        vpc_id: &str,
        since: Instant,
    ) -> Result<Arc<RouteTables>, Trouble> {
        let listing = inventory.query(Filters::default().and(VPC_ID, vpc_id), since).await;
        let retry_after = listing.retry_after();
        listing.outcome.map_err(|error| Trouble { look_again: Some(retry_after), ..trouble_of(&error) })
    }

    /// An older resource that claims a peering of the same VPCs, in either direction.
    fn older_claim(&self, object: &VpcPeering, ends: &Ends) -> Option<Claim> {
        let age = |object: &VpcPeering| (object.creation_timestamp(), object.uid());
        let own_account = self.accounts.own().known_id();
        let claimed = claims::key(ends);
        let keys = claims::of(&self.peerings.index, &ends.requester.vpc_id, &ends.accepter.vpc_id).into_iter();
        let mut others = keys
            .filter_map(|(namespace, name)| self.peerings.store.get(&ObjectRef::new(&name).within(&namespace)))
            .filter(|other| age(other) < age(object))
            .filter(|other| claims::claimed(&self.identities, own_account, other).as_ref() == Some(&claimed));
        let older = others.next()?;
        // Another namespace's resource is not named: its name is nobody's business here.
        let resource = match older.namespace() {
            namespace if namespace == object.namespace() => {
                format!("VpcPeering {}/{}", namespace.unwrap_or_default(), older.name_any())
            }
            _ => "a VpcPeering of another namespace".to_owned(),
        };
        Some(Claim { resource, is_leaving: older.metadata.deletion_timestamp.is_some() })
    }
}

/// What finds every connection that may be this resource's, or stand in its way, whichever end asked for it.
fn around(spec: &VpcPeeringSpec, recorded: &Recorded, ends: &Ends) -> Filters {
    let ids = recorded.connection_id.iter().chain(&spec.vpc_peering_connection_id);
    let ids = ids.map(|id| (CONNECTION_ID, id));
    let vpcs = [&ends.requester, &ends.accepter].map(|end| (REQUESTER_VPC_ID, &end.vpc_id));
    ids.chain(vpcs).collect()
}

/// The listings of route tables that this resource needs.
fn route_tables(
    spec: &VpcPeeringSpec,
    recorded: &Recorded,
    access: &Access,
) -> BTreeMap<Side, Arc<Inventory<RouteTables>>> {
    let is_needed =
        |side: &Side| spec.side(*side).routes.is_some() || recorded.routes.iter().any(|route| route.side == *side);
    let sides = [Side::Requester, Side::Accepter].into_iter().filter(is_needed);
    sides.filter_map(|side| Some((side, access.of(side)?.route_tables.of(&access.ends.side(side).region)))).collect()
}

/// What one pass has seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub owner: &'a Owner,
    pub access: &'a Access,
    pub observed: &'a Observation,
    pub is_cluster_unique: bool,
}

impl<'a> Seen<'a> {
    pub fn desired(&self, object: &'a VpcPeering) -> Desired<'a> {
        Desired {
            owner: self.owner,
            spec: &object.spec,
            ends: &self.access.ends,
            permissions: &self.access.permissions,
            is_cluster_unique: self.is_cluster_unique,
            deleted: object.metadata.deletion_timestamp.is_some(),
            finalizer: has_finalizer(object),
            look_requested: is_look_requested(object),
        }
    }
}

pub(super) fn recorded(object: &VpcPeering) -> Recorded {
    let Some(status) = &object.status else { return Recorded::default() };
    let dry_run = status::find(&status.conditions, ConditionType::DryRunSucceeded);
    Recorded {
        connection_id: status.vpc_peering_connection_id.as_deref().map(str::to_owned),
        ownership: status.ownership,
        managed_tags: status.managed_tags.iter().cloned().collect(),
        accepter_managed_tags: status.accepter_managed_tags.iter().cloned().collect(),
        accepted_cidr_blocks: status
            .accepted_cidr_blocks
            .as_ref()
            .map(|blocks| blocks.iter().map(ToString::to_string).collect()),
        routes: status.routes.iter().cloned().collect(),
        recreations: status.recreations.and_then(|number| number.try_into().ok()).unwrap_or_default(),
        ended_at: status.history.last().map(|ended| ended.time.0),
        creation_started: status.creation_started_at.is_some(),
        dry_run_succeeded: dry_run.is_some_and(|condition| {
            condition.status == "True" && condition.observed_generation == object.metadata.generation
        }),
    }
}

/// Whether EC2 leaves this state by itself in a moment, so that it is not worth a write of its own unless it lasts.
fn is_brief(plan: &Plan, object: &VpcPeering) -> bool {
    let passes = matches!(plan, Plan::Wait { reason: Reason::InitiatingRequest | Reason::Provisioning, .. });
    let observed = object.status.as_ref().and_then(|status| status.observed_generation);
    passes && !is_ready(object) && !is_look_requested(object) && observed == object.metadata.generation
}

/// An error as what a decision is made from.
pub(super) fn trouble_of(error: &AwsError) -> Trouble {
    let Standing { progress, reason, message, .. } = standing_after(error, None);
    Trouble { progress, reason, message, look_again: None }
}

/// How a resource stands after an error; `ready` is what is known of the peering nevertheless.
pub(super) fn standing_after(error: &AwsError, ready: Option<bool>) -> Standing {
    let progress = match error.class {
        Class::Wait | Class::Gone | Class::Broken => Progress::Reconciling,
        Class::FixSpec | Class::FixPermissions => Progress::Stalled,
    };
    Standing { ready, progress, reason: error.reason(), message: error.to_string() }
}
