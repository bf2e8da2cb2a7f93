//! The lag between a call and its effect. EC2 is eventually consistent: for the times in
//! [`Lags`](super::settings::Lags), it shows the tags and options from before a call, and does not act yet on a state
//! that it already shows. A scene does not contain these times.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::World;
use super::call::Location;
use super::peering::{Options, Peering, Side, saturating_add};
use super::tag::Tags;

/// The effects that EC2 does not show yet, and the states on which it does not act yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Lagging {
    /// The tags that EC2 shows, and until when, by location and resource.
    tags: HashMap<Location, BTreeMap<String, (Tags, Timestamp)>>,
    /// The options of both ends that EC2 shows, and until when, by connection.
    options: HashMap<String, ([Options; 2], Timestamp)>,
    /// The time from which EC2 acts on the phase that it shows, by connection.
    ready_from: HashMap<String, Timestamp>,
}

impl Lagging {
    /// Ends the lags that are over.
    pub(super) fn advance(&mut self, now: Timestamp) {
        for tags in self.tags.values_mut() {
            tags.retain(|_, (_, until)| now < *until);
        }
        self.options.retain(|_, (_, until)| now < *until);
        self.ready_from.retain(|_, from| now < *from);
    }
}

impl World {
    /// The tags that Describe shows.
    pub(crate) fn shown_tags(&self, location: &Location, resource: &str) -> Option<&Tags> {
        let earlier = self.lagging.tags.get(location).and_then(|tags| tags.get(resource));
        earlier.map(|(tags, _)| tags).or_else(|| self.tags(location, resource))
    }

    /// All tags of an account and region that Describe shows, by resource.
    pub(crate) fn all_shown_tags(&self, location: &Location) -> impl Iterator<Item = (&str, &Tags)> {
        let shown = |(resource, tags)| (resource, self.shown_tags(location, resource).unwrap_or(tags));
        self.all_tags(location).map(shown)
    }

    /// The options of an end that Describe shows.
    pub(crate) fn shown_options(&self, peering: &Peering, side: Side) -> Options {
        match (self.lagging.options.get(&peering.id), side) {
            (Some(([requester, _], _)), Side::Requester) => *requester,
            (Some(([_, accepter], _)), Side::Accepter) => *accepter,
            (None, side) => peering.end(side).options,
        }
    }

    /// Keeps showing the present tags of a resource, because a call is about to change them.
    pub(super) fn delay_tags(&mut self, location: &Location, resource: &str, now: Timestamp) {
        let lag = self.settings.lags.tags;
        if !lag.is_zero() {
            let shown = self.shown_tags(location, resource).cloned().unwrap_or_default();
            let here = self.lagging.tags.entry(location.clone()).or_default();
            here.insert(resource.to_owned(), (shown, saturating_add(now, lag)));
        }
    }

    /// Keeps showing the present options of a connection, because a call is about to change them.
    pub(super) fn delay_options(&mut self, id: &str, now: Timestamp) {
        let lag = self.settings.lags.options;
        if let Some(peering) = self.peerings.get(id).filter(|_| !lag.is_zero()) {
            let shown = [Side::Requester, Side::Accepter].map(|side| self.shown_options(peering, side));
            self.lagging.options.insert(id.to_owned(), (shown, saturating_add(now, lag)));
        }
    }

    /// Delays the calls that need the phase that a connection has had since this time.
    pub(super) fn delay_phase(&mut self, id: &str, since: Timestamp, lag: std::time::Duration) {
        if !lag.is_zero() {
            self.lagging.ready_from.insert(id.to_owned(), saturating_add(since, lag));
        }
    }

    /// Whether EC2 already acts on the phase that it shows.
    pub(super) fn acts_on_phase(&self, id: &str) -> bool {
        !self.lagging.ready_from.contains_key(id)
    }
}
