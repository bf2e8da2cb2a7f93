//! The controllers. [`reconcile`] is the loop of both kinds, and [`kind`] its contract with `vpc_peering` and
//! `vpc_peering_accepter`. This file starts them.

mod aws_identity;
mod blocked;
mod cache;
mod cache_age;
mod context;
mod deferred_writes;
mod dns;
mod endpoint;
mod event_publisher;
mod fair_queue;
mod hooks;
mod identity_grants;
mod index;
mod inventories;
mod kind;
mod namespace_share;
mod one_run;
mod planning;
mod queued_resource;
mod quota_room;
mod reconcile;
mod reconcile_slots;
mod references;
mod refusals;
mod scope;
mod security_groups;
mod state;
mod status_writer;
mod truncate;
mod vpc_peering;
mod vpc_peering_accepter;
mod vpc_selector;
mod wake_up;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, stream};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::{Api, Client};
use smol_str::SmolStr;
use tokio::sync::mpsc;

use crate::api::AwsIdentity;
use crate::aws::{Accounts, Interceptor, SdkConfig, SessionTags, event_queue};
use crate::peering;
use crate::peering::vpc_reference::ReferenceKind;

pub(crate) use context::Context;
pub(crate) use hooks::ReconcileHooks;
pub(crate) use identity_grants::{OwnCredentials, OwnNamespaces, admits_namespace, role};
pub(crate) use kind::{Kind, Status};
pub(crate) use namespace_share::NamespaceShare;
pub(crate) use one_run::Cluster;
pub(crate) use planning::{Forecasts, Planned, plan};
pub(crate) use scope::Scope;

use cache_age::CacheAge;
use fair_queue::FairQueue;
use hooks::hooked;
use identity_grants::Credentials;
use queued_resource::QueuedResource;
use reconcile_slots::ReconcileSlots;
use references::References;
use wake_up::{WakeUp, WakeUps, Woken};

/// Concurrent reconciles of large objects of one kind. Each may take several MiB. Small objects do not wait for them.
const LARGE_AT_ONCE: usize = 8;

/// Concurrent reconciles of one kind that kube-runtime runs besides those in slots: each looks for a slot, and ends at
/// once if there is none.
const WITHOUT_SLOT: u16 = 64;

/// The settings of the controllers.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The resources to reconcile.
    pub scope: Scope,
    /// The operator's own credentials and region.
    pub aws: SdkConfig,
    pub session_tags: SessionTags,
    /// The SQS queue that reports changes in AWS.
    pub event_queue_url: Option<String>,
    /// Concurrent reconciles of each kind. 0 sets no limit.
    pub max_concurrent_reconciles: u16,
    /// Interval of the polls of EC2 while no connection changes.
    pub poll_interval: Duration,
    pub own_credentials: OwnCredentials,
    /// Whether to look for rules of security groups that become stale with a peering.
    pub security_group_warnings: bool,
    pub decisions: peering::Settings,
    pub defaults: peering::Defaults,
    /// The kinds of objects that `vpcRef` can name.
    pub reference_kinds: Vec<ReferenceKind>,
}

/// Reconciles every resource until `shutdown` resolves. Ends after the steps in progress.
pub(crate) async fn run(
    client: Client,
    interceptor: Arc<dyn Interceptor>,
    cluster: SmolStr,
    settings: Settings,
    hooks: Arc<dyn ReconcileHooks>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let shutdown = shutdown.shared();
    let (wake, wake_ups) = wake_up::channel();
    let (peerings, peering_writer) = reflector::store();
    let (accepters, accepter_writer) = reflector::store();
    let (identities, identity_writer) = reflector::store();
    let (namespaces, namespace_writer) = reflector::store();
    let listed = (CacheAge::default(), CacheAge::default());
    let credentials =
        Credentials { identities, namespaces, listed: listed.clone(), own: settings.own_credentials.clone() };
    let (on_change, on_permit, on_reference) = (wake.clone(), wake.clone(), wake.clone());
    let on_change = Arc::new(move |id| on_change.send(WakeUp::AwsId(id)));
    let (aws, tags) = (settings.aws.clone(), settings.session_tags);
    let accounts = Accounts::start(aws, interceptor, tags, cluster.clone(), settings.poll_interval, on_change);
    let queue = FairQueue::new(move |resource| on_permit.send(WakeUp::Permit(resource)));
    let stores = (peerings, accepters);
    let (kinds, own) = (settings.reference_kinds.clone(), Arc::clone(accounts.own()));
    let on_reference = Arc::new(move |object| on_reference.send(WakeUp::Referenced(object)));
    let references = References::new(client.clone(), kinds, own, Some(on_reference));
    let decisions = (settings.decisions, settings.defaults.clone(), references);
    let context = Context::new(client.clone(), accounts, credentials, queue, stores, cluster, decisions);
    let context = Arc::new(Context { security_group_warnings: settings.security_group_warnings, ..context });
    hooks.started(&context);
    let (Woken { peerings, accepters }, dispatch) = wake_up::dispatch(Arc::clone(&context), wake_ups);
    let start = Start { context: &context, hooks: &hooks, settings: &settings };
    let peerings = start.run_controller(peering_writer, peerings, shutdown.clone());
    let accepters = start.run_controller(accepter_writer, accepters, shutdown.clone());
    let identities = start.run_identities(identity_writer, wake.clone(), listed.0, shutdown);
    let on_namespace = move |name| wake.send(WakeUp::Namespace(name));
    let namespaces = watch::namespaces(Api::all(client), namespace_writer, on_namespace, listed.1);
    let events = async {
        match &settings.event_queue_url {
            Some(url) => event_queue::consume(&context.accounts, url).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = futures::future::join3(peerings, accepters, identities) => {}
        // These never end.
        _ = futures::future::join3(namespaces, dispatch, events) => {}
    }
    context.events.finish().await;
}

/// The parts that every controller needs to start.
struct Start<'a> {
    context: &'a Arc<Context>,
    hooks: &'a Arc<dyn ReconcileHooks>,
    settings: &'a Settings,
}

impl Start<'_> {
    /// Reconciles every resource of one kind.
    fn run_controller<K: Kind, S>(
        &self,
        store: Writer<K>,
        woken: mpsc::UnboundedReceiver<ObjectRef<K>>,
        shutdown: S,
    ) -> impl Future<Output = ()> + use<K, S>
    where
        S: Future<Output = ()> + Send + Sync + 'static,
    {
        let (context, hooks) = (Arc::clone(self.context), Arc::clone(self.hooks));
        let cache = K::cache(&context).store.clone();
        let (wake, granted) = mpsc::unbounded_channel();
        let limit = usize::from(self.settings.max_concurrent_reconciles);
        let new_slots = |count| ReconcileSlots::new(count, wake_in(cache.clone(), wake.clone()));
        let large = new_slots(LARGE_AT_ONCE);
        let small = new_slots(if limit == 0 { usize::MAX } else { limit });
        let concurrency =
            if limit == 0 { 0 } else { self.settings.max_concurrent_reconciles.saturating_add(WITHOUT_SLOT) };
        let woken = stream::select(received(woken), received(granted));
        let objects = watch::resources(Arc::clone(&context), self.settings.scope.clone(), store);
        Controller::for_stream(objects, cache)
            .with_config(Config::default().concurrency(concurrency))
            .reconcile_on(woken)
            .graceful_shutdown_on(shutdown)
            .run(
                move |object: Arc<K>, context: Arc<Context>| {
                    let (hooks, large, small) = (Arc::clone(&hooks), Arc::clone(&large), Arc::clone(&small));
                    async move {
                        let slots = if watch::decode::is_large(&*object) { large } else { small };
                        let slot = slots.enter(QueuedResource::of(&*object));
                        let Some(slot) = slot else { return Ok(Action::await_change()) };
                        let work = context.events.work();
                        let reconcile = reconcile::reconcile(object, context);
                        // Boxed, so that the many tasks that find no slot stay small.
                        let outcome = Box::pin(hooked(hooks, K::CONTROLLER, reconcile)).await;
                        drop((work, slot));
                        outcome
                    }
                },
                status_writer::retry,
                context,
            )
            .for_each(|outcome| async move {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "the reconcile will be repeated");
                }
            })
    }

    /// Watches the identities, and reconciles their status. An operator of some namespaces leaves cluster-scoped
    /// resources to the cluster-wide operator, and only watches.
    fn run_identities<S>(
        &self,
        store: Writer<AwsIdentity>,
        wake: WakeUps,
        cache_age: CacheAge,
        shutdown: S,
    ) -> impl Future<Output = ()> + use<S>
    where
        S: Future<Output = ()> + Send + Sync + 'static,
    {
        let (context, hooks) = (Arc::clone(self.context), Arc::clone(self.hooks));
        let on_identity = move |name| wake.send(WakeUp::Identity(name));
        let identities = Api::all(context.client.clone());
        let watched = watch::identities(identities, store, on_identity, cache_age);
        if !self.settings.scope.namespaces.is_empty() {
            return watched.take_until(shutdown).for_each(|_| async {}).boxed();
        }
        Controller::for_stream(watched, context.credentials.identities.clone())
            .graceful_shutdown_on(shutdown)
            .run(
                move |object, context| {
                    hooked(Arc::clone(&hooks), "awsidentity", aws_identity::reconcile(object, context))
                },
                aws_identity::retry,
                context,
            )
            .for_each(|_| async {})
            .boxed()
    }
}

/// Causes the reconcile of a resource that has a slot. It returns false if the resource is gone.
fn wake_in<K: Kind>(
    store: Store<K>,
    wake: mpsc::UnboundedSender<ObjectRef<K>>,
) -> impl Fn(&QueuedResource) -> bool + Send + Sync {
    move |resource| {
        let object = ObjectRef::new(&resource.name).within(&resource.namespace);
        // The receiver is gone only at shutdown.
        store.get(&object).is_some() && wake.send(object).is_ok()
    }
}

fn received<T>(receiver: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
}
