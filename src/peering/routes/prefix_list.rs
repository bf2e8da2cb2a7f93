//! Managed prefix lists as EC2 shows them.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/managed-prefix-lists.html>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::cidr::is_ipv4;
use super::destination::Destination;
use crate::peering::blocker::Blocker;

/// A managed prefix list, without its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrefixList {
    pub id: String,
    /// The account ID, or `AWS` for a list of AWS.
    pub owner_id: String,
    pub is_ipv6: bool,
    /// The maximum number of entries. `None` for a list of AWS.
    pub max_entries: Option<usize>,
    /// Each change of the entries makes a new version. `None` for a list of AWS.
    pub version: Option<i64>,
    /// Whether EC2 is changing the list. The entries of a version may then differ between two reads.
    pub is_changing: bool,
}

/// All prefix lists that one account sees in one region, at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrefixLists(BTreeMap<String, Arc<PrefixList>>);

/// The entries of one prefix list.
pub(crate) type Entries = BTreeSet<IpNet>;

/// The prefix lists that the spec names at one end.
#[derive(Clone, Debug)]
pub(crate) struct NamedPrefixLists {
    /// The lists of the account and region of this end.
    pub shown: Result<Arc<PrefixLists>, Blocker>,
    /// The entries of each named list that is shown, by ID.
    pub entries: BTreeMap<String, Result<Arc<Entries>, Blocker>>,
}

/// The part of a route in AWS's quota of routes per route table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// AWS counts the two address families apart.
    pub is_ipv4: bool,
    pub routes: usize,
}

impl PrefixList {
    /// The `ownerId` of the lists that AWS manages.
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/working-with-aws-managed-prefix-lists.html>
    pub(crate) const AWS: &str = "AWS";
}

impl PrefixLists {
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<PrefixList>> {
        self.0.get(id)
    }

    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = &Arc<PrefixList>> {
        self.0.values()
    }

    /// The IDs of the lists that differ from those of `earlier`.
    pub(crate) fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
        let ids = self.0.keys().chain(earlier.0.keys());
        ids.filter(|id| self.get(id) != earlier.get(id)).cloned().collect()
    }
}

impl FromIterator<Arc<PrefixList>> for PrefixLists {
    fn from_iter<I: IntoIterator<Item = Arc<PrefixList>>>(lists: I) -> Self {
        Self(lists.into_iter().map(|list| (list.id.clone(), list)).collect())
    }
}

/// The part of a route to this destination in AWS's quota. A route to a prefix list counts as many routes as the list
/// has entries at most. One that is not known, or has no maximum, counts as one: EC2 decides.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/managed-prefix-lists.html#managed-prefix-lists-concepts>
pub(super) fn load(destination: &Destination, lists: Option<&PrefixLists>) -> Load {
    match destination {
        Destination::Cidr(block) => Load { is_ipv4: is_ipv4(block), routes: 1 },
        Destination::PrefixList(id) => {
            let list = lists.and_then(|lists| lists.get(id));
            let routes = list.and_then(|list| list.max_entries).unwrap_or(1);
            Load { is_ipv4: list.is_none_or(|list| !list.is_ipv6), routes }
        }
    }
}
