//! A context for one run of a command. It holds the objects of one listing, and nothing uses it to write.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Lookup};
use kube::runtime::watcher::Event;
use smol_str::SmolStr;

use super::Kind;
use super::cache_age::CacheAge;
use super::context::Context;
use super::fair_queue::FairQueue;
use super::identity_grants::{Credentials, OwnCredentials};
use super::references::References;
use crate::api::{AwsIdentity, VpcPeering, VpcPeeringAccepter};
use crate::aws::Accounts;
use crate::peering::vpc_reference::ReferenceKind;
use crate::peering::{Defaults, Settings};

/// The objects of the cluster, at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub peerings: Vec<VpcPeering>,
    pub accepters: Vec<VpcPeeringAccepter>,
    pub identities: Vec<AwsIdentity>,
    pub namespaces: Vec<PartialObjectMeta<Namespace>>,
}

impl Cluster {
    /// The context of a run that decides on these objects.
    pub(crate) fn context(
        self,
        client: Client,
        accounts: Accounts,
        own: OwnCredentials,
        cluster: SmolStr,
        (settings, defaults, kinds): (Settings, Defaults, Vec<ReferenceKind>),
    ) -> Context {
        let (peerings, mut peering_writer) = reflector::store();
        let (accepters, mut accepter_writer) = reflector::store();
        let (identities, mut identity_writer) = reflector::store();
        let (namespaces, mut namespace_writer) = reflector::store();
        let listed = (CacheAge::default(), CacheAge::default());
        fill(&mut identity_writer, self.identities);
        fill(&mut namespace_writer, self.namespaces);
        listed.0.listed();
        listed.1.listed();
        let credentials = Credentials { identities, namespaces, listed, own };
        let queue = FairQueue::new(|_| {});
        let stores = (peerings, accepters);
        let references = References::new(client.clone(), kinds, Arc::clone(accounts.own()), None);
        let decisions = (settings, defaults, references);
        let context = Context::new(client, accounts, credentials, queue, stores, cluster, decisions);
        follow(&context, &self.peerings);
        follow(&context, &self.accepters);
        fill(&mut peering_writer, self.peerings);
        fill(&mut accepter_writer, self.accepters);
        context
    }
}

fn follow<K: Kind>(context: &Context, objects: &[K]) {
    objects.iter().for_each(|object| K::follow(context, &Event::Apply(object.clone())));
}

fn fill<K>(writer: &mut Writer<K>, objects: Vec<K>)
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(object));
    }
    writer.apply_watcher_event(&Event::InitDone);
}
