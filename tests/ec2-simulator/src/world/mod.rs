//! The state of EC2 and STS: accounts, VPCs and what is in them, peering connections, route tables and tags. Pure:
//! callers pass the time, and nothing here waits, reads a clock or knows HTTP.

mod call;
pub(crate) mod cidr_block;
pub(crate) mod id;
pub mod identity;
mod lag;
mod lifecycle;
pub mod network_acl;
pub mod network_interface;
pub(crate) mod peering;
mod peering_index;
pub mod prefix_list;
pub(crate) mod region;
pub(crate) mod route;
mod scene;
pub mod security_group;
pub(crate) mod session_tags;
pub mod settings;
pub mod subnet;
mod tag;
pub mod vpc;

use std::collections::{BTreeMap, HashMap};

pub use call::{Call, Location};
pub use identity::{AccessKey, Caller, Role};
pub use lifecycle::Request;
pub(crate) use network_acl::NetworkAcl;
pub(crate) use network_interface::NetworkInterface;
pub(crate) use peering::Side;
pub use peering::{Options, Peering, Phase};
use peering_index::PeeringIndex;
pub(crate) use prefix_list::PrefixList;
pub(crate) use route::RouteTable;
pub use scene::Scene;
pub(crate) use security_group::SecurityGroup;
pub use settings::Settings;
pub(crate) use subnet::Subnet;
pub use tag::Tags;
pub(crate) use vpc::Vpc;

use crate::random::Random;

/// The state of EC2 and STS in all accounts and regions.
#[derive(Clone, Debug)]
pub struct World {
    settings: Settings,
    keys: BTreeMap<String, AccessKey>,
    roles: BTreeMap<String, Role>,
    vpcs: BTreeMap<String, Vpc>,
    tables: BTreeMap<String, RouteTable>,
    subnets: BTreeMap<String, Subnet>,
    acls: BTreeMap<String, NetworkAcl>,
    groups: BTreeMap<String, SecurityGroup>,
    interfaces: BTreeMap<String, NetworkInterface>,
    prefix_lists: BTreeMap<String, PrefixList>,
    peerings: PeeringIndex,
    tags: HashMap<Location, BTreeMap<String, Tags>>,
    lagging: lag::Lagging,
    random: Random,
}

impl World {
    /// Creates a world that has the default access key and nothing else. The seed determines the IDs of new resources.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            keys: BTreeMap::from([(identity::DEFAULT_KEY_ID.to_owned(), AccessKey::default_user())]),
            roles: BTreeMap::new(),
            vpcs: BTreeMap::new(),
            tables: BTreeMap::new(),
            subnets: BTreeMap::new(),
            acls: BTreeMap::new(),
            groups: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            prefix_lists: BTreeMap::new(),
            peerings: PeeringIndex::default(),
            tags: HashMap::new(),
            lagging: lag::Lagging::default(),
            random: Random::new(seed),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Replaces the settings. Transitions in progress keep their end time.
    pub(crate) fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        self.peerings.reschedule_all(&self.settings.visibility);
    }

    /// All peering connections.
    #[must_use]
    pub fn peerings(&self) -> &PeeringIndex {
        &self.peerings
    }
}
