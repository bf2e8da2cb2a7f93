//! One pass over a `VpcPeeringAccepter`: observe, decide, act, and again until there is nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use tokio::time::Instant;
use tracing::instrument;

use super::Context;
use super::accepter_steps::Outcome;
use super::access::{Blocked, Grant};
use super::index::By;
use super::kept::{Kept, Managed, Status, has_finalizer, is_look_requested, is_ready};
use super::memory::{Attempt, BRIEF, Listings, Memory};
use super::record::AFTER_CONFLICT;
use super::turns::{Answer, Waiter};
use super::vpc_peering::{readiness_after, blocker_of};
use crate::accepting::{self, Desired, Observation, Recorded, Step, decide};
use crate::api::{Reason, VpcPeeringAccepter, VpcPeeringAccepterStatus};
use crate::aws::calls::{ACCEPTER_VPC_ID, CONNECTION_ID};
use crate::aws::{Account, AwsError, Class, Filters, Principal, regions};
use crate::peering::snapshot::requests_to;
use crate::peering::{Authorized, Claim, Aspect, Endpoint, Hint, Owner, Permissions, Plan, Readiness, Blocker};

/// More steps than a few requests take; a pass that needs more goes on later, and lets others go first.
const STEPS: usize = 32;

/// Who acts, and for which VPC.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// The VPC, with every default filled in.
    pub end: Endpoint,
    /// Who acts.
    pub account: Arc<Account>,
    /// What that one is allowed to do.
    pub permissions: Permissions,
    /// By what it acts.
    pub grants: [Grant; 1],
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
    pub fn desired(&self, object: &'a VpcPeeringAccepter) -> Desired<'a> {
        Desired {
            owner: self.owner,
            spec: &object.spec,
            end: &self.access.end,
            permissions: &self.access.permissions,
            is_cluster_unique: self.is_cluster_unique,
            deleted: object.metadata.deletion_timestamp.is_some(),
            finalizer: has_finalizer(object),
        }
    }
}

impl Managed for VpcPeeringAccepter {
    type Step = Step;

    fn kept(context: &Context) -> &Kept<Self> {
        &context.accepters
    }

    fn identities(&self) -> Vec<&str> {
        self.spec.identity_ref.iter().map(|named| &*named.name).collect()
    }
}

impl Status for VpcPeeringAccepterStatus {
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

impl Attempt for Step {
    type Aspect = (String, Aspect);

    fn aspect(&self) -> Option<(String, Aspect)> {
        self.aspect()
    }
}

/// Brings EC2 and the status towards the spec.
///
/// # Errors
/// What the API server refuses. What AWS refuses is told in the status.
#[instrument(skip_all, fields(namespace = object.namespace(), object = %object.name_any()))]
pub async fn reconcile(object: Arc<VpcPeeringAccepter>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let outcome = pass(&context, Arc::clone(&object)).await;
    context.unless_gone(&*object, outcome)
}

async fn pass(context: &Context, mut latest: Arc<VpcPeeringAccepter>) -> Result<Action, kube::Error> {
    let began = Instant::now();
    let object = &*latest;
    let version = object.metadata.resource_version.clone();
    if let Some(wait) = context.memory(object, |memory| memory.behind(version.as_deref())) {
        return Ok(Action::requeue(wait));
    }
    let owner = context.owner(object);
    let access = match Box::pin(context.accepter_access(object)).await {
        Ok(access) => access,
        Err(blocked) => return Box::pin(context.accepter_blocked(object, &blocked)).await,
    };
    if is_look_requested(object) {
        context.memory(object, Memory::start_over);
    }
    for _ in 0..STEPS {
        let object = &*latest;
        let recorded = Recorded::of(object.status.as_ref());
        let (mut observed, unreadable) =
            match context.observe_requests(object, &owner, &recorded, &access, began, context.started).await {
                Ok(observed) => (observed, None),
                Err(unreadable) => (Observation::default(), Some(unreadable)),
            };
        let seen = context.seen_requests(&owner, &access, &observed);
        let decision = decide(seen.desired(object), &recorded, &observed, Timestamp::now(), context.settings);
        tracing::debug!(plan = ?decision.plan, "decided");
        // Whatever else follows from seeing nothing, when nothing could be seen, does not hold.
        if let Some((error, retry_after)) = unreadable {
            let keep = error.class == Class::Wait && is_ready(object);
            if !keep {
                Box::pin(context.show_trouble(object, &readiness_after(&error, None), false)).await?;
            }
            return Ok(Action::requeue(retry_after));
        }
        let step = match &decision.plan {
            Plan::RemoveFinalizer => {
                if has_finalizer(object) {
                    let left = accepting::review::unproven_routes(seen.desired(object), &recorded, &observed);
                    context.tell_what_is_left(object, &left);
                }
                return Box::pin(context.release(object)).await;
            }
            Plan::Act(step) => step.clone(),
            Plan::Wait { .. }
            | Plan::Settled { .. }
            | Plan::DryRunSucceeded
            | Plan::Suspended { .. }
            | Plan::Stalled { .. } => {
                Box::pin(context.show_requests(object, seen, &decision)).await?;
                return Ok(decision.plan.requeue_after().map_or_else(Action::await_change, Action::requeue));
            }
        };
        let turn = match context.accepter_turn(&step, object, &access).await {
            None => None,
            Some(Answer::Now(turn)) => Some(turn),
            Some(Answer::Later(since)) => return Box::pin(context.accepter_queued(object, since)).await,
        };
        // A permission that was withdrawn meanwhile ends the pass.
        if !context.identities.still_grants(&owner.namespace, &access.grants) {
            return Ok(Action::requeue(Duration::ZERO));
        }
        if step.is_destructive() {
            // A look of a while ago may be out of date: somebody may have changed what is about to be taken away.
            let now = Instant::now();
            observed = match context.observe_requests(object, &owner, &recorded, &access, now, now).await {
                Ok(observed) => observed,
                Err((error, retry_after)) => {
                    Box::pin(context.show_trouble(object, &readiness_after(&error, None), false)).await?;
                    return Ok(Action::requeue(retry_after));
                }
            };
            let seen = context.seen_requests(&owner, &access, &observed);
            let again = decide(seen.desired(object), &recorded, &observed, Timestamp::now(), context.settings);
            if again.plan != Plan::Act(step.clone()) {
                continue;
            }
        }
        let seen = context.seen_requests(&owner, &access, &observed);
        let outcome = Box::pin(context.take_accepter_step(&step, object, seen)).await?;
        if let Some(turn) = turn {
            turn.answered(matches!(&outcome, Outcome::Refused(error) if error.is_throttling()));
        }
        match outcome {
            Outcome::Done(next) => {
                context.memory(object, |memory| memory.succeeded(&step));
                latest = Arc::from(next);
            }
            Outcome::Refused(error) => {
                tracing::warn!(%error, "AWS refuses");
                let generation = object.metadata.generation;
                context.memory(object, |memory| memory.failed(step, generation, error.class, blocker_of(&error)));
                // The others go on; in the end the status tells of this one.
            }
        }
    }
    Ok(Action::requeue(AFTER_CONFLICT))
}

impl Context {
    /// What one pass has seen.
    fn seen_requests<'a>(&self, owner: &'a Owner, access: &'a Access, observed: &'a Observation) -> Seen<'a> {
        Seen { owner, access, observed, is_cluster_unique: self.settings.is_cluster_unique }
    }

    /// Who acts for this resource. Whether its namespace may use whom it names comes before everything else.
    async fn accepter_access(&self, object: &VpcPeeringAccepter) -> Result<Access, Blocked> {
        let (spec, status) = (&object.spec, object.status.as_ref());
        let named = spec.identity_ref.as_ref().map(|reference| &*reference.name);
        let namespace = object.namespace().unwrap_or_default();
        let grant = self.identities.grant(&namespace, named, "spec.identityRef").await?;
        let Grant { principal, limits, .. } = &grant;
        spec.vpc_id.as_ref().map(|vpc_id| limits.vpc("spec.vpcId", vpc_id)).transpose()?;
        let known = status.and_then(|status| status.vpc.as_ref());
        let default_region = match principal {
            Principal::Own => None,
            Principal::Role(role) => role.region.as_deref(),
        };
        let region =
            spec.region.as_deref().or(known.map(|end| end.region.as_str())).or(default_region).ok_or_else(|| {
                let message = "spec.region is missing, and the AwsIdentity has no defaultRegion; set one of them";
                Blocker::stalled(Reason::InvalidRequest, message.into())
            })?;
        limits.region("spec.region", region, regions::is_known(region))?;
        let account = self.accounts.of(principal).await;
        let account_id = account.id().await?;
        // Whoever looks at another account sees nothing of our connections, and would take them for deleted.
        if let Some(before) = status.and_then(|status| status.owner_id.as_ref()).filter(|before| **before != account_id)
        {
            let message = format!(
                "the VPC is of account {before}, and {principal} of account {account_id} would act for it; correct spec.identityRef"
            );
            return Err(Blocker::stalled(Reason::IdentityMismatch, message).into());
        }
        let vpc_id = match spec.vpc_id.as_deref().or(known.map(|end| end.vpc_id.as_str())) {
            Some(id) => id.to_owned(),
            None => {
                let tags = spec.vpc_selector.as_ref().map(|selector| &selector.tags);
                self.find_vpc((&account, limits), region, tags, "spec.vpcSelector").await?
            }
        };
        limits.vpc("spec.vpcId", &vpc_id)?;
        let end = Endpoint { vpc_id, region: region.to_owned(), owner_id: Some(account_id) };
        let permissions = Permissions { requester: None, accepter: Some(limits.clone()) };
        Ok(Access { end, account, permissions, grants: [grant] })
    }

    /// Nothing may be asked of AWS, or it is not known where.
    async fn accepter_blocked(&self, object: &VpcPeeringAccepter, blocked: &Blocked) -> Result<Action, kube::Error> {
        self.memory(object, |memory| memory.listings = Listings::default());
        let deleted = object.metadata.deletion_timestamp.is_some();
        let recorded = Recorded::of(object.status.as_ref());
        let plan = accepting::blocked(deleted, has_finalizer(object), &recorded, &blocked.blocker());
        if plan == Plan::RemoveFinalizer {
            return self.release(object).await;
        }
        if let Some(readiness) = blocked.readiness(&plan, is_ready(object)) {
            self.show_trouble(object, &readiness, matches!(blocked, Blocked::Blocker(_))).await?;
        }
        Ok(plan.requeue_after().map_or_else(Action::await_change, Action::requeue))
    }

    /// A turn for what the step asks AWS to change; none is needed where it changes nothing.
    async fn accepter_turn(&self, step: &Step, object: &VpcPeeringAccepter, access: &Access) -> Option<Answer> {
        let (action, calls) = step.calls()?;
        let bucket = (access.account.label(), access.end.region.clone(), action);
        Some(self.turns.ask(bucket, Waiter::of(object), calls).await)
    }

    /// Others go first; whoever waits for long is told.
    async fn accepter_queued(&self, object: &VpcPeeringAccepter, since: Instant) -> Result<Action, kube::Error> {
        if let Some(left) = BRIEF.checked_sub(since.elapsed()) {
            return Ok(Action::requeue(left));
        }
        if !is_ready(object) {
            self.show_trouble(object, &Readiness::queued(), false).await?;
        }
        // It is woken when its turn comes.
        Ok(Action::await_change())
    }

    /// What EC2 shows of the requests to this resource's VPC, by looks that began after `since` and after our last change.
    /// What it does not show is believed only of a listing that began after we asked. The error comes with the time after
    /// which to ask again.
    async fn observe_requests(
        &self,
        object: &VpcPeeringAccepter,
        owner: &Owner,
        recorded: &Recorded,
        access: &Access,
        asked: Instant,
        since: Instant,
    ) -> Result<Observation, (AwsError, Duration)> {
        if !has_finalizer(object) {
            return Ok(Observation::default());
        }
        let Endpoint { vpc_id, region, .. } = &access.end;
        let inventory = access.account.peerings.of(region);
        let has_routes = object.spec.routes.is_some() || !recorded.routes.is_empty();
        let tables = has_routes.then(|| access.account.route_tables.of(region));
        let last_write = self.memory(object, |memory| {
            memory.listings = Listings {
                peerings: Box::new([Arc::clone(&inventory)]),
                route_tables: tables.iter().cloned().collect(),
            };
            memory.last_write
        });
        let since = since.max(last_write.unwrap_or(self.started));
        let tables = match tables {
            Some(tables) => Some(self.read_tables(&tables, vpc_id, since).await),
            None => None,
        };
        let accepted = || recorded.accepted().map(|record| &record.vpc_peering_connection_id);
        let ids = accepted().map(|id| (CONNECTION_ID, id));
        let filters: Filters = ids.chain([(ACCEPTER_VPC_ID, vpc_id)]).collect();
        let mut listing = inventory.query(filters.clone(), since).await;
        loop {
            let retry_after = listing.retry_after();
            let snapshot = listing.outcome.as_ref().map_err(|error| (error.clone(), retry_after))?;
            let connections: BTreeMap<_, _> = snapshot
                .to(vpc_id)
                .chain(accepted().filter_map(|id| snapshot.get(id)))
                .map(|connection| (connection.id.clone(), connection.clone()))
                .collect();
            let missing: BTreeSet<&String> = accepted().filter(|id| !connections.contains_key(*id)).collect();
            if (!missing.is_empty() || is_look_requested(object)) && listing.as_of < asked {
                listing = inventory.query(filters.clone(), asked).await;
                continue;
            }
            let mut observed = self.memory(object, |memory| {
                let each_since = memory.each_missing_since.get_or_insert_default();
                each_since.retain(|id, _| missing.contains(id));
                let missing_for = missing.into_iter().map(|id| {
                    let since = *each_since.entry(id.clone()).or_insert(listing.as_of);
                    (id.clone(), listing.as_of.saturating_duration_since(since))
                });
                let missing_for = missing_for.collect();
                Observation {
                    missing_for,
                    refused: memory.refused(object.metadata.generation),
                    ..Observation::default()
                }
            });
            observed.connections = connections;
            observed.remembered = self.proven_requests(object, owner, access, recorded, &observed);
            observed.older_claim = self.older_accepter(object, &access.end);
            // After a restart nobody remembers when we wrote last.
            observed.is_settled = last_write.unwrap_or(self.started).elapsed() > self.settings.consistency_window;
            observed.tables = tables.clone();
            // The route tables of a VPC are told of by the VPC.
            let keys = accepted().cloned().chain([requests_to(vpc_id)]).chain(has_routes.then(|| vpc_id.clone()));
            self.accepters.index.set(By::Interest, &owner.namespace, &owner.name, keys);
            // A change that was told before we asked to be told of it.
            match inventory.newer_than(&listing) {
                Some(newer) => listing = newer,
                None => return Ok(observed),
            }
        }
    }

    /// The connections that recorded routes lead through and that EC2 shows, or has shown to this process, as the resource's
    /// own: an ended one is shown for some hours only.
    fn proven_requests(
        &self,
        object: &VpcPeeringAccepter,
        owner: &Owner,
        access: &Access,
        recorded: &Recorded,
        observed: &Observation,
    ) -> BTreeSet<Authorized> {
        let is_needed = |id: &str| recorded.routes.iter().any(|route| route.vpc_peering_connection_id == id);
        let authority = self.seen_requests(owner, access, observed).desired(object).authority();
        let shown = observed.connections.values().filter(|connection| is_needed(&connection.id));
        let shown: Vec<_> = shown.filter_map(|connection| authority.over(connection, Hint::Tagged).ok()).collect();
        self.memory(object, |memory| {
            memory.proven.extend(shown);
            memory.proven.retain(|id| is_needed(id));
            memory.proven.clone()
        })
    }

    /// An older resource that decides on requests to the same VPC of the same account and region. One that may not act for
    /// it has no say.
    fn older_accepter(&self, object: &VpcPeeringAccepter, end: &Endpoint) -> Option<Claim> {
        let own_account = self.accounts.own().known_id();
        let decides = |other: &VpcPeeringAccepter| {
            let (spec, known) = (&other.spec, other.status.as_ref().and_then(|status| status.vpc.as_ref()));
            let vpc_id = spec.vpc_id.as_deref().or(known.map(|end| end.vpc_id.as_str()));
            if vpc_id != Some(&*end.vpc_id) {
                return false;
            }
            let named = spec.identity_ref.as_ref().map(|reference| &*reference.name);
            let Ok(grant) = self.identities.granted(&other.namespace().unwrap_or_default(), named, "") else {
                return false;
            };
            let (account_id, default_region) = match &grant.principal {
                Principal::Own => (own_account, None),
                Principal::Role(role) => (Some(role.account_id.as_str()), role.region.as_deref()),
            };
            let region = spec.region.as_deref().or(known.map(|end| end.region.as_str())).or(default_region);
            let is_allowed = grant.limits.vpc("", &end.vpc_id).is_ok()
                && grant.limits.region("", &end.region, regions::is_known(&end.region)).is_ok();
            account_id == end.owner_id.as_deref() && region == Some(&*end.region) && is_allowed
        };
        let age = |object: &VpcPeeringAccepter| (object.creation_timestamp(), object.uid());
        let older = self.accepters.store.find(|other| age(other) < age(object) && decides(other))?;
        let resource = match older.namespace() {
            namespace if namespace == object.namespace() => {
                format!("VpcPeeringAccepter {}/{}", namespace.unwrap_or_default(), older.name_any())
            }
            _ => "a VpcPeeringAccepter of another namespace".to_owned(),
        };
        Some(Claim { resource, is_leaving: older.metadata.deletion_timestamp.is_some() })
    }
}
