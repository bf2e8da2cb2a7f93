//! The world as JSON, to be saved, loaded or written by hand. All fields are optional.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::Location;
use super::identity::{AccessKey, Role};
use super::peering::Peering;
use super::peering_index::PeeringIndex;
use super::route::RouteTable;
use super::settings::Settings;
use super::tag::Tags;
use super::vpc::Vpc;
use super::{World, identity};
use crate::error::{Error, Result};
use crate::random::Random;

/// A serialized world.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scene {
    /// The time of the clock. If absent, the clock does not change.
    pub now: Option<Timestamp>,
    /// The settings. If absent, the settings do not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// The access keys except the default one.
    pub keys: Vec<AccessKey>,
    /// The roles.
    pub roles: Vec<Role>,
    /// The VPCs. Loading creates a main route table for each VPC that has none.
    pub vpcs: Vec<Vpc>,
    /// The route tables.
    pub route_tables: Vec<RouteTable>,
    /// The connections.
    pub peerings: Vec<Peering>,
    /// The tags.
    pub tags: Vec<TagSet>,
    /// The state of the generator of IDs.
    pub random: Option<Random>,
}

/// The tags of one resource in one account and region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagSet {
    #[serde(flatten)]
    pub(crate) location: Location,
    /// The ID of the resource.
    pub(crate) resource: String,
    pub(crate) tags: Tags,
}

impl World {
    /// Serializes the world.
    pub(crate) fn scene(&self, now: Timestamp) -> Scene {
        let tags = self.tags.iter().flat_map(|(location, resources)| {
            resources.iter().map(|(resource, tags)| TagSet {
                location: location.clone(),
                resource: resource.clone(),
                tags: tags.clone(),
            })
        });
        let mut tags: Vec<_> = tags.filter(|set| !set.tags.is_empty()).collect();
        tags.sort_by(|one, two| (&one.location, &one.resource).cmp(&(&two.location, &two.resource)));
        Scene {
            now: Some(now),
            settings: Some(self.settings.clone()),
            keys: self.keys.values().filter(|key| key.id != identity::DEFAULT_KEY_ID).cloned().collect(),
            roles: self.roles.values().cloned().collect(),
            vpcs: self.vpcs.values().cloned().collect(),
            route_tables: self.tables.values().cloned().collect(),
            peerings: self.peerings.iter().cloned().collect(),
            tags,
            random: Some(self.random.clone()),
        }
    }

    /// Creates the world of a scene. `settings` apply if the scene has none. Fails if two resources have the same ID,
    /// or a VPC has no IPv4 block.
    pub(crate) fn from_scene(scene: Scene, settings: Settings, seed: u64) -> Result<Self> {
        let mut world = Self::new(scene.settings.unwrap_or(settings), seed);
        let mut ids = BTreeSet::new();
        let mut unique = |id: &str| match ids.insert(id.to_owned()) {
            true => Ok(()),
            false => Err(Error::new("InvalidScene", format!("duplicate ID {id}"))),
        };
        world.random = scene.random.unwrap_or(world.random);
        world.keys.extend(scene.keys.into_iter().map(|key| (key.id.clone(), key)));
        for role in scene.roles {
            world.put_role(role)?;
        }
        for table in scene.route_tables {
            unique(&table.id)?;
            world.tables.insert(table.id.clone(), table);
        }
        let main = world.tables.values().filter(|table| table.main);
        let with_main_table: BTreeSet<_> = main.map(|table| table.vpc_id.clone()).collect();
        for vpc in scene.vpcs {
            unique(&vpc.id)?;
            if vpc.cidr_blocks.is_empty() {
                return Err(Error::new("InvalidScene", format!("{} has no cidr_blocks", vpc.id)));
            }
            if !with_main_table.contains(&vpc.id) {
                let table = RouteTable::new(world.random.id("rtb"), &vpc, true);
                world.tables.insert(table.id.clone(), table);
            }
            world.vpcs.insert(vpc.id.clone(), vpc);
        }
        let mut peerings = PeeringIndex::default();
        for peering in scene.peerings {
            unique(&peering.id)?;
            peerings.insert(peering, &world.settings.visibility);
        }
        world.peerings = peerings;
        let mut tags: HashMap<Location, BTreeMap<String, Tags>> = HashMap::new();
        for set in scene.tags {
            tags.entry(set.location).or_default().entry(set.resource).or_default().extend(set.tags);
        }
        world.tags = tags;
        Ok(world)
    }
}
