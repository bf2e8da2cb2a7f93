//! The state that all reconciles share.

use kube::Client;
use kube::runtime::events::Reporter;
use kube::runtime::reflector::Store;
use smol_str::SmolStr;
use tokio::time::Instant;

use super::cache::Cache;
use super::event_publisher::EventPublisher;
use super::fair_queue::FairQueue;
use super::identity_grants::Credentials;
use super::references::References;
use crate::api::{VpcPeering, VpcPeeringAccepter};
use crate::aws::Accounts;
use crate::peering::{Defaults, Settings, vpc_peering, vpc_peering_accepter};

/// The state that all reconciles share.
pub(crate) struct Context {
    pub client: Client,
    pub accounts: Accounts,
    /// The identities, and the namespaces that may use them.
    pub credentials: Credentials,
    pub events: EventPublisher,
    pub peerings: Cache<VpcPeering, vpc_peering::Step>,
    pub accepters: Cache<VpcPeeringAccepter, vpc_peering_accepter::Step>,
    /// Permits for EC2 calls that change something.
    pub queue: FairQueue,
    pub settings: Settings,
    /// The defaults for what the specs leave open.
    pub defaults: Defaults,
    /// The VPCs of `vpcRef`.
    pub references: References,
    /// Whether to look for rules of security groups that become stale with a peering.
    pub security_group_warnings: bool,
    /// The start of this process.
    pub started: Instant,
    /// The ID of this cluster in tags.
    pub cluster: SmolStr,
}

impl Context {
    pub(super) fn new(
        client: Client,
        accounts: Accounts,
        credentials: Credentials,
        queue: FairQueue,
        (peerings, accepters): (Store<VpcPeering>, Store<VpcPeeringAccepter>),
        cluster: SmolStr,
        (settings, defaults, references): (Settings, Defaults, References),
    ) -> Self {
        let reporter = Reporter { controller: "vpc-peering-operator".into(), instance: std::env::var("POD_NAME").ok() };
        Self {
            events: EventPublisher::start(client.clone(), reporter),
            client,
            accounts,
            credentials,
            peerings: Cache::new(peerings),
            accepters: Cache::new(accepters),
            queue,
            settings,
            defaults,
            references,
            security_group_warnings: false,
            started: Instant::now(),
            cluster,
        }
    }
}
