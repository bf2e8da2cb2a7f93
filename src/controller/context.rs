//! What every reconciliation shares.

use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::Store;
use kube::{Client, Resource};
use tokio::time::Instant;

use super::access::Identities;
use super::interests::Interests;
use super::memory::Memories;
use crate::api::VpcPeering;
use crate::aws::Accounts;
use crate::peering::{Owner, Settings};

/// What every reconciliation shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// AWS, account by account.
    pub accounts: Accounts,
    /// Who may act by which credentials.
    pub identities: Identities,
    /// Publishes Events.
    pub recorder: Recorder,
    /// What this process remembers of each resource.
    pub memories: Memories,
    /// Which resource waits for which connection.
    pub interests: Interests,
    /// Every resource, as the watch last showed it.
    pub store: Store<VpcPeering>,
    /// What decisions are tuned by.
    pub settings: Settings,
    /// When this process began to look.
    pub started: Instant,
    cluster: String,
}

impl Context {
    /// A context for a process that starts now.
    #[must_use]
    pub fn new(
        client: Client,
        accounts: Accounts,
        identities: Identities,
        store: Store<VpcPeering>,
        cluster: String,
        settings: Settings,
    ) -> Self {
        let reporter = Reporter { controller: "vpc-peering-operator".into(), instance: std::env::var("POD_NAME").ok() };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            accounts,
            identities,
            memories: Memories::default(),
            interests: Interests::default(),
            store,
            settings,
            started: Instant::now(),
            cluster,
        }
    }

    /// The owner that this resource's peering carries in its tags. The API server gives every object all three names.
    #[must_use]
    pub fn owner(&self, object: &VpcPeering) -> Owner {
        let meta = object.meta();
        Owner {
            cluster: self.cluster.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }
}
