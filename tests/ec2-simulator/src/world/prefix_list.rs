//! Managed prefix lists. Only a scene can contain them.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/managed-prefix-lists.html>

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::World;
use super::call::{Call, Location};
use super::id::ResourceKind;
use crate::error::{Error, Result};

/// A managed prefix list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixList {
    /// The ID: `pl-…`.
    pub id: String,
    /// The account and region.
    #[serde(flatten)]
    pub location: Location,
    /// The name.
    pub name: String,
    /// The maximum number of entries. A route to the list counts as so many routes.
    pub max_entries: usize,
    /// The entries, all of one family.
    #[serde(default)]
    pub entries: Vec<IpNet>,
    /// The version. EC2 makes a new one for each change of the entries. Adding a list with other entries to the world
    /// does the same.
    #[serde(default = "first_version")]
    pub version: u64,
    /// The accounts with which the owner shares the list by AWS RAM. They see it and can use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<String>,
}

fn first_version() -> u64 {
    1
}

impl PrefixList {
    pub(crate) fn is_ipv6(&self) -> bool {
        self.entries.iter().any(|block| matches!(block, IpNet::V6(_)))
    }

    fn is_visible(&self, location: &Location) -> bool {
        let is_shared = self.location.region == location.region && self.shared_with.contains(&location.account);
        self.location == *location || is_shared
    }
}

impl World {
    /// The prefix lists of a location, and those that other accounts share with it.
    pub(crate) fn visible_prefix_lists<'a>(&'a self, location: &'a Location) -> impl Iterator<Item = &'a PrefixList> {
        self.prefix_lists.values().filter(|list| list.is_visible(location))
    }

    /// A prefix list that is visible in the location of the call.
    pub(crate) fn prefix_list(&self, call: &Call, id: &str) -> Result<&PrefixList> {
        ResourceKind::PrefixList.check(id)?;
        let visible = self.prefix_lists.get(id).filter(|list| list.is_visible(&call.location));
        visible.ok_or_else(|| ResourceKind::PrefixList.not_found(&[id]))
    }

    pub(super) fn any_prefix_list(&self, id: &str) -> Option<&PrefixList> {
        self.prefix_lists.get(id)
    }

    /// Adds the prefix lists of a scene. Fails if one has too many entries, or entries of both families.
    pub(super) fn add_prefix_lists(&mut self, lists: Vec<PrefixList>) -> Result<()> {
        for mut list in lists {
            let has_ipv4 = list.entries.iter().any(|block| matches!(block, IpNet::V4(_)));
            if list.entries.len() > list.max_entries || list.is_ipv6() && has_ipv4 {
                return Err(Error::new("InvalidScene", format!("the entries of {} do not fit", list.id)));
            }
            if let Some(known) = self.prefix_lists.get(&list.id).filter(|known| known.entries != list.entries) {
                list.version = list.version.max(known.version + 1);
            }
            self.prefix_lists.insert(list.id.clone(), list);
        }
        Ok(())
    }
}
