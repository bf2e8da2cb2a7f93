//! Resources that belong to a VPC, as EC2 lists them: route tables and subnets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A resource of one VPC.
pub(crate) trait VpcResource: PartialEq {
    fn id(&self) -> &str;
    fn vpc_id(&self) -> &str;
}

/// All resources of one kind in one account and region, at one time.
#[derive(Clone, Debug)]
pub(crate) struct VpcResources<T> {
    /// By ID. An unchanged resource is shared with the previous snapshot.
    all: BTreeMap<String, Arc<T>>,
    /// The IDs of the resources, by the ID of the VPC.
    by_vpc: BTreeMap<String, Vec<String>>,
}

impl<T> Default for VpcResources<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), by_vpc: BTreeMap::new() }
    }
}

impl<T: VpcResource> VpcResources<T> {
    pub(crate) fn of_vpc(&self, vpc_id: &str) -> impl Iterator<Item = &T> {
        self.by_vpc.get(vpc_id).into_iter().flatten().filter_map(|id| self.get(id))
    }

    pub(crate) fn get(&self, id: &str) -> Option<&T> {
        self.all.get(id).map(|resource| &**resource)
    }

    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = &Arc<T>> {
        self.all.values()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns the resource of this snapshot if it equals `resource`, so that both share their memory.
    pub(crate) fn share(&self, resource: T) -> Arc<T> {
        match self.all.get(resource.id()) {
            Some(known) if **known == resource => Arc::clone(known),
            _ => Arc::new(resource),
        }
    }

    /// The IDs of the VPCs whose resources differ from those of `earlier`.
    pub(crate) fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
        let ids = self.all.keys().chain(earlier.all.keys());
        let pairs = ids.map(|id| (self.get(id), earlier.get(id))).filter(|(now, then)| now != then);
        pairs.flat_map(|(now, then)| [now, then]).flatten().map(|resource| resource.vpc_id().to_owned()).collect()
    }
}

impl<T: VpcResource, R: Into<Arc<T>>> FromIterator<R> for VpcResources<T> {
    fn from_iter<I: IntoIterator<Item = R>>(resources: I) -> Self {
        let resources = resources.into_iter().map(Into::into);
        let all: BTreeMap<_, _> = resources.map(|resource: Arc<T>| (resource.id().to_owned(), resource)).collect();
        let mut by_vpc: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for resource in all.values() {
            by_vpc.entry(resource.vpc_id().to_owned()).or_default().push(resource.id().to_owned());
        }
        Self { all, by_vpc }
    }
}
