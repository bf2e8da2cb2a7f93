//! The kube-runtime wiring: what wakes a resource, and who looks after it.

pub mod accepter_steps;
pub mod access;
pub mod announcer;
pub mod aws_identity;
pub mod claims;
pub mod context;
pub mod index;
pub mod kept;
pub mod memory;
pub mod observer;
pub mod record;
pub mod scope;
pub mod steps;
pub mod turns;
pub mod vpc_peering;
pub mod vpc_peering_accepter;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, stream};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef};
use kube::{Api, Client, ResourceExt};
use smol_str::SmolStr;
use tokio::sync::{Semaphore, mpsc};

use crate::aws::inventory::ChangeListener;
use crate::aws::{Accounts, Interceptor, event_queue};
use crate::peering;
use access::Identities;
pub use access::{OwnCredentials, OwnNamespaces};
pub use context::Context;
use index::By;
pub use kept::Managed;
pub use observer::Observer;
pub use scope::Scope;
use turns::{Turns, Waiter};
use watch::{Freshness, Touched, wire};

/// Concurrent passes over large objects of one kind: each may take several MiB. Others wait for none of them.
const LARGE_AT_ONCE: usize = 8;

/// What the controller is tuned by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which resources are looked after.
    pub scope: Scope,
    /// The queue that tells of changes in AWS.
    pub event_queue_url: Option<String>,
    /// How many resources of each kind are looked after at once; 0 is no limit.
    pub max_concurrent_reconciles: u16,
    /// How often EC2 is listed while nothing of ours is in motion.
    pub poll_interval: Duration,
    /// What the operator's own credentials may be used for.
    pub own_credentials: OwnCredentials,
    /// What decisions are tuned by.
    pub decisions: peering::Settings,
}

/// Looks after every resource until `shutdown` resolves, then ends when the steps in hand are done.
pub async fn run(
    client: Client,
    interceptor: Arc<dyn Interceptor>,
    cluster: SmolStr,
    settings: Settings,
    observer: Arc<dyn Observer>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    // Whoever looks after some namespaces only leaves what is the cluster's to who looks after all of it.
    let keeps_identities = settings.scope.namespaces.is_empty();
    let (store, writer) = reflector::store();
    let (accepter_store, accepter_writer) = reflector::store();
    let (identities, identity_writer) = reflector::store();
    let (namespaces, namespace_writer) = reflector::store();
    let (changed, changes) = mpsc::unbounded_channel();
    let (touched, touches) = mpsc::unbounded_channel();
    let on_change: ChangeListener = Arc::new(move |key| {
        // The receiver is dropped only at shutdown.
        _ = changed.send(key);
    });
    let accounts = Accounts::from_environment(interceptor, cluster.clone(), settings.poll_interval, on_change).await;
    let listed = (Freshness::default(), Freshness::default());
    let known = Identities {
        identities: identities.clone(),
        namespaces,
        listed: listed.clone(),
        own: settings.own_credentials,
    };
    let (called, calls) = mpsc::unbounded_channel();
    let turns = Turns::new(called);
    let context =
        Context::new(client.clone(), accounts, known, turns, (store, accepter_store), cluster, settings.decisions);
    let context = Arc::new(context);
    observer.started(&context);
    let shutdown = shutdown.shared();
    let (changes, accepter_changes, tell_changes) = twice(changes);
    let (touches, accepter_touches, tell_touches) = twice(touches);
    let (calls, accepter_calls, tell_calls) = twice(calls);
    let start = (&context, &observer, &settings.scope, settings.max_concurrent_reconciles);
    let peerings =
        tend(start, writer, (changes, touches, calls), shutdown.clone(), "vpcpeering", vpc_peering::reconcile);
    let accepters = tend(
        start,
        accepter_writer,
        (accepter_changes, accepter_touches, accepter_calls),
        shutdown.clone(),
        "vpcpeeringaccepter",
        vpc_peering_accepter::reconcile,
    );
    let watched = watch::identities(Api::all(client.clone()), identity_writer, touched.clone(), listed.0);
    let identities = if keeps_identities {
        Controller::for_stream(watched, identities)
            .graceful_shutdown_on(shutdown)
            .run(
                move |object, context| {
                    observer::observed(Arc::clone(&observer), "awsidentity", aws_identity::reconcile(object, context))
                },
                aws_identity::retry,
                Arc::clone(&context),
            )
            .for_each(|_| async {})
            .boxed()
    } else {
        watched.take_until(shutdown).for_each(|_| async {}).boxed()
    };
    let events = async {
        match &settings.event_queue_url {
            Some(url) => event_queue::consume(&context.accounts, url).await,
            None => std::future::pending().await,
        }
    };
    let namespaces = watch::namespaces(Api::all(client), namespace_writer, touched, listed.1);
    tokio::select! {
        _ = futures::future::join3(peerings, accepters, identities) => {}
        // They go on without end.
        _ = futures::future::join5(namespaces, tell_changes, tell_touches, tell_calls, events) => {}
    }
    context.announcer.finish().await;
}

/// What wakes resources: connections that changed, identities and namespaces that did, and whose turn it is.
type Wakes = (mpsc::UnboundedReceiver<String>, mpsc::UnboundedReceiver<Touched>, mpsc::UnboundedReceiver<Waiter>);

/// Looks after every resource of one kind.
fn tend<K, R, S>(
    (context, observer, scope, concurrency): (&Arc<Context>, &Arc<dyn Observer>, &Scope, u16),
    store: Writer<K>,
    (changes, touches, calls): Wakes,
    shutdown: S,
    name: &'static str,
    reconcile: fn(Arc<K>, Arc<Context>) -> R,
) -> impl Future<Output = ()> + use<K, R, S>
where
    K: Managed,
    R: Future<Output = Result<Action, kube::Error>> + Send + 'static,
    S: Future<Output = ()> + Send + Sync + 'static,
{
    let observer = Arc::clone(observer);
    let read = K::kept(context).store.clone();
    let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
    Controller::for_stream(watch::resources(Arc::clone(context), scope.clone(), store), read)
        .with_config(kube::runtime::controller::Config::default().concurrency(concurrency))
        .reconcile_on(woken::<K>(Arc::clone(context), changes))
        .reconcile_on(called_up::<K>(calls))
        .reconcile_on(concerned::<K>(Arc::clone(context), touches))
        .graceful_shutdown_on(shutdown)
        .run(
            move |object, context| {
                let work = context.announcer.work();
                let (observer, large) = (Arc::clone(&observer), Arc::clone(&large));
                async move {
                    // The semaphore is never closed.
                    let room = if wire::is_large(&*object) { large.acquire().await.ok() } else { None };
                    let outcome = observer::observed(observer, name, reconcile(object, context)).await;
                    drop((work, room));
                    outcome
                }
            },
            record::retry,
            Arc::clone(context),
        )
        .for_each(|outcome| async move {
            if let Err(error) = outcome {
                tracing::debug!(%error, "reconciliation will be repeated");
            }
        })
}

/// Two receivers that get everything that this one does, and what tells them.
fn twice<T: Clone>(
    mut all: mpsc::UnboundedReceiver<T>,
) -> (mpsc::UnboundedReceiver<T>, mpsc::UnboundedReceiver<T>, impl Future<Output = ()>) {
    let ((one, first), (other, second)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let tell = async move {
        while let Some(told) = all.recv().await {
            // Nobody listens any more only at shutdown.
            _ = (one.send(told.clone()), other.send(told));
        }
        std::future::pending::<()>().await;
    };
    (first, second, tell)
}

/// The resources that use an identity, or are of a namespace, that changed.
fn concerned<K: Managed>(
    context: Arc<Context>,
    touches: mpsc::UnboundedReceiver<Touched>,
) -> impl Stream<Item = ObjectRef<K>> + Send {
    stream::unfold(touches, |mut touches| async move { Some((touches.recv().await?, touches)) }).flat_map(
        move |touched| {
            if let Touched::Identity(name) = &touched
                && context.identities.identities.get(&ObjectRef::new(name)).is_none()
            {
                context.accounts.forget(name);
            }
            let uses = |object: &K| {
                let names = object.identities();
                match &touched {
                    Touched::Identity(touched) => names.iter().any(|name| name == touched),
                    Touched::Namespace(touched) => !names.is_empty() && object.namespace().as_ref() == Some(touched),
                }
            };
            let objects = K::kept(&context).store.state().into_iter().filter(|object| uses(object));
            let objects: Vec<_> = objects.map(|object| ObjectRef::from_obj(&*object)).collect();
            stream::iter(objects)
        },
    )
}

/// The resources whose turn it is.
fn called_up<K: Managed>(calls: mpsc::UnboundedReceiver<Waiter>) -> impl Stream<Item = ObjectRef<K>> + Send {
    stream::unfold(calls, |mut calls| async move { Some((calls.recv().await?, calls)) }).filter_map(
        |waiter: Waiter| async move {
            (waiter.kind == K::kind(&())).then(|| ObjectRef::new(&waiter.name).within(&waiter.namespace))
        },
    )
}

/// The resources whose connections changed in EC2.
fn woken<K: Managed>(
    context: Arc<Context>,
    changes: mpsc::UnboundedReceiver<String>,
) -> impl Stream<Item = ObjectRef<K>> + Send {
    stream::unfold(changes, |mut changes| async move { Some((changes.recv().await?, changes)) }).flat_map(move |id| {
        let objects = K::kept(&context).index.find(By::Interest, &id);
        stream::iter(objects.into_iter().map(|(namespace, name)| ObjectRef::new(&name).within(&namespace)))
    })
}
