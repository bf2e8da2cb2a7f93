//! All peering connections, with indexes for lookup, quota counts and timed transitions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::ops::Bound;

use jiff::Timestamp;

use super::call::Location;
use super::peering::{Peering, Side};
use super::settings::Visibility;

/// All peering connections.
#[derive(Clone, Debug, Default)]
pub struct PeeringIndex {
    by_id: BTreeMap<String, Peering>,
    by_location: HashMap<Location, BTreeSet<String>>,
    by_vpc: HashMap<String, BTreeSet<String>>,
    /// Outstanding requests of each requester.
    outstanding: HashMap<Location, usize>,
    /// Accepted connections of each VPC.
    accepted: HashMap<String, usize>,
    /// The timed transitions, earliest first. An entry is stale if the connection has changed since.
    due: BinaryHeap<Reverse<(Timestamp, String)>>,
}

impl PeeringIndex {
    /// The connection with this ID, visible or not.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Peering> {
        self.by_id.get(id)
    }

    /// All connections, sorted by ID.
    pub fn iter(&self) -> impl Iterator<Item = &Peering> {
        self.by_id.values()
    }

    /// The connections with an end in this location, sorted by ID, starting after the ID `after`.
    pub(crate) fn in_location<'a>(
        &'a self,
        location: &'a Location,
        after: Option<&str>,
    ) -> Box<dyn Iterator<Item = &'a Peering> + 'a> {
        let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let Some(here) = self.by_location.get(location) else { return Box::new(std::iter::empty()) };
        // If the location has a large share of all connections, a scan is faster than separate lookups.
        if here.len() * 4 > self.by_id.len() {
            let all = self.by_id.range::<str, _>(range).map(|(_, peering)| peering);
            return Box::new(all.filter(|peering| peering.is_in(location)));
        }
        Box::new(here.range::<str, _>(range).filter_map(|id| self.by_id.get(id)))
    }

    /// The connections with an end at this VPC.
    pub(crate) fn of_vpc<'a>(&'a self, vpc_id: &str) -> impl Iterator<Item = &'a Peering> + use<'a> {
        self.by_vpc.get(vpc_id).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    /// The number of outstanding requests of a requester.
    pub(crate) fn outstanding_count(&self, requester: &Location) -> usize {
        self.outstanding.get(requester).copied().unwrap_or_default()
    }

    /// The number of accepted connections of a VPC.
    pub(crate) fn accepted_count(&self, vpc_id: &str) -> usize {
        self.accepted.get(vpc_id).copied().unwrap_or_default()
    }

    pub(crate) fn insert(&mut self, peering: Peering, visibility: &Visibility) {
        for side in [Side::Requester, Side::Accepter] {
            let end = peering.end(side);
            self.by_location.entry(end.location.clone()).or_default().insert(peering.id.clone());
            self.by_vpc.entry(end.vpc_id.clone()).or_default().insert(peering.id.clone());
        }
        self.count(&peering, 1);
        self.schedule(&peering, visibility);
        self.by_id.insert(peering.id.clone(), peering);
    }

    /// Changes a connection and updates counts and schedule.
    pub(crate) fn update(&mut self, id: &str, visibility: &Visibility, change: impl FnOnce(&mut Peering)) {
        let Some(mut peering) = self.by_id.remove(id) else { return };
        self.count(&peering, -1);
        change(&mut peering);
        self.count(&peering, 1);
        self.schedule(&peering, visibility);
        self.by_id.insert(id.to_owned(), peering);
    }

    pub(crate) fn remove(&mut self, id: &str) {
        let Some(peering) = self.by_id.remove(id) else { return };
        self.count(&peering, -1);
        for side in [Side::Requester, Side::Accepter] {
            let end = peering.end(side);
            self.by_location.entry(end.location.clone()).or_default().remove(id);
            self.by_vpc.entry(end.vpc_id.clone()).or_default().remove(id);
        }
    }

    /// The next timed transition that is due: its time and the ID of the connection.
    pub(crate) fn next_due(&mut self, now: Timestamp, visibility: &Visibility) -> Option<(Timestamp, String)> {
        while let Some(Reverse((time, _))) = self.due.peek()
            && *time <= now
        {
            let Reverse((time, id)) = self.due.pop()?;
            // Skip entries of transitions that no longer apply.
            if self.get(&id).is_some_and(|peering| peering.due(visibility) == Some(time)) {
                return Some((time, id));
            }
        }
        None
    }

    /// Recomputes all timed transitions after a change of the settings.
    pub(crate) fn reschedule_all(&mut self, visibility: &Visibility) {
        let due = |peering: &Peering| peering.due(visibility).map(|time| Reverse((time, peering.id.clone())));
        self.due = self.by_id.values().filter_map(due).collect();
    }

    fn schedule(&mut self, peering: &Peering, visibility: &Visibility) {
        if let Some(time) = peering.due(visibility) {
            self.due.push(Reverse((time, peering.id.clone())));
        }
    }

    fn count(&mut self, peering: &Peering, by: isize) {
        let add = |count: &mut usize| *count = count.saturating_add_signed(by);
        if peering.phase.is_outstanding() {
            add(self.outstanding.entry(peering.requester.location.clone()).or_default());
        }
        if peering.phase.is_accepted() {
            add(self.accepted.entry(peering.requester.vpc_id.clone()).or_default());
            add(self.accepted.entry(peering.accepter.vpc_id.clone()).or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::peering::{End, Options, Phase};

    #[test]
    fn a_location_shows_its_connections_by_lookup_and_by_scan() {
        let (few, most) = (Location::new("111111111111", "us-east-1"), Location::new("222222222222", "us-east-1"));
        let mut index = PeeringIndex::default();
        for number in 0..20 {
            let end = |location: &Location| End {
                location: location.clone(),
                vpc_id: "vpc-1".into(),
                options: Options::default(),
            };
            let requester = end(if number % 10 == 0 { &few } else { &most });
            let (id, accepter) = (format!("pcx-{number:02}"), end(&most));
            let peering = Peering { id, requester, accepter, expires: None, phase: Phase::Active };
            index.insert(peering, &Visibility::default());
        }
        let ids =
            |location, after| index.in_location(location, after).map(|peering| peering.id.as_str()).collect::<Vec<_>>();
        assert_eq!(ids(&few, None), ["pcx-00", "pcx-10"]);
        assert_eq!(ids(&few, Some("pcx-00")), ["pcx-10"]);
        assert_eq!(ids(&most, Some("pcx-17")), ["pcx-18", "pcx-19"]);
        assert_eq!(ids(&most, None).len(), 20);
        assert!(ids(&Location::new("333333333333", "us-east-1"), None).is_empty());
    }
}
