//! The graph of VPCs and peerings, and the problems in it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;

use crate::api::{Side, VpcInfo};
use crate::peering::StatusCode;

/// The note in every drawing.
/// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-limitations>
pub(super) const NOTE: &str =
    "VPC peering is not transitive: traffic flows only between two VPCs that have a peering of their own.";

/// A VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vpc {
    /// `None` if it is not known.
    pub(super) account: Option<String>,
    pub(super) region: Option<String>,
    pub(super) cidr_blocks: BTreeSet<String>,
}

/// A peering connection, or a resource that has none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peering {
    pub(super) id: Option<String>,
    /// The resources, as `namespace/name`.
    pub(super) resources: BTreeSet<String>,
    /// The keys of both VPCs.
    pub(super) requester: String,
    pub(super) accepter: String,
    /// `None` if there is no connection yet.
    pub(super) code: Option<StatusCode>,
    /// The expiry of a pending request.
    pub(super) expires: Option<Timestamp>,
    /// Whether each end has a route to the other, requester first. `None` if it is not known.
    pub(super) routes: [Option<bool>; 2],
}

/// How a peering is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Active,
    Pending,
    /// EC2 is changing the connection.
    Changing,
    Ended,
    /// There is no connection yet.
    Planned,
}

impl State {
    pub(super) const ALL: [Self; 5] = [Self::Active, Self::Pending, Self::Changing, Self::Ended, Self::Planned];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Changing => "changing",
            Self::Ended => "ended",
            Self::Planned => "planned",
        }
    }

    /// The colour on a light background.
    pub(super) fn colour(self) -> &'static str {
        match self {
            Self::Active => "#1a7f37",
            Self::Pending => "#9a6700",
            Self::Changing => "#0969da",
            Self::Ended => "#6e7781",
            Self::Planned => "#8250df",
        }
    }
}

/// The colour of overlapping CIDR blocks on a light background.
pub(super) const OVERLAP_COLOUR: &str = "#cf222e";

/// VPCs by key, and their peerings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Graph {
    /// By VPC ID, or by a description if the ID is not known.
    pub(super) vpcs: BTreeMap<String, Vpc>,
    pub(super) peerings: Vec<Peering>,
}

/// The VPCs of one account and region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group<'a> {
    pub(super) title: String,
    pub(super) vpcs: Vec<(&'a str, &'a Vpc)>,
}

impl Graph {
    /// Adds a VPC, or what is known about it.
    pub(super) fn add_vpc(&mut self, key: &str, account: Option<&str>, region: Option<&str>, blocks: Vec<String>) {
        let vpc = self.vpcs.entry(key.to_owned()).or_default();
        vpc.account = vpc.account.take().or(account.map(str::to_owned));
        vpc.region = vpc.region.take().or(region.map(str::to_owned));
        vpc.cidr_blocks.extend(blocks);
    }

    /// Adds a peering. If the connection is known, joins both.
    pub(super) fn add_peering(&mut self, peering: Peering) {
        let is_same = |known: &&mut Peering| known.id.is_some() && known.id == peering.id;
        let Some(known) = self.peerings.iter_mut().find(is_same) else {
            self.peerings.push(peering);
            return;
        };
        known.resources.extend(peering.resources);
        known.code = known.code.take().or(peering.code);
        known.expires = known.expires.or(peering.expires);
        for (route, other) in known.routes.iter_mut().zip(peering.routes) {
            // A route that somebody has seen exists.
            *route = (*route).max(other);
        }
    }

    /// Sorts the peerings, so that the drawing depends only on the content.
    pub(super) fn sorted(mut self) -> Self {
        let key = |peering: &Peering| {
            (peering.requester.clone(), peering.accepter.clone(), peering.id.clone(), peering.resources.clone())
        };
        self.peerings.sort_by_key(key);
        self
    }

    pub(super) fn groups(&self) -> Vec<Group<'_>> {
        let mut groups = BTreeMap::<_, Vec<_>>::new();
        for (key, vpc) in &self.vpcs {
            groups.entry((&vpc.account, &vpc.region)).or_default().push((key.as_str(), vpc));
        }
        let title = |account: &Option<String>, region: &Option<String>| {
            let account = account.as_deref().unwrap_or("unknown account");
            format!("{account} · {}", region.as_deref().unwrap_or("unknown region"))
        };
        groups.into_iter().map(|((account, region), vpcs)| Group { title: title(account, region), vpcs }).collect()
    }

    /// The CIDR blocks of each VPC that overlap a block of a VPC with which it is peered or shares a peer.
    pub(super) fn overlaps(&self) -> BTreeSet<(&str, &str)> {
        let mut neighbours = BTreeMap::<&str, BTreeSet<&str>>::new();
        for peering in self.peerings.iter().filter(|peering| peering.counts()) {
            neighbours.entry(&peering.requester).or_default().insert(&peering.accepter);
            neighbours.entry(&peering.accepter).or_default().insert(&peering.requester);
        }
        let mut pairs = BTreeSet::new();
        for (vpc, peers) in &neighbours {
            pairs.extend(peers.iter().map(|peer| (*vpc, *peer)));
            pairs.extend(peers.iter().flat_map(|one| peers.iter().map(move |other| (*one, *other))));
        }
        let blocks = |key: &str| self.vpcs.get(key).into_iter().flat_map(|vpc| &vpc.cidr_blocks);
        let mut overlaps = BTreeSet::new();
        for (one, other) in pairs.into_iter().filter(|(one, other)| one != other) {
            let clashes = |block: &&String| blocks(other).any(|theirs| overlap(block, theirs));
            overlaps.extend(self.vpcs.get_key_value(one).into_iter().flat_map(|(key, vpc)| {
                vpc.cidr_blocks.iter().filter(clashes).map(move |block| (key.as_str(), block.as_str()))
            }));
        }
        overlaps
    }
}

fn overlap(one: &str, other: &str) -> bool {
    match (one.parse::<IpNet>(), other.parse::<IpNet>()) {
        (Ok(one), Ok(other)) => one.contains(&other) || other.contains(&one),
        _ => false,
    }
}

impl Vpc {
    /// The lines of a box: the key, and each block with a mark if it overlaps another.
    pub(super) fn lines(
        &self,
        key: &str,
        overlaps: &BTreeSet<(&str, &str)>,
        escape: impl Fn(&str) -> String,
    ) -> Vec<String> {
        let blocks = self.cidr_blocks.iter().map(|block| {
            let is_overlap = overlaps.contains(&(key, block.as_str()));
            escape(block) + if is_overlap { " overlaps" } else { "" }
        });
        std::iter::once(escape(key)).chain(blocks).collect()
    }
}

/// Whether a block of this VPC overlaps another.
pub(super) fn has_overlap(key: &str, overlaps: &BTreeSet<(&str, &str)>) -> bool {
    overlaps.iter().any(|(vpc, _)| *vpc == key)
}

impl Peering {
    pub(super) fn state(&self) -> State {
        match &self.code {
            None => State::Planned,
            Some(StatusCode::Active) => State::Active,
            Some(StatusCode::PendingAcceptance) => State::Pending,
            Some(code) if code.has_ended() => State::Ended,
            Some(_) => State::Changing,
        }
    }

    /// Whether its VPCs count as peered. Overlapping CIDR blocks make a connection fail, so a failed one counts.
    fn counts(&self) -> bool {
        self.state() != State::Ended || self.code == Some(StatusCode::Failed)
    }

    /// The missing routes of an active connection.
    pub(super) fn missing_routes(&self) -> Option<String> {
        if self.state() != State::Active {
            return None;
        }
        match self.routes {
            [Some(true), Some(false)] => Some(format!("no return route from {}", self.accepter)),
            [Some(false), Some(true)] => Some(format!("no return route from {}", self.requester)),
            [Some(false), Some(false)] => Some("no routes".to_owned()),
            _ => None,
        }
    }

    /// The lines of its label.
    pub(super) fn label(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.resources.iter().cloned().collect();
        let code = self.code.as_ref().map_or("planned", StatusCode::as_str);
        lines.push(self.id.as_ref().map_or_else(|| code.to_owned(), |id| format!("{id} {code}")));
        if let (State::Pending, Some(expires)) = (self.state(), self.expires) {
            lines.push(format!("expires {}", expires.strftime("%Y-%m-%d %H:%M UTC")));
        }
        lines.extend(self.missing_routes());
        lines
    }
}

/// All CIDR blocks of an end.
pub(super) fn blocks(info: &VpcInfo) -> Vec<String> {
    let ipv4 = info.cidr_block_set.iter().map(|block| block.cidr_block.to_string());
    let ipv6 = info.ipv6_cidr_block_set.iter().map(|block| block.ipv6_cidr_block.to_string());
    info.cidr_block.iter().map(ToString::to_string).chain(ipv4).chain(ipv6).collect()
}

/// The position of an end in [`Peering::routes`].
pub(super) fn position(side: Side) -> usize {
    match side {
        Side::Requester => 0,
        Side::Accepter => 1,
    }
}

/// Text without control characters: names and tags of others may contain any.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn peering(id: &str, requester: &str, accepter: &str, code: &str) -> Peering {
        Peering {
            id: Some(id.to_owned()),
            resources: BTreeSet::from([format!("team/{id}")]),
            requester: requester.to_owned(),
            accepter: accepter.to_owned(),
            code: Some(StatusCode::from(code)),
            expires: (code == "pending-acceptance").then_some(Timestamp::UNIX_EPOCH),
            routes: [None, None],
        }
    }

    /// Three VPCs in two groups: `vpc-1` is peered with `vpc-2` and, in another account, with `vpc-3`.
    pub(crate) fn graph() -> Graph {
        let mut graph = Graph::default();
        graph.add_vpc("vpc-1", Some("111111111111"), Some("eu-central-1"), vec!["10.1.0.0/16".into()]);
        graph.add_vpc("vpc-2", Some("111111111111"), Some("eu-central-1"), vec!["10.2.0.0/16".into()]);
        graph.add_vpc("vpc-3", Some("222222222222"), Some("us-west-2"), vec!["10.2.8.0/24".into(), "fd00::/56".into()]);
        graph
            .add_peering(Peering { routes: [Some(true), Some(false)], ..peering("pcx-1", "vpc-1", "vpc-2", "active") });
        graph.add_peering(peering("pcx-2", "vpc-1", "vpc-3", "pending-acceptance"));
        graph.sorted()
    }

    #[test]
    fn vpcs_are_grouped_by_account_and_region() {
        let graph = graph();
        let titles: Vec<_> = graph.groups().into_iter().map(|group| (group.title, group.vpcs.len())).collect();
        let expected = [("111111111111 · eu-central-1".to_owned(), 2), ("222222222222 · us-west-2".to_owned(), 1)];
        assert_eq!(titles, expected);
    }

    #[test]
    fn blocks_overlap_between_peers_and_vpcs_that_share_a_peer() {
        let mut graph = graph();
        assert_eq!(graph.overlaps(), BTreeSet::from([("vpc-2", "10.2.0.0/16"), ("vpc-3", "10.2.8.0/24")]));
        graph.peerings[1].code = Some(StatusCode::Deleted);
        assert!(graph.overlaps().is_empty(), "an ended connection counts");
        graph.add_vpc("vpc-2", None, None, vec!["10.1.0.0/20".into()]);
        assert_eq!(graph.overlaps(), BTreeSet::from([("vpc-1", "10.1.0.0/16"), ("vpc-2", "10.1.0.0/20")]));
    }

    #[test]
    fn a_connection_with_routes_on_one_side_is_marked() {
        for (routes, expected) in [
            ([Some(true), Some(true)], None),
            ([Some(true), None], None),
            ([Some(true), Some(false)], Some("no return route from vpc-2")),
            ([Some(false), Some(true)], Some("no return route from vpc-1")),
            ([Some(false), Some(false)], Some("no routes")),
        ] {
            let peering = Peering { routes, ..peering("pcx-1", "vpc-1", "vpc-2", "active") };
            assert_eq!(peering.missing_routes().as_deref(), expected, "{routes:?}");
        }
        let pending = Peering { routes: [Some(true), Some(false)], ..peering("p", "a", "b", "pending-acceptance") };
        assert_eq!(pending.missing_routes(), None);
        assert_eq!(pending.label(), ["team/p", "p pending-acceptance", "expires 1970-01-01 00:00 UTC"]);
    }

    #[test]
    fn two_views_of_a_connection_are_joined() {
        let mut graph = graph();
        let mut other = peering("pcx-1", "vpc-1", "vpc-2", "active");
        other.resources = BTreeSet::from(["other/accepter".to_owned()]);
        other.routes = [None, Some(true)];
        graph.add_peering(other);
        assert_eq!(graph.peerings.len(), 2);
        assert_eq!(graph.peerings[0].routes, [Some(true), Some(true)]);
        assert_eq!(graph.peerings[0].resources.len(), 2);
    }
}
