//! The state that the test wants, as its actions change it. The plan and the run keep the same model.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::{Action, Foreign};
use crate::invariants::convergence::Circumstances;
use crate::resources::{DOOMED, Resource, TEAM_C, Wish};

/// The state that the test wants.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The resources that are to exist, with their specs.
    pub wishes: BTreeMap<Resource, Wish>,
    /// The resources that existed at some time.
    pub known: BTreeSet<Resource>,
    /// `team-c` may not use its identities.
    pub is_withdrawn: bool,
    /// The namespace `doomed` is deleted.
    pub is_namespace_deleted: bool,
    /// The resources with a foreign route to their destination.
    pub conflicts: BTreeSet<Resource>,
}

impl Model {
    /// Follows one action.
    pub fn follow(&mut self, action: &Action) {
        match action {
            Action::Create(resource) => {
                self.wishes.insert(*resource, Wish::default());
                self.known.insert(*resource);
            }
            Action::Delete(resource) => drop(self.wishes.remove(resource)),
            Action::Edit(resource, wish) => drop(self.wishes.insert(*resource, *wish)),
            Action::Withdraw => self.is_withdrawn = true,
            Action::Grant => self.is_withdrawn = false,
            Action::DeleteNamespace => {
                self.is_namespace_deleted = true;
                self.wishes.retain(|resource, _| resource.namespace() != DOOMED);
            }
            Action::RecreateNamespace => self.is_namespace_deleted = false,
            Action::Foreign(resource, Foreign::ReplaceRoute) => drop(self.conflicts.insert(*resource)),
            Action::Foreign(resource, Foreign::RestoreRoute) => drop(self.conflicts.remove(resource)),
            _ => {}
        }
    }

    /// The circumstances of a resource.
    pub fn circumstances(&self, resource: Resource) -> Circumstances {
        let wish = self.wishes.get(&resource);
        Circumstances {
            exists: wish.is_some(),
            is_withdrawn: self.is_withdrawn && resource.namespace() == TEAM_C,
            is_suspended: wish.is_some_and(|wish| wish.suspend),
            has_conflict: wish.is_some_and(|wish| wish.routes) && self.conflicts.contains(&resource),
        }
    }
}
