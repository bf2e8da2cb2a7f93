//! The plan: the actions of each phase, drawn from the seed alone. The timing of a run does not change it.

use std::collections::BTreeSet;

use ec2_simulator::random::Random;

use crate::action::{Action, Blow, Foreign, Lie};
use crate::faults;
use crate::model::Model;
use crate::resources::{DOOMED, FRIENDS, Resource, Scenario, Wish};

/// One edit of this number suspends a resource.
const SUSPENSIONS: usize = 8;
/// Actions between two changes of the faults.
const WEATHER: usize = 6;
/// Maximum hours by which EC2's clock moves at once: more than the two days for which EC2 shows an ended connection.
const HOURS: usize = 60;
/// Actions between a backup of etcd and its restoration.
const BETWEEN_SAVE_AND_RESTORE: usize = 8;

/// The large faults. Each phase has the next one.
const UPHEAVALS: [Upheaval; 7] = [
    Upheaval::Kills,
    Upheaval::ApiServer,
    Upheaval::Pause,
    Upheaval::Restore,
    Upheaval::Terminations,
    Upheaval::Etcd,
    Upheaval::Compaction,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upheaval {
    Kills,
    ApiServer,
    Pause,
    Restore,
    Terminations,
    Etcd,
    Compaction,
}

/// Draws the phases, one after another.
#[derive(Debug)]
pub struct Planner {
    random: Random,
    resources: usize,
    /// From this phase on no operator ends, so that its memory can be observed for long.
    calm_from: usize,
    number: usize,
    model: Model,
    /// The resources that are not deleted in this phase, because EC2 or the status may not prove their connection.
    guarded: BTreeSet<Resource>,
}

impl Planner {
    pub fn new(seed: u64, resources: usize, calm_from: usize) -> Self {
        let random = Random::new(seed);
        Self { random, resources, calm_from, number: 0, model: Model::default(), guarded: BTreeSet::new() }
    }

    /// The actions of the next phase.
    pub fn phase(&mut self) -> Vec<Action> {
        self.guarded.clear();
        let mut actions = Vec::new();
        self.recover(&mut actions);
        let upheaval = (self.number < self.calm_from).then(|| UPHEAVALS[self.number % UPHEAVALS.len()]);
        let count = self.resources / 2 + 10;
        let middle = count / 2;
        for number in 0..count {
            if number % WEATHER == 0 {
                let weather = self.weather();
                self.take(&mut actions, weather);
            }
            if number == middle {
                self.upheaval(upheaval, &mut actions);
                let hours = Action::Clock(1 + self.random.below(HOURS) as u64);
                self.take(&mut actions, hours);
            }
            if let Some(action) = self.draw(upheaval) {
                self.take(&mut actions, action);
            }
        }
        if self.random.chance(0.5) {
            self.take(&mut actions, Action::Withdraw);
        }
        if self.random.chance(0.4) && !self.model.is_namespace_deleted {
            self.take(&mut actions, Action::DeleteNamespace);
        }
        self.number += 1;
        actions
    }

    fn take(&mut self, actions: &mut Vec<Action>, action: Action) {
        self.model.follow(&action);
        actions.push(action);
    }

    /// Undoes what the last phase left, and creates what does not exist.
    fn recover(&mut self, actions: &mut Vec<Action>) {
        if self.model.is_withdrawn {
            self.take(actions, Action::Grant);
        }
        if self.model.is_namespace_deleted {
            self.take(actions, Action::RecreateNamespace);
        }
        for resource in self.model.conflicts.clone() {
            self.take(actions, Action::Foreign(resource, Foreign::RestoreRoute));
        }
        for resource in (0..self.resources).map(Resource) {
            let exists = self.model.wishes.contains_key(&resource);
            if !exists && (self.number == 0 || self.random.chance(0.8)) {
                self.take(actions, Action::Create(resource));
            }
        }
    }

    fn weather(&mut self) -> Action {
        match self.random.below(5) {
            0 | 1 => Action::Ec2Fault(self.random.below(faults::OF_EC2)),
            2 | 3 => Action::ApiFault(self.random.below(faults::OF_API)),
            _ => Action::Calm,
        }
    }

    fn upheaval(&mut self, upheaval: Option<Upheaval>, actions: &mut Vec<Action>) {
        let replica = self.random.below(2);
        let blows = |blows: [(usize, Blow); 2]| blows.map(|(replica, blow)| Action::Replica(replica, blow)).to_vec();
        let chosen = match upheaval {
            None => vec![Action::CompactEtcd],
            Some(Upheaval::Kills) => blows([(replica, Blow::Kill), (1 - replica, Blow::Kill)]),
            Some(Upheaval::Terminations) => blows([(replica, Blow::Terminate), (1 - replica, Blow::Terminate)]),
            Some(Upheaval::ApiServer) => vec![Action::RestartApiServer, Action::Replica(replica, Blow::Kill)],
            Some(Upheaval::Etcd) => vec![Action::RestartEtcd, Action::Replica(replica, Blow::Kill)],
            Some(Upheaval::Compaction) => vec![Action::CompactEtcd, Action::Replica(replica, Blow::Kill)],
            Some(Upheaval::Pause) => vec![Action::Replica(replica, Blow::Stop)],
            Some(Upheaval::Restore) => vec![Action::SaveEtcd],
        };
        for action in chosen {
            self.take(actions, action);
        }
        // In between, nothing that only etcd knows: a resource that etcd forgets leaves its connection.
        if matches!(upheaval, Some(Upheaval::Pause | Upheaval::Restore)) {
            for _ in 0..BETWEEN_SAVE_AND_RESTORE {
                if let Some(action) = self.draw_foreign(upheaval) {
                    self.take(actions, action);
                }
            }
        }
        match upheaval {
            Some(Upheaval::Pause) => self.take(actions, Action::Replica(replica, Blow::Continue)),
            Some(Upheaval::Restore) => self.take(actions, Action::RestoreEtcd),
            _ => {}
        }
    }

    /// A random action, or none if the resource that was drawn does not allow it.
    fn draw(&mut self, upheaval: Option<Upheaval>) -> Option<Action> {
        let resource = Resource(self.random.below(self.resources));
        let choice = self.random.below(20);
        let Some(wish) = self.model.wishes.get(&resource).copied() else {
            let is_possible = resource.namespace() != DOOMED || !self.model.is_namespace_deleted;
            return is_possible.then_some(Action::Create(resource));
        };
        let is_doomed = resource.namespace() == DOOMED;
        match choice {
            0..=3 => Some(Action::Edit(resource, self.edit(wish, !is_doomed))),
            4 | 5 => {
                let is_possible = !wish.suspend && self.guarded.insert(resource);
                is_possible.then_some(Action::Delete(resource))
            }
            6 | 7 if upheaval.is_none_or(|upheaval| upheaval != Upheaval::Restore) && !is_doomed => self.lie(resource),
            8 if !is_doomed && self.guarded.insert(resource) => Some(Action::RemoveFinalizer(resource)),
            9 if !is_doomed => Some(Action::Hold(resource)),
            10 => Some(Action::Mark(resource, self.random.below(1000))),
            11 if self.random.chance(0.3) => Some(Action::EditIdentities(self.random.below(1000))),
            12..=19 => self.draw_foreign(upheaval),
            _ => None,
        }
    }

    fn edit(&mut self, wish: Wish, may_suspend: bool) -> Wish {
        let mut wish = Wish { suspend: may_suspend && self.random.below(SUSPENSIONS) == 0, ..wish };
        match self.random.below(3) {
            0 => wish.tag = self.random.below(1000),
            1 => wish.routes = !wish.routes,
            _ => wish.options = !wish.options,
        }
        wish
    }

    /// A lie about a resource that is not deleted in this phase.
    fn lie(&mut self, resource: Resource) -> Option<Action> {
        let other = Resource(self.random.below(self.resources));
        let choice = self.random.below(5);
        if resource.scenario() == Scenario::Accepter || !self.guarded.insert(resource) {
            return None;
        }
        let lie = match choice {
            0 => Lie::Connection(other),
            1 => Lie::Ready,
            2 => Lie::Routes(other),
            3 => Lie::Tags,
            _ => Lie::Nothing,
        };
        Some(Action::Lie(resource, lie))
    }

    fn draw_foreign(&mut self, upheaval: Option<Upheaval>) -> Option<Action> {
        let resource = Resource(self.random.below(self.resources));
        let (choice, friend) = (self.random.below(12), self.random.below(FRIENDS));
        let scenario = resource.scenario();
        if scenario == Scenario::Stranger || !self.model.wishes.contains_key(&resource) {
            return None;
        }
        let foreign = match (scenario, choice) {
            (Scenario::Accepter, 0..=4) => Foreign::Request(friend),
            (Scenario::Accepter, 5) => Foreign::Unwanted,
            (Scenario::Manual, 0..=3) => Foreign::Accept,
            (Scenario::Manual, 4) => Foreign::Reject,
            (Scenario::Accepter, 7 | 8) => return None,
            (_, 0 | 1) => Foreign::DeleteConnection,
            (_, 2) => Foreign::DeleteRoute,
            (_, 3) => Foreign::AddRoute,
            (_, 4) => Foreign::RemoveTag,
            (_, 5) => Foreign::ChangeTag,
            (_, 6) => Foreign::AddTag,
            (_, 7) if upheaval.is_none() && self.guarded.insert(resource) => Foreign::RemoveOwnership,
            (_, 8) if resource.namespace() != DOOMED && self.guarded.insert(resource) => Foreign::ReplaceRoute,
            (_, 9) => Foreign::FlipOptions,
            (_, 10) => Foreign::Peering,
            _ => return None,
        };
        Some(Action::Foreign(resource, foreign))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> Vec<Vec<Action>> {
        let mut planner = Planner::new(seed, 60, 8);
        (0..12).map(|_| planner.phase()).collect()
    }

    #[test]
    fn the_seed_alone_decides() {
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn no_guarded_or_suspended_resource_is_deleted() {
        for actions in plan(3) {
            let guards = |action: &Action| match action {
                Action::Lie(resource, _) | Action::RemoveFinalizer(resource) => Some(*resource),
                Action::Foreign(resource, Foreign::RemoveOwnership) => Some(*resource),
                _ => None,
            };
            let mut guarded = BTreeSet::new();
            for action in &actions {
                guarded.extend(guards(action));
                if let Action::Delete(resource) = action {
                    assert!(!guarded.contains(resource), "{resource:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_that_only_etcd_knows_happens_between_backup_and_restoration() {
        for actions in plan(5) {
            let from = actions.iter().position(|action| *action == Action::SaveEtcd);
            let to = actions.iter().position(|action| *action == Action::RestoreEtcd);
            let Some((from, to)) = from.zip(to) else { continue };
            let is_foreign = |action: &Action| matches!(action, Action::Foreign(..));
            assert!(actions[from + 1..to].iter().all(is_foreign));
        }
    }

    #[test]
    fn no_operator_ends_in_the_last_phases() {
        for actions in &plan(9)[8..] {
            assert!(!actions.iter().any(|action| matches!(action, Action::Replica(..) | Action::RestartApiServer)));
        }
    }
}
