//! The objects of one kind, and the state of their reconciles.

use kube::Resource;
use kube::runtime::reflector::Store;

use super::index::Index;
use super::state::ReconcileStates;
use crate::peering::plan::Step;

/// The cache of one kind.
pub(crate) struct Cache<K: Resource<DynamicType = ()> + Clone + 'static, S: Step> {
    /// Every object, as the watch has last shown it.
    pub store: Store<K>,
    pub states: ReconcileStates<S>,
    /// Finds objects by AWS IDs.
    pub index: Index,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static, S: Step> Cache<K, S> {
    pub(super) fn new(store: Store<K>) -> Self {
        Self { store, states: ReconcileStates::default(), index: Index::default() }
    }
}
