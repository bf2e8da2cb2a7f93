//! The defaults that an administrator sets for all resources of this operator.

use std::collections::BTreeMap;

use super::blocker::Blocker;
use super::owner::Owner;
use crate::api::{DeletionPolicy, Reason, Tag};

/// The most default tags, as many as `spec.tags` of a resource may have.
pub(crate) const MAX_DEFAULT_TAGS: usize = 36;

/// The most tags that EC2 allows on a resource. Each account and region has its own tags of a connection.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>
pub(crate) const MAX_TAGS: usize = 50;

/// The defaults for all resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// Tags of every connection. A tag of a resource with the same key wins.
    pub tags: BTreeMap<String, String>,
    /// The policy of resources that set none.
    pub deletion_policy: DeletionPolicy,
}

impl Defaults {
    /// The policy of a resource.
    pub(crate) fn deletion_policy(&self, of_spec: Option<DeletionPolicy>) -> DeletionPolicy {
        of_spec.unwrap_or(self.deletion_policy)
    }

    /// The reason why EC2 would refuse the tags of an end, if they are more than it allows. `fields` are the fields of
    /// the spec with their numbers of tags, and `wanted` has all tags of the end.
    pub(crate) fn excess<'a>(
        &self,
        wanted: &BTreeMap<String, String>,
        fields: impl IntoIterator<Item = (&'a str, usize)>,
    ) -> Option<Blocker> {
        if wanted.len() <= MAX_TAGS {
            return None;
        }
        let fields = [("--default-tags of the operator", self.tags.len())].into_iter().chain(fields);
        let fields: Vec<_> =
            fields.filter(|(_, count)| *count > 0).map(|(field, count)| format!("{count} of {field}")).collect();
        let ownership = wanted.keys().filter(|key| Owner::is_ownership_key(key)).count();
        let message = format!(
            "the connection would have {} different tags, and EC2 allows {MAX_TAGS}: {}, and {ownership} ownership tags; \
             remove tags from these fields",
            wanted.len(),
            fields.join(", ")
        );
        Some(Blocker::stalled(Reason::InvalidRequest, message))
    }

    /// The default tags and these, which win.
    pub(crate) fn with_tags<'a>(&self, tags: impl IntoIterator<Item = &'a Tag>) -> BTreeMap<String, String> {
        let of_spec = tags.into_iter().map(|tag| (tag.key.clone(), tag.value.clone()));
        self.tags.clone().into_iter().chain(of_spec).collect()
    }
}
