//! The connections that every source yields. Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::api::Side;
use crate::peering::{Owner, StatusCode};

/// One end of a connection. `None` is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// EC2 has shown this end to its owner. Other sources then add neither tags nor routes.
    pub(super) is_proven: bool,
    pub(super) vpc_id: Option<String>,
    pub(super) owner_id: Option<String>,
    pub(super) region: Option<String>,
    pub(super) cidr_blocks: BTreeSet<String>,
    pub(super) dns: Option<Dns>,
    /// The tags of the connection at this end. `None` if the source does not show this end.
    pub(super) tags: Option<BTreeMap<String, String>>,
    /// The destinations of the routes through the connection, by the ID of the route table.
    pub(super) routes: BTreeMap<String, BTreeSet<String>>,
}

/// The option `AllowDnsResolutionFromRemoteVpc` of an end, as one source shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dns {
    pub(super) authority: Authority,
    /// `None` if sources of this authority disagree.
    pub(super) allows: Option<bool>,
}

/// The weight of a source that shows an option of an end. A greater one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Authority {
    /// A resource of the other end. It keeps the value that it last saw.
    OtherEnd,
    /// The resource of this end.
    OwnEnd,
    /// A resource that manages only options. Terraform and Crossplane ignore the option in all other resources then.
    Options,
    Ec2,
}

/// An existing connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peering {
    pub(super) id: String,
    /// The status code of EC2, if the source knows it.
    pub(super) code: Option<String>,
    pub(super) requester: End,
    pub(super) accepter: End,
    /// The source manages the accepter's end only.
    pub(super) is_accepter_only: bool,
}

/// A route through a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) table: String,
    pub(super) destination: String,
    pub(super) connection: String,
}

/// A part of a connection that another tool manages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The connection, or its options.
    Connection(String),
    /// The accepter's end of the connection.
    Accepter(String),
    /// A route: the connection, the route table and the destination.
    Route(String, String, String),
}

/// A step that makes another tool let go of a part, without deleting it in AWS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Release {
    /// Two commands of a shell. The second is safe only after the first.
    Commands([String; 2]),
    /// A sentence for a person.
    Advice(String),
}

/// Everything that the sources yield.
#[derive(Clone, Debug, Default)]
pub(super) struct Inventory {
    /// By ID.
    pub(super) peerings: BTreeMap<String, Peering>,
    pub(super) notes: BTreeSet<String>,
    /// The steps that make other controllers let go of a part.
    pub(super) releases: BTreeSet<(Part, Release)>,
    /// The addresses of the Terraform resources of the imported types, and the part that each manages.
    pub(super) terraform: BTreeMap<String, Option<Part>>,
}

/// The conditions that a connection must meet.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) vpcs: Vec<String>,
    pub(super) tags: Vec<(String, String)>,
}

impl Dns {
    pub(super) fn new(authority: Authority, allows: Option<bool>) -> Option<Self> {
        allows.map(|_| Self { authority, allows })
    }

    fn merge(self, other: Self) -> Self {
        match self.authority.cmp(&other.authority) {
            Ordering::Greater => self,
            Ordering::Less => other,
            Ordering::Equal => Self { allows: self.allows.filter(|_| self.allows == other.allows), ..self },
        }
    }
}

impl End {
    /// Adds what another view of the same end shows.
    fn merge(&mut self, mut other: Self) {
        if other.is_proven && !self.is_proven {
            std::mem::swap(self, &mut other);
        }
        let fill = |field: &mut Option<String>, value: Option<String>| {
            if field.is_none() {
                *field = value;
            }
        };
        fill(&mut self.vpc_id, other.vpc_id);
        fill(&mut self.owner_id, other.owner_id);
        fill(&mut self.region, other.region);
        self.dns = match (self.dns, other.dns) {
            (Some(one), Some(other)) => Some(one.merge(other)),
            (one, other) => one.or(other),
        };
        self.cidr_blocks.extend(other.cidr_blocks);
        if self.is_proven && !other.is_proven {
            return;
        }
        if let Some(tags) = other.tags {
            self.tags.get_or_insert_default().extend(tags);
        }
        for (table, destinations) in other.routes {
            self.routes.entry(table).or_default().extend(destinations);
        }
    }
}

impl Peering {
    pub(super) fn end(&self, side: Side) -> &End {
        match side {
            Side::Requester => &self.requester,
            Side::Accepter => &self.accepter,
        }
    }

    pub(super) fn ends(&self) -> [&End; 2] {
        [&self.requester, &self.accepter]
    }

    /// Whether both ends are known to be in one account and region. EC2 then stores the tags once.
    pub(super) fn shares_tags(&self) -> bool {
        self.is_in_one_account()
            && self.accepter.region.as_ref().is_none_or(|it| Some(it) == self.requester.region.as_ref())
    }

    /// Whether both ends belong to one account, as far as the source shows.
    pub(super) fn is_in_one_account(&self) -> bool {
        self.accepter.owner_id.as_ref().is_none_or(|owner| Some(owner) == self.requester.owner_id.as_ref())
    }

    fn all_tags(&self) -> impl Iterator<Item = (&String, &String)> {
        self.ends().into_iter().filter_map(|end| end.tags.as_ref()).flatten()
    }

    /// The value of the tag `Name`, that of the requester's end first.
    pub(super) fn name_tag(&self) -> Option<&str> {
        self.all_tags().find(|(key, _)| *key == "Name").map(|(_, value)| value.as_str())
    }

    /// The reason to leave the connection out, whatever the user asks for.
    fn reason_to_leave_out(&self) -> Option<String> {
        let tag = |key: &str| self.all_tags().find(|(name, _)| *name == key).map(|(_, value)| value.as_str());
        if self.all_tags().any(|(key, _)| key.starts_with(Owner::PREFIX)) {
            let keys = [(Owner::NAMESPACE, Owner::NAME), (Owner::ACCEPTER_NAMESPACE, Owner::ACCEPTER_NAME)];
            let named = keys
                .into_iter()
                .find_map(|(space, name)| Some(format!("{:?}", format!("{}/{}", tag(space)?, tag(name)?))));
            let owner = named.unwrap_or_else(|| "another resource".to_owned());
            return Some(format!("its tags name {owner} as its owner"));
        }
        self.ended().map(|code| format!("it has ended ({code})"))
    }

    /// The status code of a connection that has ended.
    fn ended(&self) -> Option<StatusCode> {
        let code = StatusCode::from(self.code.as_deref()?);
        (code.has_ended() || code == StatusCode::Deleting).then_some(code)
    }
}

impl Inventory {
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.insert(text.into());
    }

    /// Adds a view of a connection.
    pub(super) fn add(&mut self, peering: Peering) {
        let known = self.peerings.entry(peering.id.clone()).or_insert_with(|| Peering {
            id: peering.id.clone(),
            is_accepter_only: true,
            ..Peering::default()
        });
        known.is_accepter_only &= peering.is_accepter_only;
        let is_proven = peering.requester.is_proven || peering.accepter.is_proven;
        let (first, second) =
            if is_proven { (peering.code, known.code.take()) } else { (known.code.take(), peering.code) };
        known.code = first.or(second);
        known.requester.merge(peering.requester);
        known.accepter.merge(peering.accepter);
    }

    /// Adds a route to the end whose VPC has the table. Returns the part that a tool manages, unless the connection or
    /// the VPC is not known.
    pub(super) fn add_route(&mut self, route: Route, vpc: Option<&str>) -> Option<Part> {
        let Route { table, destination, connection } = route;
        let peering = self.peerings.get_mut(&connection)?;
        let ends = [&mut peering.requester, &mut peering.accepter];
        let Some(end) = ends.into_iter().find(|end| vpc.is_some() && end.vpc_id.as_deref() == vpc) else {
            self.notes.insert(format!(
                "{connection}: the route to {destination} in {table} is not in the manifest, because the VPC of the \
                 route table is not known; import it from AWS with --region"
            ));
            return None;
        };
        if !end.is_proven {
            end.routes.entry(table.clone()).or_default().insert(destination.clone());
        }
        Some(Part::Route(connection, table, destination))
    }

    /// Whether the resource of the accepter's end shows the VPCs in the requester's order. Terraform's AWS provider,
    /// which Crossplane shares, does so if both ends belong to one account: one function reads both kinds of resources.
    /// <https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/vpc_peering_connection.go>
    pub(super) fn has_requesters_order(&self, id: &str, own: &End, peer: &End) -> bool {
        match self.peerings.get(id).and_then(|peering| peering.requester.vpc_id.as_ref()) {
            Some(requester) => own.vpc_id.as_ref() == Some(requester),
            None => own.owner_id.is_some() && own.owner_id == peer.owner_id,
        }
    }

    /// The connections that have not ended.
    pub(super) fn live(&self) -> impl Iterator<Item = &Peering> + Clone {
        self.peerings.values().filter(|peering| peering.ended().is_none())
    }

    /// Leaves out the connections that the operator manages, that have ended, or that are not selected, and the notes
    /// on connections that are not selected.
    pub(super) fn select(&mut self, selection: &Selection) {
        let notes = &mut self.notes;
        self.peerings.retain(|id, peering| {
            if !selection.matches(peering) {
                notes.retain(|note| !note.starts_with(&format!("{id}:")));
                return false;
            }
            let reason = peering.reason_to_leave_out();
            if let Some(reason) = &reason {
                notes.insert(format!("{id}: left out, because {reason}"));
            }
            reason.is_none()
        });
    }
}

impl Selection {
    fn matches(&self, peering: &Peering) -> bool {
        let has_vpc =
            peering.ends().into_iter().any(|end| end.vpc_id.as_ref().is_some_and(|id| self.vpcs.contains(id)));
        let has = |(key, value): &(String, String)| peering.all_tags().any(|tag| tag == (key, value));
        (self.vpcs.is_empty() || has_vpc) && self.tags.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_are_managed_or_ended_are_left_out() {
        let peering = |id: &str, code: &str, tag: &str| Peering {
            id: id.into(),
            code: Some(code.into()),
            requester: End { tags: Some([(tag.into(), "x".into())].into()), ..End::default() },
            ..Peering::default()
        };
        let mut inventory = Inventory::default();
        inventory.add(peering("pcx-1", "active", "team"));
        inventory.add(peering("pcx-2", "deleted", "team"));
        inventory.add(peering("pcx-3", "active", Owner::UID));
        inventory.add(peering("pcx-4", "active", "other"));
        inventory.select(&Selection { vpcs: Vec::new(), tags: vec![("team".into(), "x".into())] });
        assert!(inventory.peerings.keys().eq(["pcx-1"]), "{inventory:?}");
        assert!(inventory.notes.contains("pcx-2: left out, because it has ended (deleted)"), "{:?}", inventory.notes);
    }
    #[test]
    fn ec2_wins_over_every_other_source() {
        let tags = |value: &str| Some([("team".into(), value.into())].into());
        let state = || Peering {
            id: "pcx-1".into(),
            code: Some("active".into()),
            requester: End {
                vpc_id: Some("vpc-1".into()),
                owner_id: Some("111111111111".into()),
                dns: Dns::new(Authority::Options, Some(true)),
                tags: tags("old"),
                routes: [("rtb-1".into(), ["10.9.0.0/16".into()].into())].into(),
                ..End::default()
            },
            ..Peering::default()
        };
        let ec2 = || Peering {
            id: "pcx-1".into(),
            code: Some("deleted".into()),
            requester: End {
                is_proven: true,
                vpc_id: Some("vpc-1".into()),
                dns: Dns::new(Authority::Ec2, Some(false)),
                tags: tags("new"),
                ..End::default()
            },
            ..Peering::default()
        };
        let mut expected = ec2();
        expected.requester.owner_id = Some("111111111111".into());
        for views in [[state(), ec2()], [ec2(), state()]] {
            let mut inventory = Inventory::default();
            views.into_iter().for_each(|view| inventory.add(view));
            let route = Route { table: "rtb-1".into(), destination: "10.9.0.0/16".into(), connection: "pcx-1".into() };
            assert!(inventory.add_route(route, Some("vpc-1")).is_some());
            assert_eq!(inventory.peerings["pcx-1"], expected);
        }
    }

    #[test]
    fn the_greater_authority_decides_and_equal_ones_must_agree() {
        let dns = |authority, allows| Dns { authority, allows: Some(allows) };
        let options = dns(Authority::Options, true);
        assert_eq!(dns(Authority::OwnEnd, false).merge(options), options);
        assert_eq!(options.merge(dns(Authority::OtherEnd, false)), options);
        assert_eq!(options.merge(options), options);
        let unknown = options.merge(dns(Authority::Options, false));
        assert_eq!((unknown.allows, unknown.merge(options).allows), (None, None));
    }

    #[test]
    fn notes_on_connections_that_are_not_selected_are_dropped() {
        let mut inventory = Inventory::default();
        for id in ["pcx-1", "pcx-2"] {
            let requester = End { vpc_id: Some(id.replace("pcx", "vpc")), ..End::default() };
            inventory.add(Peering { id: id.into(), requester, ..Peering::default() });
            inventory.note(format!("{id}: a route"));
        }
        inventory.select(&Selection { vpcs: vec!["vpc-1".into()], tags: Vec::new() });
        assert!(inventory.notes.iter().eq(["pcx-1: a route"]), "{:?}", inventory.notes);
    }
}
