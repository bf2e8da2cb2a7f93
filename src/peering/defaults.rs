//! The defaults that an administrator sets for all resources of this operator.

use std::collections::BTreeMap;

use crate::api::{DeletionPolicy, Tag};

/// The most default tags, as many as `spec.tags` of a resource may have. EC2 allows 50 tags on a resource:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>.
pub(crate) const MAX_DEFAULT_TAGS: usize = 36;

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

    /// The default tags and these, which win.
    pub(crate) fn with_tags<'a>(&self, tags: impl IntoIterator<Item = &'a Tag>) -> BTreeMap<String, String> {
        let of_spec = tags.into_iter().map(|tag| (tag.key.clone(), tag.value.clone()));
        self.tags.clone().into_iter().chain(of_spec).collect()
    }
}
