//! Who owns a peering connection, and the tags that say so.

use std::collections::BTreeMap;
use std::fmt;

const CLUSTER: &str = "vpcpeering.dev/cluster";
const NAMESPACE: &str = "vpcpeering.dev/namespace";
const NAME: &str = "vpcpeering.dev/name";
const UID: &str = "vpcpeering.dev/uid";

/// The resource that a peering connection belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster's ID: operators of several clusters may share an AWS account.
    pub cluster: String,
    /// The resource's namespace.
    pub namespace: String,
    /// The resource's name.
    pub name: String,
    /// The resource's UID: a namesake created later is another owner.
    pub uid: String,
}

impl Owner {
    /// The ownership tags.
    #[must_use]
    pub fn tags(&self) -> [(&'static str, &str); 4] {
        [(CLUSTER, &self.cluster), (NAMESPACE, &self.namespace), (NAME, &self.name), (UID, &self.uid)]
    }

    /// The owner that these tags name, if they name one whole.
    #[must_use]
    pub fn of(tags: &BTreeMap<String, String>) -> Option<Self> {
        Some(Self {
            cluster: tags.get(CLUSTER)?.clone(),
            namespace: tags.get(NAMESPACE)?.clone(),
            name: tags.get(NAME)?.clone(),
            uid: tags.get(UID)?.clone(),
        })
    }

    /// Whether `other` is gone: a resource of this owner's name in this owner's cluster, and so an earlier one.
    #[must_use]
    pub fn succeeds(&self, other: &Self) -> bool {
        let name = |owner: &Self| (owner.cluster.clone(), owner.namespace.clone(), owner.name.clone());
        name(self) == name(other) && self.uid != other.uid
    }

    /// Whether these tags name this owner. The names are for people; the IDs decide.
    #[must_use]
    pub fn is_named_by(&self, tags: &BTreeMap<String, String>) -> bool {
        tags.get(UID) == Some(&self.uid) && tags.get(CLUSTER) == Some(&self.cluster)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VpcPeering {}/{} (uid {}) of cluster {}", self.namespace, self.name, self.uid, self.cluster)
    }
}
