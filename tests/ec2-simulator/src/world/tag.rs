//! Tags, which exist only in the account and region that made them.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>

use std::collections::BTreeMap;

use super::World;
use super::id::ResourceKind;
use super::place::{Call, Place};
use super::settings::Quotas;
use crate::error::{Error, Result};

/// Keys and values.
pub type Tags = BTreeMap<String, String>;

/// From the API reference of `Tag`: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Tag.html>.
const LONGEST_KEY: usize = 127;
const LONGEST_VALUE: usize = 256;
/// From the API reference of `CreateTags`.
const MOST_RESOURCES: usize = 1000;

/// Refuses tags that EC2 refuses.
///
/// # Errors
/// `InvalidTagKey.Malformed`, `InvalidParameterValue` or `TagLimitExceeded`.
pub fn check(tags: &Tags, quotas: &Quotas) -> Result<()> {
    for (key, value) in tags {
        check_key(key)?;
        if value.chars().count() > LONGEST_VALUE {
            let message = format!("Tag value exceeds the maximum length of {LONGEST_VALUE} characters");
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
    if key.chars().count() > LONGEST_KEY {
        let message = format!("Tag key exceeds the maximum length of {LONGEST_KEY} characters");
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
    /// The tags that this place gave to the resource.
    #[must_use]
    pub fn tags(&self, place: &Place, resource: &str) -> Option<&Tags> {
        self.tags.get(place)?.get(resource)
    }

    /// All tags of a place, by resource.
    pub fn all_tags(&self, place: &Place) -> impl Iterator<Item = (&str, &Tags)> {
        self.tags.get(place).into_iter().flatten().map(|(resource, tags)| (resource.as_str(), tags))
    }

    /// Adds tags, and replaces those of the same keys.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html>
    ///
    /// # Errors
    /// When a resource is unknown here, or would have more tags than it may.
    pub fn create_tags(&mut self, call: &Call, resources: &[String], tags: &Tags) -> Result<()> {
        check(tags, &self.settings.quotas)?;
        self.check_resources(call, resources)?;
        for resource in resources {
            let existing = self.tags(&call.place, resource);
            let added = tags.keys().filter(|key| !existing.is_some_and(|tags| tags.contains_key(*key))).count();
            check_count(existing.map_or(0, Tags::len) + added, &self.settings.quotas)?;
        }
        call.proceed()?;
        for resource in resources {
            self.add_tags(&call.place, resource, tags.clone());
        }
        Ok(())
    }

    /// Removes tags: those of the keys, if the value matches where one is given; all of them without any key.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteTags.html>
    ///
    /// # Errors
    /// When a resource is unknown here.
    pub fn delete_tags(&mut self, call: &Call, resources: &[String], tags: &[(String, Option<String>)]) -> Result<()> {
        self.check_resources(call, resources)?;
        call.proceed()?;
        let goes = |key: &str, value: &str| {
            let is_meant = |(name, only): &(String, Option<String>)| {
                name == key && only.as_deref().is_none_or(|only| only == value)
            };
            tags.is_empty() || tags.iter().any(is_meant)
        };
        let here = self.tags.entry(call.place.clone()).or_default();
        for resource in resources {
            if let Some(tags) = here.get_mut(resource) {
                tags.retain(|key, value| !goes(key, value));
            }
        }
        Ok(())
    }

    pub(super) fn add_tags(&mut self, place: &Place, resource: &str, tags: Tags) {
        if !tags.is_empty() {
            self.tags.entry(place.clone()).or_default().entry(resource.to_owned()).or_default().extend(tags);
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
        if resources.len() > MOST_RESOURCES {
            let message = format!("At most {MOST_RESOURCES} resource IDs may be given.");
            return Err(Error::new("InvalidParameterValue", message));
        }
        for id in resources {
            match ResourceKind::of(id) {
                Some(ResourceKind::Vpc) => self.vpc(call, id).map(drop)?,
                Some(ResourceKind::VpcPeeringConnection) => self.peering(call, id).map(drop)?,
                Some(ResourceKind::RouteTable) => self.table(call, id).map(drop)?,
                None => return Err(Error::new("InvalidID", format!("The ID '{id}' is not valid"))),
            }
        }
        Ok(())
    }
}
