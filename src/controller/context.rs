//! What every reconciliation shares.

use kube::Client;
use kube::runtime::events::Reporter;
use kube::runtime::reflector::Store;
use smol_str::SmolStr;
use tokio::time::Instant;

use super::access::Identities;
use super::announcer::Announcer;
use super::kept::{Kept, Managed};
use super::turns::Turns;
use crate::api::{VpcPeering, VpcPeeringAccepter};
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
    pub announcer: Announcer,
    /// What is kept of every `VpcPeering`.
    pub peerings: Kept<VpcPeering>,
    /// What is kept of every `VpcPeeringAccepter`.
    pub accepters: Kept<VpcPeeringAccepter>,
    /// Whose turn it is to change something in AWS.
    pub turns: Turns,
    /// What decisions are tuned by.
    pub settings: Settings,
    /// When this process began to look.
    pub started: Instant,
    /// What identifies this cluster in tags.
    pub cluster: SmolStr,
}

impl Context {
    /// A context for a process that starts now.
    #[must_use]
    pub fn new(
        client: Client,
        accounts: Accounts,
        identities: Identities,
        turns: Turns,
        (peerings, accepters): (Store<VpcPeering>, Store<VpcPeeringAccepter>),
        cluster: SmolStr,
        settings: Settings,
    ) -> Self {
        let reporter = Reporter { controller: "vpc-peering-operator".into(), instance: std::env::var("POD_NAME").ok() };
        Self {
            announcer: Announcer::start(client.clone(), reporter),
            client,
            accounts,
            identities,
            peerings: Kept::new(peerings),
            accepters: Kept::new(accepters),
            turns,
            settings,
            started: Instant::now(),
            cluster,
        }
    }

    /// The resource, as tags and sessions name it. The API server gives every object all three names.
    #[must_use]
    pub fn owner(&self, object: &impl Managed) -> Owner {
        let meta = object.meta();
        Owner {
            cluster: self.cluster.to_string(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }
}
