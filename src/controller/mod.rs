//! The kube-runtime wiring: what wakes a resource, and who looks after it.

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

use futures::{Stream, StreamExt, stream};
use kube::runtime::controller::Controller;
use kube::runtime::reflector::{self, ObjectRef};
use kube::{Api, Client};
use tokio::sync::mpsc;

use crate::api::VpcPeering;
use crate::aws::{Ec2, Inventories};
use crate::peering;
pub use context::Context;
pub use observer::Observer;

/// What the controller is tuned by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The only namespace to look after; every one where there is none.
    pub namespace: Option<String>,
    /// How often EC2 is listed while nothing of ours is in motion.
    pub poll_interval: Duration,
    /// What decisions are tuned by.
    pub decisions: peering::Settings,
}

/// Looks after every `VpcPeering` until `shutdown` resolves, then ends when the steps in hand are done.
pub async fn run(
    client: Client,
    ec2: Arc<Ec2>,
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
    let (changed, changes) = mpsc::unbounded_channel();
    let inventories = Inventories::new(Arc::clone(&ec2), cluster.clone(), settings.poll_interval, changed);
    let context = Arc::new(Context::new(client, ec2, inventories, store.clone(), cluster, settings.decisions));
    observer.started(&context);
    Controller::for_stream(watch::resources(Arc::clone(&context), objects, writer), store)
        .reconcile_on(woken(Arc::clone(&context), changes))
        .graceful_shutdown_on(shutdown)
        .run(
            move |object, context| {
                observer::observed(Arc::clone(&observer), "vpcpeering", vpc_peering::reconcile(object, context))
            },
            vpc_peering::retry,
            context,
        )
        .for_each(|outcome| async move {
            if let Err(error) = outcome {
                tracing::debug!(%error, "reconciliation will be repeated");
            }
        })
        .await;
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
