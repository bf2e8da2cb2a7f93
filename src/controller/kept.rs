//! What the kinds that we look after have in common, and what is kept of each.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::object::HasStatus;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smol_str::SmolStr;

use super::Context;
use super::index::Index;
use super::memory::{Attempt, Memories};
use crate::api::{ConditionType, FINALIZER, RECONCILE_AT};
use crate::peering::status;

/// A kind of resource that we look after.
pub trait Managed:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: Status>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// What is done for it.
    type Step: Attempt;

    /// What is kept of all resources of this kind.
    fn kept(context: &Context) -> &Kept<Self>;
    /// The names of the identities that it uses.
    fn identities(&self) -> Vec<&str>;
    /// Lets what many resources have in common take no memory of its own.
    fn share(&mut self, _cluster: &SmolStr) {}
    /// Is told what the watch shows, before the store is.
    fn follow(_: &Context, _: &Event<Self>) {}
}

/// A status that has conditions.
pub trait Status: Clone + Debug + Default + PartialEq + Serialize + Send + Sync {
    /// Its conditions.
    fn conditions(&self) -> &[Condition];
    /// Sets its conditions, and the generation of the spec that they speak of.
    fn conclude(&mut self, generation: i64, conditions: Vec<Condition>);
    /// The value of the annotation that asks for an immediate look, when that was last answered.
    fn last_handled_reconcile_at(&self) -> Option<&str>;
}

/// What is kept of all resources of one kind.
#[derive(Debug)]
pub struct Kept<K: Managed> {
    /// Every resource, as the watch last showed it.
    pub store: Store<K>,
    /// What this process remembers of each.
    pub memories: Memories<K::Step>,
    /// By what they are found.
    pub index: Index,
}

impl<K: Managed> Kept<K> {
    /// Nothing yet.
    #[must_use]
    pub fn new(store: Store<K>) -> Self {
        Self { store, memories: Memories::default(), index: Index::default() }
    }
}

/// Whether our finalizer is on the object.
pub(super) fn has_finalizer(object: &impl ResourceExt) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// The value of the annotation that asks for an immediate look.
pub(super) fn reconcile_at(object: &impl ResourceExt) -> Option<Box<str>> {
    object.annotations().get(RECONCILE_AT).map(|asked| asked.as_str().into())
}

/// Whether somebody asks for an immediate look, and we have not answered yet.
pub(super) fn is_look_requested<K: Managed>(object: &K) -> bool {
    let handled = object.status().and_then(|status| status.last_handled_reconcile_at());
    object.annotations().get(RECONCILE_AT).is_some_and(|asked| handled != Some(asked.as_str()))
}

/// Whether the object shows that it is ready.
pub(super) fn is_ready<K: Managed>(object: &K) -> bool {
    status::find(conditions(object), ConditionType::Ready).is_some_and(|ready| ready.status == "True")
}

/// The conditions that the object shows.
pub(super) fn conditions<K: Managed>(object: &K) -> &[Condition] {
    object.status().map(Status::conditions).unwrap_or_default()
}
