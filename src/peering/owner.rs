//! Who owns a peering connection, and the tags that say so.

use std::fmt;

use smol_str::SmolStr;

use super::connection::Tags;

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
    /// The tag that names the cluster.
    pub const CLUSTER: &str = "vpcpeering.dev/cluster";
    /// The tag that names the namespace.
    pub const NAMESPACE: &str = "vpcpeering.dev/namespace";
    /// The tag that names the resource.
    pub const NAME: &str = "vpcpeering.dev/name";
    /// The tag with the resource's UID.
    pub const UID: &str = "vpcpeering.dev/uid";

    /// The tag that names the cluster of who accepted a request, at the accepter's end.
    pub const ACCEPTER_CLUSTER: &str = "vpcpeering.dev/accepter-cluster";
    /// The tag that names their namespace.
    pub const ACCEPTER_NAMESPACE: &str = "vpcpeering.dev/accepter-namespace";
    /// The tag that names the resource that accepted it.
    pub const ACCEPTER_NAME: &str = "vpcpeering.dev/accepter-name";
    /// The tag with that resource's UID.
    pub const ACCEPTER_UID: &str = "vpcpeering.dev/accepter-uid";

    const KEYS: [&str; 8] = [
        Self::CLUSTER,
        Self::NAMESPACE,
        Self::NAME,
        Self::UID,
        Self::ACCEPTER_CLUSTER,
        Self::ACCEPTER_NAMESPACE,
        Self::ACCEPTER_NAME,
        Self::ACCEPTER_UID,
    ];

    /// The tags that say who accepted a request.
    #[must_use]
    pub fn accepter_tags(&self) -> [(&'static str, &str); 4] {
        [
            (Self::ACCEPTER_CLUSTER, &self.cluster),
            (Self::ACCEPTER_NAMESPACE, &self.namespace),
            (Self::ACCEPTER_NAME, &self.name),
            (Self::ACCEPTER_UID, &self.uid),
        ]
    }

    /// Who these tags say accepted a request; what they leave out is empty.
    #[must_use]
    pub fn accepter_of(tags: &Tags) -> Option<Self> {
        let keys = [Self::ACCEPTER_CLUSTER, Self::ACCEPTER_NAMESPACE, Self::ACCEPTER_NAME, Self::ACCEPTER_UID];
        let tag = |key: &str| tags.get(key).map(ToString::to_string).unwrap_or_default();
        keys.iter().any(|key| tags.contains_key(*key)).then(|| Self {
            cluster: tag(Self::ACCEPTER_CLUSTER),
            namespace: tag(Self::ACCEPTER_NAMESPACE),
            name: tag(Self::ACCEPTER_NAME),
            uid: tag(Self::ACCEPTER_UID),
        })
    }

    /// Whether a tag's key is one of those by which resources own connections.
    #[must_use]
    pub fn is_ownership_key(key: &str) -> bool {
        Self::KEYS.contains(&key)
    }

    /// The ownership tags.
    #[must_use]
    pub fn tags(&self) -> [(&'static str, &str); 4] {
        [
            (Self::CLUSTER, &self.cluster),
            (Self::NAMESPACE, &self.namespace),
            (Self::NAME, &self.name),
            (Self::UID, &self.uid),
        ]
    }

    /// The owner that these tags name, if they name one whole.
    #[must_use]
    pub fn of(tags: &Tags) -> Option<Self> {
        Some(Self {
            cluster: tags.get(Self::CLUSTER)?.to_string(),
            namespace: tags.get(Self::NAMESPACE)?.to_string(),
            name: tags.get(Self::NAME)?.to_string(),
            uid: tags.get(Self::UID)?.to_string(),
        })
    }

    /// Whether `other` is a resource of this owner's name in this owner's cluster, and so an earlier one.
    #[must_use]
    pub fn succeeds(&self, other: &Self) -> bool {
        let name = |owner: &Self| (owner.cluster.clone(), owner.namespace.clone(), owner.name.clone());
        name(self) == name(other) && self.uid != other.uid
    }

    /// The key or value of a tag, at no cost of its own where it is in every connection and status: one of our keys, or
    /// this cluster's ID.
    #[must_use]
    pub fn share(text: &SmolStr, cluster: &SmolStr) -> SmolStr {
        if text == cluster {
            return cluster.clone();
        }
        Self::KEYS.into_iter().find(|key| text == key).map_or_else(|| text.clone(), SmolStr::new_static)
    }

    /// Whether these tags name this owner. The names are for people; the IDs decide.
    #[must_use]
    pub fn is_named_by(&self, tags: &Tags) -> bool {
        let is = |key: &str, value: &str| tags.get(key).is_some_and(|tag| tag == value);
        is(Self::UID, &self.uid) && is(Self::CLUSTER, &self.cluster)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VpcPeering {}/{} (uid {}) of cluster {}", self.namespace, self.name, self.uid, self.cluster)
    }
}
