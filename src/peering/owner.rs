//! The owner of a peering connection, and the ownership tags.

use std::fmt;

use super::connection::Tags;
use crate::api::Text;

/// The resource that a peering connection belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The cluster ID. Operators of several clusters may share an AWS account.
    pub cluster: String,
    pub namespace: String,
    pub name: String,
    /// The UID. A resource that is created later under the same name is another owner.
    pub uid: String,
}

impl Owner {
    /// The prefix of the keys of all ownership tags.
    pub(crate) const PREFIX: &str = "vpcpeering.dev/";

    /// The prefix of the keys of the ownership tags of a `VpcPeeringAccepter`.
    pub(crate) const ACCEPTER_PREFIX: &str = "vpcpeering.dev/accepter-";

    // The ownership tags of a `VpcPeering`.
    pub(crate) const CLUSTER: &str = "vpcpeering.dev/cluster";
    pub(crate) const NAMESPACE: &str = "vpcpeering.dev/namespace";
    pub(crate) const NAME: &str = "vpcpeering.dev/name";
    pub(crate) const UID: &str = "vpcpeering.dev/uid";

    // The ownership tags of a `VpcPeeringAccepter`, at the accepter's end.
    pub(crate) const ACCEPTER_CLUSTER: &str = "vpcpeering.dev/accepter-cluster";
    pub(crate) const ACCEPTER_NAMESPACE: &str = "vpcpeering.dev/accepter-namespace";
    pub(crate) const ACCEPTER_NAME: &str = "vpcpeering.dev/accepter-name";
    pub(crate) const ACCEPTER_UID: &str = "vpcpeering.dev/accepter-uid";

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

    /// The ownership tags of a `VpcPeeringAccepter`.
    pub(crate) fn accepter_tags(&self) -> [(&'static str, &str); 4] {
        [
            (Self::ACCEPTER_CLUSTER, &self.cluster),
            (Self::ACCEPTER_NAMESPACE, &self.namespace),
            (Self::ACCEPTER_NAME, &self.name),
            (Self::ACCEPTER_UID, &self.uid),
        ]
    }

    /// The `VpcPeeringAccepter` that the tags name. The value of a missing tag is empty.
    pub(crate) fn accepter_of(tags: &Tags) -> Option<Self> {
        let keys = [Self::ACCEPTER_CLUSTER, Self::ACCEPTER_NAMESPACE, Self::ACCEPTER_NAME, Self::ACCEPTER_UID];
        let tag = |key: &str| tags.get(key).map(ToString::to_string).unwrap_or_default();
        keys.iter().any(|key| tags.contains_key(*key)).then(|| Self {
            cluster: tag(Self::ACCEPTER_CLUSTER),
            namespace: tag(Self::ACCEPTER_NAMESPACE),
            name: tag(Self::ACCEPTER_NAME),
            uid: tag(Self::ACCEPTER_UID),
        })
    }

    /// Whether a key is that of an ownership tag.
    pub(crate) fn is_ownership_key(key: &str) -> bool {
        Self::KEYS.contains(&key)
    }

    /// The ownership tags of a `VpcPeering`.
    pub(crate) fn tags(&self) -> [(&'static str, &str); 4] {
        [
            (Self::CLUSTER, &self.cluster),
            (Self::NAMESPACE, &self.namespace),
            (Self::NAME, &self.name),
            (Self::UID, &self.uid),
        ]
    }

    /// The `VpcPeering` that the tags name. `None` unless all four tags are present.
    pub(crate) fn of(tags: &Tags) -> Option<Self> {
        Some(Self {
            cluster: tags.get(Self::CLUSTER)?.to_string(),
            namespace: tags.get(Self::NAMESPACE)?.to_string(),
            name: tags.get(Self::NAME)?.to_string(),
            uid: tags.get(Self::UID)?.to_string(),
        })
    }

    /// Whether `other` is an earlier resource with the same name in the same cluster.
    pub(crate) fn succeeds(&self, other: &Self) -> bool {
        let name = |owner: &Self| (owner.cluster.clone(), owner.namespace.clone(), owner.name.clone());
        name(self) == name(other) && self.uid != other.uid
    }

    /// Returns an equal text that shares its memory. The keys of the ownership tags and the cluster ID occur in every
    /// connection and every status.
    pub(crate) fn share(text: &Text, cluster: &Text) -> Text {
        if text == cluster {
            return cluster.clone();
        }
        Self::KEYS.into_iter().find(|key| text == key).map_or_else(|| text.clone(), Text::new_static)
    }

    /// Whether the tags name this owner. The UID and the cluster ID decide; the names are for people.
    pub(crate) fn is_named_by(&self, tags: &Tags) -> bool {
        let is = |key: &str, value: &str| tags.get(key).is_some_and(|tag| tag == value);
        is(Self::UID, &self.uid) && is(Self::CLUSTER, &self.cluster)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VpcPeering {}/{} (uid {}) of cluster {}", self.namespace, self.name, self.uid, self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_texts_are_equal_and_take_no_memory_of_their_own() {
        let cluster = Text::new("a-cluster-id-of-36-bytes-as-uuids-are");
        for text in ["Name", "vpcpeering.dev/uid", Owner::NAMESPACE, Owner::ACCEPTER_NAMESPACE, &*cluster] {
            assert_eq!(Owner::share(&Text::new(text), &cluster), text);
        }
        assert!(!Owner::share(&Text::new(Owner::ACCEPTER_NAMESPACE), &cluster).is_heap_allocated());
        let shared = Owner::share(&Text::new(&*cluster), &cluster);
        assert_eq!(shared.as_str().as_ptr(), cluster.as_str().as_ptr());
    }
}
