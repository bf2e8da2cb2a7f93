//! The world as JSON, to be saved, loaded or written by hand. All fields are optional.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::Location;
use super::identity::{AccessKey, Role};
use super::network_acl::NetworkAcl;
use super::network_interface::NetworkInterface;
use super::peering::Peering;
use super::prefix_list::PrefixList;
use super::route::RouteTable;
use super::security_group::SecurityGroup;
use super::settings::Settings;
use super::subnet::Subnet;
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
    /// The VPCs. Loading creates a main route table, a default network ACL and a default security group for each VPC
    /// that has none.
    pub vpcs: Vec<Vpc>,
    /// The subnets.
    pub subnets: Vec<Subnet>,
    /// The route tables.
    pub route_tables: Vec<RouteTable>,
    /// The network ACLs.
    pub network_acls: Vec<NetworkAcl>,
    /// The security groups.
    pub security_groups: Vec<SecurityGroup>,
    /// The network interfaces.
    pub network_interfaces: Vec<NetworkInterface>,
    /// The managed prefix lists.
    pub prefix_lists: Vec<PrefixList>,
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
            subnets: self.subnets.values().cloned().collect(),
            route_tables: self.tables.values().cloned().collect(),
            network_acls: self.acls.values().cloned().collect(),
            security_groups: self.groups.values().cloned().collect(),
            network_interfaces: self.interfaces.values().cloned().collect(),
            prefix_lists: self.prefix_lists.values().cloned().collect(),
            peerings: self.peerings.iter().cloned().collect(),
            tags,
            random: Some(self.random.clone()),
        }
    }

    /// Creates the world of a scene. `settings` apply if the scene has none. Fails as [`Self::add`].
    pub(crate) fn from_scene(mut scene: Scene, settings: Settings, seed: u64) -> Result<Self> {
        let mut world = Self::new(scene.settings.take().unwrap_or(settings), seed);
        world.random = scene.random.take().unwrap_or(world.random);
        world.add(scene)?;
        Ok(world)
    }

    /// Adds the resources of a scene. A resource replaces the one with its ID. Fails if two resources of the scene have
    /// the same ID, a VPC has no IPv4 block, or a resource names one that does not exist.
    pub(crate) fn add(&mut self, scene: Scene) -> Result<()> {
        scene.check_ids()?;
        self.keys.extend(scene.keys.into_iter().map(|key| (key.id.clone(), key)));
        for role in scene.roles {
            self.put_role(role)?;
        }
        let with_main_table: BTreeSet<_> = {
            let present = self.tables.values().filter(|table| table.main);
            let main = present.chain(scene.route_tables.iter().filter(|table| table.main));
            main.map(|table| table.vpc_id.clone()).collect()
        };
        for vpc in scene.vpcs {
            if vpc.cidr_blocks.is_empty() {
                return Err(Error::new("InvalidScene", format!("{} has no cidr_blocks", vpc.id)));
            }
            if !with_main_table.contains(&vpc.id) {
                let table = RouteTable::new(self.random.id("rtb"), &vpc, true);
                self.tables.insert(table.id.clone(), table);
            }
            if !self.vpcs.contains_key(&vpc.id) {
                self.add_defaults(&vpc);
            }
            self.vpcs.insert(vpc.id.clone(), vpc);
        }
        self.add_subnets(scene.subnets)?;
        self.add_tables(scene.route_tables)?;
        self.add_network_acls(scene.network_acls)?;
        self.add_security_groups(scene.security_groups)?;
        self.add_network_interfaces(scene.network_interfaces)?;
        self.add_prefix_lists(scene.prefix_lists)?;
        for peering in scene.peerings {
            self.peerings.remove(&peering.id);
            self.peerings.insert(peering, &self.settings.visibility);
        }
        for set in scene.tags {
            let resources = self.tags.entry(set.location).or_default();
            resources.entry(set.resource).or_default().extend(set.tags);
        }
        Ok(())
    }
}

impl Scene {
    fn check_ids(&self) -> Result<()> {
        let ids = (self.vpcs.iter().map(|one| &one.id))
            .chain(self.subnets.iter().map(|one| &one.id))
            .chain(self.route_tables.iter().map(|one| &one.id))
            .chain(self.network_acls.iter().map(|one| &one.id))
            .chain(self.security_groups.iter().map(|one| &one.id))
            .chain(self.network_interfaces.iter().map(|one| &one.id))
            .chain(self.prefix_lists.iter().map(|one| &one.id))
            .chain(self.peerings.iter().map(|one| &one.id));
        let mut seen = BTreeSet::new();
        match ids.into_iter().find(|id| !seen.insert(id.as_str())) {
            Some(id) => Err(Error::new("InvalidScene", format!("duplicate ID {id}"))),
            None => Ok(()),
        }
    }
}
