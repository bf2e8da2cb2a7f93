//! The name of a resource of either kind, as the fair queue and the channel of wake-ups use it.

use std::borrow::Cow;

use kube::{Resource, ResourceExt};

/// A resource that waits for a permit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QueuedResource {
    pub kind: Cow<'static, str>,
    pub namespace: String,
    pub name: String,
}

impl QueuedResource {
    pub(super) fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self { kind: K::kind(&()), namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}
