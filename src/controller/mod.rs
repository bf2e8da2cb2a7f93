//! The kube-runtime wiring: what wakes a resource, and who looks after it.

pub mod access;
pub mod aws_identity;
pub mod context;
pub mod interests;
pub mod memory;
pub mod observer;
pub mod record;
pub mod steps;
pub mod vpc_peering;
pub mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, stream};
use kube::runtime::controller::Controller;
use kube::runtime::reflector::{self, ObjectRef};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;

use crate::api::{Side, VpcPeering};
use crate::aws::{Accounts, Traffic};
use crate::peering;
use access::Identities;
pub use access::OwnCredentials;
pub use context::Context;
pub use observer::Observer;
use watch::Touched;

/// What the controller is tuned by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The only namespace to look after; every one where there is none.
    pub namespace: Option<String>,
    /// How often EC2 is listed while nothing of ours is in motion.
    pub poll_interval: Duration,
    /// The namespaces that may use the operator's own credentials.
    pub own_credentials: OwnCredentials,
    /// What decisions are tuned by.
    pub decisions: peering::Settings,
}

/// Looks after every resource until `shutdown` resolves, then ends when the steps in hand are done.
pub async fn run(
    client: Client,
    traffic: Arc<dyn Traffic>,
    cluster: String,
    settings: Settings,
    observer: Arc<dyn Observer>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let objects = match settings.namespace {
        Some(namespace) => Api::namespaced(client.clone(), &namespace),
        None => Api::all(client.clone()),
    };
    let (store, writer) = reflector::store();
    let (identities, identity_writer) = reflector::store();
    let (namespaces, namespace_writer) = reflector::store();
    let (changed, changes) = mpsc::unbounded_channel();
    let (touched, touches) = mpsc::unbounded_channel();
    let accounts = Accounts::from_environment(traffic, cluster.clone(), settings.poll_interval, changed).await;
    let known = Identities { identities: identities.clone(), namespaces, own: settings.own_credentials };
    let context = Arc::new(Context::new(client.clone(), accounts, known, store.clone(), cluster, settings.decisions));
    observer.started(&context);
    let shutdown = shutdown.shared();
    let peerings = Controller::for_stream(watch::resources(Arc::clone(&context), objects, writer), store)
        .reconcile_on(woken(Arc::clone(&context), changes))
        .reconcile_on(concerned(Arc::clone(&context), touches))
        .graceful_shutdown_on(shutdown.clone())
        .run(
            {
                let observer = Arc::clone(&observer);
                move |object, context| {
                    observer::observed(Arc::clone(&observer), "vpcpeering", vpc_peering::reconcile(object, context))
                }
            },
            vpc_peering::retry,
            Arc::clone(&context),
        )
        .for_each(|outcome| async move {
            if let Err(error) = outcome {
                tracing::debug!(%error, "reconciliation will be repeated");
            }
        });
    let identities = Controller::for_stream(
        watch::identities(Api::all(client.clone()), identity_writer, touched.clone()),
        identities,
    )
    .graceful_shutdown_on(shutdown.clone())
    .run(
        move |object, context| {
            observer::observed(Arc::clone(&observer), "awsidentity", aws_identity::reconcile(object, context))
        },
        aws_identity::retry,
        context,
    )
    .for_each(|_| async {});
    let namespaces = watch::namespaces(Api::all(client), namespace_writer, touched);
    tokio::select! {
        _ = futures::future::join(peerings, identities) => {}
        // It watches without end.
        () = namespaces => {}
    }
}

/// The resources that use an identity, or are of a namespace, that changed.
fn concerned(
    context: Arc<Context>,
    touches: mpsc::UnboundedReceiver<Touched>,
) -> impl Stream<Item = ObjectRef<VpcPeering>> + Send {
    stream::unfold(touches, |mut touches| async move { Some((touches.recv().await?, touches)) }).flat_map(
        move |touched| {
            if let Touched::Identity(name) = &touched
                && context.identities.identities.get(&ObjectRef::new(name)).is_none()
            {
                context.accounts.forget(name);
            }
            let uses = |object: &VpcPeering| {
                let names = [Side::Requester, Side::Accepter].map(|side| object.spec.side(side).identity_ref.as_ref());
                let mut names = names.into_iter().flatten();
                match &touched {
                    Touched::Identity(touched) => names.any(|named| named.name == *touched),
                    Touched::Namespace(touched) => {
                        names.next().is_some() && object.namespace().as_ref() == Some(touched)
                    }
                }
            };
            let objects: Vec<_> = context
                .store
                .state()
                .into_iter()
                .filter(|object| uses(object))
                .map(|object| ObjectRef::from_obj(&*object))
                .collect();
            stream::iter(objects)
        },
    )
}

/// The resources whose connections changed in EC2.
fn woken(
    context: Arc<Context>,
    changes: mpsc::UnboundedReceiver<String>,
) -> impl Stream<Item = ObjectRef<VpcPeering>> + Send {
    stream::unfold(changes, |mut changes| async move { Some((changes.recv().await?, changes)) }).flat_map(move |id| {
        let objects: BTreeSet<_> = context.interests.in_connection(&id);
        stream::iter(objects.into_iter().map(|(namespace, name)| ObjectRef::new(&name).within(&namespace)))
    })
}
