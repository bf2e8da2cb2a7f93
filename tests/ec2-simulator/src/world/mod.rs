//! What there is: accounts, VPCs, peering connections, route tables and tags. Pure: time comes with each call, and
//! nothing here waits, reads a clock or knows of HTTP.

pub mod id;
pub mod identity;
mod lifecycle;
pub mod peering;
pub mod place;
pub mod registry;
pub mod route;
pub mod scene;
pub mod settings;
pub mod tag;
pub mod vpc;

use std::collections::{BTreeMap, HashMap};

pub use identity::{AccessKey, Caller, Role};
pub use lifecycle::Request;
pub use peering::{Options, Peering, Phase, Side};
pub use place::{Call, Place};
pub use registry::Registry;
pub use route::RouteTable;
pub use scene::Scene;
pub use settings::Settings;
pub use tag::Tags;
pub use vpc::Vpc;

use crate::random::Random;

/// Everything that EC2 and STS know.
#[derive(Clone, Debug)]
pub struct World {
    settings: Settings,
    keys: BTreeMap<String, AccessKey>,
    roles: BTreeMap<String, Role>,
    vpcs: BTreeMap<String, Vpc>,
    tables: BTreeMap<String, RouteTable>,
    peerings: Registry,
    tags: HashMap<Place, BTreeMap<String, Tags>>,
    random: Random,
}

impl World {
    /// A world with the default access key and nothing else. The seed decides its IDs.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            keys: BTreeMap::from([(identity::DEFAULT_KEY_ID.to_owned(), AccessKey::default_user())]),
            roles: BTreeMap::new(),
            vpcs: BTreeMap::new(),
            tables: BTreeMap::new(),
            peerings: Registry::default(),
            tags: HashMap::new(),
            random: Random::new(seed),
        }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Replaces the settings; what is under way keeps the end it was given.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        self.peerings.wake_all(&self.settings.visibility);
    }

    /// The connections.
    #[must_use]
    pub fn peerings(&self) -> &Registry {
        &self.peerings
    }
}
