//! The channel of wake-ups. A wake-up is any cause of a reconcile except the watch. It carries no data: the reconcile
//! reads the state itself.

use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use super::context::Context;
use super::index::By;
use super::kind::Kind;
use super::queued_resource::QueuedResource;
use super::references::Referenced;
use crate::api::{VpcPeering, VpcPeeringAccepter};

/// A cause to reconcile objects.
#[derive(Clone, Debug)]
pub(super) enum WakeUp {
    /// A connection changed in EC2, or the route tables of a VPC.
    AwsId(String),
    /// An `AwsIdentity` was created, changed or deleted.
    Identity(String),
    /// The labels of a namespace changed.
    Namespace(String),
    /// An object that a `vpcRef` may name was created, changed or deleted.
    Referenced(Referenced),
    /// The fair queue has a permit for this object.
    Permit(QueuedResource),
}

/// The sender of the channel. It never blocks.
#[derive(Clone)]
pub(super) struct WakeUps(mpsc::UnboundedSender<WakeUp>);

/// The receivers of both kinds.
pub(super) struct Woken {
    pub peerings: mpsc::UnboundedReceiver<ObjectRef<VpcPeering>>,
    pub accepters: mpsc::UnboundedReceiver<ObjectRef<VpcPeeringAccepter>>,
}

pub(super) fn channel() -> (WakeUps, mpsc::UnboundedReceiver<WakeUp>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (WakeUps(sender), receiver)
}

impl WakeUps {
    pub(super) fn send(&self, wake_up: WakeUp) {
        // The receiver is gone only at shutdown.
        _ = self.0.send(wake_up);
    }
}

/// Turns wake-ups into objects to reconcile. The future runs until the shutdown.
pub(super) fn dispatch(
    context: Arc<Context>,
    mut wake_ups: mpsc::UnboundedReceiver<WakeUp>,
) -> (Woken, impl Future<Output = ()>) {
    let ((to_peerings, peerings), (to_accepters, accepters)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let run = async move {
        while let Some(wake_up) = wake_ups.recv().await {
            if let WakeUp::Identity(name) = &wake_up
                && context.credentials.identities.get(&ObjectRef::new(name)).is_none()
            {
                context.accounts.forget(name);
            }
            // The receivers are gone only at shutdown.
            woken::<VpcPeering>(&context, &wake_up).into_iter().for_each(|object| _ = to_peerings.send(object));
            woken::<VpcPeeringAccepter>(&context, &wake_up)
                .into_iter()
                .for_each(|object| _ = to_accepters.send(object));
        }
        std::future::pending().await
    };
    (Woken { peerings, accepters }, run)
}

/// The objects of one kind that a wake-up concerns.
fn woken<K: Kind>(context: &Context, wake_up: &WakeUp) -> Vec<ObjectRef<K>> {
    let cache = K::cache(context);
    let filter = |uses: &dyn Fn(&K) -> bool| -> Vec<ObjectRef<K>> {
        let objects = cache.store.state().into_iter().filter(|object| uses(object));
        objects.map(|object| ObjectRef::from_obj(&*object)).collect()
    };
    match wake_up {
        WakeUp::AwsId(id) => {
            let keys = cache.index.find(By::AwsId, id).into_iter();
            keys.map(|(namespace, name)| ObjectRef::new(&name).within(&namespace)).collect()
        }
        WakeUp::Identity(identity) => filter(&|object| object.identities().iter().any(|name| name == identity)),
        WakeUp::Namespace(namespace) => {
            filter(&|object| !object.identities().is_empty() && object.namespace().as_ref() == Some(namespace))
        }
        WakeUp::Referenced(referenced) => filter(&|object| {
            let namespace = object.namespace();
            let mut unresolved = object.unresolved_references().into_iter();
            unresolved.any(|reference| referenced.is_named_by(reference, namespace.as_deref()))
        }),
        WakeUp::Permit(QueuedResource { kind, namespace, name }) if *kind == K::kind(&()) => {
            vec![ObjectRef::new(name).within(namespace)]
        }
        WakeUp::Permit(_) => Vec::new(),
    }
}
