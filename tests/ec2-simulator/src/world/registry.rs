//! All connections, with what makes looking them up, counting them and waking them cheap.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::ops::Bound;

use jiff::Timestamp;

use super::peering::{Peering, Phase, Side};
use super::place::Place;
use super::settings::Visibility;

/// All connections.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    by_id: BTreeMap<String, Peering>,
    by_place: HashMap<Place, BTreeSet<String>>,
    by_vpc: HashMap<String, BTreeSet<String>>,
    outstanding: HashMap<Place, usize>,
    accepted: HashMap<String, usize>,
    due: BinaryHeap<Reverse<(Timestamp, String)>>,
}

impl Registry {
    /// The connection of this ID.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Peering> {
        self.by_id.get(id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Peering> {
        self.by_id.values()
    }

    /// Those with an end at this place, in the order of their IDs, after this one.
    #[must_use]
    pub fn at<'a>(&'a self, place: &'a Place, after: Option<&str>) -> Box<dyn Iterator<Item = &'a Peering> + 'a> {
        let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let Some(here) = self.by_place.get(place) else { return Box::new(std::iter::empty()) };
        // To look up most of them one by one takes longer than to pass over the few others.
        if here.len() * 4 > self.by_id.len() {
            let all = self.by_id.range::<str, _>(range).map(|(_, peering)| peering);
            return Box::new(all.filter(|peering| peering.is_at(place)));
        }
        Box::new(here.range::<str, _>(range).filter_map(|id| self.by_id.get(id)))
    }

    /// Those with an end at this VPC.
    pub fn of_vpc<'a>(&'a self, vpc_id: &str) -> impl Iterator<Item = &'a Peering> + use<'a> {
        self.by_vpc.get(vpc_id).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    /// How many requests of this place nobody has accepted yet.
    #[must_use]
    pub fn outstanding(&self, requester: &Place) -> usize {
        self.outstanding.get(requester).copied().unwrap_or_default()
    }

    /// How many accepted connections this VPC has.
    #[must_use]
    pub fn accepted(&self, vpc_id: &str) -> usize {
        self.accepted.get(vpc_id).copied().unwrap_or_default()
    }

    /// Adds a connection.
    pub fn insert(&mut self, peering: Peering, visibility: &Visibility) {
        for side in [Side::Requester, Side::Accepter] {
            let end = peering.end(side);
            self.by_place.entry(end.place.clone()).or_default().insert(peering.id.clone());
            self.by_vpc.entry(end.vpc_id.clone()).or_default().insert(peering.id.clone());
        }
        self.count(&peering, 1);
        self.wake(&peering, visibility);
        self.by_id.insert(peering.id.clone(), peering);
    }

    /// Changes a connection, and all that follows from it.
    pub fn update(&mut self, id: &str, visibility: &Visibility, change: impl FnOnce(&mut Peering)) {
        let Some(mut peering) = self.by_id.remove(id) else { return };
        self.count(&peering, -1);
        change(&mut peering);
        self.count(&peering, 1);
        self.wake(&peering, visibility);
        self.by_id.insert(id.to_owned(), peering);
    }

    /// Forgets a connection.
    pub fn remove(&mut self, id: &str) {
        let Some(peering) = self.by_id.remove(id) else { return };
        self.count(&peering, -1);
        for side in [Side::Requester, Side::Accepter] {
            let end = peering.end(side);
            self.by_place.entry(end.place.clone()).or_default().remove(id);
            self.by_vpc.entry(end.vpc_id.clone()).or_default().remove(id);
        }
    }

    /// The next connection to which something happens by itself until now, and when it happened.
    pub fn next_due(&mut self, now: Timestamp, visibility: &Visibility) -> Option<(Timestamp, String)> {
        while let Some(Reverse((time, _))) = self.due.peek()
            && *time <= now
        {
            let Reverse((time, id)) = self.due.pop()?;
            // An entry that the connection has since outlived is passed over.
            if self.get(&id).is_some_and(|peering| peering.due(visibility) == Some(time)) {
                return Some((time, id));
            }
        }
        None
    }

    /// Sets all alarms anew, when the periods that they follow from have changed.
    pub fn wake_all(&mut self, visibility: &Visibility) {
        let due = |peering: &Peering| peering.due(visibility).map(|time| Reverse((time, peering.id.clone())));
        self.due = self.by_id.values().filter_map(due).collect();
    }

    fn wake(&mut self, peering: &Peering, visibility: &Visibility) {
        if let Some(time) = peering.due(visibility) {
            self.due.push(Reverse((time, peering.id.clone())));
        }
    }

    fn count(&mut self, peering: &Peering, by: isize) {
        let add = |count: &mut usize| *count = count.saturating_add_signed(by);
        if peering.phase.is_outstanding() {
            add(self.outstanding.entry(peering.requester.place.clone()).or_default());
        }
        if matches!(peering.phase, Phase::Provisioning { .. } | Phase::Active) {
            add(self.accepted.entry(peering.requester.vpc_id.clone()).or_default());
            add(self.accepted.entry(peering.accepter.vpc_id.clone()).or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::peering::{End, Options};

    #[test]
    fn a_place_shows_its_own_whether_few_or_most() {
        let (few, most) = (Place::new("111111111111", "us-east-1"), Place::new("222222222222", "us-east-1"));
        let mut registry = Registry::default();
        for number in 0..20 {
            let end = |place: &Place| End { place: place.clone(), vpc_id: "vpc-1".into(), options: Options::default() };
            let requester = end(if number % 10 == 0 { &few } else { &most });
            let (id, accepter) = (format!("pcx-{number:02}"), end(&most));
            let peering = Peering { id, requester, accepter, expires: None, phase: Phase::Active };
            registry.insert(peering, &Visibility::default());
        }
        let at = |place, after| registry.at(place, after).map(|peering| peering.id.as_str()).collect::<Vec<_>>();
        assert_eq!(at(&few, None), ["pcx-00", "pcx-10"]);
        assert_eq!(at(&few, Some("pcx-00")), ["pcx-10"]);
        assert_eq!(at(&most, Some("pcx-17")), ["pcx-18", "pcx-19"]);
        assert_eq!(at(&most, None).len(), 20);
        assert!(at(&Place::new("333333333333", "us-east-1"), None).is_empty());
    }
}
