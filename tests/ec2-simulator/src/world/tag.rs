//! Tags. A tag is visible only in the account and region that created it.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>

use std::collections::BTreeMap;

use super::World;
use super::call::{Call, Location};
use super::id::ResourceKind;
use super::settings::Quotas;
use crate::error::{Error, Result};

/// Tag keys and values.
pub type Tags = BTreeMap<String, String>;

/// Maximum characters of a key and of a value: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Tag.html>.
const MAX_KEY_LENGTH: usize = 127;
const MAX_VALUE_LENGTH: usize = 256;
/// Maximum resources in one call: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html>.
const MAX_RESOURCES: usize = 1000;

/// Rejects invalid tags.
pub(crate) fn check(tags: &Tags, quotas: &Quotas) -> Result<()> {
    for (key, value) in tags {
        check_key(key)?;
        if value.chars().count() > MAX_VALUE_LENGTH {
            let message = format!("Tag value exceeds the maximum length of {MAX_VALUE_LENGTH} characters");
            return Err(Error::new("InvalidParameterValue", message));
        }
    }
    check_count(tags.len(), quotas)
}

fn check_key(key: &str) -> Result<()> {
    if key.is_empty() || key.starts_with("aws:") {
        return Err(Error::new(
            "InvalidTagKey.Malformed",
            "Tag keys cannot be empty or null, and cannot start with aws:",
        ));
    }
    if key.chars().count() > MAX_KEY_LENGTH {
        let message = format!("Tag key exceeds the maximum length of {MAX_KEY_LENGTH} characters");
        return Err(Error::new("InvalidParameterValue", message));
    }
    Ok(())
}

fn check_count(count: usize, quotas: &Quotas) -> Result<()> {
    if count > quotas.tags_per_resource {
        return Err(Error::new("TagLimitExceeded", "The maximum number of Tags for a resource has been reached."));
    }
    Ok(())
}

impl World {
    /// The tags of a resource in an account and region.
    #[must_use]
    pub fn tags(&self, location: &Location, resource: &str) -> Option<&Tags> {
        self.tags.get(location)?.get(resource)
    }

    /// All tags of an account and region, by resource.
    pub(crate) fn all_tags(&self, location: &Location) -> impl Iterator<Item = (&str, &Tags)> {
        self.tags.get(location).into_iter().flatten().map(|(resource, tags)| (resource.as_str(), tags))
    }

    /// Adds tags. Replaces the values of existing keys.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html>
    ///
    /// # Errors
    /// If a resource does not exist, a tag is invalid, or a resource would exceed its quota of tags.
    pub fn create_tags(&mut self, call: &Call, resources: &[String], tags: &Tags) -> Result<()> {
        check(tags, &self.settings.quotas)?;
        self.check_resources(call, resources)?;
        for resource in resources {
            let existing = self.tags(&call.location, resource);
            let added = tags.keys().filter(|key| !existing.is_some_and(|tags| tags.contains_key(*key))).count();
            check_count(existing.map_or(0, Tags::len) + added, &self.settings.quotas)?;
        }
        call.proceed()?;
        for resource in resources {
            self.delay_tags(&call.location, resource, call.now);
            self.add_tags(&call.location, resource, tags.clone());
        }
        Ok(())
    }

    /// Removes tags by key. A tag with a given value is removed only if the value matches. Without any key, removes all
    /// tags.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteTags.html>
    ///
    /// # Errors
    /// If a resource does not exist.
    pub fn delete_tags(&mut self, call: &Call, resources: &[String], tags: &[(String, Option<String>)]) -> Result<()> {
        self.check_resources(call, resources)?;
        call.proceed()?;
        let is_removed = |key: &str, value: &str| {
            let matches = |(name, only): &(String, Option<String>)| {
                name == key && only.as_deref().is_none_or(|only| only == value)
            };
            tags.is_empty() || tags.iter().any(matches)
        };
        for resource in resources {
            self.delay_tags(&call.location, resource, call.now);
            let here = self.tags.entry(call.location.clone()).or_default();
            if let Some(tags) = here.get_mut(resource) {
                tags.retain(|key, value| !is_removed(key, value));
            }
        }
        Ok(())
    }

    pub(super) fn add_tags(&mut self, location: &Location, resource: &str, tags: Tags) {
        if !tags.is_empty() {
            self.tags.entry(location.clone()).or_default().entry(resource.to_owned()).or_default().extend(tags);
        }
    }

    pub(super) fn forget_tags(&mut self, resource: &str) {
        for tags in self.tags.values_mut() {
            tags.remove(resource);
        }
    }

    fn check_resources(&self, call: &Call, resources: &[String]) -> Result<()> {
        if resources.is_empty() {
            return Err(Error::missing_parameter("resourceIdSet"));
        }
        if resources.len() > MAX_RESOURCES {
            let message = format!("At most {MAX_RESOURCES} resource IDs may be given.");
            return Err(Error::new("InvalidParameterValue", message));
        }
        for id in resources {
            match ResourceKind::of(id) {
                Some(ResourceKind::Vpc) => self.vpc(call, id).map(drop)?,
                Some(ResourceKind::VpcPeeringConnection) => self.peering(call, id).map(drop)?,
                Some(ResourceKind::RouteTable) => self.table(call, id).map(drop)?,
                Some(kind) => {
                    kind.check(id)?;
                    if !self.is_part_visible(call, id) {
                        return Err(kind.not_found(&[id]));
                    }
                }
                None => return Err(Error::new("InvalidID", format!("The ID '{id}' is not valid"))),
            }
        }
        Ok(())
    }
}
